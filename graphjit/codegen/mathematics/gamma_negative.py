"""The logarithm of |gamma(x)| below 0, where it is 0 twice between whole numbers.

Let n be the whole number nearest to -x and d = x + n. Down to -35/2 the reciprocal of gamma(x) is
d (d - 1) ... (d - n) times that of gamma(1 + d), in two parts, so that the logarithm keeps its
digits where that is near 1 (1/gamma is entire: M. Abramowitz and I. Stegun, Handbook of
Mathematical Functions, 6.1.34). Between floats and the zeros nearest to 0 there is too little even
for that; next to those two terms of the Taylor series are enough. Further down, no float is as
near to a zero: reflection (6.1.17) and Stirling's series.

``LEADING`` has the Taylor coefficients of 1/gamma(1 + d), each in two parts, ``ZEROS`` the zeros in
two parts, digamma there and half its derivative. The others are minimax fits, from
``benchmarks/fits``, for |d| <= 1/2: ``TAIL`` of what the leading terms lack, over d^12, and
``TURN`` of sin(pi d)/(pi d) in powers of d^2.
"""

from __future__ import annotations

from functools import reduce

import numpy as np

from graphjit.codegen.loops import Constant, Scalar
from graphjit.codegen.mathematics.constants import LOG_2
from graphjit.codegen.mathematics.describe import describes
from graphjit.codegen.mathematics.gamma import FAR, STIRLING
from graphjit.codegen.mathematics.logarithm import parts_of
from graphjit.codegen.mathematics.polynomial import (
    Pair,
    fast_two_sum,
    horner,
    two_product,
    two_sum,
)
from graphjit.codegen.scalars import Scalars

STEPS = 17  # below -STEPS - 1/2 the nearest floats lie far from the zeros
CLOSE = 2.0**-31  # to a zero, so that the third term of the series does not matter
ZEROS = (
    (-2.4570247382208006, -3.7075610815513266e-17, 1.5156034480216574, 4.8583209516339965),
    (-2.7476826467274127, 9.055340329338315e-17, -1.9143501856115988, 9.575189475709667),
    (-3.14358088834998, -2.1818179852331714e-16, 7.781884658131351, 25.831338372387957),
    (-3.955294284858598, -1.999428391746348e-17, -20.725060845803707, 251.7146825868894),
    (-4.039361839740537, 2.1143995503980602e-16, 26.790480886140593, 324.25532293784715),
)
LEADING = (
    (1.0, 0.0),
    (0.5772156649015329, -4.942915152430645e-18),
    (-0.6558780715202539, 2.137185197068536e-17),
    (-0.04200263503409524, 1.4920306285650505e-18),
    (0.16653861138229148, 1.0189144546842026e-17),
    (-0.04219773455554433, -3.3579992682480134e-18),
    (-0.009621971527876973, -5.300031368830263e-19),
    (0.0072189432466631, -3.6006537063394283e-19),
    (-0.0011651675918590652, 5.659947853880981e-20),
    (-0.00021524167411495098, 2.3758686180729364e-21),
    (0.0001280502823881162, -9.359124499198967e-21),
    (-2.013485478078824e-05, 3.0488773972037385e-23),
)
TAIL = {
    8: (
        -1.2504934821471235e-06, 1.1330272319797249e-06, -2.0563384157349486e-07,
        6.11609515364861e-09, 5.0020062880197565e-09, -1.1812750548047859e-09,
        1.0434994322659384e-10, 7.78462034268987e-12, -3.716072801989012e-12, 5.043719859368011e-13,
    ),
}  # fmt: skip
TURN = {
    8: (
        1.0, -1.6449340668482264, 0.8117424252833467, -0.1907518241217048, 0.026147847808529707,
        -0.0023460809190491063, 0.00014842794642564932, -6.972345776352497e-06,
        2.452657187039368e-07,
    ),
}  # fmt: skip


@describes("gammaln_below_zero")
def gammaln_below_zero(k: Scalars, x: Scalar) -> Scalar:
    """The logarithm of |gamma(x)| for x < 0; infinite at -1, -2, ... A float32 as a float64."""
    if x.dtype == np.float32:
        return k.cast(k.gammaln_below_zero(k.cast(x, np.float64)), np.float32)
    whole = k.rint(x)
    d = k.subtract(x, whole)
    near = k.greater_equal(whole, -STEPS)
    high, low = reciprocal(k, d, k.negative(whole))
    sine = k.multiply(d, horner(k, k.multiply(d, d), TURN[8]))
    first, second = logarithm(k, k.absolute(k.select(near, high, sine)))
    second = k.add(second, k.select(near, k.divide(low, high), 0))
    more = stirling(k, k.negative(x))
    total, error = two_sum(k, k.select(near, 0, more[0]), first)
    value = k.add(total, k.add(error, k.add(k.select(near, 0, more[1]), second)))
    value = reduce(lambda known, zero: beside(k, x, known, zero), ZEROS, k.negative(value))
    return k.select(k.equal(d, 0), float("inf"), value)


def reciprocal(k: Scalars, d: Scalar, n: Scalar) -> Pair:
    """``d (d - 1) ... (d - n) / gamma(1 + d)`` in two parts, for n of at most ``STEPS``."""
    high: Scalar = horner(k, d, TAIL[8])
    low: Scalar = Constant(0.0, d.dtype)
    most = abs(TAIL[8][0])  # that the product can be
    for first, second in reversed(LEADING):
        product, error = two_product(k, high, d)
        add = fast_two_sum if abs(first) > most else two_sum
        high, lost = add(k, Constant(first, d.dtype), product)
        low = k.add(lost, k.fma(low, d, k.add(error, second)))
        most = (abs(first) + most) / 2
    for i in range(STEPS + 1):
        factor = k.select(k.greater_equal(n, i), k.subtract(d, i), 1) if i else d
        high, error = two_product(k, high, factor)
        low = k.fma(low, factor, error)
    return fast_two_sum(k, high, low)


def logarithm(k: Scalars, x: Scalar) -> Pair:
    """The natural logarithm of a positive number, to some 58 bits, as a sum of two."""
    p, (high, low) = parts_of(k, x), LOG_2[8]
    first, lost = fast_two_sum(k, p.f, k.negative(p.half))
    total, error = fast_two_sum(k, k.multiply(p.n, high), first)
    return total, k.add(k.add(error, lost), k.fma(p.n, low, p.tail))


def stirling(k: Scalars, y: Scalar) -> Pair:
    """The logarithm of gamma(1 + y) as a sum of two, where y is large."""
    power, inverse = k.add(y, 0.5), k.reciprocal(y)
    high, low = logarithm(k, y)
    product, error = two_product(k, power, high)
    error = k.fma(power, low, error)
    total, lost = fast_two_sum(k, product, k.negative(y))
    series = horner(k, k.multiply(inverse, inverse), FAR[8])
    tail = k.fma(inverse, series, Constant(STIRLING + 0.5, y.dtype))
    return total, k.add(k.add(lost, error), tail)


def beside(k: Scalars, x: Scalar, value: Scalar, zero: tuple[float, float, float, float]) -> Scalar:
    """The value, or where x is next to a zero that of the Taylor series there."""
    first, second, slope, half_curvature = zero
    gap = k.subtract(x, first)
    rest = k.subtract(gap, second)
    series = k.multiply(rest, k.fma(rest, half_curvature, Constant(slope, x.dtype)))
    return k.select(k.less(k.absolute(gap), CLOSE), series, value)
