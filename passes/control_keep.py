"""What a backward scan computes again of the forward one's steps, kept instead where that pays."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from graphjit.ir.graph import Graph, Node
from graphjit.passes.control_scan import Parts, Scan, given, swapped
from graphjit.passes.cut import cheapest
from graphjit.passes.merge import COMMUTATIVE, frozen
from graphjit.passes.recompute import CHEAP, SOURCES, VIEWS, size, work
from graphjit.passes.rewrite import Rebuild
from graphjit.records import NamedTuple

Pair = tuple[int, int]


def keep(graph: Graph) -> Graph:
    """Let a scan hand on what a later one computes again from the same operands.

    A backward scan has the carry that each forward step began with, and computes from it what the
    forward step did. Each such value can be kept, as one more stack of the forward scan, at the
    price of its bytes, or be computed again, at the price of its work; a minimum cut says which,
    as in ``recompute``: products of matrices and transcendental functions are kept, arithmetic is
    done again. A carry from which nothing is computed any more need not be kept.

    Safe, because equal operations on equal operands are equal. What goes through a ``hold`` is
    not looked at: with a budget of bytes nothing more is kept.

    Before: the forward step ``h = tanh(x + h)``; the backward one computes ``tanh(x + h)`` for
    ``1 - tanh(x + h)**2``; after: the forward scan also stacks its ``tanh(x + h)``, and the
    backward one reads that.
    """
    for first, second in pairs(graph):
        nodes = [n for n in graph.nodes if n.op == "scan"]
        twice = Twice(graph, Scan(nodes[first]), Scan(nodes[second]))
        graph = twice.graph() if twice.kept else graph
    return graph


def pairs(graph: Graph) -> list[Pair]:
    """Scans, by their number, of which the second reads stacks of the first, step for step."""
    scans = [Scan(n) for n in graph.nodes if n.op == "scan"]
    numbers = {scan.node.id: number for number, scan in enumerate(scans)}
    found = dict[Pair, None]()
    for number, scan in enumerate(scans):
        for ident in scan.parts(scan.node.inputs).slices:
            maker = stacked_by(graph, ident)
            if maker is not None:
                found[numbers[maker.node.id], number] = None
    return list(found)


def stacked_by(graph: Graph, ident: int) -> Scan | None:
    """The scan of which this is a stack."""
    node = graph.nodes[ident]
    if node.op != "item" or graph.nodes[node.inputs[0]].op != "scan":
        return None
    scan = Scan(graph.nodes[node.inputs[0]])
    return scan if node.params["index"] >= scan.carry else None


class Kept(NamedTuple):
    """A value of the second step, and the same in the first one under reconstruction."""

    later: int
    early: int


class Twice:
    """Two scans, and what both steps compute.

    Attributes:
        place: For values of the second step the same in the first.
        kept: What the first hands on.
    """

    def __init__(self, graph: Graph, first: Scan, second: Scan) -> None:
        self.outer, self.first, self.second = graph, first, second
        self.new = Rebuild(first.step)
        for node in first.step.nodes:
            self.new.copy(node)
        self.there = {self.new.place[i] for i in first.stacked}
        self.place = self.matched()
        self.computed()
        self.droppable = self.only_here()
        self.kept = [
            Kept(i, self.place[i]) for i in self.chosen() if second.step.nodes[i].op != "input"
        ]

    def matched(self) -> dict[int, int]:
        """Inputs of the second step that are values of the first."""
        first, second, place = self.first, self.second, self.new.place
        operands = first.parts(first.node.inputs)
        known = dict(zip(operands.consts, first.inputs.consts, strict=True))
        slices = dict(zip(operands.slices, first.inputs.slices, strict=True))
        own, found = second.parts(second.node.inputs), dict[int, int]()
        for outer, inner in zip(own.consts, second.inputs.consts, strict=True):
            if outer in known:
                found[inner] = place[known[outer]]
        for outer, inner in zip(own.slices, second.inputs.slices, strict=True):
            node = self.outer.nodes[outer]
            if outer in slices:
                found[inner] = place[slices[outer]]
            elif node.inputs == (first.node.id,) and node.params["index"] >= first.carry:
                found[inner] = place[first.step.outputs[node.params["index"]]]
        return found

    def computed(self) -> None:
        """What the second step computes from these, found or put into the first."""
        nodes = self.new.builder.nodes
        names = {name(n, n.inputs): n.id for n in nodes if n.inputs or n.op == "iota"}
        for node in self.second.step.nodes:
            if node.op == "constant":
                self.place[node.id] = self.new.put(node, ())
            if node.results or node.op in ("input", "constant", "hold", "item"):
                continue
            if all(i in self.place for i in node.inputs):
                operands = tuple(self.place[i] for i in node.inputs)
                known = names.get(name(node, operands))
                if known is None:
                    known = names[name(node, operands)] = self.new.put(node, operands)
                self.place[node.id] = known

    def only_here(self) -> set[int]:
        """Slices of the second step that are stacked for it alone."""
        own, found = self.second.parts(self.second.node.inputs), set[int]()
        for outer, inner in zip(own.slices, self.second.inputs.slices, strict=True):
            node = self.outer.nodes[outer]
            if node.inputs == (self.first.node.id,) and outer not in self.outer.outputs:
                index = node.params["index"]
                items = self.outer.users[self.first.node.id]
                same = [i for i in items if self.outer.nodes[i].params["index"] == index]
                users = {u for i in same for u in self.outer.users[i]}
                if users == {self.second.node.id}:
                    found.add(inner)
        return found

    # -- choosing -----------------------------------------------------------------------------

    def base(self, ident: int) -> int:
        """The value that a view is of."""
        nodes = self.second.step.nodes
        while nodes[ident].op in VIEWS:
            ident = nodes[ident].inputs[0]
        return ident

    def free(self, ident: int) -> bool:
        """Whether a value costs nothing: it is there anyway."""
        node = self.second.step.nodes[ident]
        return node.op in SOURCES and ident not in self.droppable

    def wanted(self) -> set[int]:
        """Common values that the rest of the second step reads."""
        step = self.second.step
        read = {i for n in step.nodes if n.id not in self.place for i in n.inputs}
        read.update(step.outputs)
        return {self.base(i) for i in read if i in self.place}

    def chosen(self) -> list[int]:
        """The values to keep, by a minimum cut."""
        nodes, ends = self.second.step.nodes, self.wanted()
        edges, pending, seen = dict[tuple[Hashable, Hashable], float](), list(ends), set[int]()
        while pending:
            ident = pending.pop()
            if ident in seen or self.free(ident):
                continue
            seen.add(ident)
            node = nodes[ident]
            stored = 0.0 if self.place[ident] in self.there - self.dropped() else size(node)
            again = work(self.second.step, ident) * CHEAP if node.inputs else float("inf")
            edges[(ident, "in"), (ident, "out")] = stored
            edges["start", (ident, "in")] = again
            for operand in {self.base(i) for i in node.inputs}:
                if not self.free(operand):
                    edges[(operand, "out"), (ident, "in")] = float("inf")
                    pending.append(operand)
            if ident in ends:
                edges[(ident, "out"), "end"] = float("inf")
        near = cheapest(edges, "start", "end")
        return sorted(i for i in seen if (i, "in") in near and (i, "out") not in near)

    def dropped(self) -> set[int]:
        """Stacks of the first scan that only the second reads."""
        return {self.place[i] for i in self.droppable}

    # -- rewriting ----------------------------------------------------------------------------

    def graph(self) -> Graph:
        """The outer graph with both scans rewritten."""
        outputs, items = self.outputs(), list[int]()
        first = self.first.carry  # final carries are no stacks

        def change(new: Rebuild, scan: Scan) -> Sequence[int] | None:
            if scan.node.id == self.first.node.id:
                step = self.new.builder.graph(outputs)
                items.extend(scan.emitted(new.builder, scan.parts(new.operands(scan.node)), step))
                return items
            if scan.node.id == self.second.node.id:
                own = scan.parts(new.operands(scan.node))
                more = (items[outputs.index(k.early, first)] for k in self.kept)
                operands = Parts(own.consts, own.carry, (*own.slices, *more))
                step = given(scan, (), [k.later for k in self.kept])
                return scan.emitted(new.builder, operands, step)
            return None

        return swapped(self.outer, change)

    def outputs(self) -> list[int]:
        """What the first step gives: its own, then what is kept and not among that."""
        own = [self.new.place[i] for i in self.first.step.outputs]
        more = dict.fromkeys(k.early for k in self.kept if k.early not in self.there)
        return [*own, *more]


def name(node: Node, operands: Sequence[int]) -> Hashable:
    """What two nodes that compute the same have in common."""
    alike = tuple(sorted(operands)) if node.op in COMMUTATIVE else tuple(operands)
    return node.op, alike, frozen(node.params) if node.params else None
