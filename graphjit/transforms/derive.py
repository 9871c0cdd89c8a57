"""From a call to the graph that is compiled: what all transformations of functions share.

A *derivation* says what is made of a function: the function itself (``Plain``), its gradient, its
tangent, its Jacobian, the function of many examples. It traces the function and returns a graph on
the leaves of the call's arguments, and how to make the user's result of the graph's outputs. Since
that graph can be inlined into the graph of an outer trace, derivations compose.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from itertools import accumulate, pairwise
from typing import Any, Protocol

import numpy as np
import optree

from graphjit.errors import DTypeError, TraceError
from graphjit.ir.aval import aval_of
from graphjit.ir.graph import Graph, Node
from graphjit.records import NamedTuple, dataclass
from graphjit.tracing.origin import user_line
from graphjit.tracing.static import Static
from graphjit.tracing.trace import Outputs, Traced, trace_call
from graphjit.tracing.trees import Arguments, Leaf
from graphjit.transforms.donate import donations

FLOAT_HINT = "Pass a float: 3.0 for 3, x.astype(float) for an array of integers or bools."
RESULT_HINT = "Return it beside the result with has_aux=True, or convert it with .astype(float)."


class Derived(NamedTuple):
    """A graph ready to be compiled.

    Attributes:
        arguments: The call that it answers.
        traced: The trace it comes from.
        graph: Its inputs are the traced leaves of ``arguments``, then what the trace captured;
            its outputs are what ``result`` takes.
        result: Makes what the user gets from the list of outputs.
        weak: For each output whether it came from Python floats alone.
        mode: What was chosen where there was a choice, for ``stats``.
        donated: Outputs that may be written over inputs, both by position.
    """

    arguments: Arguments
    traced: Traced
    graph: Graph
    result: Callable[[Sequence[Any]], Any]
    weak: tuple[bool, ...]
    mode: str = ""
    donated: tuple[tuple[int, int], ...] = ()


class Derivation(Protocol):
    """What is made of a function: a frozen dataclass of its options."""

    def derive(self, arguments: Arguments) -> Derived:
        """Trace the function of the call, and build the graph that answers it."""
        ...


@dataclass(frozen=True)
class Plain:
    """The function as it is; ``donated`` arguments may be overwritten by results."""

    donated: tuple[int, ...] = ()

    def derive(self, arguments: Arguments) -> Derived:
        """The trace itself."""
        traced = trace_call(arguments)
        outputs = traced.outputs
        pairs: tuple[tuple[int, int], ...] = ()
        if self.donated:
            places = check_places(arguments, self.donated, option="donate_argnums")
            pairs = donations(arguments, traced.graph, places)
        weak = outputs.weak
        return Derived(arguments, traced, traced.graph, outputs.rebuilt, weak, donated=pairs)


PLAIN = Plain()


def simplified(graph: Graph) -> Graph:
    """The graph as it is differentiated: derivatives are those of the simplified function."""
    from graphjit.passes.pipeline import PRIMAL, run  # the passes are needed only now

    return run(graph, PRIMAL)


def plural(count: int, noun: str) -> str:
    """A number and a noun: ``1 input``, ``3 inputs``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


# -- what the function returned ------------------------------------------------------------------


class Main:
    """What a function returned, as what is differentiated and what is auxiliary.

    Numbers among what is differentiated are constants of the graph, with a derivative of zero.

    Attributes:
        graph: Its first ``count`` outputs are the differentiated ones.
        count: How many.
        names: What a message calls each of them, as in ``result['loss']``.
        weak: For each output of the graph whether it came from Python floats alone.

    Raises:
        DTypeError: an integer, or nothing at all, is to be differentiated.
        TraceError: no pair was returned where ``has_aux`` asks for one.
    """

    def __init__(self, traced: Traced, *, has_aux: bool) -> None:
        self.has_aux, self.spec = has_aux, main_spec(traced, has_aux=has_aux, noun="result")
        outputs = traced.outputs
        self.leaves = outputs.leaves[: self.spec.num_leaves]
        graph, outputs = lifted(traced.graph, outputs, range(self.spec.num_leaves))
        self.graph, self.outputs, self.weak = graph, outputs, outputs.weak
        self.places = [p for p in outputs.places if p < self.spec.num_leaves]
        self.count = len(self.places)
        called = [accessor.codify("result") for accessor in self.spec.accessors()]
        self.names = [called[place] for place in self.places]
        self.check()

    def check(self) -> None:
        """Refuse what has no derivative."""
        nodes = [self.graph.nodes[i] for i in self.graph.outputs[: self.count]]
        for name, node in zip(self.names, nodes, strict=True):
            if not node.aval.inexact:
                raise DTypeError(
                    f"the function's {name} is no float, so it has no derivative",
                    origin=node.origin, operands=(f"{name}: {node.aval}",), hint=RESULT_HINT,
                )  # fmt: skip
        if not nodes:
            raise DTypeError(
                "the function returned nothing to differentiate", origin=user_line(),
                operands=(f"it returned {shown(self.spec)}",), hint="Return a float or an array.",
            )  # fmt: skip

    def rebuilt(self, values: Sequence[Any]) -> Any:
        """What the function returned: the result, or the pair of the result and what is aux."""
        return self.outputs.rebuilt(values)

    def auxiliary(self, values: Sequence[Any]) -> Any:
        """What is auxiliary, from the outputs of the graph after the first ``count``."""
        return self.outputs.rebuilt([*[None] * self.count, *values])[1]

    def tree(self, derivatives: Sequence[Any]) -> Any:
        """One derivative for each float, in the container of the result; else None."""
        leaves: list[Any] = [None] * self.spec.num_leaves
        for place, derivative in zip(self.places, derivatives, strict=True):
            leaves[place] = derivative
        return optree.tree_unflatten(self.spec, leaves)


