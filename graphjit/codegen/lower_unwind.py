"""Lower the backward pass of a while loop: forward along a growing tape, then back."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from graphjit.codegen.buffers import Inlined
from graphjit.codegen.loops import (
    Address,
    Buffer,
    Constant,
    Fill,
    For,
    Let,
    Load,
    Statement,
    Store,
    Tape,
    Value,
    While,
)
from graphjit.codegen.lower_control import (
    Outer,
    lower_checkpoint,
    lower_cond,
    lower_scan,
    lower_while,
    started,
    tally,
)
from graphjit.ir.graph import Node

COUNT = np.dtype(np.int64)


def lower_unwind(outer: Outer, node: Node) -> list[Statement]:
    """Two native loops: one that asks and records, one that counts the rounds back."""
    return Unwinding(outer, node).statements()


class Unwinding:
    """The buffers of one unwinding, and the statements on them."""

    def __init__(self, outer: Outer, node: Node) -> None:
        params = node.params
        self.outer, self.node = outer, node
        self.tests, self.consts, self.sums = params["tests"], params["consts"], params["sums"]
        self.operands = [outer.whole(i) for i in node.inputs]
        self.results = outer.results(node)
        step = params["step"]
        avals = step.avals(step.inputs[self.consts :])
        self.carries = [outer.scratch(a.size, a.dtype, a.shape) for a in avals]
        self.tapes = tuple(
            Buffer(f"tape{outer.fresh()[1:]}", c.size, c.dtype, "tape", c.shape)
            for c in self.carries
        )
        self.room = f"room{outer.fresh()[1:]}"
        self.count = outer.scratch(1, COUNT)

    @property
    def fixed(self) -> list[Buffer]:
        """The step's constants."""
        return self.operands[self.tests : self.tests + self.consts]

    def statements(self) -> list[Statement]:
        """All of it."""
        first = self.tests + self.consts
        count = len(self.carries)
        zero, _ = tally(self.outer.fresh, self.count)
        sums, back = self.results[: self.sums], self.results[self.sums :]
        return [
            *started(self.outer, self.operands[first : first + count], self.carries),
            *started(self.outer, self.operands[first + count :], back),
            *(Fill(total, Constant(0, total.dtype)) for total in sums),
            zero,
            Tape("open", self.tapes, self.room),
            self.forward(),
            self.backward(sums, back),
            Tape("close", self.tapes, self.room),
        ]

    def forward(self) -> Statement:
        """Rounds as the loop makes them, each carry written to its tape first."""
        outer, params = self.outer, self.node.params
        answer = outer.scratch(1, np.dtype(bool))
        asked = [*self.operands[: self.tests], *self.carries]
        test = outer.inlined(params["test"], asked, {0: answer}, {})
        carried = {i: self.consts + i for i in range(len(self.carries))}
        body = outer.inlined(params["step"], [*self.fixed, *self.carries], {}, carried)
        _, more = tally(outer.fresh, self.count)
        now = Value(outer.fresh(), COUNT)
        record = self.between(self.carries, self.places(now))
        head: list[Statement] = [
            Load(now, Address(self.count, 0)),
            Tape("ensure", self.tapes, self.room, now.name),
        ]
        return While(
            test.statements,
            Address(answer, 0),
            [*head, *record, *body.statements, *more],
            self.uses(test, body),
        )

    def backward(self, sums: Sequence[Buffer], back: Sequence[Buffer]) -> Statement:
        """Rounds in reverse: the carry from the tape, then the pullback of the step."""
        outer, pull = self.outer, self.node.params["pull"]
        answer = outer.scratch(1, np.dtype(bool))
        left, now = Value(outer.fresh(), COUNT), Value(outer.fresh(), COUNT)
        more = Value(outer.fresh(), np.dtype(bool))
        test: list[Statement] = [
            Load(left, Address(self.count, 0)),
            Let(more, "greater", (left, Constant(0, COUNT))),
            Store(Address(answer, 0), more),
        ]
        shares = [outer.scratch(s.size, s.dtype, s.shape) for s in sums]
        first = self.consts + len(self.carries)
        carried = {self.sums + i: first + i for i in range(len(back))}
        inputs = [*self.fixed, *self.carries, *back]
        body = outer.inlined(pull, inputs, dict(enumerate(shares)), carried)
        statements: list[Statement] = [
            Let(now, "subtract", (left, Constant(1, COUNT))),
            Store(Address(self.count, 0), now),
            *self.between(self.places(now), self.carries),
            *body.statements,
            *(s for pair in zip(shares, sums, strict=True) for s in self.added(*pair)),
        ]
        return While(test, Address(answer, 0), statements, self.uses(body))

    def places(self, count: Value) -> list[Buffer]:
        """Where on each tape the round of this number is."""
        return [t._replace(start=((count.name, t.size),)) for t in self.tapes]

    def between(self, sources: Sequence[Buffer], targets: Sequence[Buffer]) -> list[Statement]:
        """Copies of whole buffers."""
        return started(self.outer, sources, targets)

    def added(self, share: Buffer, total: Buffer) -> list[Statement]:
        """Add one buffer to another."""
        value = Value(self.outer.fresh(), share.dtype)
        terms = (("i", 1),)
        body: list[Statement] = [
            Load(value, Address(share, 0, terms)),
            Store(Address(total, 0, terms), value, "add"),
        ]
        return [For("i", share.size, body)]

    def uses(self, *parts: Inlined) -> tuple[Buffer, ...]:
        """What both loops need to keep: the carries, the constants, the results, the parts' own."""
        own = (*self.carries, *self.operands, *self.results, self.count)
        return (*own, *(b for part in parts for b in part.uses))


CONTROL = {
    "scan": lower_scan,
    "while": lower_while,
    "cond": lower_cond,
    "unwind": lower_unwind,
    "checkpoint": lower_checkpoint,
}
