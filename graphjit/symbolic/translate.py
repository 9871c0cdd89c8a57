"""From a graph to expressions: what each operation says in algebra."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from graphjit.ir.graph import Graph, Node
from graphjit.ir.primitive import TABLE
from graphjit.ir.table.contract import terms as letters
from graphjit.symbolic.expression import BASES, UNIT, Call, Let, Pool
from graphjit.symbolic.numbers import rational

LONG = 8  # names and numbers: what is longer and used again gets a name
NESTED = 30
HALF = Fraction(1, 2)
GREATER = {"maximum": True, "fmax": True, "minimum": False, "fmin": False}
WHOLE = ("reshape", "transpose", "slice", "embed", "gather", "concatenate")

# Numbers that are known by another name, beside the multiples of π.
ROOTS = {math.sqrt(n): n for n in (2, 3, 5)}
LOGARITHMS = {math.log(n): n for n in (2, 10)}


class Translation:
    """One sweep over a graph.

    Attributes:
        pool: Where the expressions are.
        place: For each node its expression.
        constants: The arrays among the constants, by the names they got.
    """

    def __init__(self, graph: Graph, names: Sequence[str], taken: set[str]) -> None:
        self.graph, self.pool = graph, Pool()
        self.place: list[int] = []
        self.constants: dict[str, Any] = {}
        self.taken = taken | set(names)
        inputs = dict(zip(graph.inputs, names, strict=True))
        for ident, name in inputs.items():  # in the order of the signature
            self.pool.atom(name, graph.nodes[ident].aval.shape)
        for node in graph.nodes:
            if node.op == "input":
                found = self.pool.atom(inputs[node.id], node.aval.shape)
            else:
                found = self.translated(node)
            self.place.append(self.named(node, found))

    def named(self, node: Node, found: int) -> int:
        """The expression, by a name if it is long and used again, or deeply nested."""
        uses = len(self.graph.users[node.id]) + self.graph.outputs.count(node.id)
        long = uses > 1 and self.pool.sizes[found] > LONG
        return self.pool.let(found) if long or self.pool.depths[found] > NESTED else found

    def translated(self, node: Node) -> int:
        """One operation."""
        operands = [self.place[i] for i in node.inputs]
        if TABLE[node.op].kind == "map" and node.aval.dtype.kind == "b":
            return self.pool.call(node.op, *operands, params=node.params)
        rule = RULES.get(node.op)
        found = rule(self, node, *operands) if rule is not None else None
        return self.called(node, operands) if found is None else found

    def called(self, node: Node, operands: Sequence[int]) -> int:
        """An operation that algebra knows nothing of."""
        if TABLE[node.op].kind == "map":
            return self.pool.call(node.op, *operands, params=node.params)
        full = [self.full(i, j) for i, j in zip(operands, node.inputs, strict=True)]
        return self.pool.call(node.op, *full, shape=node.aval.shape, params=node.params)

    def full(self, ident: int, node: int) -> int:
        """The expression in all of its node's shape; maps need not have it."""
        shape = self.graph.nodes[node].aval.shape
        if self.pool.shapes[ident] == shape:
            return ident
        return self.pool.call("broadcast", ident, shape=shape, params={"shape": shape})

    def adjoint(self, node: Node) -> bool:
        """Whether a node comes from a derivative rule, not from the user."""
        return node.origin is not None and node.origin.adjoint

    def constant_array(self, value: Any) -> int:
        """An array that is known, by a name."""
        for name, known in self.constants.items():
            if known is value:
                return self.pool.atom(name, value.shape)
        number = 1
        while f"c{number}" in self.taken:
            number += 1
        self.taken.add(f"c{number}")
        self.constants[f"c{number}"] = value
        return self.pool.atom(f"c{number}", value.shape)


Rule = Callable[..., "int | None"]
RULES: dict[str, Rule] = {}


def says(*ops: str) -> Callable[[Rule], Rule]:
    """What some operations say: ``rule(translation, node, *operands)``, None for a plain call."""

    def register(rule: Rule) -> Rule:
        RULES.update(dict.fromkeys(ops, rule))
        return rule

    return register


# -- numbers --------------------------------------------------------------------------------------


@says("constant")
def constant(t: Translation, node: Node) -> int:
    """A number, or an array by a name."""
    value = node.params["value"]
    if value.size and (value == value.flat[0]).all():
        return number(t.pool, value.flat[0])
    return t.constant_array(value)


def number(pool: Pool, value: Any) -> int:
    """A number, recognised where it is a well-known one."""
    if value.dtype.kind == "b":
        return pool.atom(str(bool(value)))
    known = special(pool, float(value)) if value.dtype.kind == "f" else None
    return pool.number(rational(value[()])) if known is None else known


def special(pool: Pool, value: float) -> int | None:
    """√2, log 2, multiples of π and the like."""
    if value in ROOTS:
        return pool.power(pool.number(Fraction(ROOTS[value])), HALF)
    if value in LOGARITHMS:
        return pool.call("log", pool.number(Fraction(LOGARITHMS[value])))
    if not math.isfinite(value) or value == 0:
        return None
    if value == 2 / math.sqrt(math.pi):
        return pool.scaled(pool.power(pool.atom("pi"), -HALF), Fraction(2))
    part = Fraction(value / math.pi).limit_denominator(12)
    if part.numerator and abs(part.numerator) <= 12 and float(part) * math.pi == value:
        return pool.scaled(pool.atom("pi"), part)
    return None


