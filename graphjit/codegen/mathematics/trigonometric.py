"""sin, cos and tan: the argument less a multiple of a quarter turn, then a polynomial.

The multiple is taken off in parts whose products are exact (W. J. Cody and W. Waite, Software
Manual for the Elementary Functions, 1980; J.-M. Muller, Elementary Functions, 3rd ed., 11.2), so
one rounding of ``a b + c`` or two give the same. Beyond ``LIMIT`` the C library is asked.

The coefficients are minimax fits, from ``benchmarks/fits``, of (sin(r)/r - 1)/r^2, of
(cos(r) - 1 + r^2/2)/r^4 and of (tan(r)/r - 1)/r^2 in powers of r^2 for |r| <= pi/4.
"""

from __future__ import annotations

import numpy as np

from graphjit.codegen.loops import Constant, Scalar
from graphjit.codegen.mathematics.describe import describes
from graphjit.codegen.mathematics.formats import format_of
from graphjit.codegen.mathematics.polynomial import (
    Pair,
    fast_two_sum,
    halves,
    horner,
    residual,
)
from graphjit.codegen.scalars import Scalars

LIMIT = 1e6  # below it the number of quarter turns has at most 20 bits
TWO_OVER_PI = 0.6366197723675814
# pi/2 in parts of 33, 20, 33 and 53 bits: a number of 20 bits times each of the first three is
# exact, and so is what the first two leave of the argument.
QUARTER = (1.5707963267341256, 6.077094383272197e-11, 6.12323399538461e-17, 3.5215598651832e-27)
ROUND = 6755399441055744.0  # 1.5 * 2**52: a float64 plus this has no place for a fraction
SINE = {
    8: (
        -0.16666666666666632, 0.00833333333332249, -0.00019841269829857142, 2.7557313706516536e-06,
        -2.505076012657828e-08, 1.5896900482721493e-10,
    ),
    4: (
        -0.16666655242443085, 0.008332191966474056, -0.000195187923964113,
    ),
}  # fmt: skip
COSINE = {
    8: (
        0.0416666666666666, -0.0013888888888874483, 2.4801587289679387e-05, -2.7557314403601594e-07,
        2.087572964439034e-09, -1.1359952991698332e-11,
    ),
    4: (
        0.04166664555668831, -0.0013887312961742282, 2.443295670673251e-05,
    ),
}  # fmt: skip

TANGENT = {
    8: (
        0.33333333333332715, 0.13333333333422678, 0.05396825392304454, 0.021869489691021596,
        0.008863218069748494, 0.0035922984598443577, 0.0014547036753709284, 0.0005952829402987633,
        0.00022176366303966165, 0.0001377439865138739, -2.8038345032875875e-05,
        9.091571106711332e-05, -4.5639119952757106e-05, 2.104054265814925e-05,
    ),
    4: (
        0.3333314061164856, 0.13339181244373322, 0.05338236689567566, 0.02452530898153782,
        0.0029780406039208174, 0.009463969618082047,
    ),
}  # fmt: skip


@describes("sin")
def sin(k: Scalars, x: Scalar) -> Scalar:
    """The sine: its kernel after an even number of quarter turns, else that of the cosine."""
    magnitude = k.absolute(x)
    turns, r = reduced(k, magnitude)
    sine, cosine = kernels(k, *r)
    value = k.select(odd(k, turns), k.add(*cosine), k.add(*sine))
    sign = k.bitwise_xor(k.bits(x), second_bit_on_top(k, turns))
    usual = flipped(k, value, sign)
    return k.rare(k.greater(magnitude, LIMIT), usual, "sin", x)


@describes("cos")
def cos(k: Scalars, x: Scalar) -> Scalar:
    """The cosine: the sine a quarter turn on."""
    magnitude = k.absolute(x)
    turns, r = reduced(k, magnitude)
    sine, cosine = kernels(k, *r)
    value = k.select(odd(k, turns), k.add(*sine), k.add(*cosine))
    usual = flipped(k, value, second_bit_on_top(k, k.add(turns, 1)))
    return k.rare(k.greater(magnitude, LIMIT), usual, "cos", x)


@describes("tan")
def tan(k: Scalars, x: Scalar) -> Scalar:
    """The tangent of what is left, or after an odd number of quarter turns minus its inverse."""
    magnitude = k.absolute(x)
    turns, value, inverse = (long_tan if x.dtype == np.float64 else short_tan)(k, magnitude)
    sign = k.bitwise_xor(k.bits(x), on_top(k, turns))
    usual = flipped(k, k.select(odd(k, turns), inverse, value), sign)
    return k.rare(k.greater(magnitude, LIMIT), usual, "tan", x)


