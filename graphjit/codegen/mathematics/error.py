"""erf and erfc: x times a polynomial near zero, an exponential times one elsewhere.

The split is that of W. J. Cody, Rational Chebyshev approximations for the error function
(Mathematics of Computation 23, 1969); that the tail is smooth in (x - K)/(x + K) is from M. M.
Shepherd and J. G. Laframboise, Chebyshev approximation of (1 + 2x) exp(x^2) erfc x (Mathematics of
Computation 36, 1981).

The coefficients are minimax fits, from ``docs/minimax.py``: ``NEAR`` of erf(x)/x - 1 in powers of
x^2 for |x| up to 1; ``FAR`` of log erfc(x) in powers of x - 1, with errors weighed by erfc(x), up
to where erf is 1; ``TAIL`` of (x + K) exp(x^2) erfc(x) in powers of (x - K)/(x + K) - t, from 1 to
where erfc is 0; ``POWER`` of (exp(r) - 1 - r)/r^2 for |r| <= log(2)/2.
"""

from __future__ import annotations

from typing import Any

from graphjit.codegen.loops import Constant, Scalar
from graphjit.codegen.mathematics.describe import describes
from graphjit.codegen.mathematics.formats import FORMATS, format_of
from graphjit.codegen.mathematics.polynomial import (
    Pair,
    at_most,
    fast_two_sum,
    head,
    horner,
    polynomial,
    two_product,
)
from graphjit.codegen.scalars import Scalars

# log 2 as a number that times any exponent is exact, and the rest; 1 / log 2.
LOG2 = {
    8: (0.6931471805598903, 5.497923018708371e-14),
    4: (0.693145751953125, 1.4286068203094173e-06),
}
PER_LOG2 = 1.4426950408889634
ONE = {8: 6.0, 4: 4.0}  # from here on erf is 1
NOTHING = {8: 27.5, 4: 10.5}  # from here on erfc is 0
K = 4.0  # 2 K is a power of 2: (x - K)/(x + K) - t = CENTRE - 2 K/(x + K), with little rounding
# 1 - t for the t at which the first coefficient is the nearest to a number of the dtype.
CENTRE = {8: 0.65625, 4: 0.625}
NEAR = {
    8: (
        0.12837916709551256, -0.3761263890318352, 0.112837916709442, -0.026866170643113415,
        0.005223977606130842, -0.0008548325929766244, 0.0001205529358693695,
        -1.4924712439534814e-05, 1.6447132699786621e-06, -1.6206318752969208e-07,
        1.3710988704190523e-08, -7.779462971761597e-10,
    ),
    4: (
        0.12837916573041824, -0.3761262582800693, 0.11283585145843175, -0.02685381029964867,
        0.005188322369805324, -0.0008010131910511933, 7.853618131407821e-05,
    ),
}  # fmt: skip
FAR = {
    8: (
        -1.8496055099332482, -2.6389675142347757, -0.8431072563594121, -0.0415610980250871,
        0.010033825179167347, -0.001977901215985021, 0.0002373164352495527, 2.629632619884465e-05,
        -2.7198972501886417e-05, 9.671378649243099e-06, -2.131943584312782e-06,
        2.0481623404052775e-07, 5.800848624179558e-08, -3.3389768482424024e-08,
        8.518297916033466e-09, -1.319006510536092e-09, 1.1931454385805926e-10,
        -4.864434034496027e-12,
    ),
    4: (
        -1.8496055164766085, -2.638966816252477, -0.8431183330242452, -0.04150069825028137,
        0.00989090038857513, -0.0018261643246143759, 0.00018557339429952065,
    ),
}  # fmt: skip
TAIL = {
    8: (
        0.8336002576739412, -0.5931671805268441, 0.3929532417497822, -0.2408091438298731,
        0.13534250851645743, -0.06892265033888595, 0.0312292062350634, -0.012217365911565073,
        0.003892869082711893, -0.0008654645780912672, 4.119018482633288e-05, 6.733894705009878e-05,
        -3.139239899637026e-05, 4.143502750617388e-06, 2.3489053333923184e-06,
        -1.362817052756606e-06, 1.236962387745893e-07, 2.5227495476795675e-07,
        -1.1051690669392305e-08, -1.802820399172526e-08,
    ),
    4: (
        0.8154403060632028, -0.5692968532908369, 0.37114930385830597, -0.2245552540128449,
        0.12499706634251885, -0.0631486397940794, 0.029620046943111256, -0.00919905118510624,
        0.005766444613293082,
    ),
}  # fmt: skip
POWER = {
    8: (
        0.5000000000000013, 0.16666666666666702, 0.041666666666514474, 0.00833333333330622,
        0.0013888888947302892, 0.00019841269919320992, 2.4801489611391518e-05,
        2.7557214736587735e-06, 2.763140864757882e-07, 2.5118312059176217e-08,
    ),
    4: (
        0.5000000092701836, 0.16666518512739184, 0.041666204213257056, 0.008368941631249627,
        0.0013950803149512436,
    ),
}  # fmt: skip


