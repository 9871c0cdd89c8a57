"""The graph that computes the nonzeros of a Jacobian: a few products, then a gather."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate

import numpy as np

from graphjit.ir.aval import DType
from graphjit.ir.builder import Builder
from graphjit.ir.graph import Graph
from graphjit.passes.adjoint import pullback
from graphjit.passes.batch import batch
from graphjit.passes.tangent import tangent
from graphjit.sparse.coloring import Coloring
from graphjit.sparse.sets import Array


def compressed(graph: Graph, wrt: Sequence[int], coloring: Coloring) -> Graph:
    """The nonzeros of the derivative of the first output, in the order of the pattern.

    The vectors that columns and rows are summed with are compared with their colors in the
    program itself, so it holds one number for each column and not one for each column and color.
    """
    graph = Graph(graph.nodes, graph.inputs, graph.outputs[:1])
    dtype = graph.nodes[graph.outputs[0]].aval.dtype
    builder = Builder()
    inputs = inputs_of(builder, graph)
    products = []
    if coloring.forward:
        products.append(forward(builder, graph, inputs, wrt, coloring))
    if coloring.reverse:
        products.append(reverse(builder, graph, inputs, wrt, coloring))
    if not products:
        return builder.graph([builder.constant(np.zeros(0, dtype))])
    flat = products[0] if len(products) == 1 else builder.emit("concatenate", *products, axis=0)
    places = builder.constant(coloring.places.astype(np.int64))
    return builder.graph([builder.emit("gather", flat, places, axes=(0,))])


def forward(
    builder: Builder, graph: Graph, inputs: list[int], wrt: Sequence[int], coloring: Coloring
) -> int:
    """All forward products, end to end."""
    count, pushed = coloring.forward, tangent(graph, wrt)
    batched = batch(pushed, range(len(graph.inputs), len(pushed.inputs)), count)
    avals = [graph.nodes[graph.inputs[i]].aval for i in wrt]
    ends = accumulate(aval.size for aval in avals)
    seeds = []
    for aval, end in zip(avals, ends, strict=True):
        colors = coloring.columns[end - aval.size : end].reshape(aval.shape)
        seeds.append(seed(builder, colors, count, aval.dtype))
    place = builder.inline(batched, [*inputs, *seeds])
    return flattened(builder, place[batched.outputs[-1]])


def reverse(
    builder: Builder, graph: Graph, inputs: list[int], wrt: Sequence[int], coloring: Coloring
) -> int:
    """All reverse products, end to end."""
    aval = graph.nodes[graph.outputs[0]].aval
    pulled = vector_times_jacobian(graph, wrt, aval.dtype)
    batched = batch(pulled, [len(graph.inputs)], coloring.reverse)
    vectors = seed(builder, coloring.rows.reshape(aval.shape), coloring.reverse, aval.dtype)
    place = builder.inline(batched, [*inputs, vectors])
    return flattened(builder, place[batched.outputs[0]])


def vector_times_jacobian(graph: Graph, wrt: Sequence[int], dtype: DType) -> Graph:
    """The cotangents of all inputs ``wrt`` as one vector, given that of the only output."""
    pulled = pullback(graph, wrt)
    builder = Builder()
    place = builder.inline(pulled, inputs_of(builder, pulled))
    return builder.graph([joined(builder, [place[i] for i in pulled.outputs[1:]], dtype)])


def inputs_of(builder: Builder, graph: Graph) -> list[int]:
    """Inputs like those of a graph."""
    nodes = [graph.nodes[i] for i in graph.inputs]
    return [builder.input(node.aval, node.origin) for node in nodes]


def joined(builder: Builder, values: Sequence[int], dtype: DType) -> int:
    """Values of any shapes as one vector."""
    flat = [builder.cast(flattened(builder, i), dtype) for i in values]
    return flat[0] if len(flat) == 1 else builder.emit("concatenate", *flat, axis=0)


def flattened(builder: Builder, ident: int) -> int:
    """The value with one axis."""
    shape = builder.nodes[ident].aval.shape
    if len(shape) == 1:
        return ident
    return builder.emit("reshape", ident, shape=(math.prod(shape),))


def seed(builder: Builder, colors: Array, count: int, dtype: DType) -> int:
    """For each color where it is: ones there, zeros elsewhere."""
    shape = (count, *colors.shape)
    own = builder.broadcast_to(builder.constant(colors.astype(np.int64)), shape)
    each = builder.emit("iota", shape=shape, axis=0, dtype=np.dtype(np.int64))
    return builder.cast(builder.emit("equal", own, each), dtype)
