"""Functions that move elements: transposes, reshapes, joins, splits, repeats, padding."""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np

from graphjit.errors import ShapeError
from graphjit.ir.dispatch import builder_of, emit, lift
from graphjit.ir.numpy.axes import axes_of, axis_of
from graphjit.ir.registry import DEFAULT, implements, refuse
from graphjit.ir.symbol import Symbol


def symbol(a: Any) -> Any:
    return lift(builder_of(a), a)


@implements(np.transpose, np.permute_dims)
def transpose(a: Any, axes: Any = None) -> Any:
    x = symbol(a)
    order = tuple(reversed(range(x.ndim))) if axes is None else axes_of(x, tuple(axes))
    if len(order) != x.ndim:
        raise ShapeError(
            f"axes {axes} do not name every axis", origin=x.builder.origin(), operands=(x.aval,)
        )
    return x if order == tuple(range(x.ndim)) else emit("transpose", x, axes=order)


@implements(np.matrix_transpose, np.linalg.matrix_transpose)
def matrix_transpose(x: Any, /) -> Any:
    return np.swapaxes(x, -1, -2)


@implements(np.swapaxes)
def swapaxes(a: Any, axis1: int, axis2: int) -> Any:
    x = symbol(a)
    order = list(range(x.ndim))
    first, second = axis_of(x, axis1), axis_of(x, axis2)
    order[first], order[second] = second, first
    return transpose(x, order)


@implements(np.moveaxis)
def moveaxis(a: Any, source: Any, destination: Any) -> Any:
    x = symbol(a)
    origin, target = axes_of(x, source), axes_of(x, destination)
    order = [axis for axis in range(x.ndim) if axis not in origin]
    for place_, axis in sorted(zip(target, origin, strict=True)):
        order.insert(place_, axis)
    return transpose(x, order)


