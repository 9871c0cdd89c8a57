"""``vmap``: a function of one example as a function of many at once."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
import optree

from graphjit.errors import ShapeError, TraceError
from graphjit.ir.builder import Builder
from graphjit.ir.dispatch import lift
from graphjit.ir.graph import Graph
from graphjit.ir.symbol import Symbol
from graphjit.tracing.origin import user_line
from graphjit.tracing.trace import Traced, trace_call
from graphjit.tracing.trees import NAMESPACE, Arguments, Leaf, flatten
from graphjit.transforms.compiled import Compiled
from graphjit.transforms.decorators import Decorator, Function
from graphjit.transforms.derive import Derived, lifted, plural, simplified

SHARED_HINT = "Give what is the same for every example the axis None: in_axes=(0, None)."
AXES_HINT = (
    "An axis is an int, None for what all examples share, or a container of them built like the "
    "arguments."
)


@overload
def vmap(
    f: Function, in_axes: Any = 0, out_axes: Any = 0, *, threads: int | None = None
) -> Compiled: ...


@overload
def vmap(
    f: None = None, in_axes: Any = 0, out_axes: Any = 0, *, threads: int | None = None
) -> Decorator: ...


def vmap(
    f: Function | None = None,
    in_axes: Any = 0,
    out_axes: Any = 0,
    *,
    threads: int | None = None,
) -> Compiled | Decorator:
    """A function of many examples, from a function of one.

    The result is that of a Python loop over the examples, stacked, but it is one program of whole
    arrays: every operation takes the axis of examples along, and what does not depend on an
    example is computed once. It nests, and goes around and inside ``grad`` and the others.

    Args:
        f: The function of one example; left out, a decorator is returned.
        in_axes: Which axis of the arguments counts the examples: one int for all arguments, or
            a tuple with one entry each, where None is an argument that is the same for
            all, and a container gives the axes of the parts of an argument. Keyword
            arguments have their examples along axis 0.
        out_axes: Where the results get that axis, in the same way; None is for a result that is
            the same for all examples.
        threads: As in ``jit``.

    Raises:
        ShapeError: when called, if the lengths of the axes differ, or one does not exist; or if
            a result with the axis None depends on the example.
        TraceError: when called, if ``in_axes`` or ``out_axes`` do not fit.
    """
    if f is None:
        return functools.partial(vmap, in_axes=in_axes, out_axes=out_axes, threads=threads)
    axes = tuple(in_axes) if isinstance(in_axes, list) else in_axes
    return Compiled(f, Batched(Axes(axes), Axes(out_axes)), threads=threads)


class Axes:
    """Axes as the user gave them, of any container: compared by what they say."""

    def __init__(self, tree: Any) -> None:
        self.tree = tree

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Axes) and self.tree == other.tree

    def __hash__(self) -> int:
        return hash(repr(self.tree))


@dataclass(frozen=True)
class Batched:
    """The function of many examples."""

    in_axes: Axes
    out_axes: Axes

    def derive(self, arguments: Arguments) -> Derived:
        """The batched graph, on the call's own arguments.

        Raises:
            ShapeError, TraceError: axes that do not fit the arguments or the result.
        """
        axes = input_axes(arguments, self.in_axes.tree)
        size = common_size(arguments, axes)
        traced = trace_call(one_example(arguments, axes))
        outputs = traced.outputs
        after = output_axes(traced, self.out_axes.tree)
        numbers = {place for place, axis in enumerate(after) if axis is not None}
        graph, outputs = lifted(traced.graph, outputs, numbers)
        kept = [after[place] for place in outputs.places]
        given = [axes[i] for i in arguments.traced]
        graph = batched(simplified(graph), given, kept, size)
        weak = [w and axis is None for w, axis in zip(outputs.weak, kept, strict=True)]
        return Derived(arguments, traced, graph, outputs.rebuilt, tuple(weak))


def batched(
    graph: Graph, given: Sequence[int | None], after: Sequence[int | None], size: int
) -> Graph:
    """The graph with examples along the given axes of its inputs and outputs."""
    from graphjit.passes.batch import batch  # the passes are needed only now

    wide = [i for i, axis in enumerate(given) if axis is not None]
    single = [i for i, axis in enumerate(after) if axis is None]
    inner = batch(graph, wide, size, single)
    builder, inputs = Builder(), list[int]()
    axes = [*given, *[None] * (len(inner.inputs) - len(given))]
    for ident, axis in zip(inner.inputs, axes, strict=True):
        aval, origin = inner.nodes[ident].aval, inner.nodes[ident].origin
        if axis is None:
            inputs.append(builder.input(aval, origin))
            continue
        shape = list(aval.shape[1:])
        shape.insert(axis, size)
        outer = Symbol(builder, builder.input(type(aval)(tuple(shape), aval.dtype), origin))
        inputs.append(moved(builder, outer, axis, 0))
    place = builder.inline(inner, inputs)
    pairs = zip(inner.outputs, after, strict=True)
    return builder.graph([moved(builder, Symbol(builder, place[i]), 0, axis) for i, axis in pairs])


def moved(builder: Builder, value: Any, start: int, end: int | None) -> int:
    """The value with one axis moved; as it is where there is nothing to move."""
    symbol = value if end is None or start == end else np.moveaxis(value, start, end)
    return int(lift(builder, symbol).id)


# -- the axes of the arguments ---------------------------------------------------------------------


def input_axes(arguments: Arguments, tree: Any) -> list[int | None]:
    """For each leaf of the call the axis of its examples, counted from the front.

    Raises:
        TraceError: ``in_axes`` does not fit the arguments.
        ShapeError: an argument has no such axis.
    """
    count = len(arguments.args)
    if isinstance(tree, tuple) and len(tree) != count:
        raise TraceError(
            f"in_axes is for {plural(len(tree), 'argument')}, but the call has {count}",
            origin=user_line(), operands=(f"in_axes={tree}",), hint=AXES_HINT,
        )  # fmt: skip
    rows = tree if isinstance(tree, tuple) else (tree,) * count
    axes = list[Any]()
    for (name, value), entry in zip(arguments.positional, rows, strict=True):
        axes += spread(entry, value, f"in_axes for argument {name}")
    axes += [0] * (len(arguments.leaves) - len(axes))
    return [checked(arguments, i, axis) for i, axis in enumerate(axes)]


def spread(prefix: Any, tree: Any, what: str) -> list[Any]:
    """For each leaf of a tree the entry of the axes that covers it.

    Raises:
        TraceError: the axes have another structure, or are no ints.
    """
    entries, spec = optree.tree_flatten(
        prefix, is_leaf=lambda part: part is None, namespace=NAMESPACE
    )
    strange = [entry for entry in entries if type(entry) is not int and entry is not None]
    try:
        parts = spec.flatten_up_to(tree)
    except (ValueError, TypeError):
        strange, parts = [prefix], []
    if strange:
        raise TraceError(
            f"{what} does not fit: {strange[0]!r}", origin=user_line(),
            operands=(f"{what}: {prefix!r}",), hint=AXES_HINT,
        )  # fmt: skip
    pairs = zip(entries, parts, strict=True)
    return [entry for entry, part in pairs for _ in flatten(part)[0]]


def checked(arguments: Arguments, index: int, axis: int | None) -> int | None:
    """The axis of a leaf from the front; None for text and the like.

    Raises:
        ShapeError: the leaf has no such axis.
    """
    kind, name = arguments.kinds[index], arguments.names[index]
    if axis is None:
        return None
    if not isinstance(kind, Leaf) and not isinstance(kind.value, int):
        return None
    ndim = kind.aval.ndim if isinstance(kind, Leaf) else 0
    if -ndim <= axis < ndim:
        return axis % ndim
    raise ShapeError(
        f"vmap needs examples along axis {axis} of argument {name}, which has no such axis",
        origin=user_line(), operands=(f"{name}: {kind}",),
        hint=SHARED_HINT,
    )  # fmt: skip


def common_size(arguments: Arguments, axes: Sequence[int | None]) -> int:
    """How many examples there are.

    Raises:
        ShapeError: two arguments do not agree.
        TraceError: no argument has examples.
    """
    sizes = {
        f"{arguments.names[i]}: {kind}, axis {axis}": kind.aval.shape[axis]
        for i, (kind, axis) in enumerate(zip(arguments.kinds, axes, strict=True))
        if axis is not None and isinstance(kind, Leaf)
    }
    if not sizes:
        raise TraceError(
            "vmap needs an argument with examples, but in_axes gives none an axis",
            origin=user_line(), operands=(f"arguments: {', '.join(arguments.names) or 'none'}",),
            hint=AXES_HINT,
        )  # fmt: skip
    first = next(iter(sizes))
    other = next((shown for shown in sizes if sizes[shown] != sizes[first]), None)
    if other is not None:
        names = [shown.partition(":")[0] for shown in (first, other)]
        raise ShapeError(
            f"vmap needs as many examples in every argument, but {names[0]} has {sizes[first]} "
            f"and {names[1]} has {sizes[other]}",
            origin=user_line(), operands=(first, other), hint=SHARED_HINT,
        )  # fmt: skip
    return sizes[first]


def one_example(arguments: Arguments, axes: Sequence[int | None]) -> Arguments:
    """The call with stand-ins for one example: only their shapes and dtypes are looked at."""
    leaves = list(arguments.leaves)
    for index, axis in enumerate(axes):
        kind = arguments.kinds[index]
        if axis is not None and isinstance(kind, Leaf):
            shape = kind.aval.shape[:axis] + kind.aval.shape[axis + 1 :]
            leaves[index] = np.broadcast_to(np.zeros((), kind.aval.dtype), shape)
    tree: Any = optree.tree_unflatten(arguments.spec, leaves)
    return Arguments(arguments.function, *tree)


# -- the axes of the result ------------------------------------------------------------------------


def output_axes(traced: Traced, tree: Any) -> list[int | None]:
    """For each leaf of the result the axis of the examples, counted from the front.

    Raises:
        TraceError: ``out_axes`` does not fit the result.
        ShapeError: a result has no such axis.
    """
    outputs = traced.outputs
    whole = optree.tree_unflatten(outputs.spec, range(len(outputs.leaves)))
    axes = spread(tree, whole, "out_axes")
    ndims = dict.fromkeys(range(len(axes)), 0)
    avals = traced.graph.avals(traced.graph.outputs)
    ndims.update(zip(outputs.places, (aval.ndim for aval in avals), strict=True))
    found = list[int | None]()
    for place, axis in enumerate(axes):
        count = ndims[place] + 1
        if axis is not None and not -count <= axis < count:
            raise ShapeError(
                f"out_axes={axis} is no axis of a result of {count} axes, its examples included",
                origin=user_line(), operands=(f"out_axes: {tree!r}",),
            )  # fmt: skip
        found.append(axis if axis is None else axis % count)
    return found
