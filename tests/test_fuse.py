"""Fusion: how many loops and library calls a program has, and that its meaning is kept."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import networkx as nx
import numpy as np
import pytest

from graphjit import train
from graphjit.codegen.epoch import Epoch
from graphjit.codegen.loops import (
    Kernel,
    Let,
    LoopProgram,
)
from graphjit.codegen.lower import lower
from graphjit.codegen.walks import walk
from graphjit.flags import override
from graphjit.ir import TABLE, Builder, Graph, Symbol, aval_of, evaluate
from graphjit.ir.verify import verify
from graphjit.passes.adjoint import adjoint
from graphjit.passes.compare import agree, outcome, room
from graphjit.passes.fuse import fuse
from graphjit.passes.group import LIMIT
from graphjit.passes.pipeline import PRIMAL, PROGRAM, run
from graphjit.tracing import trace as tracing
from graphjit.train.setup import Setup
from graphjit.train.step import Steps
from random_graphs import random_arguments, random_graph
from running import built
from zoo import ZOO, Animal, trace

animals = pytest.mark.parametrize("animal", ZOO, ids=lambda animal: animal.name)
UNFUSED = [step for step in PROGRAM if step.name != "fuse"]


def program_of(
    function: Callable[..., Any], *args: Any, wrt: tuple[int, ...] = (0,)
) -> LoopProgram:
    """The loops of a value and its gradient."""
    graph = run(tracing.trace(function, args).graph, PRIMAL)
    return built(adjoint(graph, wrt)).loops


def shape_of(kernel: Kernel) -> str:
    if kernel.calls:
        return "call"
    return "loop" if kernel.loops else "scalars"


def shapes(program: LoopProgram) -> list[str]:
    """What each kernel is."""
    return [shape_of(kernel) for kernel in program.kernels]


def listing(program: LoopProgram) -> str:
    """The kernels, for a message."""
    return "\n".join(f"{shape_of(k):8}{k.title}" for k in program.kernels)


def total(program: LoopProgram, what: str) -> int:
    return sum(getattr(kernel, what) for kernel in program.kernels)


# -- counts --------------------------------------------------------------------------------------


def test_value_and_gradient_of_an_elementwise_formula_are_one_loop() -> None:
    def function(x: Any) -> Any:
        return np.sum(np.tanh(x) * np.exp(-(x**2)) + np.log1p(np.exp(x)) * np.sin(x))

    program = program_of(function, np.linspace(-1, 1, 1000))
    assert len(program.kernels) == 1, listing(program)
    assert (program.kernels[0].loops, program.kernels[0].calls) == (1, 0)
    assert not program.work


def test_the_same_over_matrices_views_and_broadcasts() -> None:
    def function(x: Any, row: Any, column: Any) -> Any:
        return np.sum(np.sin(x.T[::-1] + row) * np.exp(x.T) / (1 + column[:, None] ** 2))

    graph = tracing.trace(function, (np.ones((40, 30)), np.ones(40), np.ones(30))).graph
    program = built(graph).loops
    assert total(program, "loops") <= 2, listing(program)  # 1 + column ** 2 once a row


def test_softmax_cross_entropy_is_one_row_loop_between_the_products() -> None:
    def loss(w: Any, x: Any, y: Any) -> Any:
        logits = x @ w
        logp = logits - np.log(np.sum(np.exp(logits), axis=1, keepdims=True))
        return -np.mean(logp[np.arange(len(y)), y])

    program = program_of(loss, np.ones((20, 10)), np.ones((32, 20)), np.zeros(32, int))
    assert shapes(program) == ["call", "loop", "call"], listing(program)


def test_a_shifted_softmax_is_one_row_loop_too() -> None:
    def loss(w: Any, x: Any, y: Any) -> Any:
        z = x @ w
        z = z - np.max(z, axis=1, keepdims=True)
        logp = z - np.log(np.sum(np.exp(z), axis=1, keepdims=True))
        return -np.mean(logp[np.arange(len(y)), y])

    program = program_of(loss, np.ones((20, 10)), np.ones((32, 20)), np.zeros(32, int))
    assert total(program, "calls") == 2, listing(program)
    assert total(program, "loops") <= 2, listing(program)


def test_layer_norm_is_one_row_loop() -> None:
    def loss(x: Any, scale: Any, shift: Any) -> Any:
        mean, var = x.mean(axis=-1, keepdims=True), x.var(axis=-1, keepdims=True)
        return np.sum(np.tanh((x - mean) / np.sqrt(var + 1e-5) * scale + shift))

    args = np.ones((16, 32)), np.ones(32), np.ones(32)
    program = program_of(loss, *args, wrt=(0, 1, 2))
    assert shapes(program) == ["loop"], listing(program)


def test_logistic_regression_is_a_loop_between_two_products() -> None:
    def loss(w: Any, b: Any, x: Any, y: Any) -> Any:
        p = 1 / (1 + np.exp(-(x @ w + b)))
        return -np.mean(y * np.log(p) + (1 - y) * np.log(1 - p))

    args = np.zeros(50), 0.0, np.ones((1000, 50)), np.zeros(1000)
    program = program_of(loss, *args, wrt=(0, 1))
    assert shapes(program) == ["call", "loop", "call"], listing(program)


def test_a_hidden_layer_costs_three_products_and_a_loop_each_way() -> None:
    def loss(w: Any, v: Any, x: Any, y: Any) -> Any:
        return np.mean((np.tanh(x @ w) @ v - y) ** 2)

    args = np.ones((20, 30)), np.ones((30, 8)), np.ones((40, 20)), np.ones((40, 8))
    program = program_of(loss, *args, wrt=(0, 1))
    assert total(program, "calls") == 2 + 3, listing(program)
    assert total(program, "loops") == 3, listing(program)


def classifier(params: Any, x: Any, y: Any) -> Any:
    for w, b in params[:-1]:
        x = 1 / (1 + np.exp(-(x @ w + b)))
    w, b = params[-1]
    logits = x @ w + b
    logp = logits - np.log(np.sum(np.exp(logits), axis=1, keepdims=True))
    return -np.mean(logp[np.arange(len(y)), y])


OPTIMIZERS: dict[str, Any] = {
    "sgd": train.sgd(0.1),
    "momentum": train.sgd(0.1, 0.9),
    "adam": train.adam(),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_training_step_of_the_digits_net_is_what_a_person_would_write(
    name: str, dtype: Any
) -> None:
    sizes, optimizer = (64, 64, 32, 10), OPTIMIZERS[name]
    params = [(np.ones((m, n), dtype), np.zeros(n, dtype)) for m, n in pairwise(sizes)]
    data = np.ones((100, 64), dtype), np.zeros(100, int)
    setup = Setup(classifier, optimizer, params, optimizer.init(params), data, Epoch(100, 32))
    with override(jit=False):
        full, rest = Steps(setup).programs
    for program in (full, rest):
        calls, loops = total(program, "calls"), total(program, "loops")
        assert calls == 3 + 5, listing(program)  # forward; weights' gradients, hidden cotangents
        assert loops <= 1 + 3 + 2 + 6, listing(program)  # gather, forward, backward, updates
        assert shapes(program).count("scalars") <= 2, listing(program)


def test_a_group_has_a_largest_size() -> None:
    builder = Builder()
    y = builder.input(aval_of(np.zeros(4)))
    for _ in range(5 * LIMIT):
        y = builder.emit("sin", y)
    sizes = [len(n.params["body"]) for n in fuse(builder.graph([y])).nodes if n.op == "fused"]
    assert len(sizes) == 5
    assert max(sizes) <= LIMIT + 1


def test_independent_loops_over_one_space_are_one_loop() -> None:
    def function(x: Any, y: Any) -> Any:
        return np.sum(np.sin(x)) * 2 + np.prod(np.cos(y))

    program = program_of(function, np.ones(9), np.ones(9), wrt=(0,))
    assert total(program, "loops") <= 2, listing(program)


# -- meaning -------------------------------------------------------------------------------------


def check(graph: Graph, values: list[Any]) -> Graph:
    """What the pass promises, on one graph with one set of arguments."""
    text = str(graph)
    after = verify(fuse(graph))
    assert str(graph) == text
    assert after.avals(after.inputs) == graph.avals(graph.inputs)
    assert after.avals(after.outputs) == graph.avals(graph.outputs)
    assert nx.is_directed_acyclic_graph(after.dag)
    old, new = outcome(graph, values), outcome(after, values)
    if isinstance(old, str):
        assert old == new
    else:
        assert all(agree(a, b, room(graph)) for a, b in zip(old, new, strict=True))
    check_fused(after)
    return after


def check_fused(graph: Graph) -> None:
    """Nothing that could be in a loop is outside, and each body can be evaluated by itself."""
    for node in graph.nodes:
        row = TABLE[node.op]
        assert row.kind != "map", node
        if node.op == "fused":
            body = verify(node.params["body"])
            assert len(node.params["roles"]) == len(body)
            assert body.avals(body.inputs) == graph.avals(node.inputs)
            assert body.avals(body.outputs) == node.results
            assert any(node.params["roles"])


@animals
def test_the_zoo_keeps_its_meaning(animal: Animal) -> None:
    check(*animal.trace())


@animals
def test_gradients_keep_their_meaning_and_are_cleaned_up_before(animal: Animal) -> None:
    graph, values = animal.trace()
    floats = [i for i, ident in enumerate(graph.inputs) if graph.nodes[ident].aval.inexact]
    check(run(adjoint(graph, floats), UNFUSED), values)


@pytest.mark.parametrize("block", range(10))
def test_random_graphs_keep_their_meaning(block: int) -> None:
    for seed in range(500 + 10 * block, 510 + 10 * block):
        graph = random_graph(seed, 15 + seed % 60)
        check(graph, random_arguments(graph, seed))


@animals
def test_fusing_is_deterministic(animal: Animal) -> None:
    graph, _ = animal.trace()
    assert str(fuse(graph)) == str(fuse(graph))


def test_a_value_that_is_read_before_and_after_a_product_makes_no_cycle() -> None:
    """S joins x's loop or y's, but not both: y needs the product, the product needs x."""

    def function(x: Any, w: Any) -> Any:
        first = np.sin(x)
        y = first @ w
        return np.sum(first * np.cos(y)) + np.sum(np.sin(x) * y)

    graph, values = trace(function, (np.ones((8, 8)), np.ones((8, 8))))
    after = check(graph, values)
    assert after.count("contract") == 1
    groups = [n for n in after.nodes if n.op == "fused"]
    assert len(groups) >= 2


def test_a_long_alternation_of_loops_and_products_stays_acyclic() -> None:
    def function(x: Any, w: Any) -> Any:
        kept: list[Any] = []
        for _ in range(12):
            x = np.tanh(x @ w) + sum(kept)
            kept.append(np.sin(x))
        return sum(np.sum(k * x) for k in kept)

    graph, values = trace(function, (np.ones((3, 3)) / 9, np.eye(3)))
    floats = [0, 1]
    check(run(adjoint(graph, floats), UNFUSED), values)


def test_layouts_are_read_through_and_cost_no_kernel() -> None:
    builder = Builder()
    x = Symbol(builder, builder.input(aval_of(np.ones((4, 6)))))
    y: Any = np.sin(np.reshape(x[::-1].T, (2, 3, 4)))[:, ::2]
    one: Any = y + 1
    two: Any = np.sum(y * 2)
    graph = builder.graph([two.id, one.id])
    program = built(graph).loops
    assert total(program, "loops") <= 2, listing(program)
    values = [np.random.default_rng(0).normal(size=(4, 6))]
    for old, new in zip(evaluate(graph, *values), evaluate(fuse(graph), *values), strict=True):
        np.testing.assert_allclose(new, old, rtol=1e-14)


def test_zeros_of_either_sign_are_two_values() -> None:
    def f(c: Any, x: Any) -> Any:
        return 1 / np.where(c, 0.0, x), 1 / np.where(c, -0.0, x)

    graph = tracing.trace(f, (np.array([True, False]), np.array([2.0, 4.0]))).graph
    kernels = lower(run(graph, PROGRAM)).kernels
    chosen = [s for k in kernels for s in walk(k.statements) if isinstance(s, Let)]
    assert sum(s.op == "select" for s in chosen) == 2
