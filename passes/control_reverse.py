"""Control flow in reverse mode: each way makes the same control flow again."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from graphjit.ir.aval import Aval
from graphjit.ir.builder import Builder
from graphjit.ir.graph import Graph, Node
from graphjit.passes.control import Reverse, zeros
from graphjit.passes.control_unwind import reverse_unwind


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


REVERSE = {
    "cond": reverse_cond,
    "scan": reverse_scan,
    "while": reverse_while,
    "unwind": reverse_unwind,
}
