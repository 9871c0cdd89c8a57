"""Formulas: ``graphjit.symbolic(f)(*args)`` prints a function and its derivatives.

The package can be called like the function ``symbolic`` in it, and holds the way from SymPy.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Sequence
from typing import Any

from graphjit.symbolic.convert import from_sympy
from graphjit.symbolic.derive import Symbolic, symbolic
from graphjit.symbolic.formula import Formula

__all__ = ["Formula", "Symbolic", "SymbolicModule", "from_sympy", "symbolic"]


class SymbolicModule(types.ModuleType):
    """The package, as it can be called."""

    from_sympy = staticmethod(from_sympy)

    def __call__(
        self, f: Callable[..., Any], argnums: int | Sequence[int] | None = None
    ) -> Callable[..., Symbolic]:
        """As ``symbolic``."""
        return symbolic(f, argnums)


sys.modules[__name__].__class__ = SymbolicModule
