"""Every way of differentiating gives the same: on rows, on random graphs, on the zoo, nested."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
import optree
import pytest

import graphjit
from graphjit import (
    grad,
    hessian,
    hvp,
    jacfwd,
    jacobian,
    jacrev,
    jit,
    jvp,
    stop_gradient,
    train,
    value_and_grad,
    vjp,
    vmap,
)
from graphjit.flags import override
from graphjit.ir import Builder, Graph, Symbol, aval_of, evaluate
from graphjit.ir.verify import verify
from graphjit.passes.adjoint import adjoint, pullback
from graphjit.passes.pipeline import PRIMAL, parse_pipeline, run
from graphjit.passes.split import split
from graphjit.passes.tangent import tangent
from graphjit.transforms.forward import Pushforward, pushforward
from graphjit.transforms.known import known
from graphjit.transforms.reverse import Pullback, pullback_of
from random_graphs import random_arguments, random_graph
from samples import SAMPLES, Sample
from zoo import ZOO, Animal

Array = np.ndarray[Any, Any]
STEP = 1e-6
X = np.array([0.3, -1.2, 2.0])
A = np.arange(6.0).reshape(2, 3) / 5
SMOOTH = [s for s in SAMPLES if s.row.partials or s.row.transpose or s.row.vjp]
smooth = pytest.mark.parametrize("sample", SMOOTH, ids=str)
seeds = pytest.mark.parametrize("seed", range(30))


def targets(animal: Animal) -> tuple[int, ...]:
    """The arguments of an animal that hold floats only."""
    args = animal.args()
    leaves = [optree.tree_leaves(arg) for arg in args]
    return tuple(
        place
        for place, own in enumerate(leaves)
        if own and all(np.asarray(leaf).dtype == np.float64 for leaf in own)
    )


DOUBLE = [animal for animal in ZOO if targets(animal)]
animals = pytest.mark.parametrize("animal", DOUBLE, ids=lambda animal: animal.name)


@pytest.fixture
def python() -> Iterator[None]:
    """Programs run as plain Python: breadth without compiling."""
    with override(jit=False):
        yield


def graph_of(sample: Sample, operands: tuple[Array, ...]) -> Graph:
    """The row as a graph of one node."""
    builder = Builder()
    inputs = [builder.input(aval_of(x)) for x in operands]
    return builder.graph([builder.emit(sample.op, *inputs, **sample.params)])


def floats(graph: Graph, ids: tuple[int, ...]) -> list[int]:
    return [place for place, i in enumerate(ids) if graph.nodes[i].aval.inexact]


def directions(values: list[Any], seed: int) -> list[Array]:
    rng = np.random.default_rng(seed)
    return [np.asarray(rng.normal(size=np.shape(v)), np.asarray(v).dtype) for v in values]


def duality(graph: Graph, values: list[Any], seed: int = 0) -> None:
    """<v, J u> by the tangent and by the cotangent."""
    wrt, of = floats(graph, graph.inputs), floats(graph, graph.outputs)
    forward, backward = verify(tangent(graph, wrt)), verify(pullback(graph, wrt))
    outputs = list(evaluate(graph, *values))
    u = directions([values[i] for i in wrt], seed)
    v = directions([outputs[i] for i in of], seed + 1)
    moved = evaluate(forward, *values, *u)
    pulled = evaluate(backward, *values, *v)
    for old, one, other in zip(outputs, moved, pulled, strict=False):
        np.testing.assert_array_equal(old, one)
        np.testing.assert_array_equal(old, other)
    count = len(outputs)
    left = sum(np.sum(a * b) for a, b in zip(v, moved[count:], strict=True))
    right = sum(np.sum(a * b) for a, b in zip(u, pulled[count:], strict=True))
    scale = sum(np.sum(np.abs(a * b)) for a, b in zip(v, moved[count:], strict=True))
    assert abs(left - right) <= 1e-12 * max(scale, 1.0)


@smooth
def test_tangent_and_cotangent_of_a_row_agree(sample: Sample) -> None:
    operands = sample.operands(np.float64)
    duality(graph_of(sample, operands), list(operands))


@smooth
def test_tangent_and_cotangent_of_a_rows_derivative_agree(sample: Sample) -> None:
    """Order 2: the tangent of the tangent against the cotangent of the tangent."""
    operands = list(sample.operands(np.float64))
    graph = graph_of(sample, tuple(operands))
    wrt = floats(graph, graph.inputs)
    u = directions([operands[i] for i in wrt], 5)
    duality(tangent(graph, wrt), [*operands, *u], seed=7)


@smooth
def test_the_second_tangent_of_a_row_agrees_with_differences(sample: Sample) -> None:
    operands = list(sample.operands(np.float64))
    graph = graph_of(sample, tuple(operands))
    wrt = floats(graph, graph.inputs)
    u = directions([operands[i] for i in wrt], 5)
    first = tangent(graph, wrt)
    second = tangent(first, wrt)
    found = evaluate(second, *operands, *u, *u)[-1]

    def moved(step: float) -> Any:
        there = list(operands)
        for i, direction in zip(wrt, u, strict=True):
            there[i] = there[i] + step * direction
        return evaluate(first, *there, *u)[1]

    expected = (moved(STEP) - moved(-STEP)) / (2 * STEP)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-4)


@seeds
def test_tangent_and_cotangent_of_a_random_graph_agree(seed: int) -> None:
    graph = random_graph(seed, 40, smooth=True)
    double = [i for i in graph.inputs if graph.nodes[i].aval.dtype == np.float64]
    values = random_arguments(graph, seed)
    wrt = [graph.inputs.index(i) for i in double]
    u = directions([values[i] for i in wrt], seed)
    (slope,) = evaluate(tangent(graph, wrt), *values, *u)[1:]
    gradients = evaluate(adjoint(graph, wrt), *values)[1:]
    terms = [np.asarray(a * b, float) for a, b in zip(u, gradients, strict=True)]
    scale = sum(np.sum(np.abs(term)) for term in terms)
    # Some values on the way are float32.
    assert abs(slope - sum(np.sum(term) for term in terms)) <= 1e-4 * max(scale, 1.0)


@animals
def test_the_tangent_of_the_gradient_is_the_tangent_of_its_own_gradient(animal: Animal) -> None:
    """The Hessian is symmetric: <v, H u> = <u, H v>, forward over reverse."""
    graph, values = animal.trace()
    graph = run(graph, PRIMAL)
    wrt = floats(graph, graph.inputs)
    double = [i for i in wrt if np.asarray(values[i]).dtype == np.float64]
    gradient = adjoint(graph, double)
    gradient = Graph(gradient.nodes, gradient.inputs, gradient.outputs[1:])
    product = verify(tangent(gradient, double))
    points = [values[i] for i in double]
    u, v = directions(points, 1), directions(points, 2)
    forms = []
    for one, other in ((u, v), (v, u)):
        columns = evaluate(product, *values, *one)[len(double) :]
        forms.append(sum(np.sum(a * b) for a, b in zip(other, columns, strict=True)))
    assert np.isfinite(forms[0])
    np.testing.assert_allclose(forms[0], forms[1], rtol=1e-7, atol=1e-7)


# -- the zoo, through what a user calls -----------------------------------------------------------


def small(animal: Animal) -> bool:
    args = animal.args()
    total = sum(np.size(x) for i in targets(animal) for x in optree.tree_leaves(args[i]))
    return bool(targets(animal)) and total <= 40 and animal.name != "deep_chain"


SMALL = [animal for animal in ZOO if small(animal)]


@pytest.mark.usefixtures("python")
@pytest.mark.parametrize("animal", SMALL, ids=lambda animal: animal.name)
def test_both_jacobians_the_hessian_and_its_product_agree(animal: Animal) -> None:
    args, argnums = animal.args(), targets(animal)
    slopes = grad(animal.function, argnums)

    def gradient(*args: Any) -> Any:
        return slopes(*args)

    whole = hessian(animal.function, argnums)(*args)
    other = jacrev(gradient, argnums)(*args)
    blocks, mirrored = optree.tree_leaves(whole), optree.tree_leaves(other)
    for one, two in zip(blocks, mirrored, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-7, atol=1e-8)
    matrix = stacked(whole, [args[i] for i in argnums])
    np.testing.assert_allclose(matrix, matrix.T, rtol=1e-7, atol=1e-8)
    points: Any = [args[i] for i in argnums]
    leaves, spec = optree.tree_flatten(points)
    vector = optree.tree_unflatten(spec, directions(leaves, 3))
    tangents: list[Any] = [None] * len(args)
    for place, direction in zip(argnums, vector, strict=True):
        tangents[place] = direction
    found = optree.tree_leaves(hvp(animal.function, args, tuple(tangents)))
    flat = np.concatenate([np.ravel(leaf) for leaf in optree.tree_leaves(vector)])
    product = np.concatenate([np.ravel(leaf) for leaf in found])
    np.testing.assert_allclose(product, matrix @ flat, rtol=1e-7, atol=1e-7)


def stacked(blocks: Any, points: Any) -> Array:
    """The matrix of a Hessian's blocks."""
    sizes = [np.size(leaf) for leaf in optree.tree_leaves(points)]
    leaves = iter(optree.tree_leaves(blocks))
    return np.block([[np.reshape(next(leaves), (m, n)) for n in sizes] for m in sizes])


