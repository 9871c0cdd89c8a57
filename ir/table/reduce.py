"""Reductions over ``axes`` and scans along one ``axis``."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphjit.ir.aval import Aval
from graphjit.ir.primitive import row
from graphjit.ir.table.rules import apply_row


def reduced(x: Aval, axes: tuple[int, ...]) -> Aval:
    """The aval without the reduced axes."""
    return Aval(tuple(n for axis, n in enumerate(x.shape) if axis not in axes), x.dtype)


def spread(y: Any, x: Any, axes: tuple[int, ...]) -> Any:
    """A reduction's result (or its cotangent) repeated along the reduced axes."""
    kept = tuple(1 if axis in axes else n for axis, n in enumerate(x.shape))
    return np.broadcast_to(np.reshape(y, kept), x.shape)


def tied(y: Any, x: Any, axes: tuple[int, ...]) -> tuple[Any]:
    """The weights of the extreme elements: ties share one evenly."""
    best = (x == spread(y, x, axes)).astype(x.dtype)
    return (best / spread(np.sum(best, axis=axes), x, axes),)


def others(y: Any, x: Any, axes: tuple[int, ...]) -> tuple[Any]:
    """For each element the product of all the others: exact where elements are zero."""
    rest = tuple(axis for axis in range(x.ndim) if axis not in axes)
    order = (*rest, *axes)
    flat = np.reshape(np.transpose(x, order), (*(x.shape[a] for a in rest), -1 if x.size else 0))
    if flat.shape[-1] == 0:
        return (x,)
    one = np.ones_like(flat[..., :1])
    before = np.concatenate([one, np.cumprod(flat, axis=-1)[..., :-1]], axis=-1)
    after = np.concatenate([one, np.cumprod(flat[..., ::-1], axis=-1)[..., :-1]], axis=-1)[
        ..., ::-1
    ]
    product = np.reshape(before * after, tuple(x.shape[a] for a in order))
    return (np.transpose(product, tuple(np.argsort(order).tolist())),)


row(
    "sum", "reduce", numpy=lambda x, axes: np.sum(x, axis=axes, dtype=x.dtype), aval=reduced,
    transpose=lambda ct, x, axes: (spread(ct, x, axes),), latex=r"\sum {0}",
)  # fmt: skip
row(
    "prod", "reduce", numpy=lambda x, axes: np.prod(x, axis=axes, dtype=x.dtype), aval=reduced,
    partials=others, latex=r"\prod {0}",
)  # fmt: skip
row(
    "max",
    "reduce",
    analytic=False,
    numpy=lambda x, axes: np.max(x, axis=axes),
    aval=reduced,
    partials=tied,
    latex=r"\max {0}",
)
row(
    "min",
    "reduce",
    analytic=False,
    numpy=lambda x, axes: np.min(x, axis=axes),
    aval=reduced,
    partials=tied,
    latex=r"\min {0}",
)
row("any", "reduce", numpy=lambda x, axes: np.any(x, axis=axes), aval=reduced)
row("all", "reduce", numpy=lambda x, axes: np.all(x, axis=axes), aval=reduced)


def located(x: Aval, axes: tuple[int, ...]) -> Aval:
    """The aval of the places of the extreme elements."""
    return Aval(reduced(x, axes).shape, np.dtype(np.intp))


row("argmax", "reduce", numpy=lambda x, axes: np.argmax(x, axis=axes[0]), aval=located)
row("argmin", "reduce", numpy=lambda x, axes: np.argmin(x, axis=axes[0]), aval=located)


def cumsum(x: Any, axis: int, reverse: bool) -> Any:
    """The running sum from the first element, or (reverse) from the last."""
    if reverse:
        return np.flip(np.cumsum(np.flip(x, axis), axis, dtype=x.dtype), axis)
    return np.cumsum(x, axis, dtype=x.dtype)


def recurrence(a: Any, b: Any, axis: int, reverse: bool) -> Any:
    """h[i] = a[i] h[i-1] + b[i] along ``axis`` (h[i+1] where reverse), from h = 0."""
    a, b = np.moveaxis(a, axis, 0), np.moveaxis(b, axis, 0)
    result, carry = np.empty_like(b), np.zeros_like(b[:1].sum(axis=0))
    for i in reversed(range(len(b))) if reverse else range(len(b)):
        carry = a[i] * carry + b[i]
        result[i] = carry
    return np.moveaxis(result, 0, axis)


def shifted(x: Any, axis: int, by: int) -> Any:
    """The neighbour one place before (by=1) or after (by=-1) along ``axis``; 0 at the edge."""
    lead = (slice(None),) * axis
    edge = np.zeros_like(x[(*lead, slice(0, 1))])
    if by > 0:
        return np.concatenate([edge, x[(*lead, slice(0, -1))]], axis=axis)
    return np.concatenate([x[(*lead, slice(1, None))], edge], axis=axis)


def recurrence_vjp(ct: Any, h: Any, a: Any, b: Any, axis: int, reverse: bool) -> tuple[Any, Any]:
    """The recurrence of the cotangents runs the other way (Blelloch, Prefix Sums, 1990)."""
    by = -1 if reverse else 1
    down = apply_row("recurrence", shifted(a, axis, -by), ct, axis=axis, reverse=not reverse)
    return down * shifted(h, axis, by), down


def recurrence_jvp(tangents: Any, h: Any, a: Any, b: Any, axis: int, reverse: bool) -> Any:
    """The same recurrence, driven by what the tangents add in each place."""
    da, db = tangents
    drive = da * shifted(h, axis, -1 if reverse else 1) + db
    return apply_row("recurrence", a, drive, axis=axis, reverse=reverse)


def cumsum_transpose(ct: Any, x: Any, axis: int, reverse: bool) -> tuple[Any]:
    """The running sum from the other end."""
    return (apply_row("cumsum", ct, axis=axis, reverse=not reverse),)


row("cumsum", "running", numpy=cumsum, transpose=cumsum_transpose)
row("recurrence", "running", numpy=recurrence, jvp=recurrence_jvp, vjp=recurrence_vjp)
