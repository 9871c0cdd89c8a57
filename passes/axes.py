"""Which axes of a graph's values walk together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import accumulate

from graphjit.ir.graph import Graph, Node
from graphjit.ir.primitive import TABLE
from graphjit.ir.table.contract import terms
from graphjit.passes.group import LOOPED_REDUCTIONS

Pair = tuple[tuple[int, int], tuple[int, int]]  # two axes, each of a node


class Axes:
    """The axes of all values in classes: those of a class have one length and one meaning.

    An elementwise operation, a reduction, a product and a broadcast say which axes of operand and
    result are the same; a gather, a slice or a true reshape says nothing.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.starts = list(accumulate((n.aval.ndim for n in graph.nodes), initial=0))
        self.parents = list(range(self.starts[-1]))
        for node in graph.nodes:
            for (a, i), (b, j) in shared(graph, node):
                one, two = self.find(self.starts[a] + i), self.find(self.starts[b] + j)
                self.parents[max(one, two)] = min(one, two)

    def find(self, axis: int) -> int:
        """The first axis of the class."""
        while self.parents[axis] != axis:
            self.parents[axis] = axis = self.parents[self.parents[axis]]
        return axis

    def of(self, ident: int) -> tuple[int, ...]:
        """The class of each axis of a node."""
        return tuple(self.find(a) for a in range(self.starts[ident], self.starts[ident + 1]))


def shared(graph: Graph, node: Node) -> Iterable[Pair]:
    """The pairs of equal axes of a node and its operands."""
    if node.op == "contract":
        return of_product(node)
    if not node.inputs or node.results:
        return ()
    every = range(node.aval.ndim)
    if TABLE[node.op].kind == "map":
        return [pair for operand in node.inputs for pair in paired(node, every, operand, every)]
    operand = node.inputs[0]
    shape = graph.nodes[operand].aval.shape
    if node.op == "transpose":
        return paired(node, every, operand, node.params["axes"])
    if node.op in LOOPED_REDUCTIONS:
        kept = [a for a in range(len(shape)) if a not in node.params["axes"]]
        return paired(node, every, operand, kept)
    return of_repeated(node, operand, shape) if node.op in ("broadcast", "reshape") else ()


def of_repeated(node: Node, operand: int, shape: tuple[int, ...]) -> Iterable[Pair]:
    """Axes of a broadcast, or of a reshape that only adds or drops axes of length 1."""
    if node.op == "broadcast":
        lead = node.aval.ndim - len(shape)
        kept = [a for a, n in enumerate(shape) if n == node.aval.shape[a + lead]]
        return paired(node, [a + lead for a in kept], operand, kept)
    new, old = real(node.aval.shape), real(shape)
    same = [node.aval.shape[a] for a in new] == [shape[a] for a in old]
    return paired(node, new, operand, old) if same else ()


def paired(node: Node, axes: Iterable[int], operand: int, others: Iterable[int]) -> Iterator[Pair]:
    """Axes of a node with axes of an operand, one by one."""
    for a, b in zip(axes, others, strict=True):
        yield (node.id, a), (operand, b)


def of_product(node: Node) -> Iterator[Pair]:
    """Axes with one letter."""
    known: dict[str, tuple[int, int]] = {}
    first, second, result = terms(node.params["spec"])
    for ident, letters in zip((*node.inputs, node.id), (first, second, result), strict=True):
        for axis, letter in enumerate(letters):
            yield known.setdefault(letter, (ident, axis)), (ident, axis)


def real(shape: tuple[int, ...]) -> list[int]:
    """The axes that are longer than 1."""
    return [a for a, n in enumerate(shape) if n != 1]
