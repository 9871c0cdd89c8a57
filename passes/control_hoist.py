"""What a scan's step computes without its carry, before the loop."""

from __future__ import annotations

from collections.abc import Sequence

from graphjit.ir.dag import depends_on
from graphjit.ir.graph import Graph, Node
from graphjit.ir.primitive import TABLE
from graphjit.passes.batch import batch
from graphjit.passes.control_scan import Parts, Scan, given, held, swapped
from graphjit.passes.prune import prune
from graphjit.passes.recompute import CHEAP, VIEWS, multiplications, size, work
from graphjit.passes.rewrite import Rebuild

# What may run though the step did not ask for it: it cannot fail.
HARMLESS = frozenset({"map", "layout", "contract", "reduce", "running"})
SHARED = 8  # products summed for an element, from which on a product is worth its stack


def hoist(graph: Graph) -> Graph:
    """Compute before a scan what its step would compute each time, or from its slices alone.

    Two things leave the step: values of constants alone, which are then further constants; and
    products of a slice with a constant, such as a layer's input with its weights: all steps'
    products are one large product, and its parts are further slices.

    Safe, because such a value depends on no carry, so that it is there before the first step; what
    could fail stays inside. Cheap values of constants that are larger than what they are made of
    stay as well: reading them would cost more than making them again.

    Before: a step ``tanh(x @ w + h @ u)`` on slices ``x`` and a carry ``h``; after: ``xs @ w``,
    and a step ``tanh(z + h @ u)`` on slices ``z`` of it.
    """
    return swapped(graph, hoisted) if graph.count("scan") else graph


def hoisted(new: Rebuild, scan: Scan) -> Sequence[int] | None:
    """The results of the scan with less in its step, or None where all of it stays."""
    early = Early(scan)
    if held(new, scan):
        early.sliced.clear()
    if not scan.length or not (early.fixed or early.sliced):
        return None
    builder, own = new.builder, scan.parts(new.operands(scan.node))
    step, taken = scan.step, len(own.consts) + len(own.carry)
    wanted = prune(Graph(step.nodes, step.inputs, (*early.fixed, *early.sliced)))
    places = range(taken, taken + len(own.slices))
    graph = batch(wanted, places, scan.length, range(len(early.fixed)))
    place = builder.inline(graph, own.joined())
    found = [place[i] for i in graph.outputs]
    cut = len(early.fixed)
    operands = Parts((*own.consts, *found[:cut]), own.carry, (*own.slices, *found[cut:]))
    return scan.emitted(builder, operands, given(scan, early.fixed, early.sliced))


class Early:
    """What of a step can be computed before the loop.

    Attributes:
        fixed: Values of constants alone that the rest of the step reads.
        sliced: Products of slices and constants that it reads.
    """

    def __init__(self, scan: Scan) -> None:
        self.step, own = scan.step, scan.inputs
        self.carried = depends_on(self.step, own.carry)
        self.moving = depends_on(self.step, own.slices)
        self.ready = {*own.consts, *own.slices}  # what there is without a carry
        for node in self.step.nodes:
            if node.id not in self.carried and self.harmless(node):
                self.ready.add(node.id)
        self.reach = {n.id: n.aval.size for n in self.step.nodes if not n.inputs}
        found = self.frontier({n.id for n in self.step.nodes if self.worth(n)})
        self.fixed = [i for i in found if i not in self.moving]
        self.sliced = [i for i in found if i in self.moving]

    def harmless(self, node: Node) -> bool:
        """Whether a node can run early once its operands can."""
        kind = TABLE[node.op].kind
        simple = (kind in HARMLESS and not node.results) or node.op in ("constant", "iota")
        return simple and node.op != "hold" and self.ready.issuperset(node.inputs)

    def worth(self, node: Node) -> bool:
        """Whether a node is better computed before the loop."""
        if node.id not in self.ready or not node.inputs or node.op in VIEWS:
            return False
        if node.id in self.moving:
            return node.op == "contract" and self.joins(node)
        largest = max(self.reach.get(self.base(i), 0) for i in node.inputs)
        pays = node.aval.size <= largest or work(self.step, node.id) * CHEAP > size(node)
        self.reach[node.id] = node.aval.size if pays else largest
        return pays

    def joins(self, node: Node) -> bool:
        """Whether a slice's product with a constant is one of many that make a large one."""
        a, b = self.step.avals(node.inputs)
        one = self.moving.isdisjoint(node.inputs[:1]) != self.moving.isdisjoint(node.inputs[1:])
        return one and multiplications(node, a.size, b.size) >= SHARED * max(node.aval.size, 1)

    def base(self, ident: int) -> int:
        """The value that a view is of."""
        while self.step.nodes[ident].op in VIEWS:
            ident = self.step.nodes[ident].inputs[0]
        return ident

    def frontier(self, early: set[int]) -> list[int]:
        """Those of the early values that what stays in the step reads."""
        found, live = set[int](), set(self.step.outputs)
        for node in reversed(self.step.nodes):
            if node.id in live and node.id in early:
                found.add(node.id)
            elif node.id in live:
                live.update(node.inputs)
        return sorted(found)
