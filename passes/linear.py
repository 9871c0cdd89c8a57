"""Whether a graph is linear in some of its inputs, as far as its operations show it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from graphjit.ir.dag import depends_on
from graphjit.ir.graph import Graph, Node
from graphjit.ir.primitive import TABLE

Flags = list[bool]  # for each operand of a node whether it depends on the inputs


def linear(graph: Graph, inputs: Sequence[int]) -> bool:
    """Whether every output is a linear function of these inputs together.

    ``False`` may also mean that nobody knows: loops and branches are not looked into.

    Args:
        graph: Any graph.
        inputs: Positions in ``graph.inputs``.
    """
    sources = {graph.inputs[i] for i in inputs}
    moved = depends_on(graph, sources)
    return all(
        keeps_linear(graph, node, [i in moved for i in node.inputs])
        for node in graph.nodes
        if node.id in moved and node.id not in sources
    )


def keeps_linear(graph: Graph, node: Node, moved: Flags) -> bool:
    """Whether a node is linear in the operands that depend on the inputs."""
    rule = RULES.get(node.op)
    if rule is not None:
        return rule(graph, node, moved)
    return TABLE[node.op].kind == "layout" and together(graph, node, moved)


def together(graph: Graph, node: Node, moved: Flags) -> bool:
    """Linear in all operands at once: one that does not depend on the inputs must be zero."""
    return all(m or zero(graph, i) for i, m in zip(node.inputs, moved, strict=True))


def of_choices(graph: Graph, node: Node, moved: Flags) -> bool:
    """A choice by a fixed condition, between values that are linear or zero."""
    pairs = zip(node.inputs[1:], moved[1:], strict=True)
    return not moved[0] and all(m or zero(graph, i) for i, m in pairs)


def zero(graph: Graph, ident: int) -> bool:
    """Whether a value is known to be zero."""
    node = graph.nodes[ident]
    while node.op in ("broadcast", "reshape", "transpose", "cast"):
        node = graph.nodes[node.inputs[0]]
    return node.op == "constant" and not np.any(node.params["value"])


RULES: dict[str, Callable[[Graph, Node, Flags], bool]] = {
    **dict.fromkeys(("add", "subtract", "negative", "positive", "sum", "cumsum"), together),
    # A product is linear in one operand alone; what picks from its first operand, in that one.
    **dict.fromkeys(
        ("multiply", "strong_multiply", "contract", "convolve"),
        lambda graph, node, moved: sum(moved) == 1,
    ),
    **dict.fromkeys(
        ("divide", "gather", "scatter_add", "hold"), lambda graph, node, moved: not any(moved[1:])
    ),
    "recurrence": lambda graph, node, moved: not any(moved[:-1]),
    "where": of_choices,
    "cast": lambda graph, node, moved: node.aval.inexact,
}
