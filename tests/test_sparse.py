"""Sparse derivatives: patterns hold every nonzero, colors are few, and the matrices are right."""

from __future__ import annotations

import copy
import importlib.util
import pickle
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest
from scipy import sparse as sp

import graphjit
from graphjit import sparse
from graphjit.errors import DTypeError, GraphJITError, ShapeError, TraceError
from graphjit.flags import override
from graphjit.ir import Builder, Graph, aval_of, evaluate
from graphjit.passes.adjoint import adjoint
from graphjit.passes.batch import batch
from graphjit.passes.pipeline import PRIMAL, run
from graphjit.passes.tangent import tangent
from graphjit.sparse import coloring as colorings
from graphjit.sparse import greedy, sets
from graphjit.sparse.coloring import Coloring, hessian_coloring, jacobian_coloring
from graphjit.sparse.compress import compressed, inputs_of, joined
from graphjit.sparse.dependence import dependence
from graphjit.sparse.known import Known
from graphjit.sparse.sets import symmetric
from random_graphs import random_arguments, random_graph
from zoo import ZOO, Animal

Array = np.ndarray[Any, Any]


@pytest.fixture(autouse=True)
def plain_python() -> Iterator[None]:
    """Programs run as plain Python, so that nothing is compiled; one test below compiles."""
    with override(jit=False):
        yield


def random(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=shape)


def differences(f: Callable[..., Any], x: Array, step: float = 1e-6) -> Array:
    """The dense Jacobian, column by column, by centred differences."""
    columns = []
    for place in range(x.size):
        move = np.zeros(x.size)
        move[place] = step
        move = move.reshape(x.shape)
        columns.append(np.ravel(np.asarray(f(x + move)) - np.asarray(f(x - move))) / (2 * step))
    return np.stack(columns, axis=1)


# -- functions with known patterns -----------------------------------------------------------------


def tridiagonal(x: Any) -> Any:
    left = np.concatenate([np.zeros(1), x[:-1]])
    right = np.concatenate([x[1:], np.zeros(1)])
    return 2 * x - left - right + np.exp(x) * x / 10


def pentadiagonal(x: Any) -> Any:
    y = np.pad(x, 2)
    return np.sin(y[2:-2]) + y[:-4] * y[4:] + y[1:-3] ** 2 - y[3:-1]


def rosenbrock(x: Any) -> Any:
    return np.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def arrow(x: Any) -> Any:
    return np.sum(x[0] * np.sin(x[1:])) + np.sum(x**4)


def arrow_residual(x: Any) -> Any:
    first = np.sum(x**2)
    return np.concatenate([first[None], x[1:] ** 3 + x[0]])


def dense_row(x: Any) -> Any:
    return np.concatenate([np.sum(x**2)[None], x[1:] ** 3])


def dense_column(x: Any) -> Any:
    return x**3 + x[0]


def blocks(x: Any) -> Any:
    rows = np.reshape(x, (-1, 3))
    return np.sum(np.prod(rows, axis=1) + np.sum(rows, axis=1) ** 3)


def block_residual(x: Any) -> Any:
    rows = np.reshape(x, (-1, 3))
    return np.tanh(rows) * np.sum(rows, axis=1, keepdims=True)


def separable(x: Any) -> Any:
    return np.sum(np.cosh(x)) + 3 * np.sum(x) - x[0]


def laplacian(u: Any) -> Any:
    """Minus the 5-point Laplacian of a grid with zeros around it, and a reaction."""
    v = np.pad(u, 1)
    inner = 4 * u - v[:-2, 1:-1] - v[2:, 1:-1] - v[1:-1, :-2] - v[1:-1, 2:]
    return inner + np.exp(u)


def band(n: int, *offsets: int) -> Array:
    return np.asarray(sum(np.eye(n, k=k) for k in offsets) != 0)


def padded_band(n: int) -> Array:
    """Five diagonals, but where one factor lies in the padding the product has no slope."""
    result = band(n, -2, -1, 0, 1, 2)
    result[[0, 1], [2, 3]] = result[[-1, -2], [-3, -4]] = False
    return result


