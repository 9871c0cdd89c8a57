"""sin, cos and tan: of what quarter turns leave of the argument, by polynomials.

Beyond ``LIMIT`` the C library is asked. The coefficients are minimax fits, from
``benchmarks/fits``, of (sin(r)/r - 1)/r^2, of (cos(r) - 1 + r^2/2)/r^4 and of (tan(r)/r - 1)/r^2 in
powers of r^2 for |r| <= pi/4.
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
from graphjit.codegen.mathematics.turns import (
    LIMIT,
    SHORT_LIMIT,
    is_short,
    reduced,
    reduced_once,
    reduced_short,
)
from graphjit.codegen.scalars import Scalars

SINE = {
    8: (
        -0.16666666666666632, 0.00833333333332249, -0.00019841269829857142, 2.7557313706516536e-06,
        -2.505076012657828e-08, 1.5896900482721493e-10,
    ),
    4: (
        -0.16666655242443085, 0.008332191966474056, -0.000195187923964113,
    ),
}  # fmt: skip
# Of (cos(r) - 1)/r^2, where one rounding of a product and a sum is all that is lost.
COSINE_ALONE = {
    8: (
        -0.5, 0.041666666666666595, -0.0013888888888873466, 2.4801587289124706e-05,
        -2.755731426062424e-07, 2.0875712033293677e-09, -1.1359117028903454e-11,
    ),
    4: (
        -0.5, 0.04166664555668831, -0.00138873141258955, 2.4433198632323183e-05,
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
# tan(r)/r as a quotient: what follows 1 in the polynomials, first of the upper one (``ABOVE``).
RATIO = {
    8: (
        -0.13337671332351492, 0.0034240637862431897, -1.784786251583892e-05, -0.46671004665684823,
        0.025660746005192282, -0.0003116776115857266, 4.975278571949438e-07,
    ),
    4: (
        -0.10012239962816238, -0.4334557354450226, 0.01115191075950861, 0.00010862963972613215,
    ),
}  # fmt: skip
ABOVE = {8: 3, 4: 1}


@describes("sin")
def sin(k: Scalars, x: Scalar) -> Scalar:
    """The sine: its kernel after an even number of quarter turns, else that of the cosine."""
    return sine_of(k, x, far=not is_short(k, x))


@describes("sin_far")
def sin_far(k: Scalars, x: Scalar) -> Scalar:
    """The sine of a float32 by way of float64."""
    return sine_of(k, x, far=True)


def sine_of(k: Scalars, x: Scalar, *, far: bool) -> Scalar:
    """The sine, or that of a float32 up to ``SHORT_LIMIT``."""
    magnitude = k.absolute(x)
    turns, sine, cosine = both(k, magnitude, far=far)
    value = k.select(odd(k, turns), cosine, sine)
    sign = k.bitwise_xor(k.bits(x), second_bit_on_top(k, turns))
    return beyond(k, magnitude, flipped(k, value, sign), "sin", x, far=far)


@describes("cos")
def cos(k: Scalars, x: Scalar) -> Scalar:
    """The cosine: the sine a quarter turn on."""
    return cosine_of(k, x, far=not is_short(k, x))


@describes("cos_far")
def cos_far(k: Scalars, x: Scalar) -> Scalar:
    """The cosine of a float32 by way of float64."""
    return cosine_of(k, x, far=True)


def cosine_of(k: Scalars, x: Scalar, *, far: bool) -> Scalar:
    """The cosine, or that of a float32 up to ``SHORT_LIMIT``."""
    magnitude = k.absolute(x)
    turns, sine, cosine = both(k, magnitude, far=far)
    value = k.select(odd(k, turns), sine, cosine)
    usual = flipped(k, value, second_bit_on_top(k, k.add(turns, 1)))
    return beyond(k, magnitude, usual, "cos", x, far=far)


def beyond(
    k: Scalars, magnitude: Scalar, usual: Scalar, op: str, x: Scalar, *, far: bool
) -> Scalar:
    """``usual``, or what is found another way where the magnitude is too large."""
    if far:
        return k.rare(k.greater(magnitude, LIMIT), usual, op, x)
    return k.rare(k.greater(magnitude, SHORT_LIMIT), usual, f"{op}_far", x)


@describes("tan")
def tan(k: Scalars, x: Scalar) -> Scalar:
    """The tangent of what is left, or after an odd number of quarter turns minus its inverse."""
    return tangent_of(k, x, far=not is_short(k, x))


@describes("tan_far")
def tan_far(k: Scalars, x: Scalar) -> Scalar:
    """The tangent of a float32 by way of float64."""
    return tangent_of(k, x, far=True)


def tangent_of(k: Scalars, x: Scalar, *, far: bool) -> Scalar:
    """The tangent, or that of a float32 up to ``SHORT_LIMIT``."""
    magnitude = k.absolute(x)
    by_way = far and x.dtype == np.float32
    if k.fused and not by_way:
        turns, value = tangent_or_inverse(k, magnitude)
    else:
        turns, value, inverse = (short_tan if by_way else long_tan)(k, magnitude)
        value = k.select(odd(k, turns), inverse, value)
    usual = flipped(k, value, k.bitwise_xor(k.bits(x), on_top(k, turns)))
    return beyond(k, magnitude, usual, "tan", x, far=far)


def tangent_or_inverse(k: Scalars, x: Scalar) -> Pair:
    """Quarter turns in x >= 0, and the tangent of the rest, or its inverse after an odd number.

    Both are the quotient of two polynomials. What rounding takes from the lower is made up for in
    the upper one, nearly: times the rest instead of its tangent.
    """
    table, count = RATIO[x.dtype.itemsize], ABOVE[x.dtype.itemsize]
    turns, (r, low) = reduced(k, x, far=False)
    square, one = k.multiply(r, r), format_of(x).real(1.0)
    share = k.multiply(r, horner(k, square, table[:count]))
    if x.dtype == np.float64:  # the low part counts 1 + tan(r)**2 times, as far as it matters
        share = k.fma(low, 0.75, share)
    tail = k.fma(square, share, low)
    series = horner(k, square, table[count:])
    below = k.fma(square, series, one)
    error = k.fma(square, series, k.subtract(one, below))
    above = k.add(r, k.fma(k.negative(r), error, tail))
    turned = k.less(on_top(k, turns), 0)
    return turns, k.divide(k.select(turned, below, above), k.select(turned, above, below))


def both(k: Scalars, x: Scalar, *, far: bool) -> tuple[Scalar, Scalar, Scalar]:
    """Quarter turns in x >= 0 as an integer's low bits, sine and cosine of the rest."""
    if not k.fused:
        turns, pair = reduced(k, x, far=far)
        sums = [k.add(*terms) for terms in kernels(k, *pair)]
        return turns, sums[0], sums[1]
    size = x.dtype.itemsize
    turns, r = reduced_once(k, x, far=far)
    square = k.multiply(r, r)
    sine = k.fma(k.multiply(r, square), horner(k, square, SINE[size]), r)
    one = format_of(x).real(1.0)
    return turns, sine, k.fma(square, horner(k, square, COSINE_ALONE[size]), one)


