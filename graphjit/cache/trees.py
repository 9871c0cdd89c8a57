"""Containers as JSON: dicts, lists, tuples, named tuples, dataclasses and None.

Classes are kept by module and name, and only those that are found there; a module is never
imported for an entry. What is no container is a leaf, and the caller says what is kept of it.
"""

from __future__ import annotations

import dataclasses
import sys
from binascii import a2b_base64, b2a_base64
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import optree

from graphjit.cache.libraries import Refused, found
from graphjit.tracing.names import is_library
from graphjit.tracing.static import Static
from graphjit.tracing.trees import flatten

Json = Any
NUMBERS = (bool, int, str, type(None))


def written(tree: Any, leaf: Callable[[Any], Json]) -> Json:
    """A tree as JSON.

    Raises:
        Refused: a container or class that could not be made again.
    """
    kind = type(tree)
    if tree is None:
        return ["none"]
    if kind in (list, tuple):
        return [kind.__name__, [written(item, leaf) for item in tree]]
    if kind in (dict, OrderedDict):
        return [kind.__name__, [[constant(k), written(v, leaf)] for k, v in tree.items()]]
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return ["named", *class_of(kind, tree._fields), [written(item, leaf) for item in tree]]
    if dataclasses.is_dataclass(tree):
        names = [field.name for field in dataclasses.fields(tree)]
        items = [written(getattr(tree, name), leaf) for name in names]
        return ["dataclass", *class_of(kind, names), items]
    if optree.is_structseq(tree) or not optree.tree_is_leaf(tree):
        raise Refused(
            f"a container of type {kind.__module__}.{kind.__qualname__} has no known form"
        )
    return ["leaf", leaf(tree)]


def rebuilt(text: Json, leaf: Callable[[Json], Any]) -> Any:
    """The tree that was written.

    Raises:
        Refused: a class is not there any more, or has other fields.
    """
    match text:
        case ["none"]:
            return None
        case ["list", items]:
            return [rebuilt(item, leaf) for item in items]
        case ["tuple", items]:
            return tuple(rebuilt(item, leaf) for item in items)
        case ["dict" | "OrderedDict" as kind, pairs]:
            made = {key_from(key): rebuilt(item, leaf) for key, item in pairs}
            return made if kind == "dict" else OrderedDict(made)
        case ["named", *place, items]:
            return class_at(place, "_fields")._make(rebuilt(item, leaf) for item in items)
        case ["dataclass", *place, items]:
            return dataclass_with(place, [rebuilt(item, leaf) for item in items])
        case ["leaf", kept]:
            return leaf(kept)
    raise Refused(f"{text!r} is no container")


def class_of(cls: type, names: Sequence[str]) -> list[Any]:
    """A class by module, name and fields.

    Raises:
        Refused: it is not found there, as one that was made inside a function.
    """
    if found(cls.__module__, cls.__qualname__) is not cls:
        raise Refused(f"the class {cls.__qualname__} is not found in {cls.__module__}")
    return [cls.__module__, cls.__qualname__, list(names)]


def class_at(place: Sequence[Any], attribute: str) -> Any:
    """The class that was kept, if its fields are still so.

    Raises:
        Refused: it is not there, or has other fields.
    """
    module, name, names = place
    cls = found(module, name)
    if not isinstance(cls, type) or list(getattr(cls, attribute, ())) != names:
        raise Refused(f"{module}.{name} is no longer the class that was kept")
    return cls


def dataclass_with(place: Sequence[Any], values: Sequence[Any]) -> Any:
    """An instance with these fields, made as ``graphjit.tracing.trees`` does: without a call."""
    cls = class_at(place, "__dataclass_fields__")
    made = object.__new__(cls)
    for name, value in zip(place[2], values, strict=True):
        object.__setattr__(made, name, value)
    return made


# -- leaves --------------------------------------------------------------------------------------


def constant(value: Any) -> Json:
    """A number, a text, a tuple of such, a NumPy scalar, as JSON that keeps type and all bits.

    Raises:
        Refused: anything else.
    """
    kind = type(value)
    if kind in NUMBERS:
        return value
    if kind is float:
        return {"float": value.hex()}
    if kind is complex:
        return {"complex": [value.real.hex(), value.imag.hex()]}
    if kind is bytes:
        return {"bytes": b2a_base64(value, newline=False).decode()}
    if kind is tuple:
        return {"tuple": [constant(item) for item in value]}
    if isinstance(value, np.bool_ | np.number):
        return {"scalar": [value.dtype.str, value.tobytes().hex()]}
    raise Refused(f"a value of type {kind.__module__}.{kind.__qualname__} has no known form")


