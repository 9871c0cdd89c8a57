"""What a workload is: the same computation by several hands."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import numba
import numpy as np

import graphjit
from graphjit.codegen import build

Thunk = Callable[[], Any]
REPEATS = 64
# What a good Numba programmer writes: no fast-math, for the results shall agree, and NumPy's
# division, for a check of the divisor at each division keeps loops from being vectorised.
njit = numba.njit(fastmath=False, error_model="numpy")


@dataclass(frozen=True)
class Case:
    """Competitors that return equal results.

    Attributes:
        name: What is computed, on what.
        kind: ``call`` from Python, ``program`` alone, or a training ``loop``.
        competitors: By name; those that begin with ``Numba`` are hand-written kernels.
        steps: How many a call makes: times are divided by it.
        tolerance: Relative, on the agreement of results.
    """

    name: str
    kind: str
    competitors: Mapping[str, Thunk]
    steps: int = 1
    tolerance: float = 1e-8


def repeated(function: Callable[..., Any], args: tuple[Any, ...], result: Thunk) -> Thunk:
    """Call a compiled function ``REPEATS`` times from compiled code: no Python between calls."""

    @njit
    def many(args: Any) -> None:
        for _ in range(REPEATS):
            function(*args)

    def call() -> Any:
        many(args)
        return result()

    return call


def program_alone(function: Callable[..., Any], args: tuple[Any, ...]) -> Thunk:
    """The generated program by itself, without the launch from Python."""
    packs = []
    launch = build.launch

    def seen(entry: Any, pack: tuple[Any, ...], *, jit: bool) -> None:
        packs.append((entry, pack))
        launch(entry, pack, jit=jit)

    function(*args)
    with patch.object(build, "launch", seen):
        result = function(*args)  # its arrays are those that the program goes on writing to
    entry, pack = packs[0]
    return repeated(entry, (id(pack),), lambda: (result, len(pack))[0])


def orders(examples: int, epochs: int, *, shuffle: bool) -> np.ndarray:
    """The order of the examples as ``graphjit.train`` draws it."""
    rng = np.random.default_rng(0)
    draw = (lambda: rng.permutation(examples)) if shuffle else (lambda: np.arange(examples))
    return np.concatenate([draw() for _ in range(epochs)])


def trained(
    loss: Callable[..., Any], params: Any, data: Any, rate: float, batch: int, epochs: int,
    *, shuffle: bool,
) -> Thunk:  # fmt: skip
    """``graphjit.train.minimize`` with gradient descent; gives losses and parameters."""

    def call() -> Any:
        result = graphjit.train.minimize(
            loss, params, data, graphjit.train.sgd(rate), batch_size=batch, epochs=epochs,
            shuffle=shuffle,
        )  # fmt: skip
        return result.losses, result.params

    return call
