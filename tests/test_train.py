"""Native training loops against plain NumPy loops over the same batches."""

from __future__ import annotations

import dataclasses
import gc
import os
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
import weakref
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import optree
import pytest

import graphjit
from graphjit import train
from graphjit.errors import (
    DTypeError,
    GraphJITError,
    IndexRangeError,
    ShapeError,
    TraceError,
    TrainingError,
)
from graphjit.flags import override
from graphjit.train.optimizers import is_float

Array = np.ndarray[Any, Any]
NAMESPACE = "graphjit"


@pytest.fixture(autouse=True)
def as_python(request: pytest.FixtureRequest) -> Iterator[None]:
    """Run generated text as Python, but in tests that are marked ``compiled``."""
    with override(jit="compiled" in request.fixturenames):
        yield


@pytest.fixture
def compiled() -> None:
    """Run generated text through Numba."""


# -- the same in NumPy -----------------------------------------------------------------------------


def batches(n: int, size: int | None, epochs: int, seed: Any = 0) -> Iterator[Any]:
    """The rows of each step; None for all of them as they are."""
    rng = np.random.default_rng(seed) if seed is not None else None
    for _ in range(epochs):
        if size in {None, n}:
            yield slice(None)
            continue
        order = np.arange(n) if rng is None else rng.permutation(n)
        for start in range(0, n, size or n):
            yield order[start : start + (size or n)]


def by_hand(
    value_and_grad: Callable[..., Any], params: Any, data: tuple[Array, ...], rows: Any, update: Any
) -> tuple[Any, list[float]]:
    """The loop itself: ``update(leaf, gradient, memory, step)`` changes each leaf and its memory."""
    leaves, tree = optree.tree_flatten(params, namespace=NAMESPACE)
    leaves = [np.copy(leaf) if is_float(leaf) else leaf for leaf in leaves]
    memories: list[dict[str, Any]] = [{} for _ in leaves]
    losses = []
    for step, picked in enumerate(rows):
        loss, gradient = value_and_grad(
            optree.tree_unflatten(tree, leaves), *(a[picked] for a in data)
        )
        losses.append(float(loss))
        slopes = optree.tree_leaves(gradient, namespace=NAMESPACE)
        for i, slope in enumerate(slopes):
            if is_float(leaves[i]):
                leaves[i] = update(leaves[i], slope, memories[i], step)
    return optree.tree_unflatten(tree, leaves), losses


def sgd_update(
    rate: Any, momentum: float | None = None, nesterov: bool = False
) -> Callable[..., Any]:
    def update(leaf: Any, slope: Any, memory: dict[str, Any], step: int) -> Any:
        now = rate(step) if callable(rate) else rate
        if momentum is None:
            return leaf - now * slope
        memory["v"] = momentum * memory.get("v", np.zeros_like(leaf)) + slope
        return leaf - now * (slope + momentum * memory["v"] if nesterov else memory["v"])

    return update


def adam_update(
    rate: Any = 1e-3, b1: float = 0.9, b2: float = 0.999, epsilon: float = 1e-8
) -> Callable[..., Any]:
    def update(leaf: Any, slope: Any, memory: dict[str, Any], step: int) -> Any:
        now = rate(step) if callable(rate) else rate
        memory["m"] = b1 * memory.get("m", np.zeros_like(leaf)) + (1 - b1) * slope
        memory["s"] = b2 * memory.get("s", np.zeros_like(leaf)) + (1 - b2) * slope**2
        mean, square = memory["m"] / (1 - b1 ** (step + 1)), memory["s"] / (1 - b2 ** (step + 1))
        return leaf - now * mean / (np.sqrt(square) + epsilon)

    return update


def line(params: Any, x: Any, y: Any) -> Any:
    w, b = params
    return np.mean((x @ w + b - y) ** 2)


def line_by_hand(params: Any, x: Array, y: Array) -> Any:
    w, b = params
    rest = x @ w + b - y
    return np.mean(rest**2), (2 * x.T @ rest / len(y), np.asarray(2 * np.mean(rest)))


