"""Which buffer each value of a graph is in, and the names that a program uses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

from graphjit.codegen.loops import Buffer, LoopProgram, Statement
from graphjit.errors import IndexRangeError
from graphjit.ir.aval import Aval, DType
from graphjit.ir.graph import Graph, Node
from graphjit.ir.view import View, contiguous
from graphjit.passes.group import views
from graphjit.records import NamedTuple


class Inlined(NamedTuple):
    """The statements of a carried graph, and the memory that they need meanwhile."""

    statements: list[Statement]
    uses: tuple[Buffer, ...]


class Buffers:
    """The buffers of one program; names go on from those of the program ``after``."""

    def __init__(
        self, graph: Graph, inputs: Sequence[Buffer], outputs: dict[int, Buffer], after: LoopProgram
    ) -> None:
        self.graph = graph
        self.views = views(graph)
        self.buffers: dict[int, Buffer] = {}
        self.after, self.count, self.constant_count = after, after.names, len(after.constants)
        for position, ident in enumerate(graph.inputs):
            given = position < len(inputs)
            self.buffers[ident] = (
                inputs[position] if given else self._named(f"in{position}", ident, "input")
            )
        self.outputs = [
            outputs.get(position)
            or self._named(self._output_name(position, after), ident, "output")
            for position, ident in enumerate(graph.outputs)
        ]
        self.program = LoopProgram([], [self.buffers[i] for i in graph.inputs], self.outputs)
        self.program.checks = list(after.checks)
        self.constants: dict[Any, Buffer] = {}
        self.homes = self._homes()
        self.parts = self._parts()

    def label(self, labels: Sequence[str]) -> None:
        """Give the inputs' buffers the names that the user knows."""
        for ident, text in zip(self.graph.inputs, labels, strict=False):
            self.buffers[ident] = self.buffers[ident]._replace(label=text)
        self.program.inputs = [self.buffers[i] for i in self.graph.inputs]

    def _named(self, name: str, ident: int, role: Literal["input", "output"]) -> Buffer:
        aval = self.graph.nodes[ident].aval
        return Buffer(name, aval.size, aval.dtype, role, aval.shape)

    def _output_name(self, position: int, after: LoopProgram) -> str:
        return f"out{position}" if not after.names else f"out{position}_{after.names}"

    def _homes(self) -> dict[int, int]:
        """For each node that an output shows as it is, the first such output's position."""
        homes: dict[int, int] = {}
        for position, ident in enumerate(self.graph.outputs):
            base, view = self.views[ident]
            node = self.graph.nodes[base]
            whole = view.contiguous and math.prod(view.shape) == node.aval.size
            part = bool(self.outputs[position].start) and self._is_carry(node)
            if whole and node.op not in ("input", "constant", "iota") and not part:
                homes.setdefault(base, position)
        return homes

    def _is_carry(self, node: Node) -> bool:
        """Whether each turn of a loop writes a value over that of the turn before.

        That takes memory of its own, not a slice of what an outer loop stacks.
        """
        if node.op != "item":
            return False
        maker, index = self.graph.nodes[node.inputs[0]], node.params["index"]
        return maker.op == "while" or (maker.op == "scan" and index < maker.params["carry"])

    def _parts(self) -> dict[int, tuple[int, int]]:
        """For each value that its loops can write into a joined array, that and the start there."""
        parts: dict[int, tuple[int, int]] = {}
        for node in self.graph.nodes:
            if node.op != "concatenate":
                continue
            start = 0
            for ident in node.inputs:
                if self._is_part(ident):
                    parts[ident] = node.id, start
                start += self.graph.nodes[ident].aval.shape[node.params["axis"]]
        return parts

    def _is_part(self, ident: int) -> bool:
        """Whether one array is all that reads a value, and whoever makes it can write it there."""
        node = self.graph.nodes[ident]
        users = self.graph.users[ident]
        if ident in self.homes or len(users) != 1 or not node.aval.size:
            return False
        if self.graph.nodes[users[0]].inputs.count(ident) != 1:
            return False
        if node.op != "item":
            return node.op == "concatenate"
        maker, index = self.graph.nodes[node.inputs[0]], node.params["index"]
        if maker.op != "fused":
            return False
        body, roles = maker.params["body"], maker.params["roles"]
        return bool(roles[body.outputs[index]] != "spill")

    def target(self, ident: int) -> tuple[Buffer, View]:
        """Where a value is written: its own buffer, or its part of the array it is joined to."""
        chain, top = list[tuple[int, int]](), ident  # joined arrays may be parts of others
        while top in self.parts:
            top, start = self.parts[top]
            chain.append((top, start))
        if top not in self.buffers:
            self.buffers[top] = self._home(top)
        view = contiguous(self.graph.nodes[top].aval.shape)
        offset = 0
        for joined, start in chain:
            offset += start * view.strides[self.graph.nodes[joined].params["axis"]]
        self.buffers[ident] = self.buffers[top]
        return self.buffers[top], View(self.graph.nodes[ident].aval.shape, view.strides, offset)

    def _home(self, ident: int) -> Buffer:
        """Where a node's result is written: an output's own buffer, or a work buffer."""
        if ident in self.homes:
            return self.outputs[self.homes[ident]]
        return self._work(self.graph.nodes[ident].aval)

    def _work(self, aval: Aval) -> Buffer:
        return self.scratch(aval.size, aval.dtype, aval.shape)

    def scratch(self, size: int, dtype: DType, shape: tuple[int, ...] = ()) -> Buffer:
        """A new work buffer of ``size`` elements."""
        self.count += 1
        return Buffer(f"t{self.count}", size, dtype, "work", shape or (size,))

    def constant(self, value: Any) -> Buffer:
        """A buffer with fixed contents."""
        key = (value.dtype.str, value.shape, value.tobytes())
        if key not in self.constants:
            name = f"c{self.constant_count + len(self.constants)}"
            buffer = self.constants[key] = Buffer(
                name, value.size, value.dtype, "constant", value.shape
            )
            self.program.constants.append((buffer, value))
        return self.constants[key]

    def fresh(self) -> str:
        """A name for a scalar."""
        self.count += 1
        return f"v{self.count}"

    def check(self, node: Node) -> int:
        """A status code for an index that may be out of range, or a negative exponent.

        Raises:
            IndexRangeError: every index into an empty axis is.
        """
        if node.op == "power":
            self.program.checks.append((node.origin, 0))
            return len(self.program.checks)
        if not node.params["size"] and node.aval.size:
            fact = "an index is out of bounds for an axis of size 0"
            raise IndexRangeError(fact, origin=node.origin, operands=(node.aval,))
        self.program.checks.append((node.origin, node.params["size"]))
        return len(self.program.checks)

    def targets(self, node: Node) -> list[tuple[Buffer, View]]:
        """Where each result of a loop group is written."""
        items = {self.graph.nodes[u].params["index"]: u for u in self.graph.users[node.id]}
        return [
            self.target(items[i]) if i in items else (self._work(aval), contiguous(aval.shape))
            for i, aval in enumerate(node.results)
        ]

    def results(self, node: Node) -> list[Buffer]:
        """A buffer for each of a node's results; its items are read from there."""
        items = {self.graph.nodes[u].params["index"]: u for u in self.graph.users[node.id]}
        buffers = []
        for index, aval in enumerate(node.results):
            ident = items.get(index)
            buffer = self._home(ident) if ident is not None else self._work(aval)
            if ident is not None:
                self.buffers[ident] = buffer
            buffers.append(buffer)
        return buffers
