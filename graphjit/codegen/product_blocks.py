"""Products in blocks: what is symmetric by halves, and what is far apart near each other."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from graphjit.codegen.loops import (
    Address,
    Constant,
    Gemm,
    Load,
    Product,
    Statement,
    Store,
    Value,
)
from graphjit.codegen.products import moved, nested
from graphjit.ir.graph import Origin

Fresh = Callable[[], str]
Batch = Sequence[tuple[str, int]]  # the index and the extent of each loop around a product

# Of a symmetric product only the part below the diagonal is computed, by panels of columns whose
# width is a multiple of PANEL, about PANELS of them, from so many multiplications a panel on.
PANEL, PANELS, WORTH = 16, 4, 1 << 15
LONG, FEW = 512, 128  # terms of the sums, and rows, for which the shortest text mirrors them
SHORT = 2048  # bytes of a row up to which tiles of our own need no copy of their operands
# Bytes from the first to the last of the rows that all products of a batch take before the next
# ones: near enough to stay in a cache. Sums are added to what is there, so their parts are longer.
NEAR_ROWS, NEAR_SUMS, LEAST = 1 << 16, 1 << 18, 8


def halves(s: Gemm, fresh: Fresh, *, own: bool) -> list[Statement]:
    """A symmetric product: panels of columns from the diagonal down, and their mirror images.

    Sums along short rows of both operands are tiles of our own where machine code is (``own``).
    """
    count = min(PANELS, s.m // PANEL, s.m * s.n * s.k // WORTH)
    if count < 2:
        return [s]
    width = -(-(s.m // count) // PANEL) * PANEL
    panels = [panel(s, start, min(width, s.n - start)) for start in range(0, s.n, width)]
    if s.k >= LONG and s.n <= FEW:
        mirrors = mirrored(s, fresh)
    else:
        mirrors = [statement for part in panels for statement in beside(part, fresh)]
    size = s.a.buffer.dtype.itemsize
    along = s.transpose_a and not s.transpose_b and size * max(s.lda, s.ldb) <= SHORT
    if not own or not along:
        return [*panels, *mirrors]
    block = NEAR_SUMS // (size * (s.lda + s.ldb))
    if 8 * block <= s.k:
        return [*in_sums(s, panels, [], fresh, block), *mirrors]
    return [*(along_rows(part, fresh, add=False) for part in panels), *mirrors]


def panel(s: Gemm, start: int, width: int) -> Gemm:
    """The columns of a symmetric product from one on, from the diagonal down."""
    a = further(s.a, start * (1 if s.transpose_a else s.lda))
    b = further(s.b, start * (s.ldb if s.transpose_b else 1))
    return s._replace(m=s.m - start, n=width, a=a, b=b, c=further(s.c, start * (s.ldc + 1)))


def along_rows(s: Gemm, fresh: Fresh, *, add: bool) -> Product:
    """A product whose sums are along the rows of both operands, as tiles of our own."""
    rows, depth = ((s.m, 1, s.ldc),), ((s.k, s.lda, s.ldb),)
    return Product(fresh(), s.a, s.b, s.c, s.n, rows, depth, add=add, origin=s.origin)


def mirrored(s: Gemm, fresh: Fresh) -> list[Statement]:
    """Above the diagonal what is below it: rows are columns, each as those before have left it."""
    return turned(s.c, s.c, s.ldc, (s.n, s.n), fresh, s.origin)


def beside(s: Gemm, fresh: Fresh) -> list[Statement]:
    """To the right of a panel's square what is below it."""
    source, target, size = further(s.c, s.n * s.ldc), further(s.c, s.n), (s.n, s.m - s.n)
    return turned(source, target, s.ldc, size, fresh, s.origin) if s.m > s.n else []


def turned(
    source: Address, target: Address, step: int, size: tuple[int, int], fresh: Fresh,
    origin: Origin | None,
) -> list[Statement]:  # fmt: skip
    """Columns written as rows."""
    names, value = [fresh(), fresh()], Value(fresh(), target.buffer.dtype)
    body: list[Statement] = [
        Load(value, moved(source, names, (1, step))),
        Store(moved(target, names, (step, 1)), value, "", origin),
    ]
    return nested(names, size, body)


