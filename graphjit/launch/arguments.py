"""Take the arguments of a call apart, natively: every container and leaf is checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphjit.codegen.objects import WORD
from graphjit.launch import layout
from graphjit.launch.context import Context
from graphjit.launch.text import Text
from graphjit.launch.trees import PLAIN, Fixed, Unexpected, children

MOST = 1024  # leaves of a call; taking more apart would cost less than its kernel anyway
SIZES = (1, 2, 4, 8)


@dataclass(frozen=True)
class Traced:
    """What a leaf that a program reads looks like: a float, or an array or NumPy scalar."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    weak: bool = False


@dataclass
class Inputs:
    """Where the program finds its inputs.

    Attributes:
        addresses: The address of each input's data.
        inner: Objects that containers hold, which somebody could take out of them meanwhile.
    """

    addresses: list[str]
    inner: list[str]


class Unpacking:
    """Writes the text that takes arguments apart."""

    def __init__(self, text: Text, context: Context, kinds: Sequence[Traced | None]) -> None:
        self.text, self.context, self.kinds = text, context, iter(kinds)
        self.inputs = Inputs([], [])

    def unpacked(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Inputs:
        """Where the inputs are, all checked.

        Args:
            args: Positional arguments as they were traced.
            kwargs: Keyword arguments, in the order of the call.

        Raises:
            Unexpected: a container or leaf that no text is written for.
        """
        places = {name: len(args) + i for i, name in enumerate(kwargs)}
        given = [*enumerate(args), *((places[name], kwargs[name]) for name in sorted(kwargs))]
        pending = [(self.text.load("%args", WORD * i), arg, 0) for i, arg in given]
        count = 0
        while pending:
            name, value, depth = pending.pop(0)
            if value is None:
                self.identical(name, None)
                continue
            parts = children(value)
            if parts is None:
                self.leaf(name, value, depth)
                count += 1
            else:
                pending = [(n, p, depth + 1) for n, p in self.opened(name, value, parts)] + pending
            if count > MOST:
                raise Unexpected("there are too many arguments")
        return self.inputs

    def identical(self, name: str, value: Any) -> None:
        """An object that must be the very same."""
        known = self.text.word(self.context.object(value))
        self.text.demand(f"icmp eq ptr {name}, {known}")

    def typed(self, name: str, kind: type) -> None:
        """An object whose class must be this one."""
        own = self.text.load(name, layout.TYPE)
        known = self.text.word(self.context.object(kind))
        self.text.demand(f"icmp eq ptr {own}, {known}")

    def opened(self, name: str, value: Any, parts: list[tuple[Any, Any]]) -> list[tuple[str, Any]]:
        """The parts of a container, which must have as many."""
        text = self.text
        self.typed(name, type(value))
        if not isinstance(value, tuple | list | dict):
            return [(self.attribute(name, key), part) for key, part in parts]
        size = text.load(name, layout.SIZE, "i64")
        text.demand(f"icmp eq i64 {size}, {len(parts)}")
        if type(value) is dict:
            return [(self.entry(name, key), part) for key, part in parts]
        listed = type(value) is list
        items = text.load(name, layout.ITEMS) if listed else text.at(name, layout.TUPLE_ITEMS)
        return [(text.load(items, WORD * key), part) for key, part in parts]

    def attribute(self, name: str, key: str) -> str:
        """A field of a dataclass, which holds on to it as long as nobody changes it."""
        known = self.text.word(self.context.object(key))
        get = self.context.function("PyObject_GenericGetAttr")
        found = self.text.call(get, "ptr", f"ptr {name}", f"ptr {known}")
        self.text.demand(f"icmp ne ptr {found}, null", "forget")
        self.text.call(self.context.function("Py_DecRef"), "void", f"ptr {found}")
        return found

    def entry(self, name: str, key: Any) -> str:
        """The entry of a dict under a key that must be there."""
        if type(key) not in (str, int):
            raise Unexpected(f"a dict with a key of type {type(key).__name__}")
        known = self.text.word(self.context.object(key))
        lookup = self.context.function("PyDict_GetItemWithError")
        found = self.text.call(lookup, "ptr", f"ptr {name}", f"ptr {known}")
        self.text.demand(f"icmp ne ptr {found}, null", "forget")
        return found

    def leaf(self, name: str, value: Any, depth: int) -> None:
        """Check one leaf, and find the data of one that is traced."""
        kind = next(self.kinds)
        if kind is None:
            self.fixed(name, value)
            return
        if depth:
            self.inputs.inner.append(name)
        if kind.weak:
            self.typed(name, float)
            self.inputs.addresses.append(self.text.at(name, layout.VALUE))
            return
        self.formed("array" if kind.shape else "scalar", name, kind.shape, kind.dtype)

    def formed(self, check: str, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        """The data of an array or scalar that must look like this."""
        form = self.text.slot(self.context.form(shape, plain(dtype)))
        data = self.text.call(self.context.function(check), "ptr", f"ptr {name}", f"ptr {form}")
        self.text.demand(f"icmp ne ptr {data}, null")
        self.inputs.addresses.append(data)

    def fixed(self, name: str, value: Any) -> None:
        """A static leaf: the same object, or the same int of one digit."""
        value = value.value if type(value) is Fixed else value
        if not is_constant(value):
            raise Unexpected(f"a static argument of type {type(value).__name__}")
        if type(value) is not int or not -(2**30) < value < 2**30:
            self.identical(name, value)
            return
        self.typed(name, int)
        known = self.text.word(self.context.object(value))
        for offset, kind in ((layout.VALUE, "i64"), (layout.DIGIT, "i32")):
            pair = [self.text.load(base, offset, kind) for base in (name, known)]
            self.text.demand(f"icmp eq {kind} {', '.join(pair)}")

    def keywords(self, names: Sequence[str]) -> None:
        """The names of keyword arguments, in the order of the call."""
        text = self.text
        if not names:
            text.demand("icmp eq ptr %names, null")
            return
        text.demand("icmp ne ptr %names, null")
        size = text.load("%names", layout.SIZE, "i64")
        text.demand(f"icmp eq i64 {size}, {len(names)}")
        for index, name in enumerate(names):
            self.identical(text.load("%names", layout.TUPLE_ITEMS + WORD * index), name)

    def captured(self, array: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        """An array that the function read from elsewhere, as it is now."""
        if type(array) is not np.ndarray or not array.flags.c_contiguous or not array.flags.aligned:
            raise Unexpected("a captured array that is not contiguous")
        name = self.text.word(self.context.object(array))
        self.formed("array", name, shape, dtype)


def plain(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """A dtype that is read as it lies in memory.

    Raises:
        Unexpected: it is not, or its elements have another size than a machine's numbers.
    """
    if dtype.itemsize not in SIZES or not dtype.isnative:
        raise Unexpected(f"an array of {dtype}")
    return dtype


def is_constant(value: Any) -> bool:
    """Whether a static value stays the same as long as it is the same object."""
    if type(value) is tuple:
        return all(map(is_constant, value))
    return value is None or type(value) in (*PLAIN, float, bytes) or callable(value)
