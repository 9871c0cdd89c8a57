"""Results in memory that the caller has: ``f(x, out=arrays)``."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import optree

from graphjit.errors import OutputError, TraceError
from graphjit.launch.trees import Marker
from graphjit.tracing.origin import user_line
from graphjit.tracing.trees import flatten
from graphjit.transforms.donate import shared

Array = np.ndarray[Any, Any]
Form = tuple[tuple[int, ...], np.dtype[Any]]

MADE_SO = "Make it with np.empty{}, or leave out= away."


def takes_out(function: Callable[..., Any]) -> bool:
    """Whether a keyword argument ``out`` is the function's own; not that of NumPy's functions."""
    module = getattr(function, "__module__", None) or ""
    if isinstance(function, np.ufunc) or module.partition(".")[0] == "numpy":
        return False
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return False
    return "out" in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())


class Place(NamedTuple):
    """One array of the result: what it is called, which output it is, and its form."""

    name: str
    output: int
    form: Form


class Destinations:
    """Where the arrays of a result go.

    Args:
        result: Makes the result from the outputs.
        outputs: Shape and dtype of each output.

    Raises:
        OutputError: the result is more than arrays in containers.
    """

    def __init__(self, result: Callable[[Sequence[Any]], Any], outputs: Sequence[Form]) -> None:
        try:
            self.leaves, self.spec = flatten(result([Marker(i) for i in range(len(outputs))]))
        except (AttributeError, TypeError, ValueError):
            raise OutputError(
                "out= is for a result of arrays in containers, and this one computes more",
                origin=user_line(),
            ) from None
        names = [accessor.codify("out") for accessor in self.spec.accessors()]
        self.places = [
            Place(name, leaf.index, outputs[leaf.index]) if isinstance(leaf, Marker) else None
            for name, leaf in zip(names, self.leaves, strict=True)
        ]
        self.outputs = outputs

    def filled(
        self, run: Callable[[list[Array]], Sequence[Any]], inputs: Sequence[Any], out: Any
    ) -> Any:
        """Run a program on arrays for its outputs; the result, of the given arrays.

        Args:
            run: Runs the program; it returns the outputs, which may be others than it was given.
            inputs: What the program reads.
            out: The arrays, in the containers of the result.

        Raises:
            OutputError: an array that cannot hold its part of the result.
        """
        given = self.given(out)
        into: dict[int, Array] = {}
        for place, array in given:
            if not any(shared(array, x) for x in inputs):
                into.setdefault(place.output, array)
        forms = enumerate(self.outputs)
        made = run([into[i] if i in into else np.empty(*form) for i, form in forms])
        arrays = iter(given)
        return optree.tree_unflatten(
            self.spec,
            [
                leaf if place is None else written(next(arrays)[1], made[place.output])
                for leaf, place in zip(self.leaves, self.places, strict=True)
            ],
        )

    def given(self, out: Any) -> list[tuple[Place, Array]]:
        """The arrays, each with the place it is for.

        Raises:
            OutputError: one that cannot be written, or containers that are not the result's.
        """
        leaves, spec = flatten(out)
        if spec != self.spec:
            raise OutputError(
                "out has other containers than the result", origin=user_line(),
                operands=(f"out {spec}", f"result {self.spec}"),
            )  # fmt: skip
        pairs = zip(self.places, leaves, strict=True)
        given = [(place, leaf) for place, leaf in pairs if place is not None]
        for place, leaf in given:
            check(leaf, place)
        check_apart(given)
        return given


def check(array: Any, place: Place) -> None:
    """Refuse what cannot hold a part of the result.

    Raises:
        OutputError: saying what it is.
    """
    (name, _, (shape, dtype)), fault = place, ""
    if type(array) is not np.ndarray:
        fault = f"is no NumPy array but {type(array).__name__}"
    elif array.shape != shape:
        fault = f"has shape {array.shape} where the result has {shape}"
    elif array.dtype != dtype or not array.dtype.isnative:
        fault = f"has dtype {array.dtype} where the result has {dtype}"
    elif not array.flags.writeable:
        fault = "is read-only"
    elif not array.flags.carray:
        fault = "is not C-contiguous and aligned"
    if fault:
        hint = MADE_SO.format(f"({shape}, np.{dtype.name})")
        raise OutputError(f"{name} {fault}", origin=user_line(), hint=hint)


def check_apart(given: Sequence[tuple[Place, Array]]) -> None:
    """Refuse arrays that share memory.

    Raises:
        OutputError: naming two of them.
    """
    for count, (place, array) in enumerate(given):
        for other, earlier in given[:count]:
            if np.may_share_memory(array, earlier):
                fact = f"{place.name} and {other.name} share memory"
                raise OutputError(fact, origin=user_line())


def written(array: Array, value: Any) -> Array:
    """The array, with the value in it."""
    if value is not array:
        array[...] = value
    return array


def traced_out() -> TraceError:
    """The error for ``out=`` where there are no arrays yet."""
    return TraceError(
        "out= cannot be used inside a function that is being traced", origin=user_line(),
        hint="Leave it out there; the outermost call decides where its results go.",
    )  # fmt: skip
