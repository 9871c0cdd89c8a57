"""What derivative rules are written with beside NumPy: rows that no NumPy function names."""

from __future__ import annotations

from typing import Any

from graphjit.ir.dispatch import builder_of, emit, lift
from graphjit.ir.primitive import ROWS
from graphjit.ir.symbol import Symbol


def apply_row(op: str, *operands: Any, **params: Any) -> Any:
    """A row on its operands: on arrays its meaning, on symbols a node."""
    if not any(isinstance(x, Symbol) for x in operands):
        return ROWS[op].numpy(*operands, **params)
    builder = builder_of(*operands)
    return emit(op, *(lift(builder, x) for x in operands), **params)
