"""Means to run generated programs in tests, and to compare floats by their distance in ULPs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from graphjit.codegen.build import Program, build
from graphjit.flags import override
from graphjit.ir import Graph

Array = np.ndarray[Any, Any]


# The ways to run a program: its text as Python or through Numba, or its loops through LLVM.
Way = bool | str
WAYS = pytest.mark.parametrize("jit", [False, "numba", "llvm"], ids=["python", "numba", "llvm"])

COMPILED = pytest.mark.parametrize("jit", ["numba", "llvm"])


def built(graph: Graph, *, jit: Way = False, name: str = "f") -> Program:
    """The program of a graph, as plain Python unless asked otherwise; True is the usual way."""
    with override(**way(jit)):
        return build(graph, name)


def way(jit: Way) -> dict[str, Any]:
    """The flags that a way to run needs."""
    return {"jit": bool(jit), "renderer": jit if isinstance(jit, str) else "llvm"}


def conforming(values: Sequence[Any]) -> list[Any]:
    """Arguments in the form that a program takes: C order, NumPy scalars for shape ()."""
    arrays = [np.array(v, order="C") for v in values]
    return [a if a.ndim else a[()] for a in arrays]


def ran(graph: Graph, values: Sequence[Any], *, jit: Way = False) -> list[Any]:
    """The outputs of the graph's program."""
    return list(built(graph, jit=jit)(*conforming(values)))


def ulps(expected: Any, found: Any) -> Array:
    """How many floats lie between each pair; 0 for two NaNs, a lot for a NaN and a number."""
    expected, found = np.asarray(expected), np.asarray(found)
    assert expected.dtype == found.dtype, (expected.dtype, found.dtype)
    assert expected.shape == found.shape, (expected.shape, found.shape)
    if expected.dtype.kind != "f":
        return np.where(expected != found, np.inf, 0.0)
    bits = f"i{expected.dtype.itemsize}"
    places = []
    for x in (np.array(expected), np.array(found)):
        raw = x.view(bits).astype(object)
        places.append(np.where(raw < 0, -(raw + 2 ** (8 * x.itemsize - 1)), raw))
    gap = np.asarray(np.abs(places[0] - places[1]), float)
    both = np.isnan(expected) & np.isnan(found)
    return np.where(both, 0.0, np.where(np.isnan(expected) | np.isnan(found), np.inf, gap))


def assert_near(expected: Any, found: Any, limit: float, what: object = "") -> None:
    """Demand that every element is within ``limit`` ULPs, zeros of the same sign."""
    gap = ulps(expected, found)
    expected, found = np.asarray(expected), np.asarray(found)
    if expected.dtype.kind == "f":
        zero = (expected == 0) & (found == 0)
        gap = np.where(zero & (np.signbit(expected) != np.signbit(found)), np.inf, gap)
    worst = gap.max(initial=0)
    where = np.unravel_index(int(np.argmax(gap)), gap.shape) if gap.size else ()
    assert worst <= limit, (
        f"{what}: {found[where]!r} instead of {expected[where]!r} at {where}: {worst} ULPs"
    )
