"""A description of a function, and the straight-line program it stands for."""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Callable
from functools import cache
from typing import Any

from graphjit.codegen.loops import Let, Scalar, Value
from graphjit.codegen.scalars import Scalars
from graphjit.ir.aval import DType
from graphjit.records import NamedTuple

Description = Callable[..., Scalar]
# The module of this package in which each function is described.
PLACES = dict.fromkeys(("exp", "exp2", "expm1", "tanh", "expit"), "exponential")
PLACES |= dict.fromkeys(("sinh", "cosh", "arcsinh", "arccosh", "arctanh"), "hyperbolic")
PLACES |= {"power": "power"}
PLACES |= dict.fromkeys(("cbrt", "hypot"), "roots")
PLACES |= dict.fromkeys(("log", "log2", "log10", "log1p", "logit"), "logarithm")
PLACES |= dict.fromkeys(("sin", "cos", "tan"), "trigonometric")
PLACES |= dict.fromkeys(("arcsin", "arccos", "arctan", "arctan2"), "inverse")
PLACES |= dict.fromkeys(("erf", "erfc"), "error")
PLACES |= dict.fromkeys(("gammaln", "digamma"), "gamma")
# Parts of others, out of their way.
APART = {"gammaln_below_zero": "gamma_negative", "power_completed": "power"} | dict.fromkeys(
    ("sin_far", "cos_far", "tan_far"), "trigonometric"
)
PLACES |= APART
_KNOWN: dict[str, Description] = {}


class ScalarFunction(NamedTuple):
    """A function as scalar statements, each value assigned once.

    Attributes:
        name: Of the function and its dtype, as ``exp_f64``.
        parameters: Its arguments, all of one dtype.
        body: The statements.
        result: What it gives.
    """

    name: str
    parameters: tuple[Value, ...]
    body: tuple[Let, ...]
    result: Scalar


def describes(op: str) -> Callable[[Description], Description]:
    """Register the description of an operation: a function of ``k`` and the arguments."""

    def register(description: Description) -> Description:
        _KNOWN[op] = description
        return description

    return register


def described(op: str, dtype: DType) -> bool:
    """Whether there is a description of the operation for this dtype."""
    return op in PLACES and dtype.kind == "f" and dtype.itemsize in (4, 8)


@cache
def scalar_function(
    op: str, dtype: DType, *, fused: bool = True, scaling: bool = False
) -> ScalarFunction:
    """The statements of a function for float32 or float64.

    Args:
        op: Its name in ``PLACES``, or of a method that ``Scalars`` composes of such.
        dtype: Of the arguments and the result.
        fused: Whether a product and a sum are one operation of one rounding, ``fma``.
        scaling: Whether there are operations that split and scale numbers.
    """
    description = description_of(op)
    body: list[Let] = []
    known: dict[Any, Value] = {}
    names = (f"t{i}" for i in itertools.count())

    def let(
        op: str, operands: tuple[Scalar, ...], dtype: DType, params: tuple[Any, ...] = ()
    ) -> Scalar:
        key = op, dtype.char, params, *map(identity, operands)
        value = known.get(key)
        if value is None:
            value = known[key] = Value(next(names), dtype)
            body.append(Let(value, op, operands, params))
        return value

    count = description.__code__.co_argcount - 1  # less ``k``
    parameters = tuple(Value("xyz"[i], dtype) for i in range(count))
    result = description(Scalars(let, fused=fused, scaling=scaling), *parameters)
    used = tuple(needed(body, result))
    return ScalarFunction(f"{op}_f{8 * dtype.itemsize}", parameters, used, result)


def summary(op: str) -> str:
    """What the description says of its function."""
    return (description_of(op).__doc__ or op).split("\n", 1)[0]


def needed(body: list[Let], result: Scalar) -> list[Let]:
    """The statements that the result depends on."""
    wanted, kept = {result}, []
    for statement in reversed(body):
        if statement.value in wanted:
            kept.append(statement)
            wanted.update(statement.operands)
    return kept[::-1]


def description_of(op: str) -> Description:
    """The description of an operation: its own, or the method of ``Scalars``."""
    if op not in PLACES:
        return getattr(Scalars, op)  # type: ignore[no-any-return]
    importlib.import_module(f"graphjit.codegen.mathematics.{PLACES[op]}")
    return _KNOWN[op]


def identity(x: Scalar) -> Any:
    """What tells operands apart: 0 and -0 are equal, but not the same."""
    if isinstance(x, Value):
        return x.name
    return (repr(float(x.value)) if x.dtype.kind == "f" else int(x.value)), x.dtype.char
