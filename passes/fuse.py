"""Fusion: operations over one iteration space become one node that carries a body graph."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from itertools import pairwise

from graphjit.errors import CompileError
from graphjit.ir.builder import Builder
from graphjit.ir.graph import Graph, Node
from graphjit.passes.group import FREE, Group, Place, Placement, fusible, space_of
from graphjit.passes.needs import Needs
from graphjit.passes.regroup import merged, sink

RECENT = 24  # groups looked at for a node that reads none of them


def fuse(graph: Graph) -> Graph:
    """Gather maps, reductions and gathers that can share a loop nest into ``fused`` nodes.

    Greedy in topological order: a node joins the latest group that it fits and that would not
    come to depend on itself. Layout operations are copied into every group that reads through
    them, since there they cost nothing. The meaning is that of the body graph, so it is kept.

    Before: ``%1 = tanh(%0); %2 = sum(%1)``; after: one ``fused`` node with both in its body.
    """
    return Rebuilder(graph, *Grouping(graph).run()).run()


class Grouping:
    """Assigns each node that computes to a unit: a loop group, or a node on its own."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.placement = Placement(graph)
        self.units: list[Group | int] = []
        self.unit_of: dict[int, int] = {}
        self.needs = Needs()

    def run(self) -> tuple[Placement, list[Group | int], dict[int, int], list[set[int]]]:
        """The views, the units, the unit of each node, and what each unit reads or waits for."""
        for node in self.graph.nodes:
            if node.op == "input" or self.is_free(node):
                continue
            if fusible(node):
                self.join(node)
            else:
                self.new_unit(node, node.id)
        for unit in self.units:
            if isinstance(unit, Group):
                unit.close()
        sink(self.graph, self.placement, self.units, self.unit_of)
        return self.placement, self.units, self.unit_of, self.needs.before

    def is_free(self, node: Node) -> bool:
        """Whether the node costs nothing where it is used: a layout, a constant, an index."""
        return node.op in FREE and (not node.inputs or self.placement.views[node.id][0] != node.id)

    def join(self, node: Node) -> None:
        """Put the node into the latest group that takes it, or into a new one."""
        parents = self.parents(node)
        if len(parents) > 1 and self.merge_parents(node, parents):
            parents = self.parents(node)
        needs = parents | self.awaited(node)
        beyond = self.needs.beyond(needs)
        for index in self.candidates(parents):
            group = self.units[index]
            if not isinstance(group, Group) or beyond >> index & 1:
                continue
            group, place = self.fit(node, group, reads=index in parents)
            if place is not None:
                self.units[index] = group
                group.add(node.id, place)
                self.unit_of[node.id] = index
                self.needs.link(index, needs)
                return
        group = Group(space_of(self.graph, node))
        place = self.placement.fit(node, group)
        if place is None:
            raise CompileError(f"{node.op} fits no loop nest", origin=node.origin)
        group.add(node.id, place)
        self.new_unit(node, group)

    def candidates(self, parents: set[int]) -> Iterator[int]:
        """The groups to try: those that the node reads, then recent ones, the latest first."""
        yield from sorted(parents, reverse=True)
        for index in range(len(self.units) - 1, max(len(self.units) - RECENT, 0) - 1, -1):
            if index not in parents:
                yield index

    def merge_parents(self, node: Node, parents: set[int]) -> bool:
        """Join two groups that the node reads into one, where it then fits; whether any were."""
        groups = sorted([p for p in parents if isinstance(self.units[p], Group)])
        joined = False
        for first, second in pairwise(groups):
            group = self.common(first, second)
            if group is not None and self.placement.fit(node, group) is not None:
                self.absorb(first, second, group)
                joined = True
        return joined

    def common(self, first: int, second: int) -> Group | None:
        """One group of both units, if they can share their loops and nothing stands between."""
        one, two = self.units[first], self.units[second]
        if not (isinstance(one, Group) and isinstance(two, Group)):
            return None
        if self.needs.path(first, second) or self.needs.path(second, first):
            return None
        return merged(self.placement, one, two)

    def absorb(self, first: int, second: int, group: Group) -> None:
        """Make ``first`` the merged group of both; ``second`` stays as a group of nothing."""
        for ident in group.roles:
            self.unit_of[ident] = first
        self.units[first], self.units[second] = group, Group(group.space)
        self.needs.absorb(first, second)

    def fit(self, node: Node, group: Group, *, reads: bool) -> tuple[Group, Place | None]:
        """The node's place in the group, or in the group widened to the node's space."""
        place = self.placement.fit(node, group)
        if place is None and reads:
            wider = group.widened(space_of(self.graph, node))
            if wider is not None:
                return wider, self.placement.fit(node, wider)
        return group, place

    def new_unit(self, node: Node, unit: Group | int) -> None:
        """Begin a unit with the node."""
        self.unit_of[node.id] = len(self.units)
        self.units.append(unit)
        self.needs.add(self.parents(node) | self.awaited(node))

    def parents(self, node: Node) -> set[int]:
        """The units whose results the node reads, through any layout."""
        views, unit_of = self.placement.views, self.unit_of
        return {unit_of[b] for b in [views[i][0] for i in node.inputs] if b in unit_of}

    def awaited(self, node: Node) -> set[int]:
        """The units that must have run before the node's operands may be read."""
        if not self.placement.waits:
            return set()
        held = (i for operand in node.inputs for i in self.placement.waits.get(operand, ()))
        bases = (self.placement.views[i][0] for i in held)
        return {self.unit_of[b] for b in bases if b in self.unit_of}


