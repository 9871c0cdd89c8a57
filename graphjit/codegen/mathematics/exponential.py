"""exp, exp2, expm1 and tanh, from ``exp(x) = 2**n exp(r)`` with ``|r| <= log(2)/2``.

n log(2) is taken off in two parts, of which the first times any n is exact (W. J. Cody and
W. Waite, Software Manual for the Elementary Functions, 1980, chapter 6). The coefficients are
from ``benchmarks/fits``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from graphjit.codegen.loops import Scalar
from graphjit.codegen.mathematics.constants import LOG2_E, LOG_2
from graphjit.codegen.mathematics.describe import describes
from graphjit.codegen.mathematics.formats import format_of
from graphjit.codegen.mathematics.polynomial import (
    Pair,
    at_least,
    at_most,
    fast_two_sum,
    halves,
    horner,
)
from graphjit.codegen.scalars import Scalars

# (exp(r) - 1 - r) / r**2 on |r| <= log(2)/2.
EXP = {
    8: (
        0.5000000000000011, 0.1666666666666642, 0.04166666666652681, 0.008333333333490012,
        0.001388888894441315, 0.00019841269517076814, 2.4801492352179594e-05,
        2.7557576335949397e-06, 2.763049871566534e-07, 2.500342446998359e-08,
    ),
    4: (
        0.4999999403953552, 0.1666652113199234, 0.04166826233267784, 0.008368677459657192,
        0.0013821058673784137,
    ),
}  # fmt: skip
# The same, to the last bit of exp(r) - 1.
EXPM1 = {
    8: (
        0.5, 0.16666666666666677, 0.041666666666666685, 0.008333333333321442, 0.001388888888887291,
        0.00019841269886569686, 2.4801587350573548e-05, 2.75572437864598e-06, 2.755725022519118e-07,
        2.5109178520135832e-08, 2.0922363788926366e-09,
    ),
    4: (
        0.5, 0.1666666716337204, 0.04166647791862488, 0.008333195932209492, 0.0013933698646724224,
        0.00019953996525146067,
    ),
}  # fmt: skip
# (2**r - 1) / r on |r| <= 1/2.
EXP2 = {
    8: (
        0.6931471805599453, 0.2402265069591013, 0.055504108664822256, 0.009618129107594341,
        0.0013333558146383314, 0.00015403530456914655, 1.5252733802442813e-05,
        1.3215435350594685e-06, 1.0178088158813735e-07, 7.073775622403044e-09,
        4.4497400604150075e-10,
    ),
    4: (
        0.6931471824645996, 0.24022644758224487, 0.055503591895103455, 0.009618844836950302,
        0.0013391113607212901, 0.00015235546743497252,
    ),
}  # fmt: skip
# (tanh(x)/x - 1)/x**2 in x**2, for |x| up to 1.
TANH = {
    4: (
        -0.33333298563957214, 0.1333240568637848, -0.053883764892816544, 0.021498456597328186,
        -0.007963862270116806, 0.002314505400136113, -0.00036225412623025477,
    ),
}  # fmt: skip


class Range(NamedTuple):
    """Where a power is neither 0 nor infinite, and from where on it is at least twice ``least``."""

    low: float
    normal: float
    high: float


EXP_RANGE = {8: Range(-746.0, -707.0, 710.0), 4: Range(-104.0, -86.0, 89.0)}
EXP2_RANGE = {8: Range(-1076.0, -1020.0, 1024.0), 4: Range(-151.0, -124.0, 128.0)}
LARGE = 4.0
STEP = 64  # powers of two by which a result is raised while it would be subnormal


@describes("exp")
def exp(k: Scalars, x: Scalar) -> Scalar:
    """E to the x."""
    limits = EXP_RANGE[x.dtype.itemsize]
    clipped = at_most(k, at_least(k, x, limits.low), limits.high)
    shifted, r, _ = reduced(k, clipped)
    u = k.fma(*squared(k, r, EXP[x.dtype.itemsize]), r)
    return scaled(k, u, shifted, k.less(x, limits.normal))


@describes("exp2")
def exp2(k: Scalars, x: Scalar) -> Scalar:
    """2 to the x; exact where x is whole."""
    limits = EXP2_RANGE[x.dtype.itemsize]
    clipped = at_most(k, at_least(k, x, limits.low), limits.high)
    shifter = format_of(x).shifter
    shifted = k.add(clipped, shifter)
    r = k.subtract(clipped, k.subtract(shifted, shifter))
    first, *rest = EXP2[x.dtype.itemsize]
    tail = k.multiply(*squared(k, r, rest))
    return scaled(k, k.fma(r, first, tail), shifted, k.less(x, limits.normal))


def squared(k: Scalars, r: Scalar, coefficients: Sequence[float]) -> Pair:
    """The square of r, and the polynomial at r."""
    square = k.multiply(r, r)
    return square, halves(k, r, square, coefficients)


def reduced(k: Scalars, x: Scalar) -> tuple[Scalar, Scalar, Scalar]:
    """The n of ``x = n log(2) + r`` in the last bits of a number, r, and r's rounding error."""
    low = LOG_2[x.dtype.itemsize][1]
    shifted, minus, rest = nearest(k, x)
    r = k.fma(minus, low, rest)
    return shifted, r, k.fma(minus, low, k.subtract(rest, r))


def nearest(k: Scalars, x: Scalar) -> tuple[Scalar, Scalar, Scalar]:
    """That n, -n, and x less the first part of n log(2), which is exact."""
    size, shifter = x.dtype.itemsize, format_of(x).shifter
    shifted = k.fma(x, LOG2_E[size][0], shifter)
    minus = k.subtract(shifter, shifted)
    return shifted, minus, k.fma(minus, LOG_2[size][0], x)


