"""Logistic regression: labels of ±1, the mean of log(1 + exp(-label * score))."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np
from scipy.special import expit
from workloads.case import Case, Hand, alone, njit, orders, trained

import graphjit

RATE = 0.1
REPEATS = 16


def loss(params: Any, x: Any, labels: Any) -> Any:
    w, b = params
    return np.mean(np.logaddexp(0, -labels * (x @ w + b)))


def by_numpy(w: np.ndarray, b: float, x: np.ndarray, labels: np.ndarray) -> Any:
    margin = -labels * (x @ w + b)
    slope = -labels * expit(margin) / len(x)
    return np.mean(np.logaddexp(0, margin)), (slope @ x, np.sum(slope))


@njit
def slopes(scores: np.ndarray, b: float, labels: np.ndarray) -> tuple[float, float]:
    """Overwrites the scores with the loss's slope in each; gives the loss, and the sum of slopes.

    One exponential serves the loss and its slope.
    """
    loss, total = 0.0, 0.0
    scale = 1.0 / scores.size
    for i in range(scores.size):
        margin = -labels[i] * (scores[i] + b)
        small = math.exp(-abs(margin))
        loss += max(margin, 0.0) + math.log1p(small)
        chance = (1.0 if margin >= 0.0 else small) / (1.0 + small)
        slope = -labels[i] * chance * scale
        scores[i] = slope
        total += slope
    return loss * scale, total


@njit
def by_blas(w, b, x, labels, scores, gradient):
    np.dot(x, w, scores)
    loss, total = slopes(scores, b, labels)
    np.dot(scores, x, gradient)
    return loss, total


@njit
def by_loops(w, b, x, labels, scores, gradient):  # noqa: ARG001 - as the other
    """Each row is read once for the score and once for the gradient, while it is in L1."""
    n, width = x.shape
    loss, total = 0.0, 0.0
    scale = 1.0 / n
    gradient[:] = 0.0
    for i in range(n):
        score = b
        for j in range(width):
            score += x[i, j] * w[j]
        margin = -labels[i] * score
        small = math.exp(-abs(margin))
        loss += max(margin, 0.0) + math.log1p(small)
        chance = (1.0 if margin >= 0.0 else small) / (1.0 + small)
        slope = -labels[i] * chance * scale
        total += slope
        for j in range(width):
            gradient[j] += slope * x[i, j]
    return loss * scale, total


def loop_of(step):
    """Mini-batch gradient descent around one of the two; the last batch may be smaller."""

    @njit
    def train(w, b, x, labels, order, batch, rate, losses):
        rows, signs = np.empty((batch, x.shape[1])), np.empty(batch)
        scores, gradient = np.empty(batch), np.empty(w.size)
        done = 0
        for first in range(0, order.size, len(x)):
            for start in range(first, first + len(x), batch):
                count = min(batch, first + len(x) - start)
                for i in range(count):
                    chosen = order[start + i]
                    signs[i] = labels[chosen]
                    for j in range(x.shape[1]):
                        rows[i, j] = x[chosen, j]
                losses[done], slope = step(
                    w, b, rows[:count], signs[:count], scores[:count], gradient
                )
                for j in range(w.size):
                    w[j] -= rate * gradient[j]
                b -= rate * slope
                done += 1
        return b

    return train


def problem(examples: int, width: int) -> tuple[Any, ...]:
    rng = np.random.default_rng(0)
    x, labels = rng.standard_normal((examples, width)), np.sign(rng.standard_normal(examples))
    return rng.standard_normal(width), 0.1, x, labels


def step_cases(examples: int, width: int) -> list[Case]:
    w, b, x, labels = problem(examples, width)
    scores, gradient = np.empty(examples), np.empty(width)
    args = ((w, b), x, labels)
    given = (w, b, x, labels, scores, gradient)

    def answer(result: tuple[float, float]) -> Any:
        return result[0], (gradient, result[1])

    by_hand = {
        "Numba, np.dot": Hand(by_blas, given, answer),
        "Numba, loops": Hand(by_loops, given, answer),
    }
    called = {
        "NumPy": lambda: by_numpy(w, b, x, labels),
        **by_hand,
        "GraphJIT": partial(graphjit.value_and_grad(loss), *args),
    }
    title = f"logistic regression {examples}×{width}"
    own = graphjit.value_and_grad(loss)
    return [
        Case(title, "call", lambda: called),
        Case(title, "program", lambda: alone(own, args, by_hand, REPEATS), REPEATS),
    ]


def loop_case(examples: int, width: int, epochs: int, *, shuffle: bool) -> Case:
    w, b, x, labels = problem(examples, width)
    batch = 32
    count = -(-examples // batch) * epochs

    def by_hand(train):
        def call():
            order, own, losses = (
                orders(examples, epochs, shuffle=shuffle),
                w.copy(),
                np.empty(count),
            )
            last = train(own, b, x, labels, order, batch, RATE, losses)
            return losses, (own, last)

        return call

    competitors = {
        "Numba, np.dot": by_hand(loop_of(by_blas)),
        "Numba, loops": by_hand(loop_of(by_loops)),
        "GraphJIT": trained(loss, (w, b), (x, labels), RATE, batch, epochs, shuffle=shuffle),
    }
    title = f"logistic regression {examples}×{width}, batch {batch}, {count} steps"
    title += "" if shuffle else ", in order"
    return Case(title, "loop", lambda: competitors, count)


def cases(examples: int = 1000, long: int = 10_000, epochs: int = 33) -> list[Case]:
    loops = [loop_case(long, 50, epochs, shuffle=shuffle) for shuffle in (True, False)]
    return [*step_cases(examples, 50), *loops]
