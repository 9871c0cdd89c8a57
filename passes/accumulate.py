"""Let the cotangents of several gathers from one array accumulate in one array."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from graphjit.ir.graph import Graph, Node
from graphjit.passes.rewrite import Rebuild, reached

Form = tuple[Any, ...]


def accumulate(graph: Graph) -> Graph:
    """Join scatters that are added to one another, and nothing else, into one.

    Safe, because a scatter adds its updates to zeros: adding two results is adding all updates of
    both. It pays where the updates are fewer than the elements of the result, since each scatter
    writes zeros to a whole array and each sum reads two: a table of 100,000 rows, of which a batch
    reads a few at two places, is written once.

    Before: ``%4 = scatter_add(%0, %1, axes=(0,), shape=(9,))``, ``%5 = scatter_add(%2, %3,
    axes=(0,), shape=(9,))``, ``%6 = add(%4, %5)``; after: ``%4 = concatenate(%0, %2, axis=0)``,
    ``%5 = concatenate(%1, %3, axis=0)``, ``%6 = scatter_add(%4, %5, axes=(0,), shape=(9,))``.
    """
    if graph.count("scatter_add") < 2:
        return graph
    sums = joined(graph)
    if not sums:
        return graph
    new = Rebuild(graph)
    for node in graph.nodes:
        if node.id not in sums:
            new.copy(node)
            continue
        terms = [written(new, group) for group in sums[node.id]]
        new.origin = node.origin
        total = terms[0]
        for term in terms[1:]:
            total = new.builder.emit("add", total, term)
        new.place[node.id] = total
    return reached(new.finish())


def joined(graph: Graph) -> dict[int, list[list[Node]]]:
    """For each sum with scatters to join its terms: a group of scatters, or one other node."""
    uses = Counter(i for node in graph.nodes for i in node.inputs) + Counter(graph.outputs)
    inner = {
        i for n in graph.nodes if n.op == "add" for i in n.inputs
        if graph.nodes[i].op == "add" and uses[i] == 1
    }  # fmt: skip
    found = {}
    for node in graph.nodes:
        if node.op == "add" and node.id not in inner:
            groups = grouped(graph, terms(graph, node, inner), uses)
            if any(len(group) > 1 for group in groups):
                found[node.id] = groups
    return found


def terms(graph: Graph, node: Node, inner: set[int]) -> list[Node]:
    """What a sum of sums adds up, in order."""
    found, pending = list[Node](), [node.id]
    while pending:
        known = graph.nodes[pending.pop()]
        if known.id == node.id or known.id in inner:
            pending += reversed(known.inputs)
        else:
            found.append(known)
    return found


def grouped(graph: Graph, added: Iterable[Node], uses: Counter[int]) -> list[list[Node]]:
    """Terms, with those scatters together that are worth it."""
    groups: dict[Form, list[Node]] = {}
    for node in added:
        groups.setdefault(form(graph, node, uses), []).append(node)
    apart: list[list[Node]] = []
    for (kind, *_), group in groups.items():
        alone = kind != "scatter_add" or updates(graph, group) > group[0].aval.size
        apart += [[node] for node in group] if alone else [group]
    return apart


def updates(graph: Graph, group: Iterable[Node]) -> int:
    """How many elements scatters add."""
    return sum(graph.nodes[node.inputs[0]].aval.size for node in group)


def form(graph: Graph, node: Node, uses: Counter[int]) -> Form:
    """Equal for scatters that can be one; nothing else equals a node that is none."""
    if node.op != "scatter_add" or uses[node.id] != 1:
        return (node.id,)
    index = [graph.nodes[i].aval.dtype for i in node.inputs[1:]]
    return ("scatter_add", node.aval, node.params["axes"], *index)


def written(new: Rebuild, group: Sequence[Node]) -> int:
    """One term in the new graph."""
    if len(group) == 1:
        return new.place[group[0].id]
    new.origin = group[0].origin
    columns = zip(*(flat(new, node) for node in group), strict=True)
    operands = [new.builder.emit("concatenate", *column, axis=0) for column in columns]
    return new.builder.emit("scatter_add", *operands, **group[0].params)


def flat(new: Rebuild, node: Node) -> list[int]:
    """The updates and the indices of a scatter, with the axes of the index as one."""
    updates, *index = (new.place[i] for i in node.inputs)
    shape = new.builder.nodes[index[0]].aval.shape
    count, whole = math.prod(shape), new.builder.nodes[updates].aval.shape
    shapes = [(count, *whole[len(shape) :]), *[(count,)] * len(index)]
    return [
        ident if new.builder.nodes[ident].aval.shape == to
        else new.builder.emit("reshape", ident, shape=to)
        for ident, to in zip((updates, *index), shapes, strict=True)
    ]  # fmt: skip