@implements(np.reshape)
def reshape(a: Any, /, shape: Any, order: str = "C", *, copy: Any = None) -> Any:
    x = symbol(a)
    if order == "F":
        return transpose(reshape(transpose(x), reversed_shape(x, shape)))
    refuse(x.builder, np.reshape, order=DEFAULT if order in "CA" else order)
    wanted = tuple(
        operator.index(n) for n in (shape if isinstance(shape, tuple | list) else (shape,))
    )
    known = math.prod(n for n in wanted if n != -1)
    if wanted.count(-1) == 1 and known:
        wanted = tuple(x.size // known if n == -1 else n for n in wanted)
    if -1 in wanted or math.prod(wanted) != x.size:
        raise ShapeError(
            f"cannot reshape into {shape}",
            origin=x.builder.origin(),
            operands=(x.aval,),
            hint=f"The number of elements, {x.size}, must stay.",
        )
    return x if wanted == x.shape else emit("reshape", x, shape=wanted)


def reversed_shape(x: Any, shape: Any) -> tuple[int, ...]:
    return tuple(reversed(shape)) if isinstance(shape, tuple | list) else (shape,)


@implements(np.ravel)
def ravel(a: Any, order: str = "C") -> Any:
    return reshape(a, (symbol(a).size,), "C" if order == "K" else order)


@implements(np.expand_dims)
def expand_dims(a: Any, axis: Any) -> Any:
    x = symbol(a)
    count = len(axis) if isinstance(axis, tuple | list) else 1
    new = axes_of(x, axis, x.ndim + count)
    sizes = iter(x.shape)
    return reshape(x, tuple(1 if i in new else next(sizes) for i in range(x.ndim + count)))


@implements(np.squeeze)
def squeeze(a: Any, axis: Any = None) -> Any:
    x = symbol(a)
    gone = tuple(i for i, n in enumerate(x.shape) if n == 1) if axis is None else axes_of(x, axis)
    if any(x.shape[i] != 1 for i in gone):
        raise ShapeError(
            f"cannot squeeze axis {axis}: its length is not 1",
            origin=x.builder.origin(),
            operands=(x.aval,),
        )
    return reshape(x, tuple(n for i, n in enumerate(x.shape) if i not in gone))


@implements(np.rollaxis)
def rollaxis(a: Any, axis: int, start: int = 0) -> Any:
    x = symbol(a)
    first = axis_of(x, axis)
    last = start + x.ndim if start < 0 else start
    return moveaxis(x, first, last - 1 if first < last else last)


@implements(np.rot90)
def rot90(m: Any, k: int = 1, axes: Any = (0, 1)) -> Any:
    x = symbol(m)
    for _ in range(k % 4):
        x = flip(swapaxes(x, *axes), axes[0])
    return x


@implements(np.broadcast_to)
def broadcast_to(array: Any, shape: Any, subok: bool = False) -> Any:
    x = symbol(array)
    shape = (
        tuple(map(operator.index, shape))
        if isinstance(shape, tuple | list)
        else (operator.index(shape),)
    )
    try:
        fits = np.broadcast_shapes(x.shape, shape) == shape
    except ValueError:
        fits = False
    if not fits:
        raise ShapeError(
            f"cannot broadcast to {shape}", origin=x.builder.origin(), operands=(x.aval,)
        )
    return Symbol(x.builder, x.builder.broadcast_to(x.id, shape))


@implements(np.broadcast_arrays)
def broadcast_arrays(*args: Any, subok: bool = False) -> Any:
    builder = builder_of(*args)
    ids = builder.broadcast(*(lift(builder, a).id for a in args))
    return tuple(Symbol(builder, i) for i in ids)


for _depth, _function in ((1, np.atleast_1d), (2, np.atleast_2d), (3, np.atleast_3d)):

    def _atleast(*arrays: Any, depth: int = _depth) -> Any:
        results = [_widened(symbol(a), depth) for a in arrays]
        return results[0] if len(results) == 1 else tuple(results)

    implements(_function)(_atleast)


def _widened(x: Any, depth: int) -> Any:
    shapes = {
        (0, 3): (1, 1, 1),
        (1, 3): (1, -1, 1),
        (2, 3): (*x.shape, 1),
        (0, 2): (1, 1),
        (1, 2): (1, -1),
        (0, 1): (1,),
    }
    return reshape(x, shapes.get((x.ndim, depth), x.shape))


@implements(np.tile)
def tile(A: Any, reps: Any) -> Any:
    x = symbol(A)
    counts = tuple(reps) if isinstance(reps, tuple | list) else (reps,)
    ndim = max(x.ndim, len(counts))
    counts, shape = (1,) * (ndim - len(counts)) + counts, (1,) * (ndim - x.ndim) + x.shape
    between = tuple(n for n in shape for n in (1, n))
    spread = tuple(m for pair in zip(counts, shape, strict=True) for m in pair)
    return reshape(
        broadcast_to(reshape(x, between), spread),
        tuple(c * n for c, n in zip(counts, shape, strict=True)),
    )


@implements(np.repeat)
def repeat(a: Any, repeats: Any, axis: Any = None) -> Any:
    x = symbol(a) if axis is not None else ravel(a)
    along = axis_of(x, 0 if axis is None else axis)
    index = np.repeat(np.arange(x.shape[along]), repeats)
    if np.ndim(repeats) == 0:
        wide = expand_dims(x, along + 1)
        shape = (*x.shape[: along + 1], int(repeats), *x.shape[along + 1 :])
        return reshape(
            broadcast_to(wide, shape), (*x.shape[:along], len(index), *x.shape[along + 1 :])
        )
    return np.take(x, index, axis=along)


@implements(np.flip)
def flip(m: Any, axis: Any = None) -> Any:
    x = symbol(m)
    axes = axes_of(x, axis)
    return x[tuple(slice(None, None, -1 if i in axes else 1) for i in range(x.ndim))]


@implements(np.flipud)
def flipud(m: Any) -> Any:
    return flip(m, 0)


@implements(np.fliplr)
def fliplr(m: Any) -> Any:
    return flip(m, 1)


@implements(np.roll)
def roll(a: Any, shift: Any, axis: Any = None) -> Any:
    x = symbol(a)
    if axis is None:
        return reshape(roll(ravel(x), shift, 0), x.shape)
    axes = axis if isinstance(axis, tuple | list) else (axis,)
    shifts = shift if isinstance(shift, tuple | list) else (shift,)
    for by, along in zip(*np.broadcast_arrays(shifts, axes), strict=True):
        x = rolled(x, int(by), axis_of(x, along))
    return x


def rolled(x: Any, shift: int, axis: int) -> Any:
    size = x.shape[axis]
    if not size or not shift % size:
        return x
    first, last = np.split(x, [size - shift % size], axis)
    return np.concatenate([last, first], axis=axis)


@implements(np.delete)
def delete(arr: Any, obj: Any, axis: Any = None) -> Any:
    x = symbol(arr) if axis is not None else ravel(arr)
    along = axis_of(x, 0 if axis is None else axis)
    return np.take(x, np.delete(np.arange(x.shape[along]), obj), axis=along)


@implements(np.compress)
def compress(condition: Any, a: Any, axis: Any = None, out: Any = None) -> Any:
    x = symbol(a) if axis is not None else ravel(a)
    refuse(x.builder, np.compress, out=out)
    along = axis_of(x, 0 if axis is None else axis)
    return x[(slice(None),) * along + (np.flatnonzero(condition),)]
