"""What numbers, sums, products and powers say in algebra."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from graphjit.ir.graph import Node
from graphjit.symbolic.choices import choice, together
from graphjit.symbolic.expression import UNIT, Call
from graphjit.symbolic.numbers import Number, close, meant
from graphjit.symbolic.pool import Pool

if TYPE_CHECKING:
    from graphjit.symbolic.translate import Rule, Translation

LATER = -1  # the place of a sum that is part of a longer one
SIGNS = {"add": 1, "subtract": -1}
HALF = Fraction(1, 2)

# Numbers that are known by another name.
KNOWN: dict[float, tuple[Any, Number]] = {
    **{math.sqrt(n): (HALF, Fraction(n)) for n in (2, 3, 5)},
    **{math.log(n): ("log", Fraction(n)) for n in (2, 10)},
    **{(n * math.pi) ** e: (Fraction(e), n * math.pi) for n in (1, 2) for e in (1, -1, 0.5, -0.5)},
}


def constant(t: Translation, node: Node) -> int:
    """A number, or an array by a name."""
    value = node.params["value"]
    if value.size and value.tobytes() == value.flat[0].tobytes() * value.size:
        return number(t.pool, value.flat[0])
    return t.constant_array(value)


def number(pool: Pool, value: Any) -> int:
    """A number, recognised where it is a well-known one."""
    if value.dtype.kind == "b":
        return pool.atom(str(bool(value)))
    if value.dtype.kind == "f" and not np.isfinite(value):
        return pool.number(float(value))
    short = meant(value[()])
    if short is not None:
        return pool.number(short)
    known = special(pool, value)
    return pool.number(Fraction(str(value[()]))) if known is None else known


def special(pool: Pool, value: Any) -> int | None:
    """A simple multiple of √2, π, log 2 and the like."""
    for size, (kind, of) in KNOWN.items():
        part = Fraction(float(value) / size).limit_denominator(12)
        if part and abs(part.numerator) <= 12 and close(value, float(part) * size):
            return pool.scaled(made(pool, kind, of), part)
    square = Fraction(float(value) ** 2).limit_denominator(100)
    if 0 < square.numerator <= 100 and close(value, math.copysign(math.sqrt(square), value)):
        root = pool.power(pool.number(Fraction(square.denominator)), -HALF)
        root = pool.multiply(root, pool.power(pool.number(Fraction(square.numerator)), HALF))
        return root if value > 0 else pool.scaled(root, Fraction(-1))
    return None


def made(pool: Pool, kind: Any, of: Number) -> int:
    """A logarithm or a power, of a whole number or a multiple of π."""
    pi = isinstance(of, float)
    inner = pool.number(Fraction(round(of / math.pi) if pi else of))
    if pi:
        inner = pool.multiply(inner, pool.atom("pi"))
    return pool.call("log", inner) if kind == "log" else pool.power(inner, kind)


def add(t: Translation, node: Node, *_: int) -> int:
    """A sum, with all that was left for it to add."""
    terms, signs, stack = list[int](), list[int](), [(node.id, 1)]
    while stack:
        ident, sign = stack.pop()
        if ident != node.id and t.place[ident] != LATER:
            terms.append(t.place[ident])
            signs.append(sign)
            continue
        first, second = t.graph.nodes[ident].inputs
        stack += [(second, sign * SIGNS[t.graph.nodes[ident].op]), (first, sign)]
    return together(t.pool, t.pool.add(*terms, signs=tuple(signs)))


def negative(t: Translation, _: Node, x: int) -> int:
    """A sign."""
    return t.pool.scaled(x, Fraction(-1))


def multiply(t: Translation, _: Node, a: int, b: int) -> int:
    """A product."""
    return t.pool.multiply(a, b)


def strong_multiply(t: Translation, _: Node, a: int, b: int) -> int:
    """A product in which zero wins over infinity and NaN.

    A choice of zero, as c ? x : 0, takes the other factor in; elsewhere that is a matter of
    rounding, not of the formula.
    """
    product = t.pool.multiply(a, b)
    for base, exponent in t.pool.factors(t.pool.primitive(product)[1]):
        item = t.pool.items[base]
        if exponent == 1 and isinstance(item, Call) and item.op == "where":
            condition, *branches = item.operands
            if any(t.pool.value(x) == 0 for x in branches):
                rest = t.pool.multiply(product, t.pool.power(base, Fraction(-1)))
                return choice(t.pool, condition, *(t.pool.multiply(x, rest) for x in branches))
    return product


def divide(t: Translation, _: Node, a: int, b: int) -> int:
    """A quotient."""
    return t.pool.multiply(a, t.pool.power(b, Fraction(-1)))


def reciprocal(t: Translation, node: Node, x: int) -> int | None:
    """One over x; of integers NumPy makes another one."""
    return t.pool.power(x, Fraction(-1)) if node.aval.inexact else None


def square(t: Translation, _: Node, x: int) -> int:
    """x²."""
    return t.pool.power(x, Fraction(2))


def sqrt(t: Translation, _: Node, x: int) -> int:
    """√x."""
    return t.pool.power(x, HALF)


def power(t: Translation, _: Node, a: int, b: int) -> int:
    """A power."""
    return t.pool.general_power(a, b)


def exp(t: Translation, _: Node, x: int) -> int:
    """eˣ."""
    return t.pool.exp(x)


def hypot(t: Translation, _: Node, a: int, b: int) -> int:
    """The root of the sum of squares."""
    squares = (t.pool.power(x, Fraction(2)) for x in (a, b))
    return t.pool.power(t.pool.add(*squares), HALF)


def expit(t: Translation, _: Node, x: int) -> int | None:
    """σ(-x) is 1 - σ(x), as every textbook has it."""
    terms = t.pool.terms(x)
    if not terms or any(c > 0 for c, _ in terms):
        return None
    opposite = t.pool.call("expit", t.pool.scaled(x, Fraction(-1)))
    return t.pool.add(UNIT, opposite, signs=(1, -1))


def same(_: Translation, __: Node, x: int, *___: int) -> int:
    """Formulas broadcast and wait by themselves, and an index counts from the end by itself."""
    return x


ALGEBRA: dict[str, Rule] = {
    "constant": constant,
    "add": add,
    "subtract": add,
    "negative": negative,
    "multiply": multiply,
    "strong_multiply": strong_multiply,
    "divide": divide,
    "reciprocal": reciprocal,
    "square": square,
    "sqrt": sqrt,
    "power": power,
    "exp": exp,
    "hypot": hypot,
    "expit": expit,
    "positive": same,
    "broadcast": same,
    "wrap_index": same,
    "hold": same,
}