def problem(n: int = 23, k: int = 3, dtype: Any = float) -> tuple[Any, tuple[Array, Array]]:
    rng = np.random.default_rng(n)
    x = rng.normal(size=(n, k)).astype(dtype)
    y = (x @ np.arange(1, k + 1) + 0.5 + 0.1 * rng.normal(size=n)).astype(dtype)
    return (np.zeros(k, dtype), np.zeros((), dtype)), (x, y)


def assert_trees_close(expected: Any, found: Any, rtol: float = 1e-12) -> None:
    old, new = (optree.tree_leaves(t, namespace=NAMESPACE) for t in (expected, found))
    for a, b in zip(old, new, strict=True):
        assert np.shape(a) == np.shape(b)
        np.testing.assert_allclose(b, a, rtol=rtol, atol=rtol)


RATES: list[Any] = [0.05, lambda step: 0.1 / (1 + step)]
OPTIMIZERS = [
    *((train.sgd(r), sgd_update(r)) for r in RATES),
    *((train.sgd(r, 0.9), sgd_update(r, 0.9)) for r in RATES),
    *((train.sgd(r, 0.9, nesterov=True), sgd_update(r, 0.9, nesterov=True)) for r in RATES),
    *((train.adam(r), adam_update(r)) for r in RATES),
    (train.adam(0.1, 0.8, 0.99, 1e-6), adam_update(0.1, 0.8, 0.99, 1e-6)),
]


@pytest.mark.parametrize("size", [None, 1, 5, 8, 22, 23])
@pytest.mark.parametrize(("optimizer", "update"), OPTIMIZERS)
def test_minimize_is_the_numpy_loop(optimizer: Any, update: Any, size: int | None) -> None:
    params, data = problem()
    rows = batches(23, size, 3, seed=7)
    expected, losses = by_hand(line_by_hand, params, data, rows, update)
    result = train.minimize(line, params, data, optimizer, batch_size=size, epochs=3, seed=7)
    assert_trees_close(expected, result.params)
    np.testing.assert_allclose(result.losses, losses, rtol=1e-12)
    assert result.reason == "finished"
    assert result.steps == len(losses) == 3 * result.steps_per_epoch
    assert result.epochs == 3
    assert result.losses.dtype == np.float64


@pytest.mark.parametrize("jit", [False, True], ids=["python", "numba"])
def test_the_three_loops_of_the_lecture(jit: bool) -> None:
    params, data = problem(12)
    with override(jit=jit):
        results = [
            train.gradient_descent(line, params, data, 0.1, steps=40),
            train.stochastic_gradient_descent(line, params, data, 0.02, epochs=4, seed=3),
            train.minibatch_sgd(line, params, data, 0.05, batch_size=5, epochs=6, seed=3),
        ]
    rows = [batches(12, None, 40), batches(12, 1, 4, seed=3), batches(12, 5, 6, seed=3)]
    for result, picked, rate in zip(results, rows, (0.1, 0.02, 0.05), strict=True):
        expected, losses = by_hand(line_by_hand, params, data, picked, sgd_update(rate))
        assert_trees_close(expected, result.params)
        np.testing.assert_allclose(result.losses, losses, rtol=1e-12)
    assert [r.steps_per_epoch for r in results] == [1, 12, 3]
    assert len(results[2].epoch_losses) == 6


def classifier(params: Any, x: Any, y: Any) -> Any:
    for w, b in params[:-1]:
        x = 1 / (1 + np.exp(-(x @ w + b)))
    w, b = params[-1]
    logits = x @ w + b
    logp = logits - np.log(np.sum(np.exp(logits), axis=1, keepdims=True))
    return -np.mean(logp[np.arange(len(y)), y])


