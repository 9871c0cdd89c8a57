"""Scans without what nobody reads: stacks, carries, constants and slices."""

from __future__ import annotations

from collections.abc import Sequence

from graphjit.ir.dag import needed
from graphjit.ir.graph import Graph
from graphjit.passes.control_scan import Parts, Scan, swapped
from graphjit.passes.rewrite import Rebuild


def trim(graph: Graph) -> Graph:
    """Drop the results of scans that nobody reads, and what was computed for them alone.

    Safe, because steps have no effect but their values. A carry stays if its last value is read,
    or if something that is read depends on it. Constants or slices that are one value become one.

    Before: a scan stacks its carries, and only the last carry is read; after: it has no stacks.
    """
    if not graph.count("scan"):
        return graph
    read: dict[int, set[int]] = {n.id: set() for n in graph.nodes if n.op == "scan"}
    for node in graph.nodes:
        if node.op == "item" and node.inputs[0] in read:
            read[node.inputs[0]].add(node.params["index"])

    def change(new: Rebuild, scan: Scan) -> Sequence[int] | None:
        return Trimmed(scan, read[scan.node.id]).items(new)

    return swapped(graph, change)


def firsts(ids: Sequence[int]) -> list[int]:
    """The places at which each value occurs first."""
    return [i for i, ident in enumerate(ids) if ids.index(ident) == i]


class Trimmed:
    """A scan that gives what is read.

    Attributes:
        carries: The carries that are needed.
        stacks: The outputs that are stacked, by their positions.
    """

    def __init__(self, scan: Scan, read: set[int]) -> None:
        self.scan, self.read = scan, read
        copied = {i for i, ident in enumerate(scan.step.outputs) if ident in scan.inputs.slices}
        self.copied = sorted(i for i in read & copied if i >= scan.carry)
        self.stacks = sorted(i for i in read - set(self.copied) if i >= scan.carry)
        step, own = scan.step, scan.inputs.carry
        live = {i for i in read if i < scan.carry}
        while True:
            ends = [step.outputs[i] for i in (*live, *self.stacks)]
            found = needed(step, ends)
            more = {i for i, ident in enumerate(own) if ident in found} | live
            if more == live:
                break
            live = more
        self.carries, self.found = sorted(live), found

    def wanted(self, inner: Sequence[int], outer: Sequence[int], place: int) -> bool:
        """Whether an input, or another one of the same value, is needed."""
        pairs = zip(inner, outer, strict=True)
        return any(i in self.found for i, ident in pairs if ident == outer[place])

    def shared(self, step: Graph, operands: Parts) -> Graph:
        """The step, with one input in the place of all that are given the same value."""
        new, own = Rebuild(step), self.scan.inputs
        for inner, outer in ((own.consts, operands.consts), (own.slices, operands.slices)):
            for ident, value in zip(inner, outer, strict=True):
                first = inner[outer.index(value)]
                if first in new.place:
                    new.place.setdefault(ident, new.place[first])
        for node in step.nodes:
            if node.id in self.found:
                new.copy(node)
        return new.finish()

    def copies(self, new: Rebuild) -> dict[int, int]:
        """The stacks that are what their slices are of."""
        own, operands = self.scan.inputs, self.scan.parts(new.operands(self.scan.node))
        found = dict(zip(own.slices, operands.slices, strict=True))
        return {i: found[self.scan.step.outputs[i]] for i in self.copied}

    def items(self, new: Rebuild) -> Sequence[int] | None:
        """One id for each result; those that nobody reads have any."""
        scan = self.scan
        own = scan.inputs
        operands = scan.parts(new.operands(scan.node))
        consts = [i for i in firsts(operands.consts) if self.wanted(own.consts, operands.consts, i)]
        slices = [i for i in firsts(operands.slices) if self.wanted(own.slices, operands.slices, i)]
        whole = tuple(map(len, own)) == (len(consts), len(self.carries), len(slices))
        if (whole and len(self.stacks) == len(scan.stacked)) or not (self.stacks or self.carries):
            return None

        def kept(parts: Parts) -> Parts:
            one, two, three = parts
            return Parts(
                tuple(one[i] for i in consts),
                tuple(two[i] for i in self.carries),
                tuple(three[i] for i in slices),
            )

        outputs = tuple(scan.step.outputs[i] for i in (*self.carries, *self.stacks))
        step = self.shared(Graph(scan.step.nodes, kept(own).joined(), outputs), operands)
        items = scan.emitted(new.builder, kept(operands), step)
        places = dict(zip((*self.carries, *self.stacks), items, strict=True))
        places |= self.copies(new)
        return [places.get(i, items[0]) for i in range(len(scan.step.outputs))]
