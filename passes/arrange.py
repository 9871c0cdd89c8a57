"""In which order of axes arrays are stored, where products of many small matrices ask for one."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from graphjit.ir.graph import Graph, Node
from graphjit.ir.primitive import TABLE
from graphjit.ir.table.contract import terms
from graphjit.passes.axes import Axes, real
from graphjit.passes.group import FREE, LOOPED_REDUCTIONS, views
from graphjit.passes.rewrite import Rebuild, reached

LEAST = 4096  # elements of a product's largest operand: copies of less cost little
SHORT = 32  # an innermost axis of fewer elements leaves much of its vectors empty
LONG = 128  # and makes way for one of at least as many
REPEATED = 4  # readings from which on an array is worth turning first

Permutation = tuple[int, ...]


def arrange(graph: Graph) -> Graph:
    """Store what batched products read and write with the batch first, and a long axis last.

    ``einsum("kij,nkj->nki", L, x)`` multiplies k matrices whose rows lie k rows apart, so that
    each is somewhere else in memory; and loops over 10 elements of the last axis leave vectors
    half empty. So all maps, reductions and products over these axes are computed with axes in
    one order (batch, others, the longest if the last is short), and read through a transpose by
    whoever is not; what is read over and over in another order is turned once. Safe, because
    only the order of storage changes: each operation has the same operands.

    Before: ``%2 = sub(%0, %1): f64[1000,25,10]``; after: ``%2 = sub(%0ᵀ, %1ᵀ): f64[25,10,1000]``,
    read as ``transpose(%2)``.
    """
    products = [node for node in graph.nodes if node.op == "contract" and scattered(graph, node)]
    if not products:
        return graph
    orders = Orders(graph, products)
    if not orders.moved:
        return graph
    return reached(Arranger(graph, orders).run())


def scattered(graph: Graph, node: Node) -> bool:
    """Whether a product is of many matrices, and those of some array do not lie one by one."""
    avals = [*(graph.nodes[i].aval for i in node.inputs), node.aval]
    if max(aval.size for aval in avals) < LEAST:
        return False
    letters = [
        "".join(term[a] for a in real(aval.shape))
        for term, aval in zip(terms(node.params["spec"]), avals, strict=True)
    ]
    batch = set.intersection(*map(set, letters))
    return any(set(term[: len(batch)]) != batch for term in letters)


class Orders:
    """For each node that may be stored in another order the order of its axes.

    Attributes:
        moved: The permutations that change something, by node.
    """

    def __init__(self, graph: Graph, products: Sequence[Node]) -> None:
        self.graph, self.axes, self.views = graph, Axes(graph), views(graph)
        self.keys: dict[int, int] = {}
        for node in products:
            self.rank(node)
        self.moved = {n.id: p for n in graph.nodes if self.movable(n) and (p := self.order(n.id))}

    def rank(self, node: Node) -> None:
        """Say which classes of axes come first, and which last."""
        classes = dict[str, int]()
        lengths = dict[str, int]()
        letters = terms(node.params["spec"])
        for ident, term in zip((*node.inputs, node.id), letters, strict=True):
            classes.update(zip(term, self.axes.of(ident), strict=True))
            lengths.update(zip(term, self.graph.nodes[ident].aval.shape, strict=True))
        batch = set.intersection(*map(set, letters))
        self.keys.update({classes[c]: -1 for c in batch})
        rest = [c for c in classes if c not in batch]
        longest = max(rest, key=lengths.__getitem__, default="")
        short = any(lengths[term[-1]] < SHORT for term in letters if term)
        if longest and short and lengths[longest] >= LONG:
            self.keys.setdefault(classes[longest], 1)

    def order(self, ident: int) -> Permutation | None:
        """The axes of a node in the order of storage, where that is another than the present."""
        classes = self.axes.of(ident)
        present = range(len(classes))
        order = tuple(sorted(present, key=lambda a: self.keys.get(classes[a], 0)))
        return order if order != tuple(present) else None

    def movable(self, node: Node) -> bool:
        """Whether a node can be computed in another order, and all that reads it follows."""
        if node.params.keys() == {"spec"} and innermost(node, terms(node.params["spec"])[2]):
            return True  # which nothing can write at once: others may as well read it turned
        return computes(node) and node.id not in self.fixed

    @cached_property
    def fixed(self) -> set[int]:
        """What is stored as it is: outputs, and what others than loops and products read."""
        found = {self.views[i][0] for i in self.graph.outputs}
        for node in self.graph.nodes:
            if not computes(node) and (node.op not in FREE or self.reshapes(node)):
                found |= {self.views[i][0] for i in node.inputs}
        return found

    def reshapes(self, node: Node) -> bool:
        """Whether a node cuts axes or joins them."""
        if node.op != "reshape":
            return False
        shapes = node.aval.shape, self.graph.nodes[node.inputs[0]].aval.shape
        new, old = ([n for n in shape if n != 1] for shape in shapes)
        return new != old


def computes(node: Node) -> bool:
    """Whether a node is one whose operands may come in any order of axes."""
    plain = node.op == "contract" and node.params.keys() == {"spec"}
    return plain or TABLE[node.op].kind == "map" or node.op in LOOPED_REDUCTIONS


def innermost(node: Node, term: str) -> bool:
    """Whether the batch of a product is what lies side by side in one of its arrays."""
    return bool(term) and all(term[-1] in letters for letters in terms(node.params["spec"]))


def turns(node: Node) -> bool:
    """Whether some operand of a product has its batch innermost."""
    return any(innermost(node, term) for term in terms(node.params["spec"])[:2])


class Arranger(Rebuild):
    """Rebuilds a graph with its values stored in the orders that are asked for."""

    def __init__(self, graph: Graph, orders: Orders) -> None:
        super().__init__(graph)
        self.orders, self.moved = orders, orders.moved
        self.near: dict[int, int] = {}

    def run(self) -> Graph:
        """The graph."""
        for node in self.graph.nodes:
            if node.id in self.place:
                continue
            self.origin = node.origin
            if node.op == "contract" and (node.id in self.moved or turns(node)):
                self.product(node)
            elif node.op in LOOPED_REDUCTIONS and self.orders.order(node.inputs[0]):
                self.reduction(node)
            elif node.id in self.moved:
                operands = [self.turned(node, i, self.moved[node.id]) for i in node.inputs]
                self.keep(node, self.builder.emit(node.op, *operands, **node.params))
            else:
                self.copy(node)
        return self.finish()

    def keep(self, node: Node, ident: int) -> None:
        """A node that is computed in its own order: the others see it in the old one."""
        order = self.moved.get(node.id)
        self.place[node.id] = ident if order is None else self.transposed(ident, inverse(order))

    def product(self, node: Node) -> None:
        """A product with the result's axes in order; operands need only other letters."""
        first, second, result = terms(node.params["spec"])
        order = self.moved.get(node.id) or tuple(range(len(result)))
        operands = [
            self.closer(i) if innermost(node, t) else self.place[i]
            for i, t in zip(node.inputs, (first, second), strict=True)
        ]
        spec = f"{first},{second}->{''.join(result[a] for a in order)}"
        params = {**node.params, "spec": spec}
        self.keep(node, self.builder.emit("contract", *operands, **params))

    def reduction(self, node: Node) -> None:
        """A reduction over the operand in its own order."""
        operand = node.inputs[0]
        order = self.orders.order(operand) or ()
        axes = tuple(at for at, a in enumerate(order) if a in node.params["axes"])
        source = self.turned(node, operand, order)
        ident = self.builder.emit(node.op, source, **{**node.params, "axes": axes})
        kept = [a for a in order if a not in node.params["axes"]]
        own = tuple(sorted(kept).index(a) for a in kept)
        self.place[node.id] = self.transposed(ident, inverse(own))

    def turned(self, node: Node, ident: int, order: Permutation) -> int:
        """An operand with its axes in another order; what is read repeatedly is stored so first."""
        base = self.graph.nodes[self.orders.views[ident][0]]
        repeated = node.aval.size >= REPEATED * base.aval.size
        return self.transposed(self.closer(ident) if repeated else self.place[ident], order)

    def closer(self, ident: int) -> int:
        """A view of what is stored in its own order, seen in the old one."""
        chain, at = list[Node](), ident
        while at not in self.near and at in self.free:
            chain.append(self.graph.nodes[at])
            at = chain[-1].inputs[0]
        if at not in self.near:
            self.near[at] = self.stored(at)
        for node in reversed(chain):
            self.near[node.id] = self.put(node, (self.near[node.inputs[0]], *self.held(node)))
        return self.near[ident]

    def held(self, node: Node) -> tuple[int, ...]:
        """What else a layout waits for."""
        return tuple(self.place[i] for i in node.inputs[1:])

    @cached_property
    def free(self) -> set[int]:
        """The layouts that are read through."""
        nodes, seen = self.graph.nodes, self.orders.views
        return {n.id for n in nodes if n.op in FREE and n.inputs and seen[n.id][0] != n.id}

    def stored(self, ident: int) -> int:
        """A copy in order of what is not stored in order; else what is there."""
        node, order = self.graph.nodes[ident], self.orders.order(ident)
        small = node.op in ("constant", "iota") or node.aval.dtype.kind != "f"
        if order is None or small or ident in self.moved or len(real(node.aval.shape)) < 2:
            return self.place[ident]
        copy = self.builder.emit("positive", self.transposed(self.place[ident], order))
        return self.transposed(copy, inverse(order))

    def transposed(self, ident: int, axes: Permutation) -> int:
        """A view with the axes in another order; one after another are one."""
        node = self.builder.nodes[ident]
        if node.op == "transpose":
            axes = tuple(node.params["axes"][a] for a in axes)
            ident = node.inputs[0]
        if axes == tuple(range(len(axes))):
            return ident
        return self.builder.emit("transpose", ident, axes=axes)


def inverse(order: Permutation) -> Permutation:
    """The permutation that undoes another."""
    return tuple(order.index(a) for a in range(len(order)))