@pytest.mark.usefixtures("python")
@animals
def test_the_tangent_of_an_animal_is_its_gradient_along_the_direction(animal: Animal) -> None:
    args, argnums = animal.args(), targets(animal)
    points: Any = [args[i] for i in argnums]
    leaves, spec = optree.tree_flatten(points)
    moves = directions(leaves, 4)
    tangents: list[Any] = [None] * len(args)
    for place, tree in zip(argnums, optree.tree_unflatten(spec, moves), strict=True):
        tangents[place] = tree
    value, slope = jvp(animal.function, args, tuple(tangents))
    expected, gradients = value_and_grad(animal.function, argnums)(*args)
    along = [np.sum(a * b) for a, b in zip(moves, optree.tree_leaves(gradients), strict=True)]
    np.testing.assert_allclose(value, expected, rtol=1e-12)
    np.testing.assert_allclose(slope, sum(along), rtol=1e-8, atol=1e-8)


# -- jvp and vjp ----------------------------------------------------------------------------------


def parts(x: Any, scale: Any) -> Any:
    """A function of an array and a number with a container as its result."""
    return {"wave": np.sin(x) * scale, "total": np.sum(x * scale), "name": "parts", "one": 1.0}


def test_jvp_and_vjp_of_containers() -> None:
    value, moved = jvp(parts, (X, 2.0), (X, 0.5))
    np.testing.assert_allclose(value["wave"], np.sin(X) * 2)
    np.testing.assert_allclose(moved["wave"], np.cos(X) * X * 2 + np.sin(X) * 0.5, rtol=1e-14)
    np.testing.assert_allclose(moved["total"], np.sum(X) * 2 + np.sum(X) * 0.5, rtol=1e-14)
    assert (value["name"], moved["name"], moved["one"]) == ("parts", None, 0.0)
    out, pull = vjp(parts, X, 2.0)
    np.testing.assert_array_equal(out["wave"], value["wave"])
    cotangent = {"wave": np.ones(3), "total": 3.0, "name": None, "one": 1.0}
    dx, dscale = pull(cotangent)
    np.testing.assert_allclose(dx, np.cos(X) * 2 + 6, rtol=1e-14)
    np.testing.assert_allclose(dscale, np.sum(np.sin(X)) + 3 * np.sum(X), rtol=1e-14)
    again = pull({**cotangent, "total": 0.0})[0]
    np.testing.assert_allclose(again, np.cos(X) * 2, rtol=1e-14)


