"""The graph: typed nodes in topological order, and its networkx view."""

from __future__ import annotations

import linecache
import struct
from collections.abc import Hashable, Mapping
from dataclasses import field
from functools import cached_property
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import numpy as np

from graphjit.ir.aval import Aval
from graphjit.records import dataclass

if TYPE_CHECKING:
    import networkx as nx


@dataclass(frozen=True, slots=True)
class Origin:
    """The user's line a node comes from; ``adjoint`` marks the backward pass."""

    file: str
    line: int
    adjoint: bool = False

    @property
    def place(self) -> str:
        """The file's own name and the line: ``model.py:12``."""
        return f"{PurePath(self.file).name}:{self.line}"

    @property
    def source(self) -> str:
        """The text of the line, or nothing where there is no such file."""
        try:
            return linecache.getline(self.file, self.line).strip()
        except ValueError:  # a name that no file can have
            return ""

    def __str__(self) -> str:
        return f"{self.place} adjoint" if self.adjoint else self.place


INTEGERS = frozenset({int})
PLAIN = frozenset({int, str, bool, type(None)})


def key(value: Any) -> Hashable:
    """What stands for a static parameter where parameters are compared or hashed.

    Two keys are equal exactly where the values have the same type and the same bits: ``0.0`` is
    not ``-0.0``, ``1`` is not ``True``, and a NaN is itself.
    """
    kind = type(value)
    if kind in PLAIN:
        return kind, value
    if kind is tuple and INTEGERS.issuperset(map(type, value)):
        return kind, value
    match value:
        case np.ndarray() | np.generic():
            return type(value), value.dtype.str, value.shape, value.tobytes()
        case float():
            return type(value), struct.pack("<d", value)
        case tuple() | list():
            return type(value), *map(key, value)
        case Mapping():
            return Mapping, frozenset((name, key(item)) for name, item in value.items())
        case slice():
            return slice, key(value.start), key(value.stop), key(value.step)
    return type(value), value


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """One operation.

    ``id`` is the node's position in its graph, ``inputs`` the ids of the operands in order,
    ``aval`` the result; a node with several results has a tuple of avals and is read through
    ``item`` nodes only. ``params`` are static and never changed; nodes are equal where theirs
    have the same bits.
    """

    id: int
    op: str
    inputs: tuple[int, ...]
    aval: Aval
    params: Mapping[str, Any] = field(default_factory=dict)
    origin: Origin | None = None
    results: tuple[Aval, ...] = ()

    @property
    def of_user(self) -> bool:
        """Whether a line of the user's computes it, and no backward pass or basis of ours."""
        return self.origin is not None and not self.origin.adjoint

    @property
    def bodies(self) -> tuple[Graph, ...]:
        """The graphs that the node carries: among its params, or in a tuple or list of them."""
        if not self.params:
            return ()
        return tuple(
            item
            for value in self.params.values()
            for item in (value if isinstance(value, tuple | list) else (value,))
            if isinstance(item, Graph)
        )

    def _fields(self) -> tuple[Hashable, ...]:
        return self.id, self.op, self.inputs, self.aval, self.origin, self.results

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Node):
            return NotImplemented
        return self._fields() == other._fields() and key(self.params) == key(other.params)

    def __hash__(self) -> int:
        return hash(self._fields())

    def __str__(self) -> str:
        from graphjit.ir.text import show_node

        return show_node(self)


@dataclass(frozen=True)
class Graph:
    """Nodes in topological order; ``inputs`` and ``outputs`` are node ids.

    Node ids are positions: ``graph.nodes[node.id] is node``.
    """

    nodes: tuple[Node, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    @cached_property
    def dag(self) -> nx.DiGraph[int]:
        """The frozen networkx view; ``edge["args"]`` holds the operand positions."""
        from graphjit.ir.dag import digraph

        return digraph(self)

    @cached_property
    def users(self) -> tuple[tuple[int, ...], ...]:
        """For each node the ids of the nodes that read it, in order, once each."""
        users: list[list[int]] = [[] for _ in self.nodes]
        for node in self.nodes:
            for operand in dict.fromkeys(node.inputs):
                users[operand].append(node.id)
        return tuple(map(tuple, users))

    def avals(self, ids: tuple[int, ...]) -> tuple[Aval, ...]:
        """The avals of some nodes."""
        return tuple(self.nodes[i].aval for i in ids)

    def count(self, op: str) -> int:
        """How many nodes have this operation."""
        return sum(node.op == op for node in self.nodes)

    def __len__(self) -> int:
        return len(self.nodes)

    def __str__(self) -> str:
        from graphjit.ir.text import show

        return show(self)
