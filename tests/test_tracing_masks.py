"""Masks that are told by their values, and what is none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from graphjit import jit
from graphjit.ir import evaluate
from graphjit.tracing import trace as tracing
from graphjit.tracing.masks import Mask, mask_of
from graphjit.tracing.trace import trace

DTYPES = [bool, np.int64, np.float32, np.float64]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(20, 20), (17, 30), (30, 17)])
def test_every_offset_is_found(shape: tuple[int, int], dtype: Any) -> None:
    whole = np.ones(shape, dtype)
    for offset in range(-shape[0] - 1, shape[1] + 2):
        for part, comparison in ((np.tril, "less_equal"), (np.triu, "greater_equal")):
            matrix = part(whole, offset)
            mask = mask_of(matrix)
            if mask is None:
                assert matrix.all() or not (matrix[0].any() or matrix[:, 0].any())
                continue
            graph = trace(
                lambda a, f=part, k=offset: (f(np.ones(shape, dtype), k), a), (1.0,)
            ).graph
            assert mask in {Mask(comparison, offset), mask_of(matrix)}
            [found, _] = evaluate(graph, 1.0)
            np.testing.assert_array_equal(found, matrix)
            assert found.dtype == dtype


def test_the_identity() -> None:
    assert mask_of(np.eye(50)) == Mask("equal", 0)
    assert mask_of(np.eye(50, 49)) is None
    graph = trace(lambda x: np.eye(50) * x, (np.ones((50, 50)),)).graph
    assert len(graph.inputs) == 1
    x = np.random.default_rng(0).standard_normal((50, 7))
    np.testing.assert_array_equal(jit(lambda x: np.eye(50) @ x)(x), x)


def test_what_is_no_mask() -> None:
    lower = np.tri(20)
    for row, column, value in ((19, 19, 0.0), (3, 2, 2.0), (0, 9, -0.0), (5, 6, np.nan)):
        other = lower.copy()
        other[row, column] = value
        assert mask_of(other) is None
    others: list[Any] = [
        np.ones((20, 20)),
        np.zeros((20, 20)),
        np.eye(8),
        np.ones(400),
        2 * np.eye(20),
    ]
    assert [mask_of(other) for other in others] == [None] * len(others)
    assert mask_of(np.eye(20)[::-1]) is None
    assert mask_of(np.eye(3000)) is None  # too large to look at


def test_a_mask_that_is_held_stays_an_input() -> None:
    held = np.tri(20)

    @jit
    def f(x: Any) -> Any:
        return (held * x) @ x

    x = np.random.default_rng(0).standard_normal((20, 20))
    assert len(tracing.trace(lambda x: held * x, (x,)).graph.inputs) == 2
    np.testing.assert_allclose(f(x), (held * x) @ x)
    held[0, 5] = 3.0
    np.testing.assert_allclose(f(x), (held * x) @ x)


def test_a_mask_that_is_computed_from_data_is_computed_again() -> None:
    data = np.arange(30.0)

    @jit
    def f(x: Any) -> Any:
        return np.tri(30, k=int(np.sum(data > 20)) - 9) * x

    x = np.random.default_rng(0).standard_normal((30, 30))
    np.testing.assert_array_equal(f(x), np.tri(30) * x)
    data[20] = 99.0
    np.testing.assert_array_equal(f(x), np.tri(30, k=1) * x)
