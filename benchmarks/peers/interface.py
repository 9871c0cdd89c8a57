"""What a peer offers: workloads that it compiles and runs, with results as NumPy arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from time import perf_counter
from typing import Any, Protocol

import numpy as np
from peers.problems import Problem


class Unsupported(Exception):  # noqa: N818 - no failure: the peer has no such thing
    """The peer cannot express a workload; the message says why."""


class Built(Protocol):
    """One workload on one peer, with the inputs in the peer's own types.

    ``compile`` then ``run`` is the first gradient, and so is ``run`` alone.
    """

    def compile(self) -> dict[str, float]:
        """Trace and compile, without running where the peer can; seconds by phase, if known."""
        ...

    def run(self) -> Any:
        """Value and gradients in the peer's own types, waited for."""
        ...

    def arrays(self, result: Any) -> list[np.ndarray]:
        """What ``run`` returned in NumPy: the value, then a gradient for each leaf, in order."""
        ...


class Peer(Protocol):
    """A library, or one way of using it. Each module here has one class for each of its ways."""

    name: str

    def warm_up(self) -> None:
        """Compile something unrelated, so that what a process loads once is loaded."""
        ...

    def build(self, problem: Problem, args: tuple[Any, ...]) -> Built:
        """A workload on these arguments; nothing is compiled yet.

        Raises:
            Unsupported: the peer has no such thing.
        """
        ...


def leaves(tree: Any) -> list[Any]:
    """What is in nested tuples and lists, in order."""
    if isinstance(tree, tuple | list):
        return [leaf for item in tree for leaf in leaves(item)]
    return [tree]


def mapped(function: Callable[[Any], Any], tree: Any) -> Any:
    """A function of each leaf of nested tuples and lists."""
    if isinstance(tree, tuple | list):
        return tuple(mapped(function, item) for item in tree)
    return function(tree)


def rebuilt(tree: Any, values: Iterable[Any]) -> Any:
    """Nested tuples like a tree, with these leaves."""
    values = iter(values)
    return mapped(lambda _: next(values), tree)


def looped(step: Any, init: Any, xs: Any, length: int | None = None) -> Any:
    """A scan by Python, of arrays with a step each: the carry, and a list of what steps gave."""
    outs = []
    for i in range(len(xs) if length is None else length):
        init, out = step(init, None if xs is None else xs[i])
        outs.append(out)
    return init, outs


def numpy_leaves(result: Any) -> list[np.ndarray]:
    return [np.asarray(leaf) for leaf in leaves(result)]


class Stopwatch:
    """Seconds by phase: each lap ends one."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.last = perf_counter()

    def lap(self, name: str) -> None:
        """The time since the lap before is this phase's."""
        now = perf_counter()
        self.seconds[name], self.last = now - self.last, now
