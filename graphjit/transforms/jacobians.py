"""Jacobians: one program of as many sweeps as there are inputs (forward) or outputs (reverse)."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, overload

import numpy as np

from graphjit.ir.aval import Aval
from graphjit.ir.builder import Builder
from graphjit.ir.graph import Graph
from graphjit.ir.symbol import Symbol
from graphjit.tracing.trace import trace_call
from graphjit.tracing.trees import Arguments
from graphjit.transforms.compiled import Compiled
from graphjit.transforms.decorators import Decorator, Function, Names, Numbers, positions
from graphjit.transforms.derive import Derived, Main, Targets, plural, simplified

Mode = Literal["forward", "reverse"]


class JacobianFunction(Compiled):
    """A compiled function that returns a Jacobian."""

    def mode(self, *args: Any, **kwargs: Any) -> str:
        """Which mode these arguments take and why: ``forward: 3 inputs, 10 outputs``."""
        arguments = self._arguments(args, kwargs)
        known = self._programs.get(arguments.key)
        return (known.answer if known is not None else self._derive(arguments)).mode


@dataclass(frozen=True)
class Jacobian:
    """All derivatives of a function's result; the cheaper mode where none is given."""

    argnums: int | tuple[int, ...] = 0
    has_aux: bool = False
    mode: Mode | None = None

    def derive(self, arguments: Arguments) -> Derived:
        """A graph of the Jacobian's blocks, one for each output and input.

        Raises:
            TraceError, DTypeError: there is no such Jacobian.
        """
        traced = trace_call(arguments)
        main, targets = Main(traced, has_aux=self.has_aux), Targets(traced, self.argnums)
        graph = simplified(main.graph)
        mode, why = self.cheaper(graph, targets.inputs, main.count)
        graph = Blocks(graph, targets.inputs, main.count).graph(mode)
        count, width = main.count * len(targets.inputs), len(targets.inputs)
        auxiliary = main.weak[main.count :]

        def result(values: Sequence[Any]) -> Any:
            rows = [targets.tree(values[i : i + width]) for i in range(0, count, width)]
            jacobian = main.tree(rows)
            return (jacobian, main.auxiliary(values[count:])) if self.has_aux else jacobian

        return Derived(arguments, traced, graph, result, (*[False] * count, *auxiliary), why)

    def cheaper(self, graph: Graph, wrt: Sequence[int], count: int) -> tuple[Mode, str]:
        """The mode that needs fewer sweeps, and why; forward, which costs less each, on a tie."""
        columns = sum(graph.nodes[graph.inputs[i]].aval.size for i in wrt)
        rows = sum(graph.nodes[i].aval.size for i in graph.outputs[:count])
        mode: Mode = self.mode or ("forward" if columns <= rows else "reverse")
        return mode, f"{mode}: {plural(columns, 'input')}, {plural(rows, 'output')}"


class Blocks:
    """The blocks of a Jacobian: for each of the first outputs, one for each input of ``wrt``.

    A block has the output's axes, then the input's. The basis of a sweep is an identity matrix that
    the graph makes itself; what does not depend on it is computed once.
    """

    def __init__(self, graph: Graph, wrt: Sequence[int], count: int) -> None:
        self.primal, self.wrt, self.count = graph, wrt, count
        self.builder = Builder()
        nodes = [graph.nodes[i] for i in graph.inputs]
        self.inputs = [self.builder.input(node.aval, node.origin) for node in nodes]
        self.ins = [nodes[i].aval for i in wrt]
        self.outs = graph.avals(graph.outputs[:count])

    def graph(self, mode: Mode) -> Graph:
        """On the primal graph's inputs: the blocks, then its outputs after the first ``count``."""
        rows = self.forward() if mode == "forward" else self.reverse()
        rest = self.primal.outputs[self.count :]
        place = self.builder.inline(self.primal, self.inputs) if rest else []
        blocks = [symbol.id for row in rows for symbol in row]
        return self.builder.graph([*blocks, *(place[i] for i in rest)])

    def forward(self) -> list[list[Any]]:
        """One sweep for each element of an input: its column of all blocks."""
        from graphjit.passes.tangent import tangent  # the passes are needed only now

        columns = []
        for place, aval in zip(self.wrt, self.ins, strict=True):
            moving = tangent(self.primal, [place])
            first = len(self.primal.outputs)
            column = self.swept(moving, moving.outputs[first : first + self.count], aval)
            pairs = zip(column, self.outs, strict=True)
            columns.append([last(block, out, aval) for block, out in pairs])
        return [list(row) for row in zip(*columns, strict=True)]

    def reverse(self) -> list[list[Any]]:
        """One sweep for each element of an output: its row of all blocks."""
        from graphjit.passes.adjoint import pullback  # the passes are needed only now

        rows = []
        for place, aval in enumerate(self.outs):
            pulled = pullback(self.primal, self.wrt, [place])
            row = self.swept(pulled, pulled.outputs[len(self.primal.outputs) :], aval)
            pairs = zip(row, self.ins, strict=True)
            rows.append([np.reshape(block, aval.shape + own.shape) for block, own in pairs])
        return rows

    def swept(self, graph: Graph, outputs: Sequence[int], aval: Aval) -> list[Any]:
        """Some outputs for all directions of the graph's last input, along a new first axis."""
        from graphjit.passes.batch import batch
        from graphjit.passes.prune import prune

        graph = prune(Graph(graph.nodes, graph.inputs, tuple(outputs)))
        wide = batch(graph, [len(self.inputs)], aval.size)
        place = self.builder.inline(wide, [*self.inputs, identity(self.builder, aval)])
        return [Symbol(self.builder, place[i]) for i in wide.outputs]


