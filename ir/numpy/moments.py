"""Means, variances and integrals over axes."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphjit.ir.dispatch import builder_of, cast, lift, promoted
from graphjit.ir.numpy.axes import axes_of, axis_of
from graphjit.ir.numpy.reductions import kept, nansum, sum_
from graphjit.ir.registry import DEFAULT, given, implements, refuse


def count(x: Any, axis: Any) -> int:
    """How many elements go into each result."""
    return int(np.prod([x.shape[a] for a in axes_of(x, axis)], dtype=int))


@implements(np.mean)
def mean(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: Any = DEFAULT,
    keepdims: Any = DEFAULT,
    *,
    where: Any = DEFAULT,
) -> Any:
    builder = builder_of(a)
    refuse(builder, np.mean, out=out, where=where)
    x = lift(builder, a)
    x = cast(x, dtype or (x.dtype if x.dtype.kind == "f" else np.float64))
    return np.sum(x, axis=axis, keepdims=kept(keepdims)) / float(count(x, axis))


@implements(np.var)
def var(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: Any = DEFAULT,
    ddof: float = 0,
    keepdims: Any = DEFAULT,
    *,
    where: Any = DEFAULT,
    mean: Any = DEFAULT,
    correction: Any = DEFAULT,
) -> Any:
    builder = builder_of(a)
    refuse(builder, np.var, out=out, where=where)
    x = lift(builder, a)
    x = cast(x, dtype or (x.dtype if x.dtype.kind == "f" else np.float64))
    center = mean if given("mean", mean) else np.mean(x, axis=axis, keepdims=True)
    freedom = count(x, axis) - (correction if given("correction", correction) else ddof)
    total = np.sum((x - center) ** 2, axis=axis, keepdims=kept(keepdims))
    return total / float(max(freedom, 0))


@implements(np.std)
def std(a: Any, *args: Any, **kwargs: Any) -> Any:
    return np.sqrt(np.var(a, *args, **kwargs))


@implements(np.average)
def average(
    a: Any,
    axis: Any = None,
    weights: Any = None,
    returned: bool = False,
    *,
    keepdims: Any = DEFAULT,
) -> Any:
    refuse(builder_of(a, weights), np.average, returned=returned or DEFAULT)
    keep = kept(keepdims)
    if weights is None:
        return np.mean(a, axis=axis, keepdims=keep)
    total = (
        np.sum(weights, axis=axis, keepdims=keep)
        if np.ndim(weights) == np.ndim(a)
        else np.sum(weights)
    )
    if np.ndim(weights) != np.ndim(a):
        rest = np.ndim(a) - 1 - axis_of(lift(builder_of(a, weights), a), axis)
        weights = np.reshape(weights, (-1, *[1] * rest))
    return np.sum(a * weights, axis=axis, keepdims=keep) / total


@implements(np.nanmean)
def nanmean(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    keepdims: Any = DEFAULT,
    *,
    where: Any = DEFAULT,
) -> Any:
    (x,) = promoted(np.sqrt, a)
    present = sum_(~np.isnan(x), axis, keepdims=keepdims).astype(x.dtype)
    return nansum(x, axis, dtype, out, keepdims, where=where) / present


@implements(np.trapezoid)
def trapezoid(y: Any, x: Any = None, dx: Any = 1.0, axis: int = -1) -> Any:
    """The trapezoidal rule, at points ``x`` or ``dx`` apart."""
    builder = builder_of(y, x, dx)
    values = lift(builder, y)
    lead = (slice(None),) * axis_of(values, axis)
    if x is not None:
        points = lift(builder, x)
        dx = np.diff(points) if points.ndim == 1 else np.diff(points, axis=axis)
        if points.ndim == 1:
            dx = np.reshape(dx, (-1, *[1] * (values.ndim - 1 - len(lead))))
    both = values[(*lead, slice(1, None))] + values[(*lead, slice(None, -1))]
    return sum_(dx * both / 2.0, axis)
