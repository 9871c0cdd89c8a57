"""What goes into a training loop and comes out of it, and when it is compiled again."""

from __future__ import annotations

import dataclasses
import gc
import tracemalloc
import weakref
from typing import Any, NamedTuple

import numpy as np
import optree
import pytest

import graphjit
from graphjit import train
from graphjit.codegen.epoch import Epoch
from graphjit.flags import override
from graphjit.train.fit import loop_for
from graphjit.train.setup import Setup
from running import WAYS, Way, way
from training_by_hand import (
    NAMESPACE,
    adam_update,
    assert_trees_close,
    batches,
    by_hand,
    line,
    line_by_hand,
    problem,
    sgd_update,
)

pytestmark = pytest.mark.usefixtures("as_python")


# -- what goes in and comes out --------------------------------------------------------------------


class Weights(NamedTuple):
    w: Any
    b: Any


@dataclasses.dataclass
class Model:
    w: Any
    b: Any
    degree: int = 2


def test_parameters_come_back_in_their_containers() -> None:
    _, (x, y) = problem()

    def loss(params: Any, x: Any, y: Any) -> Any:
        p = params["weights"]
        guess = (x @ p.w) * params["scale"] + p.b + params["list"][0] * x[:, 0] ** params["degree"]
        return np.mean((guess - y) ** 2) + 0.01 * params["scalar"] ** 2

    weights = Weights(np.ones(3), np.array(0.25))
    params: Any = {"weights": weights, "scale": 1.5, "list": [0.5, "name", None], "degree": 2,
                   "scalar": np.float64(2.0)}  # fmt: skip
    tree: Any = params
    before = optree.tree_map(np.copy, tree, namespace=NAMESPACE)

    def of_floats(w: Any, b: Any, scale: Any, first: Any, scalar: Any) -> Any:
        p = {
            "weights": Weights(w, b),
            "scale": scale,
            "list": [first],
            "degree": 2,
            "scalar": scalar,
        }
        return loss(p, x, y)

    gradient = graphjit.grad(of_floats, argnums=(0, 1, 2, 3, 4))
    result = train.gradient_descent(loss, params, (x, y), 0.01, steps=7)
    found = result.params
    assert isinstance(found["weights"], Weights)
    assert type(found["scale"]) is float
    assert type(found["scalar"]) is np.float64
    assert isinstance(found["weights"].b, np.ndarray)
    assert found["weights"].b.shape == ()
    assert found["degree"] == 2
    assert type(found["degree"]) is int
    assert found["list"][1:] == ["name", None]
    here = [weights.w, weights.b, 1.5, 0.5, np.float64(2.0)]
    for _ in range(7):
        here = [v - 0.01 * slope for v, slope in zip(here, gradient(*here), strict=True)]
    trained = [*found["weights"], found["scale"], found["list"][0], found["scalar"]]
    assert_trees_close(here, trained)
    for a, b in zip(optree.tree_leaves(before), optree.tree_leaves(tree), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_dataclass_of_parameters() -> None:
    (w, b), data = problem()

    def loss(model: Any, x: Any, y: Any) -> Any:
        return np.mean((x @ model.w + model.b - y) ** model.degree)

    result = train.gradient_descent(loss, Model(w, b), data, 0.1, steps=5)
    expected, _ = by_hand(line_by_hand, (w, b), data, batches(23, None, 5), sgd_update(0.1))
    assert isinstance(result.params, Model)
    assert result.params.degree == 2
    assert_trees_close(expected, (result.params.w, result.params.b))


def test_a_bare_array_or_a_bare_float_is_trained_too() -> None:
    x = np.linspace(0, 1, 9)
    slope = train.gradient_descent(
        lambda a, x: np.mean((a * x - 3 * x) ** 2), 0.0, x, 0.5, steps=300
    )
    assert type(slope.params) is float
    assert slope.params == pytest.approx(3, rel=1e-9)
    mean = lambda a, x: np.mean((a - x) ** 2)  # noqa: E731
    one = train.gradient_descent(mean, np.zeros(1), x, 0.5, steps=60)
    np.testing.assert_allclose(one.params, [0.5])


def test_what_is_passed_in_is_not_modified_and_may_be_read_only() -> None:
    params, data = problem()
    arrays = [params[0], params[1], *data]
    for array in arrays:
        array.flags.writeable = False
    before = [a.copy() for a in arrays]
    first = train.minibatch_sgd(line, params, data, 0.1, batch_size=4, epochs=2)
    for old, new in zip(before, arrays, strict=True):
        np.testing.assert_array_equal(old, new)
    assert first.params[0].flags.writeable
    assert not np.shares_memory(first.params[0], params[0])
    second = train.minibatch_sgd(line, params, data, 0.1, batch_size=4, epochs=2)
    assert not np.shares_memory(first.params[0], second.params[0])
    np.testing.assert_array_equal(first.params[0], second.params[0])


@WAYS
def test_data_of_any_layout_train_the_same(jit: Way) -> None:
    (w, b), (x, y) = problem()
    swapped = x.astype(">f8"), y.astype(">f8")
    wide = np.zeros((46, 6))
    wide[::2, ::2] = x
    raw = np.zeros(x.nbytes + 1, np.uint8)
    unaligned = raw[1:].view(float).reshape(x.shape)
    unaligned[...] = x
    with override(**way(jit)):
        plain = train.minibatch_sgd(line, (w, b), (x, y), 0.1, batch_size=5, epochs=2)
        for data in ((np.asfortranarray(x), y), (wide[::2, ::2], y), (x[::-1][::-1], y[::-1][::-1]),
                     swapped, (unaligned, y), (x.tolist(), y.tolist())):  # fmt: skip
            found = train.minibatch_sgd(line, (w, b), data, 0.1, batch_size=5, epochs=2)
            np.testing.assert_array_equal(found.params[0], plain.params[0])
        foreign = train.minibatch_sgd(
            line, (w.astype(">f8"), b), (x, y), 0.1, batch_size=5, epochs=2
        )
    np.testing.assert_array_equal(foreign.params[0], plain.params[0])
    assert foreign.params[0].dtype == np.float64


@pytest.mark.parametrize("rows", [33, 34, 39])
def test_the_last_batch_of_many_is_trained_as_the_others(compiled: None, rows: int) -> None:
    rng = np.random.default_rng(5)
    x, w = rng.normal(size=(rows, 3)), np.array([0.4, -0.2, 0.1])
    data = x, np.tanh(x @ w) + 0.1 * rng.normal(size=rows)

    def loss(w: Any, x: Any, y: Any) -> Any:
        return np.mean((np.tanh(x @ w) - y) ** 2)

    slopes = graphjit.value_and_grad(loss)
    expected, losses = by_hand(slopes, w, data, batches(rows, 4, 2), sgd_update(0.3, 0.9))
    optimizer = train.sgd(0.3, momentum=0.9)
    result = train.minimize(loss, w, data, optimizer, batch_size=4, epochs=2)
    assert_trees_close(result.params, expected)
    np.testing.assert_allclose(result.losses, losses, rtol=1e-10)


def test_a_budget_of_bytes_trains_the_same_in_less_memory(compiled: None) -> None:
    rng = np.random.default_rng(6)
    x, w = rng.normal(size=(64, 16)), rng.normal(size=(16, 16)) * 0.3

    def loss(w: Any, x: Any) -> Any:
        for _ in range(12):
            x = np.tanh(x @ w)
        return np.mean(x * x)

    def work(loop: Any) -> int:
        pieces = [p for p in loop.memory.order if p.name.startswith("work_")]
        return sum(int(np.prod(p.shape)) for p in pieces)

    optimizer = train.sgd(0.1)
    state = optimizer.init(w)
    sizes = []
    for budget in (None, 20_000):
        setup = Setup(loss, optimizer, w, state, (x,), Epoch(64, 64), budget)
        sizes.append(work(loop_for(setup)[0]))
    assert sizes[1] < 0.6 * sizes[0]
    plain = train.minimize(loss, w, x, optimizer, epochs=4)
    spare = train.minimize(loss, w, x, optimizer, epochs=4, budget=20_000)
    np.testing.assert_allclose(spare.params, plain.params, rtol=1e-12)
    with pytest.raises(graphjit.errors.TraceError, match="number of bytes"):
        train.minimize(loss, w, x, optimizer, budget=-1)


def test_float32_stays_float32_to_rounding() -> None:
    params, data = problem(dtype=np.float32)
    result = train.minimize(line, params, data, train.adam(0.05), batch_size=5, epochs=3)
    wide = [a.astype(float) for a in data]
    expected, _ = by_hand(line_by_hand, (np.zeros(3), np.zeros(())), (wide[0], wide[1]),
                          batches(23, 5, 3), adam_update(0.05))  # fmt: skip
    assert [p.dtype for p in result.params] == [np.float32, np.float32]
    assert_trees_close(expected, result.params, 1e-4)


def test_captured_arrays_are_read_anew() -> None:
    offset = np.zeros(80)  # a small one is compared, and compiled anew where it has changed

    def loss(w: Any, x: Any) -> Any:
        return np.mean((w - offset - x) ** 2)

    data = np.zeros((6, 80))
    first = train.gradient_descent(loss, np.zeros(80), data, 0.1, steps=3)
    offset[:] = np.arange(80)
    second = train.gradient_descent(loss, np.zeros(80), data, 0.1, steps=3)
    assert not first.params.any()
    rate = 0.1 * 2 / 80
    np.testing.assert_allclose(second.params, offset * (1 - (1 - rate) ** 3), rtol=1e-12)
    assert second.compile_seconds == 0


def test_data_changed_between_calls_are_seen() -> None:
    x = np.zeros(8)
    loss = lambda w, x: np.mean((w - x) ** 2)  # noqa: E731
    assert train.gradient_descent(loss, 1.0, x, 0.5, steps=1).params == 0
    x[:] = 5
    assert train.gradient_descent(loss, 1.0, x, 0.5, steps=1).params == 5


# -- compiling once -------------------------------------------------------------------------------


def test_other_hyperparameters_compile_nothing() -> None:
    params, data = problem()

    def loss(p: Any, x: Any, y: Any) -> Any:
        return line(p, x, y)

    options: dict[str, Any] = {"batch_size": 5, "epochs": 2}
    assert train.minimize(loss, params, data, train.adam(0.1), **options).compile_seconds > 0
    for optimizer, update in (
        (train.adam(0.2, 0.5), adam_update(0.2, 0.5)),
        (train.adam(0.01, 0.9, 0.9, 0.1), adam_update(0.01, 0.9, 0.9, 0.1)),
    ):
        result = train.minimize(loss, params, data, optimizer, **options)
        assert result.compile_seconds == 0
        expected, _ = by_hand(line_by_hand, params, data, batches(23, 5, 2), update)
        assert_trees_close(expected, result.params)
    assert train.minimize(loss, params, data, train.sgd(0.1), **options).compile_seconds > 0


def test_a_changed_constant_of_the_closure_compiles_anew() -> None:
    power = 2

    def loss(w: Any, x: Any) -> Any:
        return np.mean((w - x) ** power)

    data = np.zeros(4)
    first = train.gradient_descent(loss, 1.0, data, 0.1, steps=1)
    power = 4
    second = train.gradient_descent(loss, 1.0, data, 0.1, steps=1)
    assert second.compile_seconds > 0
    assert (first.params, second.params) == (pytest.approx(0.8), pytest.approx(0.6))


def test_what_python_read_of_an_array_is_seen_to_change() -> None:
    small, large = np.array([1.0]), np.ones((20, 20))

    def loss(w: Any, x: Any) -> Any:
        scale = 2.0 if small[0] > 0 else 3.0
        return np.mean((w - scale * x) ** 2) + 0 * np.sum(np.linalg.inv(large + np.eye(20)) @ x)

    data = np.ones((20, 20))

    def fitted() -> train.TrainResult:
        return train.gradient_descent(loss, np.zeros(20), data, 1.0, steps=1)

    assert fitted().params[0] == pytest.approx(0.2)
    assert fitted().compile_seconds == 0
    small[0] = -1
    assert fitted().params[0] == pytest.approx(0.3)
    large[0, 0] = 5
    assert fitted().compile_seconds > 0


def test_a_changed_schedule_compiles_anew() -> None:
    factor = 1.0
    optimizer = train.sgd(lambda step: factor / (1 + step))
    loss = lambda w, x: np.sum(w * x)  # noqa: E731
    first = train.minimize(loss, 0.0, np.ones(1), optimizer, epochs=2)
    factor = 2.0
    second = train.minimize(loss, 0.0, np.ones(1), optimizer, epochs=2)
    assert (first.params, second.params) == (-1.5, -3.0)


def test_a_decorated_loss_is_the_same_loss() -> None:
    params, data = problem()
    plain = train.gradient_descent(line, params, data, steps=3)
    for decorated in (graphjit.value_and_grad(line), graphjit.jit(line), graphjit.grad(line)):
        found = train.gradient_descent(decorated, params, data, steps=3)
        np.testing.assert_array_equal(found.params[0], plain.params[0])


def test_the_source_is_a_program_to_read() -> None:
    params, data = problem()
    result = train.minibatch_sgd(line, params, data, batch_size=5, epochs=1)
    for words in (
        "def run(args):",
        "for step in range",
        "the last, smaller batch",
        "training_by_hand.py",
    ):
        assert words in result.source
    assert max(map(len, result.source.splitlines())) <= 140
    compile(result.source, "source", "exec")


def test_losses_that_are_gone_leave_nothing_behind() -> None:
    def once() -> weakref.ref[Any]:
        def loss(w: Any, x: Any) -> Any:
            return np.mean((w - x) ** 2)

        train.gradient_descent(loss, 1.0, np.zeros(4), steps=1)
        return weakref.ref(loss)

    references = [once() for _ in range(3)]
    gc.collect()
    assert [reference() for reference in references] == [None] * 3


def test_training_again_and_again_needs_no_more_memory(compiled: None) -> None:
    params, data = problem()

    def train_some(count: int) -> None:
        for seed in range(count):
            train.minibatch_sgd(line, params, data, batch_size=5, epochs=2, seed=seed)

    train_some(20)
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        train_some(200)
        gc.collect()
        after = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert after - before < 40_000
