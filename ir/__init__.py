"""The intermediate representation: avals, nodes, graphs, the Builder, the primitive table.

What is asked for here comes with the whole table; modules of the library that only need the form of
a value import that alone, since most processes find their programs on disk.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from graphjit.ir.evaluate import evaluate  # now, so that its name is not its module's

if TYPE_CHECKING:
    from graphjit.ir.aval import Aval, aval_of
    from graphjit.ir.builder import Builder
    from graphjit.ir.graph import Graph, Node, Origin
    from graphjit.ir.primitive import TABLE, Primitive, row
    from graphjit.ir.symbol import Symbol

__all__ = [
    "TABLE",
    "Aval",
    "Builder",
    "Graph",
    "Node",
    "Origin",
    "Primitive",
    "Symbol",
    "aval_of",
    "evaluate",
    "row",
]

HOMES = {
    "TABLE": "primitive",
    "Aval": "aval",
    "Builder": "builder",
    "Graph": "graph",
    "Node": "graph",
    "Origin": "graph",
    "Primitive": "primitive",
    "Symbol": "symbol",
    "aval_of": "aval",
    "row": "primitive",
}


def __getattr__(name: str) -> Any:
    if name not in HOMES:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    importlib.import_module("graphjit.ir.primitive").load()
    home = importlib.import_module(f"graphjit.ir.{HOMES[name]}")
    value = globals()[name] = getattr(home, name)
    return value
