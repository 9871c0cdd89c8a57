"""x to the y: ``2**(y log2(x))``, for float64 with a logarithm in two parts.

With ``s = f / (2 + f)`` is ``log2(1 + f) = 2/log(2) s (1 + s**2 (1/3 + s**2 R(s**2)))``. What
is added to s is under 1/100 of it, so that few of its digits must be known beyond the first 53
(cf. J.-M. Muller, Elementary Functions, 3rd edition, 11.4). float32 is computed in float64.
The coefficients are from ``benchmarks/fits``.
"""

from __future__ import annotations

import numpy as np

from graphjit.codegen.loops import Constant, Scalar
from graphjit.codegen.mathematics.constants import LOG2_E
from graphjit.codegen.mathematics.describe import describes
from graphjit.codegen.mathematics.exponential import (
    EXP2,
    EXP2_RANGE,
    STEPS,
    beyond_step,
    power_of_two,
    scaled,
    squared,
)
from graphjit.codegen.mathematics.formats import format_of
from graphjit.codegen.mathematics.logarithm import normal, separated
from graphjit.codegen.mathematics.polynomial import (
    Pair,
    at_least,
    at_most,
    fast_two_sum,
    halves,
    residual,
    two_product,
)
from graphjit.codegen.mathematics.stepped_logarithm import binary_parts
from graphjit.codegen.scalars import Scalars

# ((artanh(s)/s - 1)/z - 1/3)/z in z = s**2.
LONG = {
    8: (
        0.19999999999999862, 0.1428571428578866, 0.11111111095623939, 0.0909091076304988,
        0.07692203319461624, 0.06670572531202563, 0.057961725551257545, 0.06285770580919016,
    ),
}  # fmt: skip
# log2(1 + f)/f, for float32.
SHORT = {
    8: (
        1.4426950409946424, -0.7213475168533884, 0.48089828216992625, -0.36067435964350464,
        0.2885460283191758, -0.24042821426059885, 0.20582026324915398, -0.1803144568929687,
        0.16465816883798814, -0.1528732174303359, 0.11550468204168532, -0.04495326394248072,
    ),
}  # fmt: skip
THIRD = 0.3333333333333333, 1.850371707708594e-17
TWICE_LOG2_E = 2 * LOG2_E[8][0], 2 * LOG2_E[8][1]
CERTAIN = 2.0**65  # a power so large overflows or vanishes unless the base is 1


@describes("power")
def power(k: Scalars, x: Scalar, y: Scalar) -> Scalar:
    """X to the y, with all the special cases of C99 (F.10.4.4)."""
    form, magnitude = format_of(x), k.absolute(x)
    if not k.scaling:
        value = (long_power if x.dtype == np.float64 else short_power)(k, magnitude, y)
        return completed(k, value, x, y)
    value = stepped_power(k, magnitude, y)
    # What is not right by itself has a negative base, or is NaN.
    signed = k.cast(k.bits(k.copysign(value, x)), form.unsigned)
    special = k.greater(signed, Constant(form.bits(np.inf), form.unsigned))
    return k.rare(special, value, "power_completed", value, x, y)


@describes("power_completed")
def power_completed(k: Scalars, value: Scalar, x: Scalar, y: Scalar) -> Scalar:
    """The same from what tables gave for the magnitude of x: NaN if that is 1 and y infinite."""
    one = k.logical_and(k.equal(k.absolute(x), 1), k.isinf(y))
    return completed(k, k.select(one, format_of(x).real(1.0), value), x, y)


def completed(k: Scalars, value: Scalar, x: Scalar, y: Scalar) -> Scalar:
    """A power of the magnitude of x, with the sign of that of x; 1, or NaN where that has none."""
    form = format_of(x)
    whole, odd = parity(k, y)
    value = k.copysign(value, k.select(odd, x, form.real(1.0)))
    finite = k.logical_and(k.less(x, 0), k.greater(x, -np.inf))
    outside = k.logical_and(finite, k.logical_not(whole))
    value = k.select(outside, form.real(np.nan), value)
    one = k.logical_or(k.equal(y, 0), k.equal(x, 1))
    return k.select(one, form.real(1.0), value)


def parity(k: Scalars, y: Scalar) -> Pair:
    """Whether y is whole, and whether it is odd; what has no place for a fraction is whole."""
    half = k.multiply(y, 0.5)
    whole, even = (k.equal(k.rint(x), x) for x in (y, half))
    return whole, k.logical_and(whole, k.logical_not(even))


