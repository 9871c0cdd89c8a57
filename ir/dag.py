"""Questions about a graph's edges, and every use of networkx on graphs.

Ids are positions in a topological order, so what depends on what is one sweep over the nodes, and
needs no networkx. That takes 0.15 s to import, and is imported where something of it is used.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from graphjit.ir.graph import Graph

if TYPE_CHECKING:
    import networkx as nx

Vertex = TypeVar("Vertex", bound=Hashable)


def digraph(graph: Graph) -> nx.DiGraph[int]:
    """The frozen DiGraph of a graph: nodes are ids, edges carry the operand positions."""
    import networkx as nx

    dag: nx.DiGraph[int] = nx.DiGraph()
    dag.add_nodes_from(range(len(graph.nodes)))
    for node in graph.nodes:
        for position, operand in enumerate(node.inputs):
            if dag.has_edge(operand, node.id):
                dag.edges[operand, node.id]["args"] += (position,)
            else:
                dag.add_edge(operand, node.id, args=(position,))
    return nx.freeze(dag)


def needed(graph: Graph, targets: Iterable[int]) -> set[int]:
    """The targets and everything they depend on."""
    found = set(targets)
    for node in reversed(graph.nodes):
        if node.id in found:
            found.update(node.inputs)
    return found


def depends_on(graph: Graph, sources: Iterable[int]) -> set[int]:
    """The sources and everything that depends on one of them."""
    found = set(sources)
    for node in graph.nodes:
        if not found.isdisjoint(node.inputs):
            found.add(node.id)
    return found


def topological(graph: Graph, key: Callable[[int], Any]) -> list[int]:
    """A topological order; among the nodes that are ready, the least ``key`` first.

    Kahn's algorithm with a heap; of equal keys the least id is first.
    """
    waiting = [len(set(node.inputs)) for node in graph.nodes]
    ready = [(key(i), i) for i, count in enumerate(waiting) if not count]
    heapq.heapify(ready)
    found = list[int]()
    while ready:
        _, ident = heapq.heappop(ready)
        found.append(ident)
        for user in graph.users[ident]:
            waiting[user] -= 1
            if not waiting[user]:
                heapq.heappush(ready, (key(user), user))
    return found


def edges(graph: Graph) -> dict[tuple[int, int], tuple[int, ...]]:
    """Every edge of the view with the operand positions that it carries."""
    return {(operand, ident): args for operand, ident, args in graph.dag.edges(data="args")}


def greedy_coloring(edges: Iterable[tuple[int, int]], order: Iterable[int]) -> dict[int, int]:
    """A color from 0 on for each vertex of ``order``, another one than its neighbours have.

    The vertices are taken in turn, and each gets the smallest color that is free.
    """
    import networkx as nx

    network: nx.Graph[int] = nx.Graph()
    turns = list(order)
    network.add_nodes_from(turns)
    network.add_edges_from(edges)
    colors: dict[int, int] = nx.greedy_color(network, strategy=lambda *_: turns)
    return colors


def minimum_cut(
    capacities: Mapping[tuple[Vertex, Vertex], float], source: Vertex, target: Vertex
) -> tuple[set[Vertex], set[Vertex]]:
    """The vertices on the source's side of a cheapest cut of a flow network, and the others.

    Args:
        capacities: What cutting each edge costs; infinite for one that cannot be cut.
        source: Where the flow comes from.
        target: Where it goes to.

    Raises:
        networkx.NetworkXUnbounded: every cut has an edge that cannot be cut.
    """
    import networkx as nx

    network: nx.DiGraph[Vertex] = nx.DiGraph()
    network.add_nodes_from((source, target))
    for (start, end), capacity in capacities.items():
        limit = {} if capacity == math.inf else {"capacity": capacity}
        network.add_edge(start, end, **limit)  # networkx takes an edge without one as infinite
    _, (first, second) = nx.minimum_cut(
        network, source, target, flow_func=nx.algorithms.flow.boykov_kolmogorov
    )
    return first, second
