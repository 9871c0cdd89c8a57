"""Matrix products whose elements are dot products of rows: each vector holds terms of one sum."""

from __future__ import annotations

from functools import partial

from graphjit.codegen.llvm_instructions import select, shuffled
from graphjit.codegen.llvm_matrix import (
    MatrixBody,
    MatrixProduct,
    Tile,
    full_lanes,
    powers,
    tuned,
)
from graphjit.codegen.llvm_scalars import total
from graphjit.codegen.llvm_text import Module, Operand, mask


class DotsBody(MatrixBody):
    """One product of rows of A with columns of B, both without gaps.

    A tile is of so many rows and, since each sum is a vector, as many columns as vectors: what is
    loaded of a row is used with all columns, and the other way round.
    """

    title = "dots"

    def __init__(self, module: Module, p: MatrixProduct) -> None:
        super().__init__(module, p.dtype)
        self.p, self.tile = p, tile_of(p)

        def row(i: Operand) -> None:
            a, c = self.at("%a", (i, p.a.row)), self.at("%c", (i, p.c.row))

            def columns(j: Operand) -> None:
                sums = self.summed(a, self.at("%b", (j, p.b.column)))
                for r in range(self.tile.rows):
                    whole = self.folded(sums[r * self.tile.vectors :][: self.tile.vectors])
                    self.written(whole, self.at(c, (j, p.c.column), (r, p.c.row)))

            self.tiles(p.n, self.tile.vectors, columns)

        self.tiles(p.m, self.tile.rows, row)

    def summed(self, a: str, b: str) -> list[Operand]:
        """The sums of so many columns of B with each of so many rows of A, in parts."""
        t = self.tile
        count = t.rows * t.vectors

        def turn(start: Operand, state: list[Operand], turns: int) -> list[Operand]:
            here_a, here_b = self.at(a, (start, 1)), self.at(b, (start, 1))
            ends: list[Operand] = []
            for u in range(turns):
                moved = (u, t.lanes)
                old = state[u * count : (u + 1) * count]
                ends += self.step(self.at(here_a, moved), self.at(here_b, moved), old, 0)
            return ends + state[turns * count :]

        state = [self.zero(t.lanes)] * (count * t.turns)
        state = self.deep(self.p.k, state, t.turns, t.lanes, turn)
        sums = [total(self, state[r::count]) for r in range(count)]
        rest = self.p.k % t.lanes
        if not rest:
            return sums
        last = (self.p.k - t.lanes, 1)
        return self.step(self.at(a, last), self.at(b, last), sums, t.lanes - rest)

    def step(self, a: str, b: str, state: list[Operand], done: int) -> list[Operand]:
        """One vector of each, but for the first lanes, that are done."""
        t, p = self.tile, self.p

        def vectors(start: str, count: int, step: int) -> list[Operand]:
            places = [self.at(start, (r, step)) for r in range(count)]
            return [self.but(self.read(place, t.lanes), done) for place in places]

        right = vectors(b, t.vectors, p.b.column)
        pairs = [(x, y) for x in vectors(a, t.rows, p.a.row) for y in right]
        return [self.added(old, x, y) for old, (x, y) in zip(state, pairs, strict=True)]

    def but(self, x: Operand, done: int) -> Operand:
        """Zeros for the first lanes: neither factor may be a NaN or an infinity there."""
        if not done:
            return x
        return select(self, mask(x.lanes, x.lanes, done), x, self.zero(x.lanes))

    def folded(self, sums: list[Operand]) -> Operand:
        """The sum of each vector, as the lanes of one.

        Halves of two vectors make one in which each has half as many lanes, and so on.
        """
        parts = sums[0].lanes  # lanes that each sum has
        while len(sums) > 1:
            pairs = list(zip(sums[::2], sums[1::2], strict=True))
            if parts > 1:
                sums = [self.halved(a, b, parts) for a, b in pairs]
                parts //= 2
            else:
                sums = [self.beside(a, b) for a, b in pairs]
        whole = sums[0]
        while parts > 1:
            whole, parts = self.halved(whole, None, parts), parts // 2
        return whole

    def halved(self, a: Operand, b: Operand | None, parts: int) -> Operand:
        """First half plus second half of each sum's lanes, in one vector or in two."""
        lanes = a.lanes * (1 if b is None else 2)
        low = [i for i in range(lanes) if i % parts < parts // 2]
        other = a if b is None else b
        if len(low) == 1:
            first, second = self.element(a, 0), self.element(a, 1)
        else:
            first = shuffled(self, a, low, other)
            second = shuffled(self, a, [i + parts // 2 for i in low], other)
        return self.value(f"fadd {first}, {second.text}", a.dtype, len(low))

    def beside(self, a: Operand, b: Operand) -> Operand:
        """The lanes of two vectors."""
        if a.lanes == 1:
            return self.collected([a, b])
        return shuffled(self, a, range(2 * a.lanes), b)

    def written(self, sums: Operand, c: str) -> None:
        """The sums go to the result."""
        if self.p.c.column == 1:
            return self.write(sums, c)
        for i in range(sums.lanes):
            self.write(self.element(sums, i), self.at(c, (i, self.p.c.column)))
        return None


def tile_of(p: MatrixProduct) -> Tile:
    """The tile that takes least time, with enough sums to keep the multipliers busy."""
    return min(map(partial(tile, p), powers(min(tuned().dots, p.n))), key=partial(time, p))


def tile(p: MatrixProduct, columns: int) -> Tile:
    """The tile of so many columns, of as many rows as there are registers for its sums."""
    numbers = tuned()
    most = max(1, (numbers.registers - 1 - columns) // columns)
    rows = -(-p.m // -(-p.m // most))
    lanes = powers(min(full_lanes(p.dtype), p.k))[-1]
    turns = max(1, min(numbers.busy // (rows * columns), p.k // lanes))
    return Tile(rows, columns, lanes, turns)


def time(p: MatrixProduct, tile: Tile) -> int:
    """The half cycles of a product by tiles, measured.

    A turn multiplies while it loads, which takes twice as long for a vector; at the end each row
    adds lanes: of two vectors at a time, then of the one that is left.
    """
    numbers = tuned()
    turn = max(numbers.loaded * (tile.rows + tile.vectors), tile.rows * tile.vectors)
    halves = tile.vectors - 1 + (tile.lanes // tile.vectors).bit_length()
    inside = -(-p.k // tile.lanes) * turn + numbers.folded * tile.rows * halves
    tiles = -(-p.m // tile.rows) * -(-p.n // tile.vectors)
    return tiles * inside * numbers.weight(tile.lanes * p.dtype.itemsize)


def cost(p: MatrixProduct) -> int:
    """About how many half cycles the product takes."""
    return time(p, tile_of(p))


def possible(p: MatrixProduct) -> bool:
    """Whether rows of A and columns of B have no gaps."""
    return p.a.column == p.b.row == 1
