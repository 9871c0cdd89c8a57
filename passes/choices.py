"""Rules of algebra for choices, truth values and conversions. All are exact (see ``algebra``)."""

from __future__ import annotations

import numpy as np

from graphjit.ir.aval import DType
from graphjit.passes.rewrite import Rules, Site, Term, either, negative_zero


def choose(_site: Site, condition: Term, a: Term, b: Term) -> Term | None:
    """A choice that is known, or makes no difference: exact."""
    if condition.number is not None:
        return a if condition.number else b
    return a if a == b or _same_number(a, b) else None


def _same_number(a: Term, b: Term) -> bool:
    x, y = a.number, b.number
    return x is not None and y is not None and x == y and negative_zero(x) == negative_zero(y)


def choose_again(site: Site, condition: Term, a: Term, b: Term) -> Term | None:
    """``c ? (c ? x : y) : z`` is ``c ? x : z``, ``not c ? x : y`` is ``c ? y : x``: exact."""
    if condition.op in ("logical_not", "invert"):
        return site.make("where", condition[0], b, a)
    if a.op == "where" and a[0] == condition:
        return site.make("where", condition, a[1], b)
    if b.op == "where" and b[0] == condition:
        return site.make("where", condition, a, b[2])
    return None


def choose_truth(site: Site, condition: Term, a: Term, b: Term) -> Term | None:
    """``c ? n·cast(c) : y`` is ``c ? n : y``: exact; where c holds, its cast is 1."""
    if a.op == "multiply":
        for x, t in either(*a):
            if t.op == "cast" and t[0] == condition:
                return site.make("where", condition, x, b)
    if a.op == "cast" and a[0] == condition:
        return site.make("where", condition, a.like(1), b)
    if b.op == "cast" and b[0] == condition:
        return site.make("where", condition, a, b.like(0))
    return None


def double_not(site: Site, x: Term) -> Term | None:
    """``not not x = x``: exact."""
    return x[0] if x.op in ("logical_not", "invert") and x[0].kind == site.kind == "b" else None


def with_truth(site: Site, a: Term, b: Term) -> Term | None:
    """``x and true = x``, x or false = x, x and x = x or x = x: exact."""
    neutral = site.op in ("logical_and", "bitwise_and")
    if a.kind != "b":
        return None
    for x, c in either(a, b):
        if c.number is not None:
            return x if c.number is neutral else c
    return a if a == b else None


def cast_again(site: Site, x: Term) -> Term | None:
    """A conversion to the dtype that is there, or after one that lost nothing: exact."""
    dtype = site.aval.dtype
    if x.aval.dtype == dtype:
        return x
    if x.op == "cast" and lossless(x[0].aval.dtype, x.aval.dtype, dtype):
        return site.make("cast", x[0], dtype=dtype)
    if x.op == "iota" and holds_count(dtype, x.shape[x.params["axis"]]):
        return site.make("iota", shape=x.shape, axis=x.params["axis"], dtype=dtype)
    return None


def lossless(start: DType, middle: DType, end: DType) -> bool:
    """Whether start → middle → end gives the bits of start → end.

    What C leaves open (a float converted to an integer type that cannot hold it) is not taken.
    """
    if middle.kind == "f" and end.kind in "iu" and start.kind in "biu":
        return holds(start, middle) and holds(start, end)
    return holds(start, middle)


def holds(small: DType, large: DType) -> bool:
    """Whether every value of one dtype is a value of the other."""
    if small.kind in "iu" and large.kind == "f":
        return int(np.iinfo(small).bits) <= int(np.finfo(large).nmant)
    return bool(np.can_cast(small, large, "safe"))


def holds_count(dtype: DType, size: int) -> bool:
    """Whether 0, 1, ..., size - 1 are values of the dtype."""
    if dtype.kind == "b":
        return False
    largest = 2 ** (np.finfo(dtype).nmant + 1) if dtype.kind == "f" else np.iinfo(dtype).max
    return size - 1 <= int(largest)


CHOICES: Rules = {
    "where": (choose, choose_again, choose_truth),
    "logical_not": (double_not,),
    "invert": (double_not,),
    "logical_and": (with_truth,),
    "logical_or": (with_truth,),
    "bitwise_and": (with_truth,),
    "bitwise_or": (with_truth,),
    "cast": (cast_again,),
}
