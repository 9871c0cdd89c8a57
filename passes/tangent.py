"""Forward mode: every value becomes a dual number, its primal and its tangent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphjit.errors import DTypeError, MissingRule
from graphjit.ir.builder import Builder
from graphjit.ir.dag import depends_on
from graphjit.ir.dispatch import emit
from graphjit.ir.graph import Graph, Node
from graphjit.ir.primitive import TABLE, Primitive
from graphjit.ir.symbol import Symbol
from graphjit.ir.table.contract import aligned, paired, terms
from graphjit.passes.adjoint import weakens
from graphjit.passes.control import Both, Dual
from graphjit.passes.control_forward import FORWARD
from graphjit.passes.custom import CUSTOM_FORWARD
from graphjit.passes.products import times


def tangent(graph: Graph, wrt: Sequence[int], *, strong: bool = False) -> Graph:
    """Append the derivative of every output along a direction of some inputs.

    The nodes are visited in topological order; each carries, beside its primal, the tangent that
    its row's rule makes of its operands' tangents. Where no input of ``wrt`` reaches, there is
    none. This is arithmetic with dual numbers (Clifford 1873), one pair a node. The primal nodes
    are copied unchanged.

    Before: ``graph(%0) -> (%1)`` with ``%1 = sin(%0)``; after: ``graph(%0, %1) -> (%2, %4)`` with
    ``%4 = %1 cos(%0)``.

    Args:
        graph: Any graph.
        wrt: Positions in ``graph.inputs``, each of a float input.
        strong: Zeros win over infinities in all products, see ``Forward``.

    Returns:
        A graph with one more input for each of ``wrt``, the tangents, after all others; its
        outputs are those of ``graph``, then the tangent of each float output.

    Raises:
        DTypeError: an input of ``wrt`` is no float.
        MissingRule: an operation on the way has no derivative.
    """
    builder = Builder()
    nodes = [graph.nodes[i] for i in graph.inputs]
    inputs = [builder.input(node.aval, node.origin) for node in nodes]
    seeds = [nodes[i] for i in wrt]
    for node in seeds:
        if not node.aval.inexact:
            raise DTypeError("only floats have tangents", origin=node.origin, operands=(node.aval,))
    directions = [Symbol(builder, builder.input(node.aval, node.origin)) for node in seeds]
    forward = Forward(graph, builder, dict(zip(graph.inputs, inputs, strict=True)))
    forward.run({node.id: d for node, d in zip(seeds, directions, strict=True)}, strong=strong)
    floats = [i for i in graph.outputs if graph.nodes[i].aval.inexact]
    outputs = [forward.place[i] for i in graph.outputs]
    return builder.graph([*outputs, *(forward.filled(i).id for i in floats)])


class Forward:
    """One forward sweep: the place of each node's primal, and its tangent where it has one.

    A tangent that came through a slope that is infinite at a finite value (``branch`` rows) makes
    *strong* products, in which a zero wins over infinity and NaN, as in reverse mode.
    """

    def __init__(self, graph: Graph, builder: Builder, place: dict[int, int]) -> None:
        self.graph, self.builder, self.place = graph, builder, place
        self.tangents: dict[int, Symbol] = {}
        self.items: dict[int, Both] = {}
        self.strong: set[int] = set()

    def run(self, seeds: dict[int, Symbol], *, strong: bool = False) -> None:
        """Copy every node, and push the tangents through those that depend on the seeds."""
        self.tangents = dict(seeds)
        self.strong = set(seeds) if strong else set()
        active = depends_on(self.graph, seeds)
        for node in self.graph.nodes:
            if node.results and node.id in active:
                self.push_control(node)
                continue
            if node.op == "item" and node.inputs[0] in self.items:
                primals, tangents = self.items[node.inputs[0]]
                index = node.params["index"]
                self.place[node.id] = primals[index]
                if index in tangents:
                    self.tangents[node.id] = Symbol(self.builder, tangents[index])
                    self.note(node)
                continue
            if node.id not in self.place:
                self.place[node.id] = self.builder.copy(
                    node, tuple(self.place[i] for i in node.inputs)
                )
            if node.id in active and node.inputs and node.aval.inexact:
                self.builder.origin = lambda origin=node.origin: origin  # type: ignore[misc]
                self.push(node)

    def push_control(self, node: Node) -> None:
        """Control flow that computes primals and tangents together."""
        rule = FORWARD.get(node.op) or CUSTOM_FORWARD.get(node.op)
        if rule is None:
            raise MissingRule(f"{node.op} has no derivative", origin=node.origin)
        self.builder.origin = lambda: node.origin
        if weakens(node):
            self.strong.add(node.id)
        self.note(node)
        operands = [self.place[i] for i in node.inputs]
        tangents = [self.tangents[i].id if i in self.tangents else None for i in node.inputs]
        strong = node.id in self.strong
        self.items[node.id] = rule(Dual(node, self.builder, operands, tangents, strong=strong))

    def note(self, node: Node) -> None:
        """Remember that products with the tangent of this node must be strong."""
        if TABLE[node.op].branch or any(i in self.strong for i in node.inputs):
            self.strong.add(node.id)

    def push(self, node: Node) -> None:
        """The tangent of a node's result, from those of its operands."""
        if not any(i in self.tangents for i in node.inputs):
            return
        primitive = TABLE[node.op]
        operands = [self.primal(i) for i in node.inputs]
        tangents = [self.tangents.get(i) for i in node.inputs]
        if primitive.kind == "contract":
            result = bilinear(node, operands, tangents, [i in self.strong for i in node.inputs])
        elif primitive.transpose is not None:
            result = self.linear(node)
        elif primitive.jvp is not None:
            filled = [self.filled(i) for i in node.inputs]
            result = primitive.jvp(filled, self.primal(node.id), *operands, **node.params)
        else:
            result = self.weighed(node, primitive, operands, tangents)
        if result is not None:
            self.tangents[node.id] = result
            self.note(node)

    def linear(self, node: Node) -> Any:
        """The operation itself, on the tangents; indices and conditions stay as they are."""
        floats = [self.graph.nodes[i].aval.inexact for i in node.inputs]
        operands = [
            self.filled(i) if is_float else self.primal(i)
            for i, is_float in zip(node.inputs, floats, strict=True)
        ]
        return emit(node.op, *operands, **node.params)

    def weighed(
        self, node: Node, primitive: Primitive, operands: list[Symbol], tangents: list[Any]
    ) -> Any:
        """The sum of tangent times partial; a reduction sums it over its axes as well."""
        if primitive.partials is None:
            if primitive.kind in ("map", "reduce"):  # piecewise constant
                return None
            raise MissingRule(f"{node.op} has no derivative", origin=node.origin)
        partials = primitive.partials(self.primal(node.id), *operands, **node.params)
        products = [
            times(t, p, strong=primitive.pole or i in self.strong)
            for i, t, p in zip(node.inputs, tangents, partials, strict=True)
            if t is not None
        ]
        total = added([p for p in products if p is not None])
        if total is not None and primitive.kind == "reduce":
            return np.sum(total, axis=node.params["axes"])
        return total

    def primal(self, ident: int) -> Symbol:
        """The value itself."""
        return Symbol(self.builder, self.place[ident])

    def filled(self, ident: int) -> Symbol:
        """The tangent, as zeros where there is none."""
        if ident in self.tangents:
            return self.tangents[ident]
        aval = self.graph.nodes[ident].aval
        zero = self.builder.constant(0, aval.dtype)
        return Symbol(self.builder, self.builder.broadcast_to(zero, aval.shape))