def power_of_two(k: Scalars, shifted: Scalar, offset: Scalar | int) -> Scalar:
    """2 to the n + offset, where n is in the last bits of ``shifted``; it must be normal."""
    form = format_of(shifted)
    if isinstance(offset, int):
        offset = form.whole(form.bias + offset << form.digits)
    exponent = k.left_shift(k.bits(shifted), form.whole(form.digits))
    return k.from_bits(k.add(exponent, offset))


def scaled(k: Scalars, u: Scalar, shifted: Scalar, small: Scalar) -> Scalar:
    """(1 + u) 2**n; where it is small by way of a larger number, to be rounded once."""
    scale, factor = factors(k, shifted, small)
    return k.multiply(k.fma(u, scale, scale), factor)


def factors(k: Scalars, shifted: Scalar, small: Scalar) -> Pair:
    """2 to the n as a product that is exact in the first factor."""
    form = format_of(shifted)
    offsets = [form.whole(form.bias - 1 + step << form.digits) for step in (STEP, 0)]
    scale = power_of_two(k, shifted, k.select(small, *offsets))
    return scale, k.select(small, *(form.real(v) for v in (2.0 ** (1 - STEP), 2.0)))


@describes("expm1")
def expm1(k: Scalars, x: Scalar) -> Scalar:
    """E to the x, less 1: ``2**n (exp(r) - 1) + (2**n - 1)``, of half that twice."""
    form, limits = format_of(x), EXP_RANGE[x.dtype.itemsize]
    clipped = at_most(k, at_least(k, x, -0.75 * form.digits - 4), limits.high)
    shifted, r, error = reduced(k, clipped)
    q = k.fma(*squared(k, r, EXPM1[x.dtype.itemsize]), error)
    scale = power_of_two(k, shifted, -1)
    half = k.fma(scale, q, k.fma(scale, r, k.subtract(scale, 0.5)))
    return k.select(k.less(k.absolute(x), form.tiny), x, k.add(half, half))


@describes("tanh")
def tanh(k: Scalars, x: Scalar) -> Scalar:
    """The hyperbolic tangent: expm1(2x) / (expm1(2x) + 2), both with their rounding errors.

    Where it is large, 1 - 2 / (expm1(2x) + 2).
    """
    clipped = at_most(k, k.absolute(x), 0.375 * format_of(x).digits + 2)
    if x.dtype == np.float32:
        return k.copysign(short_tanh(k, clipped), x)
    shifted, r, error = reduced(k, k.add(clipped, clipped))
    q = k.fma(*squared(k, r, EXPM1[8]), error)
    p = k.add(r, q)
    scale = power_of_two(k, shifted, 0)
    p_error = k.multiply(scale, k.subtract(q, k.subtract(p, r)))
    below, above = (with_error(k, scale, p, k.add(scale, one), p_error) for one in (-1, 1))
    large = k.greater(clipped, LARGE)
    quotient = k.divide(k.select(large, -2, below[0]), above[0])
    rest = k.subtract(below[1], k.multiply(quotient, above[1]))
    if k.fused:
        rest = k.add(k.fma(k.negative(quotient), above[0], below[0]), rest)
    share = k.fma(quotient, -0.5, 0.5)  # 1 / (expm1(2x) + 2)
    value = k.select(large, k.add(quotient, 1), k.fma(rest, share, quotient))
    return k.copysign(value, x)


def short_tanh(k: Scalars, x: Scalar) -> Scalar:
    """Of a magnitude: a polynomial, from 1 on 1 - 2 / (exp(2x) + 1)."""
    shifted, r, _ = reduced(k, k.add(x, x))
    u = k.fma(*squared(k, r, EXP[4]), r)
    scale, square = power_of_two(k, shifted, 0), k.multiply(x, x)
    far = k.add(k.divide(-2, k.fma(u, scale, k.add(scale, 1))), 1)
    near = k.fma(k.multiply(x, square), horner(k, square, TANH[4]), x)
    return k.select(k.greater(x, 1), far, near)


def with_error(k: Scalars, scale: Scalar, p: Scalar, c: Scalar, error: Scalar) -> Pair:
    """``scale p + c``, where the product is exact and not larger than c, and its error."""
    total = k.fma(scale, p, c)
    return total, k.add(k.fma(scale, p, k.subtract(c, total)), error)


@describes("expit")
def expit(k: Scalars, x: Scalar) -> Scalar:
    """1 / (1 + exp(-x)), for a negative x exp(x) / (1 + exp(x)), with their rounding errors."""
    limits = EXP_RANGE[x.dtype.itemsize]
    clipped = at_least(k, k.negative(k.absolute(x)), limits.low)
    shifted, r, error = reduced(k, clipped)
    q = k.fma(*squared(k, r, EXP[x.dtype.itemsize]), error)
    scale, factor = factors(k, shifted, k.less(clipped, limits.normal))
    u = k.add(r, q)
    tail = k.fma(u, scale, scale)
    tail_error = k.fma(u, scale, k.subtract(scale, tail))
    tail_error = k.multiply(k.fma(scale, k.subtract(q, k.subtract(u, r)), tail_error), factor)
    tail = k.multiply(tail, factor)
    below, above = k.less(x, 0), fast_two_sum(k, format_of(x).real(1), tail)
    numerator, zero = k.select(below, tail, 1), k.select(below, tail_error, 0)
    quotient = k.divide(numerator, above[0])
    rest = k.fma(k.negative(quotient), k.add(above[1], tail_error), zero)
    if k.fused:
        rest = k.add(k.fma(k.negative(quotient), above[0], numerator), rest)
    share = k.select(below, k.subtract(1, quotient), quotient)
    return k.fma(rest, share, quotient)
