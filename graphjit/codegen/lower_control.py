"""Lower control flow: scans to counted loops, ``while`` and ``cond`` to native ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from graphjit.codegen.buffers import Inlined
from graphjit.codegen.loops import (
    Address,
    Ahead,
    Buffer,
    Constant,
    For,
    If,
    Let,
    Load,
    Statement,
    Store,
    Value,
    While,
)
from graphjit.codegen.picked import following
from graphjit.ir.aval import Aval, DType
from graphjit.ir.graph import Graph, Node


class Outer(Protocol):
    """What control flow needs of the lowering it is part of."""

    def fresh(self) -> str:
        """A new name."""

    def scratch(self, size: int, dtype: DType, shape: tuple[int, ...] = ()) -> Buffer:
        """A work buffer."""

    def whole(self, ident: int) -> Buffer:
        """A node's value in C order."""

    def results(self, node: Node) -> list[Buffer]:
        """Where the node's results are to be written."""

    def copied(self, source: Buffer, target: Buffer) -> list[Statement]:
        """A copy of a whole buffer."""

    def inlined(
        self,
        graph: Graph,
        inputs: Sequence[Buffer],
        outputs: dict[int, Buffer],
        carried: dict[int, int],
    ) -> Inlined:
        """A carried graph on buffers; carried outputs overwrite inputs."""


def lower_scan(outer: Outer, node: Node) -> list[Statement]:
    """A counted loop: carries stay in place, slices and stacks are addressed by the count."""
    consts, carry, step = node.params["consts"], node.params["carry"], node.params["step"]
    operands = [outer.whole(i) for i in node.inputs]
    results = outer.results(node)
    index = f"s{outer.fresh()[1:]}"
    taken = step.avals(step.inputs)[consts + carry :]
    given = step.avals(step.outputs)[carry:]
    slices = [one(b, a, index) for b, a in zip(operands[consts + carry :], taken, strict=True)]
    stacks = [one(b, a, index) for b, a in zip(results[carry:], given, strict=True)]
    inputs = [*operands[:consts], *results[:carry], *slices]
    outputs = {carry + i: b for i, b in enumerate(stacks)}
    body = outer.inlined(step, inputs, outputs, {i: consts + i for i in range(carry)})
    # The body addresses slices only: the whole arrays are named here, for the memory plan.
    uses = (*body.uses, *operands, *results)
    length, reverse = node.params["length"], node.params["reverse"]
    following(body.statements, Ahead(index, -1, 0) if reverse else Ahead(index, 1, length - 1))
    loop = For(index, length, body.statements, reverse, uses)
    return [*started(outer, operands[consts : consts + carry], results), loop]


def one(buffer: Buffer, aval: Aval, index: str) -> Buffer:
    """The slice of a stacked buffer that the loop is at."""
    start = (*buffer.start, (index, aval.size))
    return buffer._replace(size=aval.size, shape=aval.shape, start=start)


def started(outer: Outer, initial: Sequence[Buffer], carries: Sequence[Buffer]) -> list[Statement]:
    """The carries' first values."""
    pairs = zip(initial, carries, strict=False)
    return [s for source, target in pairs for s in outer.copied(source, target)]


def lower_while(outer: Outer, node: Node) -> list[Statement]:
    """A loop that asks before each round, and counts the rounds."""
    tests, consts = node.params["tests"], node.params["consts"]
    operands = [outer.whole(i) for i in node.inputs]
    *carries, count = outer.results(node)
    answer = outer.scratch(1, np.dtype(bool))
    test = outer.inlined(node.params["test"], [*operands[:tests], *carries], {0: answer}, {})
    inputs = [*operands[tests : tests + consts], *carries]
    carried = {i: consts + i for i in range(len(carries))}
    body = outer.inlined(node.params["step"], inputs, {}, carried)
    zero, more = tally(outer.fresh, count)
    loop = While(
        test.statements, Address(answer, 0), body.statements + more, (*test.uses, *body.uses)
    )
    return [*started(outer, operands[tests + consts :], carries), zero, loop]


def tally(fresh: Callable[[], str], count: Buffer) -> tuple[Statement, list[Statement]]:
    """Set a counter to zero, and count one more."""
    dtype, place = count.dtype, Address(count, 0)
    before, after = Value(fresh(), dtype), Value(fresh(), dtype)
    one_more = Let(after, "add", (before, Constant(1, dtype)))
    return Store(place, Constant(0, dtype)), [Load(before, place), one_more, Store(place, after)]


def lower_cond(outer: Outer, node: Node) -> list[Statement]:
    """A branch; both sides write the same results."""
    which, *operands = (outer.whole(i) for i in node.inputs)
    results = dict(enumerate(outer.results(node)))
    sides = [outer.inlined(graph, operands, results, {}) for graph in node.params["branches"]]
    uses = (*sides[0].uses, *sides[1].uses)
    return [If(Address(which, 0), sides[0].statements, sides[1].statements, uses)]


def lower_checkpoint(outer: Outer, node: Node) -> list[Statement]:
    """A region of its own: a loop that runs once, whose memory is free again after it."""
    operands = [outer.whole(i) for i in node.inputs]
    results = outer.results(node)
    body = outer.inlined(node.params["body"], operands, dict(enumerate(results)), {})
    uses = (*body.uses, *operands, *results)
    return [For(f"s{outer.fresh()[1:]}", 1, body.statements, uses=uses)]