def main_spec(traced: Traced, *, has_aux: bool, noun: str) -> optree.PyTreeSpec:
    """The structure of what is differentiated: all of the result, or the first of a pair.

    Raises:
        TraceError: the result is no pair.
    """
    spec = traced.outputs.spec
    if not has_aux:
        return spec
    if spec.type is not tuple or spec.num_children != 2:
        raise TraceError(
            f"with has_aux=True the function must return a pair ({noun}, auxiliary)",
            origin=user_line(),
            operands=(f"it returned {shown(spec)}",),
        )
    return spec.children()[0]


def shown(spec: optree.PyTreeSpec) -> str:
    """A structure for a message, such as ``(*, {'a': *})``."""
    return str(spec).removeprefix("PyTreeSpec(")[:-1].partition(", namespace=")[0]


def lifted(graph: Graph, outputs: Outputs, among: Container[int]) -> tuple[Graph, Outputs]:
    """The graph with those leaves of the result that are plain numbers as constant outputs."""
    nodes, leaves = list(graph.nodes), list(outputs.leaves)
    known = dict(zip(outputs.places, zip(graph.outputs, outputs.weak, strict=True), strict=True))
    for place, leaf in enumerate(leaves):
        number = isinstance(leaf, int | float | np.number | np.bool_)
        if place in among and place not in known and number:
            value = np.asarray(leaf)
            params = {"value": value}
            node = Node(len(nodes), "constant", (), aval_of(value), params, user_line())
            nodes.append(node)
            known[place], leaves[place] = (node.id, False), None
    places = tuple(sorted(known))
    ids, weak = tuple(known[p][0] for p in places), tuple(known[p][1] for p in places)
    changed = outputs._replace(leaves=tuple(leaves), places=places, weak=weak)
    return Graph(tuple(nodes), graph.inputs, ids), changed


# -- the arguments with respect to which ---------------------------------------------------------


class Targets:
    """The differentiated arguments of a traced call.

    Attributes:
        inputs: Positions among the graph's inputs of their float leaves.
        names: What the user calls each of those.

    Raises:
        TraceError, DTypeError: there is no such argument, or nothing in it to differentiate.
    """

    def __init__(self, traced: Traced, argnums: int | tuple[int, ...]) -> None:
        self.single = isinstance(argnums, int)
        places = check_places(traced.arguments, argnums)
        self.targets = [Target(traced.arguments, place) for place in places]
        self.inputs = [i for target in self.targets for i in target.inputs]
        arguments = traced.arguments
        self.names = [arguments.names[arguments.traced[i]] for i in self.inputs]
        self.weak = tuple(weak_input(arguments, i) for i in self.inputs)

    def tree(self, derivatives: Sequence[Any]) -> Any:
        """One derivative an input, in the arguments' containers; a tuple for several arguments."""
        ends = list(accumulate((len(target.inputs) for target in self.targets), initial=0))
        pairs = zip(self.targets, pairwise(ends), strict=True)
        trees = tuple([target.tree(derivatives[start:end]) for target, (start, end) in pairs])
        return trees[0] if self.single else trees


def weak_input(arguments: Arguments, place: int) -> bool:
    """Whether an input of the graph stands for a Python float."""
    kind = arguments.kinds[arguments.traced[place]]
    return isinstance(kind, Leaf) and kind.weak


def check_places(
    arguments: Arguments, argnums: int | tuple[int, ...], option: str = "argnums"
) -> list[int]:
    """``argnums`` as positions from the front; messages call them by the name of the option.

    Raises:
        TraceError: a position that the call does not have, or one named twice.
    """
    positional = arguments.positional
    count, places = len(positional), []
    for place in argnums if isinstance(argnums, tuple) else (argnums,):
        if not -count <= place < count:
            names = ", ".join(name for name, _ in positional) or "none"
            raise TraceError(
                f"{option}={place} names no positional argument of this call",
                origin=user_line(),
                operands=(f"positional arguments: {names}",),
                hint=f"{option} counts positional arguments from 0; pass it by position.",
            )
        places.append(place % count)
    if len(set(places)) != len(places):
        raise TraceError(f"{option}={argnums} names an argument twice", origin=user_line())
    return places


class Target:
    """One differentiated argument: the graph inputs it holds, and its container.

    Attributes:
        inputs: Positions among the graph's inputs of its float leaves.
    """

    def __init__(self, arguments: Arguments, place: int) -> None:
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
