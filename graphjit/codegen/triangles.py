"""Products of which a triangle is left out: of an operand, where it is zero, or of the result.

They are cut into panels, and each takes only what it needs: with 4 panels 5/8 of a square. Zero
times what is infinite or NaN is NaN, so where that counts the other operand is looked through
first, and the product is taken whole if need be.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple, Protocol

import numpy as np

from graphjit.codegen.loops import (
    Address,
    Buffer,
    Constant,
    Gemm,
    If,
    Let,
    Load,
    Statement,
    Store,
    Value,
)
from graphjit.codegen.product_blocks import further
from graphjit.codegen.products import moved, nested
from graphjit.ir.aval import DType
from graphjit.ir.graph import Node

Fresh = Callable[[], str]
Dimension = Literal["m", "n", "k"]


class Scratch(Protocol):
    """Makes work buffers."""

    def __call__(self, size: int, dtype: DType) -> Buffer:
        """One of so many elements."""


# At most so many panels, each of so many rows or columns at least, a multiple of STEP, and with so
# many multiplications; and the share of the multiplications from which on it is not worth it.
PANELS, PANEL, STEP, WORTH, SHARE = 4, 32, 16, 1 << 17, 0.8
# In a batch of products of our own, which are small and close together.
OWN_PANEL, OWN_STEP, OWN_WORTH = 5, 1, 1 << 16


class Rows(NamedTuple):
    """A matrix whose rows begin so many elements apart."""

    place: Address
    step: int
    rows: int
    columns: int


class Half(NamedTuple):
    """What counts of a product: where the index of ``small`` is at most the other's + ``offset``.

    ``across`` is the dimension that is cut into panels.
    """

    across: Dimension
    along: Dimension
    small: Dimension
    offset: int

    def stretch(self, panel: Gemm, start: int) -> tuple[int, int]:
        """From where to where a panel that begins at ``start`` needs the other dimension."""
        size, count = getattr(panel, self.along), getattr(panel, self.across)
        if self.small == self.along:
            return 0, max(0, min(size, start + count + self.offset))
        return min(size, max(0, start - self.offset)), size


def triangular(
    s: Gemm, node: Node, letters: Mapping[Dimension, str], fresh: Fresh, scratch: Scratch,
    *, own: bool = False,
) -> list[Statement] | None:  # fmt: skip
    """A product of which something is left out; None where nothing is that would be worth it.

    Args:
        s: All of it.
        node: The contraction with the remarks of ``passes.triangles``.
        letters: Those of its rows, columns and sums.
        fresh: Gives names.
        scratch: Gives work buffers.
        own: Whether it is one of a batch, in tiles of our own.
    """
    known: dict[str, Dimension] = {c: d for d, c in letters.items()}
    *zeros, checked = node.params.get("zeros", (0,))
    small, large, offset = zeros[1:] or node.params["wanted"]
    if not known.keys() >= {small, large}:
        return None
    pair = known[small], known[large]
    across: Dimension = "m" if "m" in pair else "n"
    half = Half(across, pair[pair[0] == across], pair[0], offset)
    found = by_half(s, half, fresh, own=own)
    if not checked or found is None:
        return found
    flag = scratch(1, np.dtype(bool))
    a, b = operands(s)
    looked = (b, a) if across == "m" else (a, b)
    return [*finite(looked[:checked], flag, fresh), If(Address(flag, 0), found, [s])]


def by_half(s: Gemm, half: Half, fresh: Fresh, *, own: bool = False) -> list[Statement] | None:
    """The product in panels, and zeros for the rest; None where that is not worth it."""
    extent, work = getattr(s, half.across), s.m * s.n * s.k
    panel, step, worth = (OWN_PANEL, OWN_STEP, OWN_WORTH) if own else (PANEL, STEP, WORTH)
    count = min(PANELS, extent // panel, work // worth)
    if count < 2:
        return None
    height = -(-extent // (count * step)) * step
    found: list[Statement] = []
    for start in range(0, extent, height):
        rows = part(s, half.across, start, min(height, extent - start))
        found += cut(rows, half, *half.stretch(rows, start), fresh)
    done = sum(p.m * p.n * p.k for p in found if isinstance(p, Gemm))
    return found if done <= SHARE * work else None


def cut(s: Gemm, half: Half, start: int, end: int, fresh: Fresh) -> list[Statement]:
    """What a panel needs of the product, and zeros in what is not computed of its result."""
    found: list[Statement] = [part(s, half.along, start, end - start)] if start < end else []
    if half.along == "k":
        return found or cleared(s, fresh)
    left, right = (part(s, half.along, *x) for x in ((0, start), (end, s.n - end)))
    return [*cleared(left, fresh), *found, *cleared(right, fresh)]


def cleared(s: Gemm, fresh: Fresh) -> list[Statement]:
    """Zeros for a product's result."""
    names = [fresh(), fresh()]
    zero = Store(moved(s.c, names, (s.ldc, 1)), Constant(0, s.c.buffer.dtype), "", s.origin)
    return nested(names, (s.m, s.n), [zero]) if s.m * s.n else []


def operands(s: Gemm) -> tuple[Rows, Rows]:
    """Both operands as they lie in memory."""
    a, b = (s.k, s.m) if s.transpose_a else (s.m, s.k), (s.n, s.k) if s.transpose_b else (s.k, s.n)
    return Rows(s.a, s.lda, *a), Rows(s.b, s.ldb, *b)


def finite(looked: Sequence[Rows], flag: Buffer, fresh: Fresh) -> list[Statement]:
    """Store whether all of some operands is finite."""
    total = Value(fresh(), flag.dtype)
    found: list[Statement] = [Let(total, "copy", (Constant(True, flag.dtype),))]
    for operand in looked:
        place, names = operand.place, [fresh(), fresh()]
        element, good = Value(fresh(), place.buffer.dtype), Value(fresh(), flag.dtype)
        body: list[Statement] = [
            Load(element, moved(place, names, (operand.step, 1))),
            Let(good, "isfinite", (element,)),
            Let(total, "logical_and", (total, good)),
        ]
        found += nested(names, (operand.rows, operand.columns), body)
    return [*found, Store(Address(flag, 0), total)]


def part(s: Gemm, dimension: Dimension, start: int, count: int) -> Gemm:
    """The product with a part of its rows, its columns, or the terms of its sums."""
    down_a, along_a = (1, s.lda) if s.transpose_a else (s.lda, 1)
    down_b, along_b = (1, s.ldb) if s.transpose_b else (s.ldb, 1)
    match dimension:
        case "m":
            a, c = further(s.a, start * down_a), further(s.c, start * s.ldc)
            return s._replace(m=count, a=a, c=c)
        case "n":
            return s._replace(n=count, b=further(s.b, start * along_b), c=further(s.c, start))
    a, b = further(s.a, start * along_a), further(s.b, start * down_b)
    return s._replace(k=count, a=a, b=b)
