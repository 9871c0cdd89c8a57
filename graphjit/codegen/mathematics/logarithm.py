"""log, log2, log10 and log1p, from ``log(x) = n log(2) + log(1 + f)``, f in [-1/4, 1/2).

With ``s = f / (2 + f)`` is ``log(1 + f) = 2 artanh(s) = 2 s + s**3 P(s**2)``, and ``2 s = f - s f``
(J.-M. Muller, Elementary Functions, 3rd edition, chapter 11). In float32 a polynomial in f is
short enough to do without the division. The coefficients are from ``benchmarks/fits``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from graphjit.codegen.loops import Constant, Scalar
from graphjit.codegen.mathematics.constants import LOG2_E, LOG10_2, LOG10_E, LOG_2
from graphjit.codegen.mathematics.describe import describes
from graphjit.codegen.mathematics.formats import format_of
from graphjit.codegen.mathematics.polynomial import (
    Pair,
    at_least,
    at_most,
    fast_two_sum,
    halves,
    head,
    horner,
    residual,
    two_product,
)
from graphjit.codegen.scalars import Scalars
from graphjit.records import NamedTuple

LOG = {
    8: (
        0.6666666666667271, 0.39999999996159186, 0.285714293958293, 0.22222138452990842,
        0.18186358178415088, 0.1525014470333842, 0.1536854196893642,
    ),
}  # fmt: skip
# (log(1 + f) - f + f**2/2) / f**3, for float32.
SHORT = {
    4: (
        0.3333345055580139, -0.2500009834766388, 0.199908047914505, -0.16647163033485413,
        0.14478856325149536, -0.13163046538829803, 0.1046438217163086, -0.045070797204971313,
    ),
}  # fmt: skip
# log2(1 + f) / f and log10(1 + f) / f less these of 11 bits, for float32.
LOG2_FACTOR, LOG10_FACTOR = 1.4423828125, 0.434326171875
LOG2_SHORT = {
    4: (
        0.00031222240068018436, -0.7213475108146667, 0.48090076446533203, -0.3606768846511841,
        0.28838682174682617, -0.24010337889194489, 0.20899328589439392, -0.1905362457036972,
        0.15170685946941376, -0.06521347910165787,
    ),
}  # fmt: skip
LOG10_SHORT = {
    4: (
        -3.169177580275573e-05, -0.21714724600315094, 0.14476555585861206, -0.10857395082712173,
        0.08681230247020721, -0.07229187339544296, 0.06294514983892441, -0.05727851390838623,
        0.0453556589782238, -0.019370771944522858,
    ),
}  # fmt: skip
RAISE = 54  # powers of two by which a subnormal number is raised


class Parts(NamedTuple):
    """What the logarithm of a positive number is made of.

    Attributes:
        n: The power of two.
        f: The rest of the number, less 1.
        half: ``f**2 / 2``.
        tail: ``log(1 + f) - f + f**2 / 2``.
        share: Two factors of ``f - log(1 + f)``.
    """

    n: Scalar
    f: Scalar
    half: Scalar
    tail: Scalar
    share: Pair


def normal(k: Scalars, x: Scalar) -> Pair:
    """The number, raised by a power of two where it is subnormal, and the bias of its exponent."""
    form = format_of(x)
    if k.scaling:
        return x, form.real(0.0)
    small, bias = k.less(x, form.least), 2.0**form.digits + form.bias
    raised = k.select(small, k.multiply(x, 2.0**RAISE), x)
    return raised, k.select(small, form.real(bias + RAISE), form.real(bias))


def separated(k: Scalars, x: Scalar, bias: Scalar | None = None) -> Pair:
    """The n and the 1 + f of a positive normal number, its exponent being biased."""
    form = format_of(x)
    if k.scaling:
        m = k.mantissa(x)
        return k.subtract(k.exponent(x), k.exponent(m)), m
    root = form.bits(0.75)
    moved = k.add(k.bits(x), form.whole((form.bias << form.digits) - root))
    fraction = k.bitwise_and(moved, form.whole((1 << form.digits) - 1))
    n = k.right_shift(k.cast(moved, form.unsigned), Constant(form.digits, form.unsigned))
    # A number of so large a power that its last bit is 1 holds n in its last bits.
    n = k.from_bits(k.bitwise_or(k.cast(n, form.integer), form.whole(form.bits(2.0**form.digits))))
    offset = 2.0**form.digits + form.bias if bias is None else bias
    return k.subtract(n, offset), k.from_bits(k.add(fraction, form.whole(root)))


def parts(k: Scalars, x: Scalar, more: Scalar | None = None, bias: Scalar | None = None) -> Parts:
    """The parts of a positive normal number; of ``x + more`` where that is a rounding error."""
    n, m = separated(k, x, bias)
    f = k.subtract(m, 1)
    if more is not None:
        f = k.fma(more, relative(k, x, m), f)
    square = k.multiply(f, f)
    half = k.multiply(square, 0.5)
    return Parts(n, f, half, *(long_rest if x.dtype == np.float64 else short_rest)(k, f, square))


def long_rest(k: Scalars, f: Scalar, square: Scalar) -> tuple[Scalar, Pair]:
    """The tail and the share."""
    s = k.divide(f, k.add(f, 2))
    z = k.multiply(s, s)
    p = horner(k, z, LOG[8])
    tail = k.multiply(s, k.fma(z, p, k.multiply(square, 0.5)))
    return tail, (s, k.fma(k.negative(z), p, f))


def short_rest(k: Scalars, f: Scalar, square: Scalar) -> tuple[Scalar, Pair]:
    """The tail and the share."""
    p = halves(k, f, square, SHORT[4])
    tail = k.multiply(k.multiply(f, square), p)
    return tail, (square, k.fma(k.negative(f), p, format_of(f).real(0.5)))


def parts_of(k: Scalars, x: Scalar) -> Parts:
    """The parts of any positive number."""
    raised, bias = normal(k, x)
    return parts(k, raised, bias=bias)


def relative(k: Scalars, x: Scalar, m: Scalar) -> Scalar:
    """``m / x``, a power of two found from the exponents; of the largest x no matter what."""
    form = format_of(x)
    x = at_most(k, x, 2.0 ** (form.bias - 1))
    return k.from_bits(k.add(k.subtract(k.bits(m), k.bits(x)), form.whole(form.bits(1.0))))


def natural(k: Scalars, p: Parts) -> Scalar:
    """The logarithm from its parts."""
    high, low = LOG_2[p.f.dtype.itemsize]
    rest = k.fma(*p.share, k.multiply(p.n, -low))
    return k.fma(p.n, high, k.subtract(p.f, rest))


def valid(k: Scalars, x: Scalar, value: Scalar) -> Scalar:
    """The value for a positive finite x, and what belongs to all others."""
    if k.scaling:
        return k.special(value, x, zero="-inf", infinity="x")
    form = format_of(x)
    rest = k.select(k.equal(x, 0), form.real(-np.inf), form.real(np.nan))
    return k.select(k.equal(x, np.inf), x, k.select(k.greater(x, 0), value, rest))


def by_itself(k: Scalars, x: Scalar, value: Scalar) -> Scalar:
    """The same of a sum in which n, infinite for 0 and infinity, and m, NaN below 0, decide."""
    return value if k.scaling else valid(k, x, value)


@describes("log")
def log(k: Scalars, x: Scalar) -> Scalar:
    """The natural logarithm."""
    return by_itself(k, x, natural(k, parts_of(k, x)))


@describes("log1p")
def log1p(k: Scalars, x: Scalar) -> Scalar:
    """The natural logarithm of 1 + x: that of the rounded sum, and the error's share."""
    large, less = at_least(k, x, 1.0), at_most(k, x, 1.0)
    total, error = fast_two_sum(k, large, less)
    value = natural(k, parts(k, total, error))
    if k.scaling:
        return k.special(value, x, zero="x", infinity="x")
    return k.select(k.equal(x, 0), x, valid(k, total, value))


