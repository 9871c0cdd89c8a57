"""vmap is the stacked loop: on rows, on random graphs, on the zoo, nested, around gradients."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
import optree
import pytest

from graphjit import grad, jacfwd, jit, value_and_grad, vmap
from graphjit.flags import override
from graphjit.ir import Builder, Graph, aval_of, evaluate
from graphjit.ir.verify import verify
from graphjit.passes.adjoint import adjoint
from graphjit.passes.batch import batch
from graphjit.passes.pipeline import PRIMAL, run
from graphjit.passes.tangent import tangent
from random_graphs import random_arguments, random_graph
from samples import SAMPLES, Sample
from zoo import ZOO, Animal

SIZE = 3
X = np.array([0.3, -1.2, 2.0])
A = np.arange(6.0).reshape(2, 3) / 5


@pytest.fixture(autouse=True)
def _python(request: pytest.FixtureRequest) -> Iterator[None]:
    """Programs run as plain Python, but for tests marked with ``native``."""
    with override(jit="native" in request.fixturenames):
        yield


@pytest.fixture
def native() -> None:
    """Compile."""


def examples(values: list[Any], seed: int) -> list[list[Any]]:
    """Several lists of arguments near the given ones: integers and booleans are shuffled."""
    rng = np.random.default_rng(seed)

    def another(value: Any) -> Any:
        value = np.asarray(value)
        if value.dtype.kind == "f":
            factor = rng.uniform(0.9, 1.1, value.shape)
            return np.asarray(value * factor, value.dtype)
        return rng.permutation(value.ravel()).reshape(value.shape)

    return [values, *([another(v) for v in values] for _ in range(SIZE - 1))]


def check(graph: Graph, values: list[Any], wide: list[int], seed: int = 0) -> None:
    """The batched graph on stacked arguments against a loop over them."""
    rows = examples(values, seed)
    for row in rows:
        for place in set(range(len(values))) - set(wide):
            row[place] = values[place]
    given = [
        np.stack([row[i] for row in rows]) if i in wide else values[i] for i in range(len(values))
    ]
    found = evaluate(verify(batch(graph, wide, SIZE)), *given)
    loop = [evaluate(graph, *row) for row in rows]
    for place, result in enumerate(found):
        expected = np.stack([outputs[place] for outputs in loop])
        assert result.dtype == expected.dtype
        tolerance = 1e-4 if result.dtype == np.float32 else 1e-10
        np.testing.assert_allclose(result, expected, rtol=tolerance, atol=tolerance)


def graph_of(sample: Sample, operands: Any) -> Graph:
    builder = Builder()
    inputs = [builder.input(aval_of(x)) for x in operands]
    return builder.graph([builder.emit(sample.op, *inputs, **sample.params)])


@pytest.mark.parametrize("sample", SAMPLES, ids=str)
def test_a_row(sample: Sample) -> None:
    operands = list(sample.operands(np.float64))
    graph = graph_of(sample, operands)
    for chosen in product((False, True), repeat=len(operands)):
        check(graph, operands, [i for i, wide in enumerate(chosen) if wide])


@pytest.mark.parametrize("sample", [s for s in SAMPLES if s.row.vjp or s.row.transpose], ids=str)
def test_the_derivative_of_a_row(sample: Sample) -> None:
    operands = list(sample.operands(np.float64))
    graph = graph_of(sample, operands)
    floats = [i for i, x in enumerate(operands) if x.dtype.kind == "f"]
    moved = tangent(graph, floats)
    values = [*operands, *(operands[i] for i in floats)]
    check(moved, values, list(range(len(values))))
    check(batch(moved, list(range(len(values))), 2), [np.stack([v, v]) for v in values], [0])


@pytest.mark.parametrize("seed", range(40))
def test_a_random_graph(seed: int) -> None:
    graph = random_graph(seed, 40)
    values = random_arguments(graph, seed)
    some = [i for i in range(len(values)) if (seed >> i) & 1]
    # Near a jump the examples differ from each other, never the loop from the batch.
    check(graph, values, some, seed)
    check(graph, values, list(range(len(values))), seed)


@pytest.mark.parametrize("seed", range(20))
def test_the_gradient_of_a_random_graph(seed: int) -> None:
    graph = random_graph(seed, 30, smooth=True)
    values = random_arguments(graph, seed)
    check(adjoint(graph, range(len(values))), values, list(range(len(values))), seed)


@pytest.mark.parametrize("animal", ZOO, ids=lambda animal: animal.name)
def test_value_and_gradient_of_an_animal(animal: Animal) -> None:
    graph, values = animal.trace()
    floats = [i for i, v in enumerate(values) if np.asarray(v).dtype.kind == "f"]
    check(adjoint(run(graph, PRIMAL), floats), values, floats)


# -- what a user calls ----------------------------------------------------------------------------


def loss(w: Any, x: Any, y: Any) -> Any:
    return (np.tanh(x @ w["w"] + w["b"]) - y) ** 2


def batch_of(count: int) -> Any:
    rng = np.random.default_rng(1)
    return {"w": X, "b": 0.1}, rng.normal(size=(count, 3)), rng.normal(size=count)


def test_per_example_gradients_are_one_program(native: None) -> None:
    w, x, y = batch_of(5)
    per_example = vmap(grad(loss), (None, 0, 0))
    found = per_example(w, x, y)
    loop = [grad(loss)(w, a, float(b)) for a, b in zip(x, y, strict=True)]
    for name in ("w", "b"):
        expected = np.stack([g[name] for g in loop])
        np.testing.assert_allclose(found[name], expected, rtol=1e-12)
    graph = per_example.graph(w, x, y)
    assert graph.count("fused") <= 2
    value, slopes = value_and_grad(lambda w: np.mean(vmap(loss, (None, 0, 0))(w, x, y)))(w)
    np.testing.assert_allclose(slopes["w"], found["w"].mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(value, np.mean([loss(w, a, b) for a, b in zip(x, y, strict=True)]))


def test_axes_of_arguments_and_results() -> None:
    f = lambda a, b: (a[:, None] * b, a)  # noqa: E731
    points = np.arange(24.0).reshape(2, 4, 3)
    for axis, out in product(range(-3, 3), (-1, 0, 1, 2)):
        a = np.moveaxis(points[0], 0, axis % 2)
        outer, own = vmap(f, (axis % 2, None), (out, 0))(a, X)
        expected = np.stack([row[:, None] * X for row in points[0]], out)
        np.testing.assert_array_equal(outer, expected)
        np.testing.assert_array_equal(own, points[0])


def test_containers_of_axes() -> None:
    tree = {"a": A, "b": (X, 2.0), "name": "t"}
    axes = {"a": 1, "b": (0, None), "name": None}

    def f(tree: Any, factor: Any) -> Any:
        return {"s": tree["a"].sum() + tree["b"][0] * tree["b"][1], "c": factor, "name": "t"}

    found = vmap(f, (axes, None), {"s": 0, "c": None, "name": None})(tree, 3.0)
    np.testing.assert_allclose(found["s"], A.sum(axis=0) + X * 2)
    assert (found["c"], found["name"]) == (3.0, "t")
    assert vmap(lambda t: t["b"], [{"a": 1, "b": None, "name": 0}])({**tree, "b": 2.0}).shape == (
        3,
    )


def test_numbers_are_repeated_and_text_is_not() -> None:
    total, number, text, nothing = vmap(lambda row: (row.sum(), 3, "a", None))(A)
    np.testing.assert_allclose(total, A.sum(axis=1))
    np.testing.assert_array_equal(number, [3, 3])
    assert (text, nothing) == ("a", None)
    assert vmap(lambda row: 3, out_axes=None)(A) == 3


def test_keyword_arguments_and_decorators() -> None:
    @vmap(in_axes=(0, None))
    def f(x: Any, factor: Any, *, shift: Any) -> Any:
        return x * factor + shift

    np.testing.assert_allclose(f(X, 2.0, shift=X), 3 * X)


def test_nested() -> None:
    table = vmap(vmap(lambda a, b: a * b + 1, (None, 0)), (0, None))(X, A[0])
    np.testing.assert_allclose(table, np.outer(X, A[0]) + 1)
    deep = vmap(vmap(vmap(np.sum)))(np.arange(24.0).reshape(2, 3, 2, 2))
    np.testing.assert_allclose(deep, np.arange(24.0).reshape(2, 3, 2, 2).sum(axis=3))


def test_around_and_inside_derivatives() -> None:
    f = lambda x: np.sum(np.sin(x) * x[0])  # noqa: E731
    slopes = jit(vmap(jacfwd(grad(f))))(A)
    np.testing.assert_allclose(slopes, np.stack([jacfwd(grad(f))(row) for row in A]), rtol=1e-13)
    inside = jacfwd(lambda x: vmap(lambda row: np.tanh(row @ x))(A))(X)
    np.testing.assert_allclose(inside, A * (1 - np.tanh(A @ X) ** 2)[:, None], rtol=1e-13)


def test_what_all_examples_share_is_computed_once() -> None:
    f = vmap(lambda w, x: np.sum(np.exp(w) * x), (None, 0))
    graph = f.graph(X, np.ones((7, 3)), stage="adjoint")
    (node,) = [node for node in graph.nodes if node.op == "exp"]
    assert node.aval.shape == (3,)


def test_indices_and_captured_arrays() -> None:
    table, place = np.arange(12.0).reshape(4, 3), np.array([3, 0, 3])
    rows = vmap(lambda table, i, x: table[i] * x, (None, 0, 0))(table, place, X)
    np.testing.assert_array_equal(rows, table[place] * X[:, None])
    own = vmap(lambda table, i: table[i, 1], (None, 0))(table, place)
    np.testing.assert_array_equal(own, table[place, 1])
    scaled = vmap(lambda x: table * x)
    np.testing.assert_array_equal(scaled(X), table * X[:, None, None])
    table[:] = 1
    np.testing.assert_array_equal(scaled(X), table * X[:, None, None])


def test_no_examples() -> None:
    assert vmap(np.sum)(np.zeros((0, 3))).shape == (0,)
    assert vmap(grad(np.sum))(np.zeros((0, 3))).shape == (0, 3)


def test_the_result_has_the_containers_of_the_function() -> None:
    found = vmap(lambda p: optree.tree_map(np.sin, p))({"a": [X, A.T]})
    assert isinstance(found["a"], list)
    np.testing.assert_allclose(found["a"][1], np.sin(A.T))
