"""Long arrays: a chain of elementwise functions, and Rosenbrock's function."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from workloads.case import Case, Hand, alone, njit

import graphjit


def chain(x: Any) -> Any:
    return np.sum(np.tanh(x) * np.exp(-(x**2)) + np.log1p(np.exp(x)) * np.sin(x))


def chain_by_numpy(x: np.ndarray) -> tuple[float, np.ndarray]:
    bell, tangent, power = np.exp(-x * x), np.tanh(x), np.exp(x)
    soft, sine = np.log1p(power), np.sin(x)
    value = np.sum(tangent * bell + soft * sine)
    first = (1 - tangent * tangent - 2 * x * tangent) * bell
    return value, first + power / (1 + power) * sine + soft * np.cos(x)


@njit
def chain_by_numba(x: np.ndarray, gradient: np.ndarray) -> float:
    value = 0.0
    for i in range(x.size):
        t = x[i]
        bell, tangent, power = math.exp(-t * t), math.tanh(t), math.exp(t)
        soft, sine = math.log1p(power), math.sin(t)
        value += tangent * bell + soft * sine
        first = (1.0 - tangent * tangent - 2.0 * t * tangent) * bell
        gradient[i] = first + power / (1.0 + power) * sine + soft * math.cos(t)
    return value


def rosenbrock(x: Any) -> Any:
    return np.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def rosenbrock_by_numpy(x: np.ndarray) -> tuple[float, np.ndarray]:
    here, rest = x[:-1], 1 - x[:-1]
    off = x[1:] - here * here
    gradient = np.zeros_like(x)
    gradient[1:] = 200 * off
    gradient[:-1] -= 400 * off * here + 2 * rest
    return np.sum(100 * off * off + rest * rest), gradient


@njit
def rosenbrock_by_numba(x: np.ndarray, gradient: np.ndarray) -> float:
    value, carried = 0.0, 0.0
    for i in range(x.size - 1):
        here = x[i]
        off, rest = x[i + 1] - here * here, 1.0 - here
        value += 100.0 * off * off + rest * rest
        gradient[i] = carried - 400.0 * off * here - 2.0 * rest
        carried = 200.0 * off
    gradient[x.size - 1] = carried
    return value


def long_array(
    name: str, function: Callable, by_numpy: Callable, by_numba: Callable, size: int
) -> list[Case]:
    """Value and gradient, called and alone.

    The system gives a large new array its memory when it is first written, which takes time; so
    the hand-written kernel is called with an old and with a new output.
    """
    x = np.random.default_rng(0).standard_normal(size)
    gradient = np.empty(size)

    hand = Hand(by_numba, (x, gradient), lambda value: (value, gradient))

    def fresh() -> Any:
        new = np.empty(size)
        return by_numba(x, new), new

    called = {
        "NumPy": lambda: by_numpy(x),
        "Numba": hand,
        "Numba, new output": fresh,
        "GraphJIT": partial(graphjit.value_and_grad(function), x),
    }
    title, repeats = f"{name}, {size:,}".replace(",", " "), max(1, 2_000_000 // size)
    return [
        Case(title, "call", lambda: called),
        Case(
            title,
            "program",
            lambda: alone(graphjit.value_and_grad(function), (x,), {"Numba": hand}, repeats),
            repeats,
        ),
    ]


def cases(size: int = 1_000_000) -> list[Case]:
    return [
        *long_array("chain", chain, chain_by_numpy, chain_by_numba, size),
        *long_array("Rosenbrock", rosenbrock, rosenbrock_by_numpy, rosenbrock_by_numba, size),
    ]
