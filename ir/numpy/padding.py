"""np.pad: constants are joined on, everything else is a gather."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from graphjit.errors import ShapeError
from graphjit.ir.dispatch import builder_of, lift
from graphjit.ir.registry import DEFAULT, implements, refuse
from graphjit.ir.table.layout import place

MODES = ("edge", "reflect", "symmetric", "wrap")


@implements(np.pad)
def pad(
    array: Any, pad_width: Any, mode: Any = "constant", *, constant_values: Any = 0, **options: Any
) -> Any:
    x = lift(builder_of(array, constant_values), array)
    refuse(
        x.builder, np.pad, **{name: DEFAULT if v == "even" else v for name, v in options.items()}
    )
    widths = amounts(x, pad_width)
    if mode in ("constant", "empty"):
        return constant(x, widths, constant_values)
    if mode not in MODES:
        refuse(x.builder, np.pad, **{f"mode={mode!r} and such values as mode": mode})
    for axis, (before, after) in enumerate(widths):
        if before or after:
            index = np.pad(np.arange(x.shape[axis]), (before, after), mode=mode)
            x = np.take(x, index, axis=axis)
    return x


def amounts(x: Any, pad_width: Any) -> list[tuple[int, int]]:
    """How much goes before and after each axis.

    Raises:
        ShapeError: an amount that is negative, or that is not for the axes of x.
    """
    if isinstance(pad_width, dict):
        pad_width = [pad_width.get(i, pad_width.get(i - x.ndim, 0)) for i in range(x.ndim)]
        pad_width = [w if isinstance(w, tuple) else (w, w) for w in pad_width]
    try:
        table = np.broadcast_to(np.asarray(pad_width), (x.ndim, 2)).tolist()
        pairs = [(operator.index(a), operator.index(b)) for a, b in table]
    except (TypeError, ValueError):
        pairs = [(-1, -1)]
    if min((n for pair in pairs for n in pair), default=0) < 0:
        fact = f"np.pad: {pad_width} does not say how much to add to each axis"
        hint = "Pass ((before, after), ...), one pair of whole numbers an axis."
        raise ShapeError(fact, origin=x.builder.origin(), operands=(x.aval,), hint=hint)
    return pairs


def constant(x: Any, widths: list[tuple[int, int]], value: Any) -> Any:
    """The array with values around it: zeros are the row ``embed``, others are joined on."""
    if isinstance(value, int | float) and value == 0:
        shape = tuple(a + n + b for n, (a, b) in zip(x.shape, widths, strict=True))
        return place(x, shape, tuple(a for a, _ in widths), (1,) * x.ndim)
    values = np.broadcast_to(lift(x.builder, value, x.dtype), (x.ndim, 2))
    for axis, width in enumerate(widths):
        ends = [end(x, axis, width[side], values[axis, side]) for side in (0, 1)]
        x = np.concatenate([ends[0], x, ends[1]], axis=axis)
    return x


def end(x: Any, axis: int, width: int, value: Any) -> Any:
    """A stretch of one value that fits x along the axis."""
    return np.broadcast_to(value, (*x.shape[:axis], width, *x.shape[axis + 1 :]))
