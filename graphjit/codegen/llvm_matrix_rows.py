"""Matrix products with a vector of columns in each register.

B is read along its rows, and C written along its rows. Where their elements lie in columns,
columns of B are transposed before, and tiles of C after.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

from graphjit.codegen.llvm_instructions import shuffled
from graphjit.codegen.llvm_matrix import (
    MatrixBody,
    MatrixProduct,
    Tile,
    full_lanes,
    powers,
    tuned,
)
from graphjit.codegen.llvm_scalars import total
from graphjit.codegen.llvm_text import Module, Operand, suffix
from graphjit.codegen.native import Host, host
from graphjit.ir.aval import DType
from graphjit.tuning import Tiles, caches

FLAT = 4  # terms of a sum below which writing the result takes the longest
PANEL = 65536  # bytes for columns of B that the stack of any thread has room for
SQUARE = 4  # rows and columns at once that are transposed: two steps of shuffles


class SquaresBody(MatrixBody):
    """A function that writes rows as columns."""

    def moved(
        self, source: str, row: int, target: str, column: int, rows: int, columns: int
    ) -> None:
        """Rows without gaps become columns without gaps, square by square."""
        size = powers(min(rows, columns, SQUARE))[-1]

        def down(i: Operand) -> None:
            def across(j: Operand) -> None:
                here = self.at(source, (i, row), (j, 1))
                self.square(here, row, self.at(target, (i, 1), (j, column)), column, size)

            self.tiles(columns, size, across)

        self.tiles(rows, size, down)

    def square(self, source: str, row: int, target: str, column: int, size: int) -> None:
        """One square: the rows are shuffled perfectly as often as their number can be halved."""
        rows = [self.read(self.at(source, (r, row)), size) for r in range(size)]
        half = size // 2
        low = [x for i in range(half) for x in (i, size + i)]
        high = [x + half for x in low]
        for _ in range(half.bit_length()):
            pairs = list(zip(rows[:half], rows[half:], strict=True))
            rows = [shuffled(self, a, places, b) for a, b in pairs for places in (low, high)]
        for r, values in enumerate(rows):
            self.write(values, self.at(target, (r, column)))


def turned(module: Module, dtype: DType, rows: int, columns: int, row: int) -> str:
    """The name of a function that writes rows, so far apart, as the columns of a matrix."""
    name = f"turned_{suffix(dtype, 1)}_{rows}x{columns}_{row}"
    if name not in module.helpers:
        body = SquaresBody(module, dtype)
        body.moved("%a", row, "%b", rows, rows, columns)
        module.helpers[name] = body.function(name)
    return name


class RowsBody(SquaresBody):
    """The function of one product."""

    title = "rows"

    def __init__(self, module: Module, p: MatrixProduct) -> None:
        super().__init__(module, p.dtype)
        self.p, self.tile = p, tile_of(p)
        self.columns = min(p.n, self.tile.vectors * self.tile.lanes)
        self.packed, self.scattered = packs(p), p.c.column != 1
        if self.packed:
            self.panel = self.room(p.k * self.columns)
        if self.scattered:
            self.result = self.room(self.tile.rows * self.columns)
        if self.packed or p.k * p.n * p.dtype.itemsize > caches().first // 2:
            self.by_columns()
        else:
            self.by_rows()

    def room(self, size: int) -> str:
        """So many elements on the stack."""
        return self.let(f"alloca [{size} x {self.zero(1).kind}], align 64")

    def by_columns(self) -> None:
        """All rows for some columns of B, which stay in the first cache meanwhile."""

        def columns(j: Operand) -> None:
            b, step = self.at("%b", (j, self.p.b.column)), self.p.b.row
            if self.packed:
                self.pack(b)
                b, step = self.panel, self.columns
            self.tiles(self.p.m, self.tile.rows, lambda i: self.one(i, j, b, step))

        self.tiles(self.p.n, self.columns, columns)

    def by_rows(self) -> None:
        """All columns for some rows of A: C is written from its beginning to its end."""

        def rows(i: Operand) -> None:
            def columns(j: Operand) -> None:
                self.one(i, j, self.at("%b", (j, 1)), self.p.b.row)

            self.tiles(self.p.n, self.columns, columns)

        self.tiles(self.p.m, self.tile.rows, rows)

    def one(self, i: Operand, j: Operand, b: str, step: int) -> None:
        """The tile from row ``i`` and column ``j`` on; ``b`` is where its columns of B are."""
        sums = self.summed(self.at("%a", (i, self.p.a.row)), b, step)
        c = self.at("%c", (i, self.p.c.row), (j, self.p.c.column))
        if self.scattered:
            self.written(sums, self.result, self.columns)
            self.moved(self.result, self.columns, c, self.p.c.column, self.tile.rows, self.columns)
        else:
            self.written(sums, c, self.p.c.row)

    def summed(self, a: str, b: str, b_row: int) -> list[Operand]:
        """The tile whose rows of A and columns of B begin here."""
        t, a_column = self.tile, self.p.a.column
        size = t.rows * t.vectors

        def turn(start: Operand, state: list[Operand], count: int) -> list[Operand]:
            here_a, here_b = self.at(a, (start, a_column)), self.at(b, (start, b_row))
            ends: list[Operand] = []
            for u in range(count):
                old = state[u * size : (u + 1) * size]
                ends += self.step(self.at(here_a, (u, a_column)), self.at(here_b, (u, b_row)), old)
            return ends + state[count * size :]

        state = [self.zero(t.lanes)] * (size * t.turns)
        state = self.deep(self.p.k, state, t.turns, 1, turn)
        return [total(self, state[i::size]) for i in range(size)]

    def step(self, a: str, b: str, state: list[Operand]) -> list[Operand]:
        """A column of A times a row of B, added to the tile."""
        t = self.tile
        right = [self.read(self.at(b, (self.start(v), 1)), t.lanes) for v in range(t.vectors)]
        ends: list[Operand] = []
        for r in range(t.rows):
            left = self.spread(self.read(self.at(a, (r, self.p.a.row)), 1), t.lanes)
            old = state[r * t.vectors : (r + 1) * t.vectors]
            ends += [self.added(o, left, x) for o, x in zip(old, right, strict=True)]
        return ends

    def start(self, vector: int) -> int:
        """The column at which a vector begins; the last one has some of those before it."""
        return min(vector * self.tile.lanes, self.columns - self.tile.lanes)

    def written(self, sums: list[Operand], c: str, c_row: int) -> None:
        """The tile goes to memory."""
        for i, value in enumerate(sums):
            row, vector = divmod(i, self.tile.vectors)
            self.write(value, self.at(c, (row, c_row), (self.start(vector), 1)))

    def pack(self, b: str) -> None:
        """The columns of B next to each other on the stack."""
        if self.p.b.column != 1:
            self.moved(b, self.p.b.column, self.panel, self.columns, self.columns, self.p.k)
        else:
            self.tiles(self.p.k, 1, lambda i: self.copy(b, i))

    def copy(self, b: str, i: Operand) -> None:
        """A row of the columns of B."""
        source, target = self.at(b, (i, self.p.b.row)), self.at(self.panel, (i, self.columns))
        for start in map(self.start, range(self.tile.vectors)):
            value = self.read(self.at(source, (start, 1)), self.tile.lanes)
            self.write(value, self.at(target, (start, 1)))


def tile_of(p: MatrixProduct) -> Tile:
    """The tile that takes the least time, as far as one can tell."""
    return best_tile(p.dtype, p.m, p.n, p.k, host(), tuned())


@cache
def best_tile(dtype: DType, m: int, n: int, k: int, _: Host, numbers: Tiles) -> Tile:
    """The tile of the least cost for a shape, on this processor.

    Of several the one that loads least; or, where C is larger than A and B, the widest.
    """

    def order(t: Tile) -> tuple[int, int]:
        loads = t.rows + t.vectors * numbers.weight(t.lanes * dtype.itemsize)
        return tiles_cost(t, dtype, m, n, k, numbers), t.rows if k < FLAT else loads

    return min(candidates(dtype, m, n, k, numbers), key=order)


def candidates(dtype: DType, m: int, n: int, k: int, numbers: Tiles) -> Iterator[Tile]:
    """All tiles that fit into the registers."""
    most = numbers.row if m == 1 else numbers.sums
    for lanes in powers(min(full_lanes(dtype), n)):
        for vectors in range(1, min(most, -(-n // lanes)) + 1):
            for rows in range(1, min(m, max(1, numbers.sums // vectors)) + 1):
                size = rows * vectors
                turns = max(1, min(4, k, numbers.busy // size))
                if size * turns + (vectors if rows > 1 else 1) < numbers.registers:
                    yield Tile(rows, vectors, lanes, turns)


def tiles_cost(tile: Tile, dtype: DType, m: int, n: int, k: int, numbers: Tiles) -> int:
    """About how many half cycles the tiles take: they multiply, load, or wait for sums."""
    size, wide = tile.rows * tile.vectors, numbers.weight(tile.lanes * dtype.itemsize)
    step = max(size * wide, tile.rows + tile.vectors * wide, numbers.busy // tile.turns)
    tiles = -(-m // tile.rows) * -(-n // (tile.vectors * tile.lanes))
    return tiles * (k * step + 2 * size * wide * tile.turns + numbers.begun)


def packs(p: MatrixProduct) -> bool:
    """Whether columns of B are put on the stack.

    They are where B is not read along its rows; or where these are far apart, so that each needs
    a page of its own and few places in the first cache are left for them.
    """
    if p.b.column != 1:
        return True
    numbers = tuned()
    apart = p.b.row * p.dtype.itemsize >= numbers.apart and p.k >= numbers.deep
    return apart and p.m > 2 * tile_of(p).rows and panel(p) <= PANEL


def panel(p: MatrixProduct) -> int:
    """The bytes of the columns of B that a tile needs."""
    tile = tile_of(p)
    return p.k * min(p.n, tile.vectors * tile.lanes) * p.dtype.itemsize


def cost(p: MatrixProduct) -> int:
    """About how many half cycles the product takes."""
    tile, numbers = tile_of(p), tuned()
    whole = tiles_cost(tile, p.dtype, p.m, p.n, p.k, numbers)
    columns = min(p.n, tile.vectors * tile.lanes)
    packed = p.k * columns * -(-p.n // columns) if packs(p) else 0
    scattered = 2 * p.m * p.n if p.c.column != 1 else 0
    waits = numbers.stalled * ((packed > 0) + (scattered > 0))
    return whole + waits + (packed + scattered) * p.dtype.itemsize // 8


def possible(p: MatrixProduct) -> bool:
    """Whether B has rows or columns without gaps, and what is transposed of it fits."""
    return p.b.column == 1 or (p.b.row == 1 and panel(p) <= PANEL)
