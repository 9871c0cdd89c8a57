"""What a sparse Jacobian or Hessian costs as the matrix and the number of colors grow.

python benchmarks/sparse.py [largest n]
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import harness
import numpy as np
from scipy import sparse as scipy_sparse

import graphjit
from graphjit import sparse
from graphjit.sparse.coloring import hessian_coloring, jacobian_coloring

SIZES = (10, 100, 1_000, 10_000, 100_000)
BANDS = (1, 2, 4, 8, 16)
DENSE = 1_000  # columns of the largest dense matrix that is computed
HEAD = (
    "entries", "colors", "pattern", "coloring", "compile", "f", "sparse", "sparse / f", "by hand",
    "dense",
)  # fmt: skip


# -- a tridiagonal system ------------------------------------------------------------------------


def residual(x: Any) -> Any:
    wall = np.zeros(1)
    left, right = np.concatenate([wall, x[:-1]]), np.concatenate([x[1:], wall])
    return (3 - 2 * x) * x - left - 2 * right + 1  # Broyden's, in Moré, Garbow and Hillstrom 1981


def residual_by_hand(x: Any) -> Any:
    n = len(x)
    bands = (np.full(n - 1, -1.0), 3 - 4 * x, np.full(n - 1, -2.0))
    return scipy_sparse.diags_array(bands, offsets=(-1, 0, 1), format="csr")


# -- a Hessian -----------------------------------------------------------------------------------


def rosenbrock(x: Any) -> Any:
    return np.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def rosenbrock_by_hand(x: Any) -> Any:
    main = np.zeros(len(x))
    main[:-1] += 1200 * x[:-1] ** 2 - 400 * x[1:] + 2
    main[1:] += 200
    beside = -400 * x[:-1]
    return scipy_sparse.diags_array((beside, main, beside), offsets=(-1, 0, 1), format="csr")


# -- a band of any width -------------------------------------------------------------------------


def banded(width: int) -> Callable[[Any], Any]:
    """Each element is a sum over itself and ``width`` others on either side."""

    def function(x: Any) -> Any:
        padded = np.pad(x, width)
        return sum(np.sin(padded[i : i + len(x)]) for i in range(2 * width + 1))

    return function


def banded_by_hand(width: int) -> Callable[[Any], Any]:
    """Its Jacobian: the cosine of each column."""

    def function(x: Any) -> Any:
        offsets = range(-width, width + 1)
        slopes = np.cos(x)
        bands = [slopes[max(o, 0) : len(x) + min(o, 0)] for o in offsets]
        return scipy_sparse.diags_array(bands, offsets=list(offsets), format="csr")

    return function


# -- measuring -----------------------------------------------------------------------------------


def measure(
    name: str, function: Any, by_hand: Any, n: int, *, order: int = 1, dense: bool = False
) -> dict[str, Any]:
    """Time finding, compiling and evaluating a derivative of ``function`` at n numbers."""
    x = np.random.default_rng(n).normal(size=n)
    make = sparse.jacobian if order == 1 else sparse.hessian
    pattern, pattern_seconds = timed(lambda: sparse.pattern(function, order=order)(x))
    color = jacobian_coloring if order == 1 else hessian_coloring
    coloring, coloring_seconds = timed(lambda: color(pattern))
    derivative, primal = make(function), graphjit.jit(function)
    derivative(x)
    phases = ("passes", "lower", "render", "compile")
    competitors: dict[str, Any] = {"sparse": lambda: derivative(x), "by hand": lambda: by_hand(x)}
    agree(derivative(x), by_hand(x))
    if dense:
        whole = (graphjit.jacobian if order == 1 else graphjit.hessian)(function)
        np.testing.assert_allclose(whole(x), by_hand(x).toarray(), atol=1e-9)
        competitors["dense"] = lambda: whole(x)
    competitors["f"] = lambda: primal(x)
    timings = race(competitors)
    return {
        "case": name,
        "columns": n,
        "entries": pattern.nnz,
        "colors": coloring.colors,
        "pattern": pattern_seconds,
        "coloring": coloring_seconds,
        "compile": sum(derivative.stats.seconds[phase] for phase in phases),
        "ratio": timings["sparse"].over(timings["f"]),
        "seconds": {who: timing.median for who, timing in timings.items()},
    }


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    start = time.perf_counter()
    result = call()
    return result, time.perf_counter() - start


def agree(found: Any, expected: Any) -> None:
    gap = abs(found - expected).max()
    assert gap <= 1e-9 * max(1.0, abs(expected).max()), gap


def race(competitors: dict[str, Any], rounds: int = 15) -> dict[str, harness.Timing]:
    """As ``harness.race``, whose comparison takes dense results only."""
    for call in competitors.values():
        call()  # compiles
    counts = {name: harness.calls_within(call, 0.004) for name, call in competitors.items()}
    taken: dict[str, list[float]] = {name: [] for name in competitors}
    for turn in range(rounds):
        for name in harness.rotated(list(competitors), turn):
            taken[name].append(harness.timed(competitors[name], counts[name]))
    return {name: harness.Timing(tuple(samples)) for name, samples in taken.items()}


def show(title: str, results: list[dict[str, Any]]) -> str:
    return harness.table((title, *HEAD), [row(result) for result in results])


def row(result: dict[str, Any]) -> tuple[str, ...]:
    seconds = result["seconds"]
    times = {who: harness.duration(value) for who, value in seconds.items()}
    prepared = (harness.duration(result[name]) for name in ("pattern", "coloring", "compile"))
    return (
        f"{result['columns']:,}", f"{result['entries']:,}", str(result["colors"]), *prepared,
        times["f"], times["sparse"], f"{result['ratio']:.1f}", times["by hand"],
        times.get("dense", ""),
    )  # fmt: skip


def main(words: list[str]) -> None:
    largest = int(words[0]) if words else SIZES[-1]
    sizes = [n for n in SIZES if n <= largest]
    warm = sizes[-1]  # the loops that color are compiled once a process
    _, once = timed(lambda: measure("warm", residual, residual_by_hand, warm))
    measure("warm", rosenbrock, rosenbrock_by_hand, warm, order=2)
    print(f"first of all, with Numba and all loops compiled: {harness.duration(once)}\n")
    tables: dict[str, list[dict[str, Any]]] = {
        "Jacobian, tridiagonal": [
            measure("tridiagonal", residual, residual_by_hand, n, dense=n <= DENSE) for n in sizes
        ],
        "Hessian, Rosenbrock": [
            measure("rosenbrock", rosenbrock, rosenbrock_by_hand, n, order=2, dense=n <= DENSE)
            for n in sizes
        ],
        "Jacobian, wider bands": [
            measure(f"band {k}", banded(k), banded_by_hand(k), largest) for k in BANDS
        ],
    }
    for title, results in tables.items():
        print(show(title, results) + "\n")
    if not words:
        harness.save("sparse", [result for results in tables.values() for result in results])


if __name__ == "__main__":
    main(sys.argv[1:])
