"""Rules of algebra for maps, as ``simplify`` applies them.

A rule is called with the place it is tried at and the operands, and returns what to use instead, or
``None``. Four kinds of change are allowed, and every rule says which it makes:

- *exact*: the same bits for every operand, infinities, NaN and signed zeros included;
- *rounding*: another rounding of the same real number, NaN and infinite for the same operands;
- *stable*: rounding, and finite where an intermediate overflowed or lost all its digits, as
  log(1 + eˣ) does at x = 1000: the right value, and the derivative with it;
- *backward*: exact but for the sign of a zero, or finite where the product of zero and infinity was
  NaN. Only nodes of the backward pass (``origin.adjoint``) change so: derivative rules multiply and
  add by habit, and nobody relies on the sign of a zero there.

So what never happens: x·0 is not 0 (x may be infinite), x - x and x / x are left alone, and x + 0.0
is left alone in a forward pass, where -0.0 + 0.0 is 0.0.
"""

from __future__ import annotations

import math

import numpy as np

from graphjit.ir.aval import DType
from graphjit.ir.primitive import TABLE
from graphjit.passes.rewrite import Rules, Site, Term, either, negative_zero

# Results that are never negative and never -0.0 (they may be NaN).
NONNEGATIVE = frozenset({"square", "absolute", "fabs", "exp", "exp2", "cosh", "hypot", "expit"})


def nonnegative(x: Term) -> bool:
    """Whether no element can be below zero or -0.0."""
    return x.kind == "u" or (x.kind == "f" and x.op in NONNEGATIVE)


# -- sums ---------------------------------------------------------------------------------------


def add_zero(site: Site, a: Term, b: Term) -> Term | None:
    """``x + 0 = x``: exact for integers, for -0.0 and where x is never -0.0; else backward."""
    for x, c in either(a, b):
        n = c.number
        if n == 0 and (
            site.kind in "iu"
            or (site.kind == "f" and (negative_zero(n) or site.backward or nonnegative(x)))
        ):
            return x
    return None


def add_negative(_site: Site, a: Term, b: Term) -> Term | None:
    """``x + (-y) = x - y``: exact."""
    if b.op == "negative":
        return a - b[0]
    return b - a[0] if a.op == "negative" else None


def subtract_zero(site: Site, x: Term, c: Term) -> Term | None:
    """``x - 0 = x``: exact; x - (-0.0) is x + 0.0, so backward."""
    n = c.number
    if n == 0 and site.kind in "iuf" and (not negative_zero(n) or site.backward):
        return x
    return None


def subtract_from_zero(site: Site, c: Term, x: Term) -> Term | None:
    """0 - x = -x: exact for integers and -0.0 - x, else backward (0.0 - 0.0 is not -0.0)."""
    n = c.number
    if n == 0 and (site.kind in "iu" or (site.kind == "f" and (negative_zero(n) or site.backward))):
        return -x
    return None


def subtract_negative(_site: Site, a: Term, b: Term) -> Term | None:
    """``x - (-y) = x + y``: exact."""
    return a + b[0] if b.op == "negative" else None


def negate(site: Site, x: Term) -> Term | None:
    """--x = x and -(x·c) = x·(-c), exact; -(x - y) = y - x, backward."""
    if x.op == "negative":
        return x[0]
    if x.op == "subtract" and site.backward:
        return x[1] - x[0]
    return _negated_factor(x)


def _negated_factor(x: Term) -> Term | None:
    if x.op == "multiply" and x.kind == "f":
        for y, c in either(*x):
            if c.number is not None:
                return y * c.like(-c.number)
    return None


# -- products -----------------------------------------------------------------------------------


def times_number(site: Site, a: Term, b: Term) -> Term | None:
    """x·1 = x, x·(-1) = -x, (-x)·c = x·(-c), and for integers x·0 = 0: exact."""
    for x, c in either(a, b):
        n = c.number
        if n is None or site.kind == "b":
            continue
        if n == 1:
            return x
        if n == -1:
            return -x
        if x.op == "negative" and site.kind == "f":
            return x[0] * c.like(-n)
        if n == 0 and site.kind in "iu":
            return c
        if x.op == "multiply" and site.kind == "f":
            return _numbers_together(x, c)
    return None


def _numbers_together(x: Term, c: Term) -> Term | None:
    """(x·c)·d = x·(c·d): stable, where the product of the numbers is a normal number."""
    limits = np.finfo(x.aval.dtype)
    for y, d in either(*x):
        if d.number is not None and limits.tiny <= abs(c.number * d.number) <= limits.max:
            return y * c.like(c.number * d.number)
    return None


def times_itself(site: Site, a: Term, b: Term) -> Term | None:
    """x·x = x² and (-x)·(-y) = x·y: exact."""
    if a == b and site.kind != "b":
        return site.make("square", a)
    return a[0] * b[0] if a.op == b.op == "negative" else None


def strong_times_number(_site: Site, a: Term, b: Term) -> Term | None:
    """A product in which zero wins over infinity, with a known factor: backward."""
    for x, c in either(a, b):
        n = c.number
        if n is not None and math.isfinite(n):
            return x * c if n else c
    return None


# -- quotients ----------------------------------------------------------------------------------


