"""Rules for spellings whose parts overflow, or lose their slope, where the whole does not.

The kinds of change are those of ``algebra``; all of these are *stable* or *rounding*.
"""

from __future__ import annotations

import math

from graphjit.passes.algebra import nonnegative
from graphjit.passes.rewrite import Rules, Site, Term, either


def quotient_of_exponentials(site: Site, a: Term, b: Term) -> Term | None:
    """eˣ / (1 + eˣ) = σ(x): stable."""
    if a.op == "exp" and b.op == "add":
        for c, e in either(*b):
            if c.number == 1 and alike(a, e):
                return site.make("expit", a[0])
    return None


def hyperbolic_tangent(site: Site, a: Term, b: Term) -> Term | None:
    """Sinh x / cosh x = (eˣ - e⁻ˣ) / (eˣ + e⁻ˣ) = tanh x: stable."""
    if a.op == "sinh" and b.op == "cosh" and alike(a[0], b[0]):
        return site.make("tanh", a[0])
    if a.op == "subtract" and b.op == "add":
        for u, v in either(*b):
            if alike(a[0], u) and alike(a[1], v):
                return _of_exponentials(site, u, v)
    return None


def _of_exponentials(site: Site, u: Term, v: Term) -> Term | None:
    """(u - v) / (u + v) where one of them is e to the power z, the other 1 or e to the -z."""
    if u.op == v.op == "exp" and (_opposite(u[0], v[0]) or _opposite(v[0], u[0])):
        return site.make("tanh", u[0])
    if u.op == "exp" and v.number == 1:
        return site.make("tanh", u[0] * u[0].like(0.5))
    if v.op == "exp" and u.number == 1:
        return site.make("tanh", v[0] * v[0].like(-0.5))
    return None


def _opposite(x: Term, y: Term) -> bool:
    return y.op == "negative" and alike(y[0], x)


def alike(a: Term, b: Term, depth: int = 4) -> bool:
    """Whether two terms are the same, or written the same way down to a few operations.

    Values written twice are merged only after these rules have run.
    """
    if a == b or (a.number is not None and a.number == b.number and a.aval == b.aval):
        return True
    if depth == 0 or a.op != b.op or a.params or b.params or not a.node.inputs:
        return False
    return all(alike(x, y, depth - 1) for x, y in zip(a, b, strict=False))


def binary_log_of_sum(site: Site, u: Term) -> Term | None:
    """log₂(1 + 2ˣ) = logaddexp2(0, x): stable."""
    if u.op == "add":
        for c, e in either(*u):
            if c.number == 1 and e.op == "exp2":
                return site.make("logaddexp2", site.full(0), e[0])
    return None


def square_of_root(site: Site, root: Term) -> Term | None:
    """(√x)² = x, NaN below zero: rounding, and the slope at 0 is 1 instead of 0 · ∞."""
    if root.op != "sqrt":
        return None
    x = root[0]
    if nonnegative(x) or (x.op == "sum" and nonnegative(x[0])):
        return x
    inside = site.make("greater_equal", x, x.like(0))
    return site.make("where", inside, x, x.like(math.nan))


def root_of_square(site: Site, square: Term) -> Term | None:
    """√(x²) = |x|: stable."""
    return site.make("absolute", square[0]) if square.op == "square" else None


SATURATE: Rules = {
    "divide": (quotient_of_exponentials, hyperbolic_tangent),
    "log2": (binary_log_of_sum,),
    "square": (square_of_root,),
    "sqrt": (root_of_square,),
}
