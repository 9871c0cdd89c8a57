"""How control flow is differentiated and batched: each way makes the same control flow again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from graphjit.ir.aval import Aval
from graphjit.ir.builder import Builder
from graphjit.ir.graph import Graph, Node
from graphjit.ir.symbol import Symbol

# -- reverse --------------------------------------------------------------------------------------


def saving(graph: Graph) -> Graph:
    """Every scan also stacks the carry that each step began with, for the backward pass."""
    if not graph.count("scan"):
        return graph
    nodes = tuple(with_carries(n) if n.op == "scan" else n for n in graph.nodes)
    return Graph(nodes, graph.inputs, graph.outputs)


def with_carries(node: Node) -> Node:
    """The scan with its carries as further outputs."""
    step, consts, carry = node.params["step"], node.params["consts"], node.params["carry"]
    begun = step.inputs[consts : consts + carry]
    step = Graph(step.nodes, step.inputs, (*step.outputs, *begun))
    length = node.params["length"]
    stacks = tuple(Aval((length, *a.shape), a.dtype) for a in step.avals(begun))
    return replace(node, params={**node.params, "step": step}, results=node.results + stacks)


class Reverse:
    """What the reverse rule of one node is given.

    Attributes:
        node: With its saved carries, if it is a scan.
        builder: Of the new graph.
        ident: The node's copy there.
        operands: Its operands there.
        cotangents: Those of its results that have one, by index.
        active: For each operand whether its cotangent is wanted.
        strong: Whether zeros win over infinities in the products inside.
        residuals: What the forward rule of a custom_vjp kept.
    """

    def __init__(
        self, node: Node, builder: Builder, ident: int, operands: Sequence[int],
        cotangents: Mapping[int, Symbol], active: Sequence[bool],
        *, strong: bool = False, residuals: Sequence[int] = (),
    ) -> None:  # fmt: skip
        self.node, self.builder, self.ident = node, builder, ident
        self.operands, self.cotangents, self.active = operands, cotangents, active
        self.strong, self.residuals = strong, residuals

    def cotangent(self, index: int) -> int:
        """That of a result, zeros where it has none."""
        if index in self.cotangents:
            return self.cotangents[index].id
        return zeros(self.builder, self.node.results[index])

    def shares(self, items: Sequence[int], places: Sequence[int]) -> list[Any]:
        """One share an operand: the items at these places, None elsewhere."""
        found = dict(zip(places, items, strict=True))
        return [
            Symbol(self.builder, found[i]) if i in found else None
            for i in range(len(self.operands))
        ]


def zeros(builder: Builder, aval: Aval) -> int:
    """Zeros of an aval."""
    return builder.broadcast_to(builder.constant(0, aval.dtype), aval.shape)


def reverse_cond(given: Reverse) -> list[Any]:
    """The branch that ran is pulled back; the other one's operands get zeros."""
    from graphjit.passes.adjoint import pullback  # which calls these rules

    node = given.node
    wanted = [i for i, active in enumerate(given.active[1:]) if active]
    ends = sorted(given.cotangents)
    pulled = []
    for branch in node.params["branches"]:
        graph = pullback(branch, wanted, ends, strong=given.strong)
        pulled.append(Graph(graph.nodes, graph.inputs, graph.outputs[len(branch.outputs) :]))
    inputs = [*given.operands, *(given.cotangents[i].id for i in ends)]
    items = given.builder.emit_control("cond", inputs, branches=tuple(pulled))
    return given.shares(items, [i + 1 for i in wanted])


