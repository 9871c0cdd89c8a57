"""What to keep for the backward pass, and what to compute there again."""

from __future__ import annotations

import math
from collections.abc import Container, Iterable

from graphjit.ir.dag import depends_on, minimum_cut
from graphjit.ir.graph import Graph, Node
from graphjit.ir.primitive import TABLE
from graphjit.ir.table.convolve import multiplications as products_of
from graphjit.passes.rewrite import Rebuild, reached

CHEAP = 1.0  # bytes saved for each unit of work done again: the price at which maps are
STEPS = 12  # prices tried, each a quarter of the one before
# What takes no memory of its own: it is read through.
VIEWS = frozenset({"broadcast", "reshape", "transpose", "slice", "hold"})
SOURCES = frozenset({"input", "constant", "iota"})
ARITHMETIC = frozenset({
    "add", "subtract", "multiply", "strong_multiply", "negative", "positive", "absolute", "square",
    "where", "maximum", "minimum", "less", "less_equal", "greater", "greater_equal", "equal",
    "not_equal", "logical_and", "logical_or", "logical_not", "cast", "sign", "isfinite",
})  # fmt: skip


def recompute(graph: Graph, budget: int | None = None) -> Graph:
    """Compute some forward values again in the backward pass, so that they need not be stored.

    What the backward pass reads of the forward pass is stored until then. Instead of a value its
    operands may be kept, or theirs, and the value is computed from these where the backward pass
    first needs it. What to keep is a minimum cut between the inputs, which are there anyway, and
    the backward pass: keeping a value costs its bytes, computing one again its work times a
    price (the cut of Jain et al., "Checkmate", MLSys 2020, relaxed by a multiplier). The price
    begins so high that only what is as cheap as reading it is done again, and falls until what
    is kept fits into the budget: so transcendental functions come next, and products of
    matrices last. What the budget leaves free is filled with values spread evenly over the
    forward pass, so that a chain is computed again piece by piece.

    Safe, because a value computed again has the same operands; the ``hold`` through which it reads
    them keeps it from being merged with the first one, and from running before its turn.

    Before: ``%1 = multiply(%0, 2)``, ``%2 = sin(%1)``, and in the backward pass ``%3 = cos(%1)``;
    after: there ``%3 = hold(%0, %2)``, ``%4 = multiply(%3, 2)``, ``%5 = cos(%4)``.

    Args:
        graph: A graph with a backward pass, whose nodes have an ``adjoint`` origin; any other
            graph stays as it is.
        budget: Bytes that may be kept, without inputs and outputs; None takes what costs nearly
            nothing, and no more.
    """
    plan = Plan(graph)
    if not plan.wanted or (budget is not None and plan.bytes(plan.wanted) <= budget):
        return graph
    keep = plan.cheapest(budget)
    return reached(Again(plan, keep).run()) if plan.wanted - keep else graph


def size(node: Node) -> int:
    """The bytes of a node's value."""
    return node.aval.size * node.aval.dtype.itemsize