def net(dtype: Any = float) -> tuple[Any, tuple[Array, Array]]:
    rng = np.random.default_rng(5)
    sizes = (6, 8, 5, 3)
    params = [
        (rng.normal(size=(m, n)).astype(dtype), np.zeros(n, dtype))
        for m, n in zip(sizes, sizes[1:], strict=False)
    ]
    return params, (rng.normal(size=(30, 6)).astype(dtype), rng.integers(0, 3, 30))


@pytest.mark.parametrize(("dtype", "rtol"), [(np.float64, 1e-11), (np.float32, 1e-4)])
def test_a_compiled_net_is_the_numpy_loop(compiled: None, dtype: Any, rtol: float) -> None:
    params, data = net(dtype)
    with override(jit=False):
        gradient = graphjit.value_and_grad(classifier)
        rows = batches(30, 8, 5, seed=2)
        expected, losses = by_hand(gradient, params, data, rows, adam_update(0.01))
    result = train.minimize(
        classifier, params, data, train.adam(0.01), batch_size=8, epochs=5, seed=2
    )
    assert_trees_close(expected, result.params, rtol)
    np.testing.assert_allclose(result.losses, losses, rtol=rtol)
    for leaf in optree.tree_leaves((result.params, result.state["mean"]), namespace=NAMESPACE):
        assert leaf.dtype == dtype


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
    params = {"weights": weights, "scale": 1.5, "list": [0.5, "name", None], "degree": 2,
              "scalar": np.float64(2.0)}  # fmt: skip
    before = optree.tree_map(np.copy, params, namespace=NAMESPACE)

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
    for a, b in zip(optree.tree_leaves(before), optree.tree_leaves(params), strict=True):
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


@pytest.mark.parametrize("jit", [False, True], ids=["python", "numba"])
def test_data_of_any_layout_train_the_same(jit: bool) -> None:
    (w, b), (x, y) = problem()
    swapped = x.astype(">f8"), y.astype(">f8")
    wide = np.zeros((46, 6))
    wide[::2, ::2] = x
    raw = np.zeros(x.nbytes + 1, np.uint8)
    unaligned = raw[1:].view(float).reshape(x.shape)
    unaligned[...] = x
    with override(jit=jit):
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


# -- batches ---------------------------------------------------------------------------------------


def seen(data: Any, **options: Any) -> list[list[int]]:
    """Which examples each step used: the loss is the sum of powers of two of them."""
    result = train.minimize(
        lambda w, x: np.sum(2.0**x) + 0 * w, 0.0, data, train.sgd(0.0), **options
    )
    return [[i for i in range(len(data)) if int(total) >> i & 1] for total in result.losses]


def test_the_last_smaller_batch_is_used_and_every_example_once() -> None:
    data = np.arange(11.0)
    steps = seen(data, batch_size=4, epochs=3)
    assert [len(s) for s in steps] == [4, 4, 3] * 3
    for epoch in range(3):
        assert sorted(sum(steps[3 * epoch : 3 * epoch + 3], [])) == list(range(11))
    assert steps[:3] != steps[3:6]


def test_without_shuffling_examples_come_in_order() -> None:
    steps = seen(np.arange(7.0), batch_size=3, epochs=2, shuffle=False)
    assert steps == [[0, 1, 2], [3, 4, 5], [6]] * 2


def test_the_order_is_that_of_numpys_permutations() -> None:
    rng = np.random.default_rng(42)
    steps = seen(np.arange(6.0), batch_size=2, epochs=2, seed=42)
    expected = [
        sorted(p[i : i + 2].tolist())
        for p in (rng.permutation(6), rng.permutation(6))
        for i in (0, 2, 4)
    ]
    assert steps == expected


def test_a_generator_moves_on() -> None:
    rng = np.random.default_rng(1)
    data = np.arange(9.0)
    first = seen(data, batch_size=3, epochs=2, seed=rng)
    second = seen(data, batch_size=3, epochs=1, seed=rng)
    assert first + second == seen(data, batch_size=3, epochs=3, seed=1)


