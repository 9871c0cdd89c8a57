"""Products of a matrix with picked rows in LLVM IR; the rows to come are fetched meanwhile."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from graphjit.codegen.llvm_instructions import binary, compare, select
from graphjit.codegen.llvm_matrix import MatrixBody, MatrixProduct, Steps, Tile, powers, tuned
from graphjit.codegen.llvm_matrix_dots import DotsBody
from graphjit.codegen.llvm_matrix_rows import RowsBody, best_tile
from graphjit.codegen.llvm_scalars import total
from graphjit.codegen.llvm_text import I64, Module, Operand, lane, mask, suffix
from graphjit.codegen.loops import Ahead, PickedGemv
from graphjit.codegen.native import host
from graphjit.ir.aval import DType
from graphjit.records import NamedTuple
from graphjit.tuning import LINE

if TYPE_CHECKING:
    from graphjit.codegen.llvm_memory import Memory

SECOND = 2  # the cache to fetch into, as LLVM counts: 3 is the first


class Picked(NamedTuple):
    """y = op(A) x, the rows of A picked; or with ``ahead``, and others fetched."""

    dtype: DType
    rows: int
    columns: int
    lda: int
    transpose: bool
    ahead: bool

    @property
    def name(self) -> str:
        """A name that no other product has."""
        how = f"{'rows' if self.transpose else 'dots'}{'_ahead' if self.ahead else ''}"
        return f"picked_{how}_{suffix(self.dtype, 1)}_{self.rows}x{self.columns}x{self.lda}"


def picked_gemv(w: Memory, s: PickedGemv) -> None:
    """Call the function for a product; there is one for all that are alike."""
    p = Picked(s.a.buffer.dtype, s.rows, s.columns, s.lda, s.transpose, s.ahead is not None)
    if p.name not in w.module.helpers:
        body = PickedRows if p.transpose else PickedDots
        w.module.helpers[p.name] = body(w.module, p).function(p.name)
    pointers = [w.first(x) for x in (s.x, s.a, s.y, s.picked)]
    last = ahead_of(w, w.first(s.read), s.ahead) if s.read and s.ahead else pointers[-1]
    w.put(f"call void @{p.name}({', '.join(f'ptr {x}' for x in (*pointers, last))})")


def ahead_of(w: Memory, pointer: str, ahead: Ahead) -> str:
    """Where the numbers of the rows to come are; in the last turn those of this one once more."""
    step = Operand(str(ahead.step), I64)
    if ahead.last is not None:
        more = compare(w, "ne", w.named(ahead.loop), Operand(str(ahead.last), I64))
        step = select(w, more, step, Operand("0", I64))
    return w.let(f"getelementptr i64, ptr {pointer}, {step}")


class PickedBody(MatrixBody):
    """What both products have: the way to a row."""

    picked: Picked

    def number(self, table: str, i: Operand, more: int) -> Operand:
        """The number of a row."""
        which = binary(self, "add", i, number_of(more))
        place = self.let(f"getelementptr i64, ptr {table}, {which}")
        return self.value(f"load i64, ptr {place}, align 8", I64)

    def row(self, i: Operand, more: int = 0) -> str:
        """Where a row begins."""
        return self.at("%b", (self.number("%rows", i, more), self.picked.lda))

    def fetch(self, i: Operand, more: int, start: Operand, columns: int) -> None:
        """Have some columns of a row to come brought into the second cache.

        In the first they would be in the way of the rows of now: measured, 1.5 times slower where
        a batch is larger than it, and no quicker where it is not.
        """
        if not self.picked.ahead:
            return
        p = self.picked
        number = self.number("%ahead", i, more)
        place = self.at("%b", (number, p.lda), (start, 1))
        self.module.declare("llvm.prefetch.p0", "void", ["ptr", "i32", "i32", "i32"])
        for byte in lines(columns * p.dtype.itemsize, p.lda * p.dtype.itemsize):
            here = self.let(f"getelementptr i8, ptr {place}, i64 {byte}") if byte else place
            self.put(f"call void @llvm.prefetch.p0(ptr {here}, i32 0, i32 {SECOND}, i32 1)")

    def function(self, name: str) -> str:
        """All of it: a function of five pointers."""
        names = ("noalias %a", "noalias %b", "noalias %c", "noalias %rows", "%ahead")
        head = f"define internal void @{name}({', '.join('ptr ' + n for n in names)}) #0 {{"
        return "\n".join([head, "entry:", *self.text_lines(), "  ret void", "}"])


def number_of(count: int) -> Operand:
    """A number as an operand."""
    return Operand(str(count), I64)


def lines(width: int, step: int) -> list[int]:
    """The bytes of a row at which to ask for a line, so that all are asked for."""
    furthest = LINE - math.gcd(step, LINE)  # from the beginning of a line to that of a row
    count = -(-width // LINE)
    last = [width - 1] if furthest + width > count * LINE else []
    return [*range(0, width, LINE), *last]


class PickedDots(PickedBody, DotsBody):
    """Dot products of rows with a vector."""

    def __init__(self, module: Module, p: Picked) -> None:
        MatrixBody.__init__(self, module, p.dtype)
        steps = Steps(0, 1), Steps(1, p.lda), Steps(0, 1)
        self.picked, self.p = p, MatrixProduct(p.dtype, 1, p.rows, p.columns, *steps)
        numbers = tuned()
        lanes = powers(min(numbers.taken // p.dtype.itemsize, p.columns))[-1]  # rows begin anywhere
        self.tile = Tile(1, powers(min(numbers.dots, p.rows))[-1], lanes, 1)

        def some(i: Operand) -> None:
            self.begins = [self.row(i, r) for r in range(self.tile.vectors)]
            sums = self.dots()
            self.written(self.folded(sums), self.at("%c", (i, 1)))

        self.tiles(p.rows, self.tile.vectors, some)

    def dots(self) -> list[Operand]:
        """The sums of each row, in the lanes of a vector."""
        t = self.tile

        def turn(start: Operand, state: list[Operand], _: int) -> list[Operand]:
            return self.turn(start, state, t.lanes)

        state = self.deep(self.p.k, [self.zero(t.lanes)] * t.vectors, 1, t.lanes, turn)
        rest = self.p.k % t.lanes
        return self.turn(number_of(self.p.k - rest), state, rest) if rest else state

    def turn(self, start: Operand, state: Sequence[Operand], count: int) -> list[Operand]:
        """So many columns from one on."""
        x = self.some(self.at("%a", (start, 1)), count)
        rows = [self.some(self.at(begin, (start, 1)), count) for begin in self.begins]
        return [self.added(old, x, row) for old, row in zip(state, rows, strict=True)]

    def some(self, pointer: str, count: int) -> Operand:
        """So many neighbours in memory, then zeros."""
        lanes, dtype = self.tile.lanes, self.dtype
        if count == lanes:
            return self.read(pointer, lanes)
        held, bits = f"<{lanes} x {lane(dtype)}>", f"<{lanes} x i1>"
        name = f"llvm.masked.load.{suffix(dtype, lanes)}.p0"
        self.module.declare(name, held, ["ptr", bits, held])
        where = f"ptr align {dtype.itemsize} {pointer}, {mask(lanes, count)}"
        return self.value(f"call {held} @{name}({where}, {held} zeroinitializer)", dtype, lanes)


class PickedRows(PickedBody, RowsBody):
    """Sums of rows, each times its factor."""

    def __init__(self, module: Module, p: Picked) -> None:
        MatrixBody.__init__(self, module, p.dtype)
        self.picked = p
        self.tile = best_tile(p.dtype, 1, p.columns, p.rows, host(), tuned())
        self.columns = min(p.columns, self.tile.vectors * self.tile.lanes)
        self.tiles(p.columns, self.columns, self.some)

    def some(self, j: Operand) -> None:
        """Some columns."""
        t = self.tile

        def turn(start: Operand, state: list[Operand], count: int) -> list[Operand]:
            ends: list[Operand] = []
            for u in range(count):
                self.fetch(start, u, j, self.columns)
                old = state[u * t.vectors : (u + 1) * t.vectors]
                row = self.at(self.row(start, u), (j, 1))
                ends += self.step(self.at("%a", (start, 1), (u, 1)), row, old)
            return ends + state[count * t.vectors :]

        state = [self.zero(t.lanes)] * (t.vectors * t.turns)
        state = self.deep(self.picked.rows, state, t.turns, 1, turn)
        sums = [total(self, state[v :: t.vectors]) for v in range(t.vectors)]
        self.written(sums, self.at("%c", (j, 1)), 0)

    def step(self, a: str, b: str, state: list[Operand]) -> list[Operand]:
        """A row times its factor, added to the sums."""
        t = self.tile
        left = self.spread(self.read(a, 1), t.lanes)
        right = [self.read(self.at(b, (self.start(v), 1)), t.lanes) for v in range(t.vectors)]
        return [self.added(old, left, x) for old, x in zip(state, right, strict=True)]
