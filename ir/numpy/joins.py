"""Functions that join arrays, and those that split one."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from graphjit.errors import ShapeError
from graphjit.ir.dispatch import builder_of, cast, emit, joint, lift
from graphjit.ir.numpy.axes import axis_of
from graphjit.ir.numpy.layout import expand_dims, moveaxis, ravel, reshape, symbol
from graphjit.ir.registry import implements, refuse


@implements(np.concatenate)
def concatenate(
    arrays: Any, /, axis: Any = 0, out: Any = None, *, dtype: Any = None, casting: str = "same_kind"
) -> Any:
    builder = builder_of(arrays)
    refuse(builder, np.concatenate, out=out)
    symbols = joint(builder, *arrays)
    if dtype is not None:
        symbols = [cast(s, dtype) for s in symbols]
    if axis is None:
        symbols, axis = [ravel(s) for s in symbols], 0
    along = axis_of(symbols[0], axis)
    rest = {s.shape[:along] + s.shape[along + 1 :] if s.ndim else None for s in symbols}
    if len(rest) != 1 or None in rest or len({s.ndim for s in symbols}) != 1:
        raise ShapeError(
            f"the arrays cannot be joined along axis {axis}",
            origin=builder.origin(),
            operands=tuple(s.aval for s in symbols),
            hint="All other axes must be equal.",
        )
    return np.copy(symbols[0]) if len(symbols) == 1 else emit("concatenate", *symbols, axis=along)


@implements(np.append)
def append(arr: Any, values: Any, axis: Any = None) -> Any:
    builder = builder_of(arr, values)
    return concatenate([lift(builder, a) for a in (arr, values)], axis)


@implements(np.block)
def block(arrays: Any) -> Any:
    """Nested lists of arrays: the innermost are joined along the last axis."""
    depth, inner = 0, arrays
    while isinstance(inner, list):
        depth, inner = depth + 1, inner[0]
    builder = builder_of(arrays)

    def join(part: Any, level: int) -> Any:
        if not isinstance(part, list):
            x = lift(builder, part)
            return reshape(x, (1,) * (depth - x.ndim) + x.shape)
        return concatenate([join(p, level - 1) for p in part], axis=-level)

    return join(arrays, depth)


@implements(np.unstack)
def unstack(x: Any, /, *, axis: int = 0) -> Any:
    return tuple(moveaxis(x, axis, 0))


@implements(np.stack)
def stack(
    arrays: Any, axis: int = 0, out: Any = None, *, dtype: Any = None, casting: str = "same_kind"
) -> Any:
    builder = builder_of(arrays)
    symbols = joint(builder, *arrays)
    if len({s.shape for s in symbols}) != 1:
        raise ShapeError(
            "arrays to stack must have the same shape",
            origin=builder.origin(),
            operands=tuple(s.aval for s in symbols),
        )
    return concatenate(
        [expand_dims(s, axis) for s in symbols],
        axis=axis_of(symbols[0], axis, symbols[0].ndim + 1),
        out=out,
        dtype=dtype,
    )


@implements(np.hstack)
def hstack(tup: Any, *, dtype: Any = None, casting: str = "same_kind") -> Any:
    arrays = [np.atleast_1d(a) for a in tup]
    return concatenate(arrays, axis=0 if arrays[0].ndim == 1 else 1, dtype=dtype)


@implements(np.vstack)
def vstack(tup: Any, *, dtype: Any = None, casting: str = "same_kind") -> Any:
    return concatenate([np.atleast_2d(a) for a in tup], axis=0, dtype=dtype)


@implements(np.dstack)
def dstack(tup: Any) -> Any:
    return concatenate([np.atleast_3d(a) for a in tup], axis=2)


@implements(np.column_stack)
def column_stack(tup: Any) -> Any:
    return concatenate([a if np.ndim(a) > 1 else np.reshape(a, (-1, 1)) for a in tup], axis=1)


@implements(np.array_split)
def array_split(ary: Any, indices_or_sections: Any, axis: int = 0) -> Any:
    """As split; the first parts are one longer where the axis does not divide."""
    if isinstance(indices_or_sections, int | np.integer):
        size = symbol(ary).shape[axis_of(symbol(ary), axis)]
        width, longer = divmod(size, int(indices_or_sections))
        cuts = range(1, int(indices_or_sections))
        indices_or_sections = [width * i + min(i, longer) for i in cuts]
    return split(ary, indices_or_sections, axis)


@implements(np.split)
def split(ary: Any, indices_or_sections: Any, axis: int = 0) -> Any:
    x = symbol(ary)
    along = axis_of(x, axis)
    size = x.shape[along]
    if isinstance(indices_or_sections, int | np.integer):
        if size % indices_or_sections:
            raise ShapeError(
                f"an axis of {size} does not divide into {indices_or_sections} equal parts",
                origin=x.builder.origin(),
                operands=(x.aval,),
                hint="Pass the indices to split at.",
            )
        width = size // int(indices_or_sections)
        cuts = [width * i for i in range(1, int(indices_or_sections))]
    else:
        cuts = [operator.index(i) for i in indices_or_sections]
    ends = zip([0, *cuts], [*cuts, size], strict=True)
    return [x[(slice(None),) * along + (slice(a, b),)] for a, b in ends]


for _axis, _function in ((1, np.hsplit), (0, np.vsplit), (2, np.dsplit)):

    def _split(ary: Any, indices_or_sections: Any, axis: int = _axis) -> Any:
        return split(ary, indices_or_sections, min(axis, symbol(ary).ndim - 1))

    implements(_function)(_split)
