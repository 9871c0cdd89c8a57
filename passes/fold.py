"""Constants."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphjit.errors import GraphJITError
from graphjit.ir.graph import Graph, Node
from graphjit.ir.primitive import TABLE
from graphjit.passes.rewrite import REPEATED, Rules, Site, Term, reached, rewrite

LARGEST_RESULT, LARGEST_OPERAND = 64, 4096
# What has no operands, no single result, or would only make a small constant larger.
LEFT = frozenset(
    {
        *("input", "item", "constant", "iota", "broadcast", "hold", "fused"),
        *("scan", "cond", "while", "unwind", "custom_vjp", "custom_jvp", "checkpoint"),
    }
)


def fold(graph: Graph) -> Graph:
    """Compute what depends on constants only.

    Safe, because it is computed by the row's own NumPy function, as ``evaluate`` would each time (a
    repeated number once, rounded as NumPy rounds a scalar). Where that raises (an index out of
    range), the node stays, to raise when the program runs. Only results of at most 64 elements
    become constants, and a broadcast stays one: a number repeated is cheaper than an array of it.
    So a constant array of equal elements becomes a broadcast number, and one that counts from 0 an
    ``iota``. Inputs, hidden ones too, are no constants: their contents may change from call to
    call.

    Before: ``%0 = constant(2)``, ``%1 = sqrt(%0)``, ``%3 = multiply(%1, %2)``; after:
    ``%0 = constant(1.4142135623730951)``, ``%2 = multiply(%0, %1)``.
    """
    some = any(foldable(graph, node) for node in graph.nodes)
    return rewrite(graph, FOLD) if some else reached(graph)


def foldable(graph: Graph, node: Node) -> bool:
    """Whether a rule may apply: most graphs have nothing to fold, and stay as they are."""
    if node.op == "constant":
        return bool(node.aval.shape)
    if not node.inputs or node.op in LEFT:
        return False
    return REPEATED.issuperset([graph.nodes[i].op for i in node.inputs])


def uniform(site: Site) -> Term | None:
    """An array of equal elements is a number, repeated."""
    value = site.params["value"]
    if value.ndim == 0 or value.size == 0:
        return None
    first = value.reshape(-1)[:1]
    return site.full(first[0]) if value.tobytes() == first.tobytes() * value.size else None


def counting(site: Site) -> Term | None:
    """An array 0, 1, 2, ... along its one long axis needs no memory."""
    value = site.params["value"]
    long = [axis for axis, n in enumerate(value.shape) if n != 1]
    if len(long) != 1 or value.dtype.kind not in "iuf" or value.size < 2:
        return None
    if value.tobytes() != np.arange(value.size).astype(value.dtype).tobytes():
        return None
    return site.make("iota", shape=value.shape, axis=long[0], dtype=value.dtype)


def computed(site: Site, *operands: Term) -> Term | None:
    """An operation on known values, done now."""
    if site.op in LEFT:
        return None
    values = []
    for operand in operands:
        value = operand.known
        if value is None:
            return None
        values.append(value)
    if TABLE[site.op].kind == "map" and all(_repeats(v) for v in values):
        values = [v.reshape(-1)[0] for v in values]
        result = _apply(site, values)
        return None if result is None else site.full(site.rewriter.constant(result))
    if site.aval.size > LARGEST_RESULT or any(v.size > LARGEST_OPERAND for v in values):
        return None
    result = _apply(site, values)
    return None if result is None else site.make("constant", value=result)


def _repeats(value: Any) -> bool:
    return bool(value.size) and not any(value.strides)


def _apply(site: Site, values: list[Any]) -> Any:
    try:
        with np.errstate(all="ignore"):
            result = TABLE[site.op].numpy(*values, **site.params)
    except (GraphJITError, ValueError, ArithmeticError):
        return None
    return np.asarray(result, dtype=site.aval.dtype)


FOLD: Rules = {"constant": (uniform, counting), "repeated": (computed,)}
