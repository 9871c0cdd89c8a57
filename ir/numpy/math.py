"""Elementwise functions that are compositions of rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphjit.errors import TraceError
from graphjit.ir.dispatch import builder_of, cast, emit, lift, promoted, unify
from graphjit.ir.registry import DEFAULT, implements, refuse

DEGREE = float(np.pi / 180)


@implements(np.where)
def where(condition: Any, x: Any = DEFAULT, y: Any = DEFAULT, /) -> Any:
    builder = builder_of(condition, x, y)
    if x is DEFAULT or y is DEFAULT:
        fact = "np.where with a condition alone has a result whose size depends on the values"
        hint = "Give both choices: np.where(condition, a, b)."
        raise TraceError(fact, origin=builder.origin(), hint=hint)
    return emit("where", cast(lift(builder, condition), bool), *unify(builder, x, y))


@implements(np.clip)
def clip(
    a: Any,
    a_min: Any = DEFAULT,
    a_max: Any = DEFAULT,
    out: Any = None,
    *,
    min: Any = DEFAULT,  # noqa: A002 - NumPy's name
    max: Any = DEFAULT,  # noqa: A002 - NumPy's name
    **options: Any,
) -> Any:
    """minimum(maximum(a, low), high), as NumPy defines it."""
    refuse(
        builder_of(a, a_min, a_max, min, max),
        np.clip,
        out=out,
        **options,
    )
    low, high = (min if a_min is DEFAULT else a_min), (max if a_max is DEFAULT else a_max)
    raised = a if low is None or low is DEFAULT else np.maximum(a, low)
    return raised if high is None or high is DEFAULT else np.minimum(raised, high)


def logical(op: str) -> Any:
    def implementation(*operands: Any, **options: Any) -> Any:
        builder = builder_of(*operands)
        refuse(builder, getattr(np, op), **options)
        return emit(op, *(cast(lift(builder, o), bool) for o in operands))

    return implementation


for _function in (np.logical_and, np.logical_or, np.logical_xor, np.logical_not):
    implements(_function)(logical(_function.__name__))


@implements(np.deg2rad, np.radians)
def radians(x: Any) -> Any:
    (v,) = promoted(np.radians, x)
    return v * DEGREE


@implements(np.rad2deg, np.degrees)
def degrees(x: Any) -> Any:
    (v,) = promoted(np.degrees, x)
    return v * (1 / DEGREE)


@implements(np.float_power)
def float_power(x: Any, y: Any) -> Any:
    return np.power(*promoted(np.float_power, x, y))


@implements(np.fix)
def fix(x: Any, out: Any = None) -> Any:
    refuse(builder_of(x), np.fix, out=out)
    return np.trunc(x)


@implements(np.conjugate)
def conjugate(x: Any) -> Any:
    return np.positive(x)


@implements(np.divmod)
def divmod_(x: Any, y: Any) -> Any:
    return np.floor_divide(x, y), np.remainder(x, y)


@implements(np.round, np.around)
def round_(a: Any, decimals: int = 0, out: Any = None) -> Any:
    refuse(builder_of(a), np.round, out=out)
    x = lift(builder_of(a), a)
    if x.dtype.kind in "iu" and decimals >= 0:
        return x
    if x.dtype.kind != "f":
        refuse(x.builder, np.round, **{f"integers and decimals={decimals}": decimals})
    scale = 10.0 ** abs(decimals)
    if decimals == 0:
        return np.rint(x)
    return np.rint(x * scale) / scale if decimals > 0 else np.rint(x / scale) * scale


@implements(np.sinc)
def sinc(x: Any) -> Any:
    """sin(pi x) / (pi x), and 1 at 0 with the derivatives of its series."""
    angle = np.pi * lift(builder_of(x), x)
    small = abs(angle) < 1e-4
    safe = np.where(small, 1.0, angle)
    return np.where(small, 1 - angle * angle / 6 * (1 - angle * angle / 20), np.sin(safe) / safe)


@implements(np.nan_to_num)
def nan_to_num(
    x: Any, copy: bool = True, nan: Any = 0.0, posinf: Any = None, neginf: Any = None
) -> Any:
    v: Any = lift(builder_of(x), x)
    if v.dtype.kind != "f":
        return v
    limits = np.finfo(v.dtype)
    high = limits.max if posinf is None else posinf
    low = limits.min if neginf is None else neginf
    v = np.where(np.isnan(v), nan, v)
    return np.where(v == np.inf, high, np.where(v == -np.inf, low, v))


@implements(np.isclose)
def isclose(a: Any, b: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> Any:
    refuse(builder_of(a, b), np.isclose, equal_nan=equal_nan or DEFAULT)
    return (abs(a - b) <= atol + rtol * abs(b)) & np.isfinite(b) | (a == b)


@implements(np.astype)
def astype(x: Any, dtype: Any, /, *, copy: bool = True, device: Any = None) -> Any:
    return cast(lift(builder_of(x), x), dtype)


@implements(np.select)
def select(condlist: Any, choicelist: Any, default: Any = 0) -> Any:
    result = default
    for condition, choice in zip(reversed(condlist), reversed(choicelist), strict=True):
        result = np.where(condition, choice, result)
    return result