def bilinear(
    node: Node, operands: list[Symbol], tangents: list[Any], strong: Sequence[bool]
) -> Any:
    """The product rule: each operand's tangent with the other's primal."""
    (a, b), (da, db) = operands, tangents
    parts = [(da, b, strong[0])] if da is not None else []
    parts += [(a, db, strong[1])] if db is not None else []
    if node.op != "contract":
        return added([emit(node.op, x, y, **node.params) for x, y, _ in parts])
    return added([contracted(node.params["spec"], x, y, strong=s) for x, y, s in parts])


def contracted(spec: str, a: Symbol, b: Symbol, *, strong: bool) -> Any:
    """The contraction; where strong, by products in which a zero wins over infinity."""
    if not (strong and paired(spec)):
        return emit("contract", a, b, spec=spec)
    first, second, result = terms(spec)
    products = emit("strong_multiply", a, aligned(b, second, first, a.shape))
    axes = tuple(i for i, letter in enumerate(first) if letter not in result)
    left = "".join(letter for letter in first if letter in result)
    return np.einsum(f"{left}->{result}", np.sum(products, axis=axes))


def added(terms: list[Any]) -> Any:
    """The sum of the terms, None where there are none."""
    total = None
    for term in terms:
        total = term if total is None else total + term
    return total
