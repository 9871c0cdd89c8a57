"""The primitive table: one row an operation."""

from graphjit.ir.table import contract, elementwise, index, layout, reduce, source, special

__all__ = ["contract", "elementwise", "index", "layout", "reduce", "source", "special"]
