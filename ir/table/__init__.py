"""The primitive table: one row an operation."""

from graphjit.ir.table import (
    contract,
    control,
    convolve,
    custom,
    elementwise,
    index,
    layout,
    reduce,
    source,
    special,
)

__all__ = [
    "contract",
    "control",
    "convolve",
    "custom",
    "elementwise",
    "index",
    "layout",
    "reduce",
    "source",
    "special",
]
