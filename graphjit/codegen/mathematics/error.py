"""erf and erfc: x times a polynomial near zero, an exponential times one elsewhere.

The split is that of W. J. Cody, Rational Chebyshev approximations for the error function
(Mathematics of Computation 23, 1969); that the tail is smooth in (x - K)/(x + K) is from M. M.
Shepherd and J. G. Laframboise, Chebyshev approximation of (1 + 2x) exp(x^2) erfc x (Mathematics of
Computation 36, 1981).

The coefficients are minimax fits, from ``benchmarks/fits``: ``NEAR`` of erf(x)/x - 1 in powers of
x^2 for |x| up to 1; ``FAR`` of log erfc(x) in powers of x - 1, with errors weighed by erfc(x), up
to where erf is 1; ``TAIL`` of (x + K) exp(x^2) erfc(x) in powers of (x - K)/(x + K) - t, from 1 to
where erfc is 0.
"""

from __future__ import annotations

from graphjit.codegen.loops import Constant, Scalar
from graphjit.codegen.mathematics.constants import LOG_2
from graphjit.codegen.mathematics.describe import describes
from graphjit.codegen.mathematics.exponential import (
    EXP,
    factors,
    nearest,
    power_of_two,
    reduced,
    squared,
)
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

ONE = {8: 6.0, 4: 4.0}  # from here on erf is 1
NOTHING = {8: 27.3, 4: 10.5}  # from here on erfc is 0
SMALL = {8: 26.0, 4: 9.0}  # from here on it may be subnormal
K = 4.0  # 2 K is a power of 2: (x - K)/(x + K) - t = CENTRE - 2 K/(x + K), with little rounding
# 1 - t for the t at which the first coefficient is the nearest to a number of the dtype.
CENTRE = {8: 0.65625, 4: 0.625}
NEAR = {
    8: (
        0.12837916709551256, -0.3761263890318346, 0.11283791670942667, -0.026866170642932907,
        0.005223977604947137, -0.0008548325882247399, 0.00012055292359942698,
        -1.4924691645111641e-05, 1.6446902680826113e-06, -1.6204719624444788e-07,
        1.370464641860461e-08, -7.768518284294565e-10,
    ),
    4: (
        0.12837916612625122, -0.3761262595653534, 0.1128358319401741, -0.026853691786527634,
        0.005188073962926865, -0.0008007878204807639, 7.846108201192692e-05,
    ),
}  # fmt: skip
FAR = {
    8: (
        -1.8496055099332482, -2.638967514234782, -0.8431072563592074, -0.04156109802820295,
        0.01003382520554215, -0.0019779013545052834, 0.00023731691824946117, 2.629515733554164e-05,
        -2.7196950496674066e-05, 9.668830505908676e-06, -2.129579638253413e-06,
        2.031972846982506e-07, 5.882263007019053e-08, -3.368583050373457e-08, 8.593858048548079e-09,
        -1.3318146260387064e-09, 1.2060682619844076e-10, -4.92305916660131e-12,
    ),
    4: (
        -1.8496055603027344, -2.638965368270874, -0.8431304097175598, -0.041461214423179626,
        0.009832659736275673, -0.0017875350313261151, 0.000176278394064866,
    ),
}  # fmt: skip
TAIL = {
    8: (
        0.8336002576739412, -0.5931671805268441, 0.392953241749782, -0.2408091438298704,
        0.13534250851646668, -0.06892265033896694, 0.031229206234806857, -0.012217365910501467,
        0.0038928690866136643, -0.0008654645837962535, 4.1190153099298054e-05,
        6.733894501311875e-05, -3.139227413804949e-05, 4.143637331755865e-06,
        2.3487544447946793e-06, -1.3632006432049538e-06, 1.2349242728980657e-07,
        2.523637016821308e-07, -1.092503955299806e-08, -1.7992448013952744e-08,
    ),
    4: (
        0.81544029712677, -0.5692968964576721, 0.37115079164505005, -0.22453904151916504,
        0.12506531178951263, -0.06300077587366104, 0.029794810339808464, -0.009091912768781185,
        0.005793131422251463,
    ),
}  # fmt: skip


@describes("erf")
def erf(k: Scalars, x: Scalar) -> Scalar:
    """The error function; 1 - exp(log erfc x) where it is large, so that errors are small."""
    size, magnitude = x.dtype.itemsize, k.absolute(x)
    near = k.fma(x, polynomial(k, k.multiply(x, x), NEAR[size]), x)
    capped = at_most(k, magnitude, ONE[size])
    logarithm = polynomial(k, k.subtract(capped, 1), FAR[size])
    shifted, r, _ = reduced(k, logarithm)
    fraction = k.fma(*squared(k, r, EXP[size]), r)
    scale = power_of_two(k, shifted, 0)
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
    size, upper = x.dtype.itemsize, head(k, x)
    lack = k.multiply(k.subtract(upper, x), k.add(upper, x))
    inverse, error = reciprocal(k, *fast_two_sum(k, Constant(K, x.dtype), x))
    square = k.negative(k.multiply(upper, upper))
    shifted, minus, left = nearest(k, square)
    r = k.add(left, k.fma(minus, LOG_2[size][1], k.add(lack, error)))
    fraction = k.fma(*squared(k, r, EXP[size]), r)
    slope = k.multiply(inverse, -2 * K)
    t = k.fma(slope, error, k.fma(inverse, -2 * K, Constant(CENTRE[size], x.dtype)))
    first, *others = TAIL[size]
    smooth, low = fast_two_sum(k, Constant(first, x.dtype), k.multiply(t, polynomial(k, t, others)))
    rest, lost = two_product(k, inverse, smooth)
    value = k.add(rest, k.fma(rest, fraction, k.fma(inverse, low, lost)))
    scale, factor = factors(k, shifted, k.greater(x, SMALL[size]))
    return k.multiply(k.multiply(value, scale), factor)


def reciprocal(k: Scalars, x: Scalar, low: Scalar) -> Pair:
    """1 / (x + low), and the part of itself that it lacks."""
    inverse = k.divide(1, x)
    product, error = two_product(k, inverse, x)
    return inverse, k.fma(k.negative(inverse), low, k.subtract(k.subtract(1, product), error))