@pytest.mark.parametrize(
    "optimizer", [train.sgd(0.1, 0.9), train.adam(lambda t: 0.1 / (1 + t))], ids=["sgd", "adam"]
)
def test_training_resumes_where_it_stopped(optimizer: Any) -> None:
    params, data = problem()
    rng = np.random.default_rng(0)
    half = train.minimize(line, params, data, optimizer, batch_size=5, epochs=2, seed=rng)
    rest = train.minimize(
        line, half.params, data, optimizer, batch_size=5, epochs=3, seed=rng, state=half.state
    )
    whole = train.minimize(line, params, data, optimizer, batch_size=5, epochs=5, seed=0)
    np.testing.assert_array_equal([*half.losses, *rest.losses], whole.losses)
    np.testing.assert_array_equal(rest.params[0], whole.params[0])
    np.testing.assert_array_equal(rest.params[1], whole.params[1])


def test_no_epochs_change_nothing() -> None:
    params, data = problem()
    for result in (
        train.minimize(line, params, data, train.adam(), epochs=0),
        train.gradient_descent(line, params, data, steps=0),
    ):
        assert result.steps == 0
        assert result.losses.shape == result.epoch_losses.shape == (0,)
        assert result.reason == "finished"
        np.testing.assert_array_equal(result.params[0], params[0])


# -- stopping --------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk", [1e-9, 1e-4, 10.0])
@pytest.mark.parametrize("size", [None, 6])
def test_the_tolerance_stops_at_the_same_step_whatever_the_chunks(
    monkeypatch: pytest.MonkeyPatch, chunk: float, size: int | None
) -> None:
    monkeypatch.setattr("graphjit.train.run.CHUNK_SECONDS", chunk)
    params, data = problem()
    tolerance, epochs = 1e-3, 400
    result = train.minimize(
        line,
        params,
        data,
        train.sgd(0.02),
        batch_size=size,
        epochs=epochs,
        seed=4,
        tolerance=tolerance,
    )
    _, losses = by_hand(
        line_by_hand, params, data, batches(23, size, epochs, seed=4), sgd_update(0.02)
    )
    sizes = [23] if size is None else [6, 6, 6, 5]
    means = np.reshape(losses, (epochs, -1)) @ np.array(sizes) / 23
    stop = int(np.argmax(np.abs(np.diff(means)) <= tolerance)) + 2
    assert result.reason == "converged"
    assert result.converged
    assert result.steps == stop * len(sizes)
    np.testing.assert_allclose(result.losses, losses[: result.steps], rtol=1e-9)


def test_without_a_tolerance_a_loss_that_stands_still_does_not_stop() -> None:
    result = train.gradient_descent(lambda w, x: np.sum(x) + 0 * w, 0.0, np.ones(3), steps=50)
    assert result.steps == 50


@pytest.mark.parametrize("chunk", [1e-9, 1e-5, 10.0])
@pytest.mark.parametrize("bad", [0, 1, 2, 8, 9, 10, 40, 73, 74, 200])
@pytest.mark.parametrize("size", [None, 4])
def test_a_loss_that_is_not_finite_stops_with_the_last_good_parameters(
    monkeypatch: pytest.MonkeyPatch, chunk: float, bad: int, size: int | None
) -> None:
    """w falls by 1 a step from ``bad`` - 0.5; the loss is the logarithm's NaN once it is negative."""
    monkeypatch.setattr("graphjit.train.run.CHUNK_SECONDS", chunk)

    def loss(w: Any, x: Any) -> Any:
        return w[0] + np.where(w[0] > 0, 0.0, np.nan) + 0 * np.sum(x)

    start = np.array([bad - 0.5, 7.0])
    with pytest.raises(TrainingError, match=rf"not finite at step {bad} ") as caught:
        train.minimize(loss, start, np.ones(7), train.sgd(1.0), batch_size=size, epochs=300, seed=1)
    result = caught.value.result  # type: ignore[attr-defined]
    assert result.reason == "not finite"
    np.testing.assert_array_equal(result.losses, start[0] - np.arange(bad))
    np.testing.assert_array_equal(result.params, [start[0] - max(bad - 1, 0), 7.0])
    assert "learning rate" in str(caught.value)
    assert isinstance(caught.value, GraphJITError)


