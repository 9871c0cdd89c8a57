"""Which inputs' elements each element of a result depends on: one rule for each kind of row.

The rules are those of the chain rule with "may be nonzero" in the place of numbers. The pattern of
a Hessian needs none of its own: it is the pattern of the gradient's Jacobian.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache
from itertools import accumulate
from typing import Any

import numpy as np

from graphjit.ir.dag import depends_on
from graphjit.ir.graph import Graph, Node
from graphjit.ir.primitive import TABLE
from graphjit.ir.table.contract import terms
from graphjit.sparse.convolved import of_convolve
from graphjit.sparse.known import Known
from graphjit.sparse.sets import Array, Sets, identity, made, ordered, pick, through, union

PRODUCTS = frozenset({"multiply", "strong_multiply"})


def dependence(graph: Graph, wrt: Sequence[int], known: Known) -> Sets:
    """The sparsity pattern of the first output's derivative.

    Args:
        graph: Not fused.
        wrt: Positions in ``graph.inputs`` of float inputs; their elements are the columns.
        known: What is known of the graph's values.

    Returns:
        Row by row (the output's elements in C order) the columns that the element depends on, as
        a boolean ``csr_array``. Every entry that can be nonzero is there; some are there that never
        are, since only zeros of known arrays count and no two terms cancel.

    Raises:
        ShapeError: the pattern would be too large to be called sparse.
    """
    return Dependence(graph, wrt, known).run()


class Dependence:
    """One sweep: the sets of each node that depends on the inputs, dropped after their last use."""

    def __init__(self, graph: Graph, wrt: Sequence[int], known: Known) -> None:
        self.graph, self.known = graph, known
        self.sources = [graph.inputs[i] for i in wrt]
        sizes = [graph.nodes[i].aval.size for i in self.sources]
        *offsets, self.columns = accumulate(sizes, initial=0)
        starts = zip(self.sources, sizes, offsets, strict=True)
        self.sets: dict[int, Sets] = {i: identity(n, at, self.columns) for i, n, at in starts}

    def run(self) -> Sets:
        """The sets of the first output."""
        output = self.graph.outputs[0]
        active = depends_on(self.graph, self.sources)
        last = {operand: node.id for node in self.graph.nodes for operand in node.inputs}
        for node in self.graph.nodes:
            if node.id in active and node.inputs:
                self.visit(node)
            for operand in set(node.inputs):
                if last[operand] == node.id and operand != output:
                    self.sets.pop(operand, None)
        found = self.sets.get(output)
        size = self.graph.nodes[output].aval.size
        empty = made(np.zeros(size + 1, int), np.zeros(0, int), self.columns)
        return empty if found is None else ordered(found.copy())

    def visit(self, node: Node) -> None:
        """The sets of a node, where it has derivatives at all."""
        if not any(i in self.sets for i in node.inputs):
            return
        if not (node.aval.inexact or node.results):
            return
        rule = RULES.get(node.op) or KINDS.get(TABLE[node.op].kind, everything)
        found = rule(self, node)
        if found is not None:
            self.sets[node.id] = found

    def operand(self, node: Node, position: int = 0) -> Sets | None:
        """The sets of an operand; None where they are empty."""
        return self.sets.get(node.inputs[position])

    def shape(self, node: Node, position: int = 0) -> tuple[int, ...]:
        """The shape of an operand."""
        return self.graph.nodes[node.inputs[position]].aval.shape

    def merged(self, node: Node, axes: Sequence[int], position: int = 0) -> Sets:
        """An operand's sets united over some axes."""
        shape = self.shape(node, position)
        kept = tuple(1 if axis in axes else n for axis, n in enumerate(shape))
        targets = np.broadcast_to(numbers(kept), shape)
        links = (targets, np.arange(targets.size))
        return through(links, int(np.prod(kept)), self.operand(node, position), node)


def numbers(shape: tuple[int, ...]) -> Array:
    """The elements of an array, counted in C order."""
    return np.arange(int(np.prod(shape))).reshape(shape)


# -- rules ---------------------------------------------------------------------------------------


def of_map(d: Dependence, node: Node) -> Sets | None:
    """Each element depends on what the operands' same elements depend on."""
    row = TABLE[node.op]
    if row.partials is None and row.transpose is None and row.jvp is None:  # piecewise constant
        return None
    return union([
        d.operand(node, i) for i in range(len(node.inputs)) if i not in without_slope(node.op)
    ])  # fmt: skip


@cache
def without_slope(op: str) -> frozenset[int]:
    """The operands whose partial is the number 0, as that of the sign in copysign."""
    row = TABLE[op]
    count = row.ufunc.nin if row.ufunc is not None else 0
    if row.partials is None or not count:
        return frozenset()
    with np.errstate(all="ignore"):
        partials = row.partials(*np.full((count + 1, 1), 0.5))
    return frozenset(i for i, p in enumerate(partials) if isinstance(p, int) and p == 0)


def of_product(d: Dependence, node: Node) -> Sets | None:
    """A zero that is known in one factor cuts the other one off."""
    parts = []
    for position, other in ((0, 1), (1, 0)):
        sets = d.operand(node, position)
        support = d.known.support(node.inputs[other]) if sets is not None else None
        if sets is not None and support is not None:
            sets = chosen(sets, support, node)
        parts.append(sets)
    return union(parts)


def of_where(d: Dependence, node: Node) -> Sets | None:
    """Either operand's element, or the one that a known condition chooses."""
    first, second = d.operand(node, 1), d.operand(node, 2)
    condition = d.known.value(node.inputs[0])
    if condition is not None:
        first = None if first is None else chosen(first, condition, node)
        second = None if second is None else chosen(second, ~condition, node)
    return union([first, second])


def chosen(sets: Sets, mask: Array, node: Node) -> Sets:
    """The sets where the mask is true, empty ones elsewhere."""
    return pick(sets, np.where(mask.reshape(-1), np.arange(mask.size), -1), node)


def of_reduce(d: Dependence, node: Node) -> Sets | None:
    """The union over the axes."""
    row = TABLE[node.op]
    if row.partials is None and row.transpose is None:
        return None
    return d.merged(node, node.params["axes"])


def of_running(d: Dependence, node: Node) -> Sets | None:
    """Each element depends on all before it along the axis, in every operand."""
    shape, axis = node.aval.shape, node.params["axis"]
    lines = np.moveaxis(numbers(shape), axis, 0).reshape(shape[axis], -1)
    later, earlier = np.tril_indices(shape[axis])
    if node.params["reverse"]:
        later, earlier = earlier, later
    sets = union([d.operand(node, i) for i in range(len(node.inputs))])
    return through((lines[later], lines[earlier]), node.aval.size, sets, node)


def of_layout(d: Dependence, node: Node) -> Sets | None:
    """The operation itself on the numbers of the elements, from 1: it leaves 0 where none comes."""
    parts, places, start = [], [], 1
    for position in range(len(node.inputs)):
        sets = d.operand(node, position)
        shape = d.shape(node, position)
        places.append(numbers(shape) + start if sets is not None else np.zeros(shape, int))
        if sets is not None:
            parts.append(sets)
            start += sets.shape[0]
    index = TABLE[node.op].numpy(*places, **node.params) - 1
    return pick(parts[0] if len(parts) == 1 else stacked(parts), index, node)


def stacked(parts: Sequence[Sets]) -> Sets:
    """One operand's elements after the other's."""
    ends = np.cumsum([0, *(part.indptr[-1] for part in parts)])
    pointers = [part.indptr[:-1] + end for part, end in zip(parts, ends[:-1], strict=True)]
    indices = np.concatenate([part.indices for part in parts])
    return made(np.concatenate([*pointers, ends[-1:]]), indices, parts[0].shape[1])


def of_gather(d: Dependence, node: Node) -> Sets | None:
    """The elements that known indices choose; else any along the indexed axes."""
    axes, sets = node.params["axes"], d.operand(node)
    index = [d.known.value(i) for i in node.inputs[1:]]
    if sets is None:
        return None
    if all(i is not None for i in index):
        return pick(sets, TABLE["gather"].numpy(numbers(d.shape(node)), *index, axes=axes), node)
    rest = tuple(n for axis, n in enumerate(d.shape(node)) if axis not in axes)
    return pick(d.merged(node, axes), np.broadcast_to(numbers(rest), node.aval.shape), node)


def of_scatter(d: Dependence, node: Node) -> Sets | None:
    """The updates that known indices send there; else any of the updates."""
    axes, shape, sets = node.params["axes"], node.params["shape"], d.operand(node)
    index = [d.known.value(i) for i in node.inputs[1:]]
    if sets is None:
        return None
    if all(i is not None for i in index):
        targets = TABLE["gather"].numpy(numbers(shape), *index, axes=axes)
        return through((targets, np.arange(targets.size)), node.aval.size, sets, node)
    united = d.merged(node, range(len(d.shape(node, 1))))
    kept = tuple(1 if axis in axes else n for axis, n in enumerate(shape))
    return pick(united, np.broadcast_to(numbers(kept), shape), node)


def of_contract(d: Dependence, node: Node) -> Sets | None:
    """The union over the letters that are summed, for each operand in turn."""
    first, second, result = terms(node.params["spec"])
    return union([
        of_factor(d, node, 0, (first, second, result)),
        of_factor(d, node, 1, (second, first, result)),
    ])  # fmt: skip


def of_factor(
    d: Dependence, node: Node, position: int, letters: tuple[str, str, str]
) -> Sets | None:
    """What a contraction depends on through one operand; ``letters`` are its own first."""
    own, _, result = letters
    if d.operand(node, position) is None:
        return None
    support = d.known.support(node.inputs[1 - position])
    if support is not None and not support.all():
        return of_known_factor(d, node, position, letters, support)
    sizes = dict(zip(own, d.shape(node, position), strict=True))
    kept = [letter for letter in own if letter in result]
    united = d.merged(node, [a for a, letter in enumerate(own) if letter not in result], position)
    index = numbers(tuple(sizes[letter] for letter in kept))
    index = index.transpose([kept.index(letter) for letter in result if letter in kept])
    spread = index.reshape([sizes.get(letter, 1) if letter in kept else 1 for letter in result])
    return pick(united, np.broadcast_to(spread, node.aval.shape), node)


def of_known_factor(
    d: Dependence, node: Node, position: int, letters: tuple[str, str, str], support: Array
) -> Sets:
    """The same where the other operand has zeros: only its nonzero elements link anything."""
    own, other, result = letters
    sizes = dict(zip(own, d.shape(node, position), strict=True))
    sizes |= dict(zip(other, support.shape, strict=True))
    free = [letter for letter in own if letter not in other]
    lengths = [sizes[letter] for letter in free]
    grid = np.indices(lengths).reshape(len(free), 1, math.prod(lengths))
    places: dict[str, Any] = dict(zip(free, grid, strict=True))
    places |= {c: at[:, None] for c, at in zip(other, np.nonzero(support), strict=True)}

    def flat(word: str) -> Array:
        total: Any = 0
        for letter in word:
            total = total * sizes[letter] + places[letter]
        count = (int(np.count_nonzero(support)), grid.shape[-1])
        return np.broadcast_to(total, count)

    return through((flat(result), flat(own)), node.aval.size, d.operand(node, position), node)


def everything(d: Dependence, node: Node) -> Sets | None:
    """Of an operation without a rule every element depends on all that its operands depend on."""
    parts = []
    for position in range(len(node.inputs)):
        sets = d.operand(node, position)
        if sets is not None:
            links = (np.zeros(sets.shape[0], int), np.arange(sets.shape[0]))
            parts.append(through(links, 1, sets, node))
    return pick(union(parts), np.zeros(1 if node.results else node.aval.size, int), node)


KINDS: dict[str, Callable[[Dependence, Node], Sets | None]] = {
    "map": of_map,
    "reduce": of_reduce,
    "running": of_running,
    "layout": of_layout,
    "contract": of_contract,
}
RULES: dict[str, Callable[[Dependence, Node], Sets | None]] = {
    **dict.fromkeys(PRODUCTS, of_product),
    "convolve": of_convolve,
    "where": of_where,
    "gather": of_gather,
    "scatter_add": of_scatter,
    "item": everything,
}