def constant_from(text: Json) -> Any:
    """The constant that was written.

    Raises:
        Refused: it is none.
    """
    match text:
        case bool() | int() | str() | None:
            return text
        case {"float": digits}:
            return float.fromhex(digits)
        case {"complex": [real, imaginary]}:
            return complex(float.fromhex(real), float.fromhex(imaginary))
        case {"bytes": letters}:
            return a2b_base64(letters)
        case {"tuple": items}:
            return tuple(map(constant_from, items))
        case {"scalar": [dtype, digits]}:
            return np.frombuffer(bytes.fromhex(digits), dtype)[0]
    raise Refused(f"{text!r} is no constant")


def key_from(text: Json) -> Any:
    """A key of a dict; a text is the object that the same text in a user's file is."""
    return sys.intern(text) if type(text) is str else constant_from(text)


def array_form(array: np.ndarray[Any, Any]) -> tuple[Json, bytes]:
    """An array's dtype and shape, and its elements in C order, for a blob.

    Raises:
        Refused: it holds Python objects, or has a dtype with fields.
    """
    if array.dtype.hasobject or array.dtype.names is not None:
        raise Refused(f"an array of dtype {array.dtype} has no known form")
    return [array.dtype.str, list(array.shape)], array.tobytes()


def array_from(form: Json, elements: bytes) -> np.ndarray[Any, Any]:
    """The array that was kept; it can be written to and is aligned."""
    dtype, shape = form
    return np.frombuffer(elements, dtype).reshape(shape).copy()


# -- a call, a result ----------------------------------------------------------------------------


def signature(spec: optree.PyTreeSpec, keys: Sequence[Any]) -> Json:
    """What chooses a program among those of one function: ``Arguments.spec`` and ``.keys``.

    Raises:
        Refused: a container or a static value has no known form.
    """
    return written(optree.tree_unflatten(spec, list(map(Key, keys))), lambda key: key.text())


def classes_of(spec: optree.PyTreeSpec) -> list[type]:
    """The classes of a structure's containers that are the user's own, in a fixed order."""
    classes, pending = list[type](), [spec]
    for part in pending:
        pending += part.children()
        if part.type is not None and not is_library(part.type) and part.type not in classes:
            classes.append(part.type)
    return classes


class Key:
    """What of one leaf chooses the program."""

    def __init__(self, key: Any) -> None:
        self.key = key

    def text(self) -> Json:
        """As JSON.

        Raises:
            Refused: a static value has no known form.
        """
        if isinstance(self.key, Static):
            return {"static": constant(self.key.value)}
        if self.key is float:
            return "float"
        shape, dtype = self.key
        return [list(shape), dtype.str]


class Hole:
    """Stands for one output of the program."""

    __slots__ = ("index",)

    def __init__(self, index: int) -> None:
        self.index = index


class Template:
    """How a result is made of the outputs of a program: what ``Derived.result`` does, kept.

    Attributes:
        tree: The result with a ``Hole`` for each output.
    """

    def __init__(self, tree: Any) -> None:
        self.tree = tree
        self.leaves, self.spec = flatten(tree)
        self.holes = [(i, x.index) for i, x in enumerate(self.leaves) if isinstance(x, Hole)]

    @classmethod
    def of(cls, result: Callable[[Sequence[Any]], Any], count: int) -> Template:
        """From a function of ``count`` outputs that only puts them into containers."""
        return cls(result([Hole(index) for index in range(count)]))

    @classmethod
    def read(cls, text: Json) -> Template:
        """The one that was written.

        Raises:
            Refused: a class in it is not there any more.
        """
        return cls(rebuilt(text, hole_or_constant))

    def written(self) -> Json:
        """As JSON.

        Raises:
            Refused: the result holds something that could not be made again.
        """
        return written(self.tree, kept)

    def __call__(self, values: Sequence[Any]) -> Any:
        """The result for these outputs."""
        leaves = list(self.leaves)
        for place, index in self.holes:
            leaves[place] = values[index]
        return optree.tree_unflatten(self.spec, leaves)


def kept(leaf: Any) -> Json:
    """A hole or a constant as JSON."""
    return {"hole": leaf.index} if isinstance(leaf, Hole) else {"constant": constant(leaf)}


def hole_or_constant(text: Json) -> Any:
    """What was kept of a leaf."""
    return Hole(text["hole"]) if "hole" in text else constant_from(text["constant"])
