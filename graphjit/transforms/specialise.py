"""One program for one kind of call, and how a call's arguments reach it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from graphjit.ir.graph import Graph
from graphjit.launch.large import large_bytes
from graphjit.records import NamedTuple
from graphjit.tracing.guards import Guards
from graphjit.tracing.trees import Arguments, Leaf
from graphjit.transforms.derive import Derived
from graphjit.transforms.donate import released
from graphjit.transforms.explain import Cost
from graphjit.transforms.quick import MISS, quick_filler, quick_launcher


class Program(Protocol):
    """What ``graphjit.codegen.build.build`` returns, or what was loaded in its place."""

    timings: dict[str, float]

    @property
    def graph(self) -> Graph:
        """The optimised and fused graph."""
        ...

    @property
    def source(self) -> str:
        """The generated text."""
        ...

    def __call__(self, *args: Any) -> Sequence[Any]:
        """The outputs, fresh, for conforming arguments."""
        ...


def build_program(
    graph: Graph, name: str, labels: Sequence[str], donated: Sequence[tuple[int, int]] = ()
) -> Program:
    """Compile a graph; see ``graphjit.codegen.build.build``."""
    from graphjit.codegen.build import build  # passes and renderers: needed only now

    return build(graph, name, labels, donated)


def optimised(graph: Graph) -> Graph:
    """The graph after all passes, as it is compiled."""
    from graphjit.passes.pipeline import PROGRAM, run  # the passes are needed only now

    return run(graph, PROGRAM)


class Answer(NamedTuple):
    """What a call needs beside its program, from a trace or from the disk.

    Attributes:
        arguments: The call that it answers.
        captured: The arrays behind the hidden inputs.
        guards: What the trace relied on.
        result: Makes what the user gets of the program's outputs.
        mode: What was chosen where there was a choice.
        derive: The trace and what was made of it, possibly only now.
    """

    arguments: Arguments
    captured: Sequence[Any]
    guards: Guards
    result: Callable[[Sequence[Any]], Any]
    mode: str
    derive: Callable[[], Derived]

    @classmethod
    def of(cls, derived: Derived) -> Answer:
        """That of a trace."""
        traced, outputs = derived.traced, derived.traced.outputs
        single = outputs.spec.is_leaf() and outputs.places == (0,)
        alone = len(derived.graph.outputs) == 1 and single and derived.result == outputs.rebuilt
        result = only if alone else derived.result
        own = derived.arguments, traced.captured, traced.guards
        return cls(*own, result, derived.mode, lambda: derived)


def only(values: Sequence[Any]) -> Any:
    """The result where there is but one output, in no container."""
    return values[0]


class Specialisation:
    """A compiled program with what it needs at each call.

    Attributes:
        changed: What the trace relied on and is no longer so (see ``Guards.changed``).
        runs: How often it was called through Python.
        large: How many bytes of its result have memory that a native call fills again.
        settled: Whether it is decided if it is called natively.
    """

    def __init__(self, answer: Answer, program: Program, *, statics: bool) -> None:
        self.cost = Cost({}, ())
        self.answer, self.program = answer, program
        self.arguments, self.guards, self.result = answer.arguments, answer.guards, answer.result
        self.changed: Callable[[], str] = answer.guards.changed
        self.traced = self.arguments.traced
        self.inputs = tuple(
            (kind.aval.shape, kind.aval.dtype)
            for kind in self.arguments.kinds
            if isinstance(kind, Leaf)
        )
        self.hidden = tuple((a, a.shape, a.dtype) for a in answer.captured)
        self.statics, self.runs, self.settled = statics, 0, False
        self._quick: Callable[[tuple[Any, ...]], Any] | None = None
        self._filler: Callable[[tuple[Any, ...]], Any] | None = None
        memory = getattr(program, "memory", None)
        self.donated = tuple(memory.donated.values()) if memory is not None else ()
        self.large = large_bytes(memory.outputs) if memory is not None else 0
        self._destinations: Any = None

    @property
    def derived(self) -> Derived:
        """The trace, and what was made of it; of a loaded program it is made now."""
        return self.answer.derive()

    @property
    def pending(self) -> bool:
        """Whether better code for the program is being made."""
        return bool(getattr(self.program, "pending", False))

    def quick(self, args: tuple[Any, ...]) -> Any:
        """The result, or ``MISS`` where the arguments are not quite like those traced."""
        if self._quick is None:  # written when it is first needed
            self._quick = self._launcher(quick_launcher) or missed
        return self._quick(args)

    def quick_into(self, args: tuple[Any, ...]) -> Any:
        """The result in the arrays of the last argument; or ``MISS``, as ``quick``."""
        if self._filler is None:
            self._filler = self._launcher(quick_filler) or missed
        return self._filler(args)

    def _launcher(
        self, write: Callable[..., Callable[[tuple[Any, ...]], Any] | None]
    ) -> Callable[[tuple[Any, ...]], Any] | None:
        arguments = self.arguments
        if arguments.kwargs or self.statics or not hasattr(self.program, "launch"):
            return None
        captured = self.answer.captured
        return write(arguments.args, arguments.kinds, captured, self.program, self.result)

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
        return self.result(self.program(*self._inputs(arrays)))

    def run_into(self, arrays: Sequence[Any], out: Any) -> Any:
        """The same; the result is in the arrays of ``out``.

        Raises:
            OutputError: an array that cannot hold its part of the result.
        """
        from graphjit.transforms.out import Destinations  # only for those who use it

        program: Any = self.program
        inputs = self._inputs(arrays)
        if self._destinations is None:
            self._destinations = Destinations(self.result, program.outputs)

        def run(outputs: list[Any]) -> Sequence[Any]:
            if self.donated:
                return program(*inputs)  # type: ignore[no-any-return]
            program.into(inputs, outputs)
            return outputs

        return self._destinations.filled(run, inputs, out)

    def _inputs(self, arrays: Sequence[Any]) -> Sequence[Any]:
        """Conforming arguments with the captured arrays, those that are overwritten as copies."""
        if self.hidden:
            arrays = (*arrays, *[conform(*hidden) for hidden in self.hidden])
        if self.donated:
            arrays = released(arrays, self.donated)
        return arrays


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
