"""Layout: operations that move elements and compute nothing. All are linear."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphjit.ir.aval import Aval
from graphjit.ir.primitive import row
from graphjit.ir.table.rules import apply_row


def slices(
    start: tuple[int, ...], step: tuple[int, ...], sizes: tuple[int, ...]
) -> tuple[slice, ...]:
    """The Python slices that pick ``sizes`` elements from ``start`` on, each ``step`` apart."""
    stops = (a + s * n for a, s, n in zip(start, step, sizes, strict=True))
    return tuple(
        slice(a, stop if stop >= 0 else None, s)
        for a, s, stop in zip(start, step, stops, strict=True)
    )


def embed(x: Any, shape: tuple[int, ...], start: tuple[int, ...], step: tuple[int, ...]) -> Any:
    """Zeros of ``shape`` with ``x`` placed from ``start`` on, ``step`` apart."""
    result = np.zeros(shape, dtype=x.dtype)
    result[slices(start, step, x.shape)] = x
    return result


def unbroadcast(ct: Any, shape: tuple[int, ...]) -> Any:
    """The sum of a broadcast value's cotangent over the axes that the broadcast repeated."""
    lead = ct.ndim - len(shape)
    axes = tuple(range(lead)) + tuple(
        lead + axis for axis, size in enumerate(shape) if size == 1 and ct.shape[lead + axis] != 1
    )
    return np.reshape(np.sum(ct, axis=axes), shape)


def joined(*operands: Aval, axis: int) -> Aval:
    """The aval whose length along the axis is the sum of the operands'."""
    shape = list(operands[0].shape)
    shape[axis] = sum(x.shape[axis] for x in operands)
    return Aval(tuple(shape), operands[0].dtype)


def reshaped(x: Any, shape: tuple[int, ...]) -> Any:
    """The parameter has no name that all versions of NumPy share."""
    return np.reshape(x, shape)


def parts(ct: Any, *operands: Any, axis: int) -> tuple[Any, ...]:
    """The stretch of the cotangent that belongs to each joined operand."""
    cuts = np.cumsum([x.shape[axis] for x in operands])[:-1].tolist()
    return tuple(np.split(ct, cuts, axis=axis))


row(
    "broadcast", "layout", numpy=np.broadcast_to,
    aval=lambda x, shape: Aval(shape, x.dtype),
    transpose=lambda ct, x, shape: (unbroadcast(ct, x.shape),), latex="{0}",
)  # fmt: skip
row(
    "reshape", "layout", numpy=reshaped,
    aval=lambda x, shape: Aval(shape, x.dtype),
    transpose=lambda ct, x, shape: (np.reshape(ct, x.shape),), latex="{0}",
)  # fmt: skip
row(
    "transpose", "layout", numpy=np.transpose,
    aval=lambda x, axes: Aval(tuple(x.shape[a] for a in axes), x.dtype),
    transpose=lambda ct, x, axes: (np.transpose(ct, tuple(np.argsort(axes).tolist())),),
    latex="{0}^T",
)  # fmt: skip
row(
    "slice", "layout", numpy=lambda x, start, step, sizes: x[slices(start, step, sizes)],
    aval=lambda x, start, step, sizes: Aval(sizes, x.dtype), drops=True,
    transpose=lambda ct, x, start, step, sizes: (place(ct, x.shape, start, step),),
)  # fmt: skip
row(
    "embed", "layout", numpy=embed,
    aval=lambda x, shape, start, step: Aval(shape, x.dtype),
    transpose=lambda ct, x, shape, start, step: (pick(ct, start, step, x.shape),),
)  # fmt: skip
row(
    "concatenate", "layout", numpy=lambda *xs, axis: np.concatenate(xs, axis=axis), aval=joined,
    transpose=parts,
)  # fmt: skip
# Orders computations: the value is not read before ``until`` is there. It moves nothing.
row(
    "hold", "layout", numpy=lambda x, until: np.asarray(x), aval=lambda x, until: x,
    transpose=lambda ct, x, until: (ct, None), latex="{0}",
)  # fmt: skip


def pick(x: Any, start: tuple[int, ...], step: tuple[int, ...], sizes: tuple[int, ...]) -> Any:
    """A slice, of an array or a symbol."""
    return x[slices(start, step, sizes)]


def place(x: Any, shape: tuple[int, ...], start: tuple[int, ...], step: tuple[int, ...]) -> Any:
    """An embedding, of an array or a symbol."""
    return apply_row("embed", x, shape=shape, start=start, step=step)