def cross(n: int, *, row: bool, column: bool) -> Array:
    result = np.eye(n, dtype=bool)
    result[0, :] |= row
    result[:, 0] |= column
    return result


GRID = (np.kron(np.eye(4), band(4, -1, 0, 1)) + np.kron(band(4, -1, 1), np.eye(4))) != 0
JACOBIANS: dict[str, tuple[Callable[..., Any], Array, Array, int]] = {
    "tridiagonal": (tridiagonal, random(9), band(9, -1, 0, 1), 3),
    "pentadiagonal": (pentadiagonal, random(9), padded_band(9), 5),
    "arrow": (arrow_residual, random(9), cross(9, row=True, column=True), 3),
    "dense row": (dense_row, random(9), cross(9, row=True, column=False), 2),
    "dense column": (dense_column, random(9), cross(9, row=False, column=True), 2),
    "blocks": (block_residual, random(12), np.kron(np.eye(4), np.ones((3, 3))) != 0, 3),
    "grid": (laplacian, random(4, 4), GRID, 6),
    "reversed": (lambda x: x[::-1] ** 2, random(5), np.eye(5)[::-1] != 0, 1),
    "linear": (lambda x: 3 * x[1:] - x[:-1], random(5), band(5, 0, 1)[:4], 2),
    "sum": (np.sum, random(5), np.ones((1, 5)) != 0, 1),
    "nothing": (np.floor, random(3), np.zeros((3, 3)) != 0, 0),
    "triangle": (np.tril, random(3, 3), np.diag(np.tri(3).ravel()) != 0, 1),
    "running": (np.cumsum, random(4), np.tri(4) != 0, 4),
}
HESSIANS: dict[str, tuple[Callable[..., Any], Array, Array, int]] = {
    "rosenbrock": (rosenbrock, random(10), band(10, -1, 0, 1), 3),
    "arrow": (arrow, random(10), cross(10, row=True, column=True), 2),
    "blocks": (blocks, random(12), np.kron(np.eye(4), np.ones((3, 3))) != 0, 3),
    "separable": (separable, random(7), np.eye(7) != 0, 1),
    "linear": (lambda x: np.sum(2 * x) + x[0], random(4), np.zeros((4, 4)) != 0, 0),
    "product": (lambda x: x[0] * x[1], random(3), np.eye(3)[[1, 0, 2]] * [1, 1, 0] != 0, 2),
    "square of a sum": (lambda x: np.sum(x) ** 2, random(4), np.ones((4, 4)) != 0, 4),
    "chosen": (lambda x: np.sum(np.where(np.arange(4) < 2, x**3, x)), random(4),
               np.diag([1, 1, 0, 0]) != 0, 1),
}  # fmt: skip


@pytest.mark.parametrize("name", JACOBIANS)
def test_a_jacobian_has_its_pattern_colors_and_values(name: str) -> None:
    function, x, expected, colors = JACOBIANS[name]
    jacobian = sparse.jacobian(function)
    assert np.array_equal(sparse.pattern(function)(x).toarray(), expected)
    assert jacobian.coloring(x).colors == colors
    found = jacobian(x)
    assert isinstance(found, sp.csr_array)
    assert np.array_equal(found.nonzero(), np.nonzero(expected))
    np.testing.assert_allclose(found.toarray(), differences(function, x), atol=1e-7)


@pytest.mark.parametrize("name", HESSIANS)
def test_a_hessian_has_its_pattern_colors_and_values(name: str) -> None:
    function, x, expected, colors = HESSIANS[name]
    hessian = sparse.hessian(function)
    assert np.array_equal(sparse.pattern(function, order=2)(x).toarray(), expected)
    assert hessian.coloring(x).colors == colors
    found = hessian(x).toarray()
    np.testing.assert_allclose(found, differences(graphjit.grad(function), x), atol=1e-6)
    assert np.array_equal(found, found.T)
    assert not found[~expected].any()


