"""What a traced function relied on, compared natively before every call."""

from __future__ import annotations

import gc
import types
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from graphjit.codegen.objects import WORD
from graphjit.launch.context import Context
from graphjit.launch.helpers import BODIES
from graphjit.launch.text import Text
from graphjit.launch.trees import Unexpected


class Conditions(NamedTuple):
    """What must still be so, as a trace found it.

    Attributes:
        items: A container, a key, and what is there.
        cells: A closure's cell, and what is in it.
        sizes: A container, and how many entries it has.
        absent: A dict, and a name that is not in it.
        contents: An array, and its bytes.
        captured: An array that the program reads, with its shape and dtype.
    """

    items: Sequence[tuple[Any, Any, Any]] = ()
    cells: Sequence[tuple[types.CellType, Any]] = ()
    sizes: Sequence[tuple[Any, int]] = ()
    absent: Sequence[tuple[Any, str]] = ()
    contents: Sequence[tuple[np.ndarray[Any, Any], bytes]] = ()
    captured: Sequence[tuple[np.ndarray[Any, Any], tuple[int, ...], np.dtype[Any]]] = ()


def guarded(text: Text, context: Context, conditions: Conditions) -> None:
    """Go back to Python unless all is as it was.

    Raises:
        Unexpected: a condition that is not compared natively.
    """
    rows: dict[str, list[list[int]]] = {name: [] for name in BODIES}
    for container, key, expected in conditions.items:
        row(rows, context, container, key, expected)
    for cell, expected in conditions.cells:
        rows["cells"].append(addresses(context, cell, expected))
    changing = [(c, n) for c, n in conditions.sizes if type(c) is not tuple]
    for container, size in changing:
        rows["sizes"].append([*addresses(context, sized(container)), size])
    for namespace, key in conditions.absent:
        rows["absent"].append(addresses(context, plain_dict(namespace), plain_key(key)))
    for array, content in conditions.contents:
        rows["contents"].append(saved(context, array, content))
    for name in filter(rows.get, rows):
        compared(text, context, name, rows[name])


def row(
    rows: dict[str, list[list[int]]], context: Context, container: Any, key: Any, expected: Any
) -> None:
    """One entry of a container."""
    if type(container) is tuple:  # it never changes, and what holds it is compared
        return
    if type(container) is list and type(key) is int:
        found = addresses(context, container, expected)
        rows["elements"].append([found[0], key, found[1]])
        return
    rows["entries"].append(addresses(context, plain_dict(container), plain_key(key), expected))


def addresses(context: Context, *values: Any) -> list[int]:
    """Where objects are; they are kept alive."""
    context.kept += values
    return [id(value) for value in values]


def plain_key(key: Any) -> Any:
    """A key whose look-up runs no code of a user's.

    Raises:
        Unexpected: it is another one.
    """
    if type(key) not in (str, int):
        raise Unexpected(f"a guard on a key of type {type(key).__name__}")
    return key


def plain_dict(namespace: Any) -> dict[Any, Any]:
    """The dict itself, also behind the view that a class shows of its own.

    Raises:
        Unexpected: no dict.
    """
    if type(namespace) is types.MappingProxyType:
        namespace = gc.get_referents(namespace)[0]
    if type(namespace) is not dict:
        raise Unexpected(f"a guard on the contents of a {type(namespace).__name__}")
    return namespace


def sized(container: Any) -> Any:
    """A container whose size is where a list's or dict's is.

    Raises:
        Unexpected: it is another one.
    """
    if type(container) not in (list, dict):
        raise Unexpected(f"a guard on the size of a {type(container).__name__}")
    return container


def saved(context: Context, array: np.ndarray[Any, Any], content: bytes) -> list[int]:
    """An array, what it looks like, a copy of its contents, and their size.

    Raises:
        Unexpected: its bytes do not lie in a row.
    """
    if type(array) is not np.ndarray or not array.flags.c_contiguous or not array.flags.aligned:
        raise Unexpected("a guard on the contents of an array that is not contiguous")
    copy = np.frombuffer(content, np.uint8)
    context.kept.append(copy)
    form = WORD * context.form(array.shape, array.dtype)
    return [*addresses(context, array), form, copy.ctypes.data, len(content)]


def compared(text: Text, context: Context, name: str, rows: list[list[int]]) -> None:
    """Compare all conditions of one kind."""
    lookup = context.function("PyDict_GetItemWithError")
    count = text.word(context.number(len(rows)), "i64")
    place = context.block([value for entry in rows for value in entry])
    arguments = ("ptr %context", f"ptr {text.word(lookup)}", f"ptr {text.slot(place)}")
    held = text.call(context.function(name), "i1", *arguments, f"i64 {count}")
    text.demand(f"icmp eq i1 {held}, true", "forget")
