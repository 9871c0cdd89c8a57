"""Norms of vectors and matrices."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphjit.ir.dispatch import builder_of, cast, lift
from graphjit.ir.numpy.axes import axes_of
from graphjit.ir.registry import implements, refuse

Axes = tuple[int, ...]


@implements(np.linalg.norm)
def norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:  # noqa: A002 - NumPy's name
    """Vector norms of any order; the norms of a matrix that need no singular values."""
    v = floats(x)
    axes = axes_of(v, axis)
    if axis is None and ord is None:
        return length(v, axes, keepdims)
    if len(axes) == 1:
        return vector(np.linalg.norm, v, ord, axes, keepdims)
    return matrix(v, ord, axes, keepdims)


@implements(np.linalg.vector_norm)
def vector_norm(x: Any, /, *, axis: Any = None, keepdims: bool = False, ord: Any = 2) -> Any:  # noqa: A002 - NumPy's name
    v = floats(x)
    return vector(np.linalg.vector_norm, v, ord, axes_of(v, axis), keepdims)


@implements(np.linalg.matrix_norm)
def matrix_norm(x: Any, /, *, keepdims: bool = False, ord: Any = "fro") -> Any:  # noqa: A002 - NumPy's name
    v = floats(x)
    return matrix(v, ord, (v.ndim - 2, v.ndim - 1), keepdims)


def floats(x: Any) -> Any:
    v = lift(builder_of(x), x)
    return v if v.dtype.kind == "f" else cast(v, float)


def length(x: Any, axes: Axes, keepdims: bool) -> Any:
    return np.sqrt(np.sum(x * x, axis=axes, keepdims=keepdims))


def vector(function: Any, x: Any, order: Any, axes: Axes, keepdims: bool) -> Any:
    """The norm over all of the axes together."""
    if order is None or order == 2:
        return length(x, axes, keepdims)
    if order in (np.inf, -np.inf):
        return (np.max if order > 0 else np.min)(abs(x), axis=axes, keepdims=keepdims)
    if order == 0:
        return np.sum((x != 0).astype(x.dtype), axis=axes, keepdims=keepdims)
    if not isinstance(order, int | float):
        refuse(x.builder, function, ord=order)
    powers = abs(x) if order == 1 else abs(x) ** order
    total = np.sum(powers, axis=axes, keepdims=keepdims)
    return total if order == 1 else total ** (1 / order)


def matrix(x: Any, order: Any, axes: Axes, keepdims: bool) -> Any:
    """The norms of a matrix that need no singular values."""
    if len(axes) == 2 and (order is None or order == "fro"):
        return length(x, axes, keepdims)
    if len(axes) != 2 or order not in (1, -1, np.inf, -np.inf):
        refuse(x.builder, np.linalg.norm, ord=order)
    inner, outer = axes if abs(order) == 1 else axes[::-1]
    sums = np.sum(abs(x), axis=inner, keepdims=True)
    best = (np.max if order > 0 else np.min)(sums, axis=outer, keepdims=True)
    return best if keepdims else np.squeeze(best, axis=axes)
