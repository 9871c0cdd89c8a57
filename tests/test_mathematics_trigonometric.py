"""Trigonometric functions, their inverses, error and gamma functions against mpmath, in ULPs."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import mpmath
import numpy as np
import pytest

from graphjit.codegen.mathematics.gamma import polygamma_of
from graphjit.codegen.mathematics.text import python_function
from graphjit.codegen.mathematics.vector import over_arrays

Array = np.ndarray[Any, Any]
INF, NAN = np.inf, np.nan


class Case(NamedTuple):
    """A function, what mpmath calls it, how far it may be off, and where it is mostly used."""

    op: str
    exact: Callable[..., Any]
    limit: float
    intervals: tuple[tuple[float, float], ...]
    arguments: int = 1

    def __str__(self) -> str:
        return self.op


def real(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that is NaN where mpmath's is complex or has a pole."""

    def value(*operands: Any) -> Any:
        try:
            result = function(*operands)
        except (ZeroDivisionError, ValueError):
            return mpmath.nan
        return mpmath.nan if isinstance(result, mpmath.mpc) else result

    return value


def gammaln(x: Any) -> Any:
    """The logarithm of |gamma(x)|, which has no digits of its own to lose near 1 and 2."""
    with mpmath.extraprec(80):
        return mpmath.re(mpmath.loggamma(x))


def erfc(x: Any) -> Any:
    """The complement of erf, which mpmath cannot compute where it is far below any float."""
    return mpmath.erfc(x) if abs(x) < 100 else mpmath.mpf(0 if x > 0 else 2)


TURNS = ((-4.0, 4.0), (-100.0, 100.0), (-1e6, 1e6))
CASES = (
    Case("sin", mpmath.sin, 2, TURNS),
    Case("cos", mpmath.cos, 2, TURNS),
    Case("tan", mpmath.tan, 2, TURNS),
    Case("arcsin", real(mpmath.asin), 2, ((-1, 1), (-0.52, -0.48), (0.48, 0.55))),
    Case("arccos", real(mpmath.acos), 2, ((-1, 1), (-0.52, -0.48), (0.48, 0.6))),
    Case("arctan", mpmath.atan, 2, ((-4, 4), (0.9, 1.1))),
    Case("arctan2", mpmath.atan2, 2, ((-3, 3),), 2),
    Case("erf", mpmath.erf, 2, ((-6.2, 6.2), (0.9, 1.2))),
    Case("erfc", erfc, 4, ((-6, 10), (0.9, 2), (10, 27.3))),
    Case("gammaln", gammaln, 4, ((0, 3), (0.9, 2.1), (2, 8), (7, 200))),
)
EACH = pytest.mark.parametrize("case", CASES, ids=str)
DTYPE = pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["f32", "f64"])
FUSED = pytest.mark.parametrize("fused", [True, False], ids=["fused", "unfused"])


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


@EACH
@DTYPE
@FUSED
def test_where_it_is_mostly_used(case: Case, dtype: Any, fused: bool) -> None:
    assert_close(case, operands(case, drawn(case, dtype)), fused=fused)


@EACH
@DTYPE
def test_on_the_whole_range(case: Case, dtype: Any) -> None:
    x = everywhere(dtype)
    if case.op == "gammaln":  # below 0 the C library's function is another's, and mpmath slow
        x = x[(x > 0) & (x < 1e30)]
    assert_close(case, operands(case, x), fused=True)


@pytest.mark.parametrize("case", CASES[:3], ids=str)
@DTYPE
def test_next_to_multiples_of_a_quarter_turn(case: Case, dtype: Any) -> None:
    turns = np.unique(np.geomspace(1, 630000, 300).astype(int))
    with mpmath.workprec(120):
        x = np.array([float(int(n) * mpmath.pi / 2) for n in turns], dtype)
    assert_close(case, (np.concatenate([x, -x]),), fused=False)


def test_huge_angles() -> None:
    x = np.array([1e22, 2.0**1000, np.finfo(float).max, -1e22])
    np.testing.assert_array_equal(
        over_arrays("sin")(x)[[0, 3]], [-0.8522008497671888, 0.8522008497671888]
    )
    for case in CASES[:3]:
        assert_close(case, (x,), fused=True)


@EACH
@DTYPE
def test_the_text_gives_the_same_bits(case: Case, dtype: Any) -> None:
    x = drawn(case, dtype, 40)
    x = x[abs(x) < 1e5]
    args = operands(case, x)
    text = [python_function(case.op)(*row) for row in zip(*args, strict=True)]
    code = over_arrays(case.op, dtype, fused=False)(*args)
    np.testing.assert_array_equal(np.array(text, dtype), code)


# -- special values, as in annex F of C99 ---------------------------------------------------------

