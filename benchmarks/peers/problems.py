"""What each workload computes on: arguments in NumPy, and which of them are differentiated."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from peers.formulas import CHARACTERS

CELLS = 14


class Problem(NamedTuple):
    """A workload, free of any peer.

    Attributes:
        name: Unique.
        function: The name of its function in ``formulas``.
        arguments: Makes them: nested tuples of NumPy arrays and floats.
        argnums: Which are differentiated.
        tolerance: Relative, on the agreement of value and gradients.
        kind: ``gradient`` is the function's value and gradients; ``whole`` the function as it is,
            which differentiates inside; ``loop`` the same, many steps of training.
        module: Where its function is.
        otherwise: The function for a peer without a scan.
    """

    name: str
    function: str
    arguments: Callable[[], tuple[Any, ...]]
    argnums: tuple[int, ...] = (0,)
    tolerance: float = 1e-8
    kind: str = "gradient"
    module: str = "formulas"
    otherwise: str = ""


def quiz() -> tuple[Any, ...]:
    return 2.0, 3.0


def logistic() -> tuple[Any, ...]:
    rng = np.random.default_rng(0)
    x, labels = rng.standard_normal((1000, 50)), np.sign(rng.standard_normal(1000))
    return (rng.standard_normal(50), 0.1), x, labels


def layers(rng: np.random.Generator, *sizes: int) -> tuple[Any, ...]:
    pairs = pairwise(sizes)
    return tuple((rng.standard_normal((m, n)) / np.sqrt(m), np.zeros(n)) for m, n in pairs)


def small_net() -> tuple[Any, ...]:
    rng = np.random.default_rng(0)
    return layers(rng, 10, 16, 16, 1), rng.standard_normal((32, 10)), rng.random((32, 1))


def large_net() -> tuple[Any, ...]:
    rng = np.random.default_rng(0)
    single = np.float32
    params = [(w.astype(single), b.astype(single)) for w, b in layers(rng, 784, 256, 128, 10)]
    return tuple(params), rng.standard_normal((128, 784), single), rng.integers(0, 10, 128)


def lstm() -> tuple[Any, ...]:
    rng = np.random.default_rng(0)
    w, b = rng.standard_normal((2, 2, 4, CELLS))
    ends = tuple(rng.standard_normal((3, CELLS)))
    state = tuple(rng.standard_normal((4, CELLS)))
    sequence = np.eye(CELLS)[rng.integers(0, CELLS, CHARACTERS)]
    return (*ends, tuple(w), tuple(b)), state, sequence


def formula() -> tuple[Any, ...]:
    return 1.5, 0.7


def formula_of_vectors() -> tuple[Any, ...]:
    return np.linspace(-2, 2, 1000), np.linspace(0.5, 1.5, 1000)


PROBLEMS = {
    problem.name: problem
    for problem in (
        Problem("quiz", "quiz", quiz, (0, 1)),
        Problem("logistic 1000x50", "logistic", logistic),
        Problem("net 10-16-16-1", "squared_error", small_net),
        Problem("net 784-256-128-10", "cross_entropy", large_net, tolerance=2e-4),
        Problem("LSTM, scan", "lstm_scan", lstm),
        Problem("LSTM, Python loop", "lstm_loop", lstm),
        Problem("formula, scan", "formula_scan", formula, (0, 1)),
        Problem("formula, Python loop", "formula_loop", formula, (0, 1)),
        Problem("formula of vectors, Python loop", "formula_loop", formula_of_vectors, (0, 1)),
    )
}