@pytest.mark.usefixtures("python")
def test_pull_reads_what_was_there_when_vjp_was_called() -> None:
    x = X.copy()
    _, pull = vjp(lambda x: x**3, x)
    x[:] = 0
    np.testing.assert_allclose(pull(np.ones(3))[0], 3 * X**2, rtol=1e-14)


@pytest.mark.usefixtures("python")
def test_pull_can_be_traced_batched_and_differentiated() -> None:
    _, pull = vjp(lambda x: np.tanh(A @ x), X)
    rows = jit(vmap(lambda v: pull(v)[0]))(np.eye(2))
    np.testing.assert_allclose(rows, jacrev(lambda x: np.tanh(A @ x))(X), rtol=1e-14)

    def squared(x: Any) -> Any:
        out, back = vjp(lambda x: np.tanh(A @ x), x)
        return np.sum(back(out)[0] ** 2)

    graphjit.check_grads(squared, (X,))


@pytest.mark.usefixtures("python")
def test_has_aux() -> None:
    def f(x: Any) -> Any:
        return np.sum(x**2), {"count": len(x), "x": x, "places": np.argmax(x)}

    value, moved, aux = jvp(f, (X,), (np.ones(3),), has_aux=True)
    np.testing.assert_allclose([value, moved], [np.sum(X**2), np.sum(2 * X)], rtol=1e-14)
    assert aux["count"] == 3
    out, pull, aux = vjp(f, X, has_aux=True)
    assert (out, aux["places"]) == (value, 2)
    np.testing.assert_allclose(pull(2.0)[0], 4 * X)
    for mode in (jacfwd, jacrev):
        slopes, aux = mode(f, has_aux=True)(X)
        np.testing.assert_allclose(slopes, 2 * X)
        np.testing.assert_array_equal(aux["x"], X)
    curvature, aux = hessian(f, has_aux=True)(X)
    np.testing.assert_allclose(curvature, 2 * np.eye(3))
    assert aux["count"] == 3


