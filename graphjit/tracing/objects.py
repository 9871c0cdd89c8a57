"""What objects of Python are made of: wrapped functions, slots, the functions in a class."""

from __future__ import annotations

import functools
import types
import weakref
from collections.abc import Callable, Iterator
from typing import Any

from graphjit.tracing.names import is_library


class Slots:
    """The slots of an object, read like a dict, without keeping the object alive if possible."""

    def __init__(self, owner: Any) -> None:
        self._owner: Callable[[], Any]
        try:
            self._owner = weakref.ref(owner)
        except TypeError:
            self._owner = lambda: owner

    @classmethod
    def of(cls, owner: Any, known: dict[Any, Any]) -> Slots:
        """The same at every look."""
        if ("slots", id(owner)) not in known:
            known["slots", id(owner)] = cls(owner)
        slots: Slots = known["slots", id(owner)]
        return slots

    def __getitem__(self, name: str) -> Any:
        try:
            return getattr(self._owner(), name)
        except AttributeError:
            raise KeyError(name) from None


def parts(value: Any) -> Iterator[tuple[str, Any]]:
    """What a callable that wraps another is made of: a compiled function, a ``partial``."""
    if isinstance(value, functools.partial):
        yield "function", value.func
        for key, part in (*enumerate(value.args), *value.keywords.items()):
            yield f"argument {key}", part
    elif is_library(type(value)):
        inner = getattr(value, "__wrapped__", None)
        if inner is not None:
            yield "function", inner
        if type(value).__module__.startswith("graphjit."):
            for rule in getattr(value, "rules", ()):  # those of a custom_vjp or custom_jvp
                yield "a derivative rule", rule


def functions_of(value: Any) -> Iterator[types.FunctionType]:
    """The functions in what stands in a class: a method, a property, a static method."""
    for name in ("fget", "func", "__func__"):
        value = getattr(value, name, value)
    if isinstance(value, types.FunctionType):
        yield value


def always(value: Any) -> set[str]:
    """Attributes that are read without being named.

    The fields of a dataclass instance, since ``replace`` and ``asdict`` read them all; what a
    module calls for names that it does not have.
    """
    if isinstance(value, types.ModuleType):
        return {"__getattr__"}
    return set(getattr(type(value), "__dataclass_fields__", ()))


def generated(function: types.FunctionType) -> bool:
    """Whether ``dataclass`` wrote a method from the fields, other than the one with defaults."""
    code = function.__code__
    return code.co_qualname.startswith("__create_fn__") and code.co_name != "__init__"
