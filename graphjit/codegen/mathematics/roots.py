"""cbrt and hypot.

The coefficients are from ``benchmarks/fits``.
"""

from __future__ import annotations

from graphjit.codegen.loops import Scalar
from graphjit.codegen.mathematics.describe import describes
from graphjit.codegen.mathematics.formats import format_of
from graphjit.codegen.mathematics.polynomial import halves, head
from graphjit.codegen.scalars import Scalars

# (1 - e)**(-1/3) for |e| <= 0.1025.
INVERSE = {
    8: (
        0.999999999988695, 0.3333333462908713, 0.22222225359483797, 0.17282965972219103,
        0.14401894078933342, 0.12669571086972273, 0.1129850182404765,
    ),
    4: (
        0.9999979734420776, 0.33332833647727966, 0.22374938428401947, 0.17457522451877594,
    ),
}  # fmt: skip
SHIFT = 0.068  # of the seed's exponent: it makes the largest |e| least, 0.1021
RAISE = 54  # a multiple of 3


@describes("cbrt")
def cbrt(k: Scalars, x: Scalar) -> Scalar:
    """The real cube root.

    An inverse root v of half the digits is found first; t = m v**2, shortened so that its
    square is exact, is corrected by (m - t**3) v**2 / 3, and the next term of the series.
    """
    form, magnitude = format_of(x), k.absolute(x)
    small = k.less(magnitude, form.least * 2.0**RAISE)  # what is left of it by t**3 loses digits
    m = k.select(small, k.multiply(magnitude, 2.0**RAISE), magnitude)
    v = inverse_root(k, m)
    square = k.multiply(v, v)
    t = head(k, k.multiply(m, square))
    rest = remainder_of_cube(k, m, t)
    share = k.fma(k.multiply(rest, k.multiply(square, v)), 1 / 9, 1 / 3)
    root = k.fma(k.multiply(rest, square), share, t)
    root = k.multiply(root, k.select(small, form.real(2.0 ** -(RAISE // 3)), form.real(1.0)))
    if k.scaling:
        same = dict.fromkeys(("zero", "infinity", "minus_infinity"), "x")
        return k.special(k.copysign(root, x), x, **same)
    usual = k.logical_and(k.greater(magnitude, 0), k.isfinite(x))
    return k.select(usual, k.copysign(root, x), x)


def inverse_root(k: Scalars, m: Scalar) -> Scalar:
    """m**(-1/3) of a positive normal number.

    A float's bits are about the logarithm, so a third of them is that of the cube root. Those
    that a float of a large power has room for are enough; a polynomial corrects the seed.
    """
    form = format_of(m)
    shift = form.whole(8 * m.dtype.itemsize - form.digits)
    bits = k.bitwise_or(k.right_shift(k.bits(m), shift), form.whole(form.bits(2.0**form.digits)))
    zero = (form.bias * 4 / 3 - SHIFT) * 2.0 ** (form.digits - shift.value)
    third = k.fma(k.from_bits(bits), -1 / 3, 2.0**form.digits * 4 / 3 + zero)
    seed = k.from_bits(k.left_shift(k.bits(third), shift))
    error = k.subtract(1, k.multiply(k.multiply(m, seed), k.multiply(seed, seed)))
    correction = halves(k, error, k.multiply(error, error), INVERSE[m.dtype.itemsize])
    return k.multiply(seed, correction)


def remainder_of_cube(k: Scalars, m: Scalar, t: Scalar) -> Scalar:
    """``m - t**3`` for a t of half the digits, close to the cube root of m."""
    square = k.multiply(t, t)  # exact
    if k.fused:
        return k.fma(k.negative(t), square, m)
    high = head(k, square)
    rest = k.subtract(m, k.multiply(t, high))
    return k.subtract(rest, k.multiply(t, k.subtract(square, high)))


@describes("hypot")
def hypot(k: Scalars, x: Scalar, y: Scalar) -> Scalar:
    """sqrt(x**2 + y**2) of numbers scaled so that no square overflows or vanishes."""
    form = format_of(x)
    a, b = k.absolute(x), k.absolute(y)
    swap = k.less(a, b)
    large, less = k.select(swap, b, a), k.select(swap, a, b)
    power = 2.0 ** (form.bias // 2 + form.digits)
    edge = 2.0 ** (form.bias // 2 - 2)
    high, low = k.greater(large, edge), k.less(large, 1 / edge * 2.0**form.digits)
    factor = k.select(high, 1 / power, k.select(low, power, form.real(1.0)))
    back = k.select(high, power, k.select(low, 1 / power, form.real(1.0)))
    large, less = k.multiply(large, factor), k.multiply(less, factor)
    value = k.multiply(k.sqrt(k.fma(large, large, k.multiply(less, less))), back)
    infinite = k.logical_or(k.isinf(x), k.isinf(y))
    return k.select(infinite, float("inf"), value)
