"""Matrices of zeros and ones with a known pattern, told by their values: np.eye, np.tri and such.

A mask that is made while tracing, and that nobody else holds, never changes. Written as what it is,
a comparison of places, it takes no memory, and products with it leave out what is zero.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from graphjit.ir.builder import Builder
from graphjit.ir.graph import Graph, Node

LEAST, MOST = 16, 1 << 22  # rows or columns, and elements, of a matrix that is looked at
PLACE = np.dtype(np.int32)


class Mask(NamedTuple):
    """Ones where ``comparison`` holds of the column, and of the row plus ``offset``."""

    comparison: str
    offset: int

    def put(self, builder: Builder, node: Node) -> int:
        """The nodes that compute the mask in place of an input."""
        shape, origin = node.aval.shape, node.origin
        row, column = (
            builder.emit("iota", origin=origin, shape=shape, axis=axis, dtype=PLACE)
            for axis in (0, 1)
        )
        if self.offset:
            offset = builder.broadcast_to(builder.constant(self.offset, PLACE), shape)
            row = builder.emit("add", row, offset, origin=origin)
        found = builder.emit(self.comparison, column, row, origin=origin)
        if node.aval.dtype == bool:
            return found
        return builder.emit("cast", found, origin=origin, dtype=node.aval.dtype)


def mask_of(array: Any) -> Mask | None:
    """The pattern of a matrix that is exactly zeros and ones, if it is one of those known."""
    plain = array.dtype.kind in "biuf" and array.dtype.itemsize <= 8
    if not plain or array.ndim != 2 or min(array.shape) < LEAST or array.size > MOST:
        return None
    rows, columns = array.shape
    across, down = int(np.count_nonzero(array[0])), int(np.count_nonzero(array[:, 0]))
    if not 0 < across + down < rows + columns:
        return None
    if array[0, 0] and across == down == 1 and rows == columns:
        return Mask("equal", 0) if same(array, np.eye(rows, dtype=array.dtype)) else None
    if down == rows or not across:
        offset = across - 1 if across else down - rows
        below = np.tri(rows, columns, offset, dtype=array.dtype)
        return Mask("less_equal", offset) if same(array, below) else None
    if across == columns or not down:
        offset = 1 - down if down else columns - across
        above = (np.tri(rows, columns, offset - 1) == 0).astype(array.dtype)
        return Mask("greater_equal", offset) if same(array, above) else None
    return None


def same(array: Any, wanted: Any) -> bool:
    """Whether two matrices have the same bits, signs of zeros included."""
    bits = f"u{array.dtype.itemsize}"
    return np.array_equal(np.ascontiguousarray(array).view(bits), wanted.view(bits))


def written_out(graph: Graph, masks: Mapping[int, Mask]) -> Graph:
    """The graph with masks in place of inputs that are none of its own."""
    builder, place = Builder(), list[int]()
    for node in graph.nodes:
        mask = masks.get(node.id)
        if mask is None:
            place.append(builder.copy(node, tuple(place[i] for i in node.inputs)))
        else:
            place.append(mask.put(builder, node))
    return Graph(tuple(builder.nodes), at(place, graph.inputs), at(place, graph.outputs))


def at(place: Sequence[int], idents: Sequence[int]) -> tuple[int, ...]:
    """The new ids of some nodes."""
    return tuple(place[i] for i in idents)
