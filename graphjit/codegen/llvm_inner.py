"""Innermost loops in LLVM IR: whole vectors, then what is left over under a mask."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from graphjit.codegen.llvm_instructions import binary, select
from graphjit.codegen.llvm_loops import Inner, calls, shape_of
from graphjit.codegen.llvm_scalars import operation
from graphjit.codegen.llvm_text import I64, Body, Operand, constant
from graphjit.codegen.loops import For, Store, Value
from graphjit.codegen.native import host
from graphjit.ir.aval import DType, extreme

if TYPE_CHECKING:
    from graphjit.codegen.llvm_kernel import KernelWriter as Writer

OFTEN = 8  # turns from which on a function of mathematics is written out in the loop
INLINED = 8  # functions of mathematics that are written out in one loop; others are called


class InnerLoop:
    """One innermost loop: whole vectors, then what is left over under a mask."""

    def __init__(self, writer: Writer, loop: For, body: Sequence[Inner]) -> None:
        self.writer, self.loop, self.body = writer, loop, body
        changed = dict.fromkeys(s.value.name for s in body if not isinstance(s, Store))
        self.carried = [writer.slots[n][1] for n in changed if n in writer.slots]
        aliases, width = writer.program.aliases, host().vector_bytes
        self.shape = shape_of(body, loop, writer.slots, aliases, width)

    def write(self, begin: Operand | None = None) -> None:
        """The loop, its index counted from ``begin``; sums of many turns block by block."""
        w, block = self.writer, self.shape.block
        first = begin or constant(0, I64)
        if not block:
            return self.part(first, self.loop.extent)
        blocks, rest = divmod(self.loop.extent, block)

        def turn(start: Operand, _: list[Operand]) -> list[Operand]:
            self.part(w.plus(first, start), block)
            return []

        w.repeat(blocks * block, [], turn, block)
        if rest:
            self.part(w.plus(first, constant(blocks * block, I64)), rest)
        return None

    def part(self, start: Operand, extent: int) -> None:
        """So many turns from ``start`` on."""
        w, lanes = self.writer, self.shape.lanes
        before = [w.read(v) if lanes == 1 else w.held(v) for v in self.carried]
        w.registers = {v.name for v in self.carried}
        if lanes == 1:
            ends = w.repeat(extent, before, lambda i, state: self.turn(self.at(start, i), state, 1))
        else:
            ends = [
                self.folded(v, end)
                for v, end in zip(self.carried, self.vectors(start, extent), strict=True)
            ]
        w.registers = set()
        for value, old, end in zip(self.carried, before, ends, strict=True):
            if lanes == 1:
                w.assign(value, end)
            elif value.name in w.lost:
                w.add_exactly(value, end)
            else:
                w.assign(value, operation(w, self.shape.folds[value.name], [old, end], value.dtype))

    def at(self, start: Operand, i: Operand) -> Operand:
        """The loop index."""
        return self.writer.plus(start, i)

    def vectors(self, start: Operand, extent: int) -> list[Operand]:
        """The folds' vectors after all turns."""
        w, lanes, unroll = self.writer, self.shape.lanes, self.shape.unroll
        stride = lanes * unroll
        whole, rest = extent // stride * stride, extent % stride
        states = [[self.identity(v) for v in self.carried] for _ in range(unroll)]
        if whole:
            flat = [x for state in states for x in state]

            def turn(i: Operand, flat: list[Operand]) -> list[Operand]:
                size, base = len(self.carried), self.at(start, i)
                ends: list[Operand] = []
                for u in range(unroll):
                    here = self.at(base, constant(u * lanes, I64))
                    ends += self.turn(here, flat[u * size : (u + 1) * size], lanes)
                return ends

            often = w.turns * whole >= OFTEN * stride
            w.inline = often and calls(self.body) * unroll <= INLINED
            flat = w.repeat(whole, flat, turn, stride)
            w.inline = False
            size = len(self.carried)
            states = [flat[u * size : (u + 1) * size] for u in range(unroll)]
        for u in range(-(-rest // lanes)):
            done = whole + u * lanes
            active = min(lanes, extent - done)
            here = self.at(start, constant(done, I64))
            states[u] = self.turn(here, states[u], lanes, active)
        return [self.joined(v, [s[i] for s in states]) for i, v in enumerate(self.carried)]

    def joined(self, value: Value, parts: Sequence[Operand]) -> Operand:
        """The accumulators of one fold as one."""
        while len(parts) > 1:
            op = self.shape.folds[value.name]
            pairs = zip(parts[::2], parts[1::2], strict=True)
            parts = [operation(self.writer, op, pair, value.dtype) for pair in pairs]
        return parts[0]

    def turn(
        self, index: Operand, state: Sequence[Operand], lanes: int, active: int = 0
    ) -> list[Operand]:
        """The body, for so many lanes from an index on; ``active`` of them, 0 is all."""
        w = self.writer
        if self.loop.reverse:
            index = binary(w, "sub", constant(self.loop.extent - 1, I64), index)
        w.known[self.loop.index] = index
        w.vector = (self.loop.index, lanes, active if active < lanes else 0)
        for value, operand in zip(self.carried, state, strict=True):
            w.known[value.name] = operand
        for statement in self.body:
            w.statement(statement)
        w.vector = ("", 1, 0)
        ends = [w.spread(w.known[v.name], lanes) for v in self.carried]
        if not active or active == lanes:
            return ends
        mask = w.mask(lanes, active)
        return [select(w, mask, new, old) for new, old in zip(ends, state, strict=True)]

    def identity(self, value: Value) -> Operand:
        """What changes nothing: every lane starts from it."""
        op, dtype = self.shape.folds[value.name], value.dtype
        return constant(neutral(op, dtype), dtype, self.shape.lanes)

    def folded(self, value: Value, vector: Operand) -> Operand:
        """The lanes as one, halves upon halves."""
        w, op = self.writer, self.shape.folds[value.name]
        while vector.lanes > 1:
            half = vector.lanes // 2
            low, high = (half_of(w, vector, s, half) for s in (0, half))
            vector = operation(w, op, [low, high], value.dtype)
        return vector


def half_of(w: Body, vector: Operand, start: int, count: int) -> Operand:
    """Some lanes of a vector."""
    if count == 1:
        return w.element(vector, start)
    places = ", ".join(f"i32 {start + i}" for i in range(count))
    text = f"shufflevector {vector}, {vector.kind} poison, <{count} x i32> <{places}>"
    return w.value(text, vector.dtype, count)


def neutral(op: str, dtype: DType) -> Any:
    """The operand that changes nothing."""
    if op in ("maximum", "minimum"):
        return extreme(dtype, largest=op == "minimum")
    values = {"add": -0.0 if dtype.kind == "f" else 0, "multiply": 1, "logical_or": 0}
    return values.get(op, 1)
