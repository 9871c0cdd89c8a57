"""A call of a function with a derivative rule as one node: tracing and checking its graphs."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import optree

from graphjit.errors import DTypeError, GraphJITError, ShapeError, TraceError
from graphjit.ir.aval import Aval
from graphjit.ir.builder import Builder
from graphjit.ir.dispatch import lift
from graphjit.ir.graph import Graph, Origin
from graphjit.ir.symbol import Symbol
from graphjit.tracing.origin import user_line
from graphjit.tracing.static import Static, parameter_names
from graphjit.tracing.substitute import substituted
from graphjit.tracing.trace import active, trace_call
from graphjit.tracing.trees import Arguments, Leaf, flatten
from graphjit.transforms.derive import shown

Function = Callable[..., Any]
Within = Callable[[Callable[[], Any]], Any]
RESULT_HINT = "A rule returns what its function returns: the same structure, shapes and dtypes."
COTANGENT_HINT = (
    "A cotangent has the structure, shapes and dtypes of its argument, a tangent those of its "
    "result; None stands for zeros."
)


@dataclass(frozen=True)
class Form:
    """What a function returned while it was traced: traced leaves, and others as they are."""

    spec: optree.PyTreeSpec
    leaves: tuple[Any, ...]
    symbols: tuple[Symbol, ...]
    places: tuple[int, ...]

    @classmethod
    def of(cls, result: Any, *, floats: bool = True) -> Form:
        """Arrays become symbols, and with ``floats`` Python's and NumPy's floats too."""
        leaves, spec = flatten(result)
        numbers = (float, np.floating) if floats else ()
        places = [i for i, leaf in enumerate(leaves) if isinstance(leaf, (Symbol, np.ndarray))]
        places += [i for i, leaf in enumerate(leaves) if isinstance(leaf, numbers)]
        places.sort()
        symbols = tuple(entered(leaves[i]) for i in places)
        rest = (None if i in places else leaf for i, leaf in enumerate(leaves))
        return cls(spec, tuple(rest), symbols, tuple(places))

    @property
    def avals(self) -> tuple[Aval, ...]:
        """Those of the traced leaves."""
        return tuple(symbol.aval for symbol in self.symbols)

    @property
    def kinds(self) -> list[Leaf]:
        """The traced leaves as inputs of another trace."""
        return [Leaf(symbol.aval, symbol.weak) for symbol in self.symbols]

    @cached_property
    def names(self) -> list[str]:
        """What a message calls the traced leaves."""
        called = [accessor.codify("result") for accessor in self.spec.accessors()]
        return [called[place] for place in self.places]

    @property
    def floats(self) -> list[int]:
        """Which of the traced leaves are floats."""
        return [i for i, aval in enumerate(self.avals) if aval.inexact]

    def rebuilt(self, values: Sequence[Any]) -> Any:
        """The same with other values for the traced leaves."""
        leaves = list(self.leaves)
        for place, value in zip(self.places, values, strict=True):
            leaves[place] = value
        return optree.tree_unflatten(self.spec, leaves)

    def around(self, cotangents: Sequence[Any]) -> Any:
        """The same structure with a cotangent for each float and None for the rest."""
        leaves: list[Any] = [None] * len(self.leaves)
        for i, cotangent in zip(self.floats, cotangents, strict=True):
            leaves[self.places[i]] = cotangent
        return optree.tree_unflatten(self.spec, leaves)


def entered(leaf: Any) -> Symbol:
    """A leaf as a symbol of the running trace; a Python float stays weak."""
    builder = active()
    assert builder is not None  # noqa: S101 - it is called by what is being traced
    symbol: Symbol = lift(builder, leaf)
    return symbol.as_weak() if type(leaf) is float else symbol


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


# -- small things ---------------------------------------------------------------------------------


def differentiable(kind: Leaf | Static) -> bool:
    """Whether a leaf has a tangent."""
    return isinstance(kind, Leaf) and kind.aval.inexact


def stand_in(kind: Leaf) -> Any:
    """A value that is traced as this leaf; nothing but its form is looked at."""
    return 0.0 if kind.weak else np.broadcast_to(np.zeros((), kind.aval.dtype), kind.aval.shape)


def leaf_names(names: Sequence[str], specs: Sequence[optree.PyTreeSpec]) -> list[str]:
    """What the user calls each leaf of the arguments."""
    pairs = zip(names, specs, strict=True)
    return [accessor.codify(name) for name, spec in pairs for accessor in spec.accessors()]


def matched(spec: optree.PyTreeSpec, tree: Any, text: str, rule: Function) -> list[Any]:
    """The leaves of a tree that must have this structure; None alone stands for all of it.

    Raises:
        TraceError: it has another.
    """
    if tree is None:
        return [None] * spec.num_leaves
    try:
        parts = spec.flatten_up_to(tree)
    except (ValueError, TypeError):
        parts = None
    if parts is None or any(flatten(part)[1].num_nodes != 1 for part in parts):
        came = shown(flatten(tree)[1])
        raise TraceError(
            f"{text} in its own structure", origin=line_of(rule), hint=COTANGENT_HINT,
            operands=(f"expected {shown(spec)}", f"it returned {came}"),
        )  # fmt: skip
    return parts


def fitted(part: Any, aval: Aval, text: str, rule: Function) -> Symbol:
    """A cotangent or tangent as a symbol of the running trace: zeros for None.

    Raises:
        ShapeError, DTypeError: it does not have the aval.
    """
    builder = active()
    assert builder is not None  # noqa: S101 - it is called by what is being traced
    if part is None:
        zero = builder.constant(0, aval.dtype)
        return Symbol(builder, builder.broadcast_to(zero, aval.shape))
    try:
        symbol: Symbol = lift(builder, part)
    except GraphJITError:
        raise DTypeError(
            f"{text}, not {described(part)}", origin=line_of(rule), hint=COTANGENT_HINT
        ) from None
    weak = type(part) in (int, float) or getattr(part, "weak", False)
    if weak and not aval.shape and not symbol.shape:
        symbol = lift(builder, symbol, aval.dtype)
    if symbol.aval != aval:
        raise misfit(text, aval, symbol.aval, rule, COTANGENT_HINT)
    return symbol


def misfit(text: str, aval: Aval, came: Aval, rule: Function, hint: str) -> GraphJITError:
    """The error for a value of another shape or dtype."""
    kind = ShapeError if came.shape != aval.shape else DTypeError
    operands = (f"expected {aval}", f"it returned {came}")
    return kind(f"{text}, not {came}", origin=line_of(rule), operands=operands, hint=hint)


def described(value: Any) -> str:
    """What came, for a message."""
    leaves, spec = flatten(value)
    if len(leaves) == 1 and spec.is_leaf():
        leaf = leaves[0]
        return str(leaf.aval) if isinstance(leaf, Symbol) else type(leaf).__name__
    return shown(spec)


def title(rule: Function) -> str:
    """The name of a rule."""
    return str(getattr(rule, "__name__", "function"))


def line_of(rule: Function) -> Origin | None:
    """The line where a rule is written; the line of the call where that is unknown."""
    code = getattr(inspect.unwrap(rule), "__code__", None)
    return Origin(code.co_filename, code.co_firstlineno) if code is not None else user_line()
