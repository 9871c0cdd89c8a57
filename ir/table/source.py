"""Sources: nodes without operands, and the projection of a node with several results."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphjit.ir.aval import Aval, aval_of
from graphjit.ir.primitive import row


def no_meaning(*_: Any, **__: Any) -> Any:
    """Inputs and items have a value from elsewhere."""
    raise NotImplementedError


def iota(shape: tuple[int, ...], axis: int, dtype: Any) -> Any:
    """The index along ``axis`` of every element."""
    along = [1] * len(shape)
    along[axis] = shape[axis]
    return np.broadcast_to(np.arange(shape[axis], dtype=dtype).reshape(along), shape)


def aval_of_value(value: Any) -> Aval:
    """The aval of a constant."""
    return aval_of(value)


row("input", "source", numpy=no_meaning, aval=no_meaning)
row("item", "source", numpy=no_meaning, aval=no_meaning)
row("constant", "source", numpy=lambda value: value, aval=aval_of_value)
row("iota", "source", numpy=iota, aval=lambda shape, axis, dtype: Aval(shape, np.dtype(dtype)))


def evaluate_body(*operands: Any, body: Any, **_: Any) -> Any:
    """The results of a node that carries a body graph."""
    from graphjit.ir.evaluate import evaluate

    return evaluate(body, *operands)


row("fused", "call", numpy=evaluate_body)
