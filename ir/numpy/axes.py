"""Axis arguments as NumPy takes them."""

from __future__ import annotations

import operator
from typing import Any

from graphjit.errors import ShapeError


def axis_of(x: Any, axis: Any, ndim: int | None = None) -> int:
    """One axis, counted from the front.

    Raises:
        ShapeError: the array has no such axis.
    """
    place, count = operator.index(axis), x.ndim if ndim is None else ndim
    if not -count <= place < count:
        raise ShapeError(f"there is no axis {place}", origin=x.builder.origin(), operands=(x.aval,))
    return place % count


def axes_of(x: Any, axis: Any, ndim: int | None = None) -> tuple[int, ...]:
    """``axis=None`` (all), an int or a tuple, as a tuple counted from the front.

    Raises:
        ShapeError: an axis that does not exist, or one named twice.
    """
    if axis is None:
        return tuple(range(x.ndim))
    axes = tuple(axis_of(x, a, ndim) for a in (axis if isinstance(axis, tuple | list) else (axis,)))
    if len(set(axes)) != len(axes):
        raise ShapeError(
            f"axis {axis} names an axis twice", origin=x.builder.origin(), operands=(x.aval,)
        )
    return axes
