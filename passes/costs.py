"""What it costs to store a value between two loops, and to compute it again in the second.

A cost is about how many nanoseconds an element takes on one core. Operations take the time of
vectors of 64 bytes, measured in loops that fit the cache: an addition 0.05 for float64, a division
or a root 0.3, a function such as exp 0.8; half of that for float32. An array of up to ``CACHE``
bytes is found in the cache by the next loop, at 0.02 for each byte read; a larger one comes from
memory, at 0.1. Writing costs twice as much, for a line is read before it is written.

So float64 values of a small array are worth nine additions, but no function; those of a large one
are worth an exp and a few divisions.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from graphjit.ir.aval import DType
from graphjit.ir.graph import Node
from graphjit.ir.primitive import TABLE

CACHE = 512 * 1024  # bytes
NEAR, FAR = 0.02, 0.1  # of a byte that is read
ARITHMETIC, DIVISION, FUNCTION = 0.05, 0.3, 0.8  # of an operation on eight bytes
SIMPLE = frozenset({
    "add", "subtract", "multiply", "strong_multiply", "negative", "positive", "absolute", "square",
    "where", "maximum", "minimum", "less", "less_equal", "greater", "greater_equal", "equal",
    "not_equal", "logical_and", "logical_or", "logical_not", "cast", "sign", "isfinite", "isnan",
    "stop_gradient",
})  # fmt: skip
DIVISIONS = frozenset({"divide", "reciprocal", "sqrt"})


class Array(Protocol):
    """Anything stored: an aval, or a buffer of a program."""

    @property
    def size(self) -> int:
        """The elements."""

    @property
    def dtype(self) -> DType:
        """Their dtype."""


def work(node: Node) -> float:
    """To compute one element of a map."""
    return operation(node.op, node.aval.dtype)


def operation(op: str, dtype: DType) -> float:
    """To do one operation."""
    if op in SIMPLE:
        whole = 3 * ARITHMETIC if op == "strong_multiply" else ARITHMETIC
    else:
        whole = DIVISION if op in DIVISIONS else FUNCTION
    return whole * max(dtype.itemsize, 4) / 8


def reading(array: Array) -> float:
    """To read one element."""
    return (NEAR if near(array) else FAR) * array.dtype.itemsize


def near(array: Array) -> bool:
    """Whether the next loop finds it in the cache."""
    return array.size * array.dtype.itemsize <= CACHE


def storing(array: Array, readers: int) -> float:
    """To write one element, and to read it in so many loops."""
    return (2 + readers) * reading(array)


def computing(nodes: Iterable[Node], value: Array, fresh: Iterable[Array]) -> float:
    """To compute one element of a value again.

    Args:
        nodes: What is computed.
        value: What comes of it.
        fresh: What is read for that and would not be read otherwise; an array that is repeated
            costs as much less as it is smaller.
    """
    return sum(map(work, nodes)) + rereading(value, fresh)


def rereading(value: Array, fresh: Iterable[Array]) -> float:
    """To read for one element of a value what is repeated in it."""
    return sum(reading(array) * min(1.0, array.size / max(value.size, 1)) for array in fresh)


def elementwise(node: Node) -> bool:
    """Whether a node may be computed again at all: a map, and one that cannot fail."""
    return TABLE[node.op].kind == "map" and node.op not in ("wrap_index", "power")