def test_dense_rows_are_left_to_reverse_mode() -> None:
    x = random(50)
    assert repr(sparse.jacobian(arrow_residual).coloring(x)) == (
        "<50 x 50, 148 entries: 2 forward and 1 reverse products>"
    )
    assert repr(sparse.jacobian(dense_row).coloring(x)).endswith(
        "1 forward and 1 reverse products>"
    )
    assert sparse.jacobian(np.sum).coloring(x).forward == 0


@pytest.mark.parametrize("n", [30, 300])
def test_colors_do_not_grow_with_the_matrix(n: int) -> None:
    assert sparse.jacobian(tridiagonal).coloring(random(n)).colors == 3
    assert sparse.jacobian(arrow_residual).coloring(random(n)).colors == 3
    assert sparse.hessian(rosenbrock).coloring(random(n)).colors == 3
    assert sparse.hessian(arrow).coloring(random(n)).colors == 2


def test_a_compiled_program_gives_the_same() -> None:
    x = random(200)
    expected = sparse.jacobian(arrow_residual)(x).toarray(), sparse.hessian(rosenbrock)(x).toarray()
    with override(jit=True):
        found = sparse.jacobian(arrow_residual)(x), sparse.hessian(rosenbrock)(x)
    for matrix, dense in zip(found, expected, strict=True):
        np.testing.assert_allclose(matrix.toarray(), dense, rtol=1e-14)


# -- every function, random graphs -------------------------------------------------------------


def unit_products(graph: Graph, wrt: list[int], values: list[Any]) -> Array:
    """The dense Jacobian of the first output: one tangent for each column, by NumPy."""
    pushed = tangent(Graph(graph.nodes, graph.inputs, graph.outputs[:1]), wrt)
    avals = [graph.nodes[graph.inputs[i]].aval for i in wrt]
    width, start, seeds = sum(aval.size for aval in avals), 0, []
    for aval in avals:
        unit = np.eye(width, dtype=aval.dtype)[:, start : start + aval.size]
        seeds.append(unit.reshape(width, *aval.shape))
        start += aval.size
    every = range(len(graph.inputs), len(pushed.inputs))
    columns = evaluate(batch(pushed, every, width), *values, *seeds)[1]
    return np.asarray(columns).reshape(width, -1).T


def gradient_of(graph: Graph, wrt: list[int]) -> Graph:
    """The gradient of the first output as one vector."""
    both = adjoint(run(graph, PRIMAL), wrt)
    builder = Builder()
    place = builder.inline(both, inputs_of(builder, both))
    found = [place[i] for i in both.outputs[len(graph.outputs) :]]
    return run(builder.graph([joined(builder, found, np.dtype(float))]), PRIMAL)


def check(graph: Graph, wrt: list[int], values: list[Any], *, hessian: bool = False) -> None:
    """The pattern holds all nonzeros, and the compressed program has all entries."""
    pattern = dependence(graph, wrt, Known(graph, []))
    dense = unit_products(graph, wrt, values)
    assert not dense[~pattern.toarray()].any()
    pattern = symmetric(pattern) if hessian else pattern
    coloring = (hessian_coloring if hessian else jacobian_coloring)(pattern)
    (data,) = evaluate(compressed(graph, wrt, coloring), *values)
    found = sp.csr_array((data, pattern.indices, pattern.indptr), shape=pattern.shape).toarray()
    scale = max(1.0, float(np.abs(dense).max(initial=0)))
    tolerance = 1e-4 if any(np.asarray(v).dtype == np.float32 for v in values) else 1e-9
    np.testing.assert_allclose(found, dense, atol=tolerance * scale)


def float_inputs(graph: Graph, count: int) -> list[int]:
    return [i for i in range(count) if graph.nodes[graph.inputs[i]].aval.inexact]


@pytest.mark.parametrize("animal", ZOO, ids=lambda animal: animal.name)
def test_the_zoo_has_sparse_derivatives(animal: Animal) -> None:
    graph, values = animal.trace()
    graph = run(graph, PRIMAL)
    wrt = float_inputs(graph, len(graph.inputs))
    while sum(graph.nodes[graph.inputs[i]].aval.size for i in wrt) > 150:
        wrt = wrt[1:]
    check(graph, wrt, values)
    check(gradient_of(graph, wrt), wrt, values, hessian=True)