def long_tan(k: Scalars, x: Scalar) -> tuple[Scalar, Scalar, Scalar]:
    """Quarter turns, the tangent of the rest, and its inverse without the tangent's error."""
    turns, r = reduced(k, x, far=False)
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


def kernels(k: Scalars, r: Scalar, low: Scalar) -> tuple[Pair, Pair]:
    """Sine and cosine of r + low for |r| <= pi/4, each as a number and a small correction."""
    size = r.dtype.itemsize
    square = k.multiply(r, r)
    half = k.multiply(square, 0.5)
    cubic = k.multiply(k.multiply(r, square), horner(k, square, SINE[size]))
    quartic = k.multiply(k.multiply(square, square), horner(k, square, COSINE[size]))
    near = k.subtract(1, half)
    lost = k.subtract(k.subtract(1, near), half)
    if low != Constant(0.0, r.dtype):
        cubic = k.add(cubic, k.fma(k.negative(half), low, low))
        quartic = k.fma(k.negative(r), low, quartic)
    return (r, cubic), (near, k.add(lost, quartic))


def tangent(k: Scalars, r: Scalar, low: Scalar) -> Pair:
    """The tangent of r + low for |r| <= pi/4 and its rounding error; its slope is 1 + tan^2."""
    square = k.multiply(r, r)
    series = halves(k, square, k.multiply(square, square), TANGENT[r.dtype.itemsize])
    tail = k.multiply(k.multiply(r, square), series)
    near = k.add(r, tail)
    return fast_two_sum(k, r, k.add(tail, k.fma(k.multiply(low, near), near, low)))


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