# -- algebra --------------------------------------------------------------------------------------


@says("add")
def add(t: Translation, _: Node, a: int, b: int) -> int:
    """A sum."""
    return t.pool.add(a, b)


@says("subtract")
def subtract(t: Translation, _: Node, a: int, b: int) -> int:
    """A difference."""
    return t.pool.add(a, b, signs=(1, -1))


@says("negative")
def negative(t: Translation, _: Node, x: int) -> int:
    """A sign."""
    return t.pool.scaled(x, Fraction(-1))


@says("multiply", "strong_multiply")
def multiply(t: Translation, _: Node, a: int, b: int) -> int:
    """A product; that zeros win over infinities is a matter of rounding, not of the formula."""
    return t.pool.multiply(a, b)


@says("divide")
def divide(t: Translation, _: Node, a: int, b: int) -> int:
    """A quotient."""
    return t.pool.multiply(a, t.pool.power(b, Fraction(-1)))


@says("reciprocal")
def reciprocal(t: Translation, node: Node, x: int) -> int | None:
    """One over x; of integers NumPy makes another one."""
    return t.pool.power(x, Fraction(-1)) if node.aval.inexact else None


@says("square")
def square(t: Translation, _: Node, x: int) -> int:
    """x²."""
    return t.pool.power(x, Fraction(2))


@says("sqrt")
def sqrt(t: Translation, _: Node, x: int) -> int:
    """√x."""
    return t.pool.power(x, HALF)


@says("power")
def power(t: Translation, _: Node, a: int, b: int) -> int:
    """A power."""
    return t.pool.general_power(a, b)


@says("exp")
def exp(t: Translation, _: Node, x: int) -> int:
    """eˣ."""
    return t.pool.exp(x)


@says("hypot")
def hypot(t: Translation, _: Node, a: int, b: int) -> int:
    """The root of the sum of squares."""
    squares = (t.pool.power(x, Fraction(2)) for x in (a, b))
    return t.pool.power(t.pool.add(*squares), HALF)


@says("expit")
def expit(t: Translation, _: Node, x: int) -> int | None:
    """σ(-x) is 1 - σ(x), as every textbook has it."""
    terms = t.pool.terms(x)
    if not terms or any(c > 0 for c, _ in terms):
        return None
    opposite = t.pool.call("expit", t.pool.scaled(x, Fraction(-1)))
    return t.pool.add(UNIT, opposite, signs=(1, -1))


@says("positive", "broadcast", "wrap_index")
def same(_: Translation, __: Node, x: int) -> int:
    """Formulas broadcast by themselves, and an index counts from the end by itself."""
    return x


@says("cast")
def cast(t: Translation, node: Node, x: int) -> int | None:
    """Numbers have no dtype, but a truth value becomes 1 or 0."""
    start, end = t.graph.nodes[node.inputs[0]].aval.dtype.kind, node.aval.dtype.kind
    if start == "b" and end in "iuf":
        return t.pool.call("where", x, UNIT, t.pool.sum_of({}))
    return x if end == "f" or start == end else None


# -- choices --------------------------------------------------------------------------------------


@says("where")
def where(t: Translation, node: Node, condition: int, a: int, b: int) -> int | None:
    """A choice; one that a derivative rule makes only for a limit is left out."""
    test = t.graph.nodes[node.inputs[0]]
    if a == b:
        return a
    if not (t.adjoint(node) and t.adjoint(through(t, test))):
        return None
    winner = extremum(t, node)
    return b if winner is None else winner


def through(t: Translation, node: Node) -> Node:
    """The operation whose result a broadcast shows."""
    while node.op == "broadcast":
        node = t.graph.nodes[node.inputs[0]]
    return node


def extremum(t: Translation, node: Node) -> int | None:
    """The weight of an extremum's operand, H(a - b): 1 for the winner, a half for a tie."""
    test, tie, won = (through(t, t.graph.nodes[i]) for i in node.inputs)
    if test.op != "equal" or t.pool.value(t.place[tie.id]) != HALF:
        return None
    first = won.op != "subtract"
    for found in walk(t, won):
        if found.op in GREATER:
            a, b = (t.place[i] for i in found.inputs)
            sign = 1 if GREATER[found.op] == first else -1
            gap = t.pool.add(a, b, signs=(sign, -sign))
            return t.pool.call("heaviside", gap, t.pool.number(HALF))
    return None


def walk(t: Translation, node: Node) -> list[Node]:
    """The nodes from a weight down to the extremum that it tests; they are at most a dozen."""
    found = [node]
    for each in found:
        if len(found) < 24 and each.op not in GREATER:
            found += [through(t, t.graph.nodes[i]) for i in each.inputs]
    return found


# -- arrays ---------------------------------------------------------------------------------------


