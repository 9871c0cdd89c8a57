"""What is known of values before the program runs: constants, and arrays that are captured.

Indices and masks choose which elements a result depends on, and zeros which it does not. Where they
come from arrays that the function closes over, the pattern is right as long as these stay the same:
what was looked at is remembered, and compared before each call.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from graphjit.errors import IndexRangeError
from graphjit.ir.graph import Graph, Node
from graphjit.ir.primitive import TABLE

Array = np.ndarray[Any, Any]
Mask = Array | None  # where a value can be other than zero; None where nothing is known


def either(a: Mask, b: Mask) -> Mask:
    """A sum is zero where both terms are."""
    return None if a is None or b is None else a | b


def both(a: Mask, b: Mask) -> Mask:
    """A product is zero where one factor is."""
    return a if b is None else b if a is None else a & b


ZEROS: dict[str, Callable[..., Mask]] = {
    **dict.fromkeys(("negative", "positive", "cast", "square"), lambda a: a),
    **dict.fromkeys(("add", "subtract"), either),
    **dict.fromkeys(("multiply", "strong_multiply"), both),
    "divide": lambda a, b: a,
    "where": lambda c, a, b: either(a, b),
}


class Known:
    """The values that no argument has a part in.

    Attributes:
        used: For each captured array that the pattern relied on, by its position, whether its
            values counted or only which of them are zero.
    """

    def __init__(self, graph: Graph, captured: Sequence[Any]) -> None:
        self.graph = graph
        hidden = graph.inputs[len(graph.inputs) - len(captured) :]
        self._captured = captured
        self._position = {ident: place for place, ident in enumerate(hidden)}
        self._values: dict[int, Array] = {}
        self._supports: dict[int, Array] = {}
        self._sources: dict[int, frozenset[int]] = {}
        self.used: dict[int, bool] = {}
        for node in graph.nodes:
            self._visit(node)

    def value(self, ident: int) -> Array | None:
        """What the node will be, if that is known."""
        if ident in self._values:
            self.used.update(dict.fromkeys(self._sources[ident], True))
        return self._values.get(ident)

    def support(self, ident: int) -> Mask:
        """Where the node can be other than zero, if that is known."""
        if ident in self._values:
            return np.asarray(self.value(ident) != 0)
        for place in self._sources.get(ident, ()):
            self.used.setdefault(place, False)
        return self._supports.get(ident)

    def watched(self) -> Watch:
        """What the pattern relied on so far."""
        return Watch.begun(self.used, self._captured)

    def _visit(self, node: Node) -> None:
        if node.op == "input":
            self._capture(node)
        elif all(i in self._values for i in node.inputs):
            self._evaluate(node)
        elif TABLE[node.op].kind == "layout":
            self._note(node, self._moved(node))
        elif node.op in ZEROS:
            self._note(node, ZEROS[node.op](*(self._mask(i) for i in node.inputs)))

    def _capture(self, node: Node) -> None:
        place = self._position.get(node.id)
        if place is None or not isinstance(self._captured[place], np.ndarray):
            return
        array = self._captured[place]
        self._sources[node.id] = frozenset({place})
        if not node.aval.inexact:
            self._values[node.id] = array
        elif not array.all():
            self._supports[node.id] = array != 0

    def _evaluate(self, node: Node) -> None:
        """Compute a node from known operands, unless it has no value of its own or fails."""
        if node.results or node.op == "item":
            return
        operands = [self._values[i] for i in node.inputs]
        try:
            with np.errstate(all="ignore"):
                value = TABLE[node.op].numpy(*operands, **node.params)
        except IndexRangeError:  # raised again when the program runs
            return
        self._values[node.id] = np.asarray(value, dtype=node.aval.dtype)
        self._sources[node.id] = self._origins(node)

    def _moved(self, node: Node) -> Mask:
        """Layout moves zeros with the other elements, and puts some around them."""
        masks = [self._mask(i) for i in node.inputs]
        if node.op != "embed" and all(mask is None for mask in masks):
            return None
        shapes = [self.graph.nodes[i].aval.shape for i in node.inputs]
        pairs = zip(masks, shapes, strict=True)
        filled = [np.ones(shape, bool) if mask is None else mask for mask, shape in pairs]
        return np.asarray(TABLE[node.op].numpy(*filled, **node.params))

    def _note(self, node: Node, mask: Mask) -> None:
        if mask is not None and not mask.all():
            self._supports[node.id] = mask
            self._sources[node.id] = self._origins(node)

    def _mask(self, ident: int) -> Mask:
        if ident in self._values:
            return np.asarray(self._values[ident] != 0)
        return self._supports.get(ident)

    def _origins(self, node: Node) -> frozenset[int]:
        return frozenset().union(*(self._sources.get(i, ()) for i in node.inputs))


class Watch:
    """Captured arrays that a pattern relied on, as they were then.

    Args:
        used: The position of each among the captured arrays, and whether its values counted.
        then: The values; or where only zeros counted, where there were none.
        captured: All captured arrays.
    """

    def __init__(
        self, used: Mapping[int, bool], then: Sequence[Array], captured: Sequence[Any]
    ) -> None:
        self.used, self.then = used, then
        self._arrays = [captured[place] for place in used]

    @classmethod
    def begun(cls, used: Mapping[int, bool], captured: Sequence[Any]) -> Watch:
        """From now on."""
        then = [
            captured[place].copy() if exact else captured[place] != 0
            for place, exact in used.items()
        ]
        return cls(dict(used), then, captured)

    def changed(self) -> str:
        """Why the pattern may be wrong now, or an empty string."""
        rows = zip(self._arrays, self.used.values(), self.then, strict=True)
        for array, exact, then in rows:
            if not np.array_equal(array if exact else array != 0, then):
                what = "an index or mask" if exact else "the zeros of an array"
                return f"{what} that the sparsity pattern relies on changed"
        return ""
