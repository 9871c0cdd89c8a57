"""What the passes over scans share: the parts of one, and putting another in its place."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from graphjit.ir.builder import Builder
from graphjit.ir.graph import Graph, Node
from graphjit.passes.rewrite import Rebuild, reached
from graphjit.records import NamedTuple


class Parts(NamedTuple):
    """Ids by what they are to a scan: constants, carries, slices (or the stacks of those)."""

    consts: tuple[int, ...]
    carry: tuple[int, ...]
    slices: tuple[int, ...]

    def joined(self) -> tuple[int, ...]:
        """In the order of a scan's operands."""
        return (*self.consts, *self.carry, *self.slices)


class Scan(NamedTuple):
    """A scan's node, read by its parts."""

    node: Node

    @property
    def step(self) -> Graph:
        """What is done each time."""
        found: Graph = self.node.params["step"]
        return found

    @property
    def carry(self) -> int:
        """How many carries there are."""
        return int(self.node.params["carry"])

    @property
    def length(self) -> int:
        """How many steps it makes."""
        return int(self.node.params["length"])

    @property
    def inputs(self) -> Parts:
        """The inputs of the step."""
        return self.parts(self.step.inputs)

    @property
    def stacked(self) -> tuple[int, ...]:
        """What the step gives beside its carries."""
        return self.step.outputs[self.carry :]

    def parts(self, ids: Sequence[int]) -> Parts:
        """Ids of operands, or of inputs of the step, in three."""
        first = int(self.node.params["consts"])
        last = first + self.carry
        return Parts(tuple(ids[:first]), tuple(ids[first:last]), tuple(ids[last:]))

    def emitted(self, builder: Builder, operands: Parts, step: Graph) -> list[int]:
        """A scan like this one, with other operands and another step; its items."""
        return builder.emit_control(
            "scan", operands.joined(), step=step, consts=len(operands.consts),
            carry=len(operands.carry), length=self.length, reverse=self.node.params["reverse"],
        )  # fmt: skip


def swapped(graph: Graph, change: Callable[[Rebuild, Scan], Sequence[int] | None]) -> Graph:
    """The graph with other values in the place of the results of its scans.

    ``change`` gives one id for each result, or None where a scan stays as it is.
    """
    new, results = Rebuild(graph), dict[int, Sequence[int]]()
    for node in graph.nodes:
        if node.op == "item" and node.inputs[0] in results:
            new.place[node.id] = results[node.inputs[0]][node.params["index"]]
            continue
        new.origin = node.origin
        found = change(new, Scan(node)) if node.op == "scan" else None
        if found is None:
            new.copy(node)
        else:
            results[node.id] = found
    return reached(new.finish())


def sealed(graph: Graph) -> Graph:
    """The graph with a ``hold`` on each stack that a backward scan reads.

    Within a budget of bytes nothing more may be stacked, nor be computed before the loop from
    what is: the passes over scans leave alone what is held.
    """
    new = Rebuild(graph)
    for node in graph.nodes:
        operands = new.operands(node) if node.id not in new.place else ()
        if node.op == "scan" and node.origin is not None and node.origin.adjoint:
            operands = tuple(
                new.builder.emit("hold", i, i) if new.builder.nodes[i].op == "item" else i
                for i in operands
            )
        if node.id not in new.place:
            new.place[node.id] = new.put(node, operands)
    return new.finish()


def held(new: Rebuild, scan: Scan) -> bool:
    """Whether a scan reads stacks that a budget let it have."""
    return any(new.graph.nodes[i].op == "hold" for i in scan.parts(scan.node.inputs).slices)


def given(scan: Scan, consts: Sequence[int], slices: Sequence[int]) -> Graph:
    """The step with some of its own values as further constants and slices.

    They come after the constants and the slices that it has.
    """
    own, step = scan.inputs, scan.step
    inputs = (*own.consts, *consts, *own.carry, *own.slices, *slices)
    new = Rebuild(Graph(step.nodes, inputs, step.outputs))
    for node in step.nodes:
        new.copy(node)
    return reached(new.finish())
