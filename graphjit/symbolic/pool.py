"""Formulas as sums of products of powers.

The three ways to combine are ``add``, ``multiply`` and ``power``. They keep a normal form, in which
like terms are collected, equal factors are one power, numbers are in front and fractions are
negative powers. What a formula of real numbers leaves open, such as a zero in a denominator that
cancels, is not kept.

The functions eᵘ and aᵘ are *bases*: e^(3u) is the base eᵘ with the exponent 3, so that products of
them combine, and e^(-u) is one over eᵘ.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import Any

from graphjit.symbolic.expression import UNIT, Atom, Call, Product, Store, Sum
from graphjit.symbolic.numbers import ONE, ZERO, Number, content, raised, tidy

SPREAD = 8  # terms up to which a factor may be multiplied into a sum


class Pool(Store):
    """All expressions of some formulas, and how they combine."""

    def number(self, value: Number) -> int:
        """A number."""
        if isinstance(value, float) and not math.isfinite(value):
            size = self.atom("nan" if math.isnan(value) else "inf")
            return size if not value < 0 else self.scaled(size, Fraction(-1))
        return self.sum_of({UNIT: value})

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
            by *= inner
            if abs(by) != 1:
                return self.sum_of({rest: by})
            terms = self.terms(rest)
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
        if UNIT in (a, b):
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
        parts = [self._times_one(c * d, i, j) for c, i in first for d, j in second]
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
                if exponent % 2 == 0:  # of (x - y)² and (y - x)² the one that came first
                    rest = min(rest, self.scaled(rest, Fraction(-1)))
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
        constant = {i: c for c, i in self.terms(exponent)}.get(UNIT, ZERO)
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
