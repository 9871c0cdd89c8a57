"""The logarithm of the gamma function and its derivatives, digamma and polygamma.

Between 0 and 15/2 the recurrence gamma(x + 1) = x gamma(x) leads to [19/16, 5/2], where log gamma
is (x - 1)(x - 2) times a polynomial; beyond, Stirling's series in 1/x, refitted (M. Abramowitz and
I. Stegun, Handbook of Mathematical Functions, 6.1.15, 6.1.41, 6.3.5, 6.3.7, 6.3.18, 6.4.6, 6.4.7,
6.4.11). Below 0, ``gamma_negative`` has log |gamma|; the derivatives are reflected.

The coefficients are minimax fits, from ``benchmarks/fits``: ``NEAR`` of log gamma(2 + d)/(d (d +
1)) for d from -13/16 to 1/2; ``FAR`` of what Stirling's formula lacks, times x, in powers of 1/x^2
for x >= 15/2; ``SLOPE`` of log x - 1/(2x) - digamma(x), times x^2, in powers of 1/x^2 for x >= 8;
``ROOTED`` of digamma over the distance to its zero, in powers of that, from 1 to 2.
"""

from __future__ import annotations

import math
from fractions import Fraction
from functools import cache

from graphjit.codegen.loops import Constant, Scalar
from graphjit.codegen.mathematics.describe import PLACES, describes
from graphjit.codegen.mathematics.polynomial import Pair, at_least, at_most, horner, polynomial
from graphjit.codegen.mathematics.trigonometric import kernels
from graphjit.codegen.scalars import Scalars

STIRLING = 0.4189385332046727  # (log(2 pi) - 1)/2
STEPS = 5  # of the recurrence, from 15/2 down to 5/2
ROOT = {
    8: (1.4616321449683622, 9.549995429965697e-17),
    4: (1.4616321325302124, 1.243815006546356e-08),
}  # of digamma, in two parts
LEFT = 1.1875  # from here on gamma is found from its zero at 2, since the recurrence cancels
TERMS = 14  # of the asymptotic series of polygamma
NEAR = {
    8: (
        0.42278433509846713, -0.10031730167435385, 0.03296500062115611, -0.012384192193385053,
        0.004998641164717087, -0.0021081308331543486, 0.0009153769210211546, -0.000405707419612756,
        0.00018255266050703882, -8.309478536935782e-05, 3.816877577913739e-05,
        -1.7664821313385268e-05, 8.221414912501127e-06, -3.829811743035386e-06,
        1.8214380789592456e-06, -9.088344224432076e-07, 3.323106466763882e-07,
        -1.0795732419615278e-07, 2.6664472074028936e-07, -4.643307166329472e-08,
        -1.449257193187833e-07, -1.0798718282844847e-07,
    ),
    4: (
        0.42278435826301575, -0.10031749308109283, 0.032963335514068604, -0.012378398329019547,
        0.005024337209761143, -0.0021478841081261635, 0.00077030248939991, -0.00034952309215441346,
        0.0004674396477639675,
    ),
}  # fmt: skip
FAR = {
    8: (
        0.08333333333333326, -0.0027777777774686306, 0.0007936505873266114, -0.0005951876479929625,
        0.0008361282088684558, -0.001621735431465632,
    ),
    4: (
        0.08333330601453781, -0.002764113713055849,
    ),
}  # fmt: skip
SLOPE = {
    8: (
        0.08333333333333288, -0.008333333331225223, 0.003968252370718789, -0.004166222534199457,
        0.007519439461530133, -0.017720026067896157,
    ),
    4: (
        0.08333321660757065, -0.008272441104054451,
    ),
}  # fmt: skip
ROOTED = {
    8: (
        0.9676722454476212, -0.44276316898359147, 0.2584997609556398, -0.1639427054426068,
        0.10782405069243185, -0.0721995612377053, 0.048804288102913526, -0.03316112728085098,
        0.022597650154800614, -0.015424746900845627, 0.010538752698005513, -0.007204801952714642,
        0.00492730157366447, -0.003367474423549458, 0.0023005384923277254, -0.0015893253502833092,
        0.0011049675555335836, -0.0007006034837246141, 0.0004137180896363313,
        -0.00039398024352827273, 0.00040768175097072556, -0.0001832452519427379,
    ),
    4: (
        0.9676721692085266, -0.44276127219200134, 0.25851011276245117, -0.16404889523983002,
        0.1076122298836708, -0.07057724893093109, 0.049879495054483414, -0.04226124286651611,
        0.023647241294384003,
    ),
}  # fmt: skip