def reverse_scan(given: Reverse) -> list[Any]:
    """A scan the other way: it carries the cotangents of the carry and of the constants.

    Each step runs the forward step again from the carry that was saved, and pulls back through
    it; what a step adds to a constant's cotangent is summed on the way.
    """
    node, builder = given.node, given.builder
    step, consts, carry = node.params["step"], node.params["consts"], node.params["carry"]
    kinds = step.avals(step.inputs)
    floats = [i for i in range(consts, consts + carry) if kinds[i].inexact]
    fixed = [i for i in range(consts) if given.active[i]]
    slices = [i for i in range(consts + carry, len(kinds)) if given.active[i]]
    results = step.avals(step.outputs)
    count = len(results) - carry  # what the step gives beside its carry and the saved one
    stacked = [i for i in range(carry, count) if i in given.cotangents]
    body = BackwardStep(step, consts, fixed, floats, slices, stacked, strong=given.strong)
    saved = [builder.item(given.ident, count + i) for i in range(carry)]
    inputs = [
        *given.operands[:consts],
        *(zeros(builder, kinds[i]) for i in fixed),
        *(given.cotangent(i - consts) for i in floats),
        *saved,
        *given.operands[consts + carry :],
        *(given.cotangents[i].id for i in stacked),
    ]
    items = builder.emit_control(
        "scan", inputs, step=body.graph(carry, count), consts=consts,
        carry=len(fixed) + len(floats), length=node.params["length"],
        reverse=not node.params["reverse"],
    )  # fmt: skip
    return given.shares(items, [*fixed, *floats, *slices])


class BackwardStep:
    """The step of a backward scan, from that of the forward one.

    Its inputs: the constants; the sums for the active constants and the cotangents of the float
    carries; the saved carry, the slices, and the cotangents of the stacked outputs.
    """

    def __init__(
        self, step: Graph, consts: int, fixed: list[int], floats: list[int], slices: list[int],
        stacked: list[int], *, strong: bool,
    ) -> None:  # fmt: skip
        self.step, self.consts, self.fixed, self.floats = step, consts, fixed, floats
        self.slices, self.stacked, self.strong = slices, stacked, strong

    def graph(self, carry: int, count: int) -> Graph:
        """The step's graph: the sums and the carry's cotangents, then those of the slices."""
        from graphjit.passes.adjoint import pullback  # which calls these rules

        ends = [i - self.consts for i in self.floats] + self.stacked
        plain = Graph(self.step.nodes, self.step.inputs, self.step.outputs[:count])
        wrt = [*self.fixed, *self.floats, *self.slices]
        pulled = pullback(plain, wrt, ends, strong=self.strong)
        avals = plain.avals(plain.inputs)
        builder = Builder()
        constants = [builder.input(a) for a in avals[: self.consts]]
        sums = [builder.input(avals[i]) for i in self.fixed]
        back = [builder.input(avals[i]) for i in self.floats]
        begun = [builder.input(a) for a in avals[self.consts : self.consts + carry]]
        slices = [builder.input(a) for a in avals[self.consts + carry :]]
        outer = [builder.input(plain.avals((plain.outputs[i],))[0]) for i in self.stacked]
        place = builder.inline(pulled, [*constants, *begun, *slices, *back, *outer])
        found = [place[i] for i in pulled.outputs[len(plain.outputs) :]]
        cut = len(self.fixed)
        total = [builder.emit("add", s, f) for s, f in zip(sums, found[:cut], strict=True)]
        return builder.graph([*total, *found[cut:]])


def reverse_while(given: Reverse) -> list[Any]:
    """The loop runs again, with every carry on a tape that grows; then back along the tape."""
    from graphjit.passes.adjoint import pullback  # which calls these rules

    params = given.node.params
    step, tests, consts = params["step"], params["tests"], params["consts"]
    kinds = step.avals(step.inputs)
    fixed = [i for i in range(consts) if given.active[tests + i]]
    floats = [i for i in range(consts, len(kinds)) if kinds[i].inexact]
    ends = [i - consts for i in floats]
    pulled = pullback(step, [*fixed, *floats], ends, strong=given.strong)
    pull = Graph(pulled.nodes, pulled.inputs, pulled.outputs[len(step.outputs) :])
    inputs = [*given.operands, *(given.cotangent(i) for i in ends)]
    items = given.builder.emit_control("unwind", inputs, **params, pull=pull, sums=len(fixed))
    return given.shares(items, [tests + i for i in (*fixed, *floats)])


REVERSE = {"cond": reverse_cond, "scan": reverse_scan, "while": reverse_while}

# -- forward --------------------------------------------------------------------------------------