@pytest.mark.parametrize("seed", range(30))
def test_random_graphs_have_sparse_derivatives(seed: int) -> None:
    graph = random_graph(seed, 30, smooth=True)
    values = random_arguments(graph, seed)
    wrt = float_inputs(graph, len(graph.inputs))
    check(gradient_of(graph, wrt), wrt, values, hessian=True)
    vectors = [n.id for n in graph.nodes if n.aval.inexact and n.aval.size > 1 and n.inputs]
    for ident in vectors[-4:]:
        check(Graph(graph.nodes, graph.inputs, (ident,)), wrt, values)


@pytest.mark.parametrize("seed", range(20))
def test_the_pattern_holds_what_differences_find(seed: int) -> None:
    """Differences share nothing with the rules."""
    graph = random_graph(seed, 30, smooth=True)
    values = [v.astype(float) for v in random_arguments(graph, seed)]
    if any(graph.nodes[i].aval.dtype != np.float64 for i in graph.inputs):
        values = random_arguments(graph, seed)
    wrt = float_inputs(graph, len(graph.inputs))
    vectors = [n.id for n in graph.nodes if n.aval.dtype == np.float64 and n.aval.size > 1]
    ident = next(i for i in reversed(vectors) if graph.nodes[i].inputs)
    graph = Graph(graph.nodes, graph.inputs, (ident,))
    pattern = dependence(graph, wrt, Known(graph, [])).toarray()
    offset = 0
    for place in wrt:
        for element in range(np.size(values[place])):
            moved = [v.copy() for v in values]
            moved[place].reshape(-1)[element] += 0.125
            change = evaluate(graph, *moved)[0] - evaluate(graph, *values)[0]
            assert not np.ravel(change)[~pattern[:, offset + element]].any()
        offset += np.size(values[place])


# -- indices and masks --------------------------------------------------------------------------


def neighbours(n: int, k: int, seed: int = 0) -> tuple[Array, Array]:
    """A random sparse matrix, each row's columns and values."""
    rng = np.random.default_rng(seed)
    return np.stack([rng.permutation(n)[:k] for _ in range(n)]), rng.normal(size=(n, k))


def test_a_product_with_a_random_sparse_matrix() -> None:
    columns, values = neighbours(60, 3)

    def residual(x: Any) -> Any:
        return np.tanh(np.sum(values * x[columns], axis=1)) + x**2

    x = random(60)
    expected = np.eye(60, dtype=bool)
    expected[np.arange(60)[:, None], columns] = True
    jacobian = sparse.jacobian(residual)
    assert np.array_equal(jacobian.pattern(x).toarray(), expected)
    assert jacobian.coloring(x).colors < 20
    np.testing.assert_allclose(jacobian(x).toarray(), differences(residual, x), atol=1e-7)

    def energy(x: Any) -> Any:
        return np.sum(np.cos(residual(x)))

    hessian = sparse.hessian(energy)
    np.testing.assert_allclose(
        hessian(x).toarray(), differences(graphjit.grad(energy), x), atol=1e-5
    )
    # Known nonlinear interactions: two columns that some row has.
    assert np.array_equal(hessian.pattern(x).toarray(), (expected.T.astype(int) @ expected) > 0)


def test_a_changed_index_makes_another_pattern() -> None:
    where = np.arange(400)

    def pick(x: Any) -> Any:
        return x[where] ** 2

    x = random(400)
    jacobian = sparse.jacobian(pick)
    assert np.array_equal(jacobian(x).indices, np.arange(400))
    where[:] = where[::-1].copy()
    np.testing.assert_array_equal(jacobian(x).toarray(), np.diag(2 * x)[::-1])
    assert jacobian.stats.recompiles == [
        "an index or mask that the sparsity pattern relies on changed"
    ]
    jacobian(x + 1)
    assert jacobian.stats.specialisations == 2