class Rebuilder:
    """Writes the grouped graph: units in topological order, groups as ``fused`` nodes."""

    def __init__(
        self,
        graph: Graph,
        placement: Placement,
        units: list[Group | int],
        unit_of: dict[int, int],
        before: list[set[int]],
    ) -> None:
        self.graph, self.views, self.units = graph, placement.views, units
        self.unit_of, self.before = unit_of, before
        self.builder = Builder()
        self.place: dict[int, int] = {}
        self.outside = self.used_outside()

    def run(self) -> Graph:
        """The grouped graph."""
        for ident in self.graph.inputs:
            node = self.graph.nodes[ident]
            self.place[ident] = self.builder.input(node.aval, node.origin)
        for index in self.order():
            unit = self.units[index]
            if isinstance(unit, Group):
                self.write_group(unit)
            else:
                node = self.graph.nodes[unit]
                inputs = tuple(copy_free(self, i, self.builder, self.place) for i in node.inputs)
                self.place[unit] = self.builder.copy(node, inputs)
        outputs = [copy_free(self, i, self.builder, self.place) for i in self.graph.outputs]
        return self.builder.graph(outputs)

    def order(self) -> Iterable[int]:
        """The units, each after those it depends on, else in the order of their first nodes."""
        after: list[list[int]] = [[] for _ in self.units]
        waiting = [len(units) for units in self.before]
        for index, units in enumerate(self.before):
            for unit in units:
                after[unit].append(index)
        ready = [i for i, count in enumerate(waiting) if not count]
        heapq.heapify(ready)
        while ready:
            index = heapq.heappop(ready)
            yield index
            for later in after[index]:
                waiting[later] -= 1
                if not waiting[later]:
                    heapq.heappush(ready, later)

    def used_outside(self) -> set[int]:
        """The members that something outside their own group reads."""
        outside = {self.views[i][0] for i in self.graph.outputs}
        for unit in self.units:
            inside = unit.roles if isinstance(unit, Group) else {unit: ""}
            for ident in inside:
                bases = {self.views[i][0] for i in self.graph.nodes[ident].inputs}
                outside |= bases - inside.keys()
        return outside

    def live(self, group: Group, outputs: list[int]) -> list[int]:
        """The members that the outputs need, in order."""
        needed = set(outputs)
        for member in sorted(group.roles, reverse=True):
            if member in needed:
                needed |= {self.views[i][0] for i in self.graph.nodes[member].inputs}
        return [m for m in sorted(group.roles) if m in needed]

    def write_group(self, group: Group) -> None:
        """One ``fused`` node: its inputs are the buffers read, its outputs what is used outside."""
        outputs = [
            m
            for m in sorted(group.roles)
            if m in self.outside and self.units[self.unit_of[m]] is group
        ]
        members = self.live(group, outputs)
        if not members:
            return
        bases = [self.views[i][0] for m in members for i in self.graph.nodes[m].inputs]
        reads = [
            b
            for b in dict.fromkeys(bases)
            if b not in group.roles and self.graph.nodes[b].op not in ("constant", "iota")
        ]
        body = Builder()
        place = {b: body.input(self.graph.nodes[b].aval, self.graph.nodes[b].origin) for b in reads}
        for member in members:
            node = self.graph.nodes[member]
            place[member] = body.copy(
                node, tuple(copy_free(self, i, body, place) for i in node.inputs)
            )
        roles = {place[m]: group.roles[m] for m in members}
        inner = body.graph([place[m] for m in outputs])
        items = self.builder.emit_call(
            "fused", [self.place[b] for b in reads], inner, space=group.space, rows=group.rows,
            roles=tuple(roles.get(i, "") for i in range(len(inner.nodes))),
        )  # fmt: skip
        self.place.update(zip(outputs, items, strict=True))


def copy_free(rebuilder: Rebuilder, ident: int, builder: Builder, place: dict[int, int]) -> int:
    """The node in ``builder``, with the chain of layouts it is read through.

    What a ``hold`` asked for is seen to by the order of the units, so it is left out.
    """
    chain, at = [], ident
    while at not in place:
        node = rebuilder.graph.nodes[at]
        chain.append(node)
        if not node.inputs:
            break
        at = node.inputs[0]
    for node in reversed(chain):
        if node.op == "hold":
            place[node.id] = place[node.inputs[0]]
        else:
            place[node.id] = builder.copy(node, tuple(place[i] for i in node.inputs))
    return place[ident]
