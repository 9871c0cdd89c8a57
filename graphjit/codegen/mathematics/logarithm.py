"""log, log2, log10 and log1p, from ``log(x) = n log(2) + log(1 + f)``, f in [√½ - 1, √2 - 1).

With ``s = f / (2 + f)`` is ``log(1 + f) = 2 artanh(s) = 2 s + s**3 P(s**2)``, and ``2 s = f - s f``
(J.-M. Muller, Elementary Functions, 3rd edition, chapter 11). In float32 a polynomial in f is
short enough to do without the division. The coefficients are from ``benchmarks/fits``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from graphjit.codegen.loops import Constant, Scalar
from graphjit.codegen.mathematics.constants import LOG2_E, LOG10_2, LOG10_E, LOG_2
from graphjit.codegen.mathematics.describe import describes
from graphjit.codegen.mathematics.formats import format_of
from graphjit.codegen.mathematics.polynomial import (
    Pair,
    at_most,
    fast_two_sum,
    halves,
    head,
    residual,
    two_product,
    two_sum,
)
from graphjit.codegen.scalars import Scalars

LOG = {
    8: (
        0.6666666666666735, 0.3999999999940985, 0.28571428743498023, 0.22222198454645517,
        0.18183570741153618, 0.15313879773093197, 0.1479772526580542,
    ),
}  # fmt: skip
# (log(1 + f) - f + f**2/2) / f**3, for float32.
SHORT = {
    4: (
        0.3333333134651184, -0.2500081956386566, 0.2000124305486679, -0.166234090924263,
        0.1420154869556427, -0.1315959393978119, 0.1276237666606903, -0.07636591792106628,
    ),
}  # fmt: skip
# log2(1 + f) / f and log10(1 + f) / f less these of 11 bits, for float32.
LOG2_FACTOR, LOG10_FACTOR = 1.4423828125, 0.434326171875
LOG2_SHORT = {
    4: (
        0.00031222833786159754, -0.7213473320007324, 0.4808982014656067, -0.360697865486145,
        0.2885702848434448, -0.239596426486969, 0.2045404613018036, -0.1911516636610031,
        0.18655183911323547, -0.11020548641681671,
    ),
}  # fmt: skip
LOG10_SHORT = {
    4: (
        -3.1689989555161446e-05, -0.21714718639850616, 0.14476479589939117, -0.10858074575662613,
        0.0868675708770752, -0.07212762534618378, 0.06158639118075371, -0.057542309165000916,
        0.05607987195253372, -0.033082351088523865,
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
    """

    n: Scalar
    f: Scalar
    half: Scalar
    tail: Scalar


def normal(k: Scalars, x: Scalar) -> Pair:
    """The number, raised by a power of two where it is subnormal, and the bias of its exponent."""
    form = format_of(x)
    small, bias = k.less(x, form.least), 2.0**form.digits + form.bias
    raised = k.select(small, k.multiply(x, 2.0**RAISE), x)
    return raised, k.select(small, form.real(bias + RAISE), form.real(bias))


def separated(k: Scalars, x: Scalar, bias: Scalar | None = None) -> Pair:
    """The n and the 1 + f of a positive normal number, its exponent being biased."""
    form = format_of(x)
    root = form.bits(np.sqrt(0.5))
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
    square = k.multiply(f, f)
    half = k.multiply(square, 0.5)
    tail, slope = (long_tail if x.dtype == np.float64 else short_tail)(k, f, square)
    if more is not None:
        scaled = relative(k, more, x, m)
        tail = k.add(tail, k.fma(k.multiply(scaled, slope[0]), slope[1], scaled))
    return Parts(n, f, half, tail)


def long_tail(k: Scalars, f: Scalar, square: Scalar) -> tuple[Scalar, Pair]:
    """The tail, and ``1 / (1 + f) = (1 - s) / (1 + s) = 1 - 2 s + 2 s**2 - ...`` but for the 1."""
    s = k.divide(f, k.add(f, 2))
    z = k.multiply(s, s)
    p = halves(k, z, k.multiply(z, z), LOG[8])
    return k.multiply(s, k.fma(z, p, k.multiply(square, 0.5))), (s, k.fma(s, 2, -2))


def short_tail(k: Scalars, f: Scalar, square: Scalar) -> tuple[Scalar, Pair]:
    """The tail, and ``1 / (1 + f) = 1 - f + f**2 - f**3 + ...`` but for the 1."""
    tail = k.multiply(k.multiply(f, square), halves(k, f, square, SHORT[4]))
    return tail, (f, k.subtract(k.subtract(f, square), 1))


def parts_of(k: Scalars, x: Scalar) -> Parts:
    """The parts of any positive number."""
    raised, bias = normal(k, x)
    return parts(k, raised, bias=bias)


def relative(k: Scalars, more: Scalar, x: Scalar, m: Scalar) -> Scalar:
    """``more m / x``."""
    form = format_of(x)
    # m / x is a power of two, by the exponents; of the largest x it is none, and no matter.
    x = at_most(k, x, 2.0 ** (form.bias - 1))
    power = k.from_bits(k.add(k.subtract(k.bits(m), k.bits(x)), form.whole(form.bits(1.0))))
    return k.multiply(more, power)


def natural(k: Scalars, p: Parts) -> Scalar:
    """The logarithm from its parts."""
    high, low = LOG_2[p.f.dtype.itemsize]
    rest = k.subtract(p.half, k.fma(p.n, low, p.tail))
    return k.fma(p.n, high, k.subtract(p.f, rest))


def valid(k: Scalars, x: Scalar, value: Scalar) -> Scalar:
    """The value for a positive finite x, and what belongs to all others."""
    form = format_of(x)
    rest = k.select(k.equal(x, 0), form.real(-np.inf), form.real(np.nan))
    return k.select(k.equal(x, np.inf), x, k.select(k.greater(x, 0), value, rest))


@describes("log")
def log(k: Scalars, x: Scalar) -> Scalar:
    """The natural logarithm."""
    return valid(k, x, natural(k, parts_of(k, x)))


@describes("log1p")
def log1p(k: Scalars, x: Scalar) -> Scalar:
    """The natural logarithm of 1 + x: that of the rounded sum, and the error's share."""
    total, error = two_sum(k, format_of(x).real(1.0), x)
    value = valid(k, total, natural(k, parts(k, total, error)))
    return k.select(k.equal(x, 0), x, value)


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
    low = k.fma(f, halves(k, f, k.multiply(f, f), table), k.multiply(n, scale[1]))
    high = f if k.fused else head(k, f)
    if not k.fused:
        low = k.fma(k.subtract(f, high), factor, low)
    return k.fma(n, scale[0], k.fma(high, factor, low))


@describes("log2")
def log2(k: Scalars, x: Scalar) -> Scalar:
    """The logarithm to the base 2; exact where x is a power of it."""
    if x.dtype == np.float32:
        return valid(k, x, direct(k, x, LOG2_FACTOR, LOG2_SHORT[4], (1.0, 0.0)))
    p = parts_of(k, x)
    return valid(k, x, k.add(p.n, in_base(k, p, LOG2_E[8], None)))


@describes("log10")
def log10(k: Scalars, x: Scalar) -> Scalar:
    """The logarithm to the base 10."""
    first, second = LOG10_2[x.dtype.itemsize]
    if x.dtype == np.float32:
        return valid(k, x, direct(k, x, LOG10_FACTOR, LOG10_SHORT[4], (first, second)))
    p = parts_of(k, x)
    rest = in_base(k, p, LOG10_E[8], k.multiply(p.n, second))
    return valid(k, x, k.fma(p.n, first, rest))