def identity(builder: Builder, aval: Aval) -> int:
    """All directions of an array, one a row."""
    shape = (aval.size, aval.size)
    place = np.dtype(np.int64)
    ends = [builder.emit("iota", shape=shape, axis=axis, dtype=place) for axis in (0, 1)]
    ones = builder.cast(builder.emit("equal", *ends), aval.dtype)
    whole = (aval.size, *aval.shape)
    return ones if whole == shape else builder.emit("reshape", ones, shape=whole)


def last(block: Any, out: Aval, own: Aval) -> Any:
    """The block with the axis of directions moved to the end, and opened into the input's axes."""
    return np.reshape(np.moveaxis(block, 0, -1), out.shape + own.shape)


# -- what a user calls -----------------------------------------------------------------------------


@overload
def jacfwd(
    f: Function, argnums: Numbers = 0, has_aux: bool = False, static_argnames: Names = (),
    *, threads: int | None = None,
) -> JacobianFunction: ...  # fmt: skip


@overload
def jacfwd(
    f: None = None, argnums: Numbers = 0, has_aux: bool = False, static_argnames: Names = (),
    *, threads: int | None = None,
) -> Decorator: ...  # fmt: skip


def jacfwd(
    f: Function | None = None,
    argnums: Numbers = 0,
    has_aux: bool = False,
    static_argnames: Names = (),
    *,
    threads: int | None = None,
) -> JacobianFunction | Decorator:
    """The Jacobian by forward mode: one sweep for each element of the input.

    The result has the container of what ``f`` returns; in the place of each array stands the
    container of the argument, whose arrays have the shape ``out.shape + in.shape``. All sweeps
    are one program, in which what does not depend on the direction is computed once.

    Args:
        f: The function; left out, a decorator is returned.
        argnums: Which positional argument, or a tuple of them.
        has_aux: ``f`` returns ``(result, auxiliary)``; the result is ``(jacobian, auxiliary)``.
        static_argnames: As in ``jit``.
        threads: As in ``jit``.

    Raises:
        DTypeError: when called, if a differentiated argument or the result holds integers.
    """
    return _jacobian(f, argnums, has_aux, static_argnames, threads, "forward")


@overload
def jacrev(
    f: Function, argnums: Numbers = 0, has_aux: bool = False, static_argnames: Names = (),
    *, threads: int | None = None,
) -> JacobianFunction: ...  # fmt: skip


@overload
def jacrev(
    f: None = None, argnums: Numbers = 0, has_aux: bool = False, static_argnames: Names = (),
    *, threads: int | None = None,
) -> Decorator: ...  # fmt: skip


def jacrev(
    f: Function | None = None,
    argnums: Numbers = 0,
    has_aux: bool = False,
    static_argnames: Names = (),
    *,
    threads: int | None = None,
) -> JacobianFunction | Decorator:
    """The Jacobian by reverse mode: one sweep for each element of the output. As ``jacfwd``."""
    return _jacobian(f, argnums, has_aux, static_argnames, threads, "reverse")


@overload
def jacobian(
    f: Function, argnums: Numbers = 0, has_aux: bool = False, static_argnames: Names = (),
    *, threads: int | None = None,
) -> JacobianFunction: ...  # fmt: skip


@overload
def jacobian(
    f: None = None, argnums: Numbers = 0, has_aux: bool = False, static_argnames: Names = (),
    *, threads: int | None = None,
) -> Decorator: ...  # fmt: skip


def jacobian(
    f: Function | None = None,
    argnums: Numbers = 0,
    has_aux: bool = False,
    static_argnames: Names = (),
    *,
    threads: int | None = None,
) -> JacobianFunction | Decorator:
    """The Jacobian by the mode that needs fewer sweeps: forward where inputs are not more.

    As ``jacfwd``. ``.mode(*args)`` says which mode was taken and why, and so does ``.stats``.
    """
    return _jacobian(f, argnums, has_aux, static_argnames, threads, None)


def _jacobian(
    f: Function | None, argnums: Numbers, has_aux: bool, static_argnames: Names,
    threads: int | None, mode: Mode | None,
) -> JacobianFunction | Decorator:  # fmt: skip
    derivation = Jacobian(positions(argnums), has_aux, mode)
    made = functools.partial(
        JacobianFunction, derivation=derivation, static_argnames=static_argnames, threads=threads
    )
    return made if f is None else made(f)
