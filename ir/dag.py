"""Every use of networkx on graphs is here."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import TypeVar

import networkx as nx

from graphjit.ir.graph import Graph

Vertex = TypeVar("Vertex", bound=Hashable)


def digraph(graph: Graph) -> nx.DiGraph[int]:
    """The frozen DiGraph of a graph: nodes are ids, edges carry the operand positions."""
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
    dag, found = graph.dag.reverse(copy=False), set[int]()
    for target in targets:
        if target not in found:
            found |= _below(dag, target, found)
    return found


def _below(dag: nx.DiGraph[int], start: int, known: set[int]) -> set[int]:
    """What is reachable from ``start`` without passing through ``known``."""
    stack, found = [start], {start}
    while stack:
        fresh = [n for n in dag.successors(stack.pop()) if n not in known and n not in found]
        found.update(fresh)
        stack.extend(fresh)
    return found


def depends_on(graph: Graph, sources: Iterable[int]) -> set[int]:
    """The sources and everything that depends on one of them."""
    found = set[int]()
    for source in sources:
        if source not in found:
            found |= _below(graph.dag, source, found)
    return found


def topological(graph: Graph, key: Callable[[int], object]) -> list[int]:
    """A topological order; among the nodes that are ready, the least ``key`` first."""
    return list(nx.lexicographical_topological_sort(graph.dag, key=key))


def edges(graph: Graph) -> dict[tuple[int, int], tuple[int, ...]]:
    """Every edge of the view with the operand positions that it carries."""
    return {(operand, ident): args for operand, ident, args in graph.dag.edges(data="args")}


def greedy_coloring(edges: Iterable[tuple[int, int]], order: Iterable[int]) -> dict[int, int]:
    """A color from 0 on for each vertex of ``order``, another one than its neighbours have.

    The vertices are taken in turn, and each gets the smallest color that is free.
    """
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
    network: nx.DiGraph[Vertex] = nx.DiGraph()
    network.add_nodes_from((source, target))
    for (start, end), capacity in capacities.items():
        limit = {} if capacity == math.inf else {"capacity": capacity}
        network.add_edge(start, end, **limit)  # networkx takes an edge without one as infinite
    _, (first, second) = nx.minimum_cut(
        network, source, target, flow_func=nx.algorithms.flow.boykov_kolmogorov
    )
    return first, second
