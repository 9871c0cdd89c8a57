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

Fresh = Callable[[], str]
Batch = Sequence[tuple[str, int]]  # the index and the extent of each loop around a product

# Of a symmetric product only the part above the diagonal is computed, by panels of rows whose
# length is a multiple of PANEL, at most PANELS of them, from so many multiplications a panel on.
PANEL, PANELS, WORTH = 16, 4, 1 << 15
# Bytes from the first to the last of the rows that all products of a batch take before the next
# ones: near enough to stay in a cache. Sums are added to what is there, so their parts are longer.
NEAR_ROWS, NEAR_SUMS, LEAST = 1 << 16, 1 << 18, 8


def halves(s: Gemm, fresh: Fresh) -> list[Statement]:
    """A symmetric product: panels of rows from the diagonal on, and their mirror images."""
    count = min(PANELS, s.m // PANEL, s.m * s.n * s.k // WORTH)
    if count < 2:
        return [s]
    height = -(-s.m // (count * PANEL)) * PANEL
    found: list[Statement] = []
    for start in range(0, s.m, height):
        rows, right = min(height, s.m - start), s.n - start
        panel = s._replace(
            m=rows, n=right, a=further(s.a, start * (1 if s.transpose_a else s.lda)),
            b=further(s.b, start * (s.ldb if s.transpose_b else 1)),
            c=further(s.c, start * (s.ldc + 1)),
        )  # fmt: skip
        found.append(panel)
        found += mirrored(panel, fresh)
    return found


def mirrored(s: Gemm, fresh: Fresh) -> list[Statement]:
    """What is to the right of a panel's square, below it."""
    names, value = [fresh(), fresh()], Value(fresh(), s.c.buffer.dtype)
    source, target = further(s.c, s.m), further(s.c, s.m * s.ldc)
    body: list[Statement] = [
        Load(value, moved(source, names, (1, s.ldc))),
        Store(moved(target, names, (s.ldc, 1)), value, "", s.origin),
    ]
    return nested(names, (s.n - s.m, s.m), body) if s.n > s.m else []


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
            return in_sums(s, batch, fresh, block)
    return nested(names, extents, [s])


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


def in_sums(s: Gemm, batch: Batch, fresh: Fresh, block: int) -> list[Statement]:
    """Some terms of the sums of all products, added to what is there, then the next."""
    names, extents = [n for n, _ in batch], [n for _, n in batch]
    places, zero = [fresh(), fresh()], Constant(0, s.c.buffer.dtype)
    clear: list[Statement] = [Store(moved(s.c, places, (s.ldc, 1)), zero, "", s.origin)]
    found = nested([*names, *places], [*extents, s.m, s.n], clear)
    for start, count, terms in parts(s.k, block):
        index = fresh()
        a = moved(further(s.a, start * s.lda), [index], [terms * s.lda])
        b = moved(further(s.b, start * s.ldb), [index], [terms * s.ldb])
        rows, depth = ((s.m, 1, s.ldc),), ((terms, s.lda, s.ldb),)
        part = Product(fresh(), a, b, s.c, s.n, rows, depth, add=True, origin=s.origin)
        found += nested([index, *names], [count, *extents], [part])
    return found


def parts(extent: int, block: int) -> list[tuple[int, int, int]]:
    """Where equal parts begin, how many there are, and how long they are; then what is left."""
    count, rest = divmod(extent, block)
    found = [(0, count, block), (count * block, 1, rest)]
    return [part for part in found if part[1] * part[2]]


def further(address: Address, count: int) -> Address:
    """The element so many further."""
    return address._replace(offset=address.offset + count)
