"""Functions that return sparse derivatives, compiled when they are called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy import sparse

from graphjit.cache.lookup import Missed
from graphjit.cache.pieces import arrays_read, arrays_written
from graphjit.cache.trees import Json
from graphjit.errors import DTypeError, TraceError
from graphjit.ir.builder import Builder
from graphjit.ir.graph import Graph
from graphjit.launch.trees import Unexpected
from graphjit.sparse.coloring import Coloring, hessian_coloring, jacobian_coloring
from graphjit.sparse.compress import compressed, inputs_of, joined
from graphjit.sparse.dependence import dependence
from graphjit.sparse.known import Known, Watch
from graphjit.sparse.sets import check_products, symmetric
from graphjit.tracing.origin import user_line
from graphjit.tracing.trace import Traced, trace_call
from graphjit.tracing.trees import Arguments
from graphjit.transforms.compiled import Compiled
from graphjit.transforms.derive import Derived, Targets, lifted, plural, shown, simplified
from graphjit.transforms.gradient import Gradient, with_gradient
from graphjit.transforms.specialise import Specialisation


class SparseDerivative(Compiled):
    """A function whose Jacobian or Hessian is computed as a ``scipy.sparse.csr_array``.

    As with other compiled functions there is one program for each combination of dtypes, shapes,
    structure and static values. Pattern and coloring are found once for each; they are found again
    when an array that the function closes over, and that they relied on, has changed.
    """

    _derivation: SparseDerivation

    def coloring(self, *args: Any, **kwargs: Any) -> Coloring:
        """The pattern for these arguments, and the products that the entries are read from."""
        return recovery(self._program(self._arguments(args, kwargs))).coloring

    def pattern(self, *args: Any, **kwargs: Any) -> Any:
        """Where entries can be, as a boolean ``csr_array``; nothing is compiled."""
        arguments = self._arguments(args, kwargs)
        known = self._programs.get(arguments.key)
        if known is not None and not known.stale():
            return recovery(known).coloring.pattern.copy()
        return self._derivation.problem(arguments).pattern

    def _build(self, arguments: Arguments, reason: str) -> Specialisation:
        program = super()._build(arguments, reason)
        changed, watch = program.changed, recovery(program).watch
        program.changed = lambda: changed() or watch.changed()
        return program

    def _inline(self, arguments: Arguments, outer: Builder) -> Any:  # noqa: ARG002 - refuses all
        raise nested()


def nested() -> TraceError:
    """The error for a sparse derivative inside a traced function."""
    return TraceError(
        "a sparse matrix cannot be part of a traced function",
        origin=user_line(),
        hint="Compute it outside; inside, use graphjit.jvp, vjp or hvp for products with it.",
    )


@dataclass(frozen=True, eq=False)
class Recovery:
    """From the values that a program returns to the matrix."""

    coloring: Coloring
    watch: Watch

    def __call__(self, values: Sequence[Any]) -> Any:
        """The matrix, which shares no memory with another one."""
        if not isinstance(values[0], np.ndarray):  # a launcher that builds containers only asks
            raise Unexpected
        pattern = self.coloring.pattern
        parts = (values[0], pattern.indices.copy(), pattern.indptr.copy())
        result = sparse.csr_array(parts, shape=pattern.shape)
        result.has_canonical_format = True
        return result

    def written(self, blobs: dict[str, bytes]) -> Json:
        """For the cache on disk: the shape, what is watched, and the arrays."""
        coloring, watch = self.coloring, self.watch
        pattern = coloring.pattern
        own = pattern.data, pattern.indices, pattern.indptr
        colors = coloring.columns, coloring.rows, coloring.places
        arrays = arrays_written((*own, *colors, *watch.then), "r", blobs)
        return [list(pattern.shape), list(watch.used.items()), arrays]

    @classmethod
    def read(cls, text: Json, blobs: Mapping[str, bytes], captured: Sequence[Any]) -> Recovery:
        """The same again.

        Raises:
            Missed: a captured array is not such as the pattern relies on.
        """
        shape, used, rows = text
        data, indices, indptr, *rest = arrays_read(rows, blobs)
        pattern = sparse.csr_array((data, indices, indptr), shape=tuple(shape))
        watch = Watch(dict(used), rest[3:], captured)
        reason = watch.changed()
        if reason:
            raise Missed(reason)
        return cls(Coloring(pattern, *rest[:3]), watch)


def recovery(program: Specialisation) -> Recovery:
    """What a sparse derivative's program came with."""
    result = program.result
    assert isinstance(result, Recovery)  # noqa: S101 - SparseDerivation made it
    return result


