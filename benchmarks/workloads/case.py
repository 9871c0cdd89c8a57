"""What a workload is: the same computation by several hands."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np

import graphjit
from graphjit.flags import override

Thunk = Callable[[], Any]
ALIVE: list[Any] = []  # programs whose machine code is called by its address, and their arrays
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
    entry, table, outputs = captured(own, args)
    program = repeated(entry, (table.ctypes.data,), repeats)
    competitors["GraphJIT"] = after(program, lambda _: (outputs, len(table))[0])
    return competitors


def after(call: Thunk, answer: Callable[[Any], Any]) -> Thunk:
    return lambda: answer(call())


def captured(own: Callable[..., Any], args: tuple[Any, ...]) -> tuple[Any, Any, Any]:
    """The native program as a function of C, the table of pointers it gets, and the results."""
    with override(tier="best", cache=False):
        outputs = own(*args)
    (known,) = own._programs.values()  # noqa: SLF001 - the program itself is measured
    program = known.program
    arrays = known.conformed(own._arguments(args, {}).leaves)  # noqa: SLF001 - as above
    arrays += [array for array, *_ in known.hidden]
    arrays += [*program.constants, *(np.empty(*output) for output in program.outputs)]
    kept = [np.ascontiguousarray(array) for array in (*arrays, *program.take_scratch())]
    table = np.array([array.ctypes.data for array in kept], np.uintp)
    entry = ctypes.CFUNCTYPE(None, ctypes.c_size_t)(program.code.address("run"))
    ALIVE.append((program, kept))
    return entry, table, outputs


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
