"""Training loops in plain NumPy, for the tests of the native ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import optree

from graphjit.train.optimizers import is_float

Array = np.ndarray[Any, Any]
NAMESPACE = "graphjit"


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
    """The loop itself, with ``update(leaf, gradient, memory, step)`` for each leaf."""
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
        (rng.normal(size=(m, n)).astype(dtype), np.zeros(n, dtype)) for m, n in pairwise(sizes)
    ]
    return params, (rng.normal(size=(30, 6)).astype(dtype), rng.integers(0, 3, 30))
