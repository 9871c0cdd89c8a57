"""The intermediate representation: avals, nodes, graphs, the Builder, the primitive table."""

from graphjit.ir import numpy as _numpy
from graphjit.ir import table as _table
from graphjit.ir.aval import Aval, aval_of
from graphjit.ir.builder import Builder
from graphjit.ir.evaluate import evaluate
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

del _numpy, _table
