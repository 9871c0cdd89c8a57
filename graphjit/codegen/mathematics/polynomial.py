"""Evaluation of polynomials, and arithmetic that keeps its rounding errors."""

from __future__ import annotations

from collections.abc import Sequence

from graphjit.codegen.loops import Constant, Scalar
from graphjit.codegen.mathematics.formats import format_of
from graphjit.codegen.scalars import Scalars

Pair = tuple[Scalar, Scalar]


def polynomial(k: Scalars, x: Scalar, coefficients: Sequence[float]) -> Scalar:
    """The sum of coefficient i times x to the i, by Estrin's scheme: short chains."""
    terms: list[Scalar] = [Constant(c, x.dtype) for c in coefficients]
    power = x
    while len(terms) > 1:
        pairs = zip(terms[::2], terms[1::2], strict=False)
        odd = terms[-1:] if len(terms) % 2 else []
        terms = [k.fma(high, power, low) for low, high in pairs] + odd
        power = k.multiply(power, power) if len(terms) > 1 else power
    return terms[0]


def halves(k: Scalars, x: Scalar, square: Scalar, coefficients: Sequence[float | Scalar]) -> Scalar:
    """The same from its even and its odd part, two chains in x squared: fewer products."""
    even, odd = (horner(k, square, coefficients[i::2]) for i in (0, 1))
    return k.fma(odd, x, even)


def horner(k: Scalars, x: Scalar, coefficients: Sequence[float | Scalar]) -> Scalar:
    """The same by Horner's scheme: the fewest roundings."""
    *others, total = [Constant(c, x.dtype) if isinstance(c, float) else c for c in coefficients]
    for i, coefficient in enumerate(reversed(others)):
        simple = i == 0 and coefficients[-1] == 1
        total = k.add(x, coefficient) if simple else k.fma(total, x, coefficient)
    return total


def at_least(k: Scalars, x: Scalar, low: float) -> Scalar:
    """The larger of x and a constant; NaN stays. One instruction, unlike ``maximum``."""
    return k.select(k.less(x, low), low, x)


def at_most(k: Scalars, x: Scalar, high: float) -> Scalar:
    """The smaller of x and a constant; NaN stays."""
    return k.select(k.greater(x, high), high, x)


def two_sum(k: Scalars, a: Scalar, b: Scalar) -> Pair:
    """The rounded sum and its error, whichever is larger (Knuth, TAOCP 2, theorem 4.2.2B)."""
    total = k.add(a, b)
    second = k.subtract(total, a)
    return total, k.add(k.subtract(a, k.subtract(total, second)), k.subtract(b, second))


def fast_two_sum(k: Scalars, a: Scalar, b: Scalar) -> Pair:
    """The same where a is 0 or not smaller than b in magnitude (Dekker 1971)."""
    total = k.add(a, b)
    return total, k.add(k.subtract(a, total), b)


def head(k: Scalars, x: Scalar) -> Scalar:
    """The number with the lower half of its digits cleared: products of two are exact."""
    form = format_of(x)
    kept = form.whole(-(1 << (form.digits + 2) // 2))
    return k.from_bits(k.bitwise_and(k.bits(x), kept))


def two_product(k: Scalars, a: Scalar, b: Scalar) -> Pair:
    """The rounded product and its error, short of underflow.

    With one rounding in fma that is two operations; else the halves are multiplied (Dekker 1971).
    """
    product = k.multiply(a, b)
    if k.fused:
        return product, k.fma(a, b, k.negative(product))
    a_high, b_high = head(k, a), head(k, b)
    a_low, b_low = k.subtract(a, a_high), k.subtract(b, b_high)
    error = k.subtract(k.multiply(a_high, b_high), product)
    error = k.add(k.add(error, k.multiply(a_high, b_low)), k.multiply(a_low, b_high))
    return product, k.add(error, k.multiply(a_low, b_low))


def residual(k: Scalars, c: Scalar, a: Scalar, b: Scalar) -> Scalar:
    """``c - a b`` where a b is close to c: exact, or nearly."""
    if k.fused:
        return k.fma(k.negative(a), b, c)
    product, error = two_product(k, a, b)
    return k.subtract(k.subtract(c, product), error)
