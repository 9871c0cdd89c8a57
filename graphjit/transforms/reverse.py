"""Reverse mode for results of any shape: a function, and how to pull cotangents back through it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from graphjit.errors import DTypeError, ShapeError, TraceError
from graphjit.forks import Lock, unforked
from graphjit.ir.aval import Aval
from graphjit.ir.dispatch import builder_of, lift
from graphjit.ir.graph import Graph
from graphjit.ir.symbol import Symbol
from graphjit.tracing.origin import user_line
from graphjit.tracing.trace import active, trace_call
from graphjit.tracing.trees import Arguments, Leaf, flatten
from graphjit.transforms.compiled import Compiled
from graphjit.transforms.derive import Derived, Main, Targets, shown, simplified
from graphjit.transforms.forward import described
from graphjit.transforms.known import known
from graphjit.transforms.methods import check_callable
from graphjit.transforms.specialise import Program, build_program, conform
from graphjit.transforms.threads import checked_threads, compiled_for

COTANGENT_HINT = "A cotangent has the container, shapes and dtypes of the result."


def vjp(
    f: Callable[..., Any], *primals: Any, has_aux: bool = False, threads: int | None = None
) -> tuple[Any, ...]:
    """The value of ``f``, and the function that pulls cotangents back to its arguments.

    The first half of the program computes the value and keeps what the second half needs; the
    second half, ``pull``, can be called any number of times, and costs two to three times as
    much as ``f``, however many arguments there are. Called inside another traced function, both
    become part of it.

    Args:
        f: The function, plain or transformed; it may return any container of arrays.
        *primals: Its arguments, all of floats.
        has_aux: ``f`` returns ``(result, auxiliary)``; only the result is differentiated.
        threads: As in ``jit``, for the function and for ``pull``.

    Returns:
        ``(result, pull)``, or with ``has_aux`` ``(result, pull, auxiliary)``. ``pull`` takes a
        cotangent with the container, shapes and dtypes of the result, and returns a tuple
        with the cotangent of each primal.

    Raises:
        DTypeError: a primal or the result holds integers.
    """
    check_callable(f)
    pull = Pullback(has_aux, checked_threads(threads))
    return known(pullback_of, f, pull)(*primals)  # type: ignore[no-any-return]


def pullback_of(f: Callable[..., Any], pull: Pullback) -> Compiled:
    """The compiled first half."""
    return Compiled(f, pull, threads=pull.threads)


@dataclass(frozen=True)
class Pullback:
    """The value of a function with its ``pull``."""

    has_aux: bool = False
    threads: int | None = None

    def derive(self, arguments: Arguments) -> Derived:
        """The first half of the graph; the second is held by ``pull``.

        Raises:
            TraceError, DTypeError: there is no such derivative.
        """
        traced = trace_call(arguments)
        main = Main(traced, has_aux=self.has_aux)
        targets = Targets(traced, tuple(range(len(arguments.args))))
        first, second = halves(main, targets)
        count = len(main.graph.outputs)
        name = f"pull_{getattr(arguments.function, '__name__', 'function')}"
        program = Lazy(second, name, self.threads)

        def result(values: Sequence[Any]) -> Any:
            pull = Pull(main, targets, program, values[count:])
            returned = main.rebuilt(values[:count])
            return (returned[0], pull, returned[1]) if self.has_aux else (returned, pull)

        weak = (*main.weak, *[False] * (len(first.outputs) - count))
        return Derived(arguments, traced, first, result, weak)


def halves(main: Main, targets: Targets) -> tuple[Graph, Graph]:
    """The graph of the value and what is kept, and the graph from that and cotangents on."""
    from graphjit.passes.adjoint import pullback  # the passes are needed only now
    from graphjit.passes.split import split

    given = len(main.graph.inputs)
    both = pullback(simplified(main.graph), targets.inputs, range(main.count))
    late = range(given, given + main.count)
    return split(simplified(both), late, len(main.graph.outputs))


@dataclass
class Lazy:
    """A graph that is compiled when it is first run."""

    graph: Graph
    name: str
    threads: int | None = None
    program: Program | None = None
    lock: Lock = field(default_factory=Lock)

    def __call__(self, values: Sequence[Any]) -> list[Any]:
        """The outputs for concrete inputs."""
        with self.lock:
            if self.program is None:
                name = "".join(c if c.isascii() and c.isalnum() else "_" for c in self.name)
                with unforked(), compiled_for(self.threads):
                    self.program = build_program(self.graph, name, ())
        avals = self.graph.avals(self.graph.inputs)
        pairs = zip(values, avals, strict=True)
        outputs = self.program(*[conform(value, aval.shape, aval.dtype) for value, aval in pairs])
        return [value if np.ndim(value) else value[()] for value in outputs]


class Pull:
    """Pulls a cotangent of the result back to the arguments: a function of one argument."""

    def __init__(self, main: Main, targets: Targets, program: Lazy, kept: Sequence[Any]) -> None:
        self._main, self._targets = main, targets
        self._program, self._kept = program, kept
        self.__name__ = self.__qualname__ = program.name

    def __call__(self, cotangent: Any) -> Any:
        """The cotangents of the arguments, as a tuple.

        Raises:
            TraceError, ShapeError, DTypeError: the cotangent does not look like the result.
        """
        given = self.checked(cotangent)
        values = [*self._kept, *given]
        symbols = [value for value in values if isinstance(value, Symbol)]
        outer = active() or (builder_of(*symbols) if symbols else None)
        if outer is None:
            return self._targets.tree(self._program(values))
        graph = self._program.graph
        pairs = zip(values, graph.avals(graph.inputs), strict=True)
        place = outer.inline(graph, [lift(outer, value, aval.dtype).id for value, aval in pairs])
        outputs = zip(graph.outputs, self._targets.weak, strict=True)
        return self._targets.tree([Symbol(outer, place[i], weak=weak) for i, weak in outputs])

    def checked(self, cotangent: Any) -> list[Any]:
        """The cotangent's leaves, one for each float of the result."""
        arguments = Arguments(self, (cotangent,), {})
        spec = self._main.tree([0.0] * self._main.count)
        leaves, given = flatten(cotangent)
        expected = flatten(spec)[1]
        if given != expected:
            raise TraceError(
                "the cotangent has another structure than the result", origin=user_line(),
                operands=(f"result: {shown(expected)}", f"cotangent: {shown(given)}"),
                hint=COTANGENT_HINT,
            )  # fmt: skip
        wanted = self._main.graph.avals(self._main.graph.outputs[: self._main.count])
        rows = zip(self._main.names, wanted, arguments.kinds, strict=True)
        for name, aval, kind in rows:
            check_cotangent(name, aval, kind)
        return leaves

    def __repr__(self) -> str:
        return f"<{self.__name__}>"


def check_cotangent(name: str, aval: Aval, given: Any) -> None:
    """Refuse a cotangent of another form than the result; a Python float is one of any scalar.

    Raises:
        ShapeError, DTypeError: naming the part of the result.
    """
    if isinstance(given, Leaf) and (given.aval == aval or (given.weak and not aval.shape)):
        return
    shape = isinstance(given, Leaf) and given.aval.shape != aval.shape
    raise (ShapeError if shape else DTypeError)(
        f"the cotangent of {name} must be {aval}, not {described(given)}",
        origin=user_line(),
        operands=(f"{name}: {aval}", f"cotangent: {described(given)}"),
        hint=COTANGENT_HINT,
    )
