"""Native training loops against plain NumPy loops over the same batches."""

from __future__ import annotations

from itertools import chain
from typing import Any

import numpy as np
import optree
import pytest

import graphjit
from graphjit import train
from graphjit.errors import TrainingError
from graphjit.flags import override
from running import WAYS, Way, way
from training_by_hand import (
    NAMESPACE,
    adam_update,
    assert_trees_close,
    batches,
    by_hand,
    classifier,
    line,
    line_by_hand,
    net,
    problem,
    sgd_update,
)

pytestmark = pytest.mark.usefixtures("as_python")


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


@WAYS
def test_the_three_loops_of_the_lecture(jit: Way) -> None:
    params, data = problem(12)
    with override(**way(jit)):
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
    trained: Any = (result.params, result.state["mean"])
    for leaf in optree.tree_leaves(trained, namespace=NAMESPACE):
        assert leaf.dtype == dtype


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
        assert sorted(chain(*steps[3 * epoch : 3 * epoch + 3])) == list(range(11))
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


@pytest.mark.parametrize("kind", [np.random.PCG64, np.random.MT19937])
@pytest.mark.parametrize("rate", [0.1, 1e3])
def test_a_generator_stands_after_the_epochs_that_began(rate: float, kind: Any) -> None:
    """Where training ends before all orders that were drawn at once are used."""
    params, data = problem()
    for _ in range(2):  # the second draws more of them, since it is known how long steps take
        ours, theirs = (np.random.Generator(kind(5)) for _ in range(2))
        try:
            result = train.minimize(
                line, params, data, train.sgd(rate), batch_size=5, epochs=500, seed=ours,
                tolerance=1e-3,
            )  # fmt: skip
            assert result.reason == "converged"
            steps = len(result.losses)
        except TrainingError as error:
            steps = len(error.result.losses) + 1  # type: ignore[attr-defined]
        assert 2 < steps < 500
        for _ in range(-(-steps // 5)):
            theirs.permutation(len(data[0]))
        assert ours.integers(1 << 40) == theirs.integers(1 << 40)


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
