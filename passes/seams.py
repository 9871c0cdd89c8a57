"""Where a sum of embeddings falls into pieces, and what the pieces are computed from.

The adjoint of a slice is an embedding: the slice's cotangent in the midst of zeros. What several
slices of an array give is added, so that ``x[1:] - x[:-1]`` makes a sum of two embeddings. Cut
where one of them begins or ends, the result falls into boxes, and in each box the sum is an
expression without zeros.
"""

from __future__ import annotations

import math

from graphjit.ir.graph import Graph, Node
from graphjit.ir.primitive import TABLE
from graphjit.passes.boxes import Box, Place, Tree, box_at, boxes, extent, shifted, split, within
from graphjit.records import NamedTuple

Signed = tuple[int, int]  # a node, and 1 or -1

# What an operation costs by the element, in vectors of additions; a load or a store from beyond the
# caches is about 8. What is read in several places is computed in each if that is at most BUDGET,
# else it is stored.
PRICES = dict.fromkeys(
    ("add", "subtract", "multiply", "square", "negative", "positive", "absolute", "fabs", "where",
     "sign", "maximum", "minimum", "cast", "less", "less_equal", "greater", "greater_equal",
     "equal", "not_equal", "logical_and", "logical_or", "logical_not", "logical_xor", "copysign"),
    1,
) | {"strong_multiply": 8, "divide": 24, "reciprocal": 24, "sqrt": 24}  # fmt: skip
LINEAR = frozenset({"add", "subtract", "negative"})
DEAR = 100
BUDGET = 12
WALK = 4000  # nodes that are looked at for one sum
LARGE = 4096  # elements from which on what is saved is worth many loops more
ENTIRE = 32  # pieces of a reduction


class Cone(NamedTuple):
    """What a value is computed from, as far as it is computed piece by piece.

    Attributes:
        inside: The nodes on the way, each with its place in the result.
        leaves: What is read from memory.
        regions: For each embedding on the way the box that it fills, in the result's indices.
    """

    inside: dict[tuple[int, Place], None]
    leaves: set[int]
    regions: dict[tuple[int, Place], Box]