@describes("erf")
def erf(k: Scalars, x: Scalar) -> Scalar:
    """The error function; 1 - exp(log erfc x) where it is large, so that errors are small."""
    size, magnitude = x.dtype.itemsize, k.absolute(x)
    near = k.fma(x, polynomial(k, k.multiply(x, x), NEAR[size]), x)
    capped = at_most(k, magnitude, ONE[size])
    logarithm = polynomial(k, k.subtract(capped, 1), FAR[size])
    fraction, exponent = exponential(k, logarithm)
    scale = two_to(k, exponent)
    far = k.subtract(1, k.fma(scale, fraction, scale))
    return k.select(k.greater(magnitude, 1), k.copysign(far, x), near)


@describes("erfc")
def erfc(k: Scalars, x: Scalar) -> Scalar:
    """The complement of the error function, to the last subnormal number."""
    size, magnitude = x.dtype.itemsize, k.absolute(x)
    series = horner(k, k.multiply(x, x), NEAR[size])
    near = k.fma(k.negative(x), series, k.subtract(1, x))
    tail = scaled_tail(k, at_most(k, magnitude, NOTHING[size]))
    far = k.select(k.less(x, 0), k.subtract(2, tail), tail)
    return k.select(k.greater(magnitude, 1), far, near)


def scaled_tail(k: Scalars, x: Scalar) -> Scalar:
    """exp(-x^2) times the smooth rest, for x > 1.

    The upper half of x has an exact square; what that lacks joins the exponent's remainder.
    """
    upper = head(k, x)
    lack = k.multiply(k.subtract(upper, x), k.add(upper, x))
    inverse, error = reciprocal(k, *fast_two_sum(k, Constant(K, x.dtype), x))
    square = k.negative(k.multiply(upper, upper))
    fraction, exponent = exponential(k, square, k.add(lack, error))
    slope = k.multiply(inverse, -2 * K)
    t = k.fma(slope, error, k.fma(inverse, -2 * K, Constant(CENTRE[x.dtype.itemsize], x.dtype)))
    first, *others = TAIL[x.dtype.itemsize]
    smooth, low = fast_two_sum(k, Constant(first, x.dtype), k.multiply(t, polynomial(k, t, others)))
    rest, lost = two_product(k, inverse, smooth)
    value = k.add(rest, k.fma(rest, fraction, k.fma(inverse, low, lost)))
    half = k.right_shift(exponent, Constant(1, exponent.dtype))
    scaled = k.multiply(value, two_to(k, half))
    return k.multiply(scaled, two_to(k, k.subtract(exponent, half)))


def reciprocal(k: Scalars, x: Scalar, low: Scalar) -> Pair:
    """1 / (x + low), and the part of itself that it lacks."""
    inverse = k.divide(1, x)
    product, error = two_product(k, inverse, x)
    return inverse, k.fma(k.negative(inverse), low, k.subtract(k.subtract(1, product), error))


def exponential(k: Scalars, x: Scalar, more: Any = None) -> tuple[Scalar, Scalar]:
    """exp(x + more) = (1 + f) 2**n: gives f and an integer whose low bits are those of n."""
    form = format_of(x)
    high, low = LOG2[form.dtype.itemsize]
    rounded = k.fma(x, PER_LOG2, form.real(form.shifter))
    minus = k.subtract(form.shifter, rounded)
    low_part = k.multiply(minus, low) if more is None else k.fma(minus, low, more)
    r = k.add(k.fma(minus, high, x), low_part)
    series = polynomial(k, r, POWER[form.dtype.itemsize])
    return k.fma(k.multiply(r, r), series, r), k.bits(rounded)


def two_to(k: Scalars, exponent: Scalar) -> Scalar:
    """The power of 2, for an exponent of which the low bits are right."""
    digits, bias = next((f.digits, f.bias) for f in FORMATS.values() if f.integer == exponent.dtype)
    return k.from_bits(k.left_shift(k.add(exponent, bias), Constant(digits, exponent.dtype)))
