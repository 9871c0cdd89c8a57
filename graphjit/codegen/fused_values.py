"""The scalars of a fused group: what an operand is at the current point of the loops."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from graphjit.codegen.fused_body import INDEXED, Body
from graphjit.codegen.loops import (
    Address,
    Buffer,
    Check,
    Constant,
    Index,
    Let,
    Load,
    Scalar,
    Store,
    Value,
)
from graphjit.codegen.nest import NAMES, Axes, Nest, address, strides_over
from graphjit.codegen.scalars import Scalars
from graphjit.ir.aval import DType
from graphjit.ir.graph import Node
from graphjit.ir.primitive import TABLE
from graphjit.ir.view import View
from graphjit.passes.group import LOOPED_REDUCTIONS

Target = tuple[Buffer, View]  # where a result is written: a whole buffer, or a part of one


class Supplies(Protocol):
    """What the lowering of a group takes from that of the whole program."""

    def scratch(self, size: int, dtype: DType) -> Buffer:
        """A work buffer that lives as long as the kernel."""
        ...

    def constant(self, value: Any) -> Buffer:
        """A buffer with fixed contents."""
        ...

    def fresh(self) -> str:
        """A name that nothing has yet."""
        ...

    def check(self, node: Node) -> int:
        """A status code for an index that may be out of range."""
        ...


class Values:
    """Emits the loads and operations that make a value, each where its operands are known.

    ``node`` is the member that is being computed, ``phase`` the run of the inner loops for it;
    ``values`` are the scalars known so far, by what they are and the phase that knows them.
    """

    def __init__(
        self, node: Node, reads: list[Buffer], writes: list[Target], supplies: Supplies
    ) -> None:
        self.body, self.supplies = Body(node), supplies
        graph = self.body.graph
        self.buffers = dict(zip(graph.inputs, reads, strict=True))
        self.stores: dict[int, list[Target]] = {}
        for ident, target in zip(graph.outputs, writes, strict=True):
            self.stores.setdefault(ident, []).append(target)
        maps = self.body.maps([view for _, view in writes])
        self.axes = Axes.of(self.body.space, self.body.rows, maps)
        self.nest = Nest(self.axes, max(self.body.levels.values(), default=0))
        self.values: dict[Any, Scalar] = {}
        self.spilled: dict[int, Buffer] = {}
        self.node, self.phase = node, 0
        self.k = Scalars(self._let)

    # -- operands -----------------------------------------------------------------------------

    def _value(self, operand: int, seen: View | None = None) -> Scalar:
        """The scalar that an operand is at the current point of the loops."""
        base, view = self.body.views[operand][0], seen or self.body.views[operand][1]
        node, role = self.body.graph.nodes[base], self.body.roles[base]
        if role == "each":
            return self._again(node)
        if role:
            return self.values[base]
        if node.op == "constant" and node.aval.size == 1:
            return Constant(node.params["value"].reshape(-1)[0].item(), node.aval.dtype)
        if node.op == "iota":
            return self._index(view, node)
        # An empty array has no element to read ahead of the loops that never run.
        depth = len(self.axes.runs) if 0 in view.shape else 0
        return self._load(self._place(self._table(base), view), node.aval.dtype, depth)

    def _again(self, node: Node) -> Scalar:
        """A member's value in the current phase: known, computed again, or read back."""
        key = (node.id, self.phase)
        if key not in self.values:
            if node.id in self.spilled:
                kept = self._place(self.spilled[node.id], self.body.row())
                self.values[key] = self._load(kept, node.aval.dtype)
            elif node.id in self.stores:
                kept = self._place(*self.stores[node.id][0])
                self.values[key] = self._load(kept, node.aval.dtype)
            else:
                current, self.node = self.node, node
                self.values[key] = self._compute(node)
                self.node = current
        return self.values[key]

    def _table(self, base: int) -> Buffer:
        """The buffer of what the group reads; where that is known, a constant."""
        node = self.body.graph.nodes[base]
        if node.op == "iota":
            extent = node.aval.shape[node.params["axis"]]
            return self.supplies.constant(np.arange(extent, dtype=node.aval.dtype))
        if node.op == "constant":
            return self.supplies.constant(node.params["value"])
        return self.buffers[base]

    def _place(self, buffer: Buffer, view: View) -> Address:
        """Where a view's element of the current point lies."""
        return address(buffer, view, self.axes, self.body.rows)

    # -- computing ----------------------------------------------------------------------------

    def _compute(self, node: Node) -> Scalar:
        """The member's own operation at the current point."""
        if node.op == "gather":
            return self._gather(node)
        if node.op in LOOPED_REDUCTIONS:  # over axes of length 1 only
            return self._value(node.inputs[0])
        operands = [self._value(i) for i in node.inputs]
        if node.op == "wrap_index":
            return self._wrap(operands[0], node)
        if node.op == "power" and node.aval.dtype.kind == "i":
            self._check_exponent(operands[1], node)
        if node.op == "expit" and (tail := self._tail(operands[0])) is not None:
            upper = self.k.select(self.k.greater_equal(operands[0], 0), 1, tail)
            return self.k.divide(upper, self.k.add(1, tail))
        scalar = TABLE[node.op].scalar
        if scalar is None:
            return getattr(self.k, node.op)(*operands)  # type: ignore[no-any-return]
        return scalar(self.k, *operands, **node.params)  # type: ignore[no-any-return]

    def _tail(self, x: Scalar) -> Scalar | None:
        """exp(-|x|), of which expit(x) is a fraction, if logaddexp has computed it."""
        found: Scalar | None = self.k.signless(x)
        for op in ("absolute", "negative", "exp"):
            if found is not None:
                found = self.values.get(self._key(op, (found,), x.dtype))
        return found

    def _wrap(self, index: Scalar, node: Node) -> Scalar:
        value = Value(self.supplies.fresh(), index.dtype, index.depth)
        check = Check(value, index, node.params["size"], self.supplies.check(node), node.origin)
        self.nest.put(check, index.depth, self.phase)
        return value

    def _check_exponent(self, exponent: Scalar, node: Node) -> None:
        """An integer has no negative power: as an index, a negative exponent is out of range."""
        if isinstance(exponent, Constant) and exponent.value >= 0:
            return
        negative = self.k.less(exponent, Constant(0, exponent.dtype))
        index = self.k.cast(negative, np.dtype(np.int64))
        value = Value(self.supplies.fresh(), index.dtype, index.depth)
        check = Check(value, index, 1, self.supplies.check(node), node.origin)
        self.nest.put(check, index.depth, self.phase)

    def _gather(self, node: Node) -> Scalar:
        base, rest = self.body.around(node)
        terms = self._index_terms(node)
        place = self._place(self._table(base), rest)
        indices = (self._value(i, self.body.seen(node, i)) for i in node.inputs[1:])
        depth = max((index.depth for index in indices), default=0)
        looked_up = Address(place.buffer, place.offset, place.terms + terms)
        return self._load(looked_up, node.aval.dtype, depth)

    def _index_terms(self, node: Node) -> tuple[tuple[str, int], ...]:
        """Index values times strides, for a gather or a scatter."""
        if node.op not in INDEXED:
            return ()
        seen = (self._value(i, self.body.seen(node, i)) for i in node.inputs[1:])
        names = [self._named(value).name for value in seen]
        return tuple(zip(names, self.body.index_strides(node), strict=True))

    def _named(self, value: Scalar) -> Value:
        """A value that an address can name."""
        if isinstance(value, Value):
            return value
        named = Value(self.supplies.fresh(), value.dtype)
        self.nest.put(Let(named, "copy", (value,)), 0, self.phase)
        return named

    # -- statements ---------------------------------------------------------------------------

    def _load(self, place: Address, dtype: DType, depth: int = 0) -> Scalar:
        """The element; read once for all phases where it does not change within a row."""
        depth = max(depth, self.axes.depth(place.terms))
        phase = 0 if depth <= self.axes.rows and affine(place) else self.phase
        key = (place, phase)
        if key not in self.values:
            value = self.values[key] = Value(self.supplies.fresh(), dtype, depth)
            self.nest.put(Load(value, place, self.node.origin), depth, phase)
        return self.values[key]

    def _index(self, view: View, node: Node) -> Scalar:
        """The value of a loop index."""
        terms = self.axes.terms(strides_over(view, self.body.space, self.body.rows))
        depth = self.axes.depth(terms)
        value = Value(self.supplies.fresh(), node.aval.dtype, depth)
        index = Index(value, view.squeezed().offset, terms, self.node.origin)
        self.nest.put(index, depth, self.phase)
        return value

    def _let(self, op: str, operands: tuple[Scalar, ...], dtype: DType) -> Scalar:
        """One scalar operation; the same one on the same operands is computed once a phase."""
        key = self._key(op, operands, dtype)
        value = self.values.get(key)
        if value is None:
            depth = max([o.depth for o in operands])
            value = self.values[key] = Value(self.supplies.fresh(), dtype, depth)
            self.nest.put(Let(value, op, operands, origin=self.node.origin), depth, self.phase)
        return value

    def _key(self, op: str, operands: tuple[Scalar, ...], dtype: DType) -> tuple[Any, ...]:
        """What an operation is known by."""
        known = [repr(o.value) for o in operands if isinstance(o, Constant)]  # 0.0 is not -0.0
        return (op, operands, *known, dtype, self.phase, max([o.depth for o in operands]))

    def _store(self, buffer: Buffer, view: View, value: Scalar, depth: int) -> None:
        """Write a value, at this depth or deeper."""
        store = Store(self._place(buffer, view), value, "", self.node.origin)
        self.nest.put(store, max(depth, value.depth), self.phase)


def affine(place: Address) -> bool:
    """Whether an address depends on loop indices only."""
    return all(name in NAMES for name, _ in place.terms)
