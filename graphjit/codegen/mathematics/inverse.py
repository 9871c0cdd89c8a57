"""arcsin, arccos, arctan and arctan2: one polynomial each on a small interval around zero.

Larger arguments go there by ``arcsin x = pi/2 - 2 arcsin sqrt((1 - x)/2)`` and
``arctan x = pi/2 - arctan 1/x`` (W. J. Cody and W. Waite, Software Manual for the Elementary
Functions, 1980). The special values are those of C99, annex F.

The coefficients are minimax fits, from ``benchmarks/fits``, of (arcsin(x)/x - 1)/x^2 on x^2 <= 1/4
and of (arctan(x)/x - 1)/x^2 on x^2 <= 1, in powers of x^2.
"""

from __future__ import annotations

from graphjit.codegen.loops import Constant, Scalar
from graphjit.codegen.mathematics.constants import HALF_PI, PI
from graphjit.codegen.mathematics.describe import describes
from graphjit.codegen.mathematics.polynomial import halves, polynomial
from graphjit.codegen.scalars import Scalars

ARCSINE = {
    8: (
        0.16666666666665375, 0.07500000000344892, 0.044642856821923683, 0.03038195939705806,
        0.02237175190914087, 0.01735979598010504, 0.013884347715065437, 0.012174957942741762,
        0.006503458565353446, 0.01959450014400656, -0.01632693234134647, 0.03198184915790623,
    ),
    4: (
        0.16666753590106964, 0.07495249807834625, 0.0454765260219574, 0.02414890006184578,
        0.042218368500471115,
    ),
}  # fmt: skip
ARCTANGENT = {
    8: (
        -0.33333333333331994, 0.1999999999977477, -0.14285714272352723, 0.11111110705489018,
        -0.0909090165714048, 0.07692217311001699, -0.06665892122316326, 0.05877474857219675,
        -0.052398878295221635, 0.04675894734306056, -0.04097062705405645, 0.0341451933686391,
        -0.025930639150532026, 0.017083980937207713, -0.009265238143177099, 0.0039003690520828553,
        -0.001180740853250789, 0.0002268430513974625, -2.06617421378092e-05,
    ),
    4: (
        -0.3333316743373871, 0.1999414712190628, -0.14214284718036652, 0.10679222643375397,
        -0.07581154257059097, 0.04356009140610695, -0.016585083678364754, 0.0029755369760096073,
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
    series = halves(k, square, k.multiply(square, square), ARCSINE[x.dtype.itemsize])
    return small, root, k.multiply(square, series)


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
