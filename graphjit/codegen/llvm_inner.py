"""Innermost loops in LLVM IR: whole vectors, then what is left over under a mask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from graphjit.codegen.llvm_chain import widened
from graphjit.codegen.llvm_instructions import binary, select, shuffled
from graphjit.codegen.llvm_loops import INLINED, Inner, calls, contracted, shape_of
from graphjit.codegen.llvm_mathematics import form
from graphjit.codegen.llvm_scalars import integer, operation
from graphjit.codegen.llvm_text import I64, Body, Operand, constant, mask
from graphjit.codegen.loops import For, Load, Store, Value
from graphjit.codegen.native import host
from graphjit.ir.aval import DType, extreme

if TYPE_CHECKING:
    from graphjit.codegen.llvm_kernel import KernelWriter as Writer

SEVERAL = 4  # vectors from which on neighbours share: what the first is given is computed apart
OFTEN = 8  # turns from which on a function of mathematics is written out in the loop


class InnerLoop:
    """One innermost loop: whole vectors, then what is left over under a mask."""

    def __init__(self, writer: Writer, loop: For, body: Sequence[Inner]) -> None:
        self.writer, self.loop = writer, loop
        changed = dict.fromkeys(s.value.name for s in body if not isinstance(s, Store))
        self.carried = [writer.slots[n][1] for n in changed if n in writer.slots]
        aliases, width = writer.program.aliases, host().vector_bytes
        shape = shape_of(body, loop, writer.slots, aliases, width)
        self.shape = widened(shape, body, loop.extent, width, form(writer.module))
        writer.module.widened += self.shape.vectors > 1
        if writer.module.wide:
            self.shape = self.shape._replace(lanes=shape.lanes * self.shape.vectors, vectors=1)
        self.body = contracted(body, self.shape.folds) if host().fma else body
        self.earlier: Mapping[str, Value] = {}
        self.first: Sequence[Inner] = ()
        self.before: dict[str, Operand] = {}
        if loop.extent >= SEVERAL * self.shape.lanes > SEVERAL and windows(body):
            self.hand_on()

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
        count = unroll * self.shape.vectors
        stride = lanes * count
        whole, rest = extent // stride * stride, extent % stride
        states = [[self.identity(v) for v in self.carried] for _ in range(count)]
        self.begin(start)
        if whole:
            flat = [*(x for state in states for x in state), *self.before.values()]

            def turn(i: Operand, flat: list[Operand]) -> list[Operand]:
                size, base = len(self.carried), self.at(start, i)
                ends: list[Operand] = []
                self.go_on(flat)
                for u in range(unroll):
                    here = self.at(base, constant(u * lanes, I64))
                    ends += self.turn(here, flat[u * size : (u + 1) * size], lanes)
                return [*flat[unroll * size : count * size], *ends, *self.before.values()]

            often = w.turns * whole >= OFTEN * stride
            w.inline = often and calls(self.body) * unroll <= INLINED
            flat = w.repeat(whole, flat, turn, lanes * unroll)
            w.inline = False
            self.go_on(flat)
            size = len(self.carried)
            states = [flat[u * size : (u + 1) * size] for u in range(count)]
        for u in range(-(-rest // lanes)):
            done = whole + u * lanes
            active = min(lanes, extent - done)
            here = self.at(start, constant(done, I64))
            states[u] = self.turn(here, states[u], lanes, active)
        return [self.joined(v, [s[i] for s in states]) for i, v in enumerate(self.carried)]

    def joined(self, value: Value, parts: Sequence[Operand]) -> Operand:
        """The accumulators of one fold as one, halves upon halves as if they were one vector."""
        while len(parts) > 1:
            op, half = self.shape.folds[value.name], len(parts) // 2
            pairs = zip(parts[:half], parts[half:], strict=True)
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
            self.statement(statement, lanes)
        w.vector = ("", 1, 0)
        ends = [w.spread(w.known[v.name], lanes) for v in self.carried]
        if not active or active == lanes:
            return ends
        there = mask(lanes, active)
        return [select(w, there, new, old) for new, old in zip(ends, state, strict=True)]

    # -- what a turn hands on to the next ----------------------------------------------------------

    def hand_on(self) -> None:
        """Compute what neighbours have in common once, if that pays."""
        from graphjit.codegen.llvm_neighbours import neighbours  # for those who need it

        names, aliases = [v.name for v in self.carried], self.writer.program.aliases
        found = neighbours(self.body, self.loop.index, names, aliases)
        self.body, self.earlier, self.first = found.body, found.earlier, found.first

    def begin(self, start: Operand) -> None:
        """What the first turn would have been given, in the last lane."""
        w = self.writer
        w.known[self.loop.index] = start
        for statement in self.first:
            w.statement(statement)
        lanes = self.shape.lanes
        self.before = {v: bits(w, w.spread(w.known[v], lanes)) for v in self.earlier}

    def go_on(self, flat: Sequence[Operand]) -> None:
        """With the last vectors among those that are carried."""
        count = len(self.before)
        self.before = dict(zip(self.before, flat[len(flat) - count :], strict=True))

    def statement(self, s: Inner, lanes: int) -> None:
        """One statement; of what is handed on the last lane before, and all but the last now."""
        w = self.writer
        name = "" if isinstance(s, Store) else s.value.name
        if name not in self.before:
            return w.statement(s)
        old, new = self.before[name], w.read(self.earlier[name])
        places = range(lanes - 1, 2 * lanes - 1)
        moved = shuffled(w, old, places, bits(w, new))
        w.known[name] = operation(w, "from_bits", [moved], new.dtype)
        self.before[name] = bits(w, new)
        return None

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


def windows(body: Sequence[Inner]) -> bool:
    """Whether one buffer is read at several places."""
    read = [s.address.buffer.name for s in body if isinstance(s, Load)]
    return len(set(read)) < len(read)


def bits(w: Body, x: Operand) -> Operand:
    """A vector's bits as whole numbers.

    Lanes of those move by one instruction (valignq), where LLVM looks up the places of floats in a
    register (vpermt2pd), at twice the time.
    """
    return operation(w, "bits", [x], integer(x.dtype))


def half_of(w: Body, vector: Operand, start: int, count: int) -> Operand:
    """Some lanes of a vector."""
    if count == 1:
        return w.element(vector, start)
    return shuffled(w, vector, range(start, start + count))


def neutral(op: str, dtype: DType) -> Any:
    """The operand that changes nothing."""
    if op in ("maximum", "minimum"):
        return extreme(dtype, largest=op == "minimum")
    values = {"add": -0.0 if dtype.kind == "f" else 0, "multiply": 1, "logical_or": 0}
    return values.get(op, 1)
