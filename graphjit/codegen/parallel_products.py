"""Large products as loops over parts of their results, so that threads can share them."""

from __future__ import annotations

from collections.abc import Callable

from graphjit.codegen.duration import cost
from graphjit.codegen.loops import Address, For, Gemm, Gemv, Product, Statement
from graphjit.codegen.parallel import GRAIN, MOST

THICK = 48  # rows or columns of a part: with fewer, what is read of the operands again costs more
THIN = 32  # of a half, if there are to be no more parts


def split(
    s: Gemm | Gemv | Product, index: str, worth: float
) -> tuple[For, Statement | None] | None:
    """A large product as a loop over parts of its result, and what is left over of it."""
    length = lengths(s)
    if not length or cost(s) < worth:
        return None
    step = thickness(length, cost(s), worth, isinstance(s, Product))
    count, rest = divmod(length, step)
    if count < 2:
        return None
    last = part(s, rest, lambda a, by: a._replace(offset=a.offset + by * step * count))
    first = part(s, step, lambda a, by: a._replace(terms=(*a.terms, (index, by * step))))
    return For(index, count, [first]), last if rest else None


def lengths(s: Gemm | Gemv | Product) -> int:
    """How many rows of the result there are to share, or columns where they are more."""
    match s:
        case Gemm():
            return max(s.m, s.n)
        case Gemv():
            return s.columns if s.transpose else s.rows
    return s.rows[0][0] if s.rows else 0


def thickness(length: int, taken: float, worth: float, nest: bool) -> int:
    """How many rows a part has: an even share if one is near."""
    most = length if nest else max(length // THICK, min(length // THIN, 2))
    parts = min(max(2, int(taken / GRAIN)), most, MOST // 4) if worth else min(length, 5)
    even = (n for n in range(parts, parts // 2, -1) if length % n == 0)
    return length // max(1, next(even, parts))


def part(
    s: Gemm | Gemv | Product, count: int, moved: Callable[[Address, int], Address]
) -> Statement:
    """So many rows of a product; ``moved`` takes an address and the step to the next row."""
    match s:
        case Gemm() if s.m >= s.n:
            step = 1 if s.transpose_a else s.lda
            return s._replace(m=count, a=moved(s.a, step), c=moved(s.c, s.ldc))
        case Gemm():
            step = s.ldb if s.transpose_b else 1
            return s._replace(n=count, b=moved(s.b, step), c=moved(s.c, 1))
        case Gemv():
            rows, columns = (s.rows, count) if s.transpose else (count, s.columns)
            a, y = moved(s.a, 1 if s.transpose else s.lda), moved(s.y, s.incy)
            return s._replace(rows=rows, columns=columns, a=a, y=y)
    _, step, further = s.rows[0]
    loops = ((count, step, further), *s.rows[1:])
    return s._replace(rows=loops, a=moved(s.a, step), c=moved(s.c, further))
