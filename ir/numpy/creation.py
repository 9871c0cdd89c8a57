"""Arrays made in the likeness of a traced one."""

from __future__ import annotations

from operator import index
from typing import Any

import numpy as np

from graphjit.ir.aval import DType
from graphjit.ir.dispatch import builder_of, cast, checked, emit, lift
from graphjit.ir.registry import implements
from graphjit.ir.symbol import Symbol


def filled(like: Any, value: Any, dtype: Any, shape: Any) -> Any:
    """The value, broadcast to the likeness's shape or the one given."""
    builder = builder_of(like, value)
    model = lift(builder, like)
    kind: DType = checked(builder, np.dtype(dtype or model.dtype))
    size = model.shape if shape is None else (shape,) if isinstance(shape, int) else tuple(shape)
    return Symbol(builder, builder.broadcast_to(lift(builder, value, kind).id, size))


@implements(np.zeros_like)
def zeros_like(
    a: Any,
    dtype: Any = None,
    order: str = "K",
    subok: bool = True,
    shape: Any = None,
    *,
    device: Any = None,
) -> Any:
    return filled(a, 0, dtype, shape)


@implements(np.ones_like)
def ones_like(
    a: Any,
    dtype: Any = None,
    order: str = "K",
    subok: bool = True,
    shape: Any = None,
    *,
    device: Any = None,
) -> Any:
    return filled(a, 1, dtype, shape)


@implements(np.empty_like)
def empty_like(
    prototype: Any,
    dtype: Any = None,
    order: str = "K",
    subok: bool = True,
    shape: Any = None,
    *,
    device: Any = None,
) -> Any:
    return filled(prototype, 0, dtype, shape)


@implements(np.full_like)
def full_like(
    a: Any,
    fill_value: Any,
    dtype: Any = None,
    order: str = "K",
    subok: bool = True,
    shape: Any = None,
    *,
    device: Any = None,
) -> Any:
    return filled(a, fill_value, dtype, shape)


@implements(np.tril)
def tril(m: Any, k: int = 0) -> Any:
    return _triangle(m, k, np.less_equal)


@implements(np.triu)
def triu(m: Any, k: int = 0) -> Any:
    return _triangle(m, k, np.greater_equal)


def _triangle(m: Any, k: int, compare: Any) -> Any:
    """Zeros where a column's number does not compare so with its row's plus ``k``."""
    x = lift(builder_of(m), m)
    builder, shape = x.builder, (*x.shape * 2,)[-2:]  # a vector is every row of a matrix
    k = max(-shape[0], min(index(k), shape[1]))
    row, column = (
        Symbol(builder, builder.emit("iota", shape=shape, axis=axis, dtype=np.dtype(np.int32)))
        for axis in (0, 1)
    )
    return np.where(compare(column, row + k if k else row), x, np.zeros((), x.dtype))


@implements(np.shape)
def shape(a: Any) -> Any:
    return a.shape


@implements(np.ndim)
def ndim(a: Any) -> Any:
    return a.ndim


@implements(np.size)
def size(a: Any, axis: Any = None) -> Any:
    return a.size if axis is None else a.shape[axis]


@implements(np.copy)
def copy(a: Any, order: str = "K", subok: bool = False) -> Any:
    """The value under another name, which += may change."""
    x = lift(builder_of(a), a)
    return x if x.dtype == bool else emit("positive", x)


@implements(np.meshgrid)
def meshgrid(*xi: Any, copy: bool = True, sparse: bool = False, indexing: str = "xy") -> Any:
    builder = builder_of(*xi)
    axes = [np.ravel(lift(builder, x)) for x in xi]
    grid = [
        np.reshape(x, [-1 if i == j else 1 for j in range(len(axes))]) for i, x in enumerate(axes)
    ]
    if not sparse:
        grid = list(np.broadcast_arrays(*grid))
    return (
        tuple(np.swapaxes(g, 0, 1) for g in grid)
        if indexing == "xy" and len(grid) > 1
        else tuple(grid)
    )


@implements(np.result_type)
def result_type(*arrays_and_dtypes: Any) -> Any:
    return np.result_type(*(a.dtype if isinstance(a, Symbol) else a for a in arrays_and_dtypes))


@implements(np.iscomplexobj)
def iscomplexobj(x: Any) -> bool:
    return False


@implements(np.real)
def real(val: Any) -> Any:
    return val


@implements(np.imag)
def imag(val: Any) -> Any:
    return zeros_like(val)


@implements(np.vander)
def vander(x: Any, N: Any = None, increasing: bool = False) -> Any:
    v = lift(builder_of(x), x)
    v = cast(v, np.promote_types(v.dtype, int))
    count = v.shape[0] if N is None else int(N)
    powers = [v**k for k in (range(count) if increasing else reversed(range(count)))]
    return np.stack(powers, axis=1)
