"""Indexing: basic (slices), by integer arrays (gather), by concrete masks."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from graphjit.errors import IndexRangeError, TraceError
from graphjit.ir.dispatch import builder_of, emit, lift
from graphjit.ir.numpy.axes import axis_of
from graphjit.ir.registry import implements, refuse
from graphjit.ir.symbol import Symbol

MASK_HINT = (
    "The result's size would depend on the values: use np.where(mask, x, 0) and sum, or a mask "
    "that is no traced value."
)


def getitem(x: Any, key: Any) -> Any:
    """``x[key]`` with NumPy's meaning."""
    keys = expanded(x, key if isinstance(key, tuple) else (key,))
    x, arrays = basic(x, keys)
    return x if not arrays else advanced(x, arrays, keys)


def expanded(x: Any, keys: tuple[Any, ...]) -> list[Any]:
    """The keys with masks as integer arrays and the ellipsis as full slices."""
    flat = [key for group in grouped(x, keys) for key in group]
    taken = sum(key is not None and key is not Ellipsis for key in flat)
    if taken > x.ndim:
        raise IndexRangeError(
            f"too many indices: {taken} for {x.ndim} axes",
            origin=x.builder.origin(),
            operands=(x.aval,),
        )
    fill: list[Any] = [slice(None)] * (x.ndim - taken)
    at = next((i for i, key in enumerate(flat) if key is Ellipsis), None)
    if at is None:
        return flat + fill
    if any(key is Ellipsis for key in flat[at + 1 :]):
        fact = "an index can hold only one ..."
        raise IndexRangeError(fact, origin=x.builder.origin(), operands=(x.aval,))
    return flat[:at] + (fill or [Ellipsis]) + flat[at + 1 :]  # it separates, even if empty


def grouped(x: Any, keys: tuple[Any, ...]) -> list[list[Any]]:
    """Each key in its normal form.

    Raises:
        IndexRangeError: a mask whose shape is not that of the axes it indexes.
    """
    groups = [normal(x, key) for key in keys]
    taken = [sum(k is not None and k is not Ellipsis for k in group) for group in groups]
    for place, key in enumerate(keys):
        if is_mask(key):
            at = sum(taken[:place])
            if any(k is Ellipsis for k in keys[:place]):
                at = x.ndim - sum(taken[place:])
            check_mask(x, np.shape(key), at)
    return groups


def is_mask(key: Any) -> bool:
    """Whether a key is an array of booleans, or a list of them."""
    if isinstance(key, list | tuple):
        return all(isinstance(k, bool | list) for k in key) and is_mask(np.asarray(key))
    return isinstance(key, bool) or getattr(key, "dtype", None) == np.dtype(bool)


def check_mask(x: Any, shape: tuple[int, ...], axis: int) -> None:
    """Refuse a mask that does not fit the axes from ``axis`` on."""
    if shape != x.shape[axis : axis + len(shape)]:
        fact = f"a mask of shape {shape} does not fit the axes that it indexes"
        raise IndexRangeError(fact, origin=x.builder.origin(), operands=(x.aval,))


def normal(x: Any, key: Any) -> list[Any]:
    """One key as a list of: None, Ellipsis, slice, int, integer array."""
    if key is None or key is Ellipsis or isinstance(key, slice):
        return [key]
    if isinstance(key, list | tuple | range):
        traced = any(isinstance(k, Symbol) for k in key)
        key = np.stack(list(key)) if traced else np.asarray(key, dtype=None if key else int)
    if is_mask(key):
        return places(x, key)
    if not isinstance(key, Symbol | np.ndarray | np.generic):
        try:
            return [operator.index(key)]
        except TypeError:
            raise unusable(x, key) from None
    if key.dtype.kind not in "iu":
        raise unusable(x, key)
    return [key if np.ndim(key) or isinstance(key, Symbol) else int(key)]


def places(x: Any, mask: Any) -> list[Any]:
    """A mask as the integer arrays that say where it is true.

    Raises:
        TraceError: a traced mask, or a single truth value.
    """
    origin = x.builder.origin()
    if isinstance(mask, Symbol):
        fact = "a traced array was indexed by a traced mask"
        raise TraceError(fact, origin=origin, operands=(x.aval, mask.aval), hint=MASK_HINT)
    if not np.ndim(mask):
        hint = "Use x[None] for a new axis, x[:0] for nothing."
        raise TraceError(f"{mask} is no index", origin=origin, operands=(x.aval,), hint=hint)
    return list(np.nonzero(mask))


def unusable(x: Any, key: Any) -> IndexRangeError:
    """The error for what is no index, such as a float or a string."""
    fact = f"{getattr(key, 'dtype', repr(key))} is no index"
    hint = "Only integers, slices, None, ... and arrays of integers or booleans index an array."
    return IndexRangeError(fact, origin=x.builder.origin(), operands=(x.aval,), hint=hint)


def is_array(key: Any) -> bool:
    """Whether a key in its normal form indexes by integers that a gather reads."""
    return not isinstance(key, slice | int) and key is not None and key is not Ellipsis


