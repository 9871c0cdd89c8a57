"""Sums of many numbers: no less exact than NumPy's pairwise summation."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphjit

Array = np.ndarray[Any, Any]
EPSILON = float(np.finfo(float).eps)
SHAPES: dict[str, Callable[[Array], Array]] = {
    "in a row": lambda x: x,
    "in rows": lambda x: x.reshape(1000, -1),
    "transposed": lambda x: x.reshape(1000, -1).T,
    "every second": lambda x: x[::2],
}


def error(found: float, x: Array) -> float:
    """The error in units of the last place of the sum of magnitudes."""
    return abs(found - math.fsum(x.ravel())) / (EPSILON * math.fsum(abs(x.ravel())))


@pytest.mark.parametrize("count", [1000, 64_000, 1_000_000])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_sum_loses_no_more_than_a_pairwise_one(shape: str, count: int) -> None:
    x = np.random.default_rng(count).random(count)
    total = graphjit.jit(lambda x: np.sum(SHAPES[shape](x)))
    assert error(total(x), SHAPES[shape](x)) <= 1


def test_a_sum_of_products_in_two_layouts() -> None:
    x = np.random.default_rng(0).random((700, 700))
    total = graphjit.jit(lambda x: np.sum(x * x.T))
    assert error(total(x), x * x.T) <= 1


def test_large_numbers_that_cancel_leave_the_small_ones() -> None:
    x = np.random.default_rng(0).random(200_000)
    x[1], x[-2] = 1e8, -1e8
    assert error(graphjit.jit(np.sum)(x), x) <= 4


@pytest.mark.parametrize("special", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("shape", SHAPES)
def test_infinities_and_nans_stay(shape: str, special: float) -> None:
    x = np.ones(100_000)
    x[77_776] = special
    total = graphjit.jit(lambda x: np.sum(SHAPES[shape](x)))(x)
    np.testing.assert_equal(total, special)


def test_a_mean_of_float32_is_summed_in_float64() -> None:
    x = np.random.default_rng(0).random(1_000_000).astype(np.float32)
    found = graphjit.jit(np.mean)(x)
    assert found.dtype == np.float32
    assert abs(found - math.fsum(x) / len(x)) <= np.spacing(found)