class Dual:
    """What the forward rule of one node is given: its operands, and their tangents or None.

    ``strong``: whether zeros win over infinities in the products inside.
    """

    def __init__(
        self, node: Node, builder: Builder, operands: Sequence[int], tangents: Sequence[int | None],
        *, strong: bool = False,
    ) -> None:  # fmt: skip
        self.node, self.builder, self.strong = node, builder, strong
        self.operands, self.tangents = operands, tangents

    def filled(self, index: int) -> int:
        """An operand's tangent, zeros where it has none."""
        known = self.tangents[index]
        return (
            zeros(self.builder, self.builder.nodes[self.operands[index]].aval)
            if known is None
            else known
        )


Both = tuple[list[int], dict[int, int]]  # the primal items, and the tangents by result


def forward_cond(given: Dual) -> Both:
    """Both branches with their tangents beside them."""
    from graphjit.passes.tangent import tangent  # which calls these rules

    moved = [i for i in range(1, len(given.operands)) if given.tangents[i] is not None]
    wrt, branches = [i - 1 for i in moved], given.node.params["branches"]
    branches = tuple(tangent(g, wrt, strong=given.strong) for g in branches)
    inputs = [*given.operands, *(given.filled(i) for i in moved)]
    items = given.builder.emit_control("cond", inputs, branches=branches)
    return split(items, given.node.results)


def split(items: list[int], results: Sequence[Aval]) -> Both:
    """Items of a node whose results are followed by the tangents of the float ones."""
    count = len(results)
    floats = [i for i, aval in enumerate(results) if aval.inexact]
    return items[:count], dict(zip(floats, items[count:], strict=True))


def forward_scan(given: Dual) -> Both:
    """One scan that carries primals and tangents together."""
    from graphjit.passes.tangent import tangent  # which calls these rules

    params, builder = given.node.params, given.builder
    step, consts, carry = params["step"], params["consts"], params["carry"]
    kinds = step.avals(step.inputs)
    fixed = [i for i in range(consts) if given.tangents[i] is not None]
    moved = [i for i in range(consts, consts + carry) if kinds[i].inexact]
    slices = [i for i in range(consts + carry, len(kinds)) if given.tangents[i] is not None]
    dual = tangent(step, [*fixed, *moved, *slices], strong=given.strong)
    graph, kept = dual_step(step, dual, (consts, carry), fixed, moved, slices)
    o = given.operands
    inputs = [
        *(*o[:consts], *(given.filled(i) for i in fixed)),
        *(*o[consts : consts + carry], *(given.filled(i) for i in moved)),
        *(*o[consts + carry :], *(given.filled(i) for i in slices)),
    ]
    items = builder.emit_control(
        "scan", inputs, step=graph, consts=consts + len(fixed), carry=carry + len(moved),
        length=params["length"], reverse=params["reverse"],
    )  # fmt: skip
    stacked = len(step.outputs) - carry
    after = carry + len(moved)
    primal = [*items[:carry], *items[after : after + stacked]]
    tangents = dict(zip((i - consts for i in moved), items[carry:after], strict=True))
    tangents.update(zip(kept, items[after + stacked :], strict=True))
    return primal, tangents


def dual_step(
    step: Graph, dual: Graph, counts: tuple[int, int], fixed: list[int], moved: list[int],
    slices: list[int],
) -> tuple[Graph, list[int]]:  # fmt: skip
    """A step with tangents after each group of its inputs and outputs; which outputs have one."""
    consts, carry = counts
    count, own = len(step.inputs), dual.inputs
    extra = dict(zip([*fixed, *moved, *slices], own[count:], strict=True))
    inputs = (
        *(*own[:consts], *(extra[i] for i in fixed)),
        *(*own[consts : consts + carry], *(extra[i] for i in moved)),
        *(*own[consts + carry : count], *(extra[i] for i in slices)),
    )
    outs = step.avals(step.outputs)
    floats = [i for i, aval in enumerate(outs) if aval.inexact]
    tangents = dict(zip(floats, dual.outputs[len(outs) :], strict=True))
    kept = [i for i in floats if i >= carry]
    outputs = (
        *(*dual.outputs[:carry], *(tangents[i] for i in floats if i < carry)),
        *(*dual.outputs[carry : len(outs)], *(tangents[i] for i in kept)),
    )
    return Graph(dual.nodes, inputs, outputs), kept


