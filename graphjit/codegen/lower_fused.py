"""Lower a fused group to one loop nest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from graphjit.codegen.loops import (
    Address,
    Buffer,
    Check,
    Constant,
    Fill,
    Index,
    Let,
    Load,
    Scalar,
    Statement,
    Store,
    Value,
)
from graphjit.codegen.nest import NAMES, Axes, Nest, address, strides_over
from graphjit.codegen.scalars import BOOLEAN, Scalars
from graphjit.ir.aval import DType
from graphjit.ir.graph import Graph, Node
from graphjit.ir.primitive import TABLE
from graphjit.ir.view import View, contiguous
from graphjit.passes.group import views

COMBINE = {
    "sum": "add",
    "prod": "multiply",
    "max": "maximum",
    "min": "minimum",
    "any": "logical_or",
    "all": "logical_and",
}
CHEAP = frozenset({"add", "subtract", "multiply", "negative", "where", "cast"}) | BOOLEAN


def initial(op: str, dtype: DType) -> Any:
    """What a reduction starts from."""
    if op in ("max", "min"):
        if dtype.kind == "f":
            return -np.inf if op == "max" else np.inf
        low, high = (False, True) if dtype == bool else (np.iinfo(dtype).min, np.iinfo(dtype).max)
        return low if op == "max" else high
    return {"sum": 0, "prod": 1, "any": False, "all": True}[op]


def wide(op: str, dtype: DType) -> DType:
    """The dtype a scalar accumulator has: float32 sums are kept in float64."""
    return np.dtype(np.float64) if op in ("sum", "prod") and dtype == np.float32 else dtype


def affine(place: Address) -> bool:
    """Whether an address depends on loop indices only."""
    return all(name in NAMES for name, _ in place.terms)


class FusedLowering:
    """One group: where each value is known, and the statements that compute it.

    ``reads`` and ``writes`` are the buffers of the body's inputs and outputs; ``scratch`` makes a
    work buffer that lives as long as the kernel; ``fresh`` names a value; ``check`` registers a
    status code.
    """

    def __init__(
        self, node: Node, reads: list[Buffer], writes: list[Buffer], scratch: Callable[[int, DType], Buffer],
        constant: Callable[[Any], Buffer], fresh: Callable[[], str], check: Callable[[Node], int],
    ) -> None:  # fmt: skip
        self.body: Graph = node.params["body"]
        self.space, self.rows = node.params["space"], node.params["rows"]
        self.roles: tuple[str, ...] = node.params["roles"]
        self.scratch, self.constant, self.fresh, self.check = scratch, constant, fresh, check
        self.views = views(self.body)
        self.buffers = dict(zip(self.body.inputs, reads, strict=True))
        self.stores: dict[int, list[Buffer]] = {}
        for ident, buffer in zip(self.body.outputs, writes, strict=True):
            self.stores.setdefault(ident, []).append(buffer)
        self.levels = self._levels()
        self.axes = Axes.of(self.space, self.rows, self._maps())
        self.nest = Nest(self.axes, max(self.levels.values(), default=0))
        self.values: dict[Any, Scalar] = {}
        self.spilled: dict[int, Buffer] = {}
        self.node = node
        self.phase = 0
        self.k = Scalars(self._let)

    def run(self) -> list[Statement]:
        """The statements of the kernel."""
        for node in self.body.nodes:
            role = self.roles[node.id]
            if role:
                self.node, self.phase = node, self.levels[node.id]
                getattr(self, f"_{role}")(node)
        return self.nest.statements()

    def _levels(self) -> dict[int, int]:
        """The phase in which each member is computed."""
        levels: dict[int, int] = {}
        for node in self.body.nodes:
            role = self.roles[node.id]
            if role:
                bases = [self.views[i][0] for i in node.inputs]
                known = [levels[b] for b in bases if self.roles[b] in ("each", "row", "fold")]
                levels[node.id] = max(known, default=0) + (role == "fold")
        return levels

    def _maps(self) -> list[tuple[int, ...]]:
        """The strides over the space of everything the group touches."""
        found = [contiguous(self.space).strides]
        if self.rows:
            inner = contiguous(self.space[self.rows :]).strides
            found.append(contiguous(self.space[: self.rows]).strides + (0,) * len(inner))
        for node in self.body.nodes:
            if self.roles[node.id]:
                found += [
                    strides_over(self._view(node, i), self.space, self.rows)
                    for i in node.inputs
                    if node.op != "gather" or i != node.inputs[0]
                ]
                if node.op in ("gather", "scatter_add", "embed") or self.roles[node.id] == "spill":
                    found += self._special_maps(node)
        return found

    def _special_maps(self, node: Node) -> list[tuple[int, ...]]:
        """Strides of what a node addresses besides its operands."""
        if node.op == "gather":
            return [strides_over(self._rest(node)[1], self.space, self.rows)]
        return [strides_over(self._target(node)[1], self.space, self.rows)]

    # -- members by role ---------------------------------------------------------------------

    def _each(self, node: Node) -> None:
        value = self._compute(node)
        self.values[node.id, self.phase] = value
        view = contiguous(node.aval.shape)
        for buffer in self.stores.get(node.id, []):
            self._store(buffer, view, value)
        self._spill_if_needed(node, value)

    def _row(self, node: Node) -> None:
        value = self._compute(node)
        self.values[node.id] = value
        for buffer in self.stores.get(node.id, []):
            self._store(buffer, contiguous(node.aval.shape), value, depth=self.axes.rows)

    def _fold(self, node: Node) -> None:
        """A row's reduction: an accumulator started before the inner loops of its operand."""
        self.phase -= 1
        total = self._accumulate(node, start_depth=self.axes.rows)
        self.phase += 1
        self._row_value(node, self._rounded(node, total, self.axes.rows))

    def _row_value(self, node: Node, value: Scalar) -> None:
        self.values[node.id] = value
        for buffer in self.stores.get(node.id, []):
            self._store(buffer, contiguous(node.aval.shape), value, depth=self.axes.rows)

    def _total(self, node: Node) -> None:
        total = self._accumulate(node, start_depth=0)
        value = total
        if total.dtype != node.aval.dtype:
            value = Value(self.fresh(), node.aval.dtype)
            self.nest.epilogue.append(Let(value, "cast", (total,), origin=node.origin))
        self._finish(node, value)

    def _after(self, node: Node) -> None:
        nest, values = self.nest, self.values
        self.nest, self.values = Nest(Axes((), [], 0), 0), dict(values)
        value = self._compute(node)
        nest.epilogue += self.nest.prologue
        self.nest, self.values = nest, values
        self._finish(node, value)

    def _finish(self, node: Node, value: Scalar) -> None:
        """A scalar that is known after the loops."""
        self.values[node.id] = value
        for buffer in self.stores.get(node.id, []):
            self.nest.epilogue.append(Store(Address(buffer, 0), value, origin=node.origin))

    def _spill(self, node: Node) -> None:
        """Accumulate into memory: the buffer is filled first, then combined with."""
        for buffer in self.stores.get(node.id, []):
            start = initial(node.op, node.aval.dtype) if node.op in COMBINE else 0
            self.nest.prologue.append(Fill(buffer, Constant(start, node.aval.dtype)))
            value = self._value(node.inputs[0])
            view, terms = self._target(node)[1], self._index_terms(node)
            place = address(buffer, view, self.axes, self.rows)
            place = Address(buffer, place.offset, place.terms + terms)
            op = (
                {"scatter_add": "add", "embed": ""}.get(node.op)
                if node.op not in COMBINE
                else COMBINE[node.op]
            )
            depth = len(self.axes.runs)
            self.nest.put(Store(place, value, op or "", node.origin), depth, self.phase)

    # -- addresses ----------------------------------------------------------------------------

    def _target(self, node: Node) -> tuple[int, View]:
        """The view of a spilled result over the shape of the loops' operand."""
        operand = self.body.nodes[node.inputs[0]].aval
        whole = contiguous(node.aval.shape)
        if node.op == "embed":
            start, step = node.params["start"], node.params["step"]
            offset = sum(a * s for a, s in zip(start, whole.strides, strict=True))
            return node.id, View(
                operand.shape,
                tuple(k * s for k, s in zip(step, whole.strides, strict=True)),
                offset,
            )
        if node.op == "scatter_add":
            return node.id, self._around(
                whole, node.params["axes"], self.body.nodes[node.inputs[1]].aval.ndim, operand.shape
            )
        kept = iter(whole.strides)
        strides = tuple(0 if a in node.params["axes"] else next(kept) for a in range(operand.ndim))
        return node.id, View(operand.shape, strides)

    def _around(
        self, whole: View, axes: tuple[int, ...], index_ndim: int, shape: tuple[int, ...]
    ) -> View:
        """An indexed array's view without the indexed axes, over the index's and the rest's axes."""
        rest = tuple(s for a, s in enumerate(whole.strides) if a not in axes)
        return View(shape, (0,) * index_ndim + rest, whole.offset)

    def _rest(self, node: Node) -> tuple[int, View]:
        base, view = self.views[node.inputs[0]]
        return base, self._around(
            view, node.params["axes"], self.body.nodes[node.inputs[1]].aval.ndim, node.aval.shape
        )

    def _view(self, node: Node, operand: int) -> View:
        """The operand's view over the loops; an index array is the same along the other axes."""
        view = self.views[operand][1]
        if node.op not in ("gather", "scatter_add") or operand == node.inputs[0]:
            return view
        full = (
            node.aval.shape if node.op == "gather" else self.body.nodes[node.inputs[0]].aval.shape
        )
        rest = len(full) - len(view.shape)
        return View(full, view.strides + (0,) * rest, view.offset)

    def _index_terms(self, node: Node) -> tuple[tuple[str, int], ...]:
        """Index values times strides, for a gather or a scatter."""
        if node.op not in ("gather", "scatter_add"):
            return ()
        strides = (
            self.views[node.inputs[0]][1].strides
            if node.op == "gather"
            else contiguous(node.aval.shape).strides
        )
        indices = [self._named(self._value(i, self._view(node, i))) for i in node.inputs[1:]]
        return tuple(
            (v.name, strides[a]) for v, a in zip(indices, node.params["axes"], strict=True)
        )

    def _named(self, value: Scalar) -> Value:
        if isinstance(value, Value):
            return value
        named = Value(self.fresh(), value.dtype)
        self.nest.put(Let(named, "copy", (value,)), 0, self.phase)
        return named

    # -- values ---------------------------------------------------------------------------------

    def _value(self, operand: int, seen: View | None = None) -> Scalar:
        """The scalar that an operand is at the current point of the loops."""
        base, view = self.views[operand][0], seen or self.views[operand][1]
        node, role = self.body.nodes[base], self.roles[base]
        if role == "each":
            return self._again(node)
        if role:
            return self.values[base]
        if node.op == "constant" and node.aval.size == 1:
            return Constant(node.params["value"].reshape(-1)[0].item(), node.aval.dtype)
        if node.op == "iota":
            return self._index(view, node)
        buffer = (
            self.constant(node.params["value"]) if node.op == "constant" else self.buffers[base]
        )
        # An empty array has no element to read ahead of the loops that never run.
        depth = len(self.axes.runs) if 0 in view.shape else 0
        return self._load(address(buffer, view, self.axes, self.rows), node.aval.dtype, depth)

    def _again(self, node: Node) -> Scalar:
        """A member's value in the current phase: known, computed again, or read back."""
        key = (node.id, self.phase)
        if key not in self.values:
            if node.id in self.spilled:
                flat = View(self.space, self._inner_strides())
                self.values[key] = self._load(
                    address(self.spilled[node.id], flat, self.axes, self.rows), node.aval.dtype
                )
            elif self.stores.get(node.id):
                view = contiguous(node.aval.shape)
                self.values[key] = self._load(
                    address(self.stores[node.id][0], view, self.axes, self.rows), node.aval.dtype
                )
            else:
                current, self.node = self.node, node
                self.values[key] = self._compute(node)
                self.node = current
        return self.values[key]

    def _spill_if_needed(self, node: Node, value: Scalar) -> None:
        """Keep a row of what a later phase needs and would be dear to compute again."""
        later = any(self._needs(user) > self.phase for user in self.body.users[node.id])
        if not later or self.stores.get(node.id) or self._cheap(node):
            return
        size = int(np.prod(self.space[self.rows or 0 :], dtype=int))
        buffer = self.spilled[node.id] = self.scratch(size, node.aval.dtype)
        self._store(buffer, View(self.space, self._inner_strides()), value)

    def _needs(self, user: int) -> int:
        """The latest phase in which a user, or what reads through it, runs."""
        role = self.roles[user]
        if role:
            return self.levels[user] - (role == "fold")
        return max((self._needs(u) for u in self.body.users[user]), default=0)

    def _cheap(self, node: Node, depth: int = 2) -> bool:
        """Whether to compute a value again in a later phase rather than keep a row of it."""
        inside = {b for b in (self.views[i][0] for i in node.inputs) if self.roles[b] == "each"}
        below = (self.body.nodes[b] for b in inside if not self.stores.get(b))
        return node.op in CHEAP and all(depth and self._cheap(n, depth - 1) for n in below)

    def _inner_strides(self) -> tuple[int, ...]:
        rows = self.rows or 0
        return (0,) * rows + contiguous(self.space[rows:]).strides

    def _compute(self, node: Node) -> Scalar:
        if node.op == "gather":
            return self._gather(node)
        if node.op in COMBINE:  # over axes of length 1 only
            return self._value(node.inputs[0])
        operands = [self._value(i) for i in node.inputs]
        if node.op == "wrap_index":
            return self._wrap(operands[0], node)
        scalar = TABLE[node.op].scalar
        if scalar is None:
            return getattr(self.k, node.op)(*operands)  # type: ignore[no-any-return]
        return scalar(self.k, *operands, **node.params)  # type: ignore[no-any-return]

    def _wrap(self, index: Scalar, node: Node) -> Scalar:
        value = Value(self.fresh(), index.dtype, index.depth)
        check = Check(value, index, node.params["size"], self.check(node), node.origin)
        self.nest.put(check, index.depth, self.phase)
        return value

    def _table(self, base: int) -> Buffer:
        """The buffer that indices look up; where it is known, a constant."""
        node = self.body.nodes[base]
        if node.op == "iota":
            return self.constant(np.arange(node.aval.shape[node.params["axis"]], dtype=node.aval.dtype))
        return self.constant(node.params["value"]) if node.op == "constant" else self.buffers[base]

    def _gather(self, node: Node) -> Scalar:
        base, rest = self._rest(node)
        terms = self._index_terms(node)
        place = address(self._table(base), rest, self.axes, self.rows)
        depth = max((self._value(i, self._view(node, i)).depth for i in node.inputs[1:]), default=0)
        return self._load(
            Address(place.buffer, place.offset, place.terms + terms), node.aval.dtype, depth
        )

    def _load(self, place: Address, dtype: DType, depth: int = 0) -> Scalar:
        depth = max(depth, self.axes.depth(place.terms))
        phase = 0 if depth <= self.axes.rows and affine(place) else self.phase
        key = (place, phase)
        if key not in self.values:
            value = self.values[key] = Value(self.fresh(), dtype, depth)
            self.nest.put(Load(value, place, self.node.origin), depth, phase)
        return self.values[key]

    def _index(self, view: View, node: Node) -> Scalar:
        strides = strides_over(view, self.space, self.rows)
        terms = self.axes.terms(strides)
        depth = self.axes.depth(terms)
        value = Value(self.fresh(), node.aval.dtype, depth)
        self.nest.put(
            Index(value, view.squeezed().offset, terms, self.node.origin), depth, self.phase
        )
        return value

    def _let(self, op: str, operands: tuple[Scalar, ...], dtype: DType) -> Scalar:
        """One scalar operation; the same one on the same operands is computed once a phase."""
        depth = max(o.depth for o in operands)
        key = (op, operands, dtype, self.phase, depth)
        if key not in self.values:
            value = self.values[key] = Value(self.fresh(), dtype, depth)
            self.nest.put(Let(value, op, operands, origin=self.node.origin), depth, self.phase)
        return self.values[key]

    def _store(self, buffer: Buffer, view: View, value: Scalar, depth: int | None = None) -> None:
        place = address(buffer, view, self.axes, self.rows)
        where = max(len(self.axes.runs) if depth is None else depth, value.depth)
        self.nest.put(Store(place, value, "", self.node.origin), where, self.phase)

    def _accumulate(self, node: Node, start_depth: int) -> Value:
        """An accumulator over the loops below ``start_depth``."""
        dtype = wide(node.op, node.aval.dtype)
        element = self._value(node.inputs[0])
        base = self.views[node.inputs[0]][0]
        source = self.body.nodes[node.inputs[0]].aval.size
        rowwise = self.roles[base] in ("row", "fold") or (
            self.rows and source != int(np.prod(self.space, dtype=int))
        )
        depth = self.axes.rows if rowwise else len(self.axes.runs)
        total = Value(self.fresh(), dtype, start_depth)
        start = Let(total, "copy", (Constant(initial(node.op, dtype), dtype),), origin=node.origin)
        self.nest.put(start, start_depth, self.phase)
        if element.dtype != dtype:
            element = self.k.cast(element, dtype)
        update = Let(total, COMBINE[node.op], (total, element), origin=node.origin)
        self.nest.put(update, depth, self.phase)
        return total

    def _rounded(self, node: Node, total: Value, depth: int) -> Scalar:
        if total.dtype == node.aval.dtype:
            return total
        value = Value(self.fresh(), node.aval.dtype, depth)
        self.nest.put(Let(value, "cast", (total,), origin=node.origin), depth, self.phase)
        return value
