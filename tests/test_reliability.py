"""What no other file asks: conventions in every layout, accuracy far out, dtypes, sameness."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphjit
from graphjit import grad, jit
from graphjit.codegen.build import Program
from graphjit.flags import override
from graphjit.ir import evaluate
from graphjit.passes.compare import agree, room
from graphjit.tracing.trace import trace
from random_graphs import random_arguments, random_graph

Array = np.ndarray[Any, Any]

# -- kinks: one convention, however the array lies and whatever is fused around it ----------------

KINKS = np.array([[0.0, 1.0, 0.5, 0.0], [2.0, -1.0, 1.0, 0.0], [0.0, 0.0, 3.0, 1.0]])
LAYOUTS: dict[str, Callable[[Array], Array]] = {
    "C": np.ascontiguousarray,
    "F": np.asfortranarray,
    "reversed": lambda x: np.ascontiguousarray(x[::-1, ::-1])[::-1, ::-1],
    "strided": lambda x: np.repeat(np.repeat(x, 2, axis=0), 3, axis=1)[::2, ::3],
    "float32": lambda x: x.astype(np.float32),
}
SUBGRADIENTS: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "abs": (np.abs, np.sign),
    "relu": (lambda x: np.maximum(x, 0), lambda x: np.heaviside(x, 0.5)),
    "clip": (
        lambda x: np.clip(x, 0, 1), lambda x: np.heaviside(x, 0.5) * np.heaviside(1 - x, 0.5),
    ),
    "fused": (
        lambda x: np.abs(2 * x) + np.maximum(x, 0) * 3,
        lambda x: 2 * np.sign(x) + 3 * np.heaviside(x, 0.5),
    ),
    "turned": (lambda x: np.abs(x.T[::-1]).T, np.sign),
    "shared": (lambda x: np.abs(x) + np.abs(-x), lambda x: 2 * np.sign(x)),
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", SUBGRADIENTS)
def test_a_kink_has_one_subgradient_in_every_layout(name: str, layout: str) -> None:
    f, expected = SUBGRADIENTS[name]
    x = LAYOUTS[layout](KINKS)
    with override(jit=False):
        slope = grad(lambda x: np.sum(f(x)))(x)
    assert slope.dtype == x.dtype
    np.testing.assert_array_equal(slope, expected(KINKS))


# -- accuracy where parts of a formula cancel, under- or overflow ---------------------------------

SMALL = (1e-20, -1e-20, 1e-10, 3e-5)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_small_arguments_keep_all_digits(dtype: Any) -> None:
    x = np.array(SMALL, dtype)
    limit = 4 * np.finfo(dtype).eps
    functions: list[Any] = [np.expm1, np.log1p, np.sinh, np.tanh, np.arcsinh, np.arctanh, np.sin]

    def both(x: Any) -> Any:
        return [f(x) for f in functions], np.cosh(20 * np.ones_like(x)), np.cosh(x - 20)

    found, large, near = jit(both)(x)
    for function, values in zip(functions, found, strict=True):
        exact = function(x.astype(np.longdouble))
        np.testing.assert_allclose(values, exact.astype(float), rtol=limit, err_msg=str(function))
    np.testing.assert_allclose(large, np.cosh(20.0), rtol=1e-12 if dtype is np.float64 else 1e-6)
    np.testing.assert_allclose(near, np.cosh(x.astype(float) - 20), rtol=4e-6)


@pytest.mark.parametrize("at", [0.0, 300.0, 356.0, 500.0, 700.0, -300.0, -356.0, -700.0])
@pytest.mark.parametrize("modes", [("jacfwd", "jacrev"), ("jacrev", "jacrev"),
                                   ("jacfwd", "jacfwd"), ("jacrev", "jacfwd")])  # fmt: skip
def test_sums_of_exponentials_have_second_derivatives_as_far_as_values(
    at: float, modes: tuple[str, str]
) -> None:
    """A quotient's slope has no square in it: 1/s² would leave the range where 1/s does not."""
    x = np.array([at, at - 0.5, at + 0.25])
    p = np.exp(x - at) / np.sum(np.exp(x - at))
    outer, inner = (getattr(graphjit, mode) for mode in modes)
    with override(jit=False):
        of_log = outer(inner(lambda x: np.log(np.sum(np.exp(x)))))(x)
        of_share = outer(inner(lambda x: (np.exp(x) / np.sum(np.exp(x)))[0]))(x)
    np.testing.assert_allclose(of_log, np.diag(p) - np.outer(p, p), rtol=1e-11)
    first = np.array([1.0, 0.0, 0.0]) - p
    expected = p[0] * (np.outer(first, first) - np.diag(p) + np.outer(p, p))
    np.testing.assert_allclose(of_share, expected, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("size", [1e-200, 1e-100, 1.0, 1e100, 1e200])
def test_an_angle_has_a_slope_at_every_length(size: float) -> None:
    with override(jit=False):
        slopes = grad(np.arctan2, (0, 1))(3 * size, 4 * size)
    np.testing.assert_allclose(slopes, np.array([0.16, -0.12]) / size, rtol=1e-12)


# -- dtypes ---------------------------------------------------------------------------------------

KINDS: list[Any] = [bool, *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)),
                    np.float32, np.float64, "float", "int", "True"]  # fmt: skip
BINARY = (np.add, np.multiply, np.subtract, np.true_divide, np.floor_divide, np.remainder,
          np.power, np.maximum, np.less, np.logical_and, np.bitwise_and, np.left_shift,
          np.arctan2, np.hypot, np.logaddexp, np.copysign)  # fmt: skip
PYTHON: dict[Any, Any] = {"float": 1.5, "int": 2, "True": True}


def operand(kind: Any) -> Any:
    return PYTHON[kind] if kind in PYTHON else np.ones(3, kind)


@pytest.mark.parametrize("ufunc", BINARY, ids=lambda f: f.__name__)
def test_result_dtypes_are_numpys_for_every_pair(ufunc: Any) -> None:
    for one, two in itertools.product(KINDS, repeat=2):
        if one in PYTHON and two in PYTHON:
            continue
        args = operand(one), operand(two)
        try:
            expected: Any = ufunc(*args).dtype
        except TypeError:
            expected = TypeError
        if expected == np.float16:  # which nothing here computes with
            expected = TypeError
        try:
            graph = trace(ufunc, args).graph
            found: Any = graph.nodes[graph.outputs[0]].aval.dtype
        except TypeError:
            found = TypeError
        assert found == expected, (one, two)


# -- the same program gives the same numbers ------------------------------------------------------


@pytest.mark.parametrize("seed", range(300, 312))
def test_repeated_runs_agree_and_so_do_other_passes(seed: int) -> None:
    graph = random_graph(seed, 25)
    values = random_arguments(graph, seed)
    program = Program(graph, "fused")
    first = program(*values)
    for _ in range(3):
        for one, two in zip(first, program(*values), strict=True):
            np.testing.assert_array_equal(one, two)
    with override(skip="merge,simplify,order", jit=False):
        apart = Program(graph, "apart")(*values)
    for found in (first, apart):
        for one, two in zip(evaluate(graph, *values), found, strict=True):
            assert agree(one, np.asarray(two), room(graph))
