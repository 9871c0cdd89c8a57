"""Control flow in explicit form, with JAX's signatures: scan, fori_loop, cond, while_loop.

Each becomes one node that carries the graph of its body, runs as a native loop or branch, and can
be differentiated in both modes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import optree

from graphjit.errors import ShapeError, TraceError
from graphjit.ir.builder import Builder
from graphjit.ir.dispatch import lift
from graphjit.ir.graph import Graph
from graphjit.ir.symbol import Symbol
from graphjit.tracing.origin import user_line
from graphjit.tracing.trace import Traced, active, trace
from graphjit.tracing.trees import NAMESPACE, flatten
from graphjit.transforms.decorators import jit


def scan(
    f: Callable[[Any, Any], tuple[Any, Any]],
    init: Any,
    xs: Any = None,
    length: int | None = None,
    reverse: bool = False,
) -> tuple[Any, Any]:
    """Fold a function over the first axis: ``carry, y = f(carry, x)`` for each ``x`` in ``xs``.

    Args:
        f: Takes the carry and one slice of ``xs``; returns the next carry, in the structure,
            shapes and dtypes of ``init``, and an output.
        init: The first carry, a pytree.
        xs: A pytree of arrays with one length along their first axes, or None.
        length: How many steps; needed where ``xs`` is None.
        reverse: Whether to go from the last slice to the first.

    Returns:
        The last carry, and the outputs stacked along a new first axis.

    Raises:
        ShapeError: the lengths differ, or the carry changes its form.
    """
    builder = active()
    if builder is None:
        return jit(lambda init, xs: scan(f, init, xs, length, reverse))(init, xs)  # type: ignore[no-any-return]
    carry, slices = Leaves.of(builder, init), Leaves.of(builder, xs)
    count = step_count(slices, length)
    examples = [first(s) for s in slices.symbols]
    body = Body.of(builder, f, carry, slices.tree(examples), pair=True)
    check_carry(body, carry, "scan")
    items = builder.emit_control(
        "scan", [*body.consts, *carry.ids, *slices.ids], step=body.graph, consts=len(body.consts),
        carry=len(carry.ids), length=count, reverse=reverse,
    )  # fmt: skip
    return body.rebuilt([Symbol(builder, i) for i in items])  # type: ignore[no-any-return]


def fori_loop(lower: Any, upper: Any, body_fun: Callable[[Any, Any], Any], init_val: Any) -> Any:
    """``for i in range(lower, upper): val = body_fun(i, val)``; returns the last ``val``.

    With plain ints as bounds it is a ``scan``; with traced ones a ``while_loop``.
    """
    if isinstance(lower, int) and isinstance(upper, int):
        count = np.arange(lower, max(upper, lower))

        def step(val: Any, i: Any) -> tuple[Any, Any]:
            return body_fun(i, val), None

        return scan(step, init_val, count)[0]

    def body(pair: tuple[Any, Any]) -> tuple[Any, Any]:
        return pair[0] + 1, body_fun(*pair)

    start = (lower, init_val)
    return while_loop(lambda pair: pair[0] < upper, body, start)[1]


def cond(
    pred: Any, true_fun: Callable[..., Any], false_fun: Callable[..., Any], *operands: Any
) -> Any:
    """``true_fun(*operands)`` where ``pred`` is true, else ``false_fun(*operands)``.

    Only the chosen branch runs, forward and backward.

    Args:
        pred: A scalar, true unless 0.
        true_fun: A function of the operands.
        false_fun: Another, with results of the same structure, shapes and dtypes.
        *operands: Pytrees.

    Raises:
        ShapeError: ``pred`` is no scalar, or the branches return different forms.
    """
    builder = active()
    if builder is None:
        return jit(lambda pred, *operands: cond(pred, true_fun, false_fun, *operands))(
            np.asarray(pred), *operands
        )
    which = lift(builder, pred)
    if which.shape:
        raise ShapeError(
            "the condition of cond must be a scalar", origin=user_line(), operands=(which.aval,),
            hint="Reduce it with np.any or np.all, or choose elementwise with np.where.",
        )  # fmt: skip
    inputs = Leaves.of(builder, operands)
    bodies = [Body.of(builder, f, inputs, pair=False, spread=True) for f in (true_fun, false_fun)]
    check_branches(bodies)
    graphs, consts = together(bodies)
    predicate = builder.cast(which.id, np.dtype(bool))
    items = builder.emit_control("cond", [predicate, *consts, *inputs.ids], branches=graphs)
    return bodies[0].rebuilt([Symbol(builder, i) for i in items])


def while_loop(
    cond_fun: Callable[[Any], Any], body_fun: Callable[[Any], Any], init_val: Any
) -> Any:
    """``while cond_fun(val): val = body_fun(val)``; returns the last ``val``.

    Args:
        cond_fun: Returns a scalar, true unless 0.
        body_fun: Returns the next value, in the structure, shapes and dtypes of ``init_val``.
        init_val: A pytree.

    Raises:
        ShapeError: the condition is no scalar, or the value changes its form.
    """
    builder = active()
    if builder is None:
        return jit(lambda init: while_loop(cond_fun, body_fun, init))(Leaves.arrays(init_val))
    carry = Leaves.of(builder, init_val)
    body = Body.of(builder, body_fun, carry, pair=False)
    check_carry(body, carry, "while_loop")
    test = Body.of(
        builder,
        lambda val: lift(active() or builder, cond_fun(val)).astype(bool),
        carry,
        pair=False,
    )
    (answer,) = test.graph.avals(test.graph.outputs)
    if answer.shape:
        raise ShapeError(
            "the condition of while_loop must be a scalar", origin=user_line(), operands=(answer,)
        )
    items = builder.emit_control(
        "while", [*test.consts, *body.consts, *carry.ids], test=test.graph, step=body.graph,
        tests=len(test.consts), consts=len(body.consts),
    )  # fmt: skip
    return body.rebuilt([Symbol(builder, i) for i in items[:-1]])


@dataclass(frozen=True)
class Leaves:
    """A pytree of symbols of one trace."""

    symbols: tuple[Symbol, ...]
    spec: optree.PyTreeSpec

    @classmethod
    def of(cls, builder: Builder, tree: Any) -> Leaves:
        """Every number and array of the tree as a symbol; Python ints become int64."""
        leaves, spec = flatten(tree)
        return cls(tuple(entered(builder, leaf) for leaf in leaves), spec)

    @staticmethod
    def arrays(tree: Any) -> Any:
        """The tree with Python ints as arrays, so that they are traced."""
        return optree.tree_map(
            lambda x: np.asarray(x) if isinstance(x, bool | int) else x, tree, namespace=NAMESPACE
        )

    @property
    def ids(self) -> list[int]:
        """The nodes."""
        return [s.id for s in self.symbols]

    def tree(self, symbols: Sequence[Any]) -> Any:
        """Other leaves in this structure."""
        return optree.tree_unflatten(self.spec, symbols)


def entered(builder: Builder, leaf: Any) -> Symbol:
    """A leaf as a strong symbol of the trace."""
    symbol = lift(builder, leaf)
    return Symbol(builder, symbol.id)


def first(x: Symbol) -> Any:
    """A stand-in for one slice: only its aval matters."""
    return x[0] if x.shape and x.shape[0] else np.sum(x, axis=0)


@dataclass(frozen=True)
class Body:
    """A traced body: its graph takes the values it closes over first, then its arguments.

    Attributes:
        consts: The nodes of the outer trace that it closes over.
        traced: The trace.
    """

    graph: Graph
    consts: tuple[int, ...]
    traced: Traced

    @classmethod
    def of(
        cls, builder: Builder, f: Callable[..., Any], carry: Leaves, *more: Any, pair: bool,
        spread: bool = False,
    ) -> Body:  # fmt: skip
        """Trace ``f(carry, *more)``, or ``f(*carry)`` where ``spread``."""

        def strong(*args: Any) -> Any:
            result = f(*args)
            if pair and not (isinstance(result, tuple) and len(result) == 2):
                raise TraceError(
                    "the function of scan must return a pair (carry, output)", origin=user_line(),
                    hint="Return (carry, None) where there is no output.",
                )  # fmt: skip
            inner = active() or builder  # the trace of ``f`` itself
            return optree.tree_map(lambda leaf: entered(inner, leaf), result, namespace=NAMESPACE)

        tree = carry.tree(carry.symbols)
        traced = trace(strong, (*tree, *more) if spread else (tree, *more))
        graph = consts_first(traced)
        consts = tuple(lift(builder, value).id for value in traced.captured)
        return cls(graph, consts, traced)

    def rebuilt(self, symbols: Sequence[Any]) -> Any:
        """What the function returns, around other values."""
        return self.traced.outputs.rebuilt(symbols)


def consts_first(traced: Traced) -> Graph:
    """The trace's graph with its hidden inputs in front."""
    graph, hidden = traced.graph, len(traced.captured)
    inputs = graph.inputs
    cut = len(inputs) - hidden
    return Graph(graph.nodes, (*inputs[cut:], *inputs[:cut]), graph.outputs)


