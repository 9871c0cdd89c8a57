"""What a written expression is: its text, and how tightly that holds together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from graphjit.symbolic.expression import Call, Shape

# How tightly a text holds together, from a comparison to a name.
LOGIC, SUM, PRODUCT, BIG, UNARY, POWER, ATOM = range(7)


class Piece(NamedTuple):
    """The text of an expression, how tightly it holds together, and its shape."""

    text: str
    level: int
    shape: Shape = ()


class Written(NamedTuple):
    """An operation to write: its row's name and parameters, its operands' texts, its shape."""

    op: str
    params: dict[str, Any]
    operands: tuple[Piece, ...]
    shape: Shape

    @property
    def first(self) -> Piece:
        """The only operand, or the first."""
        return self.operands[0]


def written(call: Call, operands: Sequence[Piece], shape: Shape) -> Written:
    """An operation with its operands written."""
    return Written(call.op, dict(call.params), tuple(operands), shape)


def options(written: Written) -> list[str]:
    """The parameters of an operation as keywords."""
    plain = {k: v for k, v in written.params.items() if np.isscalar(v) or isinstance(v, tuple)}
    shown = {**written.params, **plain}
    return [f"{k}={readable(v)}" for k, v in shown.items()]


def readable(value: Any) -> str:
    """A parameter's value: dtypes by name, and graphs as three dots."""
    if isinstance(value, np.dtype):
        return repr(value.name)
    simple = isinstance(value, str | int | float | tuple | None) and "Graph(" not in str(value)
    return repr(value) if simple else "..."


def plain_call(written: Written) -> str:
    """An operation by its name."""
    return f"{written.op}({', '.join([*(p.text for p in written.operands), *options(written)])})"


def latex_call(written: Written) -> str:
    """An operation by its name, upright."""
    name = written.op.replace("_", r"\_")
    inside = ", ".join([*(p.text for p in written.operands), *map(verbatim, options(written))])
    return rf"\operatorname{{{name}}}\left({inside}\right)"


def verbatim(text: str) -> str:
    """Python inside a formula."""
    return rf"\mathrm{{{text.replace('_', chr(92) + '_')}}}"
