"""Numbers in formulas: exact where they can be, and read from floats as a person would."""

from __future__ import annotations

import math
from fractions import Fraction
from functools import reduce
from typing import Any

import numpy as np

Number = Fraction | float

ONE, ZERO = Fraction(1), Fraction(0)
DIGITS = 12  # a float this close to a shorter decimal was meant to be it
LONGEST = 10**40  # a fraction with larger parts is kept as a float


def meant(value: Any) -> Fraction | None:
    """The short number that a float of the graph was meant to be; None if it was none.

    That is a decimal of up to 12 digits or a fraction with a denominator up to 1000: so
    0.30000000000000004 is 3/10 and 0.3333333333333333 is 1/3.
    """
    if not isinstance(value, float | np.floating):
        return Fraction(int(value))
    exact = Fraction(str(value))  # a float32 has fewer digits than its float64
    for found in (Fraction(f"{float(value):.{DIGITS}g}"), exact.limit_denominator(1000)):
        if close(value, found):
            return found
    return None


def close(value: Any, to: Number) -> bool:
    """Whether a float is a number, to four units in the last place."""
    near = 4 * float(np.finfo(np.asarray(value).dtype).eps) * abs(float(value))
    return abs(float(value) - float(to)) <= near


def tidy(number: Number) -> Number:
    """A fraction that has grown out of proportion becomes a float; whole numbers stay exact."""
    if not isinstance(number, Fraction) or number.denominator == 1:
        return number
    return float(number) if max(abs(number.numerator), number.denominator) > LONGEST else number


def raised(base: Number, exponent: Number) -> Number | None:
    """The power of a number where it is a number worth writing out, such as 4^(1/2) = 2."""
    if base == 1:
        return ONE
    if base == 0:
        return ZERO if exponent > 0 else None
    if not isinstance(base, Fraction) or not isinstance(exponent, Fraction):
        return None
    if exponent.denominator != 1:
        root = rooted(base, exponent.denominator)
        return None if root is None else raised(root, Fraction(exponent.numerator))
    size = max(abs(base.numerator), base.denominator)
    if abs(exponent) * size.bit_length() > 4096:
        return None
    return Fraction(tidy(base**exponent.numerator))


def rooted(base: Fraction, degree: int) -> Fraction | None:
    """The exact root of a positive fraction, if it has one."""
    if base < 0 or degree > 64:
        return None
    parts = [round(part ** (1 / degree)) for part in map(float, base.as_integer_ratio())]
    root = Fraction(parts[0], parts[1]) if parts[1] else ZERO
    return root if root**degree == base else None


def content(numbers: list[Number]) -> Number:
    """What all numerators and all denominators have in common; 1 where a number is a float."""
    fractions = [n for n in numbers if isinstance(n, Fraction)]
    if len(fractions) < len(numbers):
        return ONE
    top = reduce(math.gcd, (n.numerator for n in fractions), 0)
    return Fraction(top, reduce(math.gcd, (n.denominator for n in fractions)))


def split(number: Number) -> tuple[str, str]:
    """A positive number as the texts of a numerator and a denominator, each empty for 1.

    Small fractions are written as such, other numbers as decimals where those end.
    """
    if isinstance(number, float):
        return repr(number), ""
    top, bottom = number.as_integer_ratio()
    if bottom > 10**DIGITS or (decimal_ends(bottom) and not small(top, bottom)):
        return repr(float(number)), ""
    return "" if top == 1 else str(top), "" if bottom == 1 else str(bottom)


def small(top: int, bottom: int) -> bool:
    """Whether a fraction reads better than its decimals: 3/8 and 1/20, but 2.7 and 0.01."""
    ten = set(str(bottom)[1:]) == {"0"}
    return bottom < 10 or bottom in (16, 32, 64) or (top == 1 and not ten)


def decimal_ends(denominator: int) -> bool:
    """Whether a fraction with this denominator has finitely many decimals."""
    for prime in (2, 5):
        while denominator % prime == 0:
            denominator //= prime
    return denominator == 1
