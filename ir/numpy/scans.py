"""Running sums and products."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphjit.ir.dispatch import builder_of, emit, lift
from graphjit.ir.numpy.axes import axis_of
from graphjit.ir.numpy.reductions import accumulated
from graphjit.ir.registry import DEFAULT, given, implements, refuse
from graphjit.ir.table.layout import place


def recur(a: Any, b: Any, axis: int, reverse: bool) -> Any:
    """h[i] = a[i] h[i-1] + b[i]: the linear recurrence on symbols."""
    return emit("recurrence", a, b, axis=axis, reverse=reverse)


def operand(function: Any, a: Any, axis: Any, dtype: Any, out: Any) -> tuple[Any, int]:
    builder = builder_of(a)
    refuse(builder, function, out=out)
    x = accumulated(lift(builder, a), dtype)
    x = x if axis is not None else np.ravel(x)
    return x, axis_of(x, 0 if axis is None else axis)


@implements(np.cumsum)
def cumsum(a: Any, axis: Any = None, dtype: Any = None, out: Any = DEFAULT) -> Any:
    x, along = operand(np.cumsum, a, axis, dtype, out)
    return emit("cumsum", x, axis=along, reverse=False)


@implements(np.cumprod)
def cumprod(a: Any, axis: Any = None, dtype: Any = None, out: Any = DEFAULT) -> Any:
    """The recurrence h[i] = x[i] h[i-1] from h[0] = x[0]: zeros keep their derivative."""
    x, along = operand(np.cumprod, a, axis, dtype, out)
    if x.shape[along] == 0:
        return x
    first = x[(slice(None),) * along + (slice(0, 1),)]
    start = place(first, x.shape, (0,) * x.ndim, (1,) * x.ndim)
    return recur(x, start, along, reverse=False)


@implements(np.diff)
def diff(a: Any, n: int = 1, axis: int = -1, prepend: Any = DEFAULT, append: Any = DEFAULT) -> Any:
    builder = builder_of(a, prepend, append)
    x = lift(builder, a)
    along = axis_of(x, axis)
    edge = (*x.shape[:along], 1, *x.shape[along + 1 :])
    ends = [
        [np.broadcast_to(lift(builder, end), edge) if np.ndim(end) == 0 else end]
        if given("end", end)
        else []
        for end in (prepend, append)
    ]
    x = np.concatenate([*ends[0], x, *ends[1]], axis=along)
    lead = (slice(None),) * along
    for _ in range(n):
        later, earlier = x[(*lead, slice(1, None))], x[(*lead, slice(None, -1))]
        x = later != earlier if x.dtype == bool else later - earlier
    return x


@implements(np.ediff1d)
def ediff1d(ary: Any, to_end: Any = None, to_begin: Any = None) -> Any:
    ends = {"to_end": to_end, "to_begin": to_begin}
    found = {name: end for name, end in ends.items() if end is not None}
    refuse(builder_of(ary, to_end, to_begin), np.ediff1d, **found)
    return diff(np.ravel(ary))


@implements(np.cumulative_sum)
def cumulative_sum(
    x: Any,
    /,
    *,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    include_initial: bool = False,
) -> Any:
    refuse(builder_of(x), np.cumulative_sum, include_initial=include_initial or DEFAULT)
    return cumsum(x, 0 if axis is None else axis, dtype, out)