@pytest.mark.parametrize("chunk", [1e-9, 1e-4, 10.0])
def test_after_a_divergence_the_parameters_are_those_of_the_numpy_loop(
    monkeypatch: pytest.MonkeyPatch, chunk: float
) -> None:
    monkeypatch.setattr("graphjit.train.run.CHUNK_SECONDS", chunk)
    params, data = problem()
    optimizer, update = train.sgd(3.0, 0.5), sgd_update(3.0, 0.5)
    with pytest.raises(TrainingError) as caught:
        train.minimize(line, params, data, optimizer, batch_size=4, epochs=200, seed=6)
    result = caught.value.result  # type: ignore[attr-defined]
    steps = result.steps
    assert steps > 50
    rows = list(batches(23, 4, 200, seed=6))
    with np.errstate(all="ignore"):
        expected, losses = by_hand(line_by_hand, params, data, rows[: steps - 1], update)
        _, more = by_hand(line_by_hand, params, data, rows[: steps + 1], update)
    assert_trees_close(expected, result.params, 1e-9)
    np.testing.assert_allclose(result.losses[:-1], losses, rtol=1e-9)
    assert np.isfinite(more[:-1]).all()
    assert not np.isfinite(more[-1])


SCRIPT = """
import sys, time
import numpy as np
from graphjit import train
rng = np.random.default_rng(0)
x = rng.normal(size=(64, 8)); y = x @ np.arange(8.0)
def loss(w, x, y):
    return np.mean((x @ w - y) ** 2)
train.minimize(loss, np.zeros(8), (x, y), train.sgd(1e-7), batch_size=8, epochs=1)
print("ready", flush=True)
start = time.time()
r = train.minimize(loss, np.zeros(8), (x, y), train.sgd(1e-7), batch_size=8, epochs=10**8, seed=3)
print(r.reason, r.steps, flush=True)
w, rows, at = np.zeros(8), np.random.default_rng(3), 0
check = train.minimize(loss, np.zeros(8), (x, y), train.sgd(1e-7), batch_size=8, epochs=r.steps // 8, seed=3)
order = None
if r.steps % 8:
    rng = np.random.default_rng(3)
    for _ in range(r.steps // 8 + 1):
        order = rng.permutation(64)
    w = check.params
    for i in range(r.steps % 8):
        p = order[8 * i: 8 * i + 8]
        w = w - 1e-7 * 2 * x[p].T @ (x[p] @ w - y[p]) / 8
    np.testing.assert_allclose(r.params, w, rtol=1e-9)
else:
    np.testing.assert_array_equal(r.params, check.params)
assert len(r.losses) == r.steps
print("consistent", flush=True)
"""


def test_ctrl_c_stops_within_two_seconds_with_the_parameters_of_that_moment() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.7)
        os.kill(process.pid, signal.SIGINT)
        start = time.monotonic()
        said = process.stdout.readline().split()
        waited = time.monotonic() - start
        out, errors = process.communicate(timeout=60)
    assert said[:1] == ["interrupted"], errors
    assert waited < 2
    assert int(said[1]) > 100
    assert "consistent" in out, errors
    assert process.returncode == 0


def test_the_handler_of_ctrl_c_is_put_back() -> None:
    before = signal.getsignal(signal.SIGINT)
    params, data = problem()
    train.gradient_descent(line, params, data, steps=2)
    assert signal.getsignal(signal.SIGINT) is before
    with pytest.raises(TrainingError):
        train.gradient_descent(lambda w, x: np.sum(x) * w, np.inf, np.ones(3), steps=2)
    assert signal.getsignal(signal.SIGINT) is before


# -- bad input ---------------------------------------------------------------------------------------


