"""Products over nests of loops, as the plain loops that they mean."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from graphjit.codegen.loops import (
    Address,
    Constant,
    For,
    Let,
    Load,
    PickedGemv,
    Product,
    Statement,
    Store,
    Value,
)

Loop = tuple[int, int, int]  # how often, and the step in two operands


def merged(loops: Sequence[Loop]) -> tuple[Loop, ...]:
    """The same walk in as few loops as possible; those of one turn are dropped.

    >>> merged([(5, 6, 8), (3, 2, 4), (2, 1, 2)])
    ((5, 6, 8), (6, 1, 2))
    """
    real = [loop for loop in loops if loop[0] != 1]
    for at, (outer, inner) in enumerate(pairwise(real)):
        if all(big == small * inner[0] for big, small in zip(outer[1:], inner[1:], strict=True)):
            return merged([*real[:at], (outer[0] * inner[0], *inner[1:]), *real[at + 2 :]])
    return tuple(real)


def moved(address: Address, names: Sequence[str], steps: Sequence[int]) -> Address:
    """The element so many steps further for each loop index."""
    more = tuple((n, s) for n, s in zip(names, steps, strict=True) if s)
    return Address(address.buffer, address.offset, address.terms + more)


def nested(names: Sequence[str], extents: Sequence[int], body: list[Statement]) -> list[Statement]:
    """The body inside loops, the first one outermost."""
    for name, extent in reversed(list(zip(names, extents, strict=True))):
        body = [For(name, extent, body)]
    return body


def written_out(s: Product | PickedGemv) -> list[Statement]:
    """The loops that a product means."""
    return over_nests(s) if isinstance(s, Product) else over_picked(s)


def over_nests(s: Product) -> list[Statement]:
    """Loops over rows, sums and columns, in this order: rows of C are added to, element-wise."""
    rows = [f"{s.name}_r{i}" for i in range(len(s.rows))]
    depth = [f"{s.name}_k{i}" for i in range(len(s.depth))]
    column, dtype = f"{s.name}_c", s.c.buffer.dtype
    left, right, both = (Value(f"{s.name}_{part}", dtype) for part in ("a", "b", "ab"))
    a = moved(s.a, [*rows, *depth], [*(r[1] for r in s.rows), *(k[1] for k in s.depth)])
    b = moved(s.b, [*depth, column], [*(k[2] for k in s.depth), 1])
    c = moved(s.c, [*rows, column], [*(r[2] for r in s.rows), 1])
    turn: list[Statement] = [
        Load(right, b),
        Let(both, "multiply", (left, right)),
        Store(c, both, "add", s.origin),
    ]
    sums: list[Statement] = [Load(left, a), For(column, s.columns, turn)]
    body = nested(depth, [k[0] for k in s.depth], sums)
    if not s.add:
        body = [For(column, s.columns, [Store(c, Constant(0, dtype))]), *body]
    return nested(rows, [r[0] for r in s.rows], body)


def over_picked(s: PickedGemv) -> list[Statement]:
    """Loops over rows, then columns; sums are made of one row, or added to."""
    dtype = s.a.buffer.dtype
    row, column = f"{s.name}_r", f"{s.name}_c"
    number = Value(f"{s.name}_n", np.dtype(np.int64))
    left, right, both, total = (Value(f"{s.name}_{part}", dtype) for part in ("a", "x", "ax", "y"))
    zero = Constant(0, dtype)
    element = Load(left, moved(s.a, [number.name, column], [s.lda, 1]))
    times = Let(both, "multiply", (left, right))
    which = Load(number, moved(s.picked, [row], [1]))
    if s.transpose:
        y = moved(s.y, [column], [1])
        turn: list[Statement] = [element, times, Store(y, both, "add", s.origin)]
        known = Load(right, moved(s.x, [row], [1]))
        rows: list[Statement] = [which, known, For(column, s.columns, turn)]
        return [For(column, s.columns, [Store(y, zero)]), For(row, s.rows, rows)]
    turn = [element, Load(right, moved(s.x, [column], [1])), times]
    turn.append(Let(total, "add", (total, both), origin=s.origin))
    rows = [which, Let(total, "copy", (zero,)), For(column, s.columns, turn)]
    return [For(row, s.rows, [*rows, Store(moved(s.y, [row], [1]), total)])]