def basic(x: Any, keys: list[Any]) -> tuple[Any, dict[int, Any]]:
    """Apply slices, ints and new axes; the array keys are left, by the axis they index."""
    start, step, sizes, shape, arrays, axis = [], [], [], [], {}, 0
    mixed = any(is_array(key) for key in keys)
    for key in keys:
        if key is None:
            shape.append(1)
        if key is None or key is Ellipsis:
            continue
        n = x.shape[axis]
        if isinstance(key, slice):
            a, b, s = key.indices(n)
            size = len(range(a, b, s))
            shape.append(size)
        elif isinstance(key, int) and not mixed:
            a, s, size = located(x, key, axis), 1, 1
        else:
            a, s, size = 0, 1, n
            arrays[len(shape)] = key
            shape.append(n)
        start.append(a if size else 0)
        step.append(s)
        sizes.append(size)
        axis += 1
    if tuple(sizes) != x.shape or any(s != 1 for s in step):
        x = emit("slice", x, start=tuple(start), step=tuple(step), sizes=tuple(sizes))
    return np.reshape(x, tuple(shape)), arrays


def located(x: Any, index: int, axis: int) -> int:
    """A Python int as an index from the front.

    Raises:
        IndexRangeError: outside the axis.
    """
    n: int = x.shape[axis]
    if not -n <= index < n:
        raise IndexRangeError(
            f"index {index} is out of bounds for axis {axis} of size {n}",
            origin=x.builder.origin(),
            operands=(x.aval,),
        )
    return index % n


def advanced(x: Any, arrays: dict[int, Any], keys: list[Any]) -> Any:
    """A gather, its result's axes moved to where NumPy puts them."""
    axes = tuple(arrays)
    x = lift(builder_of(x, *arrays.values()), x)  # an index may be of a loop's step, x from outside
    index = indices(x, arrays)
    result = emit("gather", x, *index, axes=axes)
    # NumPy: adjacent array keys stay in place; separated by a slice or None they go first.
    found = [i for i, key in enumerate(keys) if is_array(key) or isinstance(key, int)]
    if found[-1] - found[0] + 1 != len(found) or axes[0] == 0:
        return result
    ndim = index[0].ndim
    return np.moveaxis(result, tuple(range(ndim)), tuple(range(axes[0], axes[0] + ndim)))


def indices(x: Any, arrays: dict[int, Any]) -> list[Any]:
    """The array keys as checked, non-negative index symbols of one shape."""
    builder = builder_of(x, *arrays.values())
    symbols = []
    for axis, key in arrays.items():
        size = x.shape[axis]
        if isinstance(key, Symbol):
            whole = lift(builder, key, np.dtype(np.intp))
            symbols.append(emit("wrap_index", whole, size=size))
        else:
            symbols.append(concrete(x, key, size))
    ids = builder.broadcast(*(s.id for s in symbols))
    return [Symbol(builder, i) for i in ids]


def concrete(x: Any, key: Any, size: int) -> Any:
    """A concrete index array: checked now, and again at each call if its contents can change."""
    array = np.asarray(key)
    if ((array < -size) | (array >= size)).any():
        wrong = array[(array < -size) | (array >= size)].flat[0]
        raise IndexRangeError(
            f"index {wrong} is out of bounds for an axis of size {size}",
            origin=x.builder.origin(),
            operands=(x.aval,),
        )
    if array.ndim == 0:
        return lift(x.builder, int(array) % size, np.dtype(np.intp))
    return emit("wrap_index", lift(x.builder, array, np.dtype(np.intp)), size=size)


@implements(np.take)
def take(a: Any, indices: Any, axis: Any = None, out: Any = None, mode: str = "raise") -> Any:
    builder = builder_of(a, indices)
    refuse(builder, np.take, out=out)
    x = lift(builder, a) if axis is not None else np.ravel(lift(builder, a))
    if not isinstance(indices, Symbol):
        indices = np.asarray(indices)
    size = x.shape[axis_of(x, 0 if axis is None else axis)]
    if mode == "wrap":
        indices = indices % size
    elif mode == "clip":
        indices = np.clip(indices, 0, size - 1)
    return x[(slice(None),) * axis_of(x, 0 if axis is None else axis) + (indices,)]


@implements(np.take_along_axis)
def take_along_axis(arr: Any, indices: Any, axis: Any = -1) -> Any:
    builder = builder_of(arr, indices)
    x, index = lift(builder, arr), lift(builder, indices)
    if axis is None:
        return np.take(x, index)
    along = axis_of(x, axis)
    grid = [
        np.arange(n).reshape([-1 if i == j else 1 for j in range(x.ndim)])
        for i, n in enumerate(x.shape)
    ]
    return x[tuple(index if i == along else g for i, g in enumerate(grid))]


@implements(np.extract)
def extract(condition: Any, arr: Any) -> Any:
    return np.ravel(arr)[np.ravel(condition)]


@implements(np.linalg.diagonal)
def linalg_diagonal(x: Any, /, *, offset: int = 0) -> Any:
    return diagonal(x, offset, -2, -1)


@implements(np.diagonal)
def diagonal(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    x = lift(builder_of(a), a)
    first, second = axis_of(x, axis1), axis_of(x, axis2)
    down, right = max(-offset, 0), max(offset, 0)
    length = max(min(x.shape[first] - down, x.shape[second] - right), 0)
    x = np.moveaxis(x, (first, second), (-2, -1))
    return x[..., np.arange(length) + down, np.arange(length) + right]


@implements(np.diag)
def diag(v: Any, k: int = 0) -> Any:
    x = lift(builder_of(v), v)
    if x.ndim == 2:
        return np.diagonal(x, k)
    size = x.shape[0] + abs(k)
    row, column = np.arange(x.shape[0]) + max(-k, 0), np.arange(x.shape[0]) + max(k, 0)
    places = [lift(x.builder, i) for i in (row, column)]
    return emit("scatter_add", x, *places, axes=(0, 1), shape=(size, size))


@implements(np.diagflat)
def diagflat(v: Any, k: int = 0) -> Any:
    return diag(np.ravel(v), k)
