"""The containers that a launch takes apart and puts together without Python's help."""

from __future__ import annotations

import dataclasses
import inspect
import types
from typing import Any

import numpy as np

PLAIN = (int, bool, str)


class Unexpected(Exception):  # noqa: N818 - never leaves the launchers
    """A container, leaf or condition that no launcher is written for."""


class Marker:
    """Stands for one output while the shape of the result is found out."""

    __slots__ = ("index",)

    def __init__(self, index: int) -> None:
        self.index = index


class Fixed:
    """A static argument: one leaf, whatever it is."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


def children(value: Any) -> list[tuple[Any, Any]] | None:
    """The parts of a container by key, in the order of its leaves; None for a leaf.

    Raises:
        Unexpected: a container of another kind.
    """
    if type(value) in (list, tuple):
        return list(enumerate(value))
    if type(value) is dict:
        try:
            return sorted(value.items())
        except TypeError:
            raise Unexpected("a dict whose keys have no order") from None
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return list(enumerate(value))
    if is_dataclass(value):
        return [(field.name, getattr(value, field.name)) for field in dataclasses.fields(value)]
    if value is None:
        return []
    if type(value) in (float, np.ndarray, Fixed, *PLAIN) or isinstance(value, np.generic):
        return None
    raise Unexpected(f"an argument of type {type(value).__name__}")


def is_dataclass(value: Any) -> bool:
    """Whether a value is an instance of a dataclass whose fields are read by no code of a user's.

    Raises:
        Unexpected: a dataclass with such code.
    """
    kind = type(value)
    if not hasattr(kind, "__dataclass_fields__"):
        return False
    own = inspect.getattr_static(kind, "__getattribute__")
    plain = own is vars(object)["__getattribute__"] and not hasattr(kind, "__getattr__")
    found = [inspect.getattr_static(kind, f.name, None) for f in dataclasses.fields(kind)]
    if not plain or any(map(is_computed, found)):
        raise Unexpected(f"fields of {kind.__name__} that are computed")
    return True


def is_computed(attribute: Any) -> bool:
    """Whether an attribute of a class answers for its instances; that of a slot is harmless."""
    slot = isinstance(attribute, types.MemberDescriptorType)
    return not slot and hasattr(type(attribute), "__get__")
