"""Run a Python function on symbols and keep what it did: the trace."""

from __future__ import annotations

import ctypes
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import replace
from typing import Any

import numpy as np
import optree

from graphjit.errors import DTypeError, TraceError
from graphjit.ir.aval import DType
from graphjit.ir.builder import Builder
from graphjit.ir.dispatch import lift
from graphjit.ir.graph import Graph, Node
from graphjit.ir.symbol import ASSIGN_HINT, Symbol
from graphjit.records import NamedTuple
from graphjit.tracing.guards import Guards, random_states
from graphjit.tracing.masks import Mask, mask_of, written_out
from graphjit.tracing.origin import user_line
from graphjit.tracing.static import Statics
from graphjit.tracing.substitute import substituted
from graphjit.tracing.trees import Arguments, Leaf, flatten, unfit

FOLDED = 64  # elements of an array made inside the function that becomes a constant
RANDOM_HINT = (
    "The numbers would be drawn once, while tracing, and be the same at every call: draw them "
    "outside and pass them in as an argument."
)

_active: ContextVar[Builder | None] = ContextVar("graphjit_active_trace", default=None)
active = _active.get
_count, _counting = ctypes.c_int64(), threading.RLock()  # a signal may come while it is held


def traces_address() -> int:
    """Where the number of traces under way in all threads is, for native code to look at."""
    return ctypes.addressof(_count)


def _counted(step: int) -> None:
    """Count a trace that begins or ends."""
    with _counting:
        _count.value += step


def _only_own() -> None:
    """In a forked process there are no traces but those around the fork."""
    outer = active()
    _count.value = 0 if outer is None else outer.level + 1
    _counting._at_fork_reinit()  # type: ignore[attr-defined] # noqa: SLF001 - as logging does


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_only_own)


class TraceBuilder(Builder):
    """A Builder that notes whether NumPy computed something from plain arrays meanwhile."""

    def __init__(self) -> None:
        outer = active()
        super().__init__(user_line, level=0 if outer is None else outer.level + 1)
        self.computed = False

    def constant(self, value: Any, dtype: DType | None = None) -> int:
        """A constant node."""
        self.computed = self.computed or isinstance(value, np.generic)
        return super().constant(value, dtype)


class Outputs(NamedTuple):
    """What a traced function returned, to be rebuilt around other values.

    Attributes:
        spec: The structure.
        leaves: All leaves; those at ``places`` are replaced.
        places: Which leaves are results of the graph, in the order of its outputs.
        weak: Whether each of those came from Python floats alone.
    """

    spec: optree.PyTreeSpec
    leaves: tuple[Any, ...]
    places: tuple[int, ...]
    weak: tuple[bool, ...]

    def rebuilt(self, values: Sequence[Any]) -> Any:
        """What the function returned, with these values in place of its traced leaves."""
        leaves = list(self.leaves)
        for place, value in zip(self.places, values, strict=True):
            leaves[place] = value
        return optree.tree_unflatten(self.spec, leaves)


class Traced(NamedTuple):
    """A traced function.

    Attributes:
        graph: Its inputs are the traced leaves of the arguments, then the hidden inputs.
        arguments: The call that was traced.
        outputs: What the function returned.
        captured: The concrete arrays (or outer symbols) behind the hidden inputs.
        guards: What else the trace relied on.
        seconds: How long it took.
    """

    graph: Graph
    arguments: Arguments
    outputs: Outputs
    captured: tuple[Any, ...]
    guards: Guards
    seconds: float

    @property
    def nested(self) -> bool:
        """Whether it uses values of a trace that is still running."""
        return any(isinstance(value, Symbol) for value in self.captured)


def trace(
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any] | None = None,
    *,
    static_argnames: str | Sequence[str] = (),
    static_argnums: int | Sequence[int] = (),
) -> Traced:
    """Trace a call.

    Arrays, NumPy scalars and Python floats are traced; ints, bools, strings, None and whatever
    else has a hash are static.

    Raises:
        GraphJITError: the function does what a graph cannot hold; any exception of the
            function itself passes through unchanged.
    """
    statics = Statics.of(function, static_argnames, static_argnums)
    return trace_call(Arguments(function, args, kwargs or {}, statics))


def trace_call(arguments: Arguments) -> Traced:
    """Trace a call whose arguments are flattened already."""
    started = time.perf_counter()
    function = arguments.function
    kinds = arguments.kinds
    builder = TraceBuilder()
    token = _active.set(builder)
    _counted(1)
    try:
        args, kwargs = arguments.rebuilt(enter(builder, kinds))
        random = dict(random_states(function))
        result = call(substituted(function), args, kwargs)
        check_random(function, random)
        outputs, ids = leave(builder, result)
    finally:
        builder.closed = True
        _counted(-1)
        _active.reset(token)
    del result, args, kwargs  # they would make every array look as if the user still held it
    graph, captured = settle(builder, ids)
    guards = Guards(function)
    found = set(map(id, guards.arrays.values()))
    made = any(type(v) is np.ndarray and id(v) not in found for v in captured)
    guards.freeze(captured, computed=builder.computed or made)
    return Traced(graph, arguments, outputs, tuple(captured), guards, time.perf_counter() - started)