def wrong(loss: Any, params: Any, data: Any, **options: Any) -> str:
    with pytest.raises(GraphJITError) as caught:
        train.minimize(loss, params, data, train.sgd(0.1), **options)
    return f"{type(caught.value).__name__}: {caught.value}"


def test_data_that_cannot_be_cut_into_batches() -> None:
    params, (x, y) = problem()
    assert "masked" in wrong(line, params, (np.ma.masked_less(x, 0), y))
    assert "ShapeError: a batch of 24 cannot be taken from 23" in wrong(
        line, params, (x, y), batch_size=24
    )
    assert "a batch of 0" in wrong(line, params, (x, y), batch_size=0)
    assert "a batch of -1" in wrong(line, params, (x, y), batch_size=-1)
    assert "same number of examples" in wrong(line, params, (x, y[:-1]))
    assert "same number of examples" in wrong(line, params, (x, 3.0))
    assert "same number of examples" in wrong(line, params, ())
    assert "no examples" in wrong(line, params, (x[:0], y[:0]))


def test_a_loss_that_has_no_gradient() -> None:
    params, data = problem()
    assert "scalar" in wrong(lambda p, x, y: (x @ p[0] - y) ** 2, params, data)
    assert "no float" in wrong(lambda p, x, y: np.sum(x @ p[0] > y), params, data)
    assert "TraceError" in wrong(lambda p, x, y: float(np.sum(x @ p[0])), params, data)


@pytest.mark.parametrize("params", [3, np.arange(3), [1, 2], {}, None], ids=str)
def test_parameters_without_a_float_cannot_be_trained(params: Any) -> None:
    with pytest.raises((DTypeError, TraceError)):
        train.gradient_descent(lambda p, x: np.mean(x), params, np.ones(4), steps=1)


def test_labels_out_of_range_name_the_line() -> None:
    params, (x, y) = net()
    y[17] = 3
    with pytest.raises(IndexRangeError, match="axis of size 3") as caught:
        train.minimize(classifier, params, (x, y), train.sgd(0.1), batch_size=8)
    assert "test_train.py" in str(caught.value)
    assert "logp[np.arange(len(y)), y]" in str(caught.value)


def test_shapes_that_do_not_fit_name_the_line() -> None:
    (w, b), (x, y) = problem()
    with pytest.raises(ShapeError, match=r"test_train\.py"):
        train.minimize(line, (w[:2], b), (x, y), train.sgd(0.1))


# -- compiling once ----------------------------------------------------------------------------------


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
    fitted = lambda: train.gradient_descent(loss, np.zeros(20), data, 1.0, steps=1)  # noqa: E731
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
        "test_train.py",
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


# -- progress, threads -------------------------------------------------------------------------------


def test_the_progress_bar_counts_all_steps(capsys: pytest.CaptureFixture[str]) -> None:
    params, data = problem()
    train.minibatch_sgd(line, params, data, batch_size=5, epochs=8, progress=True)
    shown = capsys.readouterr().err
    assert "40/40" in shown
    assert "loss=" in shown


def test_without_progress_nothing_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    params, data = problem()
    train.minibatch_sgd(line, params, data, batch_size=5, epochs=2)
    assert capsys.readouterr() == ("", "")


def test_several_threads_train_at_once(compiled: None) -> None:
    params, data = problem()
    expected = [
        train.minibatch_sgd(line, params, data, batch_size=5, epochs=20, seed=s) for s in range(6)
    ]
    found: dict[int, Any] = {}

    def run(seed: int) -> None:
        with override(jit=True):
            found[seed] = train.minibatch_sgd(
                line, params, data, batch_size=5, epochs=20, seed=seed
            )

    threads = [threading.Thread(target=run, args=(s,)) for s in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed, result in enumerate(expected):
        np.testing.assert_array_equal(found[seed].params[0], result.params[0])
        np.testing.assert_array_equal(found[seed].losses, result.losses)
