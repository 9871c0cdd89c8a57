"""Products of cotangents and tangents with partials, in which zeros may win over infinities."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphjit.ir.dispatch import emit
from graphjit.ir.symbol import Symbol
from graphjit.ir.table.contract import aligned, terms


def paired_shares(ct: Symbol, operands: Sequence[Symbol], spec: str) -> list[Symbol]:
    """The strong products of the cotangent with the other operand, as of ``np.sum(a * b)``."""
    (a, b), (first, second, result) = operands, terms(spec)
    return [
        emit(
            "strong_multiply",
            aligned(ct, result, letters, x.shape),
            aligned(other, others, letters, x.shape),
        )
        for x, letters, other, others in ((a, first, b, second), (b, second, a, first))
    ]


def times(cotangent: Symbol, partial: Any, *, strong: bool) -> Any:
    """Cotangent times partial; where ``strong``, a zero of either wins over infinity and NaN.

    The factors of a partial that is a tuple come one after another, so that no product of theirs
    overflows where the result does not.
    """
    if isinstance(partial, tuple):
        strong = strong and not nonzero(cotangent)
        return functools.reduce(lambda ct, p: times(ct, p, strong=strong), partial, cotangent)
    if not isinstance(partial, Symbol):
        if partial == 0:
            return None
        return cotangent if partial == 1 else -cotangent if partial == -1 else cotangent * partial
    if strong:
        return emit("strong_multiply", cotangent, partial.astype(cotangent.dtype))
    return np.multiply(cotangent, partial)


def nonzero(x: Symbol) -> bool:
    """Whether it is known to be a finite number other than zero, as the first cotangent is."""
    node = x.builder.nodes[x.id]
    if node.op != "constant" or node.aval.size != 1:
        return False
    value = node.params["value"].item()
    return math.isfinite(value) and value != 0
