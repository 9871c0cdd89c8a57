"""Scans of a few numbers: each number by itself, rather than in short arrays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from graphjit.ir.builder import Builder
from graphjit.ir.graph import Graph, Node
from graphjit.ir.primitive import TABLE
from graphjit.passes.control_scan import Parts, Scan, swapped
from graphjit.passes.rewrite import Rebuild, reached

SHORT = 8  # elements of the largest array in a step
MOST = 2000  # scalar operations of a step
PLACED = frozenset({"broadcast", "reshape", "transpose", "slice"})


def scalars(graph: Graph) -> Graph:
    """Let scans of short vectors that are put together from numbers carry the numbers.

    An integrator of a few equations stacks their right-hand sides and takes the state apart
    again. Written to memory as numbers and read as a vector, each is waited for; numbers stay in
    registers.

    Safe, because each element is computed as it was; sums of elements are added up from the first.

    Before: a carry ``f64[2]`` with the step ``h + concatenate(f(h[0]), g(h[1]))``; after: two
    carries, ``a + f(a)`` and ``b + g(b)``.
    """
    return swapped(graph, apart) if graph.count("scan") else graph


def apart(new: Rebuild, scan: Scan) -> Sequence[int] | None:
    """The results of the scan on numbers, or None where that is not worth it."""
    nodes = scan.step.nodes
    small = all(0 < n.aval.size <= SHORT and known(n) for n in nodes)
    if not small or not scan.step.count("concatenate") or sum(n.aval.size for n in nodes) > MOST:
        return None
    builder, own = new.builder, scan.parts(new.operands(scan.node))
    carries = [x for i in own.carry for x in elements(builder, i)]
    step = Numbers(scan).graph()
    items = scan.emitted(builder, Parts(own.consts, tuple(carries), own.slices), step)
    found, at = list[int](), 0
    for ident in scan.inputs.carry:
        aval = nodes[ident].aval
        found.append(together(builder, items[at : at + aval.size], aval.shape))
        at += aval.size
    return [*found, *items[at:]]


def known(node: Node) -> bool:
    """Whether it is known how to compute an operation element by element."""
    special = ("input", "constant", "concatenate", "embed", "sum")
    return TABLE[node.op].kind == "map" or node.op in PLACED or node.op in special


def elements(builder: Builder, ident: int) -> list[int]:
    """Each element of a value, as a scalar."""
    aval = builder.nodes[ident].aval
    if not aval.shape:
        return [ident]
    flat = builder.emit("reshape", ident, shape=(aval.size,))
    ones = [
        builder.emit("slice", flat, start=(k,), step=(1,), sizes=(1,)) for k in range(aval.size)
    ]
    return [builder.emit("reshape", one, shape=()) for one in ones]


def together(builder: Builder, items: Sequence[int], shape: tuple[int, ...]) -> int:
    """Scalars as an array."""
    if not shape:
        return items[0]
    ones = [builder.emit("reshape", i, shape=(1,)) for i in items]
    flat = builder.emit("concatenate", *ones, axis=0) if len(ones) > 1 else ones[0]
    return builder.emit("reshape", flat, shape=shape)


class Numbers:
    """A step on numbers: for each value of the old one its elements, in C order."""

    def __init__(self, scan: Scan) -> None:
        self.scan, self.step = scan, scan.step
        self.origin = self.step.nodes[0].origin
        self.builder = Builder(lambda: self.origin)
        self.parts: dict[int, list[int]] = {}

    def graph(self) -> Graph:
        """The new step; its stacks are arrays as they were."""
        self.inputs()
        for node in self.step.nodes:
            if node.id not in self.parts:
                self.origin = node.origin
                self.parts[node.id] = self.visit(node)
        outputs, cut = self.step.outputs, self.scan.carry
        carries = [x for i in outputs[:cut] for x in self.parts[i]]
        shapes = [self.step.nodes[i].aval.shape for i in outputs[cut:]]
        pairs = zip(outputs[cut:], shapes, strict=True)
        stacks = [together(self.builder, self.parts[i], shape) for i, shape in pairs]
        return reached(self.builder.graph([*carries, *stacks]))

    def inputs(self) -> None:
        """Constants and slices as they are, carries element by element."""
        whole = list[tuple[int, int]]()
        for ident in self.step.inputs:
            node = self.step.nodes[ident]
            if ident in self.scan.inputs.carry:
                one = type(node.aval)((), node.aval.dtype)
                self.parts[ident] = [
                    self.builder.input(one, node.origin) for _ in range(node.aval.size)
                ]
            else:
                whole.append((ident, self.builder.input(node.aval, node.origin)))
        for ident, place in whole:
            self.parts[ident] = elements(self.builder, place)

    def visit(self, node: Node) -> list[int]:
        """The elements of a node."""
        emit, operands = self.builder.emit, [self.parts[i] for i in node.inputs]
        if node.op == "constant":
            flat = node.params["value"].reshape(-1)
            return [self.builder.constant(x, flat.dtype) for x in flat]
        if node.op == "sum":
            return [self.added([operands[0][k] for k in row]) for row in self.rows(node)]
        if TABLE[node.op].kind == "map":
            return [emit(node.op, *row, **node.params) for row in zip(*operands, strict=True)]
        return self.placed(node, [i for operand in operands for i in operand])

    def placed(self, node: Node, items: Sequence[int]) -> list[int]:
        """What an operation on layouts does to numbers from 1 on says where elements go."""
        count, numbered = 1, []
        for aval in self.step.avals(node.inputs):
            numbered.append(np.arange(count, count + aval.size).reshape(aval.shape))
            count += aval.size
        places = TABLE[node.op].numpy(*numbered, **node.params).reshape(-1)
        zero = self.builder.constant(0, node.aval.dtype)  # what is embedded lies in zeros
        return [items[k - 1] if k else zero for k in places]

    def rows(self, node: Node) -> list[list[int]]:
        """The elements that each element of a sum adds."""
        (aval,), axes = self.step.avals(node.inputs), node.params["axes"]
        kept = [a for a in range(aval.ndim) if a not in axes]
        turned = np.arange(aval.size).reshape(aval.shape).transpose([*kept, *axes])
        found: list[list[int]] = turned.reshape(max(node.aval.size, 1), -1).tolist()
        return found

    def added(self, items: Sequence[int]) -> int:
        """The sum of some elements."""
        total = items[0]
        for item in items[1:]:
            total = self.builder.emit("add", total, item)
        return total
