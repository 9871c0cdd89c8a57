"""Expressions, each kept once.

A ``Store`` holds expressions by number; operands come before what is made of them, so everything
that walks a formula is a loop over numbers, never a recursion.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from graphjit.ir.graph import key
from graphjit.symbolic.numbers import ONE, ZERO, Number

Shape = tuple[int, ...]

DEEP = 30  # levels up to which brackets are still counted by eye
UNIT = 0  # the number of the expression 1, the empty product


@dataclass(frozen=True, slots=True)
class Atom:
    """A variable or a named number."""

    name: str


@dataclass(frozen=True, slots=True)
class Sum:
    """Coefficients and what they multiply; a number is the multiple of 1, zero the empty sum."""

    terms: tuple[tuple[Number, int], ...]


@dataclass(frozen=True, slots=True)
class Product:
    """Bases and their exponents."""

    factors: tuple[tuple[int, Number], ...]


@dataclass(frozen=True, slots=True)
class Call:
    """An operation that the normal form knows nothing of."""

    op: str
    operands: tuple[int, ...]
    params: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Let:
    """A name for an expression, opaque to the normal form."""

    value: int


Expression = Atom | Sum | Product | Call | Let

# Kept side by side in sums, the one that a derivative brings in and the one it comes from.
FAMILY = {"cos": "sin", "cosh": "sinh"}
BASES = ("exp", "power")


class Store:
    """All expressions of some formulas.

    Attributes:
        items: The expressions by number.
        shapes: What each broadcasts to; a number has the shape ``()``, whatever it stood for.
        sizes: How many names and numbers each is written with.
        depths: How deep each is nested.
        ranks: The order of appearance, which is that of the terms of a sum.
    """

    def __init__(self) -> None:
        self.items: list[Expression] = []
        self.shapes: list[Shape] = []
        self.sizes: list[int] = []
        self.depths: list[int] = []
        self.ranks: list[tuple[int, str]] = []
        self._known: dict[Hashable, int] = {}
        self._first: dict[Hashable, int] = {}
        self.intern(Product(()), ())

    # -- making ---------------------------------------------------------------------------------

    def intern(self, item: Expression, shape: Shape) -> int:
        """The number of an expression, new or known."""
        known = signature(item)
        if known not in self._known:
            ident = self._known[known] = len(self.items)
            below = operands(item)
            self.items.append(item)
            self.shapes.append(shape)
            self.sizes.append(1 if isinstance(item, Atom | Let) else self._size(item, below))
            self.depths.append(
                0
                if isinstance(item, Atom | Let)
                else 1 + max((self.depths[i] for i in below), default=0)
            )
            self.ranks.append(self._rank(item, ident))
        return self._known[known]

    def _size(self, item: Expression, below: tuple[int, ...]) -> int:
        own = 1 if isinstance(item, Call) else 0
        if isinstance(item, Sum):
            own = sum(coefficient != 1 for coefficient, _ in item.terms)
        if isinstance(item, Product):
            own = sum(abs(exponent) != 1 for _, exponent in item.factors)
        return own + sum(self.sizes[i] for i in below)

    def _rank(self, item: Expression, ident: int) -> tuple[int, str]:
        if not isinstance(item, Call):
            return ident, ""
        family = (FAMILY.get(item.op, item.op), item.operands, key(item.params))
        return self._first.setdefault(family, ident), item.op

    def atom(self, name: str, shape: Shape = ()) -> int:
        """A variable."""
        return self.intern(Atom(name), shape)

    def call(
        self,
        op: str,
        *inputs: int,
        shape: Shape | None = None,
        params: Mapping[str, Any] | None = None,
    ) -> int:
        """An operation on expressions; by default its shape is what they broadcast to."""
        shape = self.common(inputs) if shape is None else shape
        return self.intern(Call(op, inputs, params or {}), shape)

    def let(self, ident: int) -> int:
        """A name for an expression, if it needs one."""
        if isinstance(self.items[ident], Atom | Let):
            return ident
        return self.intern(Let(ident), self.shapes[ident])

    def common(self, inputs: Iterable[int]) -> Shape:
        """What expressions broadcast to."""
        return np.broadcast_shapes(*(self.shapes[i] for i in inputs))

    # -- looking --------------------------------------------------------------------------------

    def terms(self, ident: int) -> tuple[tuple[Number, int], ...]:
        """An expression as a sum."""
        item = self.items[ident]
        return item.terms if isinstance(item, Sum) else ((ONE, ident),)

    def factors(self, ident: int) -> tuple[tuple[int, Number], ...]:
        """An expression as a product; a sum is one factor."""
        item = self.items[ident]
        return item.factors if isinstance(item, Product) else ((ident, ONE),)

    def value(self, ident: int) -> Number | None:
        """The number that an expression is."""
        terms = self.terms(ident)
        if not terms:
            return ZERO
        return terms[0][0] if len(terms) == 1 and terms[0][1] == UNIT else None


def operands(item: Expression) -> tuple[int, ...]:
    """The expressions that an expression is made of."""
    match item:
        case Sum(terms):
            return tuple(i for _, i in terms)
        case Product(factors):
            return tuple(i for i, _ in factors)
        case Call(_, inputs):
            return inputs
        case Let(value):
            return (value,)
    return ()


def signature(item: Expression) -> Hashable:
    """What two equal expressions have in common."""
    if isinstance(item, Call):
        return "call", item.op, item.operands, key(item.params)
    return item
