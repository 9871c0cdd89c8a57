"""Dead nodes."""

from __future__ import annotations

from graphjit.ir.dag import needed
from graphjit.ir.graph import Graph
from graphjit.passes.rewrite import rebuild


def prune(graph: Graph) -> Graph:
    """Drop the nodes that no output depends on.

    Safe, because nodes have no effect but their value. Inputs stay, used or not: the signature of a
    graph never changes.

    Before: ``%1 = sin(%0)``, ``%2 = cos(%0)``, output ``%1``; after: ``%1 = sin(%0)`` alone.
    """
    live = needed(graph, graph.outputs)
    return rebuild(graph, [node for node in graph.nodes if node.id in live])
