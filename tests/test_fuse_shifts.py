"""Shifts against overflow: found where a function does not depend on them, and only there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphjit
from graphjit.ir import evaluate
from graphjit.passes import adjoint as module
from graphjit.passes.adjoint import adjoint
from graphjit.passes.pipeline import PRIMAL, run
from graphjit.passes.shifts import shifts
from graphjit.tracing import trace as tracing

X = np.random.default_rng(0).standard_normal((4, 4))
W = np.random.default_rng(1).standard_normal((4, 4))


def shifted(x: Any, axis: int = 1) -> Any:
    return x - np.max(x, axis=axis, keepdims=True)


def softmax(x: Any, axis: int = 1) -> Any:
    e = np.exp(shifted(x, axis))
    return e / np.sum(e, axis=axis, keepdims=True)


def logsumexp(x: Any) -> Any:
    m = np.max(x, axis=1, keepdims=True)
    return np.squeeze(m, 1) + np.log(np.sum(np.exp(x - m), axis=1))


def negative_form(x: Any) -> Any:
    m = np.max(x, axis=1, keepdims=True)
    return -(-m - np.log(np.sum(np.exp(-(m - x)), axis=1, keepdims=True)))


INDEPENDENT: list[Callable[[Any], Any]] = [
    softmax,
    lambda x: softmax(x, axis=0),
    logsumexp,
    negative_form,
    lambda x: np.mean(np.exp(x - np.max(x)) / np.sum(np.exp(x - np.max(x))) * W),
    lambda x: shifted(x) - np.log(np.sum(np.exp(shifted(x)), axis=1, keepdims=True)),
    lambda x: np.reciprocal(np.sum(np.exp(shifted(x)), axis=1))[:, None] * np.exp(shifted(x)),
    lambda x: softmax(np.transpose(softmax(x) @ W)),
    graphjit.special.logsumexp,
    lambda x: graphjit.special.softmax(x, axis=1),
    lambda x: graphjit.special.log_softmax(x, axis=1),
]
DEPENDENT: list[Callable[[Any], Any]] = [
    lambda x: np.max(x, axis=1),
    lambda x: np.exp(shifted(x)),
    lambda x: np.exp(shifted(x)) / np.sum(np.exp(shifted(x)), axis=0),  # the other axis
    lambda x: np.exp(x - np.max(x, axis=1)) / np.sum(np.exp(shifted(x)), axis=1)[:, None],
    lambda x: np.sum(np.exp(shifted(x)), axis=0) / np.sum(np.exp(shifted(x))),
    lambda x: np.max(x, axis=1) + 2 * np.log(np.sum(np.exp(shifted(x)), axis=1)),
    lambda x: np.max(x, axis=1) - np.log(np.sum(np.exp(shifted(x)), axis=1)),
    lambda x: np.exp(shifted(x)) / (1 + np.sum(np.exp(shifted(x)), axis=1, keepdims=True)),
    lambda x: np.log(np.exp(shifted(x)) + 1) - shifted(x),
    lambda x: softmax(x) * np.max(x, axis=1, keepdims=True) - np.where(x > 0, shifted(x), 0),
    lambda x: np.sum(shifted(x), axis=1) / np.sum(shifted(x), axis=1) ** 2,
    lambda x: np.sum(np.exp(np.reshape(shifted(x), (2, 8))), axis=1),
]


def gradients(function: Callable[[Any], Any], x: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """How many shifts there are, and the gradient with the search for them and without."""
    graph = run(tracing.trace(lambda x: np.sum(function(x) * C), (x,)).graph, PRIMAL)
    args = [x] + [W] * (len(graph.inputs) - 1)
    found = evaluate(adjoint(graph, (0,)), *args)[1]
    with monkeypatch.context() as patch:
        patch.setattr(module, "shifts", lambda _: set())
        plain = evaluate(adjoint(graph, (0,)), *args)[1]
    return len(shifts(graph)), found, plain


C = 1.5


@pytest.mark.parametrize("number", range(len(INDEPENDENT)))
def test_what_cancels_is_found(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def function(x: Any) -> Any:
        y = INDEPENDENT[number](x)
        return y * np.reshape(np.arange(1.0, np.size(y) + 1), np.shape(y))

    count, found, plain = gradients(function, X, monkeypatch)
    assert count >= 1
    np.testing.assert_allclose(found, plain, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("number", range(len(DEPENDENT)))
def test_what_does_not_cancel_is_left(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    count, found, plain = gradients(DEPENDENT[number], X, monkeypatch)
    assert count == 0
    assert np.array_equal(found, plain)


STEPS: list[Callable[[np.random.Generator, list[Any]], Any]] = [
    lambda rng, v: pick(rng, v) - pick(rng, v),
    lambda rng, v: pick(rng, v) + pick(rng, v),
    lambda rng, v: np.exp(-np.abs(pick(rng, v)) if rng.random() < 0.2 else 0.5 * pick(rng, v)),
    lambda rng, v: np.exp(v[-1]),
    lambda rng, v: np.log(v[-1]),
    lambda rng, v: np.log(np.abs(pick(rng, v)) + 1),
    lambda rng, v: pick(rng, v) / pick(rng, v),
    lambda rng, v: pick(rng, v) * pick(rng, v),
    lambda rng, v: np.sum(v[-1], axis=int(rng.integers(2)), keepdims=True) + np.zeros((4, 4)),
    lambda rng, v: np.broadcast_to(np.sum(v[-1], axis=1, keepdims=True), (4, 4)),
    lambda rng, v: np.transpose(pick(rng, v)),
    lambda rng, v: -v[-1],
]


def pick(rng: np.random.Generator, values: list[Any]) -> Any:
    return values[int(rng.integers(len(values)))]


def random_function(seed: int) -> Callable[[Any], Any]:
    def f(x: Any) -> Any:
        rng = np.random.default_rng(seed)
        m = np.max(x, axis=1, keepdims=True)
        values = [x, np.broadcast_to(m, (4, 4)), x - m, np.exp(x - m)]
        if rng.random() < 0.5:
            total = np.broadcast_to(np.sum(values[3], axis=1, keepdims=True), (4, 4))
            values += [total, values[3] / total, values[1] + np.log(total), np.log(total)]
        for _ in range(int(rng.integers(1, 6))):
            values.append(STEPS[int(rng.integers(len(STEPS)))](rng, values))
        return values[-1] * W

    return f


def test_random_functions_keep_their_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = []
    for seed in range(400):
        with np.errstate(all="ignore"):
            count, found, plain = gradients(random_function(seed), X, monkeypatch)
        counts.append(count)
        scale = 1e-9 * max(1.0, float(np.nanmax(np.abs(plain), initial=0.0)))
        np.testing.assert_allclose(found, plain, rtol=1e-8, atol=scale, err_msg=str(seed))
    assert 20 < sum(c > 0 for c in counts) < 380


def test_gradients_of_any_order_are_right() -> None:
    x = X[0]
    hessian = graphjit.hessian(lambda x: np.log(np.sum(np.exp(x - np.max(x)))) + np.max(x))(x)
    p = np.exp(x) / np.sum(np.exp(x))
    np.testing.assert_allclose(hessian, np.diag(p) - np.outer(p, p), atol=1e-14)
    large = graphjit.grad(lambda x: np.sum(logsumexp(x)))(1e5 + X)
    np.testing.assert_allclose(large, softmax(1e5 + X), rtol=1e-9)
