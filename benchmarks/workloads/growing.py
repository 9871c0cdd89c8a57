"""Functions that grow: chains of elementwise functions, and networks of many layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Problem = tuple[Callable[..., Any], tuple[Any, ...]]
WIDTH = 16


def chain(depth: int) -> Problem:
    """``depth`` elementwise functions, one after the other, and a sum."""

    def function(x: Any) -> Any:
        steps = (np.sin, np.tanh, lambda y: 1.01 * y, lambda y: y + 0.5)
        for k in range(depth):
            x = steps[k % len(steps)](x)
        return np.sum(x)

    return function, (np.linspace(-1, 1, 1000),)


def net(layers: int) -> Problem:
    """``layers`` layers of sigmoids, and the mean of the squared error."""

    def loss(params: Any, x: Any, y: Any) -> Any:
        for w, b in params:
            x = 1 / (1 + np.exp(-(x @ w + b)))
        return np.mean((x - y) ** 2)

    rng = np.random.default_rng(0)
    params = [(rng.standard_normal((WIDTH, WIDTH)), np.zeros(WIDTH)) for _ in range(layers)]
    return loss, (params, rng.standard_normal((32, WIDTH)), rng.random((32, WIDTH)))


KINDS = {"chain": chain, "net": net}
