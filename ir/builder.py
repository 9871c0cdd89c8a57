"""The Builder: the only maker of graphs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from graphjit.errors import ShapeError
from graphjit.ir.aval import Aval, DType, aval_of
from graphjit.ir.graph import Graph, Node, Origin
from graphjit.ir.primitive import ROWS, load


def no_origin() -> Origin | None:
    """The origin of nodes that come from no user's line."""
    return None


class Builder:
    """Collects nodes. ``emit`` is the one way to add an operation.

    Broadcasts and casts are inserted here, so that no rule ever mentions them.

    Attributes:
        origin: Called for each node without an origin of its own.
        captured: Concrete arrays (or outer symbols) met while tracing, in the order of their
            hidden inputs; the objects themselves are held, so later contents are seen.
        closed: Set when the trace is over; no node can be added then.
    """

    def __init__(self, origin: Callable[[], Origin | None] = no_origin, level: int = 0) -> None:
        load()
        self.origin = origin
        self.level = level
        self.nodes: list[Node] = []
        self.inputs: list[int] = []
        self.captured: list[Any] = []
        self.closed = False
        self._hidden: dict[int, int] = {}
        self._constants: dict[Any, int] = {}
        self._arrays: dict[int, tuple[Any, int]] = {}  # those of constants, by identity

    def add(
        self,
        op: str,
        inputs: tuple[int, ...],
        aval: Aval,
        params: Mapping[str, Any],
        origin: Origin | None = None,
        results: tuple[Aval, ...] = (),
    ) -> int:
        """Add an operation whose operands fit and whose aval is known."""
        ident = len(self.nodes)
        origin = origin or self.origin()
        self.nodes.append(Node(ident, op, inputs, aval, params, origin, results))
        return ident

    def input(self, aval: Aval, origin: Origin | None = None) -> int:
        """A new graph input."""
        ident = self.add("input", (), aval, {}, origin)
        self.inputs.append(ident)
        return ident

    def capture(self, value: Any, aval: Aval) -> int:
        """The hidden input that stands for a concrete array; the same array, the same input."""
        if id(value) not in self._hidden:
            self._hidden[id(value)] = self.add("input", (), aval, {})
            self.captured.append(value)
        return self._hidden[id(value)]

    @property
    def hidden(self) -> tuple[int, ...]:
        """The ids of the hidden inputs, in the order of ``captured``."""
        return tuple(self._hidden.values())

    def constant(self, value: Any, dtype: DType | None = None) -> int:
        """A constant node; equal constants share one."""
        return self._constant(np.array(value, dtype=dtype))

    def _constant(self, array: Any) -> int:
        """The node of an array that nobody changes from here on."""
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            array.setflags(write=False)
            self._constants[key] = self.add("constant", (), aval_of(array), {"value": array})
        return self._constants[key]

    def emit(self, op: str, *inputs: int, origin: Origin | None = None, **params: Any) -> int:
        """Add an operation on nodes and return its id.

        Raises:
            ShapeError: the operands of a map cannot be broadcast together.
        """
        primitive = ROWS[op]
        if primitive.kind == "map":
            inputs = self.broadcast(*inputs)
        aval = primitive.aval(*[self.nodes[i].aval for i in inputs], **params)
        return self.add(op, inputs, aval, params, origin)

    def emit_call(self, op: str, inputs: Sequence[int], body: Graph, **params: Any) -> list[int]:
        """Add a node that carries a body graph, and one ``item`` for each of its results."""
        results = body.avals(body.outputs)
        return self._items(op, tuple(inputs), results, {"body": body, **params})

    def emit_control(self, op: str, inputs: Sequence[int], **params: Any) -> list[int]:
        """Add control flow, and one ``item`` for each of the results that its row gives it."""
        results: Any = ROWS[op].aval(*(self.nodes[i].aval for i in inputs), **params)
        return self._items(op, tuple(inputs), results, params)

    def _items(
        self, op: str, inputs: tuple[int, ...], results: tuple[Aval, ...], params: dict[str, Any]
    ) -> list[int]:
        ident = self.add(op, inputs, results[0], params, None, results)
        return [self.item(ident, index) for index in range(len(results))]

    def item(self, ident: int, index: int) -> int:
        """One result of a node that has several."""
        node = self.nodes[ident]
        return self.add("item", (ident,), node.results[index], {"index": index}, node.origin)

    def broadcast(self, *inputs: int) -> tuple[int, ...]:
        """The operands, each broadcast to their common shape."""
        shapes = [self.nodes[i].aval.shape for i in inputs]
        if shapes.count(shapes[0]) == len(shapes):
            return inputs
        shape = broadcast_shapes(self, inputs)
        return tuple(self.broadcast_to(i, shape) for i in inputs)

    def broadcast_to(self, ident: int, shape: tuple[int, ...]) -> int:
        """The value broadcast to a shape that it fits."""
        if self.nodes[ident].aval.shape == shape:
            return ident
        return self.emit("broadcast", ident, shape=shape)

    def cast(self, ident: int, dtype: DType) -> int:
        """The value in another dtype; constants are converted at once."""
        node = self.nodes[ident]
        if node.aval.dtype == dtype:
            return ident
        if node.op == "constant":
            with np.errstate(all="ignore"):
                return self.constant(node.params["value"].astype(dtype))
        return self.emit("cast", ident, dtype=dtype)

    def copy(self, node: Node, inputs: tuple[int, ...], origin: Origin | None = None) -> int:
        """Add a node of another graph, on operands of this one."""
        if node.op == "constant":
            return self._shared(node.params["value"])
        origin = origin or node.origin
        if node.op == "input":
            return self.input(node.aval, origin)
        if node.id == len(self.nodes) and node.inputs == inputs and node.origin is origin:
            self.nodes.append(node)  # nodes never change, so that graphs can share them
            return node.id
        return self.add(node.op, inputs, node.aval, node.params, origin, node.results)

    def _shared(self, value: Any) -> int:
        """The node of a constant of another graph, found by identity from the second time on."""
        known = self._arrays.get(id(value))
        if known is None:
            known = self._arrays[id(value)] = (value, self._constant(value))
        return known[1]

    def inline(self, graph: Graph, inputs: Sequence[int]) -> list[int]:
        """Copy a whole graph onto the given operands; the ids of all its nodes here."""
        place = dict(zip(graph.inputs, inputs, strict=True))
        for node in graph.nodes:
            if node.id not in place:
                place[node.id] = self.copy(node, tuple(place[i] for i in node.inputs))
        return [place[i] for i in range(len(graph.nodes))]

    def graph(self, outputs: Sequence[int]) -> Graph:
        """The finished graph; hidden inputs come after the others."""
        return Graph(tuple(self.nodes), (*self.inputs, *self.hidden), tuple(outputs))


def broadcast_shapes(builder: Builder, inputs: Sequence[int]) -> tuple[int, ...]:
    """NumPy's broadcast of the operands' shapes.

    Raises:
        ShapeError: naming the operands and the user's line.
    """
    avals = [builder.nodes[i].aval for i in inputs]
    try:
        return np.broadcast_shapes(*(aval.shape for aval in avals))
    except ValueError:
        raise ShapeError(
            "the operands cannot be broadcast together",
            origin=builder.origin(),
            operands=tuple(avals),
            hint="Shapes are compared from the last axis: each pair must be equal or hold a 1; "
            "use reshape or x[:, None] to line them up.",
        ) from None