@describes("gammaln")
def gammaln(k: Scalars, x: Scalar) -> Scalar:
    """The logarithm of |gamma(x)|; infinite at 0, -1, -2, ..., and as in SciPy -inf at -inf."""
    far = k.greater(x, STEPS + 2.5)
    inner = k.select(k.less(x, LEFT), x, at_least(k, x, 1.5))  # which is rounded to 2
    nearest = k.rint(at_most(k, inner, STEPS + 2.0))
    logarithm = k.log(k.select(far, x, factors(k, x, nearest)))
    signed = k.select(k.less(nearest, 2), k.negative(logarithm), logarithm)
    rest = k.subtract(x, nearest)
    first, *others = NEAR[x.dtype.itemsize]
    series = k.fma(rest, polynomial(k, rest, others), Constant(first, x.dtype))
    near = k.fma(k.multiply(rest, k.add(rest, 1)), series, signed)
    usual = k.select(far, stirling(k, x, logarithm), near)
    value = k.rare(k.less(x, 0), usual, "gammaln_below_zero", x)
    return k.select(k.equal(x, -math.inf), x, value)


def factors(k: Scalars, x: Scalar, nearest: Scalar) -> Scalar:
    """Gamma(x) over gamma(2 + x - nearest), or below LEFT its reciprocal."""
    product: Scalar = k.select(k.equal(nearest, 0), k.fma(x, x, x), x)
    product = k.select(k.greater_equal(nearest, 2), Constant(1.0, x.dtype), product)
    for i in range(1, STEPS + 1):
        more = k.multiply(product, k.subtract(x, i))
        product = k.select(k.greater_equal(nearest, i + 2), more, product)
    return product


def stirling(k: Scalars, x: Scalar, logarithm: Scalar) -> Scalar:
    """(x - 1/2)(log x - 1) + (log(2 pi) - 1)/2 + a series in 1/x."""
    inverse = k.reciprocal(x)
    series = horner(k, k.multiply(inverse, inverse), FAR[x.dtype.itemsize])
    tail = k.fma(inverse, series, Constant(STIRLING, x.dtype))
    return k.fma(k.subtract(x, 0.5), k.subtract(logarithm, 1), tail)


@describes("digamma")
def digamma(k: Scalars, x: Scalar) -> Scalar:
    """The derivative of log gamma: minus infinity at 0, infinity at -0, NaN at -1, -2, ...

    Near the negative zeros the error is some units in the last place of 1, not of the result.
    """
    negative = k.less(x, 0)
    value = digamma_of_positive(k, k.select(negative, k.subtract(1, x), x))
    reflected = k.fma(cotangent(k, x), -math.pi, value)
    return k.select(negative, reflected, value)


def digamma_of_positive(k: Scalars, x: Scalar) -> Scalar:
    """The asymptotic series from 8 on; below it at x + 8, less 1/x + ... + 1/(x + 7).

    That sum is the logarithmic derivative of x (x + 1) ... (x + 7), a polynomial in u = x (x + 7).
    Below 3, so that less cancels, what it is between 1 and 2, less 1/x or plus 1/(x - 1).
    """
    small, near = k.less(x, 3), k.less(x, 8)
    rooted, fraction = digamma_below_three(k, x)
    u = k.multiply(x, k.add(x, 7))
    under = k.multiply(u, horner(k, u, (720, 252, 28, 1)))
    over = k.multiply(k.fma(x, 2, Constant(7.0, x.dtype)), horner(k, u, (720, 504, 84, 4)))
    moved = k.select(near, k.add(x, 8), x)
    inverse = k.reciprocal(moved)
    series = horner(k, k.multiply(inverse, inverse), SLOPE[x.dtype.itemsize])
    less = k.multiply(inverse, k.fma(inverse, series, Constant(0.5, x.dtype)))
    value = k.select(small, rooted, k.subtract(k.log(moved), less))
    over, under = (k.select(small, a, b) for a, b in zip(fraction, (over, under), strict=True))
    return k.select(near, k.subtract(value, k.divide(over, under)), value)


def digamma_below_three(k: Scalars, x: Scalar) -> tuple[Scalar, Pair]:
    """The function between 1 and 2, by the distance from its zero; and a fraction to take off."""
    low, high = k.less(x, 1), k.greater(x, 2)
    base = k.select(low, k.add(x, 1), k.select(high, k.subtract(x, 1), x))
    root = ROOT[x.dtype.itemsize]
    distance = k.subtract(k.subtract(base, root[0]), root[1])
    rooted = k.multiply(distance, polynomial(k, distance, ROOTED[x.dtype.itemsize]))
    over = k.select(low, 1, k.select(high, -1, Constant(0.0, x.dtype)))
    return rooted, (over, k.select(low, x, base))


