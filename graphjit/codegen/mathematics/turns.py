"""The argument of sin, cos and tan less a multiple of a quarter turn.

The multiple is taken off in parts. Without one rounding for a product and a sum these are so short
that their products are exact (W. J. Cody and W. Waite, Software Manual for the Elementary
Functions, 1980; J.-M. Muller, Elementary Functions, 3rd ed., 11.2). With it the first has all
digits: it times a number of turns leaves a multiple of the last bit of pi/4, less than 1, which is
exact too.
"""

from __future__ import annotations

import numpy as np

from graphjit.codegen.loops import Constant, Scalar
from graphjit.codegen.mathematics.formats import format_of
from graphjit.codegen.mathematics.polynomial import Pair, two_product
from graphjit.codegen.scalars import Scalars

LIMIT = 1e6  # below it the number of quarter turns has at most 20 bits
# Below it what the last part for float32 takes off is less than what is left.
SHORT_LIMIT = 6000.0
TWO_OVER_PI = 0.6366197723675814
# pi/2 in parts of 33, 20, 33 and 53 bits: a number of 20 bits times each of the first three is
# exact, and so is what the first two leave of the argument.
QUARTER = (1.5707963267341256, 6.077094383272197e-11, 6.12323399538461e-17, 3.5215598651832e-27)
# In parts of all digits of a float64, and of a float32.
WHOLE_QUARTER = (1.5707963267948966, 6.123233995736766e-17, -1.4973849048591698e-33)
SHORT_QUARTER = (1.5707963705062866, -4.371138828673793e-08, -1.7151245100058819e-15)


def is_short(k: Scalars, x: Scalar) -> bool:
    """Whether a float32 can do without float64 up to ``SHORT_LIMIT``."""
    return k.fused and x.dtype == np.float32


def counted(k: Scalars, x: Scalar) -> Pair:
    """Quarter turns in x >= 0 in the last bits of a number, and as a number."""
    shifter = format_of(x).shifter
    rounded = k.fma(x, TWO_OVER_PI, format_of(x).real(shifter))
    return rounded, k.subtract(rounded, shifter)


def reduced_once(k: Scalars, x: Scalar, *, far: bool) -> Pair:
    """Quarter turns as an integer's low bits, and the rest, less than a bit from it.

    It needs one rounding for a product and a sum; ``far`` allows a float32 beyond ``SHORT_LIMIT``.
    """
    short = x.dtype == np.float32
    if short and far:
        whole, r = reduced_short(k, x)
        return whole, k.cast(r, x.dtype)
    rounded, turns = counted(k, x)
    for part in SHORT_QUARTER if short else WHOLE_QUARTER:
        x = k.fma(k.negative(turns), part, x)
    return k.bits(rounded), x


def reduced(k: Scalars, x: Scalar, *, far: bool) -> tuple[Scalar, Pair]:
    """Quarter turns as an integer's low bits, and the rest with its rounding error.

    A float32 that is ``far`` is reduced as a float64; its rest is good enough with an error of 0.
    """
    if x.dtype == np.float64:
        rounded, turns = counted(k, x)
        return k.bits(rounded), rest(k, turns, x)
    if far:
        whole, r = reduced_short(k, x)
        return whole, (k.cast(r, x.dtype), Constant(0.0, x.dtype))
    rounded, turns = counted(k, x)
    return k.bits(rounded), short_rest(k, turns, x)


def reduced_short(k: Scalars, x: Scalar) -> Pair:
    """The same of a float32, the rest as a float64."""
    x = k.cast(x, np.float64)
    rounded, turns = counted(k, x)
    minus = k.negative(turns)
    r = k.fma(minus, QUARTER[1] + QUARTER[2], k.fma(minus, QUARTER[0], x))
    return k.cast(k.bits(rounded), np.int32), r


def rest(k: Scalars, turns: Scalar, x: Scalar) -> Pair:
    """What turns leave; the second part's difference is a multiple of 2**-53."""
    minus = k.negative(turns)
    near = k.fma(minus, QUARTER[1], k.fma(minus, QUARTER[0], x))
    product = k.multiply(turns, QUARTER[2])
    high = k.subtract(near, product)
    low = k.subtract(k.subtract(near, high), product)
    return high, k.fma(minus, QUARTER[3], low)


def short_rest(k: Scalars, turns: Scalar, x: Scalar) -> Pair:
    """What turns leave of a float32 up to ``SHORT_LIMIT``."""
    minus = k.negative(turns)
    near = k.fma(minus, SHORT_QUARTER[0], x)
    product, error = two_product(k, turns, format_of(x).real(SHORT_QUARTER[1]))
    high = k.subtract(near, product)
    low = k.subtract(k.subtract(k.subtract(near, high), product), error)
    return high, k.fma(minus, SHORT_QUARTER[2], low)
