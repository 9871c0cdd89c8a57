"""Indexing by integer arrays: gather, its adjoint scatter-add, and the check of the range."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphjit.errors import IndexRangeError
from graphjit.ir.aval import Aval
from graphjit.ir.primitive import row
from graphjit.ir.table.rules import apply_row


def wrapped(index: Any, size: int) -> Any:
    """The index with negative ones counted from the end.

    Raises:
        IndexRangeError: an index outside ``-size ... size - 1``.
    """
    index = np.asarray(index)
    wrong = (index < -size) | (index >= size)
    if wrong.any():
        worst = index[wrong].flat[0]
        raise IndexRangeError(f"index {worst} is out of bounds for an axis of size {size}")
    return np.where(index < 0, index + size, index).astype(index.dtype)


def gather(x: Any, *index: Any, axes: tuple[int, ...]) -> Any:
    """X indexed along ``axes``: the index's shape, then the axes that are left."""
    return np.moveaxis(x, axes, range(len(axes)))[index]


def gathered(x: Aval, *index: Aval, axes: tuple[int, ...]) -> Aval:
    """The aval with the index's axes first."""
    rest = tuple(n for axis, n in enumerate(x.shape) if axis not in axes)
    return Aval(index[0].shape + rest, x.dtype)


def scatter_add(updates: Any, *index: Any, axes: tuple[int, ...], shape: tuple[int, ...]) -> Any:
    """Zeros of ``shape`` to which the updates are added where ``gather`` would read."""
    result = np.zeros(shape, dtype=updates.dtype)
    np.add.at(np.moveaxis(result, axes, range(len(axes))), index, updates)
    return result


def scatter(ct: Any, x: Any, *index: Any, axes: tuple[int, ...]) -> tuple[Any, ...]:
    """The cotangent added where it was gathered from."""
    return (apply_row("scatter_add", ct, *index, axes=axes, shape=x.shape), *[None] * len(index))


def collect(
    ct: Any, updates: Any, *index: Any, axes: tuple[int, ...], shape: Any
) -> tuple[Any, ...]:
    """The cotangent gathered from where the updates went."""
    return (apply_row("gather", ct, *index, axes=axes), *[None] * len(index))


row("wrap_index", "map", numpy=wrapped, scalar=lambda k, i, size: k.wrap_index(i, size))
row("gather", "index", numpy=gather, aval=gathered, transpose=scatter, drops=True)
row(
    "scatter_add", "index", numpy=scatter_add, transpose=collect,
    aval=lambda updates, *index, axes, shape: Aval(shape, updates.dtype),
)  # fmt: skip
