"""Errors against mpmath in units in the last place (ULPs), and the demand that they are small."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import mpmath
import numpy as np
import pytest

from graphjit.codegen.mathematics.vector import over_arrays

Array = np.ndarray[Any, Any]
INF, NAN = np.inf, np.nan
DTYPE = pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["f32", "f64"])
FUSED = pytest.mark.parametrize("fused", [True, False], ids=["fused", "unfused"])


class Case(NamedTuple):
    """A function, what mpmath calls it, how far it may be off, and where it is mostly used."""

    op: str
    exact: Callable[..., Any]
    limit: float
    intervals: tuple[tuple[float, float], ...]
    arguments: int = 1

    def __str__(self) -> str:
        return self.op


def everywhere(dtype: Any, per_exponent: int = 6) -> Array:
    """Every exponent of a float32, every eighth of a float64; some fractions; both signs."""
    info = np.finfo(dtype)
    generator = np.random.default_rng(11)
    exponents = np.arange(info.minexp - info.nmant, info.maxexp, 1 if dtype == np.float32 else 8)
    fractions = [1.0, 2.0 - info.eps, *generator.uniform(1, 2, per_exponent)]
    grid = np.ldexp(np.array(fractions, dtype)[:, None], exponents).ravel()
    return np.concatenate([grid, -grid])


def drawn(case: Case, dtype: Any, count: int = 600) -> Array:
    """Numbers of the intervals where the function is mostly used."""
    generator = np.random.default_rng(12)
    return np.concatenate([generator.uniform(*i, count) for i in case.intervals]).astype(dtype)


def operands(case: Case, x: Array) -> tuple[Array, ...]:
    """The same numbers in another order as a second operand."""
    return (x, np.random.default_rng(13).permutation(x))[: case.arguments]


def off(case: Case, found: Array, *args: Array) -> Array:
    """How many ULPs of the exact value each result is off."""
    with mpmath.workprec(160):
        exact = [case.exact(*map(mpmath.mpf, map(float, row))) for row in zip(*args, strict=True)]
        gaps = [distance(value, y) for value, y in zip(exact, found, strict=True)]
    return np.array(gaps)


def distance(exact: Any, found: Any) -> float:
    """The error of a float in units of the exact value's last place; 0 for equal NaNs."""
    if mpmath.isnan(exact) or np.isnan(found):
        return 0.0 if mpmath.isnan(exact) and np.isnan(found) else INF
    with np.errstate(over="ignore", under="ignore"):
        rounded = found.dtype.type(float(exact))
    if not np.isfinite(found) or not np.isfinite(rounded):
        return 0.0 if found == rounded else INF
    return float(abs(mpmath.mpf(float(found)) - exact) / float(np.spacing(abs(rounded))))


def assert_close(case: Case, args: tuple[Array, ...], *, fused: bool) -> None:
    """Demand the accuracy, and the same bits from a lane as from a scalar."""
    dtype = args[0].dtype
    found = over_arrays(case.op, dtype, fused=fused)(*args)
    gaps = off(case, found, *args)
    worst = int(np.argmax(gaps))
    shown = [float(a[worst]).hex() for a in args]
    assert gaps[worst] <= case.limit, f"{case.op}{shown} = {found[worst]!r}: {gaps[worst]} ULPs"
    alone = over_arrays(case.op, dtype, 1, fused=fused)(*args)
    np.testing.assert_array_equal(
        alone.view(f"i{dtype.itemsize}"), found.view(f"i{dtype.itemsize}")
    )


def assert_same(found: Array, expected: Array) -> None:
    """Demand equal numbers, zeros of the same sign, and NaN for NaN."""
    np.testing.assert_array_equal(found, expected)
    number = ~np.isnan(expected)
    np.testing.assert_array_equal(np.signbit(found[number]), np.signbit(expected[number]))
