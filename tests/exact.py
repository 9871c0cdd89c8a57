"""What the vector mathematics is compared with: mpmath, one row a function.

Errors are counted in units in the last place (ULP) of the dtype at the exact result. NumPy says
what a function gives at infinities and NaN, and where it has no value.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import mpmath as mp
import numpy as np

from graphjit.codegen.mathematics.describe import scalar_function

Array = np.ndarray
PRECISION = 240  # bits
F32, F64 = np.dtype(np.float32), np.dtype(np.float64)
SPECIAL = (0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -1.0, 0.5, -0.5, 2.0, -2.0, 3.0, 10.0, 1e5)


@dataclass(frozen=True)
class Function:
    """A function to test.

    Attributes:
        numpy: What NumPy gives.
        exact: The same on numbers of mpmath, where NumPy's result is a number.
        usual: An interval to sample besides the whole range, for every operand.
        limit: The largest error allowed, in ULP.
    """

    numpy: Callable[..., Any]
    exact: Callable[..., Any]
    usual: tuple[float, float] = (-20.0, 20.0)
    limit: float = 2.0


def odd(function: Callable[[Any], Any], *series: tuple[int, int]) -> Callable[[Any], Any]:
    """The function, by the first terms of its series where that is exact enough."""

    def exact(x: Any) -> Any:
        if abs(x) > mp.ldexp(1, -PRECISION // 6):
            return function(x)
        return x + sum(mp.mpf(a) / b * x ** (2 * i + 3) for i, (a, b) in enumerate(series))

    return exact


def expit(x: Any) -> Any:
    tail = np.exp(-np.abs(x))
    return np.where(x < 0, tail, 1) / (1 + tail)


def log_expit(x: Any) -> Any:
    return -np.logaddexp(x.dtype.type(0), -x)


def power(x: Any, y: Any) -> Any:
    """Far beyond the range of float64 only the sign counts."""
    exponent = float(y) * math.log2(abs(x)) if x else 0.0
    if abs(exponent) < 5000:
        return (x**y).real
    sign = -1 if x < 0 and y % 2 == 1 else 1
    return sign * mp.ldexp(1, 5000 if exponent > 0 else -5000)


FUNCTIONS = {
    "exp": Function(np.exp, mp.exp, (-110, 90)),
    "exp2": Function(np.exp2, lambda x: mp.mpf(2) ** x, (-1080, 1030)),
    "expm1": Function(np.expm1, mp.expm1, (-3, 3)),
    "log": Function(np.log, mp.log, (0, 3)),
    "log2": Function(np.log2, lambda x: mp.log(x) / mp.log(2), (0, 3)),
    "log10": Function(np.log10, lambda x: mp.log(x) / mp.log(10), (0, 3)),
    "log1p": Function(np.log1p, mp.log1p, (-1, 3)),
    "sinh": Function(np.sinh, odd(mp.sinh, (1, 6), (1, 120)), (-95, 95)),
    "cosh": Function(np.cosh, mp.cosh, (-720, 720)),
    "tanh": Function(np.tanh, odd(mp.tanh, (-1, 3), (2, 15))),
    "arcsinh": Function(np.arcsinh, odd(mp.asinh, (-1, 6), (3, 40)), (-3, 3)),
    "arccosh": Function(np.arccosh, mp.acosh, (1, 3)),
    "arctanh": Function(np.arctanh, odd(mp.atanh, (1, 3), (1, 5)), (-1, 1)),
    "cbrt": Function(np.cbrt, lambda x: mp.sign(x) * mp.cbrt(abs(x)), (-30, 30)),
    "expit": Function(expit, lambda x: 1 / (1 + mp.exp(-x)), (-110, 40)),
    "logit": Function(lambda x: np.log(x / (1 - x)), lambda x: mp.log(x / (1 - x)), (0, 1)),
    "log_expit": Function(log_expit, lambda x: -mp.log1p(mp.exp(-x)), (-40, 40)),
    "power": Function(np.power, power, (-30, 30), limit=4),
    "hypot": Function(np.hypot, mp.hypot),
}  # fmt: skip


@cache
def points(dtype: np.dtype[Any], count: int, usual: tuple[float, float]) -> tuple[Array, ...]:
    """Operands: special ones, all exponents, random bits, and the usual range."""
    seed = np.random.default_rng(7)
    return operands_of(
        np.array(SPECIAL, dtype), [values(dtype, seed, usual, count) for _ in range(count)], seed
    )


def operands_of(special: Array, drawn: list[Array], seed: np.random.Generator) -> tuple[Array, ...]:
    """Every pair of special operands, and those drawn in a random order each."""
    if len(drawn) == 1:
        return (np.concatenate([special, drawn[0]]),)
    crossed = [np.ravel(a) for a in np.meshgrid(special, special)]
    return tuple(
        np.concatenate([c, seed.permutation(d)]) for c, d in zip(crossed, drawn, strict=True)
    )


def values(
    dtype: np.dtype[Any], seed: np.random.Generator, usual: tuple[float, float], count: int
) -> Array:
    """Numbers of every exponent, of random bits, and of the usual range, down to its 0."""
    whole = np.dtype(f"i{dtype.itemsize}")
    digits = np.finfo(dtype).nmant
    bits = seed.integers(np.iinfo(whole).min, np.iinfo(whole).max, 1500, whole).view(dtype)
    step = 1 if dtype == F32 else 16
    exponents = np.arange(0, (2 << np.finfo(dtype).iexp - 1) - 1, step, dtype=whole)
    fractions = np.array([0, 1, (1 << digits) // 3, (1 << digits) - 1], whole)
    every = ((exponents[:, None] << digits) | fractions).ravel().view(dtype)
    low, high = usual
    near = seed.uniform(low, high, 2000).astype(dtype)
    close = (seed.choice([-1, 1], 200) * 2.0 ** seed.uniform(-30, 3, 200)).astype(dtype)
    ones = (1 + close * dtype.type(2.0**-3)).astype(dtype)
    small = np.arange(-40, 41).astype(dtype)
    found: Array = np.concatenate([every, -every, bits, near, close, ones, small])
    return found


@dataclass(frozen=True)
class Expected:
    """Exact results: ``(high + low)`` units of 2 to the ``exponent``; NumPy's where ``given``."""

    numpy: Array
    given: Array
    exponent: Array
    high: Array
    low: Array