@says("sum")
def total(t: Translation, node: Node, x: int) -> int:
    """Σ, with what is the same in every term in front."""
    front, inner = taken_out(t.pool, x)
    shape = t.graph.nodes[node.inputs[0]].aval.shape
    if t.pool.shapes[inner] == ():
        repeated = math.prod(shape[a] for a in node.params["axes"])
        return t.pool.multiply(front, inner, t.pool.number(Fraction(repeated)))
    inner = t.full(inner, node.inputs[0])
    summed = t.pool.call("sum", inner, shape=node.aval.shape, params=node.params)
    return t.pool.multiply(front, summed)


def taken_out(pool: Pool, ident: int) -> tuple[int, int]:
    """The number and the scalar factors of a product, and what is left."""
    common, rest = pool.primitive(ident)
    if pool.value(ident) is not None:
        return UNIT, ident
    scalars = [(b, e) for b, e in pool.factors(rest) if pool.shapes[b] == ()]
    front = pool.multiply(pool.number(common), *(pool.power(b, e) for b, e in scalars))
    arrays = [(b, e) for b, e in pool.factors(rest) if pool.shapes[b] != ()]
    return front, pool.multiply(*(pool.power(b, e) for b, e in arrays))


@says(*WHOLE)
def moved(t: Translation, node: Node, *operands: int) -> int | None:
    """A layout; a number has none."""
    if node.op in ("reshape", "transpose", "slice") and t.pool.shapes[operands[0]] == ():
        return operands[0]
    if node.op != "transpose":
        return None
    return transposed(t.pool, t.full(operands[0], node.inputs[0]), tuple(node.params["axes"]))


def transposed(pool: Pool, x: int, axes: tuple[int, ...]) -> int:
    """A transpose, or what was transposed before."""
    item = pool.items[x]
    if isinstance(item, Call) and item.op == "transpose" and len(axes) == 2:
        return item.operands[0]
    shape = tuple(pool.shapes[x][a] for a in axes)
    return pool.call("transpose", x, shape=shape, params={"axes": axes})


@says("contract")
def contract(t: Translation, node: Node, a: int, b: int) -> int:
    """A product of matrices where it is one, with numbers in front."""
    (before, a), (after, b) = taken_out(t.pool, a), taken_out(t.pool, b)
    a, b = t.full(a, node.inputs[0]), t.full(b, node.inputs[1])
    first, second, result = letters(node.params["spec"])
    product = matrices(t.pool, (first, a), (second, b), result)
    if product is None:
        product = t.pool.call("einsum", a, b, shape=node.aval.shape, params=node.params)
    return t.pool.multiply(before, after, product)


Operand = tuple[str, int]


def matrices(pool: Pool, a: Operand, b: Operand, result: str) -> int | None:
    """A contraction in the notation of matrices; None where that has none."""
    if a[0] == b[0] and (result in ("", a[0])) and (len(a[0]) > 1 or result):
        return elementwise(pool, a, b, result)
    if max(len(a[0]), len(b[0])) > 2:
        return stacked(pool, a, b, result)
    summed = [letter for letter in a[0] if letter in b[0]]
    if len(summed) > 1 or any(letter in result for letter in summed):
        return None
    if len(a[0]) < len(b[0]):  # a matrix stands before its vector
        a, b = b, a
    if not summed:
        return outer(pool, a, b, result)
    return matmul(pool, a, b, summed[0], result)


def elementwise(pool: Pool, a: Operand, b: Operand, result: str) -> int:
    """Equal letters: a product of elements, or the sum of it."""
    product = pool.multiply(a[1], b[1])
    if result:
        return product
    return pool.call("sum", product, shape=(), params={"axes": tuple(range(len(a[0])))})


def outer(pool: Pool, a: Operand, b: Operand, result: str) -> int | None:
    """A column times a row."""
    if len(a[0]) != 1 or len(b[0]) != 1:
        return None
    if a[0] + b[0] != result:
        a, b = b, a
    return pool.call("outer", a[1], b[1], shape=(*pool.shapes[a[1]], *pool.shapes[b[1]]))


def matmul(pool: Pool, a: Operand, b: Operand, summed: str, result: str) -> int:
    """Two matrices, or a matrix and a vector, or two vectors."""
    if a[0].replace(summed, "") + b[0].replace(summed, "") != result:
        a, b = b, a
    left = a[1] if a[0].endswith(summed) else transposed(pool, a[1], (1, 0))
    right = b[1] if b[0].startswith(summed) else transposed(pool, b[1], (1, 0))
    shape = (*pool.shapes[left][:-1], *pool.shapes[right][1:])
    return pool.call("matmul", left, right, shape=shape)


def stacked(pool: Pool, a: Operand, b: Operand, result: str) -> int | None:
    """Stacks of matrices, multiplied in pairs."""
    if len(a[0]) != len(b[0]) or a[0][:-2] != b[0][:-2] or a[0][-1] != b[0][-2]:
        return None
    if a[0][:-1] + b[0][-1] != result or a[0][-1] in result:
        return None
    shape = (*pool.shapes[a[1]][:-1], pool.shapes[b[1]][-1])
    return pool.call("matmul", a[1], b[1], shape=shape)
