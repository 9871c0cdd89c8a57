"""What a written expression is: its text, and how tightly that holds together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

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
