"""Sums over outer axes are taken in stages, so that rounding takes little from them.

``for i: for j: y[j] += x[i, j]`` adds each row to totals that grow, and every addition is rounded
to the size of the total. So a block of rows is added up by itself, and then added to the total:

``for o: part = 0; for i: for j: part[j] += x[16 o + i, j]; for j: y[j] += part[j]``

Totals of float32 are kept in float64; blocks of float64 are added up in blocks again, as in
pairwise summation. Sums along a long innermost axis stay in registers, and are the renderers'
affair; where that axis is short, each of its turns has a sum of its own until the outer loop ends.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from graphjit.codegen.llvm_loops import SHORT, innermost
from graphjit.codegen.loops import (
    Address,
    Buffer,
    Check,
    Constant,
    Fill,
    For,
    Let,
    Load,
    LoopProgram,
    Statement,
    Store,
    Value,
)
from graphjit.codegen.nest import NAMES
from graphjit.codegen.products import nested
from graphjit.codegen.reach import PLAIN, moved, names
from graphjit.codegen.renaming import anew, named
from graphjit.codegen.sums import WIDE, Sum, sums_in_memory, sums_in_scalars
from graphjit.codegen.walks import walk
from graphjit.ir.aval import DType

# The same on every processor, since the order of a sum is part of its result.
LEAST = 16  # turns of a block, if possible
BLOCKS = 4  # of a loop, if possible, so that threads can share them
ROWS = 8  # turns of a loop from which on a sum of short rows is taken column by column
FREE = NAMES[:-1]  # the last is that of fills, in readable text


def stages(program: LoopProgram) -> None:
    """Take long sums over outer axes in stages.

    Args:
        program: Before its memory is planned; its kernels are changed.
    """
    for kernel in program.kernels:
        if any(isinstance(s, For) for s in kernel.statements):
            kernel.statements[:] = Stages(program).kernel(kernel.statements)


class Stages:
    """Rewrites the loops of a program; the steps of scans have been through it before."""

    def __init__(self, program: LoopProgram) -> None:
        self.program = program
        self.done: set[str] = set()
        self.taken: set[str] = set()

    def kernel(self, statements: list[Statement]) -> list[Statement]:
        """The statements of a kernel with their loops in stages."""
        self.taken = {*names(statements), *(n for s in walk(statements) for n in named([s]))}
        return self.each(statements)

    def each(self, statements: Iterable[Statement]) -> list[Statement]:
        """Statements with the loops among them in stages."""
        found: list[Statement] = []
        for s in statements:
            plain = isinstance(s, For) and s.index in NAMES and not s.reverse and not s.uses
            found += self.loop(s) if isinstance(s, For) and plain else [s]
        return found

    def loop(self, loop: For, *, again: bool = False) -> list[Statement]:
        """A loop in stages, those inside first; ``again`` if it is over blocks already."""
        if innermost(loop) is not None:
            return [loop]
        loop = For(loop.index, loop.extent, self.each(loop.body))
        if not all(isinstance(s, (Check, *PLAIN)) for s in walk(loop.body)):
            return [loop]
        sums = [
            *sums_in_memory(loop, self.program.aliases, self.done),
            *sums_in_scalars(loop, self.done),
        ]
        most = max((s.often for s in sums), default=0)
        block = block_of(loop.extent, most)
        outer = next((name for name in FREE if name not in self.taken), "")
        if most * loop.extent > SHORT and block < loop.extent and outer:
            self.taken.add(outer)
            return self.split(loop, outer, block, sums)
        rows = [s for s in sums if s.update and s.extents]
        if rows and loop.extent >= ROWS and not again:
            return self.block(loop, rows, [s.address for s in rows], loop.extent, ())
        return [loop]

    def split(self, loop: For, outer: str, block: int, sums: Sequence[Sum]) -> list[Statement]:
        """The loop in blocks of so many turns, and what is left over."""
        count, rest = divmod(loop.extent, block)
        goals = [self.goal(s, count) for s in sums]
        whole = self.block(loop, sums, goals, block, ((outer, block),))
        apart = [(s, goal) for s, goal in zip(sums, goals, strict=True) if goal != s.address]
        self.done.update(s.update.value.name for s in sums if s.update and s.exact)
        found: list[Statement] = [zeros(goal.buffer) for _, goal in apart]
        found += self.loop(For(outer, count, whole), again=True)
        if rest:
            found += anew(self.program, self.block(loop, sums, goals, rest, (), count * block))
        return [*found, *self.flushed([(s, goal, s.address) for s, goal in apart])]

    def block(
        self, loop: For, sums: Sequence[Sum], goals: Sequence[Address], turns: int,
        more: tuple[tuple[str, int], ...], start: int = 0,
    ) -> list[Statement]:  # fmt: skip
        """So many turns of a loop, whose sums go to parts first."""
        parts = [self.memory(s, s.address.buffer.dtype) for s in sums]
        places = {s.name: part for s, part in zip(sums, parts, strict=True)}

        def place(address: Address) -> Address:
            if address.buffer.name in places:
                return places[address.buffer.name]
            step = sum(n for name, n in address.terms if name == loop.index)
            further = tuple((name, n * step) for name, n in more if step)
            return Address(address.buffer, address.offset + start * step, address.terms + further)

        flushed = self.flushed(zip(sums, parts, goals, strict=True))
        clear = [zeros(part.buffer) for part in parts]
        body = moved(stored(loop.body, places), place)
        return [*clear, For(loop.index, turns, body), *flushed]

    def goal(self, s: Sum, count: int) -> Address:
        """Where so many blocks are added up: for few or for float64 the place itself."""
        if s.address.buffer.dtype == WIDE or count * s.often <= LEAST:
            return s.address
        wide = self.memory(s, WIDE)
        self.done.add(wide.buffer.name)
        return wide

    def memory(self, s: Sum, dtype: DType) -> Address:
        """A number for each place, side by side in the order of the places."""
        steps = dict(s.address.terms)
        order = sorted(s.extents, key=lambda name: -abs(steps[name]))
        sizes = [s.extents[name] for name in order]
        size = math.prod(sizes)
        buffer = Buffer(f"t{self.fresh()}", size, dtype, "work", (size,))
        places = ((name, math.prod(sizes[at + 1 :])) for at, name in enumerate(order))
        return Address(buffer, 0, tuple(places))

    def flushed(self, pairs: Iterable[tuple[Sum, Address, Address]]) -> list[Statement]:
        """Add numbers at some places to others, in one loop where there are as many."""
        bodies: dict[tuple[tuple[str, int], ...], list[Statement]] = {}
        for s, source, target in pairs:
            loops = tuple((name, s.extents[name]) for name, _ in source.terms)
            bodies.setdefault(loops, []).extend(self.flush(s, source, target))
        found: list[Statement] = []
        for loops, body in bodies.items():
            found += nested([n for n, _ in loops], [n for _, n in loops], body)
        return found

    def flush(self, s: Sum, source: Address, target: Address) -> list[Statement]:
        """Add the number at one place to that at another."""
        value = Value(f"v{self.fresh()}", source.buffer.dtype)
        load = Load(value, source)
        if s.update:
            total = s.update.value
            return [load, Let(total, "add", (total, value), origin=s.update.origin)]
        if target.buffer.dtype == value.dtype:
            return [load, Store(target, value, "add")]
        cast = Value(f"v{self.fresh()}", target.buffer.dtype)
        return [load, Let(cast, "cast", (value,)), Store(target, cast, "add")]

    def fresh(self) -> int:
        """A number that no name has."""
        self.program.names += 1
        return self.program.names


def stored(statements: Iterable[Statement], places: Mapping[str, Address]) -> list[Statement]:
    """Statements that add to memory what they would add to some scalars."""
    found: list[Statement] = []
    for s in statements:
        if isinstance(s, For):
            found.append(For(s.index, s.extent, stored(s.body, places), s.reverse, s.uses))
        elif isinstance(s, Let) and s.value.name in places:
            more = next(x for x in s.operands if x != s.value)
            found.append(Store(places[s.value.name], more, "add", s.origin))
        else:
            found.append(s)
    return found


def block_of(extent: int, count: int) -> int:
    """How many turns are added up by themselves, where one adds ``count`` times to a place."""
    most = max(1, SHORT // max(count, 1))
    least = max(1, LEAST // max(count, 1))
    even = [n for n in range(least, most + 1) if extent % n == 0]
    many = [n for n in even if extent >= BLOCKS * n]
    return max(many) if many else min(even, default=max(least, min(most, extent // BLOCKS)))


def zeros(buffer: Buffer) -> Fill:
    """Set a buffer to zeros."""
    return Fill(buffer, Constant(0, buffer.dtype))
