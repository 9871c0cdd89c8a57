"""Control flow in forward mode: primals and tangents run together."""

from __future__ import annotations

from collections.abc import Sequence

from graphjit.ir.graph import Graph
from graphjit.passes.control import Both, Dual, split, widened


def forward_cond(given: Dual) -> Both:
    """Both branches with their tangents beside them."""
    from graphjit.passes.tangent import tangent  # which calls these rules

    moved = [i for i in range(1, len(given.operands)) if given.tangents[i] is not None]
    wrt, branches = [i - 1 for i in moved], given.node.params["branches"]
    branches = tuple(tangent(g, wrt, strong=given.strong) for g in branches)
    inputs = [*given.operands, *(given.filled(i) for i in moved)]
    items = given.builder.emit_control("cond", inputs, branches=branches)
    return split(items, given.node.results)


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


FORWARD = {
    "cond": forward_cond,
    "scan": forward_scan,
    "while": forward_while,
    "unwind": forward_unwind,
}