# -- what is differentiated ------------------------------------------------------------------------


@dataclass(frozen=True)
class SparseDerivation:
    """The Jacobian (``order=1``) or Hessian (``order=2``) of a function."""

    order: int
    argnums: int | tuple[int, ...] = 0

    def read(self, text: Json, blobs: Mapping[str, bytes], captured: Sequence[Any]) -> Recovery:
        """What makes the matrix, from the cache on disk; see ``Recovery.read``."""
        return Recovery.read(text, blobs, captured)

    def derive(self, arguments: Arguments) -> Derived:
        """The graph of the derivative's entries.

        Raises:
            TraceError, DTypeError, ShapeError: there is no such derivative, or it is not sparse.
        """
        problem = self.problem(arguments)
        pattern = problem.pattern
        coloring = (jacobian_coloring if self.order == 1 else hessian_coloring)(pattern)
        check_products(coloring.colors, max(pattern.shape))
        graph = compressed(problem.graph, problem.wrt, coloring)
        result = Recovery(coloring, problem.known.watched())
        mode = f"{plural(coloring.colors, 'product')} for {plural(pattern.shape[1], 'column')}"
        return Derived(arguments, problem.traced, graph, result, (False,), mode)

    def problem(self, arguments: Arguments) -> Problem:
        """What is to be computed for a call."""
        traced = trace_call(arguments)
        if traced.nested:
            raise nested()
        wrt = Targets(traced, self.argnums).inputs
        if self.order == 1:
            return Problem(traced, single(traced), wrt, hessian=False)
        return Problem(traced, gradient(traced, wrt), wrt, hessian=True)


@dataclass(frozen=True)
class Problem:
    """A Jacobian to compute: that of the graph's only output by some of its inputs."""

    traced: Traced
    graph: Graph
    wrt: list[int]
    hessian: bool

    @cached_property
    def known(self) -> Known:
        """What is known of the graph's values; ``pattern`` notes there what it relied on."""
        return Known(self.graph, self.traced.captured)

    @cached_property
    def pattern(self) -> Any:
        """The sparsity pattern; that of a Hessian is symmetric."""
        found = dependence(self.graph, self.wrt, self.known)
        return symmetric(found) if self.hessian else found


def single(traced: Traced) -> Graph:
    """The graph of a function that returns one float array.

    Raises:
        TraceError: it does not return one array.
        DTypeError: the array is not of floats.
    """
    graph, outputs = lifted(traced.graph, traced.outputs, range(1))
    if not outputs.spec.is_leaf() or outputs.places != (0,):
        leaf = outputs.spec.is_leaf()
        found = type(outputs.leaves[0]).__name__ if leaf else shown(outputs.spec)
        raise TraceError(
            "a sparse Jacobian needs a function that returns one array",
            origin=user_line(), operands=(f"it returned {found}",),
            hint="Join several results with np.concatenate.",
        )  # fmt: skip
    node = graph.nodes[graph.outputs[0]]
    if not node.aval.inexact:
        raise DTypeError(
            "the function's result is no float, so it has no Jacobian",
            origin=node.origin, operands=(node.aval,),
            hint="Return an array of float32 or float64.",
        )  # fmt: skip
    return simplified(graph)


def gradient(traced: Traced, wrt: Sequence[int]) -> Graph:
    """The gradient of a function that returns one float, as one vector.

    Raises:
        ShapeError: the function returns no scalar.
        TraceError, DTypeError: it returns no float.
    """
    graph, _ = Gradient(noun="a Hessian").with_loss(traced)
    dtype = graph.nodes[graph.outputs[0]].aval.dtype
    count = len(graph.outputs)
    graph = with_gradient(graph, wrt)
    builder = Builder()
    place = builder.inline(graph, inputs_of(builder, graph))
    vector = joined(builder, [place[i] for i in graph.outputs[count:]], dtype)
    return simplified(builder.graph([vector]))
