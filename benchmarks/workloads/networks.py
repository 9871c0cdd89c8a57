"""Networks with two hidden layers of sigmoids: value and gradient, a step, training loops.

10-16-16-1 has a squared error; 64-64-32-10 is the classifier of handwritten digits.
"""

from __future__ import annotations

import math
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
from scipy.special import expit
from workloads.case import Case, Hand, alone, njit, orders, trained
from workloads.layers import (
    PRODUCTS,
    affine_gradients,
    cross_entropy_head,
    descend,
    sigmoid_layers,
    squared_error_head,
)

import graphjit

RATE = 0.1
REPEATS = 16


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def squared_error(params: Any, x: Any, y: Any) -> Any:
    for w, b in params:
        x = sigmoid(x @ w + b)
    return np.mean((x - y) ** 2)


def cross_entropy(params: Any, x: Any, y: Any) -> Any:
    for w, b in params[:-1]:
        x = sigmoid(x @ w + b)
    w, b = params[-1]
    logits = x @ w + b
    logits = logits - np.max(logits, axis=1, keepdims=True)
    logp = logits - np.log(np.sum(np.exp(logits), axis=1, keepdims=True))
    return -np.mean(logp[np.arange(len(y)), y])


# -- by hand in NumPy ------------------------------------------------------------------------------


def numpy_squared_error(z: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray]:
    out = expit(z)
    off = out - y
    return np.mean(off * off), off * out * (1 - out) * (2 / off.size)


def numpy_cross_entropy(z: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray]:
    z = z - np.max(z, axis=1, keepdims=True)
    power = np.exp(z)
    total = np.sum(power, axis=1, keepdims=True)
    rows = np.arange(len(y))
    loss = np.mean(np.log(total[:, 0]) - z[rows, y])
    delta = power / total
    delta[rows, y] -= 1
    return loss, delta / len(y)


def by_numpy(head: Any, params: Any, x: np.ndarray, y: np.ndarray) -> Any:
    (w1, b1), (w2, b2), (w3, b3) = params
    h1 = expit(x @ w1 + b1)
    h2 = expit(h1 @ w2 + b2)
    loss, d3 = head(h2 @ w3 + b3, y)
    d2 = d3 @ w3.T * h2 * (1 - h2)
    d1 = d2 @ w2.T * h1 * (1 - h1)
    pairs = ((x, d1), (h1, d2), (h2, d3))
    return loss, [(below.T @ delta, delta.sum(axis=0)) for below, delta in pairs]


# -- by hand in Numba ------------------------------------------------------------------------------


def gradient_of(products, head, dtype):
    """The value and gradient; ``space`` is two arrays a layer, and a square to turn matrices in."""
    forward, backward = sigmoid_layers(products, dtype)
    product, gradients = products[0], affine_gradients(products)

    @njit
    def value_and_gradient(p1, p2, p3, x, y, g1, g2, g3, space):
        h1, h2, z, d1, d2, d3, spare = space
        forward(x, p1[0], p1[1], h1, spare)
        forward(h1, p2[0], p2[1], h2, spare)
        product(h2, p3[0], z, spare)
        loss = head(z, p3[1], y, d3)
        backward(d3, p3[0], h2, d2, spare)
        backward(d2, p2[0], h1, d1, spare)
        gradients(x, d1, g1[0], g1[1], spare)
        gradients(h1, d2, g2[0], g2[1], spare)
        gradients(h2, d3, g3[0], g3[1], spare)
        return loss

    return value_and_gradient


def step_of(value_and_gradient):
    @njit
    def step(p1, p2, p3, x, y, g1, g2, g3, space, rate):
        loss = value_and_gradient(p1, p2, p3, x, y, g1, g2, g3, space)
        descend(p1[0], p1[1], g1[0], g1[1], rate)
        descend(p2[0], p2[1], g2[0], g2[1], rate)
        descend(p3[0], p3[1], g3[0], g3[1], rate)
        return loss

    return step


@njit
def rows_of(space, n):
    """The first rows of the hidden arrays, for a smaller batch."""
    h1, h2, z, d1, d2, d3, spare = space
    return h1[:n], h2[:n], z[:n], d1[:n], d2[:n], d3[:n], spare


def loop_of(step):
    @njit
    def train(p1, p2, p3, x, y, order, batch, g1, g2, g3, space, rate, losses):
        rows, targets = np.empty((batch, x.shape[1]), x.dtype), np.empty_like(y[:batch])
        done = 0
        for first in range(0, order.size, len(x)):
            for start in range(first, first + len(x), batch):
                n = min(batch, first + len(x) - start)
                for i in range(n):
                    rows[i] = x[order[start + i]]
                    targets[i] = y[order[start + i]]
                losses[done] = step(
                    p1, p2, p3, rows[:n], targets[:n], g1, g2, g3, rows_of(space, n), rate
                )
                done += 1

    return train


# -- the cases -------------------------------------------------------------------------------------


