"""What reductions, layouts and products of matrices say."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TYPE_CHECKING

from graphjit.ir.graph import Node
from graphjit.ir.table.contract import terms as letters
from graphjit.symbolic.expression import UNIT, Call
from graphjit.symbolic.pool import Pool

if TYPE_CHECKING:
    from graphjit.symbolic.translate import Rule, Translation

WHOLE = ("reshape", "transpose", "slice", "embed", "gather", "concatenate")


def total(t: Translation, node: Node, x: int) -> int:
    """Σ, with what is the same in every term in front."""
    front, inner = taken_out(t.pool, x)
    item = t.pool.items[inner]
    if isinstance(item, Call) and item.op == "sum" and not node.aval.shape:  # a sum of sums
        inner = item.operands[0]
        params = {"axes": tuple(range(len(t.pool.shapes[inner])))}
        return t.pool.multiply(front, t.pool.call("sum", inner, shape=(), params=params))
    shape = t.graph.nodes[node.inputs[0]].aval.shape
    if t.pool.shapes[inner] == () and shape != ():
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


def moved(t: Translation, node: Node, *operands: int) -> int | None:
    """A layout; a number has none."""
    if node.op in ("reshape", "transpose", "slice") and t.pool.shapes[operands[0]] == ():
        return operands[0]
    if len(operands) > 1:
        return None
    front, inner = taken_out(t.pool, operands[0])
    inner = t.full(inner, node.inputs[0])
    if node.op == "transpose":
        return t.pool.multiply(front, transposed(t.pool, inner, tuple(node.params["axes"])))
    return t.pool.multiply(front, t.called(node, [inner]))


def transposed(pool: Pool, x: int, axes: tuple[int, ...]) -> int:
    """A transpose, or what was transposed before."""
    item = pool.items[x]
    if isinstance(item, Call) and item.op == "transpose" and len(axes) == 2:
        return item.operands[0]
    shape = tuple(pool.shapes[x][a] for a in axes)
    return pool.call("transpose", x, shape=shape, params={"axes": axes})


def contract(t: Translation, node: Node, a: int, b: int) -> int:
    """A product of matrices where it is one, with numbers in front."""
    (before, a), (after, b) = taken_out(t.pool, a), taken_out(t.pool, b)
    if 0 in (t.pool.value(a), t.pool.value(b)):
        return t.pool.sum_of({})
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


ARRAYS: dict[str, Rule] = {
    "sum": total,
    **dict.fromkeys(WHOLE, moved),
    "contract": contract,
}
