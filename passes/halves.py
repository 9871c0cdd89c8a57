"""Of batches of products only the triangles that masks leave of them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace

from graphjit.ir.graph import Graph, Node
from graphjit.ir.table.contract import terms
from graphjit.ir.view import View, contiguous
from graphjit.passes.group import FREE, views
from graphjit.passes.triangles import PRODUCTS, Triangle, counted, number

LEAST = 16  # rows and columns of a matrix of which a part is worth leaving out
DEPTH = 256  # terms of a sum for which many small products are as fast as one
Seen = Mapping[int, tuple[int, View]]
TESTS = ("less_equal", "greater_equal", "equal")


def halves(graph: Graph) -> Graph:
    """Say of batches of products which part of each matrix is wanted, as ``triangles`` does of one.

    Safe, because these are remarks, and because that is in the backward pass alone, where zeros
    win: all that uses the products multiplies them by a mask that is made of places. It comes after
    ``arrange``, which chooses the order of axes.

    Before: ``%3 = contract(%0, %1, spec='nki,nkj->kij')``, ``%4 = multiply(%3, %2)`` with a mask
    ``%2``; after: ``%3 = contract(%0, %1, spec='nki,nkj->kij', wanted=('j', 'i', 0))``.
    """
    large = [node for node in graph.nodes if node.op == "contract" and worth(graph, node)]
    if not large:
        return graph
    seen = views(graph)
    found = {node.id: part for node in large if (part := wanted(graph, node, seen))}
    nodes = [
        replace(n, params={**n.params, "wanted": found[n.id]}) if n.id in found else n
        for n in graph.nodes
    ]
    return Graph(tuple(nodes), graph.inputs, graph.outputs) if found else graph


def worth(graph: Graph, node: Node) -> bool:
    """Whether it is a batch of matrices in the backward pass, each of long sums."""
    if node.of_user or node.params.keys() != {"spec"} or node.aval.ndim < 3:
        return False
    first, second, result = terms(node.params["spec"])
    sizes = dict(zip(first, graph.nodes[node.inputs[0]].aval.shape, strict=True))
    lengths = dict(zip(result, node.aval.shape, strict=True))
    matrix = [c for c in result if (c in first) != (c in second)]
    depth = math.prod(n for c, n in sizes.items() if c not in result)
    return len(matrix) == 2 and depth >= DEPTH and min(lengths[c] for c in matrix) >= LEAST


def wanted(graph: Graph, node: Node, seen: Seen) -> tuple[str, str, int] | None:
    """The letters of the smaller and the larger index and the offset; None where all is wanted."""
    parts = [masked(graph, node, *use, seen) for use in users(graph, node)]
    pairs = set.intersection(*(set(part) for part in parts)) if parts else set()
    letters = terms(node.params["spec"])[2]
    if not pairs:
        return None
    small, large = min(pairs)
    return letters[small], letters[large], max(part[small, large] for part in parts)


def users(graph: Graph, node: Node) -> Iterator[tuple[Node | None, int]]:
    """What reads a value, through views, and as which operand; None is the caller."""
    waiting = [node.id]
    while waiting:
        ident = waiting.pop()
        if ident in graph.outputs:
            yield None, ident
        for user in graph.users[ident]:
            if graph.nodes[user].op in FREE:
                waiting.append(user)
            else:
                yield graph.nodes[user], ident


def masked(
    graph: Graph, node: Node, user: Node | None, operand: int, seen: Seen
) -> dict[tuple[int, int], int]:
    """The pairs of axes of which a user takes the triangle alone, with the offsets."""
    found = choice(graph, user, operand, seen) if user is not None else None
    if found is None or seen[operand][0] != node.id:
        return {}
    (base, view), test = found
    steps = contiguous(graph.nodes[base].aval.shape).strides
    places = (along(node, seen[operand][1], step, view) for step in steps)
    axes = [axis for axis in places if axis is not None]
    if len(steps) != 2 or len(axes) != 2:
        return {}
    return {(axes[t.small], axes[1 - t.small]): t.offset for t in compared(graph, test)}


def choice(
    graph: Graph, user: Node, operand: int, seen: Seen
) -> tuple[tuple[int, View], int] | None:
    """What leaves a user a part of an operand, as it is read, and the test that it is made of."""
    first, second = user.inputs[:2] if len(user.inputs) > 1 else (operand, operand)
    if user.op == "where" and second == operand and number(graph, user.inputs[2]) == 0:
        return seen[first], seen[first][0]
    if user.op in PRODUCTS and not user.of_user:
        mask = seen[second if first == operand else first]
        cast = graph.nodes[mask[0]]
        return (mask, cast.inputs[0]) if cast.op == "cast" else None
    return None


def along(node: Node, seen: View, step: int, mask: View) -> int | None:
    """The axis of a value along which a mask takes a step, both as an operation reads them."""
    if seen.offset or mask.offset or seen.shape != mask.shape:
        return None
    at = [a for a, s in enumerate(mask.strides) if mask.shape[a] > 1 and s == step]
    if len(at) != 1:
        return None
    found = seen.strides[at[0]], mask.shape[at[0]]
    own = zip(contiguous(node.aval.shape).strides, node.aval.shape, strict=True)
    return next((axis for axis, place in enumerate(own) if place == found), None)


def compared(graph: Graph, ident: int) -> list[Triangle]:
    """The triangles in which a comparison of places may hold."""
    condition = graph.nodes[ident]
    if condition.op not in TESTS:
        return []
    low, high = (counted(graph, i) for i in condition.inputs)
    if condition.op == "greater_equal":
        low, high = high, low
    if low is None or high is None or low[0] == high[0]:
        return []
    found = [Triangle(low[0], high[1] - low[1])]
    if condition.op == "equal":
        found.append(Triangle(high[0], low[1] - high[1]))
    return found