def test_an_index_among_the_arguments_can_be_any() -> None:
    jacobian = sparse.jacobian(lambda x, i: x[i] ** 2)
    x = random(4)
    assert jacobian.pattern(x, np.array([0, 1])).toarray().all()
    for index in ([0, 1], [3, 3], [-1, 0]):
        expected = np.zeros((2, 4))
        expected[[0, 1], index] = 2 * x[index]
        np.testing.assert_allclose(jacobian(x, np.array(index)).toarray(), expected)
    assert jacobian.stats.specialisations == 1


def test_zeros_of_captured_matrices_count() -> None:
    matrix = np.eye(30, k=1) - np.eye(30)
    jacobian = sparse.jacobian(lambda x: np.sin(matrix @ x))
    x = random(30)
    assert jacobian.coloring(x).colors == 2
    expected = np.cos(matrix @ x)[:, None] * matrix
    np.testing.assert_allclose(jacobian(x).toarray(), expected)
    matrix[:] *= 2  # the same zeros: the same program
    expected = np.cos(matrix @ x)[:, None] * matrix
    np.testing.assert_allclose(jacobian(x).toarray(), expected)
    assert jacobian.stats.specialisations == 1
    matrix[0, 29] = 1
    expected = np.cos(matrix @ x)[:, None] * matrix
    np.testing.assert_allclose(jacobian(x).toarray(), expected)
    assert jacobian.stats.recompiles == [
        "the zeros of an array that the sparsity pattern relies on changed"
    ]


def test_masks_choose() -> None:
    mask = np.arange(100) % 2 == 0
    weights = np.where(np.arange(100) < 50, 0.0, 1.5)

    def function(x: Any) -> Any:
        return np.where(mask, x**2, x[50] * np.sin(x)[::-1]) + weights * x[::-1]

    x = random(100)
    expected = np.diag(mask) | (np.eye(100)[::-1] * weights[:, None] != 0)
    expected |= np.eye(100, dtype=bool)[::-1] & ~mask[:, None]
    expected[~mask, 50] = True
    assert np.array_equal(sparse.pattern(function)(x).toarray(), expected)


def test_an_operand_without_a_slope_does_not_count() -> None:
    pattern = sparse.pattern(lambda x: np.copysign(x[:2], x[2:]))(random(4))
    assert np.array_equal(pattern.toarray(), np.eye(2, 4) != 0)


def test_a_loop_mixes_all_that_enters_it() -> None:
    def function(x: Any) -> Any:
        def body(_: Any, y: Any) -> Any:
            return np.sin(y) + x / 2

        return graphjit.fori_loop(0, 3, body, x) + x[::-1]

    x = random(5)
    jacobian = sparse.jacobian(function)
    assert jacobian.pattern(x).toarray().all()
    np.testing.assert_allclose(jacobian(x).toarray(), differences(function, x), atol=1e-8)


# -- arguments and results -----------------------------------------------------------------------


def test_columns_follow_the_leaves_of_a_container() -> None:
    def function(p: Any, scale: Any) -> Any:
        return p["a"] * p["b"][1] + scale * p["a"][::-1] + p["b"][0]

    p: dict[str, Any] = {"a": random(3), "b": (2.0, random(3, seed=1))}
    scale = 0.5
    jacobian = sparse.jacobian(function)(p, scale).toarray()
    expected = [np.diag(p["b"][1]) + scale * np.eye(3)[::-1], np.ones((3, 1)), np.diag(p["a"])]
    np.testing.assert_allclose(jacobian, np.hstack(expected))
    both = sparse.jacobian(function, argnums=(1, 0))(p, scale).toarray()
    np.testing.assert_allclose(both, np.hstack([p["a"][::-1][:, None], *expected]))