@describes("logit")
def logit(k: Scalars, x: Scalar) -> Scalar:
    """log(x / (1 - x)): that of the rounded quotient, and the error's share."""
    below, error = fast_two_sum(k, format_of(x).real(1.0), k.negative(x))
    q = k.divide(x, below)
    rest = k.fma(k.negative(q), error, residual(k, x, q, below))
    raised, bias = normal(k, q)
    more = k.multiply(rest, k.add(q, 1))  # 1 / (1 - x) is 1 + q
    return valid(k, q, natural(k, parts(k, raised, more, bias)))


def in_base(k: Scalars, p: Parts, factor: tuple[float, float], more: Scalar | None) -> Scalar:
    """log(1 + f) times a constant in two parts, and some more, with one rounding of its size."""
    high = k.subtract(p.f, p.half)
    if not k.fused:
        high = head(k, high)
    low = k.add(k.subtract(k.subtract(p.f, high), p.half), p.tail)
    rest = k.fma(high, factor[1], more) if more is not None else k.multiply(high, factor[1])
    rest = k.fma(low, factor[0], rest)
    if k.fused:
        return k.fma(high, factor[0], rest)
    product, error = two_product(k, high, format_of(high).real(factor[0]))
    return k.add(product, k.add(error, rest))


def direct(
    k: Scalars, x: Scalar, factor: float, table: Sequence[float], scale: tuple[float, float]
) -> Scalar:
    """For float32: the factor times f, with a polynomial's share, and n times a scale."""
    n, m = separated(k, *normal(k, x))
    f = k.subtract(m, 1)
    series = halves(k, f, k.multiply(f, f), table)
    low = k.fma(f, series, k.multiply(n, scale[1])) if scale[1] else k.multiply(f, series)
    high = f if k.fused else head(k, f)
    if not k.fused:
        low = k.fma(k.subtract(f, high), factor, low)
        # Both products are exact, and may cancel.
        total, error = fast_two_sum(k, k.multiply(n, scale[0]), k.multiply(high, factor))
        return k.add(total, k.add(error, low))
    return k.fma(n, scale[0], k.fma(high, factor, low))


