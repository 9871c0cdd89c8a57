"""Rules for long sums: what all terms are multiplied by is multiplied once."""

from __future__ import annotations

import functools
import math
from collections import defaultdict
from operator import add

import numpy as np

from graphjit.passes.algebra import nonnegative
from graphjit.passes.rewrite import Rules, Site, Term, either
from graphjit.passes.sums import signed

LONG = 4096  # terms of a sum for which it pays


def number_out(site: Site, x: Term) -> Term | None:
    """Σ c·x = c·Σ x, where |c| ≥ 1: stable. A smaller c may be what keeps a sum from overflow."""
    if not lasting(site, x):
        return None
    y, c = with_large(x)
    return site.make("sum", y, **site.params) * site.full(c) if c != 1 else None


def numbers_apart(site: Site, x: Term) -> Term | None:
    """Σ (c·u + v) = c·Σ u + Σ v, where c ≥ 1 and no term is below zero: rounding.

    Terms of two signs may cancel each in its turn, where their sums do not. In float32 it would
    not pay: sums are in float64, and two of them take more than a multiplication.
    """
    if not lasting(site, x) or site.aval.size > 1 or site.aval.dtype != np.float64:
        return None
    groups = by_number(x) if x.op == "add" else {}
    if not groups.keys() - {1.0}:
        return None
    sums = {c: site.make("sum", functools.reduce(add, g), **site.params) for c, g in groups.items()}
    return functools.reduce(add, [y if c == 1 else y * site.full(c) for c, y in sums.items()])


def by_number(x: Term) -> dict[float, list[Term]]:
    """The terms of a sum by the number each is multiplied by; none if one may be negative."""
    groups = defaultdict[float, list[Term]](list)
    for negative, part in signed(x):
        y, c = with_large(part)
        if negative or c < 0 or not never_negative(y):
            return {}
        groups[c].append(y)
    return groups


def lasting(site: Site, x: Term) -> bool:
    """Whether there are many terms, floats of the sum's own dtype."""
    many = x.aval.size >= LONG * max(site.aval.size, 1)
    return many and site.kind == "f" and x.aval.dtype == site.aval.dtype


def with_large(x: Term) -> tuple[Term, float]:
    """What a number of at least 1 is multiplied by, and that number; else the term, and 1."""
    if x.op == "multiply":
        for y, c in either(*x):
            if c.number is not None and 1 <= abs(c.number) < math.inf:
                return y, c.number
    return x, 1.0


def never_negative(x: Term) -> bool:
    """Whether no element can be below zero, be it multiplied by a small number or not."""
    for y, c in either(*x) if x.op == "multiply" else ():
        if c.number is not None:
            return bool(c.number > 0) and nonnegative(y)
    return nonnegative(x)


ADDENDS: Rules = {"sum": (number_out, numbers_apart)}
