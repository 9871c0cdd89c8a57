"""Products with triangular matrices, and those of which a triangle is wanted alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from graphjit.ir.graph import Graph, Node
from graphjit.ir.table.contract import terms
from graphjit.records import NamedTuple

PRODUCTS = ("multiply", "strong_multiply")
LEAST = 64  # rows and columns of a matrix of which a part is worth leaving out


class Triangle(NamedTuple):
    """A matrix that is zero where the index of axis ``small`` is above the other's plus ``offset``.

    Of np.tril(x, k), that is axis 1 and k. Where it is a product with a mask, it is ``masked``: NaN
    where zeros meet what is infinite or NaN.
    """

    small: int
    offset: int
    masked: bool = False

    def named(self, letters: str) -> tuple[str, str, int]:
        """The letters of the smaller index and of the other one, and the offset."""
        return letters[self.small], letters[1 - self.small], self.offset


def triangles(graph: Graph) -> Graph:
    """Say of products which part of an operand is zero, or which part of the result is wanted.

    Safe, because these are remarks, and the graph is the same otherwise. Zeros are those that
    ``np.tril`` and ``np.triu`` put there, or a mask. A part is wanted where all that uses the
    result chooses among it and zeros in this way, as in the gradient of ``np.tril(a) @ x``; in the
    backward pass also where it is multiplied with a mask.

    ``zeros`` are the side of the operand, its letters of the small and the large index, the offset,
    and what must be finite for the zeros to count: 0 is nothing, as in the backward pass, 1 the
    other operand, 2 both of them.

    Before: ``%4 = where(%3, %0, 0)``, ``%5 = contract(%4, %1, spec='ij,jk->ik')``; after:
    ``%5 = contract(%4, %1, spec='ij,jk->ik', zeros=(0, 'j', 'i', 0, 1))``.
    """
    large = [n for n in graph.nodes if n.op == "contract" and n.params.keys() == {"spec"}]
    large = [n for n in large if any(wide(graph.nodes[i]) for i in (*n.inputs, n.id))]
    if not large or not any(n.op == "iota" for n in graph.nodes):
        return graph
    found = {n.id: {**of_operands(graph, n), **of_result(graph, n)} for n in large}
    nodes = [
        replace(n, params={**n.params, **found[n.id]}) if found.get(n.id) else n
        for n in graph.nodes
    ]
    return Graph(tuple(nodes), graph.inputs, graph.outputs)


def wide(node: Node) -> bool:
    """Whether it is a matrix that is large enough."""
    return len(node.aval.shape) == 2 and min(node.aval.shape) >= LEAST


def of_operands(graph: Graph, node: Node) -> dict[str, Any]:
    """Which operand is zero and where; and what must be finite for that."""
    for side, (ident, letters) in enumerate(
        zip(node.inputs, terms(node.params["spec"])[:2], strict=True)
    ):
        found = triangle(graph, graph.nodes[ident])
        if found is not None:
            finite = 1 + found.masked if node.of_user else 0
            return {"zeros": (side, *found.named(letters), finite)}
    return {}


def of_result(graph: Graph, node: Node) -> dict[str, Any]:
    """Which part of the result is wanted."""
    users = [graph.nodes[u] for u in graph.users[node.id]]
    if not users or node.id in graph.outputs:
        return {}
    kinds = {chosen(graph, u, node) for u in users}
    found = kinds.pop()
    if kinds or found is None:
        return {}
    return {"wanted": found.named(terms(node.params["spec"])[2])}


def chosen(graph: Graph, user: Node, node: Node) -> Triangle | None:
    """The triangle of a matrix outside of which what it is does not count for a user."""
    masked = user.op in PRODUCTS and not user.of_user
    if masked or user.inputs[1:2] == (node.id,):
        found = triangle(graph, user) if user.op == "where" or masked else None
        return found and found._replace(masked=False)
    return None


def triangle(graph: Graph, node: Node) -> Triangle | None:
    """The triangle outside of which a matrix is zero, where it is made so."""
    if not wide(node):
        return None
    if node.op == "where":
        return compared(graph, node.inputs[0]) if number(graph, node.inputs[2]) == 0 else None
    if node.op == "cast":
        return compared(graph, node.inputs[0])
    if node.op in PRODUCTS:
        masks = (graph.nodes[i] for i in node.inputs)
        found = (compared(graph, m.inputs[0]) for m in masks if m.op == "cast")
        return next((t._replace(masked=True) for t in found if t is not None), None)
    return None


def compared(graph: Graph, ident: int) -> Triangle | None:
    """The triangle in which a comparison of places holds."""
    condition = graph.nodes[ident]
    if condition.op not in ("less_equal", "greater_equal"):
        return None
    low, high = (counted(graph, i) for i in condition.inputs)
    if condition.op == "greater_equal":
        low, high = high, low
    if low is None or high is None or low[0] == high[0]:
        return None
    return Triangle(low[0], high[1] - low[1])


def counted(graph: Graph, ident: int) -> tuple[int, int] | None:
    """The axis along which a matrix counts, and from which number on."""
    node = graph.nodes[ident]
    if node.op == "iota":
        return node.params["axis"], 0
    if node.op == "add":
        for one, other in (node.inputs, node.inputs[::-1]):
            more = number(graph, other)
            if graph.nodes[one].op == "iota" and more is not None:
                return graph.nodes[one].params["axis"], int(more)
    return None


def number(graph: Graph, ident: int) -> Any:
    """The number that all elements are, if they are a constant."""
    node = graph.nodes[ident]
    while node.op == "broadcast":
        node = graph.nodes[node.inputs[0]]
    if node.op != "constant" or node.aval.size != 1:
        return None
    return np.asarray(node.params["value"]).reshape(-1)[0]
