"""Batching: a function of one example becomes a function of many at once (vmap)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from graphjit.errors import MissingRule, ShapeError
from graphjit.ir.builder import Builder
from graphjit.ir.graph import Graph, Node
from graphjit.ir.primitive import TABLE
from graphjit.ir.table.contract import terms
from graphjit.ir.table.convolve import batched
from graphjit.passes.control_batch import BATCH
from graphjit.passes.custom_batch import CUSTOM_BATCH

LETTERS = "zyxwvutsrqponmlkjihgfedcbaZYXWVUTSRQPONMLKJIHGFEDCBA"


def batch(graph: Graph, batched: Sequence[int], size: int, single: Sequence[int] = ()) -> Graph:
    """The graph with a new first axis on some inputs and on every output.

    A node none of whose operands is batched is copied as it is and computed once. Each other
    operation takes the new axis in its own way: maps broadcast over it, reductions count their
    axes from one further on, contractions carry one more letter.

    Before: ``%1: f64[3] = sin(%0)``; after: ``%1: f64[8,3] = sin(%0)``, for a size of 8.

    Args:
        graph: Any graph.
        batched: Positions in ``graph.inputs`` of those that get the new axis.
        size: Its length.
        single: Positions in ``graph.outputs`` of those that do not get it.

    Returns:
        A graph with as many inputs and outputs; outputs that depend on no batched input are
        repeated along the new axis.

    Raises:
        ShapeError: an output of ``single`` depends on a batched input.
        MissingRule: an operation cannot be batched.
    """
    return Batching(graph, size).run(batched, single)


class Batching:
    """One sweep: for each node its place in the new graph, and whether it has the new axis."""

    def __init__(self, graph: Graph, size: int) -> None:
        self.graph, self.size = graph, size
        self.builder = Builder()
        self.place: dict[int, int] = {}
        self.wide: set[int] = set()
        self.items: dict[int, dict[int, tuple[int, bool]]] = {}

    def run(self, batched: Sequence[int], single: Sequence[int] = ()) -> Graph:
        """The batched graph."""
        for position, ident in enumerate(self.graph.inputs):
            node = self.graph.nodes[ident]
            aval = node.aval
            if position in batched:
                aval = type(aval)((self.size, *aval.shape), aval.dtype)
                self.wide.add(ident)
            self.place[ident] = self.builder.input(aval, node.origin)
        for node in self.graph.nodes:
            if node.op == "item" and node.inputs[0] in self.items:
                self.place[node.id], wide = self.items[node.inputs[0]][node.params["index"]]
                self.wide |= {node.id} if wide else set()
            elif node.results and self.wide.intersection(node.inputs):
                self.control(node)
            elif node.id not in self.place:
                self.place[node.id] = self.visit(node)
        outputs = enumerate(self.graph.outputs)
        return self.builder.graph(
            [self.unwidened(i) if at in single else self.widened(i) for at, i in outputs]
        )

    def control(self, node: Node) -> None:
        """Control flow: each of its results has a place of its own, with the axis or without."""
        rule = BATCH.get(node.op) or CUSTOM_BATCH.get(node.op)
        if rule is None:
            raise MissingRule(f"{node.op} has no batching rule", origin=node.origin)
        self.builder.origin = lambda: node.origin
        self.items[node.id] = rule(self, node)

    def visit(self, node: Node) -> int:
        """Copy the node, in its batched form where an operand is batched."""
        inputs = tuple(self.place[i] for i in node.inputs)
        if not self.wide.intersection(node.inputs):
            return self.builder.copy(node, inputs)
        self.wide.add(node.id)
        rule = RULES.get(node.op) or KINDS.get(TABLE[node.op].kind)
        if rule is None:
            raise MissingRule(f"{node.op} has no batching rule", origin=node.origin)
        self.builder.origin = lambda: node.origin
        return rule(self, node)

    def unwidened(self, ident: int) -> int:
        """A value that is the same for all examples."""
        if ident in self.wide:
            node = self.graph.nodes[ident]
            fact = "a result without a batch axis depends on an argument that has one"
            hint = "Give it an axis in out_axes, or reduce over the examples outside vmap."
            raise ShapeError(fact, origin=node.origin, operands=(node.aval,), hint=hint)
        return self.place[ident]

    def widened(self, ident: int) -> int:
        """A value with the new axis: as it is, or repeated along it."""
        place = self.place[ident]
        if ident in self.wide:
            return place
        return self.builder.broadcast_to(place, (self.size, *self.graph.nodes[ident].aval.shape))

    def emit(self, op: str, *inputs: int, **params: Any) -> int:
        """Append a node to the batched graph."""
        return self.builder.emit(op, *inputs, **params)


def batch_map(b: Batching, node: Node) -> int:
    """Operands without the axis broadcast against those with it."""
    return b.emit(node.op, *(b.place[i] for i in node.inputs), **node.params)


def batch_axes(b: Batching, node: Node) -> int:
    """Reductions and scans: their axes are one further on."""
    params = dict(node.params)
    if "axes" in params:
        params["axes"] = tuple(a + 1 for a in params["axes"])
    if "axis" in params:
        params["axis"] += 1
    return b.emit(node.op, *(b.widened(i) for i in node.inputs), **params)


def batch_broadcast(b: Batching, node: Node) -> int:
    """Axes that the broadcast adds in front come after the new one."""
    (operand,) = node.inputs
    shape, own = node.params["shape"], b.graph.nodes[operand].aval.shape
    padded = (b.size, *(1,) * (len(shape) - len(own)), *own)
    place = b.place[operand]
    if len(padded) != len(own) + 1:
        place = b.emit("reshape", place, shape=padded)
    return b.builder.broadcast_to(place, (b.size, *shape))


def batch_hold(b: Batching, node: Node) -> int:
    """The value with the axis, held as before."""
    value, until = node.inputs
    return b.emit("hold", b.widened(value), b.place[until])


def batch_layout(b: Batching, node: Node) -> int:
    """The other layouts leave the new axis where it is."""
    params = dict(node.params)
    front: dict[str, int] = {"shape": b.size, "sizes": b.size, "start": 0, "step": 1}
    for name, value in front.items():
        if name in params:
            params[name] = (value, *params[name])
    if "axes" in params:
        params["axes"] = (0, *(a + 1 for a in params["axes"]))
    return b.emit(node.op, b.place[node.inputs[0]], **params)


def batch_contract(b: Batching, node: Node) -> int:
    """One more letter, on the operands that have the axis and on the result."""
    first, second, result = terms(node.params["spec"])
    letter = next(c for c in LETTERS if c not in node.params["spec"])
    left, right = (letter * (i in b.wide) for i in node.inputs)
    spec = f"{left}{first},{right}{second}->{letter}{result}"
    return b.emit("contract", *(b.place[i] for i in node.inputs), spec=spec)


def batch_convolve(b: Batching, node: Node) -> int:
    """As a contraction: one more letter that no window moves along."""
    letter = next(c for c in LETTERS if c.islower() and c not in node.params["spec"])
    wide = (node.inputs[0] in b.wide, node.inputs[1] in b.wide)
    params = {**node.params, "spec": batched(node.params["spec"], node.params["of"], wide, letter)}
    return b.emit("convolve", *(b.place[i] for i in node.inputs), **params)


def batch_gather(b: Batching, node: Node) -> int:
    """Index the new axis too where both are batched; else it passes through."""
    source, *index = node.inputs
    axes = node.params["axes"]
    if not b.wide.intersection(index):
        after = tuple(a + 1 for a in axes)
        found = b.emit("gather", b.place[source], *(b.place[i] for i in index), axes=after)
        return moved_first(b, found, b.graph.nodes[index[0]].aval.ndim)
    wide = [b.widened(i) for i in index]
    if source not in b.wide:
        return b.emit("gather", b.place[source], *wide, axes=axes)
    after = (0, *(a + 1 for a in axes))
    return b.emit("gather", b.place[source], example(b, wide[0]), *wide, axes=after)


def batch_scatter(b: Batching, node: Node) -> int:
    """The adjoint of the gather: each example adds into its own array."""
    updates, *index = node.inputs
    shape = (b.size, *node.params["shape"])
    after = tuple(a + 1 for a in node.params["axes"])
    wide = [b.widened(i) for i in index]
    return b.emit(
        "scatter_add", b.widened(updates), example(b, wide[0]), *wide, axes=(0, *after), shape=shape
    )


def example(b: Batching, like: int) -> int:
    """The number of the example, in the shape of a batched index."""
    aval = b.builder.nodes[like].aval
    return b.emit("iota", shape=aval.shape, axis=0, dtype=aval.dtype)


def moved_first(b: Batching, place: int, axis: int) -> int:
    """The value with one axis moved to the front."""
    if axis == 0:
        return place
    ndim = b.builder.nodes[place].aval.ndim
    order = (axis, *(a for a in range(ndim) if a != axis))
    return b.emit("transpose", place, axes=order)


KINDS: dict[str, Callable[[Batching, Node], int]] = {
    "map": batch_map,
    "reduce": batch_axes,
    "running": batch_axes,
    "layout": batch_layout,
    "contract": batch_contract,
}
RULES: dict[str, Callable[[Batching, Node], int]] = {
    "broadcast": batch_broadcast,
    "concatenate": batch_axes,
    "convolve": batch_convolve,
    "hold": batch_hold,
    "gather": batch_gather,
    "scatter_add": batch_scatter,
}