class Plan:
    """What a graph's backward pass wants of its forward pass.

    Attributes:
        late: The backward pass: nodes of adjoint origin, and all that depends on one.
        wanted: Stored values of the forward pass that it reads.
        free: Values that are there anyway: inputs, outputs, what has no operands.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        marked = [n.id for n in graph.nodes if n.origin is not None and n.origin.adjoint]
        self.late = depends_on(graph, [i for i in marked if graph.nodes[i].op not in SOURCES])
        outputs = {self.base(i) for i in graph.outputs}
        sources = {n.id for n in graph.nodes if n.op in SOURCES}
        moving = depends_on(graph, graph.inputs)
        self.free = outputs | sources | {n.id for n in graph.nodes if n.id not in moving}
        read = {i for ident in self.late for i in graph.nodes[ident].inputs}
        self.wanted = {self.base(i) for i in read if i not in self.late} - self.free

    def base(self, ident: int) -> int:
        """The value that is stored where this one is read."""
        while self.graph.nodes[ident].op in VIEWS:
            ident = self.graph.nodes[ident].inputs[0]
        return ident

    def operands(self, ident: int) -> set[int]:
        """The stored values that a node reads."""
        return {self.base(i) for i in self.graph.nodes[ident].inputs}

    def bytes(self, idents: Iterable[int]) -> int:
        """The memory of some values."""
        return sum(size(self.graph.nodes[i]) for i in idents)

    # -- choosing -----------------------------------------------------------------------------

    def cheapest(self, budget: int | None) -> set[int]:
        """What to keep: the least work that fits the budget, or the nearest to it."""
        if budget is None:
            return self.cut(CHEAP)
        before = set(self.wanted)
        for step in range(STEPS):
            keep = self.cut(CHEAP / 4**step)
            if self.bytes(keep) <= budget:
                return self.filled(keep, before - keep, budget)
            before = keep
        return before

    def cut(self, price: float) -> set[int]:
        """The values to keep at this price, by a minimum cut."""
        capacities = dict[tuple[tuple[int, str], tuple[int, str]], float]()
        for ident in self.upstream():
            node = self.graph.nodes[ident]
            capacities[(ident, "in"), (ident, "out")] = math.inf if node.results else size(node)
            capacities[(-1, ""), (ident, "in")] = work(self.graph, ident) * price
            for operand in self.operands(ident) - self.free:
                capacities[(operand, "out"), (ident, "in")] = math.inf
            if ident in self.wanted:
                capacities[(ident, "out"), (-2, "")] = math.inf
        first, _ = minimum_cut(capacities, (-1, ""), (-2, ""))
        stored = {i for i, side in first if side == "in"}
        return {i for i in stored if (i, "out") not in first}

    def upstream(self) -> list[int]:
        """The wanted values and all they are computed from, but for what is there anyway."""
        found, pending = set[int](), list(self.wanted)
        while pending:
            ident = pending.pop()
            if ident not in found:
                found.add(ident)
                pending += self.operands(ident) - self.free - found
        return sorted(found)

    def filled(self, keep: set[int], more: set[int], budget: int) -> set[int]:
        """The values to keep, with as many others as fit, spread evenly over the pass."""
        others = sorted(more)
        room, total = budget - self.bytes(keep), self.bytes(others)
        chosen, seen, taken = set(keep), 0, 0
        for ident in others:
            seen += size(self.graph.nodes[ident])
            own = size(self.graph.nodes[ident])
            if taken + own <= room and (taken + own) * total <= seen * room:
                chosen.add(ident)
                taken += own
        return chosen


def work(graph: Graph, ident: int) -> float:
    """What computing a node costs, in elements of an addition; infinite for loops."""
    node = graph.nodes[ident]
    operands = graph.avals(node.inputs)
    largest = max((aval.size for aval in (node.aval, *operands)), default=1)
    kind = TABLE[node.op].kind
    if kind == "map":
        return largest * (1.0 if node.op in ARITHMETIC else 16.0)
    if node.op == "convolve":
        return float(products_of(node.aval, operands, **node.params))
    if kind == "contract":
        return multiplications(node, operands[0].size, operands[1].size)
    if kind in ("layout", "index", "reduce", "running"):
        return 4.0 * largest
    return 0.0 if node.op == "item" else math.inf


def multiplications(node: Node, left: int, right: int) -> float:
    """How many products a contraction sums: the sizes of all its letters multiplied."""
    shared = max(node.aval.size, 1)
    return math.sqrt(float(left) * right * shared)


class Again:
    """Rebuilds a graph so that the backward pass computes what is not kept."""

    def __init__(self, plan: Plan, keep: set[int]) -> None:
        self.plan, self.graph = plan, plan.graph
        self.keep = keep | plan.free
        self.new = Rebuild(self.graph)
        self.again: dict[int, int] = {}
        self.tokens = self.turns()

    def run(self) -> Graph:
        """The graph, with what it no longer needs still there."""
        for node in self.graph.nodes:
            if node.id not in self.plan.late:
                self.new.copy(node)
        for node in self.graph.nodes:
            if node.id in self.plan.late:
                self.backward(node)
        return self.new.finish()

    def forward(self, ident: int) -> bool:
        """Whether a node is computed again where it is read: it is not kept, nor of a kept one."""
        return ident not in self.plan.late and self.plan.base(ident) not in self.keep

    def chain(self, idents: Iterable[int], known: Container[int]) -> list[int]:
        """The nodes to compute again before these can be read, in order, but for known ones."""
        found, pending = set[int](), list(idents)
        while pending:
            ident = pending.pop()
            if ident not in found and ident not in known and self.forward(ident):
                found.add(ident)
                pending += self.graph.nodes[ident].inputs
        return sorted(found)

    def turns(self) -> dict[int, int | None]:
        """What the turn of a node comes after: a node of the backward pass.

        For a node that is computed again it is the operand that the first reader waits for
        longest, or where that reads values of the forward pass alone, the node of the backward
        pass before it. Such a reader gets a turn as well: else it might run in the forward pass,
        where its result would have to be stored. What is read before there is anything to wait
        for has no turn and is not computed again.
        """
        tokens, last = dict[int, int | None](), self.end()
        for node in self.graph.nodes:
            if node.id not in self.plan.late:
                continue
            behind = [i for i in node.inputs if i in self.plan.late]
            token = max(behind, default=last)
            if not behind:
                tokens[node.id] = token
            tokens.update(dict.fromkeys(self.chain(node.inputs, tokens), token))
            last = node.id if not node.results else last
        return tokens

    def end(self) -> int | None:
        """The last value of the forward pass that is stored anyway."""
        kept = self.plan.wanted & self.keep
        return max(
            (*kept, *(i for i in self.graph.outputs if i not in self.plan.late)), default=None
        )

    def backward(self, node: Node) -> None:
        """Copy a node of the backward pass, after what it needs computed again."""
        for ident in self.chain(node.inputs, self.again):
            if self.tokens[ident] is not None:
                self.again[ident] = self.copied(self.graph.nodes[ident])
        self.new.place[node.id] = self.copied(node)

    def copied(self, node: Node) -> int:
        """A copy of a node; where it has a turn, it reads what is kept when that has come."""
        builder, self.new.origin = self.new.builder, node.origin
        operands = [self.again.get(i, self.new.place[i]) for i in node.inputs]
        turn = self.tokens.get(node.id)
        if turn is not None:
            token = self.new.place[turn]
            operands = [
                builder.emit("hold", operand, token) if self.held(ident) else operand
                for ident, operand in zip(node.inputs, operands, strict=True)
            ]
        return builder.copy(node, tuple(operands))

    def held(self, ident: int) -> bool:
        """Whether an operand is a kept value: what has no operands is made where it is read."""
        op = self.graph.nodes[self.plan.base(ident)].op
        return ident not in self.again and op not in ("constant", "iota")
