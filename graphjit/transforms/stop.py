"""``stop_gradient``: a value that derivatives take for a constant."""

from __future__ import annotations

from typing import Any

import optree

from graphjit.ir.dispatch import emit
from graphjit.ir.symbol import Symbol
from graphjit.tracing.trees import flatten


def stop_gradient(x: Any) -> Any:
    """The value itself, with a derivative of zero in every mode and at every order.

    Args:
        x: An array, a traced value, or a container of them; what is not traced is returned as
            it is.
    """
    leaves, spec = flatten(x)
    return optree.tree_unflatten(spec, [stopped(leaf) for leaf in leaves])


def stopped(leaf: Any) -> Any:
    """One leaf, which keeps the dtype it takes on meeting others."""
    if not isinstance(leaf, Symbol):
        return leaf
    symbol = emit("stop_gradient", leaf)
    return symbol.as_weak() if leaf.weak else symbol
