"""How functions with rules of their own, and checkpoints, are batched: with their rules."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from graphjit.ir.builder import Builder
from graphjit.ir.graph import Graph, Node
from graphjit.passes.control_batch import batched_graph, reached
from graphjit.passes.custom import arguments

if TYPE_CHECKING:
    from graphjit.passes.batch import Batching

Placed = dict[int, tuple[int, bool]]


def emitted(b: Batching, node: Node, wide: set[int], **graphs: Graph) -> Placed:
    """The node with other graphs; which of its results have the axis is known."""
    inputs = [b.place[i] for i in node.inputs]
    items = b.builder.emit_control(node.op, inputs, **{**node.params, **graphs})
    return {i: (item, i in wide) for i, item in enumerate(items)}


def batch_checkpoint(b: Batching, node: Node) -> Placed:
    """The body, batched."""
    batched = {i for i, ident in enumerate(node.inputs) if ident in b.wide}
    body: Graph = node.params["body"]
    wide = reached(body, sorted(batched))
    return emitted(b, node, wide, body=batched_graph(body, batched, b.size, wide))


def batch_custom_vjp(b: Batching, node: Node) -> Placed:
    """The body and both rules; an argument that all examples share gets the sum of cotangents."""
    params, size = node.params, b.size
    body, forward, backward = params["body"], params["forward"], params["backward"]
    consts, count = params["consts"], len(node.results)
    batched = {i for i, ident in enumerate(node.inputs) if ident in b.wide}
    kept = reached(forward, sorted(batched))
    wide = reached(body, sorted(batched)) | {i for i in kept if i < count}
    floats = [i for i, aval in enumerate(node.results) if aval.inexact]
    residuals = len(forward.outputs) - count
    given = {i for i in batched if i < consts}
    given |= {consts + i - count for i in kept if i >= count}
    given |= {consts + residuals + at for at, i in enumerate(floats) if i in wide}
    return emitted(
        b, node, wide,
        body=batched_graph(body, batched, size, wide),
        forward=batched_graph(forward, batched, size, kept | wide),
        backward=summed(backward, given, size, [i in batched for i in arguments(node)]),
    )  # fmt: skip


def summed(backward: Graph, given: set[int], size: int, own: list[bool]) -> Graph:
    """The batched backward rule, its results summed over the examples where they share one."""
    wide = reached(backward, sorted(given))
    kept = wide | {i for i, each in enumerate(own) if each}
    graph = batched_graph(backward, given, size, kept)
    builder = Builder()
    place = builder.inline(graph, [builder.input(a) for a in graph.avals(graph.inputs)])
    outputs = [place[i] for i in graph.outputs]
    return builder.graph(
        [
            builder.emit("sum", ident, axes=(0,)) if i in kept and not own[i] else ident
            for i, ident in enumerate(outputs)
        ]
    )


def batch_custom_jvp(b: Batching, node: Node) -> Placed:
    """The body and the rule; a tangent has the axis where its primal has it."""
    params, size, count = node.params, b.size, len(node.results)
    body, rule = params["body"], params["rule"]
    batched = {i for i, ident in enumerate(node.inputs) if ident in b.wide}
    moved = {len(node.inputs) + at for at, i in enumerate(arguments(node)) if i in batched}
    floats = [i for i, aval in enumerate(node.results) if aval.inexact]
    found = reached(rule, sorted(batched | moved))
    wide = reached(body, sorted(batched)) | {i for i in found if i < count}
    wide |= {i for at, i in enumerate(floats) if count + at in found}
    both = wide | {count + at for at, i in enumerate(floats) if i in wide}
    return emitted(
        b, node, wide,
        body=batched_graph(body, batched, size, wide),
        rule=batched_graph(rule, batched | moved, size, both),
    )  # fmt: skip


CUSTOM_BATCH: dict[str, Callable[[Batching, Node], Placed]] = {
    "checkpoint": batch_checkpoint,
    "custom_jvp": batch_custom_jvp,
    "custom_vjp": batch_custom_vjp,
}
