"""Common subexpressions."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

from graphjit.ir.graph import Graph, key
from graphjit.passes.rewrite import Rebuild

# Operations whose result has the same bits in either order. The extrema are not among them: which
# zero np.maximum(0.0, -0.0) returns depends on the order.
COMMUTATIVE = frozenset(
    {
        *("add", "multiply", "strong_multiply", "equal", "not_equal"),
        *("logical_and", "logical_or", "logical_xor"),
        *("bitwise_and", "bitwise_or", "bitwise_xor"),
    }
)


def merge(graph: Graph) -> Graph:
    """Keep one of several nodes that compute the same value.

    Two nodes are the same if operation, operands and parameters are; safe, because a node's value
    depends on nothing else. The first one's line stays. Inputs are never merged: two arguments may
    hold equal arrays today and different ones tomorrow.

    Before: ``%1 = sin(%0)``, ``%2 = sin(%0)``, ``%3 = add(%1, %2)``; after: ``%1 = sin(%0)``,
    ``%2 = add(%1, %1)``.
    """
    new, first = Rebuild(graph), dict[Hashable, int]()
    for node in graph.nodes:
        if node.op in ("input", "constant"):
            new.copy(node)
            continue
        operands = alike = new.operands(node)
        if node.op in COMMUTATIVE:
            alike = tuple(sorted(operands))
        same = (node.op, alike, frozen(node.params) if node.params else None)
        known = first.get(same)
        if known is None:
            known = first[same] = new.put(node, operands)
        new.place[node.id] = known
    return new.finish()


def frozen(value: Any) -> Hashable:
    """A parameter to look up: equal where the bits are, bodies whatever their lines."""
    match value:
        case Graph():
            nodes = ((n.op, n.inputs, n.aval, n.results, frozen(n.params)) for n in value.nodes)
            return (tuple(nodes), value.inputs, value.outputs)
        case Mapping():
            return tuple([(name, frozen(value[name])) for name in sorted(value)])
    return key(value)