def together(bodies: Sequence[Body]) -> tuple[tuple[Graph, ...], list[int]]:
    """The branches with one list of constants: each takes all of them."""
    consts = list(dict.fromkeys(c for body in bodies for c in body.consts))
    graphs = []
    for body in bodies:
        builder = Builder()
        avals = dict(zip(body.consts, body.graph.avals(body.graph.inputs), strict=False))
        outer = {c: avals.get(c) for c in consts}
        every = {
            c: a
            for other in bodies
            for c, a in zip(other.consts, other.graph.avals(other.graph.inputs), strict=False)
        }
        places = {c: builder.input(outer[c] or every[c]) for c in consts}
        own = [places[c] for c in body.consts]
        rest = body.graph.inputs[len(own) :]
        own += [builder.input(a) for a in body.graph.avals(rest)]
        placed = builder.inline(body.graph, own)
        graphs.append(builder.graph([placed[i] for i in body.graph.outputs]))
    return tuple(graphs), consts


def step_count(slices: Leaves, length: int | None) -> int:
    """How many steps a scan makes.

    Raises:
        ShapeError: lengths that differ, or none given.
    """
    lengths = {s.shape[0] if s.shape else None for s in slices.symbols}
    lengths |= {length} if length is not None else set()
    if len(lengths) != 1 or None in lengths:
        raise ShapeError(
            "scan needs one length", origin=user_line(),
            operands=tuple(s.aval for s in slices.symbols),
            hint="All arrays in xs must have the same first axis; pass length= where xs is None.",
        )  # fmt: skip
    return int(lengths.pop() or 0)


