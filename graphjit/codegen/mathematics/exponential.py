"""exp, exp2, expm1 and tanh, from ``exp(x) = 2**n exp(r)`` with ``|r| <= log(2)/2``.

n log(2) is taken off in two parts, of which the first times any n is exact (W. J. Cody and
W. Waite, Software Manual for the Elementary Functions, 1980, chapter 6). The coefficients are
from ``benchmarks/fits``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache

from graphjit.codegen.loops import Scalar
from graphjit.codegen.mathematics.constants import LOG2_E, LOG_2
from graphjit.codegen.mathematics.describe import describes
from graphjit.codegen.mathematics.formats import format_of
from graphjit.codegen.mathematics.polynomial import (
    Pair,
    at_least,
    at_most,
    halves,
    horner,
    residual,
)
from graphjit.codegen.scalars import Scalars
from graphjit.ir.aval import DType
from graphjit.records import NamedTuple

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
# (exp(r) - 1 - r) / r**2 and (2**r - 1) / r, where r is less what is left by a table of ``STEPS``.
STEPS = {8: 16, 4: 32}
EXP_STEP = {
    8: (
        0.49999999999999595, 0.16666666664413762, 0.04166666669382306, 0.00833347205104953,
        0.0013888586468033372,
    ),
    4: (
        0.5000040531158447, 0.1666669398546219,
    ),
}  # fmt: skip
EXP2_STEP = {
    8: (
        0.6931471805599468, 0.24022650695909903, 0.055504108652157026, 0.009618129112340107,
        0.0013333818426532354, 0.00015403336370620755,
    ),
    4: (
        0.6931471824645996, 0.24022844433784485, 0.055494796484708786,
    ),
}  # fmt: skip
# (tanh(x)/x - 1)/x**2 in x**2, for |x| up to ``NEAR``: a numerator, and a denominator less its
# highest power.
TANH = {
    8: (
        -1613.941322073366, -99.25157970735542, -0.9643850249801493, 4841.823966220099,
        2234.484325610089, 112.77252888384996,
    ),
    4: (
        -0.8237635493278503, -0.003833136288449168, 2.4712908267974854,
    ),
}  # fmt: skip
ABOVE = {8: 3, 4: 2}  # how many of them are the numerator's
NEAR = 0.625


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
    if k.scaling:
        return stepped_exp(k, x, bounded=True)
    limits = EXP_RANGE[x.dtype.itemsize]
    clipped = at_most(k, at_least(k, x, limits.low), limits.high)
    shifted, r, _ = reduced(k, clipped)
    u = k.fma(*squared(k, r, EXP[x.dtype.itemsize]), r)
    return scaled(k, u, shifted, k.less(x, limits.normal))


@describes("exp2")
def exp2(k: Scalars, x: Scalar) -> Scalar:
    """2 to the x; exact where x is whole."""
    if k.scaling:
        return stepped_exp2(k, x)
    limits = EXP2_RANGE[x.dtype.itemsize]
    clipped = at_most(k, at_least(k, x, limits.low), limits.high)
    shifter = format_of(x).shifter
    shifted = k.add(clipped, shifter)
    r = k.subtract(clipped, k.subtract(shifted, shifter))
    first, *rest = EXP2[x.dtype.itemsize]
    tail = k.multiply(*squared(k, r, rest))
    return scaled(k, k.fma(r, first, tail), shifted, k.less(x, limits.normal))


def stepped_exp(k: Scalars, x: Scalar, *, bounded: bool = False) -> Scalar:
    """E to the x by a table; any x if ``bounded``, else less exactly where that is normal."""
    high, low = LOG_2[x.dtype.itemsize]
    shifted, n = stepped(k, x, LOG2_E[x.dtype.itemsize][0])
    minus = k.negative(n)
    r = k.fma(minus, low, k.fma(minus, high, x))
    roots, lacks = step_roots(format_of(x).dtype)
    r = k.within(r, 1) if bounded else r
    more = k.add(r, k.lookup(lacks, shifted)) if bounded else r
    u = k.fma(*squared(k, r, EXP_STEP[x.dtype.itemsize]), more)
    return raised(k, k.lookup(roots, shifted), u, n)


def stepped_exp2(k: Scalars, x: Scalar) -> Scalar:
    """2 to the x by a table."""
    shifted, n = stepped(k, x, 1.0)
    return beyond_step(k, shifted, n, k.subtract(x, n))


def beyond_step(k: Scalars, shifted: Scalar, n: Scalar, r: Scalar) -> Scalar:
    """2 to the n + r for an n in steps, which are in the last bits of ``shifted``."""
    r = k.within(r, 1)  # whatever is beside an infinity
    roots, lacks = step_roots(format_of(r).dtype)
    terms = EXP2_STEP[r.dtype.itemsize]
    series = horner(k, r, terms) if len(terms) < 4 else halves(k, r, k.multiply(r, r), terms)
    return raised(k, k.lookup(roots, shifted), k.fma(r, series, k.lookup(lacks, shifted)), n)


def stepped(k: Scalars, x: Scalar, factor: float) -> Pair:
    """X times a factor in steps of 1 / ``STEPS``, in the last bits of a number, and itself."""
    shifter = format_of(x).shifter / STEPS[x.dtype.itemsize]
    shifted = k.add(x, shifter) if factor == 1 else k.fma(x, factor, format_of(x).real(shifter))
    return shifted, k.subtract(shifted, shifter)


def raised(k: Scalars, root: Scalar, u: Scalar, n: Scalar) -> Scalar:
    """(1 + u) 2**n for an n in steps, whose fraction has a root."""
    return k.times_power(k.fma(root, u, root), n)


@cache
def step_roots(dtype: DType) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """2**(i / steps) for each step, and what each lacks relative to itself."""
    steps, digits = STEPS[dtype.itemsize], 80
    roots, lacks = [], []
    for i in range(steps):
        exact = 1 << (i + steps * digits)
        for _ in range(steps.bit_length() - 1):
            exact = math.isqrt(exact)
        roots.append(float(dtype.type(exact / (1 << digits))))
        lacks.append((exact - int(roots[-1] * 2.0**digits)) / exact)
    return tuple(roots), tuple(lacks)


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
    """The hyperbolic tangent: x and a share of it, or 1 - 2 / (exp(2x) + 1), by one division."""
    size, magnitude = x.dtype.itemsize, k.absolute(x)
    square = k.multiply(x, x)
    above = k.multiply(square, horner(k, square, TANH[size][: ABOVE[size]]))
    below = horner(k, square, (*TANH[size][ABOVE[size] :], 1.0))
    clipped = at_most(k, magnitude, 0.375 * format_of(x).digits + 2)
    power = middle_exp(k, k.add(clipped, clipped))
    near = k.less(magnitude, NEAR)
    above, below = k.select(near, above, -2), k.select(near, below, k.add(power, 1))
    quotient = k.divide(above, below)
    value = k.fma(k.select(near, magnitude, 1), quotient, k.select(near, magnitude, 1))
    return k.copysign(value, x)


def middle_exp(k: Scalars, x: Scalar) -> Scalar:
    """E to the x where that is a normal number."""
    if k.scaling:
        return stepped_exp(k, x)
    shifted, r, _ = reduced(k, x)
    scale = power_of_two(k, shifted, 0)
    return k.fma(k.fma(*squared(k, r, EXP[x.dtype.itemsize]), r), scale, scale)


@describes("expit")
def expit(k: Scalars, x: Scalar) -> Scalar:
    """The logistic function, of -|x| up to the last step: beside it that of -x costs little.

    1 / (1 + exp(-|x|)), less its rounding errors; for a negative x exp(-|x|) times that.
    """
    tail = exp(k, k.negative(k.absolute(x)))
    quotient = k.divide(1, k.add(tail, 1))
    rest = residual(k, k.subtract(1, quotient), quotient, tail)  # the difference is exact
    more = k.multiply(rest, quotient)
    lower = k.fma(tail, quotient, k.multiply(tail, more))
    return k.select(k.less(x, 0), lower, k.add(quotient, more))
