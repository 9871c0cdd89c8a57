"""The primitive table: one row an operation."""

from graphjit.ir.table import contract, control, elementwise, index, layout, reduce, source, special

__all__ = ["contract", "control", "elementwise", "index", "layout", "reduce", "source", "special"]
