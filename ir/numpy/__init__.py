"""NumPy and SciPy functions as compositions of primitives; importing registers them."""

from graphjit.ir.numpy import (
    creation,
    einsum,
    indexing,
    joins,
    layout,
    math,
    moments,
    norms,
    padding,
    products,
    reductions,
    scans,
    special,
)

__all__ = [
    "creation",
    "einsum",
    "indexing",
    "joins",
    "layout",
    "math",
    "moments",
    "norms",
    "padding",
    "products",
    "reductions",
    "scans",
    "special",
]