HALF, QUARTER = math.pi / 2, math.pi / 4
SPECIAL = {
    "sin": ((0.0, 0.0), (-0.0, -0.0), (INF, NAN), (-INF, NAN), (NAN, NAN)),
    "cos": ((0.0, 1.0), (-0.0, 1.0), (INF, NAN), (-INF, NAN), (NAN, NAN)),
    "tan": ((0.0, 0.0), (-0.0, -0.0), (INF, NAN), (-INF, NAN), (NAN, NAN)),
    "arcsin": ((0.0, 0.0), (-0.0, -0.0), (1.0, HALF), (-1.0, -HALF), (1.5, NAN), (-INF, NAN)),
    "arccos": ((0.0, HALF), (1.0, 0.0), (-1.0, math.pi), (1.5, NAN), (INF, NAN), (NAN, NAN)),
    "arctan": ((0.0, 0.0), (-0.0, -0.0), (INF, HALF), (-INF, -HALF), (NAN, NAN), (1.0, QUARTER)),
    "erf": ((0.0, 0.0), (-0.0, -0.0), (INF, 1.0), (-INF, -1.0), (NAN, NAN), (30.0, 1.0)),
    "erfc": ((0.0, 1.0), (-0.0, 1.0), (INF, 0.0), (-INF, 2.0), (NAN, NAN), (30.0, 0.0)),
    "gammaln": (
        (1.0, 0.0), (2.0, 0.0), (0.0, INF), (-0.0, INF), (-1.0, INF), (-2.0, INF), (INF, INF),
        (-INF, -INF), (NAN, NAN),
    ),
    "digamma": (
        (0.0, -INF), (-0.0, INF), (-1.0, NAN), (-7.0, NAN), (INF, INF), (-INF, NAN), (NAN, NAN),
    ),
}  # fmt: skip


@pytest.mark.parametrize("op", SPECIAL)
@DTYPE
@FUSED
def test_special_values(op: str, dtype: Any, fused: bool) -> None:
    x, expected = (np.array(column, dtype) for column in zip(*SPECIAL[op], strict=True))
    assert_same(over_arrays(op, dtype, fused=fused)(x), expected)


def assert_same(found: Array, expected: Array) -> None:
    """Demand equal numbers, zeros of the same sign, and NaN for NaN."""
    np.testing.assert_array_equal(found, expected)
    number = ~np.isnan(expected)
    np.testing.assert_array_equal(np.signbit(found[number]), np.signbit(expected[number]))


@DTYPE
@FUSED
def test_arctan2_in_all_quadrants_and_at_all_limits(dtype: Any, fused: bool) -> None:
    info = np.finfo(dtype)
    sizes = [0.0, float(info.smallest_subnormal), float(info.tiny), 1.0, float(info.max), INF]
    y, x = np.array(list(itertools.product([*sizes, *(-s for s in sizes), NAN], repeat=2)), dtype).T
    expected = np.array([math.atan2(*row) for row in zip(y, x, strict=True)]).astype(dtype)
    found = over_arrays("arctan2", dtype, fused=fused)(y.copy(), x.copy())
    np.testing.assert_array_equal(
        np.signbit(found)[~np.isnan(found)], np.signbit(expected)[~np.isnan(found)]
    )
    np.testing.assert_allclose(found, expected, rtol=info.eps, atol=0)


@pytest.mark.parametrize("op", ["sin", "tan", "arcsin", "arctan"])
@DTYPE
def test_the_smallest_numbers_stay_as_they_are(op: str, dtype: Any) -> None:
    info = np.finfo(dtype)
    x = np.array([info.smallest_subnormal, 3 * info.smallest_subnormal, info.tiny], dtype)
    assert_same(over_arrays(op, dtype)(np.concatenate([x, -x])), np.concatenate([x, -x]))


# -- the derivatives of gammaln -------------------------------------------------------------------


@DTYPE
@FUSED
def test_digamma(dtype: Any, fused: bool) -> None:
    generator = np.random.default_rng(14)
    x = np.concatenate([generator.uniform(-9, 9, 300), 10.0 ** generator.uniform(-30, 30, 100)])
    x = x.astype(dtype)
    found = over_arrays("digamma", dtype, fused=fused)(x)
    exact = np.array([float(mpmath.digamma(float(v))) for v in x])
    np.testing.assert_allclose(
        found, exact, rtol=8 * np.finfo(dtype).eps, atol=8 * np.finfo(dtype).eps
    )


@DTYPE
def test_digamma_keeps_its_digits_at_its_zero_and_elsewhere(dtype: Any) -> None:
    x = np.concatenate([np.linspace(1.0001, 1.9999, 200), np.linspace(0.01, 20, 300)]).astype(dtype)
    case = Case("digamma", mpmath.digamma, 6, ())
    assert_close(case, (x,), fused=True)
    assert_close(case, (x,), fused=False)


@pytest.mark.parametrize("order", [1, 2, 3, 6])
@DTYPE
def test_polygamma(order: int, dtype: Any) -> None:
    generator = np.random.default_rng(15)
    x = np.concatenate([generator.uniform(-4.9, 9, 150), 10.0 ** generator.uniform(-3, 3, 50)])
    x = x.astype(dtype)
    found = over_arrays(polygamma_of(order), dtype)(x)
    with mpmath.workprec(120):
        exact = np.array([float(mpmath.polygamma(order, mpmath.mpf(float(v)))) for v in x])
    np.testing.assert_allclose(
        found, exact, rtol=32 * np.finfo(dtype).eps, atol=32 * np.finfo(dtype).eps
    )


@pytest.mark.parametrize("order", [1, 2])
def test_polygamma_at_its_poles(order: int) -> None:
    sign = (-1.0) ** (order + 1)
    x = np.array([0.0, -0.0, -1.0, -3.0, INF, NAN])
    expected = np.array([sign * INF] * 4 + [sign * 0.0, NAN])
    assert_same(over_arrays(polygamma_of(order))(x), expected)
