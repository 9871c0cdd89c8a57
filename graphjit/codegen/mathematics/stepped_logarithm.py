"""Logarithms by a table, with AVX-512's instructions: ``log(x) = n log(2) - log(r) + log(1 + f)``.

x is m times 2 to the n, and r an inverse of m, estimated by the processor and rounded to so few
bits that ``f = r m - 1`` is exact (P.-T. P. Tang, Table-driven implementation of the logarithm
function in IEEE floating-point arithmetic, ACM Transactions on Mathematical Software 16, 1990).
Next to 1 r is 1 or 1/2, where the table has a 0. Its logarithms are of two parts; the first has so
few bits that n log(2) is added exactly.

The coefficients are from ``benchmarks/fits``.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from graphjit.codegen.loops import Scalar
from graphjit.codegen.mathematics.constants import LOG2_E, LOG10_2, LOG10_E
from graphjit.codegen.mathematics.exponential import STEPS
from graphjit.codegen.mathematics.formats import format_of
from graphjit.codegen.mathematics.polynomial import halves, horner
from graphjit.codegen.scalars import Scalars
from graphjit.records import NamedTuple

# (log(1 + f) - f) / f**2 in two bases, for float32.
LOG2 = {
    4: (
        -0.7213475108146667, 0.4809568226337433, -0.3607749342918396,
    ),
}  # fmt: skip
LOG10 = {
    4: (
        -0.21714724600315094, 0.1447824388742447, -0.10856498032808304,
    ),
}  # fmt: skip
# To the base 2 for powers, of float32; and of float64 (log(1 + f) - f + f**2/2) / f**3.
SECOND = {
    4: (
        -0.7213475108146667, 0.48089835047721863, -0.36077257990837097, 0.28852397203445435,
    ),
}  # fmt: skip
THIRD = {
    8: (
        0.48089834696298783, -0.36067376022222897, 0.28853900817752576, -0.240449173580173,
        0.2060992923625665, -0.18033660855594086, 0.16029838398967658, -0.14457422492666033,
        0.13176062922971557,
    ),
}  # fmt: skip
# The logarithms of count / i for i from the count of steps to its double, and what they lack.
LOG2_STEPS = {
    8: (
        0.0, -0.0874628412502716, -0.16992500144260703, -0.24792751344375574, -0.32192809488697094,
        -0.39231742277843296, -0.45943161863760906, -0.5235619560571649, -0.5849625007213035,
        -0.6438561897748514, -0.7004397181408422, -0.7548875021639105, -0.8073549220580389,
        -0.8579809951279458, -0.9068905956082745, -0.9541963103865783, 0.0, -6.781363655020842e-14,
        2.9466363971563933e-13, 1.7024883460791358e-13, -3.914087556296025e-13,
        -3.273329303085191e-13, 3.1180651700181383e-13, 1.520621696507556e-13,
        1.4733181985781966e-13, 1.266771905137232e-13, -2.500001867992647e-13,
        4.4199545957345896e-13, 4.348299516065895e-13, 3.736684162192024e-13,
        -2.4407693577178287e-13, -2.9694741952048217e-13,
    ),
    4: (
        0.0, -0.0443878173828125, -0.08746337890625, -0.1292877197265625, -0.169921875,
        -0.2094573974609375, -0.2479248046875, -0.285400390625, -0.321929931640625,
        -0.3575592041015625, -0.3923187255859375, -0.42626953125, -0.4594268798828125,
        -0.491851806640625, -0.5235595703125, -0.554595947265625, -0.5849609375, -0.614715576171875,
        -0.64385986328125, -0.67242431640625, -0.700439453125, -0.7279205322265625, -0.7548828125,
        -0.7813568115234375, -0.8073577880859375, -0.8328857421875, -0.8579864501953125,
        -0.8826446533203125, -0.906890869140625, -0.9307403564453125, -0.954193115234375,
        -0.9772796630859375, 0.0, -6.301975645328639e-06, 5.376559215619636e-07,
        4.702781552623492e-06, -3.1264423796528718e-06, 4.0318318497156724e-06,
        -2.7087560283689527e-06, -1.8282372593603213e-06, 1.8367533130003721e-06,
        7.199483661679551e-06, 1.3028071634835214e-06, 4.776547939400189e-06,
        -4.7387543418153655e-06, -1.2896890666524996e-06, -2.3857444375607884e-06,
        7.0955879891698714e-06, -1.5632211898264359e-06, 5.732056706619915e-06,
        3.6735066260007443e-06, -1.0255652114210534e-06, -2.650160979555949e-07,
        7.766336551640052e-08, -4.68966345579247e-06, -2.902001142501831e-06,
        2.8660283533099573e-06, -4.271977104508551e-06, 5.455067821458215e-06,
        1.6039584807003848e-06, 2.7353209475222684e-07, 3.018882352989749e-06,
        -3.195152430635062e-06, -2.604139694994956e-07,
    ),
}  # fmt: skip
LOG10_STEPS = {
    4: (
        0.0, -0.0133056640625, -0.0263671875, -0.0389404296875, -0.0511474609375, -0.0631103515625,
        -0.0745849609375, -0.0859375, -0.096923828125, -0.107666015625, -0.1180419921875,
        -0.1282958984375, -0.1383056640625, -0.1480712890625, -0.1575927734375, -0.1669921875,
        -0.1761474609375, -0.18505859375, -0.19384765625, -0.202392578125, -0.2108154296875,
        -0.2191162109375, -0.227294921875, -0.2352294921875, -0.2430419921875, -0.250732421875,
        -0.25830078125, -0.2657470703125, -0.27294921875, -0.2801513671875, -0.2872314453125,
        -0.294189453125, 0.0, -5.829749716212973e-05, 3.8248777855187654e-05,
        2.2363657990354113e-05, -5.061509909864981e-06, 5.860581586603075e-05,
        -4.8657359002390876e-05, 2.2871294277138077e-05, 1.381511719955597e-05,
        3.2137224479811266e-05, -5.731989222113043e-05, -2.2578822608920746e-05,
        2.9658963285328355e-06, 8.75360728969099e-06, -1.5079924196470529e-05, 4.43078824901022e-05,
        5.6201883126050234e-05, 1.2492041605582926e-05, 2.763023439911194e-05,
        -2.7619653337751515e-05, -3.7935627915430814e-05, -9.680343282525428e-06,
        5.114037048770115e-05, 1.6781013982836157e-05, 3.943501269532135e-06, 7.544522304669954e-06,
        2.2766007532482035e-05, 4.5036991650704294e-05, -5.20533139933832e-05,
        -2.848950316547416e-05, -1.026586596708512e-05, -1.118008640332846e-06,
    ),
}  # fmt: skip


class Base(NamedTuple):
    """What logarithms to a base need.

    Attributes:
        two: The logarithm of 2, by the size of the dtype, in two parts.
        e: That of e.
        steps: Those of the table.
    """

    two: Mapping[int, tuple[float, float]]
    e: Mapping[int, tuple[float, float]]
    steps: Mapping[int, tuple[float, ...]]


BINARY = Base({8: (1.0, 0.0), 4: (1.0, 0.0)}, LOG2_E, LOG2_STEPS)
DECIMAL = Base(LOG10_2, LOG10_E, LOG10_STEPS)


class Step(NamedTuple):
    """Where a positive number lies.

    Attributes:
        f: Its distance from a power of two over an entry of the table, relative to that.
        high: The logarithm of that, exact with what is in ``low``.
        low: The rest.
    """

    f: Scalar
    high: Scalar
    low: Scalar


def step_of(k: Scalars, x: Scalar, base: Base) -> Step:
    """Where x lies; 0 and infinity have an infinite logarithm, what is below 0 none."""
    size = x.dtype.itemsize
    m, shifter, count = k.significand(x), format_of(x).shifter / (2 * STEPS[size]), STEPS[size]
    shifted = k.add(k.nearly_inverse(m), shifter)
    inverse = k.subtract(shifted, shifter)  # from 1/2 to 1
    f = k.fma(m, inverse, -1)
    n = k.subtract(k.exponent(x), k.exponent(inverse))
    table, (two, lack) = base.steps[size], base.two[size]
    high, low = (k.lookup(part, shifted) for part in (table[:count], table[count:]))
    if lack == 0:
        return Step(f, k.add(n, high), low)
    return Step(f, k.fma(n, two, high), k.fma(n, lack, low))


def binary_logarithm(k: Scalars, x: Scalar) -> Scalar:
    """To the base 2, of a float32, 0, negative or infinite too."""
    return short_logarithm(k, x, BINARY, LOG2[4])


def decimal_logarithm(k: Scalars, x: Scalar) -> Scalar:
    """The same to the base 10."""
    return short_logarithm(k, x, DECIMAL, LOG10[4])


def short_logarithm(k: Scalars, x: Scalar, base: Base, second: tuple[float, ...]) -> Scalar:
    """To any base: what is beyond the first term of the series is in ``second``."""
    f, high, low = step_of(k, x, base)
    factor = format_of(x).real(base.e[4][0])
    series = k.fma(f, horner(k, f, second), factor)
    return k.add(high, k.fma(f, series, low))


def binary_parts(k: Scalars, x: Scalar) -> tuple[Scalar, Scalar, Scalar]:
    """To the base 2 as a sum of two, to some 65 bits, of float32 to 31; and nearly, but sooner.

    The second is under 1/1000 of the first, or 1/50; it is NaN beside an infinity.
    """
    factor, lack = LOG2_E[x.dtype.itemsize]
    f, table, low = step_of(k, x, BINARY)
    high = k.fma(f, factor, table)
    lost = k.fma(f, factor, k.subtract(table, high))
    square, rest = k.multiply(f, f), k.fma(f, lack, low)
    if x.dtype == np.float32:
        rest = k.fma(square, halves(k, f, square, SECOND[4]), rest)
        return high, k.add(lost, rest), k.add(high, rest)
    half, first = format_of(x).real(-factor / 2), high
    high = k.fma(square, half, first)
    more = k.fma(square, half, k.subtract(first, high))
    error = k.fma(f, f, k.negative(square))
    tail = k.fma(f, halves(k, f, square, THIRD[8]), -lack / 2)
    rest = k.fma(square, tail, k.fma(error, half, rest))
    return high, k.add(k.add(lost, more), rest), k.add(high, rest)