@cache
def expected(name: str, dtype: np.dtype[Any]) -> Expected:
    """The exact results at the points, computed once for all forms of a function."""
    function = FUNCTIONS[name]
    operands = points(dtype, count_of(name), function.usual)
    with np.errstate(all="ignore"):
        theirs = np.asarray(function.numpy(*operands), dtype)
    finite = np.all([np.isfinite(x) for x in operands], axis=0)
    given = np.isnan(theirs) | ~finite | ((theirs == 0) & singular(operands))
    given |= np.isinf(theirs) & singular(operands)
    with mp.workprec(PRECISION):
        rows = [
            (0, 0.0, 0.0) if skip else units(function.exact(*map(mp.mpf, map(float, row))), dtype)
            for skip, *row in zip(given, *operands, strict=True)
        ]
    exponent, high, low = zip(*rows, strict=True)
    return Expected(theirs, given, np.array(exponent), np.array(high), np.array(low))


def singular(operands: tuple[Array, ...]) -> Array:
    """Where an operand is 0, 1 or -1: there poles and exact zeros lie."""
    found: Array = np.any([(x == 0) | (abs(x) == 1) for x in operands], axis=0)
    return found


def units(exact: Any, dtype: np.dtype[Any]) -> tuple[int, float, float]:
    """A number in units in the last place of the dtype."""
    info = np.finfo(dtype)
    sign, mantissa, power, width = exact._mpf_
    exponent = max(power + width - info.nmant - 1, info.minexp - info.nmant)
    if power + width > info.maxexp:  # not representable: as large as infinity counts
        exponent, mantissa, power = info.maxexp - info.nmant - 1, 1, info.maxexp
    scaled = mp.ldexp(mp.mpf(int(mantissa)), power - exponent) * (-1) ** sign
    high = float(scaled)
    return exponent, high, float(scaled - high)


def errors(found: Array, exact: Expected) -> Array:
    """In ULP; infinite where a special value, or the sign of a zero, is another one."""
    info = np.finfo(found.dtype)
    same = (found == exact.numpy) | (np.isnan(found) & np.isnan(exact.numpy))
    same &= (np.signbit(found) == np.signbit(exact.numpy)) | np.isnan(found)
    raised = np.where(np.isinf(found), info.maxexp, 0) - exact.exponent
    with np.errstate(over="ignore", invalid="ignore"):
        real = np.where(np.isinf(found), np.sign(found), found).astype(np.float64)
        wrong = abs((np.ldexp(real, raised) - exact.high) - exact.low)
    wrong[np.isnan(found) | (np.signbit(found) != (exact.high < 0))] = np.inf
    wrong[(exact.high == 0) & (found == 0)] = 0
    return np.where(exact.given, np.where(same, 0, np.inf), wrong)


def count_of(name: str) -> int:
    return len(scalar_function(name, F64).parameters)


def worst(found: Array, name: str) -> tuple[float, str]:
    """The largest error, and where it is."""
    operands = points(found.dtype, count_of(name), FUNCTIONS[name].usual)
    exact = expected(name, found.dtype)
    wrong = errors(found, exact)
    i = int(np.argmax(wrong))
    at = ", ".join(repr(float(x[i])) for x in operands)
    return float(wrong[i]), f"{name}({at}) = {found[i]!r}, NumPy {exact.numpy[i]!r}: {wrong[i]} ULP"