def call(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call the function.

    ``y[0] = t`` on a plain array makes NumPy ask ``t`` for a float, and hide the answer behind
    an error that speaks of sequences; what it hides is raised in its place.
    """
    try:
        return function(*args, **kwargs)
    except ValueError as error:
        hidden = error.__cause__ or error.__context__
        if isinstance(hidden, TraceError) and str(error).startswith("setting an array element"):
            raise TraceError(
                "a traced value was assigned to an element of a NumPy array",
                origin=hidden.origin,
                operands=hidden.operands,
                hint=ASSIGN_HINT,
            ) from error
        raise


def enter(builder: Builder, kinds: Sequence[Any]) -> list[Symbol]:
    """One symbol for each traced leaf."""
    return [
        Symbol(builder, builder.input(kind.aval), weak=kind.weak)
        for kind in kinds
        if isinstance(kind, Leaf)
    ]


def leave(builder: TraceBuilder, result: Any) -> tuple[Outputs, list[int]]:
    """What the function returned, and the nodes of its traced leaves.

    Raises:
        TraceError: a leaf is a symbol of a trace that is over.
        DTypeError: a leaf is an array that cannot be compiled.
    """
    leaves, spec = flatten(result)
    places, symbols = [], []
    for place, leaf in enumerate(leaves):
        if isinstance(leaf, Symbol) or type(leaf) is np.ndarray:
            places.append(place)
            symbols.append(lift(builder, leaf))
            leaves[place] = None
        elif isinstance(leaf, np.ndarray):
            fault, hint = unfit(leaf)
            raise DTypeError(f"the function's result {fault}", origin=user_line(), hint=hint)
        elif isinstance(leaf, np.generic):
            builder.computed = True
    weak = tuple(symbol.weak for symbol in symbols)
    outputs = Outputs(spec, tuple(leaves), tuple(places), weak)
    return outputs, [symbol.id for symbol in symbols]


def check_random(function: Callable[..., Any], before: Mapping[str, Any]) -> None:
    """Check that the function drew no random numbers.

    Raises:
        TraceError: it did, from NumPy's global state or a generator that it holds.
    """
    for name, state in random_states(function):
        if before.get(name, state) != state:
            raise TraceError(
                f"random numbers were drawn from {name} inside a traced function",
                origin=user_line(),
                hint=RANDOM_HINT,
            )


# -- arrays met on the way --------------------------------------------------------------------


def settle(builder: TraceBuilder, outputs: list[int]) -> tuple[Graph, list[Any]]:
    """The finished graph and its captured values.

    An array that nobody else refers to was made inside the function, so it never changes: a
    range becomes ``iota``, a small one a constant that passes can fold, a mask what it is.
    """
    nodes, captured, hidden = list(builder.nodes), list[Any](), list[int]()
    pending, builder.captured, masks = builder.captured, [], dict[int, Mask]()
    for place, ident in enumerate(builder.hidden):
        own = unshared(pending, place)
        node = source(nodes[ident], pending[place]) if own else None
        mask = mask_of(pending[place]) if own and node is None else None
        if node is not None:
            builder.computed |= node.op == "constant"
            nodes[ident] = node
        elif mask is not None:
            builder.computed, masks[ident] = True, mask
        else:
            captured.append(pending[place])
            hidden.append(ident)
    graph = Graph(tuple(nodes), (*builder.inputs, *hidden), tuple(outputs))
    return written_out(graph, masks) if masks else graph, captured


def unshared(values: list[Any], place: int) -> bool:
    """Whether the list alone refers to an array, and the array alone to its memory."""
    if type(values[place]) is not np.ndarray or sys.getrefcount(values[place]) > ALONE:
        return False
    array = values[place]
    while array.base is not None:
        if type(array.base) is not np.ndarray or sys.getrefcount(array.base) > ALONE:
            return False
        array = array.base
    return bool(array.flags.owndata)


_probe = [np.empty(0)]
ALONE = sys.getrefcount(_probe[0])  # what Python counts for an array that one list holds


def source(node: Node, array: Any) -> Node | None:
    """The node of an array that never changes, where it can be part of the program."""
    along = [axis for axis, size in enumerate(array.shape) if size > 1]
    if len(along) == 1 and array.dtype != bool:
        count = np.arange(array.size, dtype=array.dtype)
        if count.tobytes() == array.tobytes():
            params = {"shape": array.shape, "axis": along[0], "dtype": node.aval.dtype}
            return replace(node, op="iota", params=params)
    if array.size <= FOLDED:
        value = np.array(array, dtype=node.aval.dtype)
        value.setflags(write=False)
        return replace(node, op="constant", params={"value": value})
    return None