def long_tan(k: Scalars, x: Scalar) -> tuple[Scalar, Scalar, Scalar]:
    """Quarter turns, the tangent of the rest, and its inverse without the tangent's error."""
    turns, r = reduced(k, x)
    value, error = tangent(k, *r)
    inverse = k.divide(1, value)
    lost = k.fma(k.negative(inverse), error, residual(k, format_of(x).real(1.0), inverse, value))
    return turns, value, k.fma(lost, inverse, inverse)


def short_tan(k: Scalars, x: Scalar) -> tuple[Scalar, Scalar, Scalar]:
    """The same for float32: what is added to the rest is added in float64."""
    turns, r = reduced_short(k, x)
    near = k.cast(r, x.dtype)
    square = k.multiply(near, near)
    share = k.multiply(square, horner(k, square, TANGENT[4]))
    value = k.cast(k.fma(r, k.cast(share, np.float64), r), x.dtype)
    return turns, value, k.divide(1, value)


def reduced(k: Scalars, x: Scalar) -> tuple[Scalar, Pair]:
    """Quarter turns in x >= 0 as an integer's low bits, and the rest with its rounding error.

    A float32 is reduced as a float64; its rest is accurate enough with an error of 0.
    """
    if x.dtype == np.float32:
        whole, r = reduced_short(k, x)
        return whole, (k.cast(r, x.dtype), zero(x))
    rounded, turns, first = turned(k, x)
    return k.bits(rounded), rest(k, turns, first)


def reduced_short(k: Scalars, x: Scalar) -> Pair:
    """The same of a float32, the rest as a float64."""
    rounded, turns, first = turned(k, k.cast(x, np.float64))
    r = k.fma(k.negative(turns), QUARTER[1] + QUARTER[2], first)
    return k.cast(k.bits(rounded), np.int32), r


def turned(k: Scalars, x: Scalar) -> tuple[Scalar, Scalar, Scalar]:
    """Quarter turns in the last bits of a number, as a number, and what their first part leaves."""
    rounded = k.fma(x, TWO_OVER_PI, Constant(ROUND, x.dtype))
    turns = k.subtract(rounded, ROUND)
    return rounded, turns, k.fma(k.negative(turns), QUARTER[0], x)


def rest(k: Scalars, turns: Scalar, first: Scalar) -> Pair:
    """What the remaining parts leave; the second part's difference is a multiple of 2**-53."""
    near = k.fma(k.negative(turns), QUARTER[1], first)
    product = k.multiply(turns, QUARTER[2])
    high = k.subtract(near, product)
    low = k.subtract(k.subtract(near, high), product)
    return high, k.fma(k.negative(turns), QUARTER[3], low)


def kernels(k: Scalars, r: Scalar, low: Scalar) -> tuple[Pair, Pair]:
    """Sine and cosine of r + low for |r| <= pi/4, each as a number and a small correction."""
    size = r.dtype.itemsize
    square = k.multiply(r, r)
    half = k.multiply(square, 0.5)
    cubic = k.multiply(k.multiply(r, square), horner(k, square, SINE[size]))
    quartic = k.multiply(k.multiply(square, square), horner(k, square, COSINE[size]))
    near = k.subtract(1, half)
    lost = k.subtract(k.subtract(1, near), half)
    if low != zero(r):
        cubic = k.add(cubic, k.fma(k.negative(half), low, low))
        quartic = k.fma(k.negative(r), low, quartic)
    return (r, cubic), (near, k.add(lost, quartic))


def tangent(k: Scalars, r: Scalar, low: Scalar) -> Pair:
    """The tangent of r + low for |r| <= pi/4 and its rounding error; its slope is 1 + tan^2."""
    square = k.multiply(r, r)
    series = halves(k, square, k.multiply(square, square), TANGENT[8])
    tail = k.multiply(k.multiply(r, square), series)
    near = k.add(r, tail)
    return fast_two_sum(k, r, k.add(tail, k.fma(k.multiply(low, near), near, low)))


def zero(x: Scalar) -> Constant:
    """Nothing to correct."""
    return Constant(0.0, x.dtype)


def odd(k: Scalars, turns: Scalar) -> Scalar:
    """Whether the lowest bit is set."""
    return k.not_equal(k.bitwise_and(turns, 1), 0)


def on_top(k: Scalars, turns: Scalar) -> Scalar:
    """The lowest bit in the place of a sign."""
    return k.left_shift(turns, Constant(8 * turns.dtype.itemsize - 1, turns.dtype))


def second_bit_on_top(k: Scalars, turns: Scalar) -> Scalar:
    """The second lowest bit in the place of a sign; others below."""
    return k.left_shift(turns, Constant(8 * turns.dtype.itemsize - 2, turns.dtype))


def flipped(k: Scalars, x: Scalar, sign: Scalar) -> Scalar:
    """X, negated where the sign bit is set."""
    top = Constant(-(2 ** (8 * sign.dtype.itemsize - 1)), sign.dtype)
    return k.from_bits(k.bitwise_xor(k.bits(x), k.bitwise_and(sign, top)))
