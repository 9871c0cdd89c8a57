"""The workloads as plain NumPy functions, and the same for libraries that look like NumPy.

GraphJIT compiles these functions as they stand. For another library ``written_for`` gives the same
functions with its namespace in NumPy's place, so all peers run one text.
"""

from __future__ import annotations

from importlib import import_module
from types import FunctionType
from typing import Any

import numpy as np

CHARACTERS = 100  # of the sequence that the LSTM reads
STEPS = 500  # of the formula: four operations each
STEP = 0.01


def scan(step: Any, init: Any, xs: Any, length: int | None = None) -> Any:
    """Stands for the peer's own, with JAX's signature."""
    raise NotImplementedError


def quiz(x, z):
    return np.exp(x * z) + x * z / np.log(x) + np.sin(np.log(x)) / (x * z)


def logistic(params, x, labels):
    w, b = params
    return np.mean(np.logaddexp(0, -labels * (x @ w + b)))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def squared_error(params, x, y):
    for w, b in params:
        x = sigmoid(x @ w + b)
    return np.mean((x - y) ** 2)


def cross_entropy(params, x, y):
    for w, b in params[:-1]:
        x = np.maximum(x @ w + b, 0)
    w, b = params[-1]
    logits = x @ w + b
    logits = logits - np.max(logits, axis=1, keepdims=True)
    logp = logits - np.log(np.sum(np.exp(logits), axis=1, keepdims=True))
    return -np.mean(logp[np.arange(y.shape[0]), y])


def cell(w, b, h, s, x):
    """One layer of the LSTM at one time: its new output and its new state."""
    forget, enter = sigmoid(x * w[0] + b[0]), sigmoid(h * w[1] + b[1])
    s = s * forget + enter * np.tanh(h * w[3] + b[3])
    return sigmoid(x * w[2] + b[2]) * np.tanh(s), s


def lstm_step(params, state, x):
    """One character: the new state, and log p of each next one."""
    enter, leave, bias, (w1, w2), (b1, b2) = params
    h1, s1, h2, s2 = state
    h1, s1 = cell(w1, b1, h1, s1, x * enter)
    h2, s2 = cell(w2, b2, h2, s2, h1)
    guess = h2 * leave + bias
    return (h1, s1, h2, s2), guess - np.log(np.sum(np.exp(guess)))


def lstm_scan(params, state, sequence):
    def step(state, x):
        return lstm_step(params, state, x)

    _, logp = scan(step, state, sequence[:-1])
    return -np.sum(sequence[1:] * logp) / (CHARACTERS - 1)


def lstm_loop(params, state, sequence):
    total = 0.0
    for t in range(CHARACTERS - 1):
        state, logp = lstm_step(params, state, sequence[t])
        total = total + np.sum(sequence[t + 1] * logp)
    return -total / (CHARACTERS - 1)


def formula_scan(x, z):
    def step(x, _):
        return x + STEP * np.sin(x * z), None

    x, _ = scan(step, x, None, length=STEPS)
    return np.sum(x)


def formula_loop(x, z):
    for _ in range(STEPS):
        x = x + STEP * np.sin(x * z)
    return np.sum(x)


def written_for(
    numpy: Any, scan: Any = None, module: str = "formulas", **others: Any
) -> dict[str, Any]:
    """The functions of this module by name, with another namespace for ``np``.

    Args:
        numpy: It.
        scan: The peer's, with JAX's signature.
        module: Where more functions are: a module of peers.
        others: What else a peer has instead of a name of that module.
    """
    names = dict(globals())
    if module != "formulas":
        names.update(vars(import_module(f"peers.{module}")))
    for name, value in list(names.items()):
        if isinstance(value, FunctionType):
            names[name] = FunctionType(value.__code__, names, name, value.__defaults__)
    names.update(np=numpy, scan=scan, **others)
    return names
