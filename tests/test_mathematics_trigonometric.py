"""Trigonometric functions, their inverses, and error functions against mpmath, in ULPs."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
import pytest

from graphjit.codegen.mathematics.text import python_function
from graphjit.codegen.mathematics.vector import over_arrays
from ulps import (
    DTYPE,
    FUSED,
    INF,
    NAN,
    Case,
    assert_close,
    assert_same,
    drawn,
    everywhere,
    operands,
)


def real(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that is NaN where mpmath's is complex or has a pole."""

    def value(*operands: Any) -> Any:
        try:
            result = function(*operands)
        except (ZeroDivisionError, ValueError):
            return mpmath.nan
        return mpmath.nan if isinstance(result, mpmath.mpc) else result

    return value


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
)
EACH = pytest.mark.parametrize("case", CASES, ids=str)


@EACH
@DTYPE
@FUSED
def test_where_it_is_mostly_used(case: Case, dtype: Any, fused: bool) -> None:
    assert_close(case, operands(case, drawn(case, dtype)), fused=fused)


@EACH
@DTYPE
def test_on_the_whole_range(case: Case, dtype: Any) -> None:
    x = everywhere(dtype)
    assert_close(case, operands(case, x), fused=True)


@pytest.mark.parametrize("case", CASES[:3], ids=str)
@DTYPE
@FUSED
def test_next_to_multiples_of_a_quarter_turn(case: Case, dtype: Any, fused: bool) -> None:
    turns = np.unique(np.geomspace(1, 630000, 300).astype(int))
    with mpmath.workprec(120):
        x = np.array([float(int(n) * mpmath.pi / 2) for n in turns], dtype)
    assert_close(case, (np.concatenate([x, -x]),), fused=fused)


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
}  # fmt: skip


@pytest.mark.parametrize("op", SPECIAL)
@DTYPE
@FUSED
def test_special_values(op: str, dtype: Any, fused: bool) -> None:
    x, expected = (np.array(column, dtype) for column in zip(*SPECIAL[op], strict=True))
    assert_same(over_arrays(op, dtype, fused=fused)(x), expected)


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
