"""The quick way through a call: a launcher written and compiled for one specialisation.

It unpacks the containers, checks every leaf, allocates the outputs, starts the program and packs
the results, all as straight Python without a loop. What it does not expect it gives back, as
``MISS``, to the slow way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphjit.launch.trees import PLAIN, Marker, Unexpected, children
from graphjit.tracing.trees import Leaf

MISS: Any = object()


class Text:
    """Lines of the launcher, and the objects that they name by counters."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.names: dict[str, Any] = {"MISS": MISS, "ndarray": np.ndarray, "empty": np.empty}

    def refer(self, value: Any) -> str:
        """A name for an object."""
        for name, known in self.names.items():
            if known is value:
                return name
        name = f"c{len(self.names)}"
        self.names[name] = value
        return name

    def put(self, line: str, depth: int = 1) -> None:
        """A line of the function's body."""
        self.lines.append("    " * depth + line)

    def demand(self, condition: str) -> None:
        """Give the call back unless this holds."""
        self.put(f"if not ({condition}): return MISS")

    def function(self) -> Callable[[tuple[Any, ...]], Any]:
        """The launcher; all names in its text are counters, and strings are objects."""
        text = "\n".join(["def launch(args):", *self.lines])
        exec(compile(text, "<graphjit launcher>", "exec"), self.names)  # noqa: S102 - our own text
        return self.names["launch"]  # type: ignore[no-any-return]


def quick_launcher(
    args: tuple[Any, ...], kinds: Sequence[Any], captured: Sequence[Any], program: Any,
    result: Callable[[Sequence[Any]], Any],
) -> Callable[[tuple[Any, ...]], Any] | None:  # fmt: skip
    """A launcher for calls like the one that was traced, or None where one cannot be written.

    Args:
        args: The positional arguments of the traced call; there are no others.
        kinds: For each leaf what the trace made of it.
        captured: The arrays behind the hidden inputs.
        program: The compiled program.
        result: Makes the result from the outputs.
    """
    text = Text()
    try:
        inputs = unpacked(text, args, kinds)
        inputs += [held(text, array) for array in captured]
        outputs = allocated(text, program)
        started(text, inputs, outputs, program)
        shown = result([Marker(i) for i in range(len(outputs))])
        ends = [name if shape else f"{name}[()]" for name, shape in outputs]
        text.put(f"return {packed(text, shown, ends)}")
    except Unexpected:
        return None
    return text.function()


def unpacked(text: Text, args: tuple[Any, ...], kinds: Sequence[Any]) -> list[str]:
    """Take the arguments apart; the names of the traced leaves, all checked."""
    pending: list[tuple[str, Any]] = []
    text.demand(f"len(args) == {len(args)}")
    for i, arg in enumerate(args):
        text.put(f"a{i} = args[{i}]")
        pending.append((f"a{i}", arg))
    leaves, count = iter(kinds), len(args)
    traced = []
    while pending:
        name, value = pending.pop(0)
        if value is None:
            text.demand(f"{name} is None")
            continue
        parts = children(value)
        if parts is None:
            if leaf(text, name, value, next(leaves)):
                traced.append(name)
            continue
        own = text.refer(type(value))
        text.demand(f"type({name}) is {own} and len({name}) == {len(parts)}")
        opened = []
        for key, part in parts:
            text.put(f"a{count} = {item(text, name, value, key)}")
            opened.append((f"a{count}", part))
            count += 1
        pending = opened + pending
    return traced


def item(text: Text, name: str, value: Any, key: Any) -> str:
    """The text that reads one part of a container."""
    if type(value) is dict:
        return f"{name}.get({text.refer(key)}, MISS)"
    return f"{name}[{key}]"


def leaf(text: Text, name: str, value: Any, kind: Any) -> bool:
    """Check one leaf; whether it is traced."""
    if not isinstance(kind, Leaf):
        if type(value) not in PLAIN:
            raise Unexpected
        known = text.refer(value)
        text.demand(f"type({name}) is {text.refer(type(value))} and {name} == {known}")
        return False
    if kind.weak:
        text.demand(f"type({name}) is float")
        return True
    if not kind.aval.shape:
        raise Unexpected
    dtype = text.refer(kind.aval.dtype)
    text.demand(
        f"type({name}) is ndarray and {name}.dtype is {dtype} "
        f"and {name}.shape == {kind.aval.shape} and {name}.flags.carray"
    )
    return True


def held(text: Text, array: Any) -> str:
    """A captured array, which must be as the program reads it."""
    if type(array) is not np.ndarray or not array.shape or not array.flags.carray:
        raise Unexpected
    return text.refer(array)


def allocated(text: Text, program: Any) -> list[tuple[str, Any]]:
    """Fresh outputs, with their shapes."""
    names = []
    for i, (shape, dtype) in enumerate(program.outputs):
        text.put(f"o{i} = empty({shape}, {text.refer(dtype)})")
        names.append((f"o{i}", shape))
    return names


def started(text: Text, inputs: list[str], outputs: list[tuple[str, Any]], program: Any) -> None:
    """Run the program on inputs, constants, outputs and scratch memory of its own."""
    text.put(f"scratch = {text.refer(program.take_scratch)}()")
    constants = [text.refer(c) for c in program.constants]
    names = ", ".join([*inputs, *constants, *(name for name, _ in outputs), "*scratch"])
    text.put(f"{text.refer(program)}.launch(({names},))")
    text.put(f"{text.refer(program.give_back)}(scratch)")


def packed(text: Text, shown: Any, ends: list[str]) -> str:
    """The expression that makes the result."""
    if type(shown) is Marker:
        return ends[shown.index]
    parts = children(shown) if type(shown) in (list, tuple, dict) else None
    if parts is None:
        if shown is None or type(shown) in (*PLAIN, float):
            return text.refer(shown)
        if not isinstance(shown, tuple) or not hasattr(shown, "_fields"):
            raise Unexpected
    if type(shown) is dict:
        inside = ", ".join(f"{text.refer(k)}: {packed(text, v, ends)}" for k, v in shown.items())
        return f"{{{inside}}}"
    inside = ", ".join(packed(text, part, ends) for part in shown)
    if type(shown) is list:
        return f"[{inside}]"
    if type(shown) is tuple:
        return f"({inside},)" if shown else "()"
    return f"{text.refer(type(shown))}({inside})"
