"""From a trace to the graph that is compiled: the trace itself, or with its gradient."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
import optree

from graphjit.errors import DTypeError, ShapeError, TraceError
from graphjit.ir.aval import aval_of
from graphjit.ir.graph import Graph, Node
from graphjit.tracing.origin import user_line
from graphjit.tracing.static import Static
from graphjit.tracing.trace import Traced
from graphjit.tracing.trees import Leaf

FLOAT_HINT = "Pass a float: 3.0 for 3, x.astype(float) for an array of integers or bools."


@dataclass(frozen=True)
class Gradient:
    """What to differentiate, and what to return beside the gradient."""

    argnums: int | tuple[int, ...] = 0
    has_aux: bool = False
    value: bool = False

    @property
    def places(self) -> tuple[int, ...]:
        """``argnums`` as a tuple."""
        return self.argnums if isinstance(self.argnums, tuple) else (self.argnums,)


@dataclass(frozen=True)
class Derived:
    """A graph ready to be compiled.

    Attributes:
        traced: The trace it comes from.
        graph: Same inputs as the trace's graph; its outputs are what ``result`` takes.
        result: Makes what the user gets from the list of outputs.
        weak: For each output whether it came from Python floats alone.
    """

    traced: Traced
    graph: Graph
    result: Callable[[Sequence[Any]], Any]
    weak: tuple[bool, ...]


def derive(traced: Traced, gradient: Gradient | None) -> Derived:
    """Append the gradient to a trace, if one is wanted.

    Raises:
        TraceError, DTypeError, ShapeError: there is no such gradient.
    """
    if gradient is None:
        outputs = traced.outputs
        return Derived(traced, traced.graph, outputs.rebuilt, outputs.weak)
    targets = [Target(traced, place) for place in check_places(traced, gradient)]
    graph, loss = with_loss(traced, gradient)
    count = len(graph.outputs)
    wrt = [i for target in targets for i in target.inputs]
    graph = with_gradient(graph, wrt)
    if not gradient.value:
        graph = Graph(graph.nodes, graph.inputs, graph.outputs[1:])
    first = count if gradient.value else count - 1
    ends = list(accumulate((len(target.inputs) for target in targets), initial=first))

    def result(values: Sequence[Any]) -> Any:
        pairs = zip(targets, pairwise(ends), strict=True)
        trees = tuple([target.tree(values[start:end]) for target, (start, end) in pairs])
        gradients = trees if isinstance(gradient.argnums, tuple) else trees[0]
        primal = values[:first] if gradient.value else (None, *values[:first])
        return together(gradient, loss(primal), gradients)

    constant = (False,) * (count - len(traced.outputs.weak))
    weak = (*constant, *traced.outputs.weak, *(input_weak(traced, i) for i in wrt))
    return Derived(traced, graph, result, weak if gradient.value else weak[1:])


def with_gradient(graph: Graph, wrt: Sequence[int]) -> Graph:
    """The simplified graph with the gradient of its first output appended."""
    from graphjit.passes.adjoint import adjoint  # loads networkx: 0.17 s, needed only now
    from graphjit.passes.pipeline import PRIMAL, run

    return adjoint(run(graph, PRIMAL), wrt)


def input_weak(traced: Traced, place: int) -> bool:
    """Whether an input of the graph stands for a Python float."""
    kind = traced.arguments.kinds[traced.arguments.traced[place]]
    return isinstance(kind, Leaf) and kind.weak


def together(gradient: Gradient, primal: Any, gradients: Any) -> Any:
    """The shape of the answer: gradients alone, with the value, with what is auxiliary."""
    if gradient.value:
        return primal, gradients
    return (gradients, primal[1]) if gradient.has_aux else gradients


# -- the output that is differentiated ------------------------------------------------------------


def with_loss(traced: Traced, gradient: Gradient) -> tuple[Graph, Callable[[Any], Any]]:
    """The graph with the loss as its first output, and how to rebuild what was returned.

    A function that returns a plain float has a loss too: a constant.
    """
    place = loss_place(traced, gradient)
    graph, outputs = traced.graph, traced.outputs
    if place in outputs.places:
        check_loss(graph.nodes[graph.outputs[outputs.places.index(place)]])
        return graph, outputs.rebuilt
    value = np.asarray(outputs.leaves[place])
    node = Node(len(graph.nodes), "constant", (), aval_of(value), {"value": value}, user_line())
    check_loss(node)

    def rebuilt(values: Any) -> Any:
        return outputs.rebuilt(values[1:])

    return Graph((*graph.nodes, node), graph.inputs, (node.id, *graph.outputs)), rebuilt


def loss_place(traced: Traced, gradient: Gradient) -> int:
    """Which leaf of the result is the loss: the only one, or with ``has_aux`` the first."""
    spec = traced.outputs.spec
    if gradient.has_aux:
        if spec.type is not tuple or spec.num_children != 2:
            raise TraceError(
                "with has_aux=True the function must return a pair (loss, auxiliary)",
                origin=user_line(),
                operands=(f"it returned {shown(spec)}",),
            )
        spec = spec.children()[0]
    loss = traced.outputs.leaves[0] if spec.num_leaves else None
    strange = 0 not in traced.outputs.places and not isinstance(loss, int | float | np.number)
    if not spec.is_leaf() or strange:
        raise TraceError(
            "a gradient needs a function that returns one number",
            origin=user_line(),
            operands=(f"it returned {shown(spec) if not spec.is_leaf() else type(loss).__name__}",),
            hint="Return the loss alone, or (loss, auxiliary) with has_aux=True.",
        )
    return 0


def shown(spec: optree.PyTreeSpec) -> str:
    """A structure for a message, such as ``(*, {'a': *})``."""
    return str(spec).removeprefix("PyTreeSpec(")[:-1].partition(", namespace=")[0]


def check_loss(node: Node) -> None:
    """Refuse a loss that has no gradient.

    Raises:
        ShapeError: it is no scalar.
        DTypeError: it is no float.
    """
    if node.aval.shape:
        raise ShapeError(
            f"a gradient needs a scalar, but the function returned an array of shape "
            f"{node.aval.shape}",
            origin=node.origin,
            operands=(node.aval,),
            hint="Reduce it with np.sum or np.mean; an array of one element with x.reshape(()).",
        )
    if not node.aval.inexact:
        raise DTypeError(
            "the function's result is no float, so it has no gradient",
            origin=node.origin,
            operands=(node.aval,),
            hint="Return a float32 or float64 scalar.",
        )


# -- the arguments with respect to which ---------------------------------------------------------


def check_places(traced: Traced, gradient: Gradient) -> list[int]:
    """``argnums`` as positions from the front.

    Raises:
        TraceError: a position that the call does not have, or one named twice.
    """
    positional = traced.arguments.positional
    count, places = len(positional), []
    for place in gradient.places:
        if not -count <= place < count:
            names = ", ".join(name for name, _ in positional) or "none"
            raise TraceError(
                f"argnums={place} names no positional argument of this call",
                origin=user_line(),
                operands=(f"positional arguments: {names}",),
                hint="argnums counts positional arguments from 0; pass it by position.",
            )
        places.append(place % count)
    if len(set(places)) != len(places):
        raise TraceError(f"argnums={gradient.argnums} names an argument twice", origin=user_line())
    return places


class Target:
    """One differentiated argument: the graph inputs it holds, and its container.

    Attributes:
        inputs: Positions among the graph's inputs of its float leaves.
    """

    def __init__(self, traced: Traced, place: int) -> None:
        arguments = traced.arguments
        specs = arguments.spec.children()[0].children()
        first = sum(spec.num_leaves for spec in specs[:place])
        self.spec = specs[place]
        own = range(first, first + self.spec.num_leaves)
        for index in own:
            check_leaf(arguments.names[index], arguments.kinds[index])
        inputs = {leaf: i for i, leaf in enumerate(arguments.traced)}
        self.leaves = [inputs.get(index) for index in own]
        self.inputs = [i for i in self.leaves if i is not None]
        if not self.inputs:
            name = arguments.positional[place][0]
            raise DTypeError(
                f"argument {name} holds nothing to differentiate",
                origin=user_line(),
                hint=FLOAT_HINT,
            )

    def tree(self, gradients: Sequence[Any]) -> Any:
        """The gradients in the argument's container; None in the place of text and the like."""
        if len(gradients) < len(self.leaves):
            known = dict(zip(self.inputs, gradients, strict=True))
            gradients = [None if i is None else known[i] for i in self.leaves]
        return optree.tree_unflatten(self.spec, gradients)


def check_leaf(name: str, kind: Leaf | Static) -> None:
    """Refuse integers and bools.

    Raises:
        DTypeError: naming the argument.
    """
    static = kind.value if isinstance(kind, Static) else None
    if isinstance(kind, Leaf) and not kind.aval.inexact:
        shown = str(kind.aval)
    elif isinstance(static, int):
        shown = f"{type(static).__name__} {static}"
    else:
        return
    raise DTypeError(
        f"integer argument {name} cannot be differentiated",
        origin=user_line(),
        operands=(f"{name}: {shown}",),
        hint=FLOAT_HINT,
    )
