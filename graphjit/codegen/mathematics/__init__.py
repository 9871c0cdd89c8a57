"""Vector mathematics: each function described once, for every renderer.

A description computes its function with the scalar operations of the loop IR, without branches, so
that any number of lanes can do so at once. Renderers write it out as a function of their own.
"""

from graphjit.codegen.mathematics.describe import (
    APART,
    ScalarFunction,
    described,
    scalar_function,
)

__all__ = ["APART", "ScalarFunction", "described", "scalar_function"]
