"""Gathers and their cotangents: one array of zeros for a table, and none where it is updated."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import graphjit
from graphjit import train
from graphjit.codegen import lower as lowering
from graphjit.codegen.loops import (
    Fill,
    For,
    LoopProgram,
)
from graphjit.codegen.lower import lower
from graphjit.codegen.plan import arena, plan
from graphjit.codegen.walks import walk
from graphjit.flags import override
from graphjit.ir import Builder, Graph, aval_of, evaluate
from graphjit.ir.verify import verify
from graphjit.passes.accumulate import accumulate
from plan_checks import check_plan
from running import WAYS, Way, way
from training_by_hand import batches

RANDOM = np.random.default_rng(0)
ROWS, WIDTH = 500, 4
TABLE = RANDOM.normal(size=(ROWS, WIDTH))
IDS = np.array([3, 7, 3, -1, 499, 0, 7, 3])
MORE = IDS[::-1] - 1


def extents(statements: list[Any], around: int = 1) -> Iterator[int]:
    """How often each loop nest goes round, and how many elements are filled."""
    for s in statements:
        if isinstance(s, For):
            yield around * s.extent
            yield from extents(s.body, around * s.extent)
        elif isinstance(s, Fill):
            yield around * s.buffer.size


def whole(program: LoopProgram) -> int:
    """The passes over something as large as the table."""
    sizes = [max(extents([s]), default=0) for k in program.kernels for s in k.statements]
    return sum(size >= ROWS * WIDTH for size in sizes)


def program_of(function: Any, *args: Any, donated: dict[int, int] | None = None) -> LoopProgram:
    graph = function.graph(*args)
    return lower(graph, donated=donated, copied=False)


# -- one array of zeros ----------------------------------------------------------------------------


def twice(table: Any, i: Any, j: Any) -> Any:
    return np.sum(np.tanh(table[i]) * table[j])


def often(table: Any, i: Any, j: Any) -> Any:
    return np.sum(table[i] ** 2) + np.sum(table[j]) + np.sum(np.sin(table[i, 1] + table[j, 2]))


def both_axes(table: Any, i: Any, j: Any) -> Any:
    return np.sum(table[i, np.abs(j) % 4] * table[np.abs(i), np.abs(i) % 4])


@WAYS
@pytest.mark.parametrize("function", [twice, often, both_axes])
def test_several_gathers_accumulate_in_one_array(function: Any, jit: Way) -> None:
    gradient = graphjit.grad(function)
    program = program_of(gradient, TABLE, IDS, MORE)
    fills = [s for k in program.kernels for s in walk(k.statements) if isinstance(s, Fill)]
    large = [s for s in fills if s.buffer.size == TABLE.size]
    # What is gathered along other axes has an array of its own, and the two are added.
    assert (len(large), whole(program)) == ((2, 3) if function is often else (1, 1))
    assert arena(program) < TABLE.nbytes * len(large)
    with override(**way(jit)):
        found = graphjit.grad(function)(TABLE, IDS, MORE)
    np.testing.assert_allclose(found, by_differences(function, IDS, MORE), rtol=1e-6, atol=1e-8)


def by_differences(function: Callable[..., Any], *args: Any) -> Any:
    """The gradient with respect to the table, of the rows that are read."""
    slopes = np.zeros_like(TABLE)
    for row in {int(i) % ROWS for i in np.concatenate([*args, np.abs(np.concatenate(args))])}:
        for column in range(WIDTH):
            step = np.zeros_like(TABLE)
            step[row, column] = 1e-6
            rise = function(TABLE + step, *args) - function(TABLE - step, *args)
            slopes[row, column] = rise / 2e-6
    return slopes


def test_the_gradient_of_one_gather_is_two_kernels() -> None:
    program = program_of(graphjit.grad(lambda t, i: np.sum(np.tanh(t[i]))), TABLE, IDS)
    assert len(program.kernels) == 2
    assert whole(program) == 1
    assert arena(program) < 1000


def test_no_gradient_of_data_is_computed() -> None:
    def loss(w: Any, x: Any, y: Any) -> Any:
        return np.sum((np.tanh(x @ w) - y) ** 2)

    x, y, w = RANDOM.normal(size=(50, 7)), RANDOM.normal(size=(50, 3)), np.ones((7, 3))
    program = program_of(graphjit.grad(loss), w, x, y)
    assert sum(k.calls for k in program.kernels) == 2  # x @ w, and x.T @ g; not g @ w.T
    whole_graph = graphjit.grad(loss, argnums=(0, 1)).graph(w, x, y)
    assert len(graphjit.grad(loss).graph(w, x, y)) < len(whole_graph)
    table = program_of(graphjit.grad(lambda w, t, i: np.sum(t[i] @ w)), w[:4], TABLE, IDS)
    assert whole(table) == 0


def scatters(seed: int) -> tuple[Graph, list[Any]]:
    """A sum of scatters, some of them also used elsewhere, and of other arrays."""
    rng = np.random.default_rng(seed)
    builder, values = Builder(), []

    def given(value: Any) -> int:
        values.append(value)
        return builder.input(aval_of(value))

    terms = []
    for _ in range(int(rng.integers(2, 7))):
        kind, shape = rng.integers(0, 5), ((3,), (2, 2), ())[rng.integers(0, 3)]
        index = [given(rng.integers(0, 6, shape)) for _ in range(2 if kind == 1 else 1)]
        axes = ((0,), (0, 1), (0,), (1,), (0,))[kind]
        rest = tuple(n for a, n in enumerate((6, 7)) if a not in axes)
        if kind == 4:
            terms.append(given(rng.normal(size=(6, 7))))
        else:
            updates = given(rng.normal(size=(*shape, *rest)))
            scatter = builder.emit("scatter_add", updates, *index, axes=axes, shape=(6, 7))
            terms.append(scatter)
    terms += terms[: int(rng.integers(2))]  # one of them twice
    order = [terms[i] for i in rng.permutation(len(terms))]
    while len(order) > 1:
        a, b = order.pop(int(rng.integers(len(order)))), order.pop(int(rng.integers(len(order))))
        order.append(builder.emit("add", a, b))
    outputs = [*order, *(terms[:1] if seed % 3 == 0 else [])]
    return builder.graph(outputs), values


@pytest.mark.parametrize("seed", range(60))
def test_joined_scatters_add_the_same(seed: int) -> None:
    graph, values = scatters(seed)
    after = verify(accumulate(graph))
    assert str(accumulate(after)) == str(after)
    assert after.count("scatter_add") <= graph.count("scatter_add")
    for old, new in zip(evaluate(graph, *values), evaluate(after, *values), strict=True):
        np.testing.assert_allclose(new, old, rtol=1e-13, atol=1e-13)


def test_scatters_of_more_than_the_array_stay() -> None:
    builder = Builder()
    terms = []
    for _ in range(2):
        x, i = builder.input(aval_of(np.ones(9))), builder.input(aval_of(np.zeros(9, int)))
        terms.append(builder.emit("scatter_add", x, i, axes=(0,), shape=(17,)))
    graph = builder.graph([builder.emit("add", *terms)])
    assert accumulate(graph) is graph


# -- none at all -----------------------------------------------------------------------------------


def slope(table: Any, ids: Any) -> Any:
    return graphjit.grad(lambda t: np.sum(np.tanh(t[ids]) ** 2))(table)


UPDATES: dict[str, Callable[[Any, Any, Any], Any]] = {
    "rate times gradient": lambda t, i, rate: t - rate * slope(t, i),
    "gradient times rate": lambda t, i, rate: t - slope(t, i) * rate,
    "a constant": lambda t, i, rate: t - 0.1 * slope(t, i),
    "negated": lambda t, i, rate: t + -(rate * slope(t, i)),
    "the other way round": lambda t, i, rate: -0.5 * slope(t, i) + t,
    "divided": lambda t, i, rate: t - slope(t, i) / (rate + 3.0),
    "plain": lambda t, i, rate: t + slope(t, i),
    "subtracted": lambda t, i, rate: t - slope(t, i),
    "a rate that is computed": lambda t, i, rate: t - np.sqrt(rate * 2) * slope(t, i),
    "twice": lambda t, i, rate: t - rate * slope(t, i) - rate * slope(t, MORE),
}
DENSE: dict[str, Callable[[Any, Any, Any], Any]] = {
    "from": lambda t, i, rate: slope(t, i) - t,
    "decay": lambda t, i, rate: 0.99 * t - rate * slope(t, i),
    "a power": lambda t, i, rate: t - slope(t, i) ** 2,
    "by the gradient": lambda t, i, rate: t - rate / (1 + slope(t, i)),
    "a row at a time": lambda t, i, rate: t - np.arange(4.0) * slope(t, i),
    "transposed": lambda t, i, rate: t - rate * slope(t, i)[::-1],
    "used again": lambda t, i, rate: t - rate * slope(t, i) * np.sum(slope(t, i)),
    "itself": lambda t, i, rate: t - t * slope(t, i),
}


@WAYS
@pytest.mark.parametrize("name", [*UPDATES, *DENSE])
def test_an_update_in_place(name: str, jit: Way) -> None:
    update = {**UPDATES, **DENSE}[name]
    expected = graphjit.jit(update)(TABLE, IDS, 0.3)
    table = TABLE.copy()
    with override(**way(jit)):
        found = graphjit.jit(update, donate_argnums=0)(table, IDS, 0.3)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14)
    if found is table:
        assert not np.shares_memory(TABLE, found)


@pytest.mark.parametrize("name", UPDATES)
def test_only_rows_that_are_read_are_touched(name: str) -> None:
    compiled = graphjit.jit(UPDATES[name])
    program = program_of(compiled, TABLE, IDS, 0.3, donated={0: 0})
    check_plan(program)
    assert whole(program) == 0
    assert arena(program) < 2000
    assert program.aliases["out0"] == "in0"
    assert whole(program_of(compiled, TABLE, IDS, 0.3)) >= 1


@pytest.mark.parametrize("name", DENSE)
def test_what_touches_all_rows_does(name: str) -> None:
    assert whole(program_of(graphjit.jit(DENSE[name]), TABLE, IDS, 0.3, donated={0: 0})) >= 1


def test_rows_that_are_read_after_the_update_are_the_old_ones() -> None:
    def update(table: Any, ids: Any) -> Any:
        after = table - 0.1 * slope(table, ids)
        return after, np.sum(table[MORE], axis=0) + np.sum(after)

    expected = graphjit.jit(update)(TABLE, IDS)
    found = graphjit.jit(update, donate_argnums=0)(TABLE.copy(), IDS)
    for old, new in zip(expected, found, strict=True):
        np.testing.assert_allclose(new, old, rtol=1e-12)


@pytest.mark.parametrize("seed", range(30))
def test_random_updates_of_two_tables(seed: int) -> None:
    rng = np.random.default_rng(seed)
    forms: list[Callable[..., Any]] = [
        lambda t, g, s: t - 0.1 * g, lambda t, g, s: t + g * s, lambda t, g, s: t * s - g,
        lambda t, g, s: g / 2.0 + t, lambda t, g, s: t - g * g, lambda t, g, s: t - s * g / 3.0,
    ]  # fmt: skip
    chosen = [forms[int(i)] for i in rng.integers(0, len(forms), 2)]
    cross = bool(rng.integers(2))

    def update(a: Any, b: Any, i: Any, j: Any, s: Any) -> Any:
        def loss(a: Any, b: Any) -> Any:
            mixed = np.sum(a[i] * b[j]) if cross else np.sum(a[i] ** 3) + np.sum(b[j] ** 2)
            return mixed + np.sum(np.sin(a[j]))

        da, db = graphjit.grad(loss, argnums=(0, 1))(a, b)
        return chosen[0](a, da, s), chosen[1](b, db, s), s * 2

    args: list[Any] = [rng.normal(size=(9, 3)) for _ in range(2)]
    args += [rng.integers(-9, 9, 4), rng.integers(-9, 9, 4), np.float64(0.7)]
    expected = graphjit.jit(update)(*args)
    with override(jit=bool(seed % 3 == 0)):
        step = graphjit.jit(update, donate_argnums=(0, 1))
        found = step(*(np.copy(x) if x.shape else x for x in args))
    for old, new in zip(expected, found, strict=True):
        np.testing.assert_allclose(new, old, rtol=1e-12, atol=1e-13)


# -- in loops --------------------------------------------------------------------------------------


@WAYS
def test_a_recurrence_on_embeddings(jit: Way) -> None:
    def loss(table: Any, w: Any, ids: Any) -> Any:
        def step(h: Any, i: Any) -> Any:
            h = np.tanh(h @ w + table[i])
            return h, h

        return np.sum(graphjit.scan(step, np.zeros(WIDTH), ids)[1])

    w = RANDOM.normal(size=(WIDTH, WIDTH)) / 2
    program = program_of(graphjit.grad(loss), TABLE, w, IDS)
    for kernel in program.kernels:
        scans = [s for s in kernel.statements if isinstance(s, For) and s.extent == len(IDS)]
        assert max(extents(scans), default=0) < ROWS * WIDTH
    with override(**way(jit)):
        found = graphjit.grad(loss)(TABLE, w, IDS)
    with override(jit=False):
        value = graphjit.jit(loss)
        expected = by_differences(lambda t, ids: value(t, w, ids), IDS)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-8)


def bag(params: Any, ids: Any, y: Any) -> Any:
    table, w = params
    return np.mean((np.tanh(np.sum(table[ids], axis=1)) @ w - y) ** 2)


@WAYS
def test_training_touches_only_the_rows_of_a_batch(
    jit: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = []

    def noted(program: LoopProgram, *args: Any, **options: Any) -> None:
        plan(program, *args, **options)
        planned.append(program)

    monkeypatch.setattr(lowering, "plan", noted)
    params = TABLE, np.ones(WIDTH)
    ids, y = RANDOM.integers(0, ROWS, (11, 3)), RANDOM.normal(size=11)
    own = types.FunctionType(bag.__code__, bag.__globals__)  # no loop is known of it yet
    with override(**way(jit)):
        result = train.minimize(own, params, (ids, y), train.sgd(0.05), batch_size=4, epochs=3)
    steps = [p for p in planned if any(b.size == TABLE.size for b in p.inputs)]
    assert len(steps) == 2  # whole batches, and the last one
    assert [whole(p) for p in steps] == [0, 0]
    expected = TABLE.copy(), np.ones(WIDTH)
    for rows in batches(11, 4, 3, seed=0):
        slopes = graphjit.grad(bag)(expected, ids[rows], y[rows])
        expected = tuple(p - 0.05 * g for p, g in zip(expected, slopes, strict=True))
    for old, new in zip(expected, result.params, strict=True):
        np.testing.assert_allclose(new, old, rtol=1e-11, atol=1e-13)


def test_an_optimizer_that_moves_all_rows_does(monkeypatch: pytest.MonkeyPatch) -> None:
    ids, y = RANDOM.integers(0, ROWS, (4, 3)), RANDOM.normal(size=4)
    params = TABLE, np.ones(WIDTH)
    with override(jit=False):
        result = train.minimize(bag, params, (ids, y), train.sgd(0.05, 0.9), epochs=3)
    velocity, expected = [np.zeros_like(p) for p in params], list(params)
    for _ in range(3):
        slopes = graphjit.grad(bag)(tuple(expected), ids, y)
        velocity = [0.9 * v + g for v, g in zip(velocity, slopes, strict=True)]
        expected = [p - 0.05 * v for p, v in zip(expected, velocity, strict=True)]
    for old, new in zip(expected, result.params, strict=True):
        np.testing.assert_allclose(new, old, rtol=1e-11, atol=1e-13)
