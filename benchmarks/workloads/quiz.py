"""The quiz of the lecture: value and both derivatives of a formula of two numbers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from workloads.case import Case, njit

import graphjit


def quiz(x: Any, z: Any) -> Any:
    return np.exp(x * z) + x * z / np.log(x) + np.sin(np.log(x)) / (x * z)


def by_numpy(x: float, z: float) -> tuple[float, float, float]:
    product, logarithm = x * z, np.log(x)
    power, sine, cosine = np.exp(product), np.sin(logarithm), np.cos(logarithm)
    value = power + product / logarithm + sine / product
    over = power + 1 / logarithm - sine / product**2
    return value, over * z + (cosine / product - product / logarithm**2) / x, over * x


@njit
def by_numba(x: float, z: float) -> tuple[float, float, float]:
    product, logarithm = x * z, math.log(x)
    power, sine, cosine = math.exp(product), math.sin(logarithm), math.cos(logarithm)
    value = power + product / logarithm + sine / product
    over = power + 1 / logarithm - sine / (product * product)
    by_log = cosine / product - product / (logarithm * logarithm)
    return value, over * z + by_log / x, over * x


def cases() -> list[Case]:
    own = graphjit.value_and_grad(quiz, argnums=(0, 1))
    competitors = {
        "NumPy": lambda: by_numpy(2.0, 3.0),
        "Numba": lambda: by_numba(2.0, 3.0),
        "GraphJIT": lambda: own(2.0, 3.0),
    }
    return [Case("quiz, value and gradient", "call", lambda: competitors)]
