"""Cutting a graph in two: what can be computed already, and what needs inputs that come later."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from graphjit.ir.builder import Builder
from graphjit.ir.dag import depends_on
from graphjit.ir.graph import Graph

FREE = frozenset({"constant", "iota", "broadcast", "reshape", "transpose"})


class Halves(NamedTuple):
    """A graph in two parts.

    Attributes:
        first: Its inputs are those that are there early; its outputs are the early outputs, then
            what the second half reads.
        second: Its inputs are what the first half hands on, then the late inputs.
    """

    first: Graph
    second: Graph


def split(graph: Graph, late: Sequence[int], early: int) -> Halves:
    """Cut a graph in two, so that the first half can run before some inputs are known.

    All that depends on late inputs, and all that costs nothing to do again, is in the second
    half; the rest is in the first. No node that computes is in both.

    Before: ``graph(%0, %1) -> (sin(%0), %1 cos(%0))``; after, with input 1 late and one early
    output: ``first(%0) -> (sin(%0), cos(%0))`` and ``second(%0, %1) -> (%1 %0)``.

    Args:
        graph: A graph without dead nodes.
        late: Positions in ``graph.inputs``.
        early: How many of the outputs are those of the first half; they depend on no late input.
    """
    waiting = [graph.inputs[i] for i in late]
    after, handed = second_half(graph, waiting, graph.outputs[early:])
    first = Builder()
    inputs = [i for i in graph.inputs if i not in waiting]
    place = {i: first.input(graph.nodes[i].aval, graph.nodes[i].origin) for i in inputs}
    copied(graph, first, place, depends_on(graph, waiting))
    second = Builder()
    there = {i: second.input(graph.nodes[i].aval, graph.nodes[i].origin) for i in handed + waiting}
    copied(graph, second, there, set(range(len(graph.nodes))) - after)
    return Halves(
        first.graph([place[i] for i in (*graph.outputs[:early], *handed)]),
        second.graph([there[i] for i in graph.outputs[early:]]),
    )


def second_half(
    graph: Graph, waiting: Sequence[int], outputs: Sequence[int]
) -> tuple[set[int], list[int]]:
    """The nodes that the second half computes, and those it reads of the first."""
    late, wanted = depends_on(graph, waiting), set(outputs)
    after, handed = set[int](), list[int]()
    for node in reversed(graph.nodes):
        if node.id not in wanted or node.id in waiting:
            continue
        if node.id in late or node.op in FREE:
            after.add(node.id)
            wanted.update(node.inputs)
        else:
            handed.append(node.id)
    return after, handed[::-1]


def copied(graph: Graph, builder: Builder, place: dict[int, int], without: set[int]) -> None:
    """Copy all nodes but some into a builder."""
    for node in graph.nodes:
        if node.id not in place and node.id not in without:
            place[node.id] = builder.copy(node, tuple(place[i] for i in node.inputs))
