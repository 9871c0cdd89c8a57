"""Graphs of functions as tracing leaves them, for tests of what passes make of products."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from graphjit import jit
from graphjit.ir import Graph, Origin
from graphjit.passes.merge import merge
from graphjit.passes.prune import prune
from graphjit.passes.simplify import simplify


def traced(f: Callable[..., Any], *args: Any, adjoint: bool = False) -> Graph:
    """The graph of a function, as if its lines were the user's or of a backward pass."""
    graph = jit(f).graph(*args, stage="traced")
    if not adjoint:
        return graph
    line = Origin("model.py", 1, adjoint=True)
    return Graph(tuple(replace(n, origin=line) for n in graph.nodes), graph.inputs, graph.outputs)


def simple(graph: Graph) -> Graph:
    return prune(merge(simplify(merge(prune(graph)))))


def ops(graph: Graph) -> set[str]:
    return {node.op for node in graph.nodes}
