"""sin, cos and tan: the argument less a multiple of a quarter turn, then a polynomial.

The multiple is taken off in parts whose products are exact (W. J. Cody and W. Waite, Software
Manual for the Elementary Functions, 1980; J.-M. Muller, Elementary Functions, 3rd ed., 11.2), so
one rounding of ``a b + c`` or two give the same. Beyond ``LIMIT`` the C library is asked.

The coefficients are minimax fits, from ``benchmarks/fits``, of (sin(r)/r - 1)/r^2 and of
(cos(r) - 1 + r^2/2)/r^4 in powers of r^2 for |r| <= pi/4.
"""

from __future__ import annotations

import numpy as np

from graphjit.codegen.loops import Constant, Scalar
from graphjit.codegen.mathematics.describe import describes
from graphjit.codegen.mathematics.polynomial import Pair, fast_two_sum, head, horner
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


@describes("sin")
def sin(k: Scalars, x: Scalar) -> Scalar:
    """The sine: its kernel after an even number of quarter turns, else that of the cosine."""
    magnitude = k.absolute(x)
    turns, r = reduced(k, magnitude, accurate=x.dtype == np.float64)
    sine, cosine = kernels(k, *r)
    value = k.select(odd(k, turns), k.add(*cosine), k.add(*sine))
    sign = k.bitwise_xor(k.bits(x), second_bit_on_top(k, turns))
    usual = flipped(k, value, sign)
    return k.rare(k.greater(magnitude, LIMIT), usual, "sin", x)


@describes("cos")
def cos(k: Scalars, x: Scalar) -> Scalar:
    """The cosine: the sine a quarter turn on."""
    magnitude = k.absolute(x)
    turns, r = reduced(k, magnitude, accurate=x.dtype == np.float64)
    sine, cosine = kernels(k, *r)
    value = k.select(odd(k, turns), k.add(*sine), k.add(*cosine))
    usual = flipped(k, value, second_bit_on_top(k, k.add(turns, 1)))
    return k.rare(k.greater(magnitude, LIMIT), usual, "cos", x)


@describes("tan")
def tan(k: Scalars, x: Scalar) -> Scalar:
    """Sine over cosine, or after an odd number of quarter turns minus the reciprocal."""
    magnitude = k.absolute(x)
    turns, r = reduced(k, magnitude)
    sine, cosine = (fast_two_sum(k, *pair) for pair in kernels(k, *r))
    crosswise = odd(k, turns)
    over = [k.select(crosswise, c, s) for s, c in zip(sine, cosine, strict=True)]
    under = [k.select(crosswise, s, c) for s, c in zip(sine, cosine, strict=True)]
    value = quotient(k, (over[0], over[1]), (under[0], under[1]))
    sign = k.bitwise_xor(k.bits(x), on_top(k, turns))
    return k.rare(k.greater(magnitude, LIMIT), flipped(k, value, sign), "tan", x)


def reduced(k: Scalars, x: Scalar, *, accurate: bool = True) -> tuple[Scalar, Pair]:
    """Quarter turns in x >= 0 as an integer's low bits, and the rest with its rounding error.

    A float32 is reduced as a float64; its rest has an error of 0 where that is accurate enough.
    """
    double = k.cast(x, np.float64)
    rounded = k.fma(double, TWO_OVER_PI, Constant(ROUND, double.dtype))
    turns = k.subtract(rounded, ROUND)
    first = k.fma(k.negative(turns), QUARTER[0], double)
    if x.dtype == np.float64:
        return k.bits(rounded), rest(k, turns, first)
    whole = k.fma(k.negative(turns), QUARTER[1] + QUARTER[2], first)
    high = k.cast(whole, x.dtype)
    low = k.cast(k.subtract(whole, k.cast(high, np.float64)), x.dtype) if accurate else zero(high)
    return k.cast(k.bits(rounded), np.int32), (high, low)


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


def zero(x: Scalar) -> Constant:
    """Nothing to correct."""
    return Constant(0.0, x.dtype)


def quotient(k: Scalars, a: Pair, b: Pair) -> Scalar:
    """A / b in a little more than working precision.

    The upper half of a first quotient times either half of the divisor is exact.
    """
    inverse = k.divide(1, b[0])
    value = head(k, k.multiply(a[0], inverse))
    high = head(k, b[0])
    low = k.add(k.subtract(b[0], high), b[1])
    minus = k.negative(value)
    left = k.fma(minus, low, k.add(k.fma(minus, high, a[0]), a[1]))
    return k.fma(left, inverse, value)


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