def check_carry(body: Body, carry: Leaves, name: str) -> None:
    """The body must return the carry in the form it takes it.

    Raises:
        ShapeError: naming what came and what was expected.
    """
    before = tuple(s.aval for s in carry.symbols)
    graph = body.graph
    after = graph.avals(graph.outputs[: len(before)])
    spec = body.traced.outputs.spec
    own = spec.children()[0] if name == "scan" else spec
    if before != after or own != carry.spec:
        raise ShapeError(
            f"the body of {name} returns the carry in another form than it takes it",
            origin=user_line(),
            operands=(
                f"takes {', '.join(map(str, before))}",
                f"returns {', '.join(map(str, after))}",
            ),
            hint="Keep structure, shapes and dtypes: start from np.zeros(...) of the final dtype.",
        )


def check_branches(bodies: Sequence[Body]) -> None:
    """Both branches of a cond must return the same form.

    Raises:
        ShapeError: naming both.
    """
    one, two = (b.graph.avals(b.graph.outputs) for b in bodies)
    if one != two or bodies[0].traced.outputs.spec != bodies[1].traced.outputs.spec:
        raise ShapeError(
            "the branches of cond return different forms", origin=user_line(),
            operands=(f"true: {', '.join(map(str, one))}", f"false: {', '.join(map(str, two))}"),
            hint="Both must return the same structure, shapes and dtypes.",
        )  # fmt: skip
