"""What the rules that differentiate control flow are given, and what they share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from graphjit.ir.aval import Aval
from graphjit.ir.builder import Builder
from graphjit.ir.graph import Graph, Node
from graphjit.ir.symbol import Symbol


class Reverse:
    """What the reverse rule of one node is given.

    Attributes:
        node: With its saved carries, if it is a scan.
        builder: Of the new graph.
        ident: The node's copy there.
        operands: Its operands there.
        cotangents: Those of its results that have one, by index.
        active: For each operand whether its cotangent is wanted.
        strong: Whether zeros win over infinities in the products inside.
        residuals: What the forward rule of a custom_vjp kept.
    """

    def __init__(
        self, node: Node, builder: Builder, ident: int, operands: Sequence[int],
        cotangents: Mapping[int, Symbol], active: Sequence[bool],
        *, strong: bool = False, residuals: Sequence[int] = (),
    ) -> None:  # fmt: skip
        self.node, self.builder, self.ident = node, builder, ident
        self.operands, self.cotangents, self.active = operands, cotangents, active
        self.strong, self.residuals = strong, residuals

    def cotangent(self, index: int) -> int:
        """That of a result, zeros where it has none."""
        if index in self.cotangents:
            return self.cotangents[index].id
        return zeros(self.builder, self.node.results[index])

    def shares(self, items: Sequence[int], places: Sequence[int]) -> list[Any]:
        """One share an operand: the items at these places, None elsewhere."""
        found = dict(zip(places, items, strict=True))
        return [
            Symbol(self.builder, found[i]) if i in found else None
            for i in range(len(self.operands))
        ]


def zeros(builder: Builder, aval: Aval) -> int:
    """Zeros of an aval."""
    return builder.broadcast_to(builder.constant(0, aval.dtype), aval.shape)


class Dual:
    """What the forward rule of one node is given: its operands, and their tangents or None.

    ``strong``: whether zeros win over infinities in the products inside.
    """

    def __init__(
        self, node: Node, builder: Builder, operands: Sequence[int], tangents: Sequence[int | None],
        *, strong: bool = False,
    ) -> None:  # fmt: skip
        self.node, self.builder, self.strong = node, builder, strong
        self.operands, self.tangents = operands, tangents

    def filled(self, index: int) -> int:
        """An operand's tangent, zeros where it has none."""
        known = self.tangents[index]
        return (
            zeros(self.builder, self.builder.nodes[self.operands[index]].aval)
            if known is None
            else known
        )


Both = tuple[list[int], dict[int, int]]  # the primal items, and the tangents by result


def split(items: list[int], results: Sequence[Aval]) -> Both:
    """Items of a node whose results are followed by the tangents of the float ones."""
    count = len(results)
    floats = [i for i, aval in enumerate(results) if aval.inexact]
    return items[:count], dict(zip(floats, items[count:], strict=True))


def widened(graph: Graph, more: Sequence[Aval]) -> Graph:
    """The graph with further inputs that it does not read."""
    builder = Builder()
    inputs = [builder.input(a) for a in graph.avals(graph.inputs)]
    for aval in more:
        builder.input(aval)
    place = builder.inline(graph, inputs)
    return builder.graph([place[i] for i in graph.outputs])
