"""Powers of numbers next to 1, large exponents: there the digits of the logarithm count most."""

from __future__ import annotations

from typing import Any

import mpmath as mp
import numpy as np
import pytest

from exact import F32, F64, PRECISION
from graphjit.codegen.mathematics.vector import over_arrays

BOTH = pytest.mark.parametrize("dtype", [F32, F64], ids=str)
FORMS = pytest.mark.parametrize(
    "form", [{}, {"scaling": False}, {"fused": False}], ids=["host", "no_scaling", "no_fma"]
)
LIMIT = 4.0  # ULP
Array = np.ndarray


def extreme(dtype: np.dtype[Any]) -> tuple[Array, Array]:
    """Bases at and between the steps of tables, with powers of nearly every size there is."""
    seed, largest = np.random.default_rng(11), np.finfo(dtype).maxexp - 1
    steps = np.repeat(np.arange(16, 65) / 32, 12)
    x = (steps * (1 + seed.uniform(-1, 1, len(steps)) / 64)).astype(dtype)
    edges = (1 / (np.arange(32, 129) / 64 + 1 / 128)).astype(dtype)
    x = np.concatenate([x, edges, np.nextafter(edges, dtype.type(9))])
    exponent = seed.choice([-1, 1], len(x)) * largest * seed.uniform(0.8, 1, len(x))
    return x, (exponent / np.log2(x.astype(np.float64))).astype(dtype)


def wrong(found: Array, x: Array, y: Array) -> float:
    """The largest error in ULP."""
    with mp.workprec(PRECISION):
        exact = [mp.mpf(float(a)) ** mp.mpf(float(b)) for a, b in zip(x, y, strict=True)]
        unit = np.spacing(np.array([float(e) for e in exact]).astype(found.dtype))
        rows = zip(found, exact, unit, strict=True)
        return max(float(abs(mp.mpf(float(f)) - e) / mp.mpf(float(u))) for f, e, u in rows)


@BOTH
@FORMS
def test_powers_next_to_one_are_exact_to_the_ends_of_the_range(
    dtype: np.dtype[Any], form: dict[str, bool]
) -> None:
    x, y = extreme(dtype)
    assert wrong(over_arrays("power", dtype, **form)(x, y), x, y) <= LIMIT


@BOTH
@FORMS
def test_negative_bases_have_the_powers_of_their_magnitudes(
    dtype: np.dtype[Any], form: dict[str, bool]
) -> None:
    x, _ = extreme(dtype)
    y = np.arange(len(x)).astype(dtype) - len(x) // 2
    call = over_arrays("power", dtype, **form)
    magnitude = call(x, y)
    np.testing.assert_array_equal(call(-x, y), np.where(y % 2 == 1, -magnitude, magnitude))
    assert np.isnan(call(-x, y + dtype.type(0.5))).all()


@BOTH
def test_a_special_lane_leaves_its_neighbours_alone(dtype: np.dtype[Any]) -> None:
    """One lane that is negative, infinite or NaN takes another way; the others do not see it."""
    call, x, y = over_arrays("power", dtype), *extreme(dtype)
    alone = call(x, y)
    for a, b in ((-2, 3), (-2, 0.5), (0, -1), (-1, np.inf), (np.nan, 0), (1, np.nan), (np.inf, -2)):
        mixed_x, mixed_y = x.copy(), y.copy()
        mixed_x[::5], mixed_y[::5] = a, b
        found = call(mixed_x, mixed_y)
        others = np.arange(len(x)) % 5 != 0
        np.testing.assert_array_equal(found[others], alone[others])
        with np.errstate(all="ignore"):
            given = np.power(dtype.type(a), dtype.type(b))
        np.testing.assert_array_equal(found[::5], np.full_like(found[::5], given))
