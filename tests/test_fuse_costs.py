"""The cost model that says what to store between loops, and what to compute again."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from graphjit.codegen.loops import (
    Let,
    LoopProgram,
)
from graphjit.codegen.lower import lower
from graphjit.codegen.walks import walk
from graphjit.ir import Aval, evaluate
from graphjit.ir.graph import Node
from graphjit.passes import costs
from graphjit.passes.adjoint import adjoint
from graphjit.passes.compare import agree, outcome, room
from graphjit.passes.fuse import fuse
from graphjit.passes.pipeline import PRIMAL, PROGRAM, run
from graphjit.tracing import trace as tracing
from random_graphs import random_arguments, random_graph
from running import COMPILED, built, conforming

SMALL, LARGE = 1_000, 200_000  # elements of float64: in the cache, and beyond it


def node(op: str, size: int = SMALL, dtype: Any = np.float64) -> Node:
    return Node(0, op, (), Aval((size,), np.dtype(dtype)), {}, None, ())


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_small_value_is_worth_some_arithmetic_but_no_function(dtype: Any) -> None:
    value = Aval((SMALL,), np.dtype(dtype))
    price = costs.storing(value, 1)
    few = [node(op, dtype=dtype) for op in ("subtract", "multiply", "add", "where")]
    assert costs.computing(few, value, []) < price
    assert costs.computing(few * 5, value, []) > price
    assert costs.computing([node("exp", dtype=dtype)], value, []) > price


def test_a_large_value_is_worth_a_function() -> None:
    value = Aval((LARGE,), np.dtype(np.float64))
    price = costs.storing(value, 1)
    assert costs.computing([node("exp", LARGE), node("divide", LARGE)], value, []) < price
    assert costs.computing([node("exp", LARGE)] * 4, value, []) > price


def test_what_must_be_read_for_it_counts_by_its_size() -> None:
    value = Aval((LARGE,), np.dtype(np.float64))
    row = Aval((LARGE // 1000,), np.dtype(np.float64))
    alone = costs.computing([node("add", LARGE)], value, [])
    assert costs.computing([node("add", LARGE)], value, [row]) < alone * 1.01
    assert costs.computing([node("add", LARGE)], value, [value] * 3) > costs.storing(value, 1)


def two_layers(w: Any, v: Any, x: Any) -> Any:
    """The derivative of the hidden layer needs exp(h) again; h itself is a product, and stored."""
    h = x @ w
    return np.sum(np.tanh((np.exp(h) / (1 + np.square(h))) @ v))


def loops_of(rows: int) -> LoopProgram:
    args = np.ones((30, 40)), np.ones((40, 20)), np.ones((rows, 30))
    graph = run(tracing.trace(two_layers, args).graph, PRIMAL)
    return lower(run(adjoint(graph, (0, 1)), PROGRAM))


def count(program: LoopProgram, op: str) -> int:
    found = [s for k in program.kernels for s in walk(k.statements) if isinstance(s, Let)]
    return sum(s.op == op for s in found)


def test_functions_are_computed_again_for_large_arrays_alone() -> None:
    assert count(loops_of(10), "exp") == 1
    assert count(loops_of(20_000), "exp") == 2


@pytest.fixture(params=["all", "nothing"])
def prices(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Memory that is beyond price, or free."""
    price = 1e9 if request.param == "all" else 0.0
    monkeypatch.setattr(costs, "NEAR", price)
    monkeypatch.setattr(costs, "FAR", price)
    return str(request.param)


@pytest.mark.usefixtures("prices")
def test_random_graphs_keep_their_meaning_at_any_price() -> None:
    for seed in range(3000, 3060):
        graph = random_graph(seed, 15 + seed % 60)
        values = random_arguments(graph, seed)
        old, new = outcome(graph, values), outcome(fuse(graph), values)
        if isinstance(old, str):
            assert old == new
        else:
            assert all(agree(a, b, room(graph)) for a, b in zip(old, new, strict=True))


@COMPILED
def test_programs_agree_at_any_price(prices: str, jit: str) -> None:
    rng = np.random.default_rng(0)
    args = [rng.standard_normal(shape) / 4 for shape in ((8, 9), (9, 7), (11, 8))]
    graph = adjoint(run(tracing.trace(two_layers, tuple(args)).graph, PRIMAL), (0, 1))
    program = built(graph, jit=jit)
    assert count(program.loops, "exp") == (2 if prices == "all" else 1)
    for a, b in zip(evaluate(graph, *args), program(*conforming(args)), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-12)
