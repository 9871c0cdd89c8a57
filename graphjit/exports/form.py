"""What a program is to its caller elsewhere: named arguments and results, and their contents."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from graphjit.codegen.loops import Buffer, LoopProgram
from graphjit.codegen.lower import lower
from graphjit.errors import CompileError, TraceError
from graphjit.exports.loops import Keep, none, without_blas
from graphjit.exports.names import identifier
from graphjit.ir.aval import Aval
from graphjit.ir.graph import Origin
from graphjit.ir.symbol import Symbol
from graphjit.launch.trees import Marker
from graphjit.tracing.origin import user_line
from graphjit.tracing.trees import flatten
from graphjit.transforms.compiled import Compiled
from graphjit.transforms.decorators import jit
from graphjit.transforms.derive import Derived
from graphjit.transforms.methods import Bound
from graphjit.transforms.specialise import optimised


@dataclass(frozen=True)
class Item:
    """An argument or a result.

    Attributes:
        name: Fit for C and Python.
        label: What the user calls it, as ``params[0]['w']``.
        aval: Its shape and dtype.
        buffer: The buffer of the program.
        result: Whether it is written.
    """

    name: str
    label: str
    aval: Aval
    buffer: str
    result: bool

    @property
    def scalar(self) -> bool:
        """Whether it has the shape ()."""
        return not self.aval.shape

    @property
    def by_value(self) -> bool:
        """Whether it is passed as a number, and not as the array that holds it."""
        return self.scalar and not self.result

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the array that holds it."""
        return self.aval.shape or (1,)


@dataclass(frozen=True)
class Form:
    """A program with named arguments and results.

    Attributes:
        name: What the user calls the function.
        title: What is made of it and where it is written, as ``Gradient of loss (model.py:3)``.
        inputs: The traced leaves of the arguments, in order.
        outputs: What is computed of the result, in order.
        program: The loops.
        constants: The contents of the program's own buffers, by buffer.
        captured: The arrays that the function has from elsewhere, by buffer.
    """

    name: str
    title: str
    inputs: tuple[Item, ...]
    outputs: tuple[Item, ...]
    program: LoopProgram
    constants: Mapping[str, np.ndarray[Any, Any]]
    captured: Mapping[str, np.ndarray[Any, Any]]

    def plain(self, keep: Keep = none) -> Form:
        """The same with loops in place of matrix products, but those to keep."""
        return replace(self, program=without_blas(self.program, keep))


def form_of(f: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Form:
    """Trace a function for these arguments, and lower it.

    Raises:
        TraceError: ``args`` is no tuple, or the result is nothing that can be exported.
    """
    if not isinstance(args, tuple | list):
        raise TraceError(
            f"the arguments must be given as a tuple, not as {type(args).__name__}",
            origin=user_line(),
            hint="Write (x,) for one argument.",
        )
    compiled = f._compiled if isinstance(f, Bound) else f  # noqa: SLF001 - what the method is
    function = compiled if isinstance(compiled, Compiled) else jit(compiled)
    return described(function, derived_of(function, tuple(args), dict(kwargs)))


def derived_of(function: Compiled, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Derived:
    """The graph that answers a call."""
    arguments = function._arguments(args, kwargs)  # noqa: SLF001 - the ways into a trace
    if any(isinstance(leaf, Symbol) for leaf in arguments.leaves):
        raise TraceError(
            "a function cannot be exported for the arguments of another trace",
            origin=user_line(),
            hint="Pass arrays of the shapes and dtypes that it will be called with.",
        )
    return function._derive(arguments)  # noqa: SLF001 - as above


def described(function: Compiled, derived: Derived) -> Form:
    """The form of a derived graph."""
    arguments, graph = derived.arguments, optimised(derived.graph)
    labels = [arguments.names[i] for i in arguments.traced]
    program = lower(graph, labels=labels)
    results = result_labels(derived, len(graph.outputs))
    used: set[str] = set()
    inputs = items(labels, program.inputs, used)
    outputs = items(results, program.outputs, used)
    hidden = [b.name for b in program.inputs[len(labels) :]]
    return Form(
        function.__name__, title(function), inputs, outputs, program,
        {b.name: np.ascontiguousarray(v) for b, v in program.constants},
        dict(zip(hidden, map(np.asarray, derived.traced.captured), strict=True)),
    )  # fmt: skip


def title(function: Compiled) -> str:
    """What is made of a function, and where the user wrote it."""
    kind = type(function._derivation).__name__  # noqa: SLF001 - its class is its name
    code = getattr(getattr(function, "__wrapped__", None), "__code__", None)
    where = f" ({Origin(code.co_filename, code.co_firstlineno).place})" if code else ""
    return f"{'' if kind == 'Plain' else f'{kind} of '}{function.__name__}{where}"


def items(labels: Sequence[str], buffers: Sequence[Buffer], used: set[str]) -> tuple[Item, ...]:
    """Arguments or results with names of their own."""
    found = []
    for label, buffer in zip(labels, buffers, strict=False):
        name = identifier(label, used)
        used.add(name)
        aval = Aval(buffer.shape, buffer.dtype)
        found.append(Item(name, label, aval, buffer.name, buffer.role == "output"))
    return tuple(found)


def result_labels(derived: Derived, count: int) -> list[str]:
    """What each output is called: ``out``, or its place in the result, as ``out['w']``.

    Raises:
        CompileError: the result is made of its numbers in Python.
        TraceError: nothing of the result is computed.
    """
    try:
        leaves, spec = flatten(derived.result([Marker(i) for i in range(count)]))
    except Exception as error:
        raise CompileError(
            "the result is no container of arrays", origin=user_line(),
            hint="Let it return arrays; a sparse matrix is made of them in Python.",
        ) from error  # fmt: skip
    if not count:
        raise TraceError("the function returns nothing that is computed", origin=user_line())
    labels = [f"out{i}" for i in range(count)]
    for leaf, accessor in zip(leaves, spec.accessors(), strict=True):
        if isinstance(leaf, Marker):
            labels[leaf.index] = accessor.codify("out")
    return labels