def batched(s: Gemm, batch: Batch, fresh: Fresh, *, sums: bool) -> list[Statement]:
    """A product inside the loops of its batch.

    Where the rows of one product are far apart and those of the next lie between, as in
    ``nkd,kde->nke``, all products take some rows at a time. So do sums along such rows, where they
    may be taken in parts: ``sums``.
    """
    size = s.a.buffer.dtype.itemsize
    names, extents = [n for n, _ in batch], [n for _, n in batch]
    between = math.prod(extents)
    if not s.transpose_a and apart(s.lda, s.k, between) and apart(s.ldc, s.n, between):
        block = max(LEAST, NEAR_ROWS // (size * (s.lda + s.ldc)))
        if 2 * block <= s.m:
            return in_rows(s, batch, fresh, block)
    along = s.transpose_a and not s.transpose_b
    if sums and along and apart(s.lda, s.m, between) and apart(s.ldb, s.n, between):
        block = max(LEAST, NEAR_SUMS // (size * (s.lda + s.ldb)))
        if 2 * block <= s.k and between * s.m * s.n * size <= NEAR_SUMS:
            return in_sums(s, [s], batch, fresh, block)
    return nested(names, extents, [s])


def scattered(s: Gemm, batch: Batch) -> bool:
    """Whether rows of some operand have those of other products between them."""
    between = math.prod(n for _, n in batch)
    a, b = (s.m if s.transpose_a else s.k), (s.k if s.transpose_b else s.n)
    return any(apart(*x, between) for x in ((s.lda, a), (s.ldb, b), (s.ldc, s.n)))


def apart(step: int, width: int, between: int) -> bool:
    """Whether several products have rows between two neighbours of one of them."""
    return between > 1 and step >= 4 * width


def in_rows(s: Gemm, batch: Batch, fresh: Fresh, block: int) -> list[Statement]:
    """Some rows of all products, then the next."""
    found: list[Statement] = []
    names, extents = [n for n, _ in batch], [n for _, n in batch]
    for start, count, rows in parts(s.m, block):
        index = fresh()
        part = s._replace(
            m=rows,
            a=moved(further(s.a, start * s.lda), [index], [rows * s.lda]),
            c=moved(further(s.c, start * s.ldc), [index], [rows * s.ldc]),
        )
        found += nested([index, *names], [count, *extents], [part])
    return found


def in_sums(
    s: Gemm, pieces: Sequence[Gemm], batch: Batch, fresh: Fresh, block: int
) -> list[Statement]:
    """Some terms of the sums of all products, added to what is there, then the next.

    Args:
        s: The product of one turn.
        pieces: What is wanted of it.
        batch: The loops around it.
        fresh: Gives names.
        block: How many terms.
    """
    names, extents = [n for n, _ in batch], [n for _, n in batch]
    places, zero = [fresh(), fresh()], Constant(0, s.c.buffer.dtype)
    clear: list[Statement] = [Store(moved(s.c, places, (s.ldc, 1)), zero, "", s.origin)]
    found = nested([*names, *places], [*extents, s.m, s.n], clear)
    for start, count, terms in parts(s.k, block):
        index = fresh()
        part: list[Statement] = [
            along_rows(p._replace(
                k=terms,
                a=moved(further(p.a, start * p.lda), [index], [terms * p.lda]),
                b=moved(further(p.b, start * p.ldb), [index], [terms * p.ldb]),
            ), fresh, add=True)
            for p in pieces
        ]  # fmt: skip
        found += nested([index, *names], [count, *extents], part)
    return found


def parts(extent: int, block: int) -> list[tuple[int, int, int]]:
    """Where equal parts begin, how many there are, and how long they are; then what is left."""
    count, rest = divmod(extent, block)
    found = [(0, count, block), (count * block, 1, rest)]
    return [part for part in found if part[1] * part[2]]


def further(address: Address, count: int) -> Address:
    """The element so many further."""
    return address._replace(offset=address.offset + count)
