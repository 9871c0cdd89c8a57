"""Each row of the table: its aval, its meaning and its derivatives, on samples of its domain."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from graphjit.ir import TABLE, Aval, Builder, Graph, Symbol, aval_of, evaluate
from graphjit.ir.table.reduce import spread
from graphjit.passes.adjoint import adjoint
from samples import FLOATS, SAMPLES, Sample, trace

Array = np.ndarray[Any, Any]
NEITHER = {"input", "item"}  # have a value from elsewhere; a call has that of its body
STEP = 1e-6
# Kinks and jumps: what is flat there has no derivative to compare with differences of order 2.
DIFFERENTIABLE = [s for s in SAMPLES if s.row.partials or s.row.transpose or s.row.vjp]
DTYPES = pytest.mark.parametrize("dtype", FLOATS, ids=str)
EVERY = pytest.mark.parametrize("sample", SAMPLES, ids=str)
SMOOTH = pytest.mark.parametrize("sample", DIFFERENTIABLE, ids=str)


def weights_of(result: Any, seed: int = 3) -> Array:
    """What each element of a result counts in the scalar that is differentiated."""
    result = np.asarray(result)
    weights = np.random.default_rng(seed).uniform(0.5, 1.5, result.shape)
    return np.asarray(weights, result.dtype)


def float_positions(operands: tuple[Array, ...]) -> list[int]:
    return [i for i, x in enumerate(operands) if x.dtype.kind == "f"]


def graph_of(sample: Sample, operands: tuple[Array, ...]) -> Graph:
    """The row as a graph of one node, on as many inputs as it has operands."""
    builder = Builder()
    inputs = [builder.input(aval_of(x)) for x in operands]
    return builder.graph([builder.emit(sample.op, *inputs, **sample.params)])


def scalar_graph(sample: Sample, operands: tuple[Array, ...]) -> Graph:
    """sum(weights * f(x)), with constant weights."""
    builder = Builder()
    inputs = [Symbol(builder, builder.input(aval_of(x))) for x in operands]
    result = Symbol(builder, builder.emit(sample.op, *(s.id for s in inputs), **sample.params))
    weights = Symbol(
        builder, builder.constant(weights_of(sample.row.numpy(*operands, **sample.params)))
    )
    return builder.graph([np.sum(weights * result).id])


def test_every_row_has_samples() -> None:
    wanted = {name for name, row in TABLE.items() if row.kind not in {"call", "control"}} - NEITHER
    assert wanted == {sample.op for sample in SAMPLES}


def test_every_row_says_how_it_is_differentiated_at_most_once() -> None:
    for name, row in TABLE.items():
        rules = [row.partials, row.transpose, row.vjp]
        assert sum(rule is not None for rule in rules) <= 1, name


@DTYPES
@EVERY
def test_the_aval_is_that_of_numpys_result(sample: Sample, dtype: Any) -> None:
    operands = sample.operands(dtype)
    result = np.asarray(sample.row.numpy(*operands, **sample.params))
    assert sample.row.aval(*map(aval_of, operands), **sample.params) == aval_of(result)
    (evaluated,) = evaluate(graph_of(sample, operands), *operands)
    assert aval_of(evaluated) == aval_of(result)
    np.testing.assert_array_equal(evaluated, result)


@EVERY
def test_a_view_gives_what_its_copy_gives(sample: Sample) -> None:
    operands = sample.operands(np.float64)
    views = [strided(x) for x in operands]
    results = [evaluate(graph_of(sample, operands), *args)[0] for args in (operands, views)]
    np.testing.assert_allclose(results[0], results[1], rtol=1e-14)


def strided(x: Array) -> Array:
    """The same values with negative strides, and gaps between the elements."""
    wide = np.zeros([2 * n for n in x.shape], x.dtype)
    key: Any = (..., *[slice(None, None, -2)] * x.ndim)
    view: Array = wide[key]
    view[...] = x
    view.setflags(write=False)
    return view


def by_rule(sample: Sample, operands: tuple[Any, ...], ct: Any, y: Any) -> list[Any]:
    """The cotangents of the operands, by the rule of the row alone."""
    row, params = sample.row, sample.params
    if row.transpose is not None:
        return list(row.transpose(ct, *operands, **params))
    if row.vjp is not None:
        return list(row.vjp(ct, y, *operands, **params))
    assert row.partials is not None
    wide = spread(ct, operands[0], params["axes"]) if row.kind == "reduce" else ct
    return [times(wide, partial) for partial in row.partials(y, *operands, **params)]


def times(value: Any, partial: Any) -> Any:
    """The product with a partial, which may be several factors."""
    return math.prod(partial, start=value) if isinstance(partial, tuple) else value * partial


def traced_rule(sample: Sample, operands: tuple[Array, ...]) -> list[Array]:
    """The rule run on symbols and evaluated, for a cotangent of weights."""
    y = np.asarray(sample.row.numpy(*operands, **sample.params))
    wanted = float_positions(operands)

    def rule(ct: Any, y: Any, *operands: Any) -> list[Any]:
        shares = by_rule(sample, operands, ct, y)
        return [shares[i] for i in wanted]

    args = (weights_of(y), y, *operands)
    graph, captured = trace(rule, *args)
    return list(evaluate(graph, *args, *captured))


@DTYPES
@SMOOTH
def test_a_rule_keeps_shape_and_dtype(sample: Sample, dtype: Any) -> None:
    operands = sample.operands(dtype)
    for share, i in zip(traced_rule(sample, operands), float_positions(operands), strict=True):
        assert np.broadcast_shapes(share.shape, operands[i].shape) == operands[i].shape
        assert share.dtype == operands[i].dtype


@SMOOTH
def test_a_rule_agrees_with_differences(sample: Sample) -> None:
    operands = sample.operands(np.float64)
    generator = np.random.default_rng(5)
    for share, i in zip(traced_rule(sample, operands), float_positions(operands), strict=True):
        direction = generator.uniform(-1, 1, operands[i].shape)
        expected = slope(sample, operands, i, direction)
        np.testing.assert_allclose(np.sum(share * direction), expected, rtol=1e-5, atol=1e-6)


def slope(sample: Sample, operands: tuple[Array, ...], i: int, direction: Array) -> Any:
    """The centred difference of sum(weights * f) along a direction of one operand."""

    def value(step: float) -> Any:
        moved = tuple(x + step * direction if i == j else x for j, x in enumerate(operands))
        result = np.asarray(sample.row.numpy(*moved, **sample.params), np.float64)
        return np.sum(weights_of(result) * result)

    return (value(STEP) - value(-STEP)) / (2 * STEP)


@SMOOTH
def test_on_arrays_a_rule_gives_what_it_gives_on_symbols(sample: Sample) -> None:
    operands = sample.operands(np.float64)
    y = np.asarray(sample.row.numpy(*operands, **sample.params))
    shares = by_rule(sample, operands, weights_of(y), y)
    for share, i in zip(traced_rule(sample, operands), float_positions(operands), strict=True):
        np.testing.assert_allclose(share, shares[i], rtol=1e-12, atol=1e-14)


@SMOOTH
def test_the_second_derivative_agrees_with_differences_of_the_first(sample: Sample) -> None:
    operands = sample.operands(np.float64)
    wanted = float_positions(operands)
    first = adjoint(scalar_graph(sample, operands), wanted)
    directions = [weights_of(operands[i], seed=i + 7) for i in wanted]
    second = adjoint(dotted(first, directions), wanted)
    hessian = evaluate(second, *operands)[1:]
    for row, i, direction in zip(hessian, wanted, directions, strict=True):
        expected = gradient_slope(first, operands, i, directions, direction)
        np.testing.assert_allclose(np.sum(row * direction), expected, rtol=1e-5, atol=1e-5)


def dotted(first: Graph, directions: list[Array]) -> Graph:
    """The scalar sum(direction * gradient), of a graph with gradients after its first output."""
    builder = Builder()
    place = builder.inline(first, [builder.input(first.nodes[i].aval) for i in first.inputs])
    total: Any = 0.0
    for output, direction in zip(first.outputs[1:], directions, strict=True):
        constant = Symbol(builder, builder.constant(direction))
        total = total + np.sum(constant * Symbol(builder, place[output]))
    return builder.graph([total.id])


def gradient_slope(
    first: Graph, operands: tuple[Array, ...], i: int, directions: list[Array], direction: Array
) -> Any:
    def value(step: float) -> Any:
        moved = [x + step * direction if i == j else x for j, x in enumerate(operands)]
        gradients = evaluate(first, *moved)[1:]
        return sum(np.sum(d * g) for d, g in zip(directions, gradients, strict=True))

    return (value(STEP) - value(-STEP)) / (2 * STEP)


@pytest.mark.parametrize(
    "sample", [s for s in SAMPLES if s.row.kind == "map" and s.row.ufunc], ids=str
)
def test_a_map_is_traced_from_its_ufunc(sample: Sample) -> None:
    operands = sample.operands(np.float64)
    graph, captured = trace(sample.row.ufunc, *operands)
    (result,) = evaluate(graph, *operands, *captured)
    expected = np.asarray(sample.row.ufunc(*operands))
    assert Aval(result.shape, result.dtype) == aval_of(expected)
    np.testing.assert_array_equal(result, expected)


INF, NAN = np.inf, np.nan
POINTS = [  # a row, its operands, and the factors by which its rule weighs a cotangent of 1
    ("power", (0.0, 2.0), (0.0, 0.0)),
    ("power", (0.0, 1.0), (1.0, 0.0)),
    ("power", (0.0, 0.0), (0.0, 0.0)),
    ("power", (-2.0, 3.0), (12.0, None)),
    ("power", (2.0, 0.0), (0.0, np.log(2.0))),
    ("absolute", (0.0,), (0.0,)),
    ("absolute", (-0.0,), (0.0,)),
    ("maximum", (1.0, 1.0), (0.5, 0.5)),
    ("maximum", (NAN, 1.0), (1.0, 0.0)),
    ("minimum", (2.0, 1.0), (0.0, 1.0)),
    ("hypot", (0.0, 0.0), (0.0, 0.0)),
    ("hypot", (3.0, 4.0), (0.6, 0.8)),
    ("logaddexp", (0.0, 1000.0), (0.0, 1.0)),
    ("logaddexp", (0.0, -1000.0), (1.0, 0.0)),
    ("logaddexp", (-INF, 0.0), (0.0, 1.0)),
    ("xlogy", (0.0, 0.0), (-INF, 0.0)),
    ("expit", (-1000.0,), (0.0,)),
    ("log_expit", (-1000.0,), (1.0,)),
    ("tanh", (400.0,), (0.0,)),
    ("expm1", (-30.0,), (np.exp(-30.0),)),
    ("log1p", (1e-20,), (1.0,)),
    ("arctan", (1e200,), (0.0,)),
    ("arcsinh", (1e200,), (1e-200,)),
    ("arctan2", (1e200, 1e200), (5e-201, -5e-201)),
    ("arctan2", (1e-200, 1e-200), (5e199, -5e199)),
    ("divide", (1.0, 2.0), (0.5, -0.25)),
    ("reciprocal", (2.0,), (-0.25,)),
]


@pytest.mark.parametrize(("op", "operands", "expected"), POINTS)
def test_the_partials_at_special_points(op: str, operands: Any, expected: Any) -> None:
    arrays = [np.asarray(x) for x in operands]
    row = TABLE[op]
    with np.errstate(all="ignore"):
        assert row.partials is not None
        partials = row.partials(np.asarray(row.numpy(*arrays)), *arrays)
    for partial, factor in zip(partials, expected, strict=True):
        if factor is not None:
            np.testing.assert_allclose(times(1.0, partial), factor, rtol=1e-12)


def test_the_product_of_all_others_is_exact_where_elements_are_zero() -> None:
    rule = TABLE["prod"].partials
    assert rule is not None
    for x, others in (
        ([2.0, 0.0, 5.0], [0.0, 10.0, 0.0]),
        ([0.0, 0.0, 5.0], [0.0, 0.0, 0.0]),
        ([2.0, 3.0, 5.0], [15.0, 10.0, 6.0]),
    ):
        np.testing.assert_array_equal(rule(np.prod(x), np.array(x), axes=(0,))[0], others)


def test_ties_of_an_extremum_share_its_weight() -> None:
    rule = TABLE["max"].partials
    assert rule is not None
    x = np.array([[1.0, 3.0, 3.0], [2.0, 2.0, 2.0]])
    (weights,) = rule(np.max(x, axis=1), x, axes=(1,))
    np.testing.assert_allclose(weights, [[0.0, 0.5, 0.5], [1 / 3] * 3])