def cotangent(k: Scalars, x: Scalar) -> Scalar:
    """The cotangent of pi x; NaN where x is whole."""
    rest = k.subtract(x, k.rint(x))
    size = k.absolute(rest)
    steep = k.greater(size, 0.25)
    angle = k.multiply(k.select(steep, k.subtract(0.5, size), size), math.pi)
    sine, cosine = (k.add(*pair) for pair in kernels(k, angle, Constant(0.0, x.dtype)))
    under = k.select(steep, cosine, sine)
    value = k.divide(k.select(steep, sine, cosine), under)
    return k.select(k.equal(rest, 0), math.nan, k.copysign(value, rest))


def polygamma_of(order: int) -> str:
    """The operation that is the derivative of digamma of an order of at least 1.

    Each order is a function of its own, described when it is first asked for.
    """
    name = f"polygamma{order}"
    if name not in PLACES:

        @describes(name)
        def description(k: Scalars, x: Scalar) -> Scalar:
            return polygamma(k, x, order)

        description.__doc__ = f"The derivative of digamma of order {order}."
        PLACES[name] = "gamma"
    return name


def polygamma(k: Scalars, x: Scalar, order: int) -> Scalar:
    """The sum of the series, or below 0 its reflection; infinite at 0, -1, -2, ...

    The derivative of the cotangent in the reflection is a polynomial in the cotangent.
    """
    negative, sign = k.less(x, 0), (-1) ** (order + 1)
    value = polygamma_of_positive(k, k.select(negative, k.subtract(1, x), k.absolute(x)), order)
    turned = horner(k, cotangent(k, x), cotangent_derivative(order))
    mirrored = value if sign < 0 else k.negative(value)
    reflected = k.fma(turned, -(math.pi ** (order + 1)), mirrored)
    pole = k.equal(x, k.rint(x))
    return k.select(negative, k.select(pole, sign * math.inf, reflected), value)


def polygamma_of_positive(k: Scalars, x: Scalar, order: int) -> Scalar:
    """The sum of 1/(x + i)^(order + 1) and the series of the rest, with sign and factorial."""
    count, factorial = 8 + order, math.factorial(order)
    inverse = k.reciprocal(k.add(x, count))
    series = horner(k, k.multiply(inverse, inverse), asymptotic(order))
    series = k.fma(inverse, series, Constant(0.5, x.dtype))
    series = k.fma(inverse, series, Constant(1 / order, x.dtype))
    total = k.multiply(series, power(k, inverse, order))
    for i in reversed(range(count)):
        total = k.add(total, power(k, k.reciprocal(k.add(x, i) if i else x), order + 1))
    return k.multiply(total, (-1) ** (order + 1) * float(factorial))


def power(k: Scalars, x: Scalar, exponent: int) -> Scalar:
    """X to a positive whole number, by repeated squaring."""
    if exponent == 1:
        return x
    root = power(k, x, exponent // 2)
    square = k.multiply(root, root)
    return k.multiply(square, x) if exponent % 2 else square


def asymptotic(order: int) -> list[float]:
    """B_2k (2k + order - 1)!/((2k)! order!), what the series has at 1/x^(2k - 2)."""
    below = math.factorial(order)
    return [
        float(b * math.factorial(2 * i + order - 1) / (math.factorial(2 * i) * below))
        for i, b in enumerate(bernoulli_numbers(TERMS), start=1)
    ]


@cache
def bernoulli_numbers(count: int) -> tuple[Fraction, ...]:
    """B_2, B_4, ..., from the sum over binomial coefficients that is 0."""
    numbers = [Fraction(1)]
    for m in range(1, 2 * count + 1):
        total = sum((math.comb(m + 1, j) * b for j, b in enumerate(numbers)), Fraction(0))
        numbers.append(-total / (m + 1))
    return tuple(numbers[2::2])


def cotangent_derivative(order: int) -> list[int]:
    """The derivative of cot, its order so many, as coefficients of powers of cot.

    One more is -(1 + c^2) times the derivative by c.
    """
    coefficients = [0, 1]
    for _ in range(order):
        slopes = [i * c for i, c in enumerate(coefficients)][1:]
        longer = [*slopes, 0, 0]
        coefficients = [-a - b for a, b in zip(longer, [0, 0, *slopes], strict=True)]
    return coefficients
