"""From a graph to expressions: what each operation says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from graphjit.ir.graph import Graph, Node
from graphjit.ir.primitive import TABLE
from graphjit.symbolic.algebra import ALGEBRA, LATER, SIGNS
from graphjit.symbolic.arrays import ARRAYS
from graphjit.symbolic.choices import CHOICES
from graphjit.symbolic.expression import DEEP, Call, Product, Sum
from graphjit.symbolic.numbers import Number
from graphjit.symbolic.pool import Pool

# Names and numbers that may be written again: of one part, and of a sum or product in all places,
# which may yet combine with its surroundings.
SHORT, LONG = 4, {Call: 0, Product: 16, Sum: 32}

# ``rule(translation, node, *operands)``; None for a plain call of the operation.
Rule = Callable[..., int | None]
RULES: dict[str, Rule] = {**ALGEBRA, **CHOICES, **ARRAYS}


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
                self.place.append(self.pool.atom(inputs[node.id], node.aval.shape))
            elif self.continued(node):
                self.place.append(LATER)
            else:
                self.place.append(self.named(node, self.translated(node)))

    def continued(self, node: Node) -> bool:
        """Whether a sum is but the beginning of another, which is then made in one go."""
        users = self.graph.users[node.id]
        return (
            node.op in SIGNS
            and node.aval.dtype.kind != "b"
            and len(users) == 1
            and self.graph.nodes[users[0]].op in SIGNS
            and self.graph.nodes[users[0]].inputs.count(node.id) == 1
            and node.id not in self.graph.outputs
        )

    def named(self, node: Node, found: int) -> int:
        """The expression, by a name if it is long and used again, or deeply nested."""
        uses = len(self.graph.users[node.id]) + self.graph.outputs.count(node.id)
        size, kind = self.pool.sizes[found], type(self.pool.items[found])
        long = uses > 1 and size > SHORT and uses * size > LONG.get(kind, 0)
        return self.pool.let(found) if long or self.pool.depths[found] > DEEP else found

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
            plain = simple(node, [self.pool.value(i) for i in operands])
            if plain is not None:
                return self.pool.number(plain)
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


def simple(node: Node, numbers: Sequence[Number | None]) -> Fraction | None:
    """What a function is at 0 or 1, where that is -1, 0, 1/2 or 1: cos 0, log 1, σ(0)."""
    if not node.aval.inexact or any(n not in (0, 1) for n in numbers):
        return None
    with np.errstate(all="ignore"):
        value = TABLE[node.op].numpy(*(float(n) for n in numbers if n is not None), **node.params)
    return Fraction(float(value)) if value in (-1, 0, 0.5, 1) else None
