"""How functions with rules of their own, and checkpoints, are differentiated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from graphjit.errors import MissingRule, TraceError
from graphjit.ir.builder import Builder
from graphjit.ir.dag import needed
from graphjit.ir.graph import Graph, Node, Origin
from graphjit.passes.control import Both, Dual, Reverse, split, zeros
from graphjit.passes.linear import linear
from graphjit.passes.rewrite import reached
from graphjit.passes.simplify import simplify

CLOSED_HINT = (
    "A rule says nothing of what its function closes over or takes by nondiff_argnums: pass the "
    "value as an argument of its own, or hold it constant with graphjit.stop_gradient."
)

# -- running the forward rule in the place of the function ----------------------------------------


def expanded(
    builder: Builder, graph: Graph, inputs: Sequence[int], active: set[int]
) -> tuple[list[int], dict[int, list[int]]]:
    """Copy a graph, with the forward rule of each active function that has one in its place.

    Returns:
        The place of every node (-1 for a function that was replaced), and the residuals that
        each function's rule keeps for the backward pass.
    """
    rules = {n.id: FORWARD_RULES[n.op] for n in graph.nodes if n.op in FORWARD_RULES}
    if not rules.keys() & active:
        return builder.inline(graph, inputs), {}
    place = dict(zip(graph.inputs, inputs, strict=True))
    outputs, residuals = dict[int, list[int]](), dict[int, list[int]]()
    for node in graph.nodes:
        operands = tuple(place[i] for i in node.inputs)
        if node.id in rules and node.id in active:
            found, count = rules[node.id](builder, node, operands), len(node.results)
            outputs[node.id], residuals[node.id] = found[:count], found[count:]
            place[node.id] = -1
        elif node.op == "item" and node.inputs[0] in outputs:
            place[node.id] = outputs[node.inputs[0]][node.params["index"]]
        elif node.id not in place:
            place[node.id] = builder.copy(node, operands)
    return [place[i] for i in range(len(graph.nodes))], residuals


def forward_of_vjp(builder: Builder, node: Node, operands: Sequence[int]) -> list[int]:
    """The results and the residuals, by the forward rule."""
    graph: Graph = node.params["forward"]
    place = builder.inline(graph, operands)
    return [place[i] for i in graph.outputs]


def forward_of_jvp(builder: Builder, node: Node, operands: Sequence[int]) -> list[int]:
    """The results, as the tangent rule computes them."""
    rule: Graph = node.params["rule"]
    first = reached(Graph(rule.nodes, rule.inputs, rule.outputs[: len(node.results)]))
    still = [zeros(builder, aval) for aval in rule.avals(rule.inputs[len(operands) :])]
    place = builder.inline(first, [*operands, *still])
    return [place[i] for i in first.outputs]


FORWARD_RULES: dict[str, Callable[[Builder, Node, Sequence[int]], list[int]]] = {
    "custom_vjp": forward_of_vjp,
    "custom_jvp": forward_of_jvp,
}

# -- reverse --------------------------------------------------------------------------------------


def backward(graph: Graph) -> Graph:
    """The graph with every node marked as of the backward pass."""
    nodes = tuple(
        replace(n, origin=replace(n.origin or Origin("", 0), adjoint=True)) for n in graph.nodes
    )
    return Graph(nodes, graph.inputs, graph.outputs)


def arguments(node: Node) -> list[int]:
    """The float operands that a rule speaks of."""
    body: Graph = node.params["body"]
    kinds = body.avals(body.inputs)
    return [i for i in range(node.params["consts"], len(kinds)) if kinds[i].inexact]


def check_closed(node: Node, wanted: Sequence[bool]) -> None:
    """Refuse to differentiate with respect to what the rule does not speak of.

    Raises:
        TraceError: with the line of the call.
    """
    if any(wanted[: node.params["consts"]]):
        name = node.params["name"]
        raise TraceError(
            f"{name} has a derivative rule, but depends on a differentiated value that is none of "
            f"its differentiable arguments",
            origin=node.origin, hint=CLOSED_HINT,
        )  # fmt: skip


def reverse_custom_vjp(given: Reverse) -> list[Any]:
    """The backward rule, on the constants, the residuals and the cotangents."""
    node = given.node
    check_closed(node, given.active)
    rule: Graph = node.params["backward"]
    ends = [i for i, aval in enumerate(node.results) if aval.inexact]
    inputs = [
        *given.operands[: node.params["consts"]],
        *given.residuals,
        *(given.cotangent(i) for i in ends),
    ]
    place = given.builder.inline(backward(rule), inputs)
    return given.shares([place[i] for i in rule.outputs], arguments(node))


def reverse_custom_jvp(given: Reverse) -> list[Any]:
    """The transpose of the tangent rule: it is linear in the tangents, so any will do: zeros."""
    from graphjit.passes.adjoint import pullback  # which calls these rules

    node = given.node
    check_closed(node, given.active)
    rule: Graph = node.params["rule"]
    count, floats = len(given.operands), arguments(node)
    wanted = [i for i in floats if given.active[i]]
    tangents = [i for i, aval in enumerate(node.results) if aval.inexact]
    ends = [i for i in tangents if i in given.cotangents]
    pulled = backward(
        pullback(
            rule,
            [count + floats.index(i) for i in wanted],
            [len(node.results) + tangents.index(i) for i in ends],
            strong=given.strong,
        )
    )
    still = [zeros(given.builder, aval) for aval in rule.avals(rule.inputs[count:])]
    cotangents = [given.cotangents[i].id for i in ends]
    place = given.builder.inline(pulled, [*given.operands, *still, *cotangents])
    return given.shares([place[i] for i in pulled.outputs[len(rule.outputs) :]], wanted)


def reverse_checkpoint(given: Reverse) -> list[Any]:
    """The body runs again in the backward pass, apart from the rest, and is pulled back there.

    Only what that needs is handed in: an operand that no cotangent depends on can be freed.
    """
    from graphjit.passes.adjoint import pullback  # which calls these rules

    body: Graph = given.node.params["body"]
    wanted = [i for i, active in enumerate(given.active) if active]
    if not wanted:
        return [None] * len(given.operands)
    ends = sorted(given.cotangents)
    graph = pullback(body, wanted, ends, strong=given.strong)
    graph = simplify(reached(Graph(graph.nodes, graph.inputs, graph.outputs[len(body.outputs) :])))
    graph, used = without_unused(backward(graph))
    inputs = [*given.operands, *(given.cotangents[i].id for i in ends)]
    items = given.builder.emit_control(
        "checkpoint", [inputs[i] for i in used], body=graph, barrier=True
    )
    return given.shares(items, wanted)


def without_unused(graph: Graph) -> tuple[Graph, list[int]]:
    """The graph with those inputs alone that its outputs depend on, and their positions."""
    live = needed(graph, graph.outputs)
    used = [position for position, ident in enumerate(graph.inputs) if ident in live]
    builder = Builder()
    place = {i: builder.input(graph.nodes[i].aval) for i in (graph.inputs[p] for p in used)}
    for node in graph.nodes:
        if node.id in live and node.id not in place:
            place[node.id] = builder.copy(node, tuple(place[i] for i in node.inputs))
    return builder.graph([place[i] for i in graph.outputs]), used


CUSTOM_REVERSE: dict[str, Callable[[Reverse], list[Any]]] = {
    "custom_vjp": reverse_custom_vjp,
    "custom_jvp": reverse_custom_jvp,
    "checkpoint": reverse_checkpoint,
}

# -- forward --------------------------------------------------------------------------------------


def forward_custom_vjp(given: Dual) -> Both:
    """The transpose of the backward rule, which is linear in the cotangents.

    Raises:
        MissingRule: the rule does something else with them, such as clipping.
    """
    from graphjit.passes.adjoint import pullback  # which calls these rules

    node = given.node
    if all(known is None for known in given.tangents):
        return unmoved(given)
    check_closed(node, [known is not None for known in given.tangents])
    found = forward_of_vjp(given.builder, node, given.operands)
    primals, residuals = found[: len(node.results)], found[len(node.results) :]
    rule, ends = linear_rule(node, "so it has no derivative in forward mode")
    consts = node.params["consts"]
    moved = [i for i in arguments(node) if given.tangents[i] is not None]
    turned = pullback(rule, ends, [arguments(node).index(i) for i in moved], strong=given.strong)
    still = [zeros(given.builder, aval) for aval in rule.avals(tuple(rule.inputs[i] for i in ends))]
    tangents = [given.filled(i) for i in moved]
    inputs = [*given.operands[:consts], *residuals, *still, *tangents]
    place = given.builder.inline(turned, inputs)
    return split([*primals, *(place[i] for i in turned.outputs[len(rule.outputs) :])], node.results)


def linear_rule(node: Node, otherwise: str) -> tuple[Graph, list[int]]:
    """The backward rule, and which of its inputs are the cotangents that it is linear in.

    Raises:
        MissingRule: it is no transpose of anything; naming the function, with the line of the call.
    """
    rule: Graph = simplify(node.params["backward"])
    count = sum(aval.inexact for aval in node.results)
    ends = list(range(len(rule.inputs) - count, len(rule.inputs)))
    if not linear(rule, ends):
        name = node.params["name"]
        raise MissingRule(
            f"{name} is a custom_vjp whose backward rule is not known to be linear in the "
            f"cotangent, {otherwise}",
            origin=node.origin, hint="Give it a rule with custom_jvp, which serves both modes.",
        )  # fmt: skip
    return rule, ends


def forward_custom_jvp(given: Dual) -> Both:
    """The tangent rule in the place of the function."""
    node = given.node
    if all(known is None for known in given.tangents):
        return unmoved(given)
    check_closed(node, [known is not None for known in given.tangents])
    rule: Graph = node.params["rule"]
    inputs = [*given.operands, *(given.filled(i) for i in arguments(node))]
    place = given.builder.inline(rule, inputs)
    return split([place[i] for i in rule.outputs], node.results)


def forward_checkpoint(given: Dual) -> Both:
    """A checkpoint of primals and tangents."""
    from graphjit.passes.tangent import tangent  # which calls these rules

    moved = [i for i, known in enumerate(given.tangents) if known is not None]
    if not moved:
        return unmoved(given)
    params = {
        **given.node.params,
        "body": tangent(given.node.params["body"], moved, strong=given.strong),
    }
    inputs = [*given.operands, *(given.filled(i) for i in moved)]
    return split(given.builder.emit_control("checkpoint", inputs, **params), given.node.results)


CUSTOM_FORWARD: dict[str, Callable[[Dual], Both]] = {
    "custom_vjp": forward_custom_vjp,
    "custom_jvp": forward_custom_jvp,
    "checkpoint": forward_checkpoint,
}


def unmoved(given: Dual) -> Both:
    """The node as it is, where no operand has a tangent."""
    node = given.node
    items = given.builder.emit_control(node.op, given.operands, **node.params)
    return items, {}
