"""sinh and cosh from those of the rest r of ``x = n log(2) + r``; their inverses from log.

The inverses take the logarithm of a number and its rounding error, so that they are right where
it is close to 1 too. The coefficients are from ``benchmarks/fits``.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from graphjit.codegen.loops import Scalar
from graphjit.codegen.mathematics.describe import describes
from graphjit.codegen.mathematics.exponential import power_of_two, reduced
from graphjit.codegen.mathematics.formats import format_of
from graphjit.codegen.mathematics.logarithm import by_itself, natural, parts, valid
from graphjit.codegen.mathematics.polynomial import (
    Pair,
    at_most,
    fast_two_sum,
    horner,
    residual,
    two_product,
    two_sum,
)
from graphjit.codegen.scalars import Scalars

# (sinh(r) - r) / r**3 and (cosh(r) - 1) / r**2 in r**2, on |r| <= log(2)/2.
SINH = {
    8: (
        0.16666666666666677, 0.008333333333321442, 0.00019841269886570437, 2.7557243784833296e-06,
        2.5109179381568217e-08,
    ),
    4: (
        0.1666666716337204, 0.008333190344274044, 0.0001996035862248391,
    ),
}  # fmt: skip
# (arctanh(x)/x - 1)/x**2 in x**2, for |x| up to 1/2.
ARCTANH = {
    4: (
        0.33333298563957214, 0.2000260055065155, 0.14221279323101044, 0.11835481971502304,
        0.050933707505464554, 0.17726311087608337,
    ),
}  # fmt: skip
COSH = {
    8: (
        0.5000000000000013, 0.041666666666511434, 0.001388888894792879, 2.4801489085952214e-05,
        2.76315634615557e-07,
    ),
    4: (
        0.5, 0.04166645556688309, 0.0013935730094090104,
    ),
}  # fmt: skip
LIMIT = {8: 710.6, 4: 89.6}  # beyond it both are infinite
EVEN = 100  # beyond it 2**-n does not matter beside 2**n


class Quarters(NamedTuple):
    """What sinh and cosh of ``n log(2) + r`` are made of.

    Attributes:
        sum: ``(2**n + 2**-n) / 4``, and its error.
        difference: ``(2**n - 2**-n) / 4``, and its error.
        r: The rest.
        odd: ``sinh(r) - r``.
        even: ``cosh(r) - 1``.
    """

    sum: Pair
    difference: Pair
    r: Scalar
    odd: Scalar
    even: Scalar


def quarters(k: Scalars, x: Scalar) -> Quarters:
    """The parts of a magnitude."""
    form, size = format_of(x), x.dtype.itemsize
    shifted, r, error = reduced(k, at_most(k, x, LIMIT[size]))
    square = k.multiply(r, r)
    cubic, series = k.multiply(square, r), horner(k, square, SINH[size])
    # In float32 the error is under half a bit of the result.
    odd = k.multiply(cubic, series) if size == 4 else k.fma(cubic, series, error)
    even = k.multiply(square, horner(k, square, COSH[size]))
    up = power_of_two(k, shifted, -2)
    minus = k.subtract(2 * form.shifter, at_most(k, shifted, form.shifter + EVEN))
    down = power_of_two(k, minus, -2)
    total, difference = (fast_two_sum(k, up, d) for d in (down, k.negative(down)))
    return Quarters(total, difference, r, odd, even)


@describes("sinh")
def sinh(k: Scalars, x: Scalar) -> Scalar:
    """The hyperbolic sine: ``(a + b)(e**r - e**-r)/2 + (a - b)(e**r + e**-r)/2``, a b = 1/4."""
    magnitude = k.absolute(x)
    q = quarters(k, magnitude)
    half = combined(k, q, q.difference, q.sum)
    value = k.copysign(k.add(half, half), x)
    return k.select(k.less(magnitude, format_of(x).tiny), x, value)


@describes("cosh")
def cosh(k: Scalars, x: Scalar) -> Scalar:
    """The hyperbolic cosine."""
    q = quarters(k, k.absolute(x))
    half = combined(k, q, q.sum, q.difference)
    return k.add(half, half)


def combined(k: Scalars, q: Quarters, a: Pair, b: Pair) -> Scalar:
    """``a cosh(r) + b sinh(r)``, from the least to the largest part."""
    rest = k.fma(a[0], q.even, k.fma(b[0], q.odd, a[1]))
    return k.add(k.fma(b[0], q.r, a[0]), rest)


def root(k: Scalars, square: Scalar, more: Scalar) -> Pair:
    """The square root of a sum of two, and its error."""
    w = k.sqrt(square)
    rest = k.add(residual(k, square, w, w), more)
    return w, k.divide(rest, k.add(k.add(w, w), format_of(w).least))


def log_of_sum(k: Scalars, x: Scalar, total: Scalar, error: Scalar) -> Scalar:
    """The logarithm of a total and its error; of 2 x where x is so large that it is that."""
    form = format_of(x)
    large = k.greater(x, 2.0 ** (form.digits // 2 + 2))
    total = k.select(large, x, total)
    p = parts(k, total, k.select(large, 0, error))
    p = p._replace(n=k.add(p.n, k.select(large, form.real(1.0), form.real(0.0))))
    return by_itself(k, total, natural(k, p))


@describes("arcsinh")
def arcsinh(k: Scalars, x: Scalar) -> Scalar:
    """The inverse of sinh: log(|x| + sqrt(x**2 + 1)) with the sign of x."""
    form, magnitude = format_of(x), k.absolute(x)
    square, low = two_product(k, magnitude, magnitude)
    total, error = two_sum(k, square, form.real(1.0))
    w, rest = root(k, total, k.add(error, low))
    total, error = fast_two_sum(k, w, magnitude)
    value = log_of_sum(k, magnitude, total, k.add(error, rest))
    return k.select(k.less(magnitude, form.tiny), x, k.copysign(value, x))


@describes("arccosh")
def arccosh(k: Scalars, x: Scalar) -> Scalar:
    """The inverse of cosh: log(x + sqrt(x**2 - 1))."""
    form = format_of(x)
    square, low = two_product(k, x, x)
    total, error = fast_two_sum(k, square, form.real(-1.0))
    w, rest = root(k, total, k.add(error, low))
    total, error = fast_two_sum(k, x, w)
    value = log_of_sum(k, x, total, k.add(error, rest))
    return k.select(k.less(x, 1), form.real(np.nan), value)


@describes("arctanh")
def arctanh(k: Scalars, x: Scalar) -> Scalar:
    """The inverse of tanh: log(1 + 2 |x| / (1 - |x|)) / 2 with the sign of x."""
    form, magnitude = format_of(x), k.absolute(x)
    if x.dtype == np.float32:
        return short_arctanh(k, x, magnitude)
    below, error = fast_two_sum(k, form.real(1.0), k.negative(magnitude))
    above = k.add(magnitude, magnitude)
    q = k.divide(above, below)
    rest = k.fma(k.negative(q), error, residual(k, above, q, below))
    total, more = two_sum(k, form.real(1.0), q)
    more = k.fma(rest, k.fma(q, 0.5, 1), more)  # 1 / (1 - |x|) is 1 + q / 2
    value = k.multiply(valid(k, total, natural(k, parts(k, total, more))), 0.5)
    return k.select(k.less(magnitude, form.tiny), x, k.copysign(value, x))


def short_arctanh(k: Scalars, x: Scalar, magnitude: Scalar) -> Scalar:
    """A polynomial, and from 1/2 on log((1 + |x|) / (1 - |x|)) / 2, where 1 - |x| is exact."""
    form, square = format_of(x), k.multiply(x, x)
    near = k.fma(k.multiply(x, square), horner(k, square, ARCTANH[4]), x)
    above, error = fast_two_sum(k, form.real(1.0), magnitude)
    below = k.subtract(1, magnitude)
    q = k.divide(above, below)
    rest = k.add(residual(k, above, q, below), error)
    inverse = k.fma(above, -1 / 1.75**2, 2 / 1.75)  # 1 / above, to 2 percent
    rest = k.within(rest, 1) if k.scaling else rest  # NaN beside an infinite quotient
    half = k.multiply(k.fma(rest, inverse, natural(k, parts(k, q))), 0.5)
    if not k.scaling:
        edge = k.select(k.equal(magnitude, 1), form.real(np.inf), form.real(np.nan))
        half = k.select(k.less(magnitude, 1), half, edge)
    return k.select(k.less(magnitude, 0.5), near, k.copysign(half, x))
