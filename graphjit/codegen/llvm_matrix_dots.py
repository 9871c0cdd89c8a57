"""Matrix products whose elements are dot products of rows: each vector holds terms of one sum."""

from __future__ import annotations

from graphjit.codegen.llvm_matrix import (
    BUSY,
    MatrixBody,
    MatrixProduct,
    Tile,
    full_lanes,
    powers,
    weight,
)
from graphjit.codegen.llvm_text import BOOL, Module, Operand, literal

ROWS = 8  # sums at once


class DotsBody(MatrixBody):
    """One product of rows of A with columns of B, both without gaps."""

    title = "dots"

    def __init__(self, module: Module, p: MatrixProduct) -> None:
        super().__init__(module, p.dtype)
        self.p, self.tile = p, tile_of(p)

        def row(i: Operand) -> None:
            a, c = self.at("%a", (i, p.a.row)), self.at("%c", (i, p.c.row))

            def columns(j: Operand) -> None:
                sums = self.summed(a, self.at("%b", (j, p.b.column)))
                self.written(self.folded(sums), self.at(c, (j, p.c.column)))

            self.tiles(p.n, self.tile.rows, columns)

        self.tiles(p.m, 1, row)

    def summed(self, a: str, b: str) -> list[Operand]:
        """The sums of so many columns of B with one row of A, in parts."""
        t = self.tile

        def turn(start: Operand, state: list[Operand], count: int) -> list[Operand]:
            here_a, here_b = self.at(a, (start, 1)), self.at(b, (start, 1))
            ends: list[Operand] = []
            for u in range(count):
                old = state[u * t.rows : (u + 1) * t.rows]
                moved = (u, t.lanes)
                ends += self.step(self.at(here_a, moved), self.at(here_b, moved), old, 0)
            return ends + state[count * t.rows :]

        state = [self.zero(t.lanes)] * (t.rows * t.turns)
        state = self.deep(self.p.k, state, t.turns, t.lanes, turn)
        sums = [self.total(state[r :: t.rows]) for r in range(t.rows)]
        rest = self.p.k % t.lanes
        if not rest:
            return sums
        last = (self.p.k - t.lanes, 1)
        return self.step(self.at(a, last), self.at(b, last), sums, t.lanes - rest)

    def step(self, a: str, b: str, state: list[Operand], done: int) -> list[Operand]:
        """One vector of each, but for the first lanes, that are done."""
        lanes = self.tile.lanes
        left = self.but(self.read(a, lanes), done)
        return [
            self.added(
                old, left, self.but(self.read(self.at(b, (r, self.p.b.column)), lanes), done)
            )
            for r, old in enumerate(state)
        ]

    def but(self, x: Operand, done: int) -> Operand:
        """Zeros for the first lanes: neither factor may be a NaN or an infinity there."""
        if not done:
            return x
        bits = ", ".join(f"i1 {literal(i >= done, BOOL)}" for i in range(x.lanes))
        text = f"select <{x.lanes} x i1> <{bits}>, {x}, {self.zero(x.lanes)}"
        return self.value(text, x.dtype, x.lanes)

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
            first = self.shuffled(a, other, low)
            second = self.shuffled(a, other, [i + parts // 2 for i in low])
        return self.value(f"fadd {first}, {second.text}", a.dtype, len(low))

    def beside(self, a: Operand, b: Operand) -> Operand:
        """The lanes of two vectors."""
        if a.lanes == 1:
            return self.collected([a, b])
        return self.shuffled(a, b, range(2 * a.lanes))

    def written(self, sums: Operand, c: str) -> None:
        """The sums go to the result."""
        if self.p.c.column == 1:
            return self.write(sums, c)
        for i in range(sums.lanes):
            self.write(self.element(sums, i), self.at(c, (i, self.p.c.column)))
        return None


def tile_of(p: MatrixProduct) -> Tile:
    """As many sums as there are columns, and enough of them to keep the multipliers busy."""
    rows = powers(min(ROWS, p.n))[-1]
    lanes = powers(min(full_lanes(p.dtype), p.k))[-1]
    return Tile(rows, 1, lanes, max(1, min(BUSY // rows, p.k // lanes)))


def cost(p: MatrixProduct) -> int:
    """About how many half cycles the product takes: it loads, then adds lanes."""
    tile = tile_of(p)
    step = (tile.rows + 1) * weight(tile.lanes, p.dtype)
    fold = 2 * tile.rows * p.dtype.itemsize
    return p.m * -(-p.n // tile.rows) * (-(-p.k // tile.lanes) * step + fold)


def possible(p: MatrixProduct) -> bool:
    """Whether rows of A and columns of B have no gaps."""
    return p.a.column == p.b.row == 1
