"""What is certified: a scalar function at a point, and the entries that are looked at."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import optree

from graphjit.tracing.trace import trace
from graphjit.tracing.trees import NAMESPACE, Arguments
from graphjit.transforms.derive import Targets
from graphjit.weighted import scalar


class Entry(NamedTuple):
    """One element of one differentiated leaf.

    ``argument`` counts the differentiated arguments, ``leaf`` their float leaves.
    """

    argument: int
    leaf: int
    flat: int
    name: str


class Problem:
    """A function at a point.

    Attributes:
        loss: The function, or a weighted sum of the arrays that it returns.
        graph: Its trace, and ``inputs`` the values that go in.
        places: The differentiated arguments.
        names: What they are called.
        entries: The elements looked at.
        eps: The machine epsilon of the least precise floats in the graph.
        value: What NumPy gives.
    """

    def __init__(
        self, f: Callable[..., Any], args: tuple[Any, ...], places: tuple[int, ...],
        limit: int, seed: int,
    ) -> None:  # fmt: skip
        random = np.random.default_rng(seed)
        self.args, self.places = args, places
        self.loss = scalar(f, args, random)
        self.arguments = Arguments(f, args, {})
        traced = trace(self.loss, args)
        self.graph = traced.graph
        given = [self.arguments.leaves[i] for i in self.arguments.traced]
        self.inputs = [*given, *traced.captured]
        found = Targets(traced, places)
        self.positions = found.inputs
        self.names = [self.arguments.positional[place % len(args)][0] for place in places]
        self.entries = self.picked([len(t.inputs) for t in found.targets], limit, random)
        kinds = {n.aval.dtype for n in self.graph.nodes if n.aval.inexact}
        self.eps = max(float(np.finfo(kind).eps) for kind in kinds)
        with np.errstate(all="ignore"):
            self.value = float(self.loss(*args))

    def picked(self, counts: list[int], limit: int, random: Any) -> list[Entry]:
        """At most ``limit`` elements of each leaf."""
        entries, leaf = list[Entry](), 0
        for argument, count in enumerate(counts):
            for _ in range(count):
                value = np.asarray(self.inputs[self.positions[leaf]])
                every = np.arange(value.size)
                some = every if value.size <= limit else random.choice(every, limit, replace=False)
                name = self.arguments.names[self.arguments.traced[self.positions[leaf]]]
                entries += [
                    Entry(argument, leaf, int(i), name + index(int(i), value.shape))
                    for i in np.sort(some)
                ]
                leaf += 1
        return entries

    def size(self, argument: int) -> int:
        """How many entries of an argument are looked at."""
        return sum(entry.argument == argument for entry in self.entries)

    def input_of(self, entry: Entry) -> int:
        """The input of the graph that holds an entry."""
        return self.positions[entry.leaf]

    def value_of(self, entry: Entry) -> float:
        """Where the entry stands."""
        return float(np.ravel(self.inputs[self.input_of(entry)])[entry.flat])

    def targets(self, gradients: Any) -> list[Any]:
        """The float leaves of a tuple of gradients."""
        return optree.tree_leaves(gradients, namespace=NAMESPACE)

    def rebuilt(self, leaves: list[Any]) -> tuple[Any, ...]:
        """The arguments with other leaves."""
        return optree.tree_unflatten(self.arguments.spec, leaves)[0]  # type: ignore[return-value]

    def direction(self, entry: Entry) -> tuple[Any, ...]:
        """Zeros of the float leaves, one at the entry; None for what does not move."""
        leaves: list[Any] = [None] * len(self.arguments.leaves)
        for number, place in enumerate(self.positions):
            move = np.zeros_like(np.asarray(self.inputs[place]))
            if number == entry.leaf:
                move.flat[entry.flat] = 1
            leaves[self.arguments.traced[place]] = move if move.ndim else move[()]
        return self.rebuilt(leaves)

    def moved(self, entry: Entry, step: float) -> float:
        """The function's value in double precision, by NumPy, with one entry moved."""
        leaves = [doubled(leaf) for leaf in self.arguments.leaves]
        place = self.arguments.traced[self.input_of(entry)]
        there = np.array(leaves[place], float)
        there.flat[entry.flat] += step
        leaves[place] = there if there.ndim else float(there)
        return float(self.loss(*self.rebuilt(leaves)))


def doubled(leaf: Any) -> Any:
    """Float arrays in double precision, all else as it is."""
    floats = isinstance(leaf, np.ndarray | np.generic) and leaf.dtype.kind == "f"
    return leaf.astype(float) if floats else leaf


def index(flat: int, shape: tuple[int, ...]) -> str:
    """A place in an array, as in ``[2,3]``."""
    return f"[{','.join(map(str, np.unravel_index(flat, shape)))}]" if shape else ""
