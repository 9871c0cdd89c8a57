"""NumPy's functions as compositions of primitives; importing registers them.

SciPy's are in ``special``, which is imported when one of them is traced.
"""

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
]
