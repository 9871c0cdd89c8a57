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
from graphjit.records import NamedTuple
from graphjit.tracing.trees import Leaf, flatten

MISS: Any = object()


class Given(NamedTuple):
    """What an array that is given for an output must be."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]


class Text:
    """Lines of the launcher, and the objects that they name by counters."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.names: dict[str, Any] = {
            "MISS": MISS, "ndarray": np.ndarray, "empty": np.empty, "shared": np.may_share_memory,
        }  # fmt: skip

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
        for place in program.memory.donated.values():
            text.demand(f"{inputs[place]}.flags.owndata")
            apart(text, inputs[place], inputs[:place] + inputs[place + 1 :])
        outputs = allocated(text, program, inputs)
        started(text, inputs, outputs, program)
        shown = result([Marker(i) for i in range(len(outputs))])
        shapes = [shape for shape, _ in program.outputs]
        pairs = zip(outputs, shapes, strict=True)
        ends = [name if shape else f"{name}[()]" for name, shape in pairs]
        text.put(f"return {packed(text, shown, ends)}")
    except Unexpected:
        return None
    return text.function()


def quick_filler(
    args: tuple[Any, ...], kinds: Sequence[Any], captured: Sequence[Any], program: Any,
    result: Callable[[Sequence[Any]], Any],
) -> Callable[[tuple[Any, ...]], Any] | None:  # fmt: skip
    """The same for calls with ``out=``, which comes after the other arguments.

    It gives back what needs a copy: arrays that share memory.
    """
    text, count = Text(), len(program.outputs)
    try:
        example = result([np.empty(*form) for form in program.outputs])
        shown = result([Marker(i) for i in range(count)])
        order = [leaf.index if type(leaf) is Marker else -1 for leaf in flatten(shown)[0]]
        if sorted(order) != list(range(count)) or program.memory.donated:
            return None
        own = [Given(*program.outputs[i]) for i in order]
        found = unpacked(text, (*args, example), (*kinds, *own))
        inputs, given = found[:-count], found[-count:]
        inputs += [held(text, array) for array in captured]
        for i, name in enumerate(given):
            apart(text, name, (*inputs, *given[:i]))
        outputs = [given[order.index(i)] for i in range(count)]
        started(text, inputs, outputs, program)
        text.put(f"return {packed(text, shown, outputs)}")
    except Unexpected:
        return None
    return text.function()


def apart(text: Text, name: str, others: Sequence[str]) -> None:
    """Demand that an array is in no other array's memory."""
    if others:
        text.demand(" and ".join(f"not shared({name}, {other})" for other in others))


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
    """Check one leaf; whether it is traced, or an array for an output."""
    if isinstance(kind, Given):
        array(text, name, *kind)
        return True
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
    array(text, name, kind.aval.shape, kind.aval.dtype)
    return True


def array(text: Text, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Demand a writable array of a form, in C order."""
    text.demand(
        f"type({name}) is ndarray and {name}.dtype is {text.refer(dtype)} "
        f"and {name}.shape == {shape} and {name}.flags.carray"
    )


def held(text: Text, array: Any) -> str:
    """A captured array, which must be as the program reads it."""
    if type(array) is not np.ndarray or not array.shape or not array.flags.carray:
        raise Unexpected
    return text.refer(array)


def allocated(text: Text, program: Any, inputs: list[str]) -> list[str]:
    """The outputs: fresh, or donated inputs."""
    names = []
    for i, (shape, dtype) in enumerate(program.outputs):
        if i in program.memory.donated:
            names.append(inputs[program.memory.donated[i]])
        else:
            text.put(f"o{i} = empty({shape}, {text.refer(dtype)})")
            names.append(f"o{i}")
    return names


def started(text: Text, inputs: list[str], outputs: list[str], program: Any) -> None:
    """Run the program on inputs, constants, outputs and scratch memory of its own."""
    text.put(f"scratch = {text.refer(program.take_scratch)}()")
    constants = [text.refer(c) for c in program.constants]
    fresh = [name for i, name in enumerate(outputs) if i not in program.memory.donated]
    names = ", ".join([*inputs, *constants, *fresh, "*scratch"])
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