class Seams:
    """Which nodes to make of pieces, and of which.

    Attributes:
        roots: For each such node the tree of its boxes.
        whole: All nodes that are needed whole, these among them.
        sums: For each sum over all axes that is to be a sum of sums its operand's boxes.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph, self.outputs = graph, frozenset(graph.outputs)
        self.stored: set[int] = set()
        self.price: list[int] = []
        self.holds: list[bool] = []
        self.alone: list[bool] = []
        self.roots: dict[int, Tree] = {}
        self.sums: dict[int, list[Box]] = {}
        self.cuts: dict[Place, tuple[int, list[Box]]] = {}
        self.shared: set[int] = set()
        for node in graph.nodes:
            self._judge(node)
        self.whole = set(graph.outputs)
        self._choose()

    def pushed(self, ident: int) -> bool:
        """Whether a piece of this value is computed from pieces of its operands."""
        node = self.graph.nodes[ident]
        return ident not in self.stored and (TABLE[node.op].kind == "map" or unit(node))

    def gathers(self, ident: int) -> bool:
        """Whether this value is added up anew, in another order.

        No other sum is, nor one of the user's: who compares a value with its maximum needs the bits
        that the maximum was taken of.
        """
        return self.graph.nodes[ident].op in LINEAR and self.holds[ident]

    # -- what each node costs -----------------------------------------------------------------

    def _judge(self, node: Node) -> None:
        """Price, whether an embedding is below, and whether nothing has to be stored for it."""
        pushes, kind = unit(node), TABLE[node.op].kind
        price, alone, holds = 0, True, False
        if pushes or kind == "map":
            price = sum(self.price[i] for i in set(node.inputs))
            price += 0 if pushes else PRICES.get(node.op, DEAR)
            alone = all(self.alone[i] for i in node.inputs)
            holds = any(self.holds[i] for i in node.inputs) and (pushes or adjoint(node))
            holds |= node.op == "embed"
        elif kind == "layout" and node.inputs:
            alone = all(self.alone[i] and not self.price[i] for i in node.inputs)
        several = len(self.graph.users[node.id]) > 1 or node.id in self.outputs
        if price > BUDGET and several:
            self.stored.add(node.inputs[0] if pushes else node.id)
            price, alone = 0, False
        self.price.append(price)
        self.alone.append(alone)
        self.holds.append(holds)

    # -- which to make of pieces --------------------------------------------------------------

    def _choose(self) -> None:
        """From the outputs on: what is needed whole is made of pieces, or needs others whole."""
        for node in reversed(self.graph.nodes):
            if node.id in self.whole:
                cone = self._cut(node)
                self.whole.update(cone.leaves if cone else node.inputs)

    def _cut(self, node: Node) -> Cone | None:
        """The cone of a node that is to be made of pieces, once the seams are noted."""
        if total(node):
            return self._cut_sum(node)
        if not self.holds[node.id] or node.aval.dtype.kind != "f" or not node.aval.size:
            return None
        cone = self.cone(node.id)
        tree = self._tree(node, cone) if cone else None
        if cone is None or tree is None:
            return None
        self.roots[node.id] = tree
        self._note(cone, list(boxes(tree)))
        return cone

    def _cut_sum(self, node: Node) -> Cone | None:
        """The same for a sum over all axes: where its operand is made of pieces, or goes along."""
        operand = self.graph.nodes[node.inputs[0]]
        if not operand.aval.size or not self.pushed(operand.id):
            return None
        found: list[Box] | None = None
        if self.holds[operand.id]:
            cone = self.cone(operand.id)
            tree = self._tree(operand, cone) if cone else None
            found = list(boxes(tree)) if tree is not None else None
        elif self.alone[operand.id] and operand.aval.shape in self.cuts:
            cone = self.cone(operand.id)
            alike = cone and not self.shared.isdisjoint(i for i, _ in cone.inside)
            found = self.cuts[operand.aval.shape][1] if alike else None
        else:
            return None
        if found is None or not 1 < len(found) <= ENTIRE:
            return None
        self.sums[node.id] = found
        return cone

    def cone(self, root: int) -> Cone | None:
        """What pieces of a value are computed from; None where that is too much to look at."""
        cone = Cone({}, set(), {})
        stack: list[tuple[int, Place]] = [(root, (0,) * self.graph.nodes[root].aval.ndim)]
        while stack:
            ident, at = stack.pop()
            if (ident, at) in cone.inside:
                continue
            if ident != root and not self.pushed(ident):
                cone.leaves.add(ident)
                continue
            if len(cone.inside) > WALK:
                return None
            cone.inside[ident, at] = None
            node = self.graph.nodes[ident]
            if node.op == "embed":
                at = tuple(a + s for a, s in zip(at, node.params["start"], strict=True))
                cone.regions[node.inputs[0], at] = box_at(
                    at, self.graph.nodes[node.inputs[0]].aval.shape
                )
            elif node.op == "slice":
                at = tuple(a - s for a, s in zip(at, node.params["start"], strict=True))
            stack += [(i, at) for i in node.inputs]
        return cone

    def _tree(self, node: Node, cone: Cone) -> Tree | None:
        """The boxes of a node, or None where one loop and a fill are no worse."""
        regions, size = list(cone.regions.values()), node.aval.size
        if not regions or (len(regions) == 1 and (size < LARGE or 2 * extent(regions[0]) < size)):
            return None
        tree = split(node.aval.shape, regions, 32 * len(regions))
        if tree is None:
            return None
        count = sum(1 for _ in boxes(tree))
        if size < LARGE and count > 2 * len(regions) + 1:
            return None
        walked = len(cone.inside) - 3 * len(self.terms(node.id))
        return tree if walked * count <= 4 * WALK else None

    def terms(self, root: int) -> list[Signed]:
        """What is added and subtracted to make a value, down to what several read."""
        found: list[Signed] = []
        stack = [(root, 1)]
        while stack:
            ident, sign = stack.pop()
            node = self.graph.nodes[ident]
            inner = ident == root or (len(self.graph.users[ident]) == 1 and self.pushed(ident))
            if not self.gathers(ident) or not inner or ident in self.outputs - {root}:
                found.append((ident, sign))
            elif node.op == "negative":
                stack.append((node.inputs[0], -sign))
            else:
                first, second = node.inputs
                stack.append((second, -sign if node.op == "subtract" else sign))
                stack.append((first, sign))
        return found

    def _note(self, cone: Cone, found: list[Box]) -> None:
        """Remember how the operands of the embeddings are cut: what else has their shape may be."""
        self.shared |= {i for i, _ in cone.inside}
        for (ident, at), region in cone.regions.items():
            shape, price = self.graph.nodes[ident].aval.shape, self.price[ident]
            inner = [shifted(b, at) for b in found if within(b, region)]
            covered = sum(map(extent, inner)) == math.prod(shape)
            if covered and (shape not in self.cuts or self.cuts[shape][0] < price):
                self.cuts[shape] = price, inner


def unit(node: Node) -> bool:
    """Whether the node is a slice or an embedding that takes neighbours for neighbours."""
    if node.op not in ("slice", "embed"):
        return False
    return all(s == 1 for s in node.params["step"])


def total(node: Node) -> bool:
    """Whether the node is a sum of floats over all axes."""
    return node.op == "sum" and not node.aval.shape and node.aval.dtype.kind == "f"


def adjoint(node: Node) -> bool:
    """Whether the node belongs to the backward pass."""
    return node.origin is not None and node.origin.adjoint


def region(graph: Graph, node: Node) -> Box:
    """The box that an embedding fills."""
    return box_at(node.params["start"], graph.nodes[node.inputs[0]].aval.shape)