def divide_by_number(site: Site, x: Term, c: Term) -> Term | None:
    """x/1 = x, x/(-1) = -x, x/2ᵏ = x·2⁻ᵏ, (-x)/c = x/(-c): exact."""
    n = c.number
    if n is None:
        return None
    if n == 1:
        return x
    if n == -1:
        return -x
    if x.op == "negative":
        return x[0] / c.like(-n)
    return x * c.like(1 / n) if power_of_two(n, site.aval.dtype) else None


def power_of_two(n: float, dtype: DType) -> bool:
    """Whether n and 1/n are both normal numbers ±2ᵏ."""
    if not math.isfinite(n) or n == 0 or abs(math.frexp(n)[0]) != 0.5:
        return False
    limits = np.finfo(dtype)
    return bool(limits.tiny <= abs(n) <= limits.max and limits.tiny <= abs(1 / n) <= limits.max)


def divide_negatives(_site: Site, a: Term, b: Term) -> Term | None:
    """(-x)/(-y) = x/y: exact."""
    return a[0] / b[0] if a.op == b.op == "negative" else None


def logistic(site: Site, one: Term, u: Term) -> Term | None:
    """1 / (1 + eᶻ) = σ(-z): rounding. Its derivative y(1 - y) is finite where eᶻ overflows."""
    if one.number != 1 or u.op != "add":
        return None
    for c, e in either(*u):
        if c.number == 1 and e.op == "exp":
            return site.make("expit", -e[0])
    return None


def one_less_logistic(site: Site, one: Term, s: Term) -> Term | None:
    """1 - σ(x) = σ(-x): rounding, and no digits are lost where σ is close to 1."""
    return site.make("expit", -s[0]) if one.number == 1 and s.op == "expit" else None


def log_of_sum(site: Site, u: Term) -> Term | None:
    """log(1 + eˣ) = logaddexp(0, x), log σ(x) = log_expit(x): stable."""
    if u.op == "expit":
        return site.make("log_expit", u[0])
    if u.op != "add":
        return None
    for c, e in either(*u):
        if c.number == 1 and e.op == "exp":
            return site.make("logaddexp", site.full(0), e[0])
    return None


def log_of_one_more(site: Site, e: Term) -> Term | None:
    """The same, written with np.log1p: stable."""
    return site.make("logaddexp", site.full(0), e[0]) if e.op == "exp" else None


def logistic_reciprocal(site: Site, u: Term) -> Term | None:
    """The same, written with np.reciprocal or **-1."""
    return logistic(site, site.full(1), u) if u.op == "add" and site.kind == "f" else None


# -- powers -------------------------------------------------------------------------------------


def to_number(site: Site, x: Term, c: Term) -> Term | None:
    """x⁰ = 1 (also for NaN) and x¹ = x, exact; x² to x⁴, 1/x, (1/x)²: rounding."""
    n = c.number
    if n == 0:
        return site.full(1)
    if n == 1:
        return x
    if n == 2:
        return site.make("square", x)
    if n == 3:
        return site.make("square", x) * x
    if n == 4:
        return site.make("square", site.make("square", x))
    if n in (-1, -2) and site.kind == "f":  # further ones would be 3 ULP off
        return site.make("power", site.make("reciprocal", x), c.like(-n))
    return None


def to_half(site: Site, x: Term, c: Term) -> Term | None:
    """x^0.5 = √x: rounding, and the root is what NumPy's own power takes for a scalar exponent.

    The two differ at -inf (inf and NaN) and at -0.0 (0.0 and -0.0).
    """
    return site.make("sqrt", x) if c.number == 0.5 and site.kind == "f" else None


def one_to_any(site: Site, one: Term, _x: Term) -> Term | None:
    """1ˣ = 1, also for NaN: exact."""
    return one if one.number == 1 and site.kind == "f" else None


def of_even(site: Site, x: Term) -> Term | None:
    """(-x)² = |x|² = x², |-x| = |x|, and |x| = x where x is never negative: exact."""
    if x.op in ("negative", "absolute", "fabs") and x.kind == "f":
        return site.make(site.op, x[0])
    return x if site.op != "square" and nonnegative(x) else None


# -- other maps ----------------------------------------------------------------------------------


def itself(_site: Site, x: Term) -> Term:
    """+x = x: exact."""
    return x


def same_both(_site: Site, a: Term, b: Term) -> Term | None:
    """max(x, x) = min(x, x) = x: exact."""
    return a if a == b else None


def hoist(site: Site, *operands: Term) -> Term | None:
    """f(broadcast x) = broadcast f(x): exact; computes a repeated value once."""
    if TABLE[site.op].kind != "map" or site.aval.size == 0:
        return None
    if any(t.op != "broadcast" for t in operands):
        return None
    inner = [t[0] for t in operands]
    if np.broadcast_shapes(*(t.shape for t in inner)) == site.shape:
        return None
    return site.full(site.make(site.op, *inner, **site.params))


ALGEBRA: Rules = {
    "add": (add_zero, add_negative),
    "subtract": (subtract_zero, subtract_from_zero, subtract_negative, one_less_logistic),
    "negative": (negate,),
    "positive": (itself,),
    "multiply": (times_number, times_itself),
    "strong_multiply": (strong_times_number,),
    "log": (log_of_sum,),
    "log1p": (log_of_one_more,),
    "divide": (divide_by_number, divide_negatives, logistic),
    "reciprocal": (logistic_reciprocal,),
    "square": (of_even,),
    "absolute": (of_even,),
    "fabs": (of_even,),
    "power": (to_number, to_half, one_to_any),
    "maximum": (same_both,),
    "minimum": (same_both,),
    "repeated": (hoist,),
}
