"""Control flow in explicit form, with JAX's signatures: scan, fori_loop, cond, while_loop.

Each becomes one node that carries the graph of its body, runs as a native loop or branch, and can
be differentiated in both modes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from graphjit.control_bodies import (
    Body,
    Leaves,
    check_bounds,
    check_branches,
    check_carry,
    check_functions,
    check_scalar,
    first,
    step_count,
    together,
)
from graphjit.control_eager import at_once
from graphjit.ir.builder import Builder
from graphjit.ir.dispatch import lift
from graphjit.ir.symbol import Symbol
from graphjit.tracing.trace import active

Functions = tuple[Callable[..., Any], ...]


def scan(
    f: Callable[[Any, Any], tuple[Any, Any]],
    init: Any,
    xs: Any = None,
    length: int | None = None,
    reverse: bool = False,
    unroll: int | bool = 1,  # noqa: ARG001 - see the docstring
) -> tuple[Any, Any]:
    """Fold a function over the first axis: ``carry, y = f(carry, x)`` for each ``x`` in ``xs``.

    Args:
        f: Takes the carry and one slice of ``xs``; returns the next carry, in the structure,
            shapes and dtypes of ``init``, and an output.
        init: The first carry, a pytree.
        xs: A pytree of arrays with one length along their first axes, or None.
        length: How many steps; needed where ``xs`` is None.
        reverse: Whether to go from the last slice to the first.
        unroll: Taken so that calls written for JAX work; the native loop is the same.

    Returns:
        The last carry, and the outputs stacked along a new first axis.

    Raises:
        ShapeError: the lengths differ, or the carry changes its shapes or dtypes.
        TraceError: the carry changes its structure, or there is no such length.
    """
    check_functions("scan", f)
    builder = active()
    if builder is None:
        return at_once(scan_of, (f,), (length, reverse), init, xs)  # type: ignore[no-any-return]
    return folded(builder, f, init, xs, length, reverse=reverse)  # type: ignore[no-any-return]


def folded(
    builder: Builder, f: Callable[..., Any], init: Any, xs: Any, length: int | None = None,
    *, reverse: bool = False, name: str = "scan",
) -> Any:  # fmt: skip
    """A scan as a node of the graph; ``name`` is what messages call it."""
    carry, slices = Leaves.of(builder, init), Leaves.of(builder, xs)
    count = step_count(slices, length)
    examples = [first(s) for s in slices.symbols]
    body = Body.of(builder, f, carry, slices.tree(examples), pair=True)
    check_carry(body, carry, name, body.traced.outputs.spec.children()[0])
    items = builder.emit_control(
        "scan", [*body.consts, *carry.ids, *slices.ids], step=body.graph, consts=len(body.consts),
        carry=len(carry.ids), length=count, reverse=reverse,
    )  # fmt: skip
    return body.rebuilt([Symbol(builder, i) for i in items])


def fori_loop(
    lower: Any, upper: Any, body_fun: Callable[[Any, Any], Any], init_val: Any,
    *, unroll: int | bool | None = None,  # noqa: ARG001 - as in ``scan``
) -> Any:  # fmt: skip
    """``for i in range(lower, upper): val = body_fun(i, val)``; returns the last ``val``.

    With plain ints as bounds it is a ``scan``; with traced ones a ``while_loop``.

    Raises:
        DTypeError: a bound is no integer.
        ShapeError: the value changes its shapes or dtypes.
        TraceError: it changes its structure.
    """
    check_functions("fori_loop", body_fun)
    check_bounds(lower=lower, upper=upper)
    builder = active()
    if builder is None:
        return at_once(fori_of, (body_fun,), (), lower, upper, init_val)
    if isinstance(lower, int) and isinstance(upper, int):
        count = np.arange(lower, max(upper, lower))

        def step(val: Any, i: Any) -> tuple[Any, Any]:
            return body_fun(i, val), None

        return folded(builder, step, init_val, count, name="fori_loop")[0]

    def body(pair: tuple[Any, Any]) -> tuple[Any, Any]:
        return pair[0] + 1, body_fun(*pair)

    start = (lower, init_val)
    return repeated(builder, lambda pair: pair[0] < upper, body, start, name="fori_loop")[1]


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
        ShapeError: ``pred`` is no scalar, or the branches return other shapes or dtypes.
        TraceError: they return other structures.
    """
    check_functions("cond", true_fun, false_fun)
    builder = active()
    if builder is None:
        return at_once(cond_of, (true_fun, false_fun), (), np.asarray(pred), *operands)
    which = lift(builder, pred)
    check_scalar(which.aval, "cond", ", or choose elementwise with np.where")
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
        ShapeError: the condition is no scalar, or the value changes its shapes or dtypes.
        TraceError: the value changes its structure.
    """
    check_functions("while_loop", cond_fun, body_fun)
    builder = active()
    if builder is None:
        return at_once(while_of, (cond_fun, body_fun), (), Leaves.arrays(init_val))
    return repeated(builder, cond_fun, body_fun, init_val)


def repeated(
    builder: Builder, cond_fun: Callable[..., Any], body_fun: Callable[..., Any], init_val: Any,
    *, name: str = "while_loop",
) -> Any:  # fmt: skip
    """A while loop as a node of the graph; ``name`` is what messages call it."""
    carry = Leaves.of(builder, init_val)
    body = Body.of(builder, body_fun, carry, pair=False)
    check_carry(body, carry, name, body.traced.outputs.spec)
    test = Body.of(
        builder,
        lambda val: lift(active() or builder, cond_fun(val)).astype(bool),
        carry,
        pair=False,
    )
    (answer,) = test.graph.avals(test.graph.outputs)
    check_scalar(answer, name, "")
    items = builder.emit_control(
        "while", [*test.consts, *body.consts, *carry.ids], test=test.graph, step=body.graph,
        tests=len(test.consts), consts=len(body.consts),
    )  # fmt: skip
    return body.rebuilt([Symbol(builder, i) for i in items[:-1]])


# -- outside a trace: as functions of their arrays alone ------------------------------------------


def scan_of(functions: Functions, options: Any) -> Callable[..., Any]:
    """A scan of this function as a function of the rest."""
    return lambda init, xs: scan(functions[0], init, xs, *options)


def fori_of(functions: Functions, _options: Any) -> Callable[..., Any]:
    """A loop over numbers with this body."""
    return lambda lower, upper, init: fori_loop(lower, upper, functions[0], init)


def cond_of(functions: Functions, _options: Any) -> Callable[..., Any]:
    """A choice between these branches."""
    return lambda pred, *operands: cond(pred, *functions, *operands)


def while_of(functions: Functions, _options: Any) -> Callable[..., Any]:
    """A loop with this condition and body."""
    return lambda init: while_loop(functions[0], functions[1], init)
