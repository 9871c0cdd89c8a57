"""Sums over outer axes, in stages: how exact they are, and programs of every shape."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphjit
from graphjit import tuning
from graphjit.codegen import stages
from graphjit.codegen.loops import Let, Load
from graphjit.codegen.native import host
from graphjit.codegen.render_llvm import render
from graphjit.codegen.walks import walk
from graphjit.flags import override
from graphjit.ir import evaluate
from graphjit.passes.adjoint import adjoint
from graphjit.passes.pipeline import PRIMAL, run
from graphjit.tracing import trace as tracing
from running import COMPILED, WAYS, built, ran

Array = np.ndarray[Any, Any]
Function = Callable[..., Any]
DTYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64])

# Each is a sum over some axes of an array of this shape.
SHAPES: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "few columns": ((4000, 4), (0,)),
    "many columns": ((1000, 70), (0,)),
    "no divisor": ((3989, 3), (0,)),
    "a middle axis": ((2, 3000, 3), (1,)),
    "both ends": ((50, 3, 70), (0, 2)),
    "channels last": ((40, 40, 3), (0, 1)),
    "long ends": ((100, 3, 100), (0, 2)),
}
DATA: dict[str, Function] = {
    "positive": lambda rng, shape: rng.random(shape),
    "far from zero": lambda rng, shape: rng.random(shape) + 1000,
    "of both signs": lambda rng, shape: (
        1e4 * (-1.0) ** np.indices(shape).sum(0) + rng.random(shape)
    ),
}


def worst(found: Array, terms: Array, axes: tuple[int, ...]) -> float:
    """The largest error, in units of the last place of the sum of magnitudes."""
    kept = [a for a in range(terms.ndim) if a not in axes]
    columns = terms.transpose(*kept, *axes).reshape(-1, math.prod(terms.shape[a] for a in axes))
    errors = [
        abs(float(x) - math.fsum(column)) / math.fsum(abs(column))
        for x, column in zip(found.ravel(), columns.astype(float), strict=True)
    ]
    return max(errors) / float(np.finfo(terms.dtype).eps)


@DTYPES
@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("shape", SHAPES)
def test_nothing_is_lost_along_outer_axes(shape: str, data: str, dtype: Any) -> None:
    whole, axes = SHAPES[shape]
    x = DATA[data](np.random.default_rng(0), whole).astype(dtype)
    assert worst(graphjit.jit(lambda x: np.sum(x, axis=axes))(x), x, axes) <= 2.5
    squares = graphjit.jit(lambda x: np.sum(x * x, axis=axes))
    assert worst(squares(x), x * x, axes) <= 2.5


@WAYS
@DTYPES
def test_every_way_adds_up_in_stages(dtype: Any, jit: Any) -> None:
    x = (np.random.default_rng(0).random((1500, 4)) + 1000).astype(dtype)
    graph = tracing.trace(lambda x: np.sum(x, axis=0), (x,)).graph
    assert worst(ran(graph, [x], jit=jit)[0], x, (0,)) <= 2


@DTYPES
def test_the_gradient_of_a_bias(dtype: Any) -> None:
    x = (np.random.default_rng(0).random((50_000, 4)) + 1000).astype(dtype)
    gradient = graphjit.grad(lambda b, x: np.sum((x + b) ** 2 / 2))(np.zeros(4, dtype), x)
    assert worst(gradient, x, (0,)) <= 2


def test_the_sum_of_short_rows() -> None:
    rng = np.random.default_rng(0)
    x, b = rng.random((100_000, 4)) + 1000, rng.random(4)
    total = graphjit.jit(lambda x, b: np.sum(x + b))(x, b)
    assert worst(np.array([total]), (x + b).reshape(1, -1), (1,)) <= 1
    largest = graphjit.jit(lambda x: np.sum(np.max(x, axis=1)))(x)
    assert worst(np.array([largest]), x.max(1).reshape(1, -1), (1,)) <= 1


@pytest.mark.parametrize("special", [np.inf, -np.inf, np.nan])
@DTYPES
def test_infinities_and_nans_stay_in_their_columns(dtype: Any, special: float) -> None:
    x = np.ones((997, 5), dtype)
    x[777, 3] = special
    found = graphjit.jit(lambda x: np.sum(x, axis=0))(x)
    np.testing.assert_equal(found, np.where(np.arange(5) == 3, special, 997).astype(dtype))


def test_the_same_bits_for_any_number_of_threads_and_from_quick_code() -> None:
    x = np.random.default_rng(0).standard_normal((30_011, 12))
    function: Function = lambda x: (np.sum(np.tanh(x), axis=0), np.sum(x * x, axis=0))  # noqa: E731
    with override(threads=1, tier="best"):
        alone = graphjit.jit(function)(x)
    with override(threads=2, tier="best"):
        together = graphjit.jit(function)(x)
    with override(threads=1, tier="auto"):
        quick = graphjit.jit(function)(x)
    for one, two, three in zip(alone, together, quick, strict=True):
        np.testing.assert_array_equal(one, two)
        np.testing.assert_array_equal(one, three)


# -- any program -----------------------------------------------------------------------------------

EXTENTS = (1, 2, 3, 4, 5, 7, 9, 13, 17)


def program(seed: int) -> tuple[Function, list[Array]]:
    """A function with sums over several axes, and its arguments."""
    rng = np.random.default_rng(seed)
    shape = tuple(int(n) for n in rng.choice(EXTENTS, rng.integers(2, 4)))
    shapes = [shape, *(tuple(n if rng.random() < 0.6 else 1 for n in shape) for _ in range(2))]
    dtype = (np.float32, np.float64)[int(rng.integers(2))]
    axes = [tuple(a for a in range(len(shape)) if rng.random() < 0.5) or (0,) for _ in range(3)]
    which = rng.random(6) < 0.4

    def function(x: Any, b: Any, c: Any) -> Any:
        z = np.tanh(x) * b + c if which[0] else np.where(x > b, x * c, b)
        z = z - np.max(z, axis=axes[0], keepdims=True) if which[1] else z
        if which[2]:
            z = np.exp(z) / (1 + np.sum(np.exp(z), axis=axes[1], keepdims=True))
        z = z - np.mean(z, axis=axes[2], keepdims=True) if which[3] else z
        found = [np.sum(z, axis=axes[0]), np.sum(z * z), np.mean(z * x, axis=axes[1])]
        found += [np.sum(np.max(z, axis=-1))] if which[4] else []
        return (*found, np.sum(z * b, axis=axes[2])) if which[5] else tuple(found)

    return function, [rng.uniform(-1, 1, s).astype(dtype) for s in shapes]


def total(results: Any) -> Any:
    """One number of all of them."""
    return sum(np.sum(np.sin(y)) for y in results)


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sums of a few turns are taken in stages already; how many loops have been."""
    count = [0]
    block = stages.Stages.block

    def counted(*given: Any) -> Any:
        count[0] += 1
        return block(*given)

    monkeypatch.setattr(stages, "SHORT", 3)
    monkeypatch.setattr(stages, "LEAST", 2)
    monkeypatch.setattr(stages, "ROWS", 2)
    monkeypatch.setattr(stages.Stages, "block", counted)
    return count


