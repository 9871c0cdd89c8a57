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
# What a good Numba programmer writes: no fast-math, for the results shall agree, and NumPy's
# division, for a check of the divisor at each division keeps loops from being vectorised.
njit = numba.njit(fastmath=False, error_model="numpy")


@dataclass(frozen=True)
class Case:
    """Competitors that return equal results.

    Attributes:
        name: What is computed, on what.
        kind: ``call`` from Python, ``program`` alone, or a training ``loop``.
        prepare: Makes the competitors by name; ``Numba`` begins the hand-written kernels' names.
        steps: How many a call makes: times are divided by it.
        tolerance: Relative, on the agreement of results.
    """

    name: str
    kind: str
    prepare: Callable[[], Mapping[str, Thunk]]
    steps: int = 1
    tolerance: float = 1e-8


@dataclass(frozen=True)
class Hand:
    """A hand-written kernel; ``answer`` makes what is compared from what it returns."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    answer: Callable[[Any], Any]

    def __call__(self) -> Any:
        """Call it from Python."""
        return self.answer(self.function(*self.args))


def repeated(function: Callable[..., Any], args: tuple[Any, ...], repeats: int) -> Thunk:
    """Call a compiled function again and again from compiled code; gives the last result.

    The result is carried out of the loop, or the compiler would leave out what nobody reads.
    """

    @njit
    def many(args: Any) -> Any:
        result = function(*args)
        for _ in range(repeats - 1):
            result = function(*args)
        return result

    return lambda: many(args)


def alone(
    own: Callable[..., Any], args: tuple[Any, ...], by_hand: Mapping[str, Hand], repeats: int
) -> dict[str, Thunk]:
    """Programs by themselves, without the launch from Python.

    Args:
        own: A function of ``graphjit`` that was not called yet.
        args: What it is called with.
        by_hand: The competitors.
        repeats: How often a call runs each.
    """
    competitors = {
        name: after(repeated(hand.function, hand.args, repeats), hand.answer)
        for name, hand in by_hand.items()
    }
    entry, pack, outputs = captured(own, args)
    program = repeated(entry, (id(pack),), repeats)
    competitors["GraphJIT"] = after(program, lambda _: (outputs, len(pack))[0])
    return competitors


def after(call: Thunk, answer: Callable[[Any], Any]) -> Thunk:
    return lambda: answer(call())


def captured(own: Callable[..., Any], args: tuple[Any, ...]) -> tuple[Any, Any, Any]:
    """The entry of a generated program, the arguments it gets, and the outputs it writes."""
    launcher, seen = build.launcher, []

    def looking(entry: Any, *, jit: bool) -> Callable[[tuple[Any, ...]], None]:
        launch = launcher(entry, jit=jit)

        def look(pack: tuple[Any, ...]) -> None:
            seen.append((entry, pack))
            launch(pack)

        return look

    with patch.object(build, "launcher", looking):
        outputs = own(*args)
    return *seen[0], outputs


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