def test_a_hessian_of_several_arguments_has_the_mixed_derivatives() -> None:
    def function(x: Any, y: Any) -> Any:
        return np.sum(x**2 * y)

    x, y = random(3), random(3, seed=1)
    found = sparse.hessian(function, argnums=(0, 1))(x, y).toarray()
    expected = [[np.diag(2 * y), np.diag(2 * x)], [np.diag(2 * x), np.zeros((3, 3))]]
    np.testing.assert_allclose(found, np.block(expected))


def test_float32_stays_float32() -> None:
    x = random(6).astype(np.float32)
    for function, make in ((tridiagonal, sparse.jacobian), (rosenbrock, sparse.hessian)):
        single = make(lambda x, f=function: f(x).astype(np.float32))(x)
        assert single.dtype == np.float32
        np.testing.assert_allclose(
            single.toarray(), make(function)(x.astype(float)).toarray(), 1e-4
        )


@pytest.mark.parametrize("shape", [(), (1,), (0,), (2, 3)])
def test_any_shape_has_a_matrix(shape: tuple[int, ...]) -> None:
    x = random(*shape)
    size = int(np.prod(shape))
    found = sparse.jacobian(lambda x: x**2)(x)
    np.testing.assert_allclose(found.toarray(), np.diag(np.ravel(2 * x)).reshape(size, size))
    curved = sparse.hessian(lambda x: np.sum(x**3))(x)
    np.testing.assert_allclose(curved.toarray(), np.diag(np.ravel(6 * x)).reshape(size, size))


def test_programs_are_reused_and_results_are_not() -> None:
    jacobian = sparse.jacobian(tridiagonal)
    x = random(8)
    first, second = jacobian(x), jacobian(x)
    assert jacobian.stats.specialisations == 1
    parts = [(m.data, m.indices, m.indptr) for m in (first, second)]
    assert not any(np.shares_memory(a, b) for a in parts[0] for b in parts[1])
    first.data[:] = 0
    first.eliminate_zeros()
    assert first.nnz == 0
    np.testing.assert_array_equal(jacobian(x).toarray(), second.toarray())
    pattern = jacobian.pattern(x)
    pattern.data[:] = False
    assert jacobian.pattern(x).nnz == 22
    jacobian(random(9))
    assert jacobian.stats.recompiles == ["argument x: f64[8] -> f64[9]"]
    assert "3 products for 9 columns" in repr(jacobian.stats)


def test_the_graph_computes_the_entries() -> None:
    jacobian, x = sparse.jacobian(tridiagonal), random(8)
    for stage in ("adjoint", "fused"):
        (data,) = evaluate(jacobian.graph(x, stage=stage), x)
        np.testing.assert_allclose(data, jacobian(x).data)
    assert "gather" in jacobian.source(x)


class Model:
    def __init__(self, power: float) -> None:
        self.power = power

    @sparse.jacobian
    def slope(self, x: Any) -> Any:
        return x**self.power

    @sparse.hessian(argnums=1)
    def curvature(self, scale: Any, x: Any) -> Any:
        return scale * np.sum(x**self.power)


def test_it_is_an_object_like_other_compiled_functions() -> None:
    x = np.array([1.0, 2.0])
    assert Model(3.0).slope(x).diagonal().tolist() == [3.0, 12.0]
    jacobian = sparse.jacobian(tridiagonal)
    for twin in (
        copy.copy(jacobian),
        copy.deepcopy(jacobian),
        pickle.loads(pickle.dumps(jacobian)),
    ):
        np.testing.assert_array_equal(twin(x).toarray(), jacobian(x).toarray())
    assert sparse.jacobian(lambda x, n: x**n)(x, 3).diagonal().tolist() == [3.0, 12.0]
    named = sparse.hessian(lambda x, kind: np.sum(np.sin(x)), static_argnames="kind")
    np.testing.assert_allclose(named(x, kind="a").diagonal(), -np.sin(x))


# -- colorings -----------------------------------------------------------------------------------


def random_pattern(n: int, m: int, density: float, seed: int) -> Any:
    rng = np.random.default_rng(seed)
    pattern = sp.csr_array(rng.random((n, m)) < density)
    pattern.sort_indices()
    return pattern


