"""What choices say, and which of them say nothing."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

from graphjit.ir.graph import Node
from graphjit.symbolic.expression import UNIT, Atom, Call
from graphjit.symbolic.pool import Pool

if TYPE_CHECKING:
    from graphjit.symbolic.translate import Rule, Translation

HALF = Fraction(1, 2)
GREATER = {"maximum": True, "fmax": True, "minimum": False, "fmin": False}


def together(pool: Pool, total: int) -> int:
    """A sum in which choices by the same condition are one choice."""
    groups: dict[int, list[int]] = {}
    for _, ident in pool.terms(total):
        item = pool.items[ident]
        if isinstance(item, Call) and item.op == "where":
            groups.setdefault(item.operands[0], []).append(ident)
    coefficients = {i: c for c, i in pool.terms(total)}
    for condition, found in groups.items():
        if len(found) > 1:
            parts = [pool.scaled(i, coefficients[i]) for i in found]
            a, b = (
                pool.add(*(pool.scaled(branch(pool, i, n), coefficients[i]) for i in found))
                for n in (1, 2)
            )
            signs = (1, *(-1 for _ in parts), 1)
            total = pool.add(total, *parts, choice(pool, condition, a, b), signs=signs)
    return total


def branch(pool: Pool, ident: int, number: int) -> int:
    """One side of a choice."""
    item = pool.items[ident]
    return item.operands[number] if isinstance(item, Call) else ident


def choice(pool: Pool, condition: int, a: int, b: int) -> int:
    """A choice, without a second one by the same condition inside."""
    sides = []
    for number, side in ((1, a), (2, b)):
        item = pool.items[side]
        same = isinstance(item, Call) and item.op == "where" and item.operands[0] == condition
        sides.append(branch(pool, side, number) if same else side)
    return sides[0] if sides[0] == sides[1] else pool.call("where", condition, *sides)


def where(t: Translation, node: Node, condition: int, a: int, b: int) -> int | None:
    """A choice; one that a derivative rule makes only for a limit is left out."""
    test = t.graph.nodes[node.inputs[0]]
    if not (t.adjoint(node) and t.adjoint(through(t, test))):
        return choice(t.pool, condition, a, b)
    known = t.pool.items[condition]
    if isinstance(known, Call) and known.op == "equal" and len(set(known.operands)) == 1:
        return a  # as for the power 0ˣ, whose base is 0 wherever it is
    if t.pool.items[b] == Atom("nan"):
        return a
    winner = extremum(t, node)
    return b if winner is None else winner


def through(t: Translation, node: Node) -> Node:
    """The operation whose result a broadcast shows."""
    while node.op == "broadcast":
        node = t.graph.nodes[node.inputs[0]]
    return node


def extremum(t: Translation, node: Node) -> int | None:
    """The weight of an extremum's operand, H(a - b): 1 for the winner, a half for a tie.

    The rule chooses between a half, where a == b, and whether a is the extremum (or for b: not).
    """
    test, tie, won = (through(t, t.graph.nodes[i]) for i in node.inputs)
    if test.op != "equal" or t.pool.value(t.place[tie.id]) != HALF:
        return None
    pair = shown(t, test)
    for equal in (n for n in walk(t, won) if n.op == "equal"):
        for found in (through(t, t.graph.nodes[i]) for i in equal.inputs):
            if found.op in GREATER and sorted(shown(t, found)) == sorted(pair):
                a, b = (t.place[i] for i in found.inputs)
                sign = 1 if GREATER[found.op] == (won.op != "subtract") else -1
                gap = t.pool.add(a, b, signs=(sign, -sign))
                return t.pool.call("heaviside", gap, t.pool.number(HALF))
    return None


def shown(t: Translation, node: Node) -> list[int]:
    """The operands of a map without the broadcasts between."""
    return [through(t, t.graph.nodes[i]).id for i in node.inputs]


def walk(t: Translation, node: Node) -> list[Node]:
    """The nodes from a weight down to the comparisons that it is made of."""
    found = [node]
    for each in found:
        if each.op in ("subtract", "cast", "bitwise_or", "logical_or"):
            found += [through(t, t.graph.nodes[i]) for i in each.inputs]
    return found


def cast(t: Translation, node: Node, x: int) -> int | None:
    """Numbers have no dtype, but a truth value becomes 1 or 0."""
    start, end = t.graph.nodes[node.inputs[0]].aval.dtype.kind, node.aval.dtype.kind
    if start == "b" and end in "iuf":
        return choice(t.pool, x, UNIT, t.pool.sum_of({}))
    return x if end in ("f", start) else None


CHOICES: dict[str, Rule] = {
    "where": where,
    "cast": cast,
}
