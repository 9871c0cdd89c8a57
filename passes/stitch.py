"""Sums of embeddings: each piece of the result is computed once, where it lies."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Hashable
from functools import reduce
from typing import Any

from graphjit.ir.aval import Aval
from graphjit.ir.graph import Graph, Node
from graphjit.passes.boxes import Box, Tree, apart, lengths, shifted, sweep, within
from graphjit.passes.rewrite import Rebuild, reached
from graphjit.passes.seams import Seams, Signed, region, unit
from graphjit.records import NamedTuple

Part = tuple[int, Box]  # a node of the old graph, and a box of its elements


class Terms(NamedTuple):
    """What is added to make a value: values everywhere, and embeddings by intervals of axis 0."""

    everywhere: list[Signed]
    starts: list[int]
    over: list[list[Signed]]


def stitch(graph: Graph) -> Graph:
    """Make sums of embeddings, the adjoints of overlapping slices, of pieces side by side.

    A piece is where the same embeddings are: it needs no zeros and no addition in memory, and its
    loop writes it in its place. What is cheap is computed anew from slices of what is stored, so
    that the gradient of ``sum((x[1:] - x[:-1]) ** 2)`` is one loop over x, and its ends; the sum
    itself goes along in the same loop. Safe, because pieces of maps are maps of pieces; a zero
    that is not added may change the sign of a zero, and a sum in parts rounds differently.

    Before: ``%3 = embed(%1, start=0)``, ``%4 = embed(%2, start=1)``, ``%5 = add(%3, %4)``; after:
    ``%5 = concatenate(%1[:1], %1[1:] + %2[:-1], %2[-1:])``.
    """
    if not graph.count("embed"):
        return graph
    seams = Seams(graph)
    if not seams.roots and not seams.sums:
        return graph
    return reached(Stitcher(graph, seams).run())


class Stitcher(Rebuild):
    """Rebuilds a graph with some nodes made of pieces; of the others what is needed whole."""

    def __init__(self, graph: Graph, seams: Seams) -> None:
        super().__init__(graph)
        self.seams = seams
        self.pieces: dict[Part, int | None] = {}  # None is zeros
        self.known: dict[Hashable, int] = {}
        self.sums: dict[int, Terms] = {}

    def run(self) -> Graph:
        """The graph."""
        for node in self.graph.nodes:
            if node.id in self.seams.roots:
                self.place[node.id] = self.joined(node, self.seams.roots[node.id])
            elif node.id in self.seams.sums:
                self.place[node.id] = self.summed(node, self.seams.sums[node.id])
            elif node.id in self.seams.whole:
                self.copy(node)
        return self.finish()

    def joined(self, node: Node, tree: Tree, axis: int = 0) -> int:
        """A value from its pieces."""
        if not isinstance(tree, list):
            return self.piece(node.id, tree)
        parts = [self.joined(node, part, axis + 1) for part in tree]
        self.origin = node.origin
        return parts[0] if len(parts) == 1 else self.builder.emit("concatenate", *parts, axis=axis)

    def summed(self, node: Node, boxes: list[Box]) -> int:
        """The sum of a value from those of its pieces."""
        pieces = [self.piece(node.inputs[0], box) for box in boxes]
        self.origin, emit = node.origin, self.builder.emit
        sums = [
            emit("sum", i, axes=node.params["axes"])
            if self.builder.nodes[i].aval.size > 1
            else emit("reshape", i, shape=())
            for i in pieces
        ]
        return reduce(lambda a, b: emit("add", a, b), sums)

    def piece(self, ident: int, box: Box) -> int:
        """A piece of a value of the old graph."""
        root, stack = (ident, box), [(ident, box)]
        while stack:
            part = stack[-1]
            computed = part == root or self.seams.pushed(part[0])
            needs = self.needs(part) if computed and part not in self.pieces else []
            missing = [p for p, _ in needs if p not in self.pieces]
            if missing:
                stack += missing
                continue
            stack.pop()
            if part not in self.pieces:
                self.pieces[part] = self.made(part, needs) if computed else self.read(*part)
        found = self.pieces[root]
        return self.zeros(*root) if found is None else found

    def needs(self, part: Part) -> list[tuple[Part, int]]:
        """The pieces that a piece is computed from, with their signs."""
        (ident, box), node = part, self.graph.nodes[part[0]]
        if self.seams.gathers(ident):
            return self.terms(ident, box)
        if node.op == "slice":
            box = shifted(box, tuple(-s for s in node.params["start"]))
        elif node.op == "embed":
            if not within(box, region(self.graph, node)):
                return []
            box = shifted(box, node.params["start"])
        return [((i, box), 1) for i in node.inputs]

    def terms(self, ident: int, box: Box) -> list[tuple[Part, int]]:
        """The pieces to add, without those that are zero everywhere."""
        if ident not in self.sums:
            self.sums[ident] = self.gathered(ident)
        terms = self.sums[ident]
        here = list(terms.everywhere)
        if terms.over and box:
            over = terms.over[bisect(terms.starts, box[0][0]) - 1]
            nodes = self.graph.nodes
            here += [(i, s) for i, s in over if within(box, region(self.graph, nodes[i]))]
        return [((i, box), sign) for i, sign in here]

    def gathered(self, ident: int) -> Terms:
        """The terms of a sum, its embeddings by where they lie."""
        everywhere, ends = list[Signed](), list[tuple[int, int, Signed]]()
        for term in self.seams.terms(ident):
            node = self.graph.nodes[term[0]]
            if node.op == "embed" and unit(node) and self.seams.pushed(node.id) and node.aval.ndim:
                ends.append((*region(self.graph, node)[0], term))
            else:
                everywhere.append(term)
        shape = self.graph.nodes[ident].aval.shape
        found = sweep(shape[0], ends) if ends else []
        return Terms(everywhere, [lo for lo, _, _ in found], [over for _, _, over in found])

    def made(self, part: Part, needs: list[tuple[Part, int]]) -> int | None:
        """A piece, from those it needs; None where it is zero."""
        (ident, box), node = part, self.graph.nodes[part[0]]
        self.origin = node.origin
        if ident in self.sums:
            found = [(self.pieces[p], s) for p, s in needs]
            return self.added([(i, s) for i, s in found if i is not None])
        if not needs:
            return self.read(ident, box)
        if node.op in ("slice", "embed"):
            return self.pieces[needs[0][0]]
        operands = [self.zeros(*p) if self.pieces[p] is None else self.pieces[p] for p, _ in needs]
        return self.put_piece(node, box, operands)

    def added(self, terms: list[Signed]) -> int | None:
        """The sum of nodes with signs."""
        emit, total = self.builder.emit, None
        for ident, sign in sorted(terms, key=lambda term: -term[1]):
            if total is None:
                total = ident if sign > 0 else emit("negative", ident)
            else:
                total = emit("add" if sign > 0 else "subtract", total, ident)
        return total

    def put_piece(self, node: Node, box: Box, operands: list[Any]) -> int:
        """A map of pieces."""
        aval = Aval(lengths(box), node.aval.dtype)
        return self.builder.add(node.op, tuple(operands), aval, node.params)

    def zeros(self, ident: int, box: Box) -> int:
        """A piece that no embedding reaches."""
        zero = self.builder.constant(0, self.graph.nodes[ident].aval.dtype)
        return self.once("broadcast", zero, shape=lengths(box))

    def read(self, ident: int, box: Box) -> int | None:
        """A piece of what is stored; None for the zeros around what is embedded."""
        node = self.graph.nodes[ident]
        if node.op == "embed" and unit(node) and apart(box, region(self.graph, node)):
            return None
        if node.op == "broadcast" and not self.graph.nodes[node.inputs[0]].aval.shape:
            return self.once("broadcast", self.place[node.inputs[0]], shape=lengths(box))
        start, steps = tuple(lo for lo, _ in box), (1,) * len(box)
        if node.op == "slice":
            pairs = zip(node.params["start"], start, node.params["step"], strict=True)
            start, steps = tuple(a + b * s for a, b, s in pairs), node.params["step"]
            ident = node.inputs[0]
        if lengths(box) == self.graph.nodes[ident].aval.shape and set(steps) <= {1}:
            return self.place[ident]
        return self.once("slice", self.place[ident], start=start, step=steps, sizes=lengths(box))

    def once(self, op: str, operand: int, **params: Any) -> int:
        """A layout of a value; the same one twice is one node."""
        key = (op, operand, *params.values())
        if key not in self.known:
            self.known[key] = self.builder.emit(op, operand, **params)
        return self.known[key]
