"""Sparse derivatives from the disk: pattern, coloring and what these relied on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import sparse as scipy_sparse

import graphjit
from graphjit.flags import override

WEIGHTS = np.linspace(1.0, 2.0, 200)
HOLES = np.where(np.arange(200) % 3 == 0, 0.0, WEIGHTS)
ORDER = np.arange(200)[::-1].copy()
x = np.linspace(-1.0, 1.0, 200)


def chain(x: Any) -> Any:
    return np.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def rows(x: Any) -> Any:
    return np.concatenate([WEIGHTS * np.sin(x), x[:1] * x])


def holes(x: Any) -> Any:
    return np.sum(x) * HOLES + x**2


def ordered(x: Any) -> Any:
    return np.sin(x[ORDER]) * x


def jacobian(f: Callable[..., Any]) -> Any:
    return graphjit.sparse.jacobian(f)


def hessian(f: Callable[..., Any]) -> Any:
    return graphjit.sparse.hessian(f)


CASES = [(hessian, chain), (jacobian, rows), (jacobian, holes), (jacobian, ordered)]


@pytest.fixture(autouse=True)
def place(tmp_path: Path) -> Iterator[None]:
    with override(cache=True, cache_dir=str(tmp_path / "cache"), tier="best"):
        yield


def refused(*_: Any, **__: Any) -> Any:
    raise AssertionError("traced or compiled")


@pytest.mark.parametrize(("derivative", "f"), CASES)
def test_a_loaded_derivative_is_the_built_one(
    derivative: Callable[..., Any], f: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = derivative(f)
    expected = first(x)
    assert first.stats.cache == "miss: not built before"
    monkeypatch.setattr("graphjit.tracing.trace.substituted", refused)
    monkeypatch.setattr("graphjit.codegen.build.machine_code", refused)
    monkeypatch.setattr("graphjit.sparse.compiled.dependence", refused)
    second = derivative(f)
    for point in (x, x + 0.5, x):
        found = second(point)
        assert second.stats.cache == "hit"
        assert type(found) is scipy_sparse.csr_array
        assert found.has_canonical_format
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found.toarray(), first(point).toarray())
    for own in ("pattern", "columns", "rows", "places"):
        ours, theirs = (getattr(each.coloring(x), own) for each in (second, first))
        assert type(ours) is type(theirs)
        assert ours.dtype == theirs.dtype
        assert ours.shape == theirs.shape
    assert (second.pattern(x) != first.pattern(x)).nnz == 0
    assert repr(second.coloring(x)) == repr(first.coloring(x))


def test_results_share_no_memory() -> None:
    jacobian(rows)(x)
    loaded = jacobian(rows)
    one, two = loaded(x), loaded(x)
    one.indices[:] = 0
    one.data[:] = 7
    np.testing.assert_array_equal(two.toarray(), loaded(x).toarray())


@pytest.mark.parametrize(
    ("f", "array", "what"),
    [
        (holes, HOLES, "the zeros of an array"),
        (ordered, ORDER, "an index or mask"),
    ],
)
def test_a_pattern_is_not_loaded_for_other_arrays(
    f: Callable[..., Any], array: Any, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    jacobian(f)(x)
    kept = array.copy()
    try:
        array[:] = np.roll(array, 1)
        other = jacobian(f)
        found = other(x)
        message = f"{what} that the sparsity pattern relies on changed"
        assert other.stats.cache == f"miss: {message}"
        dense = graphjit.jacobian(f)(x)
        np.testing.assert_allclose(found.toarray(), dense, rtol=1e-12, atol=1e-12)
        again = jacobian(f)
        np.testing.assert_array_equal(again(x).toarray(), found.toarray())
        assert again.stats.cache == "hit"
    finally:
        array[:] = kept


def test_a_loaded_pattern_is_watched() -> None:
    jacobian(holes)(x)
    loaded = jacobian(holes)
    loaded(x)
    assert loaded.stats.cache == "hit"
    kept = HOLES.copy()
    try:
        HOLES[:] = WEIGHTS
        dense = graphjit.jacobian(holes)(x)
        np.testing.assert_allclose(loaded(x).toarray(), dense, rtol=1e-12, atol=1e-12)
    finally:
        HOLES[:] = kept


def test_values_may_change_where_only_zeros_count() -> None:
    jacobian(holes)(x)
    kept = HOLES.copy()
    try:
        HOLES[:] = 3 * HOLES
        loaded = jacobian(holes)
        found = loaded(x).toarray()
        assert loaded.stats.cache == "hit"
        dense = graphjit.jacobian(holes)(x)
        np.testing.assert_allclose(found, dense, rtol=1e-12, atol=1e-12)
    finally:
        HOLES[:] = kept