def test_jvp_and_vjp_keep_their_programs_for_the_same_function() -> None:
    def f(x: Any) -> Any:
        return x**2

    for x in (1.0, 2.0, 3.0):
        assert jvp(f, (x,), (1.0,)) == (x**2, 2 * x)
        assert vjp(f, x)[1](1.0) == (2 * x,)
    for kept in (known(pushforward, f, Pushforward(), None), known(pullback_of, f, Pullback())):
        assert (kept.stats.calls, kept.stats.specialisations) == (3, 1)


def test_the_halves_of_vjp_share_no_computation() -> None:
    graph = run(pullback(graph_at(lambda x: np.exp(np.sin(x)), X), [0]), PRIMAL)
    first, second = split(graph, [1], 1)
    verify(first)
    verify(second)
    assert {node.op for node in second.nodes} <= {"input", "multiply", "strong_multiply"}
    assert first.count("cos") == first.count("exp") == 1


def graph_at(f: Any, *args: Any) -> Graph:
    builder = Builder()
    symbols = [Symbol(builder, builder.input(aval_of(a))) for a in args]
    return builder.graph([f(*symbols).id])


@pytest.mark.usefixtures("python")
def test_float32_stays_float32() -> None:
    x = X.astype(np.float32)
    value, moved = jvp(lambda x: np.sin(x) * 2.0, (x,), (x,))
    assert value.dtype == moved.dtype == np.float32
    assert jvp(np.sin, (np.float32(1),), (1.0,))[1].dtype == np.float32
    for found in (jacfwd(np.sin)(x), jacrev(np.sin)(x), vmap(np.sin)(x), hvp(np.prod, (x,), (x,))):
        assert found.dtype == np.float32


# -- Jacobians and Hessians -----------------------------------------------------------------------


@pytest.mark.usefixtures("python")
def test_a_jacobian_has_the_structure_of_result_and_argument() -> None:
    params: Any = {"w": np.ones((3, 2)), "b": np.zeros(2), "kind": "tanh"}

    def f(params: Any, x: Any) -> Any:
        return {"y": np.tanh(x @ params["w"] + params["b"]), "norm": np.sum(params["w"] ** 2)}

    for mode in (jacfwd, jacrev, jacobian):
        found = mode(f)(params, A)
        assert found["y"]["w"].shape == (2, 2, 3, 2)
        assert found["y"]["b"].shape == (2, 2, 2)
        np.testing.assert_allclose(found["norm"]["w"], 2 * params["w"])
        np.testing.assert_array_equal(found["norm"]["b"], np.zeros(2))
        assert found["y"]["kind"] is None
        both = mode(f, (0, 1))(params, A)
        assert isinstance(both["y"], tuple)
        assert both["y"][1].shape == (2, 2, 2, 3)


@pytest.mark.usefixtures("python")
def test_jacobian_picks_the_cheaper_mode_and_says_which() -> None:
    tall = jacobian(lambda x: np.outer(x, x))
    np.testing.assert_allclose(tall(X), jacrev(lambda x: np.outer(x, x))(X))
    assert tall.mode(X) == "forward: 3 inputs, 9 outputs"
    assert "forward: 3 inputs, 9 outputs" in repr(tall.stats)
    assert tall.stats.specialisations == 1
    wide = jacobian(lambda x: np.sum(x**2))
    assert wide.mode(X) == "reverse: 3 inputs, 1 output"
    assert jacfwd(np.sum).mode(X).startswith("forward")


@pytest.mark.usefixtures("python")
def test_hessian_of_several_arguments() -> None:
    def f(x: Any, y: Any) -> Any:
        return np.sum(x**2 * y)

    (xx, xy), (yx, yy) = hessian(f, (0, 1))(X, X)
    np.testing.assert_allclose(xx, np.diag(2 * X))
    np.testing.assert_allclose(xy, np.diag(2 * X))
    np.testing.assert_allclose(yx, np.diag(2 * X))
    np.testing.assert_array_equal(yy, np.zeros((3, 3)))
    px, py = hvp(f, (X, X), (np.ones(3), np.ones(3)))
    np.testing.assert_allclose(px, 4 * X)
    np.testing.assert_allclose(py, 2 * X)
    np.testing.assert_allclose(hvp(f, (X, X), (np.ones(3), None)), 2 * X)


