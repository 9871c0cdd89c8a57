"""Which of the topological orders to take."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from graphjit.ir.dag import topological
from graphjit.ir.graph import Graph, Node
from graphjit.passes.rewrite import rebuild

# What takes no memory of its own: generated where it is read.
FREE = frozenset({"constant", "iota", "broadcast", "hold"})

Key = tuple[int, int, int]


def order(graph: Graph) -> Graph:
    """Choose a topological order that keeps few values alive; of equally good ones, the present.

    Safe, because any topological order computes the same values. The order tried is that of a
    depth-first walk from the outputs, which makes a value just before its first use, going first
    into the operand that needs most memory (Sethi and Ullman, "The generation of optimal code for
    arithmetic expressions", 1970); and what frees at least the memory it takes moves up to where
    its last operand is made. It is taken only if its ``peak`` is below the present one.

    Before: ``%1 = exp(%0)``, ``%2 = sin(%0)``, ``%3 = sum(%1)``, ``%4 = sum(%2)``; after:
    ``%1 = exp(%0)``, ``%2 = sum(%1)``, ``%3 = sin(%0)``, ``%4 = sum(%3)``.
    """
    sizes = [size(node) for node in graph.nodes]
    walk = depth_first(graph, needs(graph, sizes))
    keys = hoisted(graph, walk, sizes)
    keys.update((i, (len(walk), 0, i)) for i in range(len(graph.nodes)) if i not in keys)
    tried = topological(graph, keys.__getitem__)
    if peak(graph, tried, sizes) >= peak(graph, range(len(graph.nodes)), sizes):
        return graph
    return rebuild(graph, (graph.nodes[i] for i in tried))


def size(node: Node) -> int:
    """The bytes that a node's result takes; several results count where their items stand."""
    if node.op in FREE or node.results:
        return 0
    return node.aval.size * node.aval.dtype.itemsize


def peak(graph: Graph, walk: Sequence[int], sizes: Sequence[int]) -> int:
    """The most bytes alive at once; inputs and outputs do not count, as no order changes them."""
    reads, counted = stored_reads(graph), list(sizes)
    for ident in (*graph.inputs, *graph.outputs):
        counted[ident] = 0
    last = {operand: i for i in walk for operand in reads[i]}
    alive = most = 0
    for i in walk:
        if i in last:
            alive += counted[i]
            most = max(most, alive)
        for x in set(reads[i]):
            if last[x] == i:
                alive -= counted[x]
    return most


def stored_reads(graph: Graph) -> list[tuple[int, ...]]:
    """For each node what it reads; in the place of a ``hold`` what that holds."""
    if not graph.count("hold"):
        return [node.inputs for node in graph.nodes]
    held = list[int]()
    for node in graph.nodes:
        held.append(held[node.inputs[0]] if node.op == "hold" else node.id)
    return [() if n.op == "hold" else tuple(held[i] for i in n.inputs) for n in graph.nodes]


def needs(graph: Graph, sizes: Sequence[int]) -> list[int]:
    """For each node the bytes needed to compute it alone, were the graph a tree."""
    need: list[int] = []
    for node in graph.nodes:
        held = most = 0
        operands: Iterable[int] = node.inputs
        if len(node.inputs) > 1:
            operands = sorted(set(operands), key=lambda i: (sizes[i] - need[i], need[i]))
        for operand in operands:
            most = max(most, held + need[operand])
            held += sizes[operand]
        need.append(max(most, held + sizes[node.id]))
    return need


def depth_first(graph: Graph, need: Sequence[int]) -> list[int]:
    """What the outputs need, operands first, of those the one that needs most memory."""
    seen = set(graph.inputs)
    walk = list(graph.inputs)
    for root in graph.outputs:
        stack = [(root, False)]
        while stack:
            ident, ready = stack.pop()
            if ready:
                walk.append(ident)
            elif ident not in seen:
                seen.add(ident)
                stack.append((ident, True))
                operands = list(dict.fromkeys(graph.nodes[ident].inputs))
                if len(operands) > 1:
                    operands.sort(key=need.__getitem__)
                stack += [(i, False) for i in operands if i not in seen]
    return walk


def hoisted(graph: Graph, walk: Sequence[int], sizes: Sequence[int]) -> dict[int, Key]:
    """Sort keys by position in the walk, but right after the last operand for what frees memory."""
    last = {operand: i for i in walk for operand in graph.nodes[i].inputs}
    kept = {*graph.inputs, *graph.outputs}
    keys: dict[int, Key] = {}
    for position, ident in enumerate(walk):
        operands = set(graph.nodes[ident].inputs)
        freed = sum([sizes[i] for i in operands if last[i] == ident and i not in kept])
        if freed and freed >= sizes[ident]:
            anchor, after, _ = max([keys[i] for i in operands])
            keys[ident] = (anchor, after + 1, position)
        else:
            keys[ident] = (position, 0, position)
    return keys
