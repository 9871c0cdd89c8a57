"""Pooling: the largest element, or the mean, of each window of an image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphjit.custom import custom_jvp
from graphjit.ir.table.rules import apply_row
from graphjit.nn.arguments import (
    Axis,
    Layout,
    Padding,
    Pair,
    check_layout,
    images,
    pair,
    refuse,
    windows,
)

SUMS = {"NHWC": "nHWc,HWc->nHWc", "NCHW": "ncHW,cHW->ncHW"}


def max_pool2d(
    x: Any, size: Pair, stride: Pair | None = None, padding: Padding = "VALID",
    layout: Layout = "NHWC",
) -> Any:  # fmt: skip
    """The largest element of each window, channel by channel; NaN where there is one.

    The padding never wins. The derivative goes to the largest element, and is split evenly among
    several that tie, as that of ``np.max``.

    Args:
        x: Images of shape (N, H, W, C), or (N, C, H, W) in the layout NCHW.
        size: Of a window, an int or one for each of height and width.
        stride: How far apart windows are; by default they lie side by side.
        padding: As for ``conv2d``.
        layout: ``"NHWC"`` or ``"NCHW"``.

    Returns:
        Images with ``(H + top + bottom - size) // stride + 1`` rows, columns likewise.

    Raises:
        ShapeError: shapes, or one of the numbers, do not fit; or a window sees padding alone.
        DTypeError: x is no array of float32 or float64.
    """
    x, axes = pooled("max_pool2d", x, size, stride, padding, layout)
    for axis in axes:
        check_seen(axis)
    first = layout.index("H")
    if not x.size or not all(a.turns for a in axes):
        return x[cut(x.ndim, first, [slice(0, a.turns) for a in axes])]
    return largest(x, axes, first)


def avg_pool2d(
    x: Any, size: Pair, stride: Pair | None = None, padding: Padding = "VALID",
    layout: Layout = "NHWC", *, count_include_pad: bool = False,
) -> Any:  # fmt: skip
    """The mean of each window, channel by channel.

    Args:
        x: Images of shape (N, H, W, C), or (N, C, H, W) in the layout NCHW.
        size: Of a window, an int or one for each of height and width.
        stride: How far apart windows are; by default they lie side by side.
        padding: As for ``conv2d``.
        layout: ``"NHWC"`` or ``"NCHW"``.
        count_include_pad: Divide by the size of a window, as if the padding were zeros of the
            image; by default by the number of elements that lie in the image.

    Returns:
        Images with ``(H + top + bottom - size) // stride + 1`` rows, columns likewise.

    Raises:
        ShapeError: shapes, or one of the numbers, do not fit; or a window sees padding alone.
        DTypeError: x is no array of float32 or float64.
    """
    x, axes = pooled("avg_pool2d", x, size, stride, padding, layout)
    if not count_include_pad:
        for axis in axes:
            check_seen(axis)
    first, dtype = layout.index("H"), x.dtype
    if side_by_side(axes) and x.size:
        return np.mean(tiled(x, axes, first), axis=(first + 1, first + 3))
    kernel = tuple(a.kernel for a in axes)
    channels = x.shape[layout.index("C")]
    ones = np.ones((*kernel, channels) if layout == "NHWC" else (channels, *kernel), dtype)
    window, sizes = tuple(a.window for a in axes), tuple(a.turns for a in axes)
    total = apply_row("convolve", x, ones, spec=SUMS[layout], of="y", window=window, sizes=sizes)
    counts = [np.full(a.turns, a.kernel) if count_include_pad else inside_of(a) for a in axes]
    shape = [1] * first + list(sizes) + [1] * (2 - first)
    return total / np.reshape(np.multiply.outer(*counts), shape).astype(dtype)


def highest(x: Any, axes: tuple[Axis, ...], first: int) -> Any:
    """The maximum over the places of a window, one after the other."""
    if side_by_side(axes):
        x = x[cut(x.ndim, first, [slice(0, a.turns * a.kernel) for a in axes])]
    else:
        x = surrounded(x, axes, first, -np.inf)
    seen, *others = places(x, axes, first)
    for other in others:
        seen = np.maximum(seen, other)
    return seen


largest = custom_jvp(highest, nondiff_argnums=(1, 2))


@largest.defjvp
def moved(axes: tuple[Axis, ...], first: int, primals: Any, tangents: Any) -> tuple[Any, Any]:
    """The mean tangent of those that are the largest."""
    (x,), (dx,) = primals, tangents
    y = largest(x, axes, first)
    if not side_by_side(axes):
        return y, shared(x, dx, y, axes, first)
    tiles, shape = tiled(x, axes, first), list(y.shape)
    count = counted([place == y for place in places(x, axes, first)], x.dtype)
    shape[first + 1 : first + 1] = [1]
    shape[first + 3 : first + 3] = [1]
    wins = tiles == np.reshape(y, shape)
    parts = np.where(wins, tiled(dx, axes, first), 0)
    return y, np.sum(parts, axis=(first + 1, first + 3)) / count


def shared(x: Any, dx: Any, y: Any, axes: tuple[Axis, ...], first: int) -> Any:
    """As above for windows that overlap, or see padding, which never wins."""
    real = np.pad(np.ones([a.length for a in axes], bool), [(a.before, a.after) for a in axes])
    masks = []
    for place, lies in zip(
        places(surrounded(x, axes, first, -np.inf), axes, first), places(real, axes, 0), strict=True
    ):
        inside = np.reshape(lies, [*lies.shape, *[1] * (2 - first)])
        masks.append(place == y if lies.all() else (place == y) & inside)
    count, total = counted(masks, x.dtype), None
    for mask, part in zip(masks, places(surrounded(dx, axes, first, 0), axes, first), strict=True):
        share = np.where(mask, part, 0)
        total = share if total is None else total + share
    return total / count


def counted(masks: Sequence[Any], dtype: Any) -> Any:
    """How many hold; 1 where none does, as of NaN."""
    total = sum(mask.astype(dtype) for mask in masks)
    return np.maximum(total, np.ones((), dtype))


def places(x: Any, axes: tuple[Axis, ...], first: int) -> list[Any]:
    """For each place in a window, what all windows see there."""
    rows, columns = axes
    return [
        x[cut(x.ndim, first, [seen(rows, a), seen(columns, b)])]
        for a in range(rows.kernel)
        for b in range(columns.kernel)
    ]


def seen(axis: Axis, at: int) -> slice:
    """What all windows see at one place, along one axis of the padded image."""
    return slice(at, at + axis.stride * (axis.turns - 1) + 1, axis.stride)


def cut(ndim: int, first: int, slices: Sequence[slice]) -> tuple[slice, ...]:
    """An index of an image, given that of its rows and columns."""
    return (*[slice(None)] * first, *slices, *[slice(None)] * (ndim - first - 2))


def side_by_side(axes: tuple[Axis, ...]) -> bool:
    """Whether no two windows share an element, and none reaches beyond the image."""
    return all(a.stride == a.kernel and not a.before and not a.after for a in axes)


def tiled(x: Any, axes: tuple[Axis, ...], first: int) -> Any:
    """The image with two axes for each of height and width: which window, and where in it."""
    rows, columns = axes
    x = x[cut(x.ndim, first, [slice(0, a.turns * a.kernel) for a in axes])]
    tiles = (rows.turns, rows.kernel, columns.turns, columns.kernel)
    return np.reshape(x, (*x.shape[:first], *tiles, *x.shape[first + 2 :]))


def surrounded(x: Any, axes: tuple[Axis, ...], first: int, value: float) -> Any:
    """The image with its padding."""
    if not any(a.before or a.after for a in axes):
        return x
    widths = [(0, 0)] * first + [(a.before, a.after) for a in axes]
    return np.pad(x, widths + [(0, 0)] * (x.ndim - len(widths)), constant_values=value)


def inside_of(axis: Axis) -> Any:
    """How many elements of each window lie in the image, along one axis."""
    start = np.arange(axis.turns) * axis.stride - axis.before
    return np.minimum(start + axis.kernel, axis.length) - np.maximum(start, 0)


def pooled(
    name: str, x: Any, size: Pair, stride: Pair | None, padding: Padding, layout: Layout
) -> tuple[Any, tuple[Axis, ...]]:
    """The image, and how windows move."""
    x = images(name, "x", x)
    check_layout(name, layout)
    kernel = pair(name, "size", size)
    lengths = [x.shape[layout.index(c)] for c in "HW"]
    axes = windows(name, "size", lengths, kernel, size if stride is None else stride, 1, padding)
    return x, axes


def check_seen(axis: Axis) -> None:
    """Refuse padding that leaves a window nothing of the image."""
    last = axis.stride * (axis.turns - 1) - axis.before
    if axis.turns and (axis.before >= axis.kernel or last >= axis.length):
        expected, got = f"less than the window, which is {axis.kernel}", (axis.before, axis.after)
        raise refuse("pooling", "padding", expected, got)