def stepped(k: Scalars, x: Scalar, *, decimal: bool = False) -> Scalar:
    """The logarithm of a float32 by a table."""
    # What the natural logarithm, which many programs have, does without is read when needed.
    from graphjit.codegen.mathematics.stepped_logarithm import binary_logarithm, decimal_logarithm

    return (decimal_logarithm if decimal else binary_logarithm)(k, x)


@describes("log2")
def log2(k: Scalars, x: Scalar) -> Scalar:
    """The logarithm to the base 2; exact where x is a power of it."""
    if x.dtype == np.float32:
        if k.scaling:
            return stepped(k, x)
        return valid(k, x, direct(k, x, LOG2_FACTOR, LOG2_SHORT[4], (1.0, 0.0)))
    p = parts_of(k, x)
    return by_itself(k, x, k.add(p.n, in_base(k, p, LOG2_E[8], None)))


@describes("log10")
def log10(k: Scalars, x: Scalar) -> Scalar:
    """The logarithm to the base 10."""
    first, second = LOG10_2[x.dtype.itemsize]
    if x.dtype == np.float32:
        if k.scaling:
            return stepped(k, x, decimal=True)
        return valid(k, x, direct(k, x, LOG10_FACTOR, LOG10_SHORT[4], (first, second)))
    p = parts_of(k, x)
    rest = in_base(k, p, LOG10_E[8], k.multiply(p.n, second))
    return by_itself(k, x, k.fma(p.n, first, rest))