def forward_while(given: Dual) -> Both:
    """The loop with tangents carried along; the question sees the primals alone."""
    params, o = given.node.params, given.operands
    step, tests, consts = params["step"], params["tests"], params["consts"]
    loop = DualLoop(given, step, tests, consts)
    inputs = [*loop.head, *o[tests + consts :], *(given.filled(tests + i) for i in loop.moved)]
    items = given.builder.emit_control(
        "while", inputs, test=loop.test(params["test"]), step=loop.step, tests=tests,
        consts=consts + len(loop.fixed),
    )  # fmt: skip
    plain = loop.count - consts
    tangents = dict(zip((i - consts for i in loop.moved), items[plain:-1], strict=True))
    return [*items[:plain], items[-1]], tangents


class DualLoop:
    """A loop's step with tangents after its constants and after its carries.

    Attributes:
        fixed: The constants that have tangents.
        moved: The float carries, which all get one.
        step: The dual step.
        head: What the loop takes before its carries: what the question needs, the constants.
    """

    def __init__(self, given: Dual, step: Graph, tests: int, consts: int) -> None:
        kinds = step.avals(step.inputs)
        self.kinds, self.count, self.consts = kinds, len(kinds), consts
        self.strong = given.strong
        self.fixed = [i for i in range(consts) if given.tangents[tests + i] is not None]
        self.moved = [i for i in range(consts, len(kinds)) if kinds[i].inexact]
        self.step = self.dual(step, [])
        more = (given.filled(tests + i) for i in self.fixed)
        self.head = [*given.operands[: tests + consts], *more]

    def dual(self, graph: Graph, further: Sequence[int]) -> Graph:
        """A graph on the loop's values (and more after them) with tangents after each group."""
        from graphjit.passes.tangent import tangent  # which calls these rules

        both = tangent(graph, [*self.fixed, *self.moved, *further], strong=self.strong)
        total, own = len(graph.inputs), both.inputs
        extra = dict(zip([*self.fixed, *self.moved, *further], own[total:], strict=True))
        inputs = (
            *(*own[: self.consts], *(extra[i] for i in self.fixed)),
            *(*own[self.consts : self.count], *(extra[i] for i in self.moved)),
            *(*own[self.count : total], *(extra[i] for i in further)),
        )
        return Graph(both.nodes, inputs, both.outputs)

    def test(self, test: Graph) -> Graph:
        """The question, which does not look at the tangents."""
        return widened(test, [self.kinds[i] for i in self.moved])


def forward_unwind(given: Dual) -> Both:
    """The same two loops, on primals and tangents together: forward over reverse."""
    params, o = given.node.params, given.operands
    step, pull, tests = params["step"], params["pull"], params["tests"]
    consts, sums = params["consts"], params["sums"]
    loop = DualLoop(given, step, tests, consts)
    first, last = tests + consts, tests + loop.count
    back = list(range(loop.count, len(pull.inputs)))
    both = loop.dual(pull, back)
    results = len(pull.outputs)
    ends = both.outputs
    outputs = (
        *ends[:sums],
        *ends[results : results + sums],
        *ends[sums:results],
        *ends[results + sums :],
    )
    inputs = [
        *loop.head,
        *(*o[first:last], *(given.filled(tests + i) for i in loop.moved)),
        *(*o[last:], *(given.filled(tests + i) for i in back)),
    ]
    items = given.builder.emit_control(
        "unwind", inputs, test=loop.test(params["test"]), step=loop.step,
        pull=Graph(both.nodes, both.inputs, outputs), tests=tests,
        consts=consts + len(loop.fixed), sums=2 * sums,
    )  # fmt: skip
    rest = results - sums
    primal = [*items[:sums], *items[2 * sums : 2 * sums + rest]]
    moved = [*items[sums : 2 * sums], *items[2 * sums + rest :]]
    return primal, dict(enumerate(moved))


def widened(graph: Graph, more: Sequence[Aval]) -> Graph:
    """The graph with further inputs that it does not read."""
    builder = Builder()
    inputs = [builder.input(a) for a in graph.avals(graph.inputs)]
    for aval in more:
        builder.input(aval)
    place = builder.inline(graph, inputs)
    return builder.graph([place[i] for i in graph.outputs])


FORWARD = {
    "cond": forward_cond,
    "scan": forward_scan,
    "while": forward_while,
    "unwind": forward_unwind,
}