class Problem:
    """A network, its data, and the space that hand-written kernels work in."""

    def __init__(self, sizes: tuple[int, ...], classes: bool, examples: int, dtype: Any) -> None:
        rng = np.random.default_rng(0)
        self.sizes, self.dtype = sizes, dtype
        self.params = [
            ((rng.standard_normal((m, n)) / math.sqrt(m)).astype(dtype), np.zeros(n, dtype))
            for m, n in pairwise(sizes)
        ]
        self.x = rng.standard_normal((examples, sizes[0])).astype(dtype)
        self.y = rng.random((examples, 1)).astype(dtype)
        if classes:
            self.y = rng.integers(0, sizes[-1], examples)
        self.loss = cross_entropy if classes else squared_error
        self.numpy_head = numpy_cross_entropy if classes else numpy_squared_error
        self.head = (cross_entropy_head if classes else squared_error_head)(dtype)
        self.tolerance = 1e-8 if dtype is np.float64 else 1e-4

    @property
    def name(self) -> str:
        """Its sizes and dtype."""
        bits = np.dtype(self.dtype).itemsize * 8
        return f"net {'-'.join(map(str, self.sizes))} f{bits}"

    def empty(self, batch: int) -> tuple[Any, ...]:
        """Gradients of each layer, and the arrays of one batch."""
        gradients = [(np.empty_like(w), np.empty_like(b)) for w, b in self.params]
        layers = [np.empty((batch, n), self.dtype) for n in self.sizes[1:] * 2]
        return *gradients, (*layers, np.empty((max(self.sizes),) * 2, self.dtype))

    def kernels(self) -> dict[str, Any]:
        """The hand-written value and gradient, by name."""
        return {
            name: gradient_of(products, self.head, self.dtype)
            for name, products in PRODUCTS.items()
        }


def gradient_cases(p: Problem) -> list[Case]:
    space, args = p.empty(len(p.x)), (p.params, p.x, p.y)
    by_hand = {
        name: Hand(kernel, (*p.params, p.x, p.y, *space), lambda loss: (loss, space[:3]))
        for name, kernel in p.kernels().items()
    }
    called = {
        "NumPy": lambda: by_numpy(p.numpy_head, p.params, p.x, p.y),
        **by_hand,
        "GraphJIT": partial(graphjit.value_and_grad(p.loss), *args),
    }
    own = graphjit.value_and_grad(p.loss)
    title = f"{p.name}, value and gradient"
    return [
        Case(title, "call", lambda: called, tolerance=p.tolerance),
        Case(title, "program", lambda: alone(own, args, by_hand, REPEATS), REPEATS, p.tolerance),
    ]


def step_case(p: Problem) -> Case:
    """Parameters go on from step to step; the first result is compared."""
    gradient = graphjit.value_and_grad(p.loss)
    rate = p.dtype(RATE)

    @graphjit.jit
    def own(params, x, y):
        value, slopes = gradient(params, x, y)
        pairs = zip(params, slopes, strict=True)
        return value, [(w - RATE * dw, b - RATE * db) for (w, b), (dw, db) in pairs]

    def by_hand(kernel):
        params, space = copied(p.params), p.empty(len(p.x))
        step, given = step_of(kernel), (*params, p.x, p.y, *space, rate)
        return lambda: (step(*given), params)

    def numpy_step():
        value, slopes = by_numpy(p.numpy_head, p.params, p.x, p.y)
        pairs = zip(p.params, slopes, strict=True)
        return value, [(w - rate * dw, b - rate * db) for (w, b), (dw, db) in pairs]

    competitors = {
        "NumPy": numpy_step,
        **{name: by_hand(kernel) for name, kernel in p.kernels().items()},
        "GraphJIT": lambda: own(p.params, p.x, p.y),
    }
    return Case(f"{p.name}, step", "call", lambda: competitors, tolerance=p.tolerance)


def loop_case(p: Problem, batch: int, epochs: int, *, shuffle: bool) -> Case:
    count = -(-len(p.x) // batch) * epochs

    def by_hand(kernel):
        train = loop_of(step_of(kernel))

        def call():
            params, space, losses = copied(p.params), p.empty(batch), np.empty(count)
            order = orders(len(p.x), epochs, shuffle=shuffle)
            train(*params, p.x, p.y, order, batch, *space, p.dtype(RATE), losses)
            return losses, params

        return call

    competitors = {name: by_hand(kernel) for name, kernel in p.kernels().items()}
    competitors["GraphJIT"] = trained(
        p.loss, p.params, (p.x, p.y), RATE, batch, epochs, shuffle=shuffle
    )
    title = f"{p.name}, batch {batch}, {count} steps{'' if shuffle else ', in order'}"
    return Case(title, "loop", lambda: competitors, count, tolerance=1e2 * p.tolerance)


def copied(params: Any) -> Any:
    return [(w.copy(), b.copy()) for w, b in params]


def regression(dtype: Any, examples: int) -> Problem:
    return Problem((10, 16, 16, 1), classes=False, examples=examples, dtype=dtype)


def digits(examples: int) -> Problem:
    """As many classes and features as the digits have; their values do not change the time."""
    return Problem((64, 64, 32, 10), classes=True, examples=examples, dtype=np.float64)


def cases(batch: int = 32, examples: int = 1024, epochs: int = 313) -> list[Case]:
    found = []
    for dtype in (np.float32, np.float64):
        small = regression(dtype, batch)
        found += [*gradient_cases(small), step_case(small)]
        large = regression(dtype, examples)
        found += [loop_case(large, batch, epochs, shuffle=s) for s in (True, False)]
    small, large = digits(batch), digits(examples * 4 // 3)
    steps = -(-len(large.x) // batch)
    found += [*gradient_cases(small), step_case(small)]
    return [*found, loop_case(large, batch, max(1, epochs * 32 // steps), shuffle=True)]
