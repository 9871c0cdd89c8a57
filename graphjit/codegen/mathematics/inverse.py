"""arcsin, arccos, arctan and arctan2: one polynomial each on a small interval around zero.

Larger arguments go there by ``arcsin x = pi/2 - 2 arcsin sqrt((1 - x)/2)`` and
``arctan x = pi/2 - arctan 1/x`` (W. J. Cody and W. Waite, Software Manual for the Elementary
Functions, 1980). The special values are those of C99, annex F.

The coefficients are minimax fits, from ``docs/minimax.py``, of (arcsin(x)/x - 1)/x^2 on x^2 <= 1/4
and of (arctan(x)/x - 1)/x^2 on x^2 <= 1, in powers of x^2.
"""

from __future__ import annotations

from graphjit.codegen.loops import Constant, Scalar
from graphjit.codegen.mathematics.describe import describes
from graphjit.codegen.mathematics.polynomial import polynomial
from graphjit.codegen.scalars import Scalars

# pi and pi/2 to twice the precision, by the size of the dtype: a high and a low part.
PI = {
    8: (3.141592653589793, 1.2246467991473532e-16),
    4: (3.1415927410125732, -8.742277657347586e-08),
}
HALF_PI = {size: (high / 2, low / 2) for size, (high, low) in PI.items()}
ARCSINE = {
    8: (
        0.16666666666665375, 0.07500000000344649, 0.044642856822086165, 0.0303819593913776,
        0.022371752027596205, 0.017359794400776035, 0.013884361674222022, 0.012174875141843011,
        0.00650378461890715, 0.019593682508980505, -0.01632575056718861, 0.03198109997633628,
    ),
    4: (
        0.16666753854417451, 0.07495242532892206, 0.045477337604942644, 0.024144844436799442,
        0.042225631865436646,
    ),
}  # fmt: skip
ARCTANGENT = {
    8: (
        -0.33333333333331994, 0.19999999999774845, -0.14285714272355982, 0.11111110705563378,
        -0.09090901658164323, 0.0769221732035841, -0.06665892182627674, 0.05877475142468062,
        -0.052398888452185814, 0.046758975013015465, -0.040970685232510434, 0.03414528801891355,
        -0.025930757874887994, 0.017084094560487845, -0.009265319501514754, 0.0039004112041715376,
        -0.001180755762921672, 0.0002268462696768238, -2.06620616434991e-05,
    ),
    4: (
        -0.33333167020608034, 0.19994138686116608, -0.14214222741107363, 0.10678998885524209,
        -0.07580711368802033, 0.043555184992071304, -0.016582227087357414, 0.0029748559981441786,
    ),
}  # fmt: skip


@describes("arcsin")
def arcsin(k: Scalars, x: Scalar) -> Scalar:
    """The arc sine; NaN outside [-1, 1]."""
    small, root, series = arc(k, x)
    high, low = (Constant(c, x.dtype) for c in HALF_PI[x.dtype.itemsize])
    twice = k.multiply(root, -2)
    far = near(k, high, twice, k.fma(twice, series, low))
    return k.copysign(k.select(small, k.fma(root, series, root), far), x)


@describes("arccos")
def arccos(k: Scalars, x: Scalar) -> Scalar:
    """The arc cosine; NaN outside [-1, 1]."""
    small, root, series = arc(k, x)
    whole, half = PI[x.dtype.itemsize], HALF_PI[x.dtype.itemsize]
    negative = k.less(x, 0)
    base, low = (
        k.select(small, h, k.select(negative, w, Constant(0.0, x.dtype)))
        for w, h in zip(whole, half, strict=True)
    )
    arm = k.select(small, k.negative(x), k.copysign(k.multiply(root, 2), x))
    return near(k, base, arm, k.fma(arm, series, low))


def arc(k: Scalars, x: Scalar) -> tuple[Scalar, Scalar, Scalar]:
    """Whether |x| <= 1/2; r and s for which arcsin r is r + r s, r being |x| or the root."""
    magnitude = k.absolute(x)
    small = k.less_equal(magnitude, 0.5)
    square = k.select(small, k.multiply(x, x), k.fma(magnitude, -0.5, Constant(0.5, x.dtype)))
    root = k.select(small, magnitude, k.sqrt(square))
    return small, root, k.multiply(square, polynomial(k, square, ARCSINE[x.dtype.itemsize]))


@describes("arctan")
def arctan(k: Scalars, x: Scalar) -> Scalar:
    """The arc tangent."""
    magnitude = k.absolute(x)
    large = k.greater(magnitude, 1)
    zero = Constant(0.0, x.dtype)
    ratio = k.divide(k.select(large, -1, magnitude), k.select(large, magnitude, 1))
    base, low = (k.select(large, c, zero) for c in HALF_PI[x.dtype.itemsize])
    return k.copysign(turned(k, base, low, ratio), x)


@describes("arctan2")
def arctan2(k: Scalars, y: Scalar, x: Scalar) -> Scalar:
    """The angle of the point (x, y): from the axis that is nearer."""
    height, width = k.absolute(y), k.absolute(x)
    steep, left = k.greater(height, width), k.signbit(x)
    under = k.select(steep, height, width)
    same = k.select(k.equal(under, 0), Constant(0.0, x.dtype), 1)
    ratio = k.divide(k.select(steep, width, height), under)
    ratio = k.select(k.equal(height, width), same, ratio)
    ratio = k.select(k.logical_xor(steep, left), k.negative(ratio), ratio)
    size, zero = x.dtype.itemsize, Constant(0.0, x.dtype)
    base, low = (
        k.select(steep, half, k.select(left, whole, zero))
        for half, whole in zip(HALF_PI[size], PI[size], strict=True)
    )
    return k.copysign(turned(k, base, low, ratio), y)


def turned(k: Scalars, base: Scalar, low: Scalar, ratio: Scalar) -> Scalar:
    """A base angle plus the arc tangent of a ratio in [-1, 1]."""
    square = k.multiply(ratio, ratio)
    series = k.multiply(square, polynomial(k, square, ARCTANGENT[ratio.dtype.itemsize]))
    return near(k, base, ratio, k.fma(ratio, series, low))


def near(k: Scalars, base: Scalar, arm: Scalar, tail: Scalar) -> Scalar:
    """The sum of three; the rounding of the first two is made good where the base is larger."""
    total = k.add(base, arm)
    return k.add(total, k.add(k.add(k.subtract(base, total), arm), tail))
