"""Lower a fused group to one loop nest: what each role does with its member's value."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from graphjit.codegen.fused_values import Values
from graphjit.codegen.loops import (
    Address,
    Constant,
    Fill,
    Let,
    Scalar,
    Statement,
    Store,
    Value,
)
from graphjit.codegen.nest import Axes, Nest
from graphjit.ir.aval import DType, extreme
from graphjit.ir.graph import Node

# The operation that takes one more element into a reduction.
COMBINE = {
    "sum": "add",
    "prod": "multiply",
    "max": "maximum",
    "min": "minimum",
    "any": "logical_or",
    "all": "logical_and",
}
# What a reduction starts from.
START = {"sum": 0, "prod": 1, "any": False, "all": True}


def initial(op: str, dtype: DType) -> Any:
    """What a reduction or a scatter starts from."""
    return extreme(dtype, largest=op == "min") if op in ("max", "min") else START.get(op, 0)


def wide(op: str, dtype: DType) -> DType:
    """The dtype a scalar accumulator has: float32 sums are kept in float64."""
    return np.dtype(np.float64) if op in ("sum", "prod") and dtype == np.float32 else dtype


class FusedLowering(Values):
    """One group. ``reads`` are the buffers of the body's inputs, ``writes`` where outputs go."""

    def run(self) -> list[Statement]:
        """The statements of the kernel."""
        for node in self.body.members:
            self.node, self.phase = node, self.body.levels[node.id]
            getattr(self, f"_{self.body.roles[node.id]}")(node)
        return self.nest.statements()

    # -- a method for each role ---------------------------------------------------------------

    def _each(self, node: Node) -> None:
        value = self.values[node.id, self.phase] = self._compute(node)
        for target in self.stores.get(node.id, []):
            self._store(*target, value, len(self.axes.runs))
        self._keep_if_needed(node, value)

    def _row(self, node: Node) -> None:
        self._known_in_row(node, self._compute(node))

    def _fold(self, node: Node) -> None:
        self.phase -= 1
        total = self._accumulate(node, start_depth=self.axes.rows)
        self.phase += 1
        value: Scalar = total
        if total.dtype != node.aval.dtype:
            value = Value(self.supplies.fresh(), node.aval.dtype, self.axes.rows)
            narrowed = Let(value, "cast", (total,), origin=node.origin)
            self.nest.put(narrowed, self.axes.rows, self.phase)
        self._known_in_row(node, value)

    def _total(self, node: Node) -> None:
        value = total = self._accumulate(node, start_depth=0)
        if total.dtype != node.aval.dtype:
            value = Value(self.supplies.fresh(), node.aval.dtype)
            self.nest.epilogue.append(Let(value, "cast", (total,), origin=node.origin))
        self._known_after(node, value)

    def _after(self, node: Node) -> None:
        nest, values = self.nest, self.values
        self.nest, self.values = Nest(Axes((), [], 0), 0), dict(values)
        value = self._compute(node)
        nest.epilogue += self.nest.prologue
        self.nest, self.values = nest, values
        self._known_after(node, value)

    def _spill(self, node: Node) -> None:
        """Accumulate into memory: the buffer is filled first, then combined with."""
        start = Constant(initial(node.op, node.aval.dtype), node.aval.dtype)
        for buffer, _ in self.stores.get(node.id, []):
            self.nest.prologue.append(Fill(buffer, start))
            terms, place = self._index_terms(node), self._place(buffer, self.body.target(node))
            place = Address(buffer, place.offset, place.terms + terms)
            depth = max(self.axes.depth(place.terms), self.axes.rows)
            if node.op in COMBINE and 0 < depth < len(self.axes.runs):
                self._spill_sum(node, place, depth)
                continue
            value = self._value(node.inputs[0])
            op = "" if node.op == "embed" else COMBINE.get(node.op, "add")
            self.nest.put(Store(place, value, op, node.origin), len(self.axes.runs), self.phase)

    def _spill_sum(self, node: Node, place: Address, depth: int) -> None:
        """Accumulate what the inner loops give in a register, and only then into memory."""
        total = self._accumulate(node, depth)
        value = total._replace(dtype=node.aval.dtype)
        if total.dtype != value.dtype:
            value = value._replace(name=self.supplies.fresh())
            self.nest.follow(Let(value, "cast", (total,), origin=node.origin), depth, self.phase)
        store = Store(place, value, COMBINE[node.op], node.origin)
        self.nest.follow(store, depth, self.phase)

    # -- what is known, and from where on -----------------------------------------------------

    def _known_in_row(self, node: Node, value: Scalar) -> None:
        """A value for the rest of its row."""
        self.values[node.id] = value
        for target in self.stores.get(node.id, []):
            self._store(*target, value, self.axes.rows)

    def _known_after(self, node: Node, value: Scalar) -> None:
        """A scalar that is known after the loops."""
        self.values[node.id] = value
        for buffer, view in self.stores.get(node.id, []):
            place = Address(buffer, view.offset)
            self.nest.epilogue.append(Store(place, value, origin=node.origin))

    def _keep_if_needed(self, node: Node, value: Scalar) -> None:
        """Keep a row of what a later phase needs and would be dear to compute again."""
        if self.body.used_until(node.id) <= self.phase or node.id in self.stores:
            return
        if not self.body.cheap(node):
            buffer = self.supplies.scratch(self.body.row_size, node.aval.dtype)
            self.spilled[node.id] = buffer
            self._store(buffer, self.body.row(), value, len(self.axes.runs))

    def _accumulate(self, node: Node, start_depth: int) -> Value:
        """An accumulator over the loops below ``start_depth``."""
        dtype = wide(node.op, node.aval.dtype)
        element = self._value(node.inputs[0])
        total = Value(self.supplies.fresh(), dtype, start_depth)
        start = Let(total, "copy", (Constant(initial(node.op, dtype), dtype),), origin=node.origin)
        self.nest.put(start, start_depth, self.phase)
        if element.dtype != dtype:
            element = self.k.cast(element, dtype)
        update = Let(total, COMBINE[node.op], (total, element), origin=node.origin)
        depth = self.axes.rows if self._reads_rows(node) else len(self.axes.runs)
        self.nest.put(update, depth, self.phase)
        return total

    def _reads_rows(self, node: Node) -> bool:
        """Whether a reduction reads one value a row, rather than one at every point."""
        source = self.body.graph.nodes[node.inputs[0]].aval.size
        return bool(self.body.rows) and source != math.prod(self.body.space)