@pytest.mark.usefixtures("python")
@pytest.mark.parametrize("mode", [jacfwd, jacrev])
def test_empty_and_constant_jacobians(mode: Any) -> None:
    assert mode(lambda x: x[:0] * 2)(X).shape == (0, 3)
    assert mode(lambda x: x * 2)(np.zeros((0, 2))).shape == (0, 2, 0, 2)
    np.testing.assert_array_equal(mode(lambda x: 3.0)(X), np.zeros(3))
    np.testing.assert_array_equal(mode(lambda x: A)(X), np.zeros((2, 3, 3)))
    np.testing.assert_array_equal(mode(np.sign)(X), np.zeros((3, 3)))


# -- any order, any nesting -----------------------------------------------------------------------


def test_every_mode_through_every_other() -> None:
    f = lambda x: np.sin(x) * x  # noqa: E731
    third = -3 * np.sin(0.7) - 0.7 * np.cos(0.7)
    slope = lambda f: lambda x: jvp(f, (x,), (1.0,))[1]  # noqa: E731
    pulled = lambda f: lambda x: vjp(f, x)[1](1.0)[0]  # noqa: E731
    modes: dict[str, Any] = {
        "grad": grad,
        "jvp": slope,
        "vjp": pulled,
        "jacfwd": jacfwd,
        "jacrev": jacrev,
    }
    with override(jit=False):
        for names in product(modes, repeat=3):
            a, b, c = (modes[name] for name in names)
            found = jit(a(b(c(f))))(0.7)
            np.testing.assert_allclose(found, third, rtol=1e-12, err_msg=" ".join(names))


@pytest.mark.usefixtures("python")
def test_perturbations_are_not_confused() -> None:
    """Siskind and Pearlmutter (2005): d/dx (x d/dy (x + y)) is 1."""
    pairs: Any = product((grad, jacfwd), repeat=2)
    for outer, inner in pairs:
        assert outer(lambda x, inner=inner: x * inner(lambda y: x + y)(2.0))(1.0) == 1.0
    assert jvp(lambda x: x * jvp(lambda y: x * y, (2.0,), (1.0,))[1], (3.0,), (1.0,)) == (9.0, 6.0)


@pytest.mark.usefixtures("python")
def test_inside_a_training_loop() -> None:
    def energy(w: Any, x: Any) -> Any:
        return np.sum(np.tanh(x @ w) ** 2)

    def loss(w: Any, x: Any) -> Any:
        force = vmap(grad(energy), (None, 0))(w, x)
        bend = hvp(lambda v: energy(v, x), (w,), (w,))
        return np.mean((force - 1) ** 2) + 0.01 * np.sum(bend**2)

    w, x = np.full(3, 0.1), np.random.default_rng(0).normal(size=(8, 3))
    result = train.minimize(loss, w, (x,), train.sgd(0.05), batch_size=8, epochs=3, progress=False)
    by_hand = w
    for _ in range(3):
        by_hand = by_hand - 0.05 * grad(loss)(by_hand, x)
    np.testing.assert_allclose(result.params, by_hand, rtol=1e-10)
    graphjit.check_grads(loss, (w, x))


@pytest.mark.usefixtures("python")
def test_stop_gradient() -> None:
    tree = {"x": X, "n": 3, "name": "a"}
    assert stop_gradient(tree)["x"] is X
    f = lambda x: np.sum(stop_gradient(x) * x**2)  # noqa: E731
    np.testing.assert_allclose(grad(f)(X), 2 * X**2)
    np.testing.assert_allclose(hessian(f)(X), np.diag(2 * X))
    assert jvp(stop_gradient, (X,), (X,))[1].tolist() == [0, 0, 0]
    np.testing.assert_array_equal(jit(stop_gradient)(X), X)
    x = X.astype(np.float32)
    assert jit(lambda x, s: x * stop_gradient(s))(x, 2.0).dtype == np.float32  # stays weak


# -- the passes by name ---------------------------------------------------------------------------


def test_pipelines_name_the_passes() -> None:
    graph = graph_at(lambda x: np.sin(x) * 2, X)
    text = "tangent(wrt=0),prune,batch(batched=0,1;size=4),simplify"
    assert str(parse_pipeline(text)) == text
    wide = verify(run(graph, parse_pipeline(text)))
    points = np.linspace(0, 1, 12).reshape(4, 3)
    value, slope = evaluate(wide, points, np.ones((4, 3)))
    np.testing.assert_allclose(value, np.sin(points) * 2)
    np.testing.assert_allclose(slope, np.cos(points) * 2)
    pulled = run(graph, parse_pipeline("pullback(wrt=0)"))
    np.testing.assert_allclose(evaluate(pulled, X, X)[1], 2 * np.cos(X) * X)
