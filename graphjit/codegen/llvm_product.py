"""Products over nests of loops in LLVM IR: tiles of the result stay in registers.

A tile is some rows by some vectors of columns. For each term of the sums the vectors of B are
loaded once, and each row multiplies them by its own element of A.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from graphjit.codegen.llvm_loops import power_of_two
from graphjit.codegen.llvm_matrix import full_lanes, tuned
from graphjit.codegen.llvm_text import I64, Operand, constant, kind
from graphjit.codegen.loops import Product
from graphjit.records import NamedTuple

if TYPE_CHECKING:
    from graphjit.codegen.llvm_kernel import KernelWriter as Writer

WHOLE = 8  # turns of an innermost loop that are written out, for the sake of short text


class Tiling(NamedTuple):
    """How a result is cut: ``rows`` by ``vectors`` of so many ``lanes``.

    ``level`` is the loop of the rows that is cut into parts of ``part`` turns; those inside it
    are in every tile whole.
    """

    lanes: int
    vectors: int
    level: int
    part: int

    @classmethod
    def of(cls, s: Product) -> Tiling:
        """The largest tile that the registers hold beside what is loaded."""
        lanes = width_for(s)
        needed, numbers = -(-s.columns // lanes), tuned()
        vectors = -(-needed // -(-needed // numbers.columns))
        room = min(numbers.rows, (numbers.held - vectors) // vectors)
        inside, level = 1, len(s.rows)
        while level and inside * s.rows[level - 1][0] <= room:
            level -= 1
            inside *= s.rows[level][0]
        if not level:
            return cls(lanes, vectors, 0, 0)
        extent = s.rows[level - 1][0]
        return cls(lanes, vectors, level, even(extent, room // inside))


def even(extent: int, most: int) -> int:
    """So many turns of a loop at once that none are left over, or as many as in the other parts."""
    parts = (n for n in range(most, 3 * most // 4 - 1, -1) if n and extent % n == 0)
    return next(parts, -(-extent // -(-extent // most)))


def width_for(s: Product) -> int:
    """The lanes for which the columns take the least time: 10 of 8 bytes are 4 + 4 + 2, not 8 + 2.

    Of several the most.
    """
    dtype = s.c.buffer.dtype
    numbers, most = tuned(), min(full_lanes(dtype), power_of_two(s.columns))
    return min(
        (most >> halved for halved in range(most.bit_length())),
        key=lambda lanes: -(-s.columns // lanes) * numbers.weight(lanes * dtype.itemsize),
    )


def product(w: Writer, s: Product) -> None:
    """The whole product: columns by columns, so that a part of B stays close, tile by tile."""
    if 0 in (s.columns, *(n for n, _, _ in s.rows)):
        return
    Tiles(w, s, Tiling.of(s)).write()


class Tiles:
    """Writes one product."""

    def __init__(self, w: Writer, s: Product, tiling: Tiling) -> None:
        self.w, self.s, self.tiling = w, s, tiling
        self.dtype = s.c.buffer.dtype
        self.a, self.b, self.c = (w.first(x) for x in (s.a, s.b, s.c))

    def write(self) -> None:
        """Panels of columns; the last may be narrower."""
        t = self.tiling
        width = t.lanes * t.vectors
        whole = self.s.columns // width * width
        zero = constant(0, I64)
        if whole:
            self.repeat(whole, width, lambda at: self.panel(at, width))
        if whole < self.s.columns:
            rest = self.s.columns - whole
            self.panel(self.w.plus(zero, constant(whole, I64)), rest)

    def repeat(self, count: int, step: int, turn: Callable[[Operand], None]) -> None:
        """A loop that carries nothing."""

        def once(index: Operand, _: list[Operand]) -> list[Operand]:
            turn(index)
            return []

        self.w.repeat(count, [], once, step)

    def panel(self, column: Operand, width: int) -> None:
        """All rows of some columns."""
        b, c = self.further(self.b, column, 1), self.further(self.c, column, 1)
        self.rows(self.a, b, c, 0, width)

    def rows(self, a: str, b: str, c: str, level: int, width: int) -> None:
        """The loops of the rows from a level on, down to the tiles."""
        t, rows = self.tiling, self.s.rows
        if level == t.level:
            return self.tile(a, b, c, self.offsets(t.level), width)
        extent, a_step, c_step = rows[level]
        if level + 1 < t.level:
            return self.repeat(extent, 1, lambda i: self.rows(
                self.further(a, i, a_step), b, self.further(c, i, c_step), level + 1, width
            ))  # fmt: skip
        whole = extent // t.part * t.part
        for start, count, size in ((0, whole, t.part), (whole, extent - whole, extent - whole)):
            if count:
                first, last = (self.further(p, constant(start, I64), step)
                               for p, step in ((a, a_step), (c, c_step)))  # fmt: skip
                self.repeat(count, size, lambda i, p=first, q=last, size=size: self.tile(  # type: ignore[misc]
                    self.further(p, i, a_step), b, self.further(q, i, c_step),
                    self.offsets(t.level - 1, size), width,
                ))  # fmt: skip
        return None

    def offsets(self, level: int, part: int = 0) -> list[tuple[int, int]]:
        """Where in A and C the rows of a tile begin."""
        loops = [list(loop) for loop in self.s.rows[level:]]
        if part:
            loops[0][0] = part
        found = [(0, 0)]
        for turns, a_step, c_step in loops:
            found = [(a + i * a_step, c + i * c_step) for a, c in found for i in range(turns)]
        return found

    def tile(self, a: str, b: str, c: str, offsets: Sequence[tuple[int, int]], width: int) -> None:
        """One tile: its sums in registers, over all terms; then it is written."""
        lanes = self.tiling.lanes
        active = [min(lanes, width - at) for at in range(0, width, lanes)]
        places = [(c_at + v * lanes, n) for _, c_at in offsets for v, n in enumerate(active)]
        if self.s.add:
            sums = [self.load(self.further(c, constant(at, I64), 1), n) for at, n in places]
        else:
            sums = [constant(0, self.dtype, lanes) for _ in places]
        sums = self.depth(a, b, 0, sums, [at for at, _ in offsets], active)
        for value, (at, n) in zip(sums, places, strict=True):
            self.store(value, self.further(c, constant(at, I64), 1), n)

    def depth(
        self, a: str, b: str, level: int, sums: list[Operand], rows: list[int], active: list[int]
    ) -> list[Operand]:
        """The loops of the sums from a level on."""
        loops = self.s.depth
        if level == len(loops):
            return self.term(a, b, sums, rows, active)
        extent, a_step, b_step = loops[level]
        unroll = self.unroll(extent, len(sums)) if level == len(loops) - 1 else 1

        def turn(i: Operand, sums: list[Operand]) -> list[Operand]:
            for more in range(unroll):
                at = self.w.plus(i, constant(more, I64))
                p, q = self.further(a, at, a_step), self.further(b, at, b_step)
                sums = self.depth(p, q, level + 1, sums, rows, active)
            return sums

        return self.w.repeat(extent, sums, turn, unroll)

    def unroll(self, extent: int, sums: int) -> int:
        """How many turns of the innermost loop are written one after the other."""
        if extent <= WHOLE:
            return extent
        wanted = max(1, 32 // max(sums, 1))
        return max(n for n in (1, 2, 3, 4) if extent % n == 0 and n <= max(wanted, 1))

    def term(
        self, a: str, b: str, sums: list[Operand], rows: list[int], active: list[int]
    ) -> list[Operand]:
        """One term of every sum of the tile."""
        w, lanes = self.w, self.tiling.lanes
        columns = [
            self.load(self.further(b, constant(v * lanes, I64), 1), n) for v, n in enumerate(active)
        ]
        ends = []
        for row, at in enumerate(rows):
            place = self.further(a, constant(at, I64), 1)
            held = f"load {kind(self.dtype, 1)}, ptr {place}, align {self.dtype.itemsize}"
            factor = w.spread(w.value(held, self.dtype), lanes)
            for v, column in enumerate(columns):
                ends.append(w.intrinsic("fmuladd", factor, column, sums[row * len(columns) + v]))
        return ends

    # -- memory -------------------------------------------------------------------------------

    def further(self, pointer: str, index: Operand, step: int) -> str:
        """A pointer so many elements on."""
        offset = self.w.times(index, step) if step else constant(0, I64)
        if offset.text == "0":
            return pointer
        return self.w.let(f"getelementptr {kind(self.dtype, 1)}, ptr {pointer}, {offset}")

    def load(self, pointer: str, active: int) -> Operand:
        """A vector; lanes that are not active hold anything."""
        lanes, outer = self.tiling.lanes, self.w.vector
        self.w.vector = ("", lanes, active if active < lanes else 0)
        found = self.w.value(self.w.loaded(pointer, self.dtype, lanes), self.dtype, lanes)
        self.w.vector = outer
        return found

    def store(self, value: Operand, pointer: str, active: int) -> None:
        """Write the active lanes of a vector."""
        lanes, outer = self.tiling.lanes, self.w.vector
        self.w.vector = ("", lanes, active if active < lanes else 0)
        self.w.stored(str(value), pointer, self.dtype, lanes)
        self.w.vector = outer
