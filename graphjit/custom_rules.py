"""A call of a function with a derivative rule as one node: tracing and checking its graphs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import optree

from graphjit.custom_forms import (
    COTANGENT_HINT,
    RESULT_HINT,
    Form,
    described,
    differentiable,
    fitted,
    leaf_names,
    line_of,
    matched,
    misfit,
    stand_in,
    title,
)
from graphjit.errors import TraceError
from graphjit.ir.builder import Builder
from graphjit.ir.dispatch import lift
from graphjit.ir.graph import Graph
from graphjit.ir.symbol import Symbol
from graphjit.tracing.static import parameter_names
from graphjit.tracing.substitute import substituted
from graphjit.tracing.trace import trace_call
from graphjit.tracing.trees import Arguments, Leaf
from graphjit.transforms.derive import shown

Function = Callable[..., Any]
Within = Callable[[Callable[[], Any]], Any]


@dataclass(frozen=True)
class Piece:
    """A traced graph, whose last inputs are what it closes over: ``consts`` of the outer trace."""

    graph: Graph
    consts: tuple[int, ...]

    def with_consts(self, consts: Sequence[int], outer: Builder) -> Graph:
        """The graph with all of these constants as its first inputs, and its own after them."""
        builder = Builder()
        place = {c: builder.input(outer.nodes[c].aval) for c in consts}
        avals = self.graph.avals(self.graph.inputs)
        own = [builder.input(aval) for aval in avals[: len(avals) - len(self.consts)]]
        found = builder.inline(self.graph, [*own, *(place[c] for c in self.consts)])
        return builder.graph([found[i] for i in self.graph.outputs])


class Call:
    """One call of a function with a rule, inside a trace.

    Attributes:
        result: What the function returned.
        arguments: Those that have a derivative, as leaves.
        body: The function's graph.
    """

    def __init__(
        self, function: Function, args: tuple[Any, ...], nondiff: frozenset[int], builder: Builder,
        within: Within,
    ) -> None:  # fmt: skip
        self.function, self.args, self.builder, self.within = function, args, builder, within
        self.name = getattr(function, "__name__", "function")
        self.fixed = [arg for i, arg in enumerate(args) if i in nondiff]
        self.places = [i for i in range(len(args)) if i not in nondiff]
        known = parameter_names(function)
        known += [f"args[{i}]" for i in range(len(known), len(args))]
        self.called = [known[i] for i in self.places]
        self.arguments = Arguments(function, tuple(args[i] for i in self.places), {})
        specs = self.arguments.spec.children()[0].children()
        self.specs: list[optree.PyTreeSpec] = list(specs)
        runs = substituted(function)
        self.body = self.traced(lambda *v: self.returned(runs(*self.whole(v))), self.given)

    # -- arguments --------------------------------------------------------------------------------

    @property
    def given(self) -> list[Leaf]:
        """The traced leaves of the arguments."""
        return [kind for kind in self.arguments.kinds if isinstance(kind, Leaf)]

    @property
    def operands(self) -> list[int]:
        """Their nodes."""
        leaves = (self.arguments.leaves[i] for i in self.arguments.traced)
        return [lift(self.builder, leaf).id for leaf in leaves]

    def primals(self, values: Sequence[Any]) -> tuple[Any, ...]:
        """The arguments that have a derivative, around other values."""
        return self.arguments.rebuilt(values)[0]

    def whole(self, values: Sequence[Any]) -> list[Any]:
        """All arguments, around other values."""
        own = dict(zip(self.places, self.primals(values), strict=True))
        return [own.get(i, arg) for i, arg in enumerate(self.args)]

    def tangents(self, values: Sequence[Any]) -> tuple[Any, ...]:
        """The arguments with a tangent for each float and None for the rest."""
        left = iter(values)
        leaves = [next(left) if differentiable(kind) else None for kind in self.arguments.kinds]
        tree: Any = optree.tree_unflatten(self.arguments.spec, leaves)
        return tuple(tree[0])

    # -- tracing ----------------------------------------------------------------------------------

    def traced(self, flat: Function, kinds: Sequence[Leaf]) -> Piece:
        """The graph of a function of leaves that returns a list of symbols."""
        found = trace_call(Arguments(flat, tuple(map(stand_in, kinds)), {}))
        return Piece(found.graph, tuple(lift(self.builder, v).id for v in found.captured))

    def returned(self, result: Any) -> list[Symbol]:
        """Remember in what form the function returns its result."""
        self.result = Form.of(result)
        return list(self.result.symbols)

    def emitted(self, op: str, pieces: dict[str, Piece], **params: Any) -> Any:
        """The node with the body and other graphs, and the result around its items."""
        pieces = {"body": self.body, **pieces}
        consts = list(dict.fromkeys(c for piece in pieces.values() for c in piece.consts))
        graphs = {k: piece.with_consts(consts, self.builder) for k, piece in pieces.items()}
        if "consts" in params:
            params["consts"] = len(consts)
        items = self.builder.emit_control(op, [*consts, *self.operands], **graphs, **params)
        pairs = zip(items, self.result.symbols, strict=True)
        return self.result.rebuilt([Symbol(self.builder, i, weak=s.weak) for i, s in pairs])

    # -- what rules return ------------------------------------------------------------------------

    def pair(self, returned: Any, rule: Function, text: str) -> tuple[Any, Any]:
        """What a rule returned, which must be a pair.

        Raises:
            TraceError: it is none.
        """
        if not isinstance(returned, tuple) or len(returned) != 2:
            raise TraceError(
                f"the rule {title(rule)} of {self.name} must return a pair {text}",
                origin=line_of(rule), operands=(f"it returned {described(returned)}",),
            )  # fmt: skip
        return returned

    def same_result(self, value: Any, rule: Function) -> list[Symbol]:
        """The result as a rule computes it, which must have the form of the function's own.

        Raises:
            TraceError, ShapeError, DTypeError: naming what differs.
        """
        form, own = Form.of(value), self.result
        if (form.spec, form.places) != (own.spec, own.places):
            raise TraceError(
                f"the rule {title(rule)} returns another structure than {self.name}",
                origin=line_of(rule), hint=RESULT_HINT,
                operands=(f"{self.name}: {shown(own.spec)}", f"the rule: {shown(form.spec)}"),
            )  # fmt: skip
        for name, aval, came in zip(own.names, own.avals, form.avals, strict=True):
            if came != aval:
                text = f"the rule {title(rule)} of {self.name} must return {aval} as the {name}"
                raise misfit(text, aval, came, rule, RESULT_HINT)
        return list(form.symbols)

    def result_tangents(self, tangent: Any, rule: Function) -> list[Symbol]:
        """The tangent of each float of the result.

        Raises:
            TraceError, ShapeError, DTypeError: naming the part of the result.
        """
        own = self.result
        text = f"the rule {title(rule)} of {self.name} must return a tangent of the result"
        parts = matched(own.spec, tangent, text, rule)
        text = f"the rule {title(rule)} of {self.name} must return"
        rows = [(parts[own.places[i]], own.avals[i], own.names[i]) for i in own.floats]
        return [
            fitted(part, aval, f"{text} {aval} as the tangent of the {name}", rule)
            for part, aval, name in rows
        ]

    def argument_cotangents(self, returned: Any, rule: Function) -> list[Symbol]:
        """The cotangent of each float of the arguments.

        Raises:
            TraceError, ShapeError, DTypeError: naming the argument.
        """
        count = len(self.places)
        if not isinstance(returned, tuple) or len(returned) != count:
            raise TraceError(
                f"the rule {title(rule)} of {self.name} must return a tuple with one cotangent for "
                f"each of its {count} arguments",
                origin=line_of(rule), hint=COTANGENT_HINT,
                operands=(f"arguments: {', '.join(self.called)}",
                          f"it returned {described(returned)}"),
            )  # fmt: skip
        parts = list[Any]()
        for name, spec, entry in zip(self.called, self.specs, returned, strict=True):
            text = (
                f"the rule {title(rule)} of {self.name} must return a cotangent of argument {name}"
            )
            parts += matched(spec, entry, text, rule)
        names = leaf_names(self.called, self.specs)
        text = f"the rule {title(rule)} of {self.name} must return"
        return [
            fitted(part, kind.aval, f"{text} {kind.aval} as the cotangent of argument {name}", rule)
            for part, name, kind in zip(parts, names, self.arguments.kinds, strict=True)
            if isinstance(kind, Leaf) and kind.aval.inexact
        ]


def vjp_rules(call: Call, fwd: Function, bwd: Function) -> Any:
    """The node of a custom_vjp."""
    if not call.result.places:
        return call.function(*call.args)
    kept = list[Form]()

    def forward(*values: Any) -> list[Symbol]:
        returned = call.pair(fwd(*call.whole(values)), fwd, "(result, residuals)")
        kept.append(Form.of(returned[1], floats=False))
        return [*call.same_result(returned[0], fwd), *kept[0].symbols]

    def backward(*values: Any) -> list[Symbol]:
        residuals, count = kept[0], len(kept[0].places)
        held = residuals.rebuilt(values[:count])
        cotangent = call.result.around(values[count:])
        return call.argument_cotangents(bwd(*call.fixed, held, cotangent), bwd)

    first = call.within(lambda: call.traced(forward, call.given))
    ends = [call.result.kinds[i] for i in call.result.floats]
    strong = [Leaf(kind.aval, weak=False) for kind in ends]
    second = call.within(lambda: call.traced(backward, [*kept[0].kinds, *strong]))
    pieces = {"forward": first, "backward": second}
    return call.emitted("custom_vjp", pieces, consts=0, name=call.name)


def jvp_rule(call: Call, rule: Function) -> Any:
    """The node of a custom_jvp."""
    if not call.result.places:
        return call.function(*call.args)
    moved = [Leaf(kind.aval, weak=False) for kind in call.given if kind.aval.inexact]

    def both(*values: Any) -> list[Symbol]:
        count = len(call.given)
        primals, tangents = call.primals(values[:count]), call.tangents(values[count:])
        returned = call.pair(rule(*call.fixed, primals, tangents), rule, "(result, tangent)")
        result = call.same_result(returned[0], rule)
        return [*result, *call.result_tangents(returned[1], rule)]

    piece = call.within(lambda: call.traced(both, [*call.given, *moved]))
    return call.emitted("custom_jvp", {"rule": piece}, consts=0, name=call.name)
