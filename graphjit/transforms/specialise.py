"""One program for one kind of call, and how a call's arguments reach it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from graphjit.ir.graph import Graph
from graphjit.tracing.trees import Leaf
from graphjit.transforms.derive import Derived
from graphjit.transforms.explain import Cost
from graphjit.transforms.quick import MISS, quick_launcher


class Program(Protocol):
    """What ``graphjit.codegen.build.build`` returns."""

    graph: Graph
    timings: dict[str, float]

    @property
    def source(self) -> str:
        """The generated text."""
        ...

    def __call__(self, *args: Any) -> Sequence[Any]:
        """The outputs, fresh, for conforming arguments."""
        ...


def build_program(graph: Graph, name: str, labels: Sequence[str]) -> Program:
    """Compile a graph; ``labels`` are what the user calls its inputs."""
    from graphjit.codegen.build import build  # imports Numba: 0.3 s, needed only now

    return build(graph, name, labels)


def optimised(graph: Graph) -> Graph:
    """The graph after all passes, as it is compiled."""
    from graphjit.passes.pipeline import PROGRAM, run  # loads networkx: 0.17 s

    return run(graph, PROGRAM)


class Specialisation:
    """A compiled program with what it needs at each call.

    Attributes:
        changed: What the trace relied on and is no longer so (see ``Guards.changed``).
        runs: How often it was called through Python.
        settled: Whether it is decided if it is called natively.
    """

    def __init__(self, derived: Derived, program: Program, *, statics: bool) -> None:
        self.cost = Cost({}, ())
        self.derived, self.program = derived, program
        traced = derived.traced
        self.changed: Callable[[], str] = traced.guards.changed
        arguments = derived.arguments
        self.traced = arguments.traced
        self.inputs = tuple(
            (kind.aval.shape, kind.aval.dtype) for kind in arguments.kinds if isinstance(kind, Leaf)
        )
        graph = derived.graph
        self.hidden = tuple((a, a.shape, a.dtype) for a in traced.captured)
        avals = graph.avals(graph.outputs)
        self.scalars = tuple(i for i, aval in enumerate(avals) if not aval.shape)
        single = traced.outputs.spec.is_leaf() and traced.outputs.places == (0,)
        alone = len(avals) == 1 and single and derived.result == traced.outputs.rebuilt
        self.result = (lambda values: values[0]) if alone else derived.result
        self.statics, self.runs, self.settled = statics, 0, False
        self._quick: Callable[[tuple[Any, ...]], Any] | None = None

    def quick(self, args: tuple[Any, ...]) -> Any:
        """The result, or ``MISS`` where the arguments are not quite like those traced."""
        if self._quick is None:  # written when it is first needed
            self._quick = self._launcher() or missed
        return self._quick(args)

    def _launcher(self) -> Callable[[tuple[Any, ...]], Any] | None:
        arguments = self.derived.arguments
        if arguments.kwargs or self.statics or not hasattr(self.program, "launch"):
            return None
        captured = self.derived.traced.captured
        return quick_launcher(arguments.args, arguments.kinds, captured, self.program, self.result)

    def stale(self) -> str:
        """Why the program no longer says what the function would, or an empty string."""
        reason = self.changed()
        if reason:
            return reason
        for array, shape, dtype in self.hidden:
            if array.shape != shape or array.dtype != dtype:
                return f"a captured array changed its form to {array.dtype}{list(array.shape)}"
        return ""

    def conformed(self, leaves: Sequence[Any]) -> list[Any]:
        """The traced leaves in the form that the program reads."""
        values = [leaves[i] for i in self.traced]
        pairs = zip(values, self.inputs, strict=True)
        return [conform(value, shape, dtype) for value, (shape, dtype) in pairs]

    def run(self, arrays: Sequence[Any]) -> Any:
        """Call the program on conforming arguments."""
        if self.hidden:
            arrays = (*arrays, *[conform(*hidden) for hidden in self.hidden])
        values = self.program(*arrays)
        if self.scalars:
            values = list(values)
            for index in self.scalars:
                values[index] = values[index][()]
        return self.result(values)


def missed(args: tuple[Any, ...]) -> Any:  # noqa: ARG001 - stands where a launcher would
    """No call is as traced."""
    return MISS


def conform(value: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
    """The value as the program reads it: in C order, aligned, native; a scalar for shape ()."""
    if not shape:
        plain = type(value) is float or (type(value) is dtype.type and dtype.isnative)
        return value if plain else np.asarray(value, dtype.newbyteorder("="))[()]
    if type(value) is np.ndarray and dtype.isnative:
        flags = value.flags
        good = flags.carray or (flags.c_contiguous and flags.aligned)
        if good and (value.dtype is dtype or value.dtype == dtype):
            return value
    array = np.array(value, dtype=dtype.newbyteorder("="), order="C", copy=None, subok=False)
    return array if array.flags.aligned else array.copy()
