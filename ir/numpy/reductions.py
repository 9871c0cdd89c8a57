"""Sums, products, extrema, moments and tests over axes."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphjit.errors import ShapeError
from graphjit.ir.dispatch import builder_of, cast, emit, lift
from graphjit.ir.numpy.axes import axes_of, axis_of
from graphjit.ir.registry import DEFAULT, given, implements, refuse
from graphjit.ir.symbol import Symbol


def finish(result: Symbol, x: Any, axes: tuple[int, ...], keepdims: Any) -> Any:
    """The reduced value, with the reduced axes kept at length 1 where asked."""
    if not kept(keepdims):
        return result
    return np.reshape(result, tuple(1 if a in axes else n for a, n in enumerate(x.shape)))


def kept(keepdims: Any) -> bool:
    """Whether the reduced axes stay, at length 1."""
    return given("keepdims", keepdims) and bool(keepdims)


def reduce(op: str, x: Any, axis: Any, keepdims: Any = DEFAULT) -> Any:
    axes = tuple(sorted(axes_of(x, axis)))
    return finish(emit(op, x, axes=axes) if axes else x, x, axes, keepdims)


def accumulated(x: Any, dtype: Any) -> Any:
    """The operand in the dtype NumPy sums in: small integers and booleans widen."""
    if dtype is not None:
        return cast(x, dtype)
    if x.dtype.kind in "bi":
        return cast(x, np.result_type(x.dtype, np.int_))
    return cast(x, np.result_type(x.dtype, np.uint)) if x.dtype.kind == "u" else x


@implements(np.sum)
def sum_(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: Any = DEFAULT,
    keepdims: Any = DEFAULT,
    initial: Any = DEFAULT,
    where: Any = DEFAULT,
) -> Any:
    builder = builder_of(a)
    refuse(builder, np.sum, out=out, where=where)
    x = accumulated(lift(builder, a), dtype)
    total = reduce("sum", x, axis, keepdims)
    return total + cast(lift(builder, initial), x.dtype) if given("initial", initial) else total


@implements(np.prod)
def prod(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: Any = DEFAULT,
    keepdims: Any = DEFAULT,
    initial: Any = DEFAULT,
    where: Any = DEFAULT,
) -> Any:
    builder = builder_of(a)
    refuse(builder, np.prod, out=out, where=where)
    x = accumulated(lift(builder, a), dtype)
    total = reduce("prod", x, axis, keepdims)
    return total * cast(lift(builder, initial), x.dtype) if given("initial", initial) else total


def extremum(function: Any, op: str, join: Any) -> Any:
    """np.max or np.min, from its primitive and its elementwise form."""

    def implementation(
        a: Any,
        axis: Any = None,
        out: Any = DEFAULT,
        keepdims: Any = DEFAULT,
        initial: Any = DEFAULT,
        where: Any = DEFAULT,
    ) -> Any:
        builder = builder_of(a)
        refuse(builder, function, out=out, where=where)
        x = lift(builder, a)
        if not given("initial", initial):
            nonempty(x, axis, function)
        elif not np.prod([x.shape[i] for i in axes_of(x, axis)]):
            return reduce("sum", x, axis, keepdims) + cast(lift(builder, initial), x.dtype)
        best = reduce(op, x, axis, keepdims)
        return join(best, initial) if given("initial", initial) else best

    return implementation


def nonempty(x: Any, axis: Any, function: Any) -> None:
    """Refuse to reduce nothing.

    Raises:
        ShapeError: as NumPy raises ValueError.
    """
    if any(x.shape[i] == 0 for i in axes_of(x, axis)) and (axis is None or x.size == 0):
        rest = [n for i, n in enumerate(x.shape) if i not in axes_of(x, axis)]
        if np.prod(rest) != 0:
            raise ShapeError(
                f"np.{function.__name__} of nothing: zero-size array has no identity",
                origin=x.builder.origin(),
                operands=(x.aval,),
                hint="Pass initial=, or a longer array.",
            )


for _function, _op, _join in (
    (np.max, "max", np.maximum),
    (np.amax, "max", np.maximum),
    (np.min, "min", np.minimum),
    (np.amin, "min", np.minimum),
):
    implements(_function)(extremum(_function, _op, _join))


def located(function: Any, op: str) -> Any:
    """np.argmax or np.argmin."""

    def implementation(
        a: Any, axis: Any = None, out: Any = DEFAULT, *, keepdims: Any = DEFAULT
    ) -> Any:
        builder = builder_of(a)
        refuse(builder, function, out=out)
        x = lift(builder, a)
        nonempty(x, axis, function)
        flat: Any = x if axis is not None else np.ravel(x)
        axes = (axis_of(flat, -1 if axis is None else axis),)
        place = emit(op, flat, axes=axes)
        return finish(place, x, axes_of(x, axis), keepdims)

    return implementation


for _located, _op in ((np.argmax, "argmax"), (np.argmin, "argmin")):
    implements(_located)(located(_located, _op))


def tested(function: Any, op: str) -> Any:
    """np.any or np.all."""

    def implementation(
        a: Any,
        axis: Any = None,
        out: Any = DEFAULT,
        keepdims: Any = DEFAULT,
        *,
        where: Any = DEFAULT,
    ) -> Any:
        builder = builder_of(a)
        refuse(builder, function, out=out, where=where)
        return reduce(op, cast(lift(builder, a), bool), axis, keepdims)

    return implementation


for _tested, _op in ((np.any, "any"), (np.all, "all")):
    implements(_tested)(tested(_tested, _op))


@implements(np.ptp)
def ptp(a: Any, axis: Any = None, out: Any = DEFAULT, keepdims: Any = DEFAULT) -> Any:
    refuse(builder_of(a), np.ptp, out=out)
    keep = kept(keepdims)
    return np.max(a, axis=axis, keepdims=keep) - np.min(a, axis=axis, keepdims=keep)


@implements(np.count_nonzero)
def count_nonzero(a: Any, axis: Any = None, *, keepdims: bool = False) -> Any:
    return np.sum(lift(builder_of(a), a) != 0, axis=axis, keepdims=keepdims)


@implements(np.nansum)
def nansum(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    keepdims: Any = DEFAULT,
    initial: Any = DEFAULT,
    where: Any = DEFAULT,
) -> Any:
    x = lift(builder_of(a), a)
    known = np.where(np.isnan(x), 0, x) if x.dtype.kind == "f" else x
    return sum_(known, axis, dtype, out, keepdims, initial, where)