def endless(k: Scalars, x: Scalar, logarithm: Scalar) -> Scalar:
    """The logarithm of a number that may be 0, infinite or NaN too."""
    finite = k.select(k.less(x, np.inf), logarithm, x)
    return k.select(k.equal(x, 0), format_of(x).real(-np.inf), finite)


def bounded(k: Scalars, y: Scalar) -> Scalar:
    """A power that does the same, and whose product with 0 is 0."""
    return at_most(k, at_least(k, y, -CERTAIN), CERTAIN)


def stepped_power(k: Scalars, x: Scalar, y: Scalar) -> Scalar:
    """By tables; NaN where a product of 0 and an infinity is."""
    high, low, near = binary_parts(k, x)
    shifter = format_of(x).shifter / STEPS[x.dtype.itemsize]
    shifted = k.fma(y, near, format_of(x).real(shifter))
    n = k.subtract(shifted, shifter)
    product, error = two_product(k, y, high)
    r = k.add(k.subtract(product, n), k.fma(y, low, error))
    return beyond_step(k, shifted, n, r)


def short_power(k: Scalars, x: Scalar, y: Scalar) -> Scalar:
    """Of float32, in float64: the conversion rounds, overflows and underflows."""
    x, y = k.cast(x, np.float64), bounded(k, k.cast(y, np.float64))
    n, m = separated(k, x)
    f = k.subtract(m, 1)
    logarithm = endless(k, x, k.fma(f, halves(k, f, k.multiply(f, f), SHORT[8]), n))
    exponent = at_most(k, at_least(k, k.multiply(y, logarithm), -200.0), 200.0)
    shifter = format_of(x).shifter
    shifted = k.add(exponent, shifter)
    r = k.subtract(exponent, k.subtract(shifted, shifter))
    scale = power_of_two(k, shifted, 0)
    return k.cast(
        k.fma(k.multiply(r, halves(k, r, k.multiply(r, r), EXP2[4])), scale, scale), np.float32
    )


def long_power(k: Scalars, x: Scalar, y: Scalar) -> Scalar:
    """Of float64."""
    high, low = long_logarithm(k, x)
    high, y = endless(k, x, high), bounded(k, y)
    product, error = two_product(k, y, high)
    limits, shifter = EXP2_RANGE[8], format_of(x).shifter
    exponent = at_most(k, at_least(k, product, limits.low), limits.high)
    error = k.select(k.equal(exponent, product), k.fma(y, low, error), 0)
    shifted = k.add(exponent, shifter)
    r = k.add(k.subtract(exponent, k.subtract(shifted, shifter)), error)
    first, *rest = EXP2[8]
    tail = k.multiply(*squared(k, r, rest))
    return scaled(k, k.fma(r, first, tail), shifted, k.less(exponent, limits.normal))


def long_logarithm(k: Scalars, x: Scalar) -> Pair:
    """log2 of a positive number to some 65 bits, as a sum of two."""
    n, m = separated(k, *normal(k, x))
    s = long_quotient(k, k.subtract(m, 1))
    z = long_product(k, s, s)
    tail = k.multiply(z[0], halves(k, z[0], k.multiply(z[0], z[0]), LONG[8]))
    third, low = fast_two_sum(k, format_of(x).real(THIRD[0]), tail)
    t = long_product(k, s, long_product(k, z, (third, k.add(low, THIRD[1]))))
    total, error = fast_two_sum(k, s[0], t[0])
    series = total, k.add(error, k.add(t[1], s[1]))
    factor = format_of(x).real(TWICE_LOG2_E[0]), format_of(x).real(TWICE_LOG2_E[1])
    high, low = long_product(k, series, factor)
    logarithm, error = fast_two_sum(k, n, high)
    return logarithm, k.add(error, low)


def long_quotient(k: Scalars, f: Scalar) -> Pair:
    """F / (2 + f) as a sum of two."""
    below, error = fast_two_sum(k, format_of(f).real(2.0), f)
    s = k.divide(f, below)
    rest = k.fma(k.negative(s), error, residual(k, f, s, below))
    return s, k.multiply(rest, k.fma(s, -0.5, 0.5))  # 1 / (2 + f) is (1 - s) / 2


def long_product(k: Scalars, a: Pair, b: Pair) -> Pair:
    """The product of two sums of two."""
    product, error = two_product(k, a[0], b[0])
    return product, k.fma(a[0], b[1], k.fma(a[1], b[0], error))
