"""How a training loop ends: tolerance, Ctrl-C, a loss that is no number, bad input; progress."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from typing import Any

import numpy as np
import pytest

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
from graphjit.train.run import Training
from training_by_hand import (
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
    """W falls by 1 a step from ``bad`` - 0.5; the loss is NaN once it is negative."""
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


@pytest.mark.parametrize("at_once", [1, 20, 1000])
@pytest.mark.parametrize("bad", [1, 3, 4, 5, 6, 7, 9, 60, 61])
def test_it_goes_back_over_the_same_examples(
    monkeypatch: pytest.MonkeyPatch, at_once: int, bad: int
) -> None:
    """Native calls end with epochs of three steps; one weight is the sum of the batches' means."""
    monkeypatch.setattr("graphjit.train.run.CHUNK_SECONDS", 10.0)
    monkeypatch.setattr("graphjit.train.run.AT_ONCE", at_once)
    x = np.arange(10.0) ** 2

    def loss(w: Any, x: Any) -> Any:
        return w[0] + np.where(w[0] > 0, 0.0, np.nan) - w[1] * np.mean(x)

    start = np.array([bad - 0.5, 0.0])
    for _ in range(2):  # first by few steps, as it is not known how long they take
        with pytest.raises(TrainingError, match=rf"not finite at step {bad} ") as caught:
            train.minimize(loss, start, x, train.sgd(1.0), batch_size=4, epochs=300, seed=1)
        result = caught.value.result  # type: ignore[attr-defined]
        rows = list(batches(10, 4, 30, seed=1))[: bad - 1]
        expected = [start[0] - (bad - 1), np.sum([np.mean(x[r]) for r in rows])]
        np.testing.assert_allclose(result.params, expected, rtol=1e-12)


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
check = train.minimize(
    loss, np.zeros(8), (x, y), train.sgd(1e-7), batch_size=8, epochs=r.steps // 8, seed=3
)
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


def test_ctrl_c_leaves_a_loop_of_brief_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    params, data = problem()
    chunk = Training.chunk

    def loss(*args: Any) -> Any:
        return line(*args)

    def pressed(self: Training, last: int) -> int:
        signal.raise_signal(signal.SIGINT)
        return chunk(self, last)

    monkeypatch.setattr(Training, "chunk", pressed)
    first = train.gradient_descent(loss, params, data, steps=2)
    assert first.reason == "interrupted"  # nobody knew yet how long it would take
    monkeypatch.setattr(Training, "chunk", chunk)
    assert train.gradient_descent(loss, params, data, steps=2).reason == "finished"
    monkeypatch.setattr(Training, "chunk", pressed)
    monkeypatch.setattr("graphjit.train.run.BRIEF", 1e6)
    with pytest.raises(KeyboardInterrupt):
        train.gradient_descent(loss, params, data, steps=2)
    monkeypatch.setattr("graphjit.train.run.BRIEF", 1e-9)
    assert train.gradient_descent(loss, params, data, steps=2).reason == "interrupted"


def test_the_handler_of_ctrl_c_is_put_back() -> None:
    before = signal.getsignal(signal.SIGINT)
    params, data = problem()
    train.gradient_descent(line, params, data, steps=2)
    assert signal.getsignal(signal.SIGINT) is before
    with pytest.raises(TrainingError):
        train.gradient_descent(lambda w, x: np.sum(x) * w, np.inf, np.ones(3), steps=2)
    assert signal.getsignal(signal.SIGINT) is before


# -- bad input ------------------------------------------------------------------------------------


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
    assert "batch_size must be an int or None" in wrong(line, params, (x, y), batch_size=True)
    assert "must be an int, not 1.5" in wrong(line, params, (x, y), epochs=1.5)
    assert "must be 0 or more, not -1" in wrong(line, params, (x, y), epochs=-1)
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
    assert "training_by_hand.py" in str(caught.value)
    assert "logp[np.arange(len(y)), y]" in str(caught.value)


def test_shapes_that_do_not_fit_name_the_line() -> None:
    (w, b), (x, y) = problem()
    with pytest.raises(ShapeError, match=r"training_by_hand\.py"):
        train.minimize(line, (w[:2], b), (x, y), train.sgd(0.1))


# -- progress, threads ----------------------------------------------------------------------------


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