@pytest.mark.parametrize("jit", [False, "llvm"])
def test_programs_mean_the_same(often: list[int], jit: Any) -> None:
    for seed in range(24):
        function, args = program(seed)
        graph = tracing.trace(function, tuple(args)).graph
        whole = tracing.trace(lambda *a, f=function: total(f(*a)), tuple(args)).graph
        for g in (graph, adjoint(run(whole, PRIMAL), (0, 1, 2))):
            tolerance = 1e-3 if args[0].dtype == np.float32 else 1e-10
            for found, wanted in zip(ran(g, args, jit=jit), evaluate(g, *args), strict=True):
                size = 1 + float(np.max(np.abs(wanted), initial=0))
                np.testing.assert_allclose(
                    found, wanted, rtol=tolerance, atol=tolerance * size, err_msg=str(seed)
                )
    assert often[0] > 40


@COMPILED
def test_what_is_left_over_is_added_too(often: list[int], jit: str) -> None:
    for rows in range(2, 40):
        x = np.random.default_rng(rows).random((rows, 3))
        graph = tracing.trace(lambda x: (np.sum(x, axis=0), np.sum(x + x[0])), (x,)).graph
        for found, wanted in zip(ran(graph, [x], jit=jit), evaluate(graph, x), strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-13)
        if jit == "numba" and rows > 5:
            break
    assert often[0] > 2


def test_what_is_left_over_has_values_of_its_own() -> None:
    args = np.ones((997, 3)), np.ones(3)
    graph = tracing.trace(lambda x, b: np.sum(np.tanh(x) * b, axis=0), args).graph
    (kernel,) = built(graph, jit=False).loops.kernels
    made = [s.value.name for s in walk(kernel.statements) if isinstance(s, Let | Load)]
    assert "tanh" in [s.op for s in walk(kernel.statements) if isinstance(s, Let)][-3:]
    assert len(set(made)) == len(made)


# -- registers -------------------------------------------------------------------------------------


@DTYPES
@pytest.mark.parametrize("columns", [2, 3, 4, 7, 8, 9, 15, 16, 17, 31, 33, 50, 64, 65, 100, 129])
def test_rows_in_registers(columns: int, dtype: Any) -> None:
    rng = np.random.default_rng(columns)
    x, b = (rng.standard_normal(s).astype(dtype) for s in ((83, columns), (columns,)))
    graph = tracing.trace(lambda x, b: (np.sum(x * b, axis=0), np.sum(x, axis=0)), (x, b)).graph
    found = ran(graph, [x, b], jit="llvm")
    with tuning.override(tuning.tuning(host().vector_bytes)._replace(pieces=0)):
        again = ran(graph, [x, b], jit="llvm")
    for one, two in zip(found, again, strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize(("columns", "held"), [(16, True), (2000, False)])
def test_short_rows_stay_in_registers_and_long_ones_do_not(columns: int, held: bool) -> None:
    graph = tracing.trace(lambda x: np.sum(x, axis=0), (np.ones((40, columns)),)).graph
    text = render(built(graph, jit=False).loops, "f").text
    assert ("= phi <" in text) == held
