"""cbrt and hypot.

The coefficients are from ``benchmarks/fits``.
"""

from __future__ import annotations

from graphjit.codegen.loops import Scalar
from graphjit.codegen.mathematics.describe import describes
from graphjit.codegen.mathematics.exponential import power_of_two
from graphjit.codegen.mathematics.formats import format_of
from graphjit.codegen.mathematics.logarithm import separated
from graphjit.codegen.mathematics.polynomial import head, polynomial
from graphjit.codegen.scalars import Scalars

# (1 + f)**(-1/3) on √½ <= 1 + f <= √2.
INVERSE = {
    8: (
        1.0000000000264553, -0.333333336430702, 0.22222220842790033, -0.17283888679308118,
        0.1440337160196947, -0.1248637477998595, 0.11096438327477869, -0.09957289559569095,
        0.09109880090641445, -0.09317652488576103, 0.09510377672398782, -0.05417588263079017,
    ),
    4: (
        1.0000038146972656, -0.3332609236240387, 0.22160667181015015, -0.17582154273986816,
        0.16040277481079102, -0.1080331951379776,
    ),
}  # fmt: skip
INVERSE_ROOTS = 0.7937005259840998, 1.2599210498948732  # of 2 and of 1/2
RAISE = 54  # a multiple of 3


@describes("cbrt")
def cbrt(k: Scalars, x: Scalar) -> Scalar:
    """The real cube root.

    An inverse root v of half the digits is a polynomial's; t = m v**2, shortened so that its
    square is exact, is corrected by (m - t**3) v**2 / 3, and the next term of the series.
    """
    form, magnitude = format_of(x), k.absolute(x)
    small = k.less(magnitude, form.least)
    n, m = separated(k, k.select(small, k.multiply(magnitude, 2.0**RAISE), magnitude))
    shifted = k.fma(n, 1 / 3, form.shifter)  # n / 3, rounded
    odd = k.fma(k.subtract(form.shifter, shifted), 3, n)  # -1, 0 or 1
    v = polynomial(k, k.subtract(m, 1), INVERSE[x.dtype.itemsize])
    up, down = k.greater(odd, 0), k.less(odd, 0)
    v, m = (
        k.multiply(y, k.select(up, above, k.select(down, below, form.real(1.0))))
        for y, above, below in ((v, *INVERSE_ROOTS), (m, 2.0, 0.5))
    )
    square = k.multiply(v, v)
    t = head(k, k.multiply(m, square))
    rest = remainder_of_cube(k, m, t)
    share = k.fma(k.multiply(rest, k.multiply(square, v)), 1 / 9, 1 / 3)
    root = k.fma(k.multiply(rest, square), share, t)
    scale = power_of_two(k, shifted, 0)
    scale = k.multiply(scale, k.select(small, form.real(2.0 ** -(RAISE // 3)), form.real(1.0)))
    value = k.copysign(k.multiply(root, scale), x)
    usual = k.logical_and(k.greater(magnitude, 0), k.isfinite(x))
    return k.select(usual, value, x)


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