def recovered(coloring: Coloring, dense: Array) -> Array:
    """The entries read from products that are computed here, densely."""
    forward = [dense @ (coloring.columns == c) for c in range(coloring.forward)]
    reverse = [(coloring.rows == c) @ dense for c in range(coloring.reverse)]
    return np.concatenate([*forward, *reverse, np.zeros(0)])[coloring.places]


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("density", [0.02, 0.1, 0.5, 1.0])
def test_every_entry_can_be_read_from_the_products(seed: int, density: float) -> None:
    pattern = random_pattern(17, 23, density, seed)
    dense = pattern.toarray() * random(17, 23, seed=seed)
    coloring = jacobian_coloring(pattern)
    np.testing.assert_allclose(recovered(coloring, dense), dense[pattern.nonzero()], atol=1e-14)
    assert coloring.colors <= 17

    square = symmetric(random_pattern(19, 19, density / 2, seed))
    dense = random(19, 19, seed=seed)
    dense = square.toarray() * (dense + dense.T)
    coloring = hessian_coloring(square)
    np.testing.assert_allclose(recovered(coloring, dense), dense[square.nonzero()], atol=1e-14)


@pytest.mark.parametrize("seed", range(5))
def test_loops_and_networkx_find_the_same_colors(seed: int, monkeypatch: Any) -> None:
    pattern = random_pattern(40, 30, 0.07, seed)
    order = np.random.default_rng(seed).permutation(30)
    by_networkx = colorings.colored(pattern, order)
    monkeypatch.setattr(colorings, "SHORT", 0)
    np.testing.assert_array_equal(colorings.colored(pattern, order), by_networkx)


