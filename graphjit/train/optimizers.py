"""Optimizers: plain NumPy on pytrees, traced into the training step.

Each has ``init(params) -> state`` and ``update(gradients, state, params) -> (updates, state)``;
the new parameters are ``params + updates``. Their float fields (learning rate, momentum, ...) are
arguments of the compiled step, so another value compiles nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import optree

NAMESPACE = "graphjit"
Schedule = float | Callable[[Any], Any]


class Optimizer(Protocol):
    """What a training loop needs of an optimizer: a frozen dataclass with these methods."""

    def init(self, params: Any) -> Any:
        """The state before the first step."""

    def update(self, gradients: Any, state: Any, params: Any) -> tuple[Any, Any]:
        """What to add to the parameters, and the next state."""


def tree_map(function: Callable[..., Any], tree: Any, *others: Any) -> Any:
    """Apply a function to the leaves of equal trees; static leaves (no floats) stay."""

    def leaf(first: Any, *rest: Any) -> Any:
        return function(first, *rest) if is_float(first) else first

    return optree.tree_map(leaf, tree, *others, namespace=NAMESPACE)


def is_float(leaf: Any) -> bool:
    """Whether the leaf is trained."""
    return isinstance(leaf, float) or getattr(getattr(leaf, "dtype", None), "kind", "") == "f"


def apply_updates(params: Any, updates: Any) -> Any:
    """The parameters plus the updates, in the parameters' dtypes."""
    return tree_map(lambda p, u: _as(p + u, p), params, updates)


def _as(value: Any, like: Any) -> Any:
    """The value in the dtype of another; Python floats are left as they are."""
    dtype, own = getattr(like, "dtype", None), getattr(value, "dtype", None)
    return value if dtype is None or own is None or own == dtype else value.astype(dtype)


def zeros_like(params: Any) -> Any:
    """Zeros in the shapes and dtypes of the trained leaves."""
    return tree_map(np.zeros_like, params)


@dataclass(frozen=True)
class SGD:
    """Gradient descent: ``params - learning_rate * gradient``, with momentum if given.

    With momentum (Polyak 1964) ``velocity = momentum * velocity + gradient`` replaces the
    gradient; with ``nesterov`` (Sutskever et al. 2013) ``gradient + momentum * velocity`` does.

    Attributes:
        learning_rate: A positive float, or a function of the number of the step (from 0) in NumPy.
        momentum: In [0, 1), or None for no velocity.
        nesterov: Look ahead along the velocity.
    """

    learning_rate: Schedule
    momentum: float | None = None
    nesterov: bool = False

    def init(self, params: Any) -> Any:
        """The count of steps, for a schedule, and the velocity."""
        state: dict[str, Any] = {"step": 0.0} if callable(self.learning_rate) else {}
        return state if self.momentum is None else {**state, "velocity": zeros_like(params)}

    def update(self, gradients: Any, state: Any, params: Any) -> tuple[Any, Any]:
        """The step against the gradient."""
        rate, state = scheduled(self.learning_rate, state)
        momentum = self.momentum
        if momentum is None:
            return tree_map(lambda g: -rate * g, gradients), state
        velocity = tree_map(lambda v, g: momentum * v + g, state["velocity"], gradients)
        ahead = velocity
        if self.nesterov:
            ahead = tree_map(lambda g, v: g + momentum * v, gradients, velocity)
        return tree_map(lambda a: -rate * a, ahead), {**state, "velocity": velocity}


@dataclass(frozen=True)
class Adam:
    """Adam (Kingma & Ba 2015, algorithm 1).

    Attributes:
        learning_rate: A positive float, or a function of the number of the step (from 0) in NumPy.
        beta1: Decay of the mean of the gradients.
        beta2: Decay of the mean of their squares.
        epsilon: Added to the root of the latter.
    """

    learning_rate: Schedule = 1e-3
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8

    def init(self, params: Any) -> Any:
        """The count of steps and both means, at zero."""
        return {"step": 0.0, "mean": zeros_like(params), "square": zeros_like(params)}

    def update(self, gradients: Any, state: Any, params: Any) -> tuple[Any, Any]:
        """The step along the mean gradient, scaled by the root mean square."""
        rate, state = scheduled(self.learning_rate, state, counted=True)
        b1, b2, step = self.beta1, self.beta2, state["step"]
        mean = tree_map(lambda m, g: b1 * m + (1 - b1) * g, state["mean"], gradients)
        square = tree_map(lambda s, g: b2 * s + (1 - b2) * g * g, state["square"], gradients)
        scale, root = rate / (1 - b1**step), 1 / (1 - b2**step)

        def leaf(m: Any, s: Any) -> Any:
            return -_as(scale, m) * m / (np.sqrt(s * _as(root, s)) + self.epsilon)

        return tree_map(leaf, mean, square), {"step": step, "mean": mean, "square": square}


def scheduled(rate: Schedule, state: Any, *, counted: bool = False) -> tuple[Any, Any]:
    """The learning rate of this step, and the state with the step counted."""
    if not callable(rate):
        return rate, {**state, "step": state["step"] + 1} if counted else state
    return rate(state["step"]), {**state, "step": state["step"] + 1}


def sgd(learning_rate: Schedule, momentum: float | None = None, *, nesterov: bool = False) -> SGD:
    """Gradient descent, see ``SGD``."""
    return SGD(learning_rate, momentum, nesterov)


def adam(
    learning_rate: Schedule = 1e-3, beta1: float = 0.9, beta2: float = 0.999, epsilon: float = 1e-8
) -> Adam:
    """Adam, see ``Adam``."""
    return Adam(learning_rate, beta1, beta2, epsilon)
