"""Formulas as sums of products of powers, each kept once.

A ``Pool`` holds expressions by number; operands come before what is made of them, so everything
that walks a formula is a loop over numbers, never a recursion. The three ways to combine are
``add``, ``multiply`` and ``power``. They keep a normal form, in which like terms are collected,
equal factors are one power, numbers are in front and fractions are negative powers. What a formula
of real numbers leaves open, such as a zero in a denominator that cancels, is not kept.

The functions eᵘ and aᵘ are *bases*: e^(3u) is the base eᵘ with the exponent 3, so that products of
them combine, and e^(-u) is one over eᵘ.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np

from graphjit.ir.graph import key
from graphjit.symbolic.numbers import ONE, ZERO, Number, content, raised, tidy

Shape = tuple[int, ...]

SPREAD = 8  # terms up to which a factor may be multiplied into a sum
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


class Pool:
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

    def number(self, value: Number) -> int:
        """A number."""
        if isinstance(value, float) and not math.isfinite(value):
            size = self.atom("nan" if math.isnan(value) else "inf")
            return size if not value < 0 else self.scaled(size, Fraction(-1))
        return self.sum_of({UNIT: value})

    def call(
        self, op: str, *inputs: int, shape: Shape | None = None, params: Mapping[str, Any] | None = None
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

    # -- sums -----------------------------------------------------------------------------------

    def sum_of(self, terms: Mapping[int, Number]) -> int:
        """The sum of multiples, all different."""
        kept = sorted((i, tidy(c)) for i, c in terms.items() if c != 0)
        if len(kept) == 1 and kept[0][1] == 1:
            return kept[0][0]
        return self.intern(Sum(tuple((c, i) for i, c in kept)), self.common(i for i, _ in kept))

    def add(self, *inputs: int, signs: tuple[int, ...] = ()) -> int:
        """The sum of expressions, like terms collected."""
        total: dict[int, Number] = {}
        for ident, sign in zip(inputs, signs or (1,) * len(inputs), strict=True):
            for coefficient, inner in self.terms(ident):
                for factor, term in self.terms(inner):  # a sum may stand inside one multiple
                    total[term] = total.get(term, ZERO) + sign * coefficient * factor
        return self.sum_of(total)

    def scaled(self, ident: int, by: Number) -> int:
        """A multiple; a sum stays together, but for its sign."""
        terms = self.terms(ident)
        if len(terms) > 1 and abs(by) != 1:
            inner, rest = self.primitive(ident)
            return self.sum_of({rest: inner * by})
        return self.sum_of({i: c * by for c, i in terms})

    def primitive(self, ident: int) -> tuple[Number, int]:
        """A sum as a number times a sum whose numbers have no common factor."""
        terms = self.terms(ident)
        common = content([c for c, _ in terms]) if terms else ONE
        if terms and all(c < 0 for c, _ in terms):
            common = -common
        return common, self.sum_of({i: c / common for c, i in terms})

    # -- products -------------------------------------------------------------------------------

    def multiply(self, *inputs: int) -> int:
        """The product of expressions."""
        result = UNIT
        for ident in inputs:
            result = self._times(result, ident)
        return result

    def _times(self, a: int, b: int) -> int:
        if a == UNIT or b == UNIT:
            return b if a == UNIT else a
        first, second = self.terms(a), self.terms(b)
        if not first or not second:
            return self.sum_of({})
        if len(first) > len(second):
            first, second, a, b = second, first, b, a
        if len(first) == 1:
            return self._times_one(*first[0], b)
        spread = self._spread(first, second)
        return self._gather(self.factors(a), self.factors(b)) if spread is None else spread

    def _times_one(self, coefficient: Number, single: int, b: int) -> int:
        """A multiple times any expression."""
        terms = self.terms(b)
        if single == UNIT:
            return self.scaled(b, coefficient)
        if len(terms) == 1:
            by = coefficient * terms[0][0]
            return self.scaled(self._gather(self.factors(single), self.factors(terms[0][1])), by)
        if self._worth_spreading(single, terms):
            return self.add(*(self._times_one(coefficient * c, single, i) for c, i in terms))
        common, rest = self.primitive(b)
        product = self._gather(self.factors(single), self.factors(rest))
        return self.scaled(product, coefficient * common)

    def _worth_spreading(self, single: int, terms: tuple[tuple[Number, int], ...]) -> bool:
        """Whether a factor cancels in a term of the sum, or is a variable that is in one."""
        mine = dict(self.factors(single))
        if len(terms) > SPREAD or self.sizes[single] > 2 * SPREAD:
            return False
        return any(
            base in mine and (isinstance(self.items[base], Atom) or exponent * mine[base] < 0)
            for _, term in terms
            for base, exponent in self.factors(term)
        )

    def _spread(self, first: tuple[Any, ...], second: tuple[Any, ...]) -> int | None:
        """The product of two sums of two terms if that has two again: (1 - x)(1 + x)."""
        if len(first) != 2 or len(second) != 2:
            return None
        parts = [
            self._times_one(c * d, i, j) if i != UNIT else self.scaled(j, c * d)
            for c, i in first
            for d, j in second
        ]
        total = self.add(*parts)
        return total if len(self.terms(total)) <= 2 else None

    def _gather(self, *groups: Iterable[tuple[int, Number]]) -> int:
        """The product of powers, equal bases together."""
        total: dict[int, Number] = {}
        for base, exponent in (pair for group in groups for pair in group):
            total[base] = total.get(base, ZERO) + exponent
        kept = {base: tidy(e) for base, e in total.items() if e != 0}
        opened = [b for b, e in kept.items() if self._opens(b, e)]
        rest = [(b, e) for b, e in sorted(kept.items()) if b not in opened]
        if opened:
            return self.multiply(self._gather(rest), *(self.power(b, kept[b]) for b in opened))
        if len(rest) == 1 and rest[0][1] == 1:
            return rest[0][0]
        return self.intern(Product(tuple(rest)), self.common(b for b, _ in rest))

    def _opens(self, base: int, exponent: Number) -> bool:
        """Whether a root came back to a whole power, as (2x)^(1/2) squared does."""
        item = self.items[base]
        if not isinstance(item, Product) and not (isinstance(item, Sum) and len(item.terms) == 1):
            return False
        return whole(exponent)

    # -- powers ---------------------------------------------------------------------------------

    def power(self, ident: int, exponent: Number) -> int:
        """A power with a number as exponent."""
        if exponent == 0:
            return UNIT
        if exponent == 1 or ident == UNIT:
            return ident
        terms = self.terms(ident)
        if len(terms) == 1:
            return self._power_of_one(ident, *terms[0], exponent)
        if not terms:
            return self._power_of_zero(exponent)
        if whole(exponent):
            common, rest = self.primitive(ident)
            number = raised(common, exponent)
            if number is not None:
                if exponent % 2 == 0 and self.terms(rest)[0][0] < 0:
                    rest = self.scaled(rest, Fraction(-1))
                return self.scaled(self._gather([(rest, exponent)]), number)
        return self._gather([(ident, exponent)])

    def _power_of_zero(self, exponent: Number) -> int:
        zero = self.sum_of({})
        if exponent > 0:
            return zero
        return self.call("power", zero, self.number(exponent))

    def _power_of_one(self, ident: int, coefficient: Number, single: int, exponent: Number) -> int:
        """The power of a multiple of a product."""
        number = raised(coefficient, exponent)
        factors = self.factors(single) if single != UNIT else ()
        if number is None or (factors and coefficient != 1 and not whole(exponent)):
            return self._closed(ident, exponent)
        if whole(exponent) or self._combines(factors):
            product = self._gather((b, e * exponent) for b, e in factors)
            return self.scaled(product, number) if number != 1 else product
        return self._closed(single, exponent) if factors else self.number(number)

    def _closed(self, ident: int, exponent: Number) -> int:
        """A power whose base stays together."""
        return self.intern(Product(((ident, exponent),)), self.shapes[ident])

    def _combines(self, factors: Iterable[tuple[int, Number]]) -> bool:
        """Whether the factors may have a broken power each, for any sign: √x, eˣ."""
        return all(
            (e == 1 and len(tuple(factors)) == 1)
            or not whole(e)
            or (isinstance(item := self.items[b], Call) and item.op == "exp")
            for b, e in factors
        )

    def exp(self, ident: int) -> int:
        """The exponential function."""
        return self._exponential("exp", (), ident)

    def general_power(self, base: int, exponent: int) -> int:
        """A power of anything to anything."""
        number = self.value(exponent)
        if number is not None:
            return self.power(base, number)
        constant = dict((i, c) for c, i in self.terms(exponent)).get(UNIT, ZERO)
        rest = self.add(exponent, self.number(-constant))
        return self.multiply(self.power(base, constant), self._exponential("power", (base,), rest))

    def _exponential(self, op: str, base: tuple[int, ...], exponent: int) -> int:
        """The base eᵘ or aᵘ to a number, with a u that has no number in front."""
        if not self.terms(exponent) or base == (UNIT,):
            return UNIT
        if self.value(exponent) is not None:
            common, rest = self.value(exponent), UNIT
        else:
            common, rest = self.primitive(exponent)
        return self._gather([(self.call(op, *base, rest), common or ONE)])


def whole(number: Number) -> bool:
    """Whether an exponent is a whole number."""
    return isinstance(number, Fraction) and number.denominator == 1


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