def test_loops_are_the_same_compiled() -> None:
    pattern = symmetric(random_pattern(60, 60, 0.05, 0))
    order = np.arange(60)
    plain = (
        greedy.column_colors(pattern, pattern.tocsc(), order, 0),
        greedy.star_colors(pattern, order, 60),
    )
    with override(jit=True), pytest.MonkeyPatch.context() as patch:
        patch.setattr(greedy, "SHORT", 0)
        compiled = (
            greedy.column_colors(pattern, pattern.tocsc(), order, 1),
            greedy.star_colors(pattern, order, 60),
        )
    for a, b in zip(plain, compiled, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("seed", range(10))
def test_a_star_coloring_has_no_path_of_two_colors(seed: int) -> None:
    pattern = symmetric(random_pattern(30, 30, 0.06, seed))
    colors = greedy.star_colors(pattern, np.arange(30), 30)
    assert colors is not None
    network = nx.Graph(pattern.toarray())
    network.remove_edges_from(list(nx.selfloop_edges(network)))
    for v, w in network.edges:
        assert colors[v] != colors[w]
        for x in network[w]:
            for y in network[x]:
                assert (
                    x == v or y in {v, w} or len({colors[v], colors[w], colors[x], colors[y]}) > 2
                )
    assert greedy.star_colors(pattern, np.arange(30), 1) is None


def test_large_bands_take_little() -> None:
    """A hundred thousand columns; in plain Python this would be minutes of dense work."""
    x = random(100_000)
    pattern = sparse.pattern(rosenbrock, order=2)(x)
    assert pattern.nnz == 299_998
    assert sparse.pattern(tridiagonal)(x).nnz == 299_998


def test_indices_are_as_short_as_solvers_take_them() -> None:
    for matrix in (sparse.jacobian(tridiagonal)(random(8)), sparse.hessian(rosenbrock)(random(8))):
        assert (matrix.indices.dtype, matrix.indptr.dtype) == (np.int32, np.int32)
        assert matrix.has_sorted_indices


def test_the_benchmark_agrees_with_what_it_compares_with(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(__file__).resolve().parent.parent / "benchmarks"
    monkeypatch.syspath_prepend(str(folder))
    # By its own name it would hide the package sparse from libraries that look for that.
    spec = importlib.util.spec_from_file_location("sparse_benchmark", folder / "sparse.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    cases = [
        ("tridiagonal", module.residual, module.residual_by_hand, 1, 3),
        ("rosenbrock", module.rosenbrock, module.rosenbrock_by_hand, 2, 3),
        ("band", module.banded(2), module.banded_by_hand(2), 1, 5),
    ]
    for name, function, by_hand, order, colors in cases:
        result = module.measure(name, function, by_hand, 12, order=order, dense=True)
        assert result["colors"] == colors
        assert len(module.row(result)) == len(module.HEAD) + 1


# -- refusals ------------------------------------------------------------------------------------


def total_ratio(x: Any) -> Any:
    return x / np.sum(x)


def inside(x: Any) -> Any:
    return sparse.jacobian(tridiagonal)(x)


HERE = __file__
REFUSED: dict[str, tuple[Callable[[], Any], type[GraphJITError], str]] = {
    "vector Hessian": (lambda: sparse.hessian(tridiagonal)(random(3)), ShapeError,
                       r"a Hessian needs a scalar, but the function returned an array"),
    "two results": (lambda: sparse.jacobian(lambda x: (x, x))(random(3)), TraceError,
                    r"one array\n  operands: it returned \(\*, \*\)"),
    "no result": (lambda: sparse.jacobian(lambda x: "no")(random(3)), TraceError,
                  "it returned str"),
    "integers": (lambda: sparse.jacobian(tridiagonal)(np.arange(3)), DTypeError,
                 "integer argument x cannot be differentiated"),
    "integer result": (lambda: sparse.jacobian(np.argmax)(random(3)), DTypeError,
                       "no float, so it has no Jacobian"),
    "integer loss": (lambda: sparse.hessian(np.argmax)(random(3)), DTypeError,
                     "no float, so it has no Hessian"),
    "no such argument": (lambda: sparse.jacobian(tridiagonal, 1)(random(3)), TraceError,
                         "argnums=1 names no positional argument"),
    "nested": (lambda: graphjit.jit(inside)(random(3)), TraceError,
               "a sparse matrix cannot be part of a traced function"),
    "dense": (lambda: sparse.jacobian(total_ratio)(random(100_000)), ShapeError,
              "not sparse: here 10,000,000,000 pairs"),
    "dense Hessian": (lambda: sparse.hessian(lambda x: np.sum(x) ** 2)(random(100_000)),
                      ShapeError, "the derivative is not sparse"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_sparse_derivative_is_refused(name: str) -> None:
    call, error, words = REFUSED[name]
    with pytest.raises(error, match=words) as caught:
        call()
    assert re.search(rf"at {re.escape(HERE)}:\d+\n      \S", str(caught.value))


def test_too_many_products_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sets, "LIMIT", 999)
    with pytest.raises(ShapeError, match="30 products or more of 60 numbers each"):
        sparse.jacobian(lambda x: np.concatenate([np.cumsum(x), x]))(random(30))
    with pytest.raises(ShapeError, match="32 products or more of 33 numbers each"):
        hessian_coloring(sp.block_diag([np.ones((32, 32), bool), [[True]]], format="csr"))


def test_the_order_of_a_pattern_is_one_or_two() -> None:
    with pytest.raises(ValueError, match="order must be 1"):
        sparse.pattern(tridiagonal, order=3)


def test_an_error_of_the_index_names_the_line() -> None:
    far = np.array([0, 7])
    with pytest.raises(IndexError, match="out of bounds"):
        sparse.jacobian(lambda x: x[far])(random(3))


def test_captured_values_are_read_through_layouts() -> None:
    builder = Builder()
    x, a = builder.input(aval_of(random(2, 3))), np.array([[0.0, 1.0], [2.0, 0.0], [3.0, 4.0]])
    hidden = builder.capture(a, aval_of(a))
    turned = builder.emit("transpose", hidden, axes=(1, 0))
    graph = builder.graph([builder.emit("multiply", x, builder.emit("negative", turned))])
    found = dependence(graph, [0], Known(graph, [a]))
    assert np.array_equal(found.toarray(), np.diag(a.T.ravel() != 0))
