"""Bodies in the place of the nodes that carry them."""

from __future__ import annotations

from graphjit.ir.graph import Graph, Node
from graphjit.passes.rewrite import Rebuild

CARRIERS = frozenset({"custom_vjp", "custom_jvp", "checkpoint"})


def inline(graph: Graph) -> Graph:
    """Put the body in the place of each function with a rule of its own and of each checkpoint.

    Safe, because such a node computes what its body computes; the rules that it carries speak of
    its derivative, which has been taken when this pass runs. What has a ``barrier`` stays: it is
    computed apart from the rest on purpose.

    Before: ``%1 = custom_vjp(%0)`` with the body ``sin``, and ``%2`` its item; after:
    ``%1 = sin(%0)``.
    """
    while any(map(dissolves, graph.nodes)):
        graph = inlined_once(graph)
    return graph


def dissolves(node: Node) -> bool:
    """Whether the node is nothing but its body by now."""
    return node.op in CARRIERS and not node.params.get("barrier", False)


def inlined_once(graph: Graph) -> Graph:
    """The graph with the bodies of its own nodes; those that were inside them are there now."""
    new, results = Rebuild(graph), dict[int, list[int]]()
    for node in graph.nodes:
        if dissolves(node):
            body: Graph = node.params["body"]
            place = new.builder.inline(body, new.operands(node))
            results[node.id] = [place[i] for i in body.outputs]
        elif node.op == "item" and node.inputs[0] in results:
            new.place[node.id] = results[node.inputs[0]][node.params["index"]]
        else:
            new.copy(node)
    return new.finish()
