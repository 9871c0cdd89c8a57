"""Run a graph with NumPy itself: the oracle of every pass and every renderer."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphjit.errors import ShapeError
from graphjit.ir.aval import aval_of
from graphjit.ir.graph import Graph, Node
from graphjit.ir.primitive import ROWS, load


def evaluate(graph: Graph, *args: Any) -> tuple[Any, ...]:
    """The outputs of the graph on arrays, one NumPy operation a node.

    A value is dropped after its last use, so memory follows the graph's width.

    Raises:
        ShapeError: an argument's shape or dtype is not that of the input.
    """
    load()
    env: dict[int, Any] = {}
    for ident, arg in zip(graph.inputs, args, strict=True):
        expected = graph.nodes[ident].aval
        if aval_of(arg) != expected:
            raise ShapeError(f"input %{ident} takes {expected}, not {aval_of(arg)}")
        env[ident] = np.asarray(arg, dtype=expected.dtype)
    last = {operand: node.id for node in graph.nodes for operand in node.inputs}
    keep = set(graph.outputs)
    with np.errstate(all="ignore"):
        for node in graph.nodes:
            if node.op != "input":
                env[node.id] = _apply(node, [env[i] for i in node.inputs])
            for operand in set(node.inputs):
                if last[operand] == node.id and operand not in keep:
                    del env[operand]
    return tuple(env[i] for i in graph.outputs)


def _apply(node: Node, operands: list[Any]) -> Any:
    if node.op == "item":
        return operands[0][node.params["index"]]
    result = ROWS[node.op].numpy(*operands, **node.params)
    return result if node.results else np.asarray(result, dtype=node.aval.dtype)
