"""The graphs that formulas are made from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphjit.errors import DTypeError, ShapeError, TraceError
from graphjit.ir.builder import Builder
from graphjit.ir.dag import depends_on
from graphjit.ir.graph import Graph
from graphjit.ir.primitive import TABLE
from graphjit.ir.symbol import Symbol
from graphjit.passes.factors import FACTORS
from graphjit.passes.merge import merge
from graphjit.passes.prune import prune
from graphjit.passes.rewrite import rewrite
from graphjit.passes.simplify import RULES
from graphjit.symbolic.names import FUNCTIONS
from graphjit.tracing.origin import user_line
from graphjit.tracing.trace import Traced
from graphjit.tracing.trees import Leaf
from graphjit.transforms.derive import FLOAT_HINT, Main

# Rules that spell out an index as a choice are for speed; x[i] reads better. So are those that put
# factors in another order.
ORDER = {rule for rules in FACTORS.values() for rule in rules}
READABLE = {
    name: tuple(rule for rule in rules if rule not in ORDER)
    for name, rules in RULES.items()
    if name not in ("gather", "scatter_add")
}
REDUCE_HINT = (
    "Reduce it with np.sum or np.mean, or ask for the derivative of one element. Arrays are fine "
    "where each element of the result depends on that element of the argument alone."
)


def readable(graph: Graph) -> Graph:
    """The graph simplified as for compiling, but for what only serves speed."""
    return prune(merge(rewrite(merge(prune(graph)), READABLE)))


def graph_of(graph: Graph, outputs: Sequence[int]) -> Graph:
    """The graph with other outputs, without what they do not need."""
    return prune(Graph(graph.nodes, graph.inputs, tuple(outputs)))


def floats(traced: Traced) -> tuple[int, ...]:
    """The positional arguments that hold floats and no integers.

    Raises:
        DTypeError: there is none.
    """
    arguments = traced.arguments
    kinds = dict(zip(arguments.names, arguments.kinds, strict=True))
    found = []
    for place, (name, _) in enumerate(arguments.positional):
        inside = (name + "[", name + ".")
        mine = [kind for leaf, kind in kinds.items() if leaf == name or leaf.startswith(inside)]
        if mine and all(isinstance(kind, Leaf) and kind.aval.inexact for kind in mine):
            found.append(place)
    if not found:
        raise DTypeError(
            "there is no float argument to differentiate",
            origin=user_line(), operands=tuple(f"{n}: {k}" for n, k in kinds.items()),
            hint=FLOAT_HINT,
        )  # fmt: skip
    return tuple(found)


def captured(traced: Traced) -> dict[str, Any]:
    """The arrays that the function reads beside its arguments, by the user's names for them."""
    names = {id(array): name.split()[-1] for name, array in traced.guards.arrays.items()}
    taken = set(traced.arguments.names) | set(FUNCTIONS)
    found: dict[str, Any] = {}
    for value in traced.captured:
        name = names.get(id(value), "")
        if not name.isidentifier() or name in taken or name in found:
            name = next(n for i in range(1, len(taken) + len(found) + 2)
                        if (n := f"c{i}") not in taken and n not in found)  # fmt: skip
        found[name] = value
    return found


def result_of(traced: Traced) -> Graph:
    """The graph of a function that returns one float or array of floats.

    Raises:
        TraceError: it returns something else.
    """
    main = Main(traced, has_aux=False)
    if main.count != 1 or main.spec.num_leaves != 1:
        raise TraceError(
            "a formula needs a function that returns one number or array",
            origin=user_line(), operands=(f"it returned {', '.join(main.names)}",),
            hint="Return one of them at a time.",
        )  # fmt: skip
    return main.graph


def checked(graph: Graph, wrt: Sequence[int]) -> Graph:
    """The graph with a scalar as its first output, whose gradient is the derivative.

    For an elementwise function of arrays that is the sum of the result: then the derivative of
    each element stands in its own place.

    Raises:
        ShapeError: the result is an array that is no elementwise function of the arguments.
    """
    ident = graph.outputs[0]
    aval, origin = graph.nodes[ident].aval, graph.nodes[ident].origin
    if not aval.shape:
        return graph
    for node in (graph.nodes[i] for i in depends_on(graph, [graph.inputs[i] for i in wrt])):
        if node.aval.shape != aval.shape or (node.inputs and TABLE[node.op].kind != "map"):
            raise ShapeError(
                f"the derivative of an array of shape {aval.shape} is no formula of one element",
                origin=origin, operands=(aval,), hint=REDUCE_HINT,
            )  # fmt: skip
    builder, place = copied(graph)
    total = np.sum(Symbol(builder, place[ident]))
    return builder.graph([total.id, place[ident]])


def along(graph: Graph) -> Graph:
    """The graph whose first output is multiplied by one more input and summed."""
    builder, place = copied(graph)
    slope = Symbol(builder, place[graph.outputs[0]])
    direction = Symbol(builder, builder.input(graph.nodes[graph.outputs[0]].aval))
    total = np.sum(slope * direction)
    return builder.graph([total.id, *(place[i] for i in graph.outputs[1:])])


def copied(graph: Graph) -> tuple[Builder, list[int]]:
    """A builder that holds the graph, and where its nodes are there."""
    builder = Builder()
    nodes = [graph.nodes[i] for i in graph.inputs]
    return builder, builder.inline(graph, [builder.input(n.aval, n.origin) for n in nodes])
