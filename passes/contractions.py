"""What is known of contractions once all of them are there: order of axes, and symmetry."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container
from dataclasses import replace

from graphjit.ir.graph import Graph, Node
from graphjit.ir.table.contract import terms
from graphjit.passes.rewrite import Rebuild, reached
from graphjit.passes.triangles import triangles

SCALING = frozenset({"multiply", "strong_multiply", "divide", "negative"})


def contractions(graph: Graph) -> Graph:
    """Write transposed products in the order that is wanted, and mark symmetric ones.

    Safe, because a contraction may name its result's axes in any order, and what is marked is
    symmetric but for rounding: a matrix times its own transpose, in the backward pass with weights
    along the sum. A symmetric result needs no transpose, and half of the multiplications. What
    else is known of products ``triangles`` says.

    Before: ``%2 = contract(%1, %1, spec='ij,ik->jk')``, ``%3 = transpose(%2, axes=(1, 0))``;
    after: ``%2 = contract(%1, %1, spec='ij,ik->jk', symmetric=True)``, and it stands for ``%3``.
    """
    products = [node for node in graph.nodes if node.op == "contract"]
    marked = {node.id for node in products if symmetric(graph, node)}
    turned = transposed(graph, {node.id for node in products}, marked)
    if not marked and not turned:
        return triangles(graph)
    new = Rebuild(graph)
    for node in graph.nodes:
        if node.id in marked:
            known = replace(node, params={**node.params, "symmetric": True})
            new.place[node.id] = new.put(known, new.operands(node))
        elif node.id in turned and node.inputs[0] in marked:
            new.place[node.id] = new.place[node.inputs[0]]
        elif node.id in turned:
            source = graph.nodes[node.inputs[0]]
            ordered = replace(source, params={"spec": turned[node.id]}, aval=node.aval)
            new.place[node.id] = new.put(ordered, new.operands(source))
        else:
            new.copy(node)
    return triangles(reached(new.finish()))


def transposed(graph: Graph, products: Container[int], marked: Container[int]) -> dict[int, str]:
    """The transposes that a product can do itself, and its specification then."""
    found = [n for n in graph.nodes if n.op == "transpose" and n.inputs[0] in products]
    if not found:
        return {}
    uses = Counter(i for node in graph.nodes for i in node.inputs) + Counter(graph.outputs)
    turned = {node.id: reordered(node, graph.nodes[node.inputs[0]]) for node in found}
    return {
        node.id: turned[node.id]
        for node in found
        if (node.inputs[0] in marked and node.params["axes"] == (1, 0))
        or (uses[node.inputs[0]] == 1 and grouped(turned[node.id]))
    }


def reordered(transpose: Node, product: Node) -> str:
    """The specification of a product that is transposed."""
    first, second, result = terms(product.params["spec"])
    return f"{first},{second}->{''.join(result[axis] for axis in transpose.params['axes'])}"


def grouped(spec: str) -> bool:
    """Whether the result is a batch of matrices, their rows of one operand, columns of the other.

    Other orders would be written a line at a time, which takes longer than to transpose.
    """
    first, second, result = terms(spec)
    batch = [c for c in result if c in first and c in second]
    rows, columns = ([c for c in x if c in result and c not in batch] for x in (first, second))
    return list(result) in ([*batch, *rows, *columns], [*batch, *columns, *rows])


def symmetric(graph: Graph, node: Node) -> bool:
    """Whether it is the product of a matrix with its own transpose."""
    first, second, result = terms(node.params["spec"])
    if len(result) != 2:
        return False
    row, column = sorted(result, key=lambda c: c in second)
    if row in second or column in first:
        return False
    if first.replace(row, column) != second:
        return False
    a, b = node.inputs
    if a == b:
        return True
    axis = first.index(row)
    return not node.of_user and unscaled(graph, a, axis) == unscaled(graph, b, axis)


def unscaled(graph: Graph, ident: int, axis: int) -> int:
    """The operand without factors that are the same all along an axis."""
    node = graph.nodes[ident]
    while node.op in SCALING:
        last = node.inputs[1] if len(node.inputs) > 1 else None
        if last is None or repeated(graph, last, axis):
            ident = node.inputs[0]
        elif node.op != "divide" and repeated(graph, node.inputs[0], axis):
            ident = last
        else:
            break
        node = graph.nodes[ident]
    return ident


def repeated(graph: Graph, ident: int, axis: int) -> bool:
    """Whether a broadcast repeats its operand along an axis."""
    node = graph.nodes[ident]
    if node.op != "broadcast":
        return False
    inner = graph.nodes[node.inputs[0]].aval.shape
    place = axis - len(node.aval.shape) + len(inner)
    return place < 0 or inner[place] == 1 != node.aval.shape[axis]
