"""Values as bytes: equal for two values exactly where a trace cannot tell them apart."""

from __future__ import annotations

import enum
import types
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

from graphjit.cache.libraries import Refused, module_text, named
from graphjit.ir.symbol import Symbol
from graphjit.tracing.names import is_library
from graphjit.tracing.objects import functions_of, parts
from graphjit.tracing.reads import Reads

PLAIN = (bool, int, float, complex, str, bytes, type(None), range, type(...), type(NotImplemented))
BASES = {"builtins.object", "abc.ABC", "typing.Generic", "typing.Protocol"}
CONTAINERS = (list, tuple, dict)
MEMBERS = (property, staticmethod, classmethod)
# The library's own objects that wrap a function, and what of them is no function.
WRAPPERS = {
    "graphjit.checkpoints.checkpoint": (),
    "graphjit.custom.custom_jvp": ("nondiff",),
    "graphjit.custom.custom_vjp": ("nondiff",),
    "graphjit.sparse.compiled.SparseDerivative": ("_options",),
    "graphjit.transforms.batching.Axes": ("tree",),
    "graphjit.transforms.methods.Bound": (),
    "graphjit.transforms.compiled.Compiled": ("_options",),
    "graphjit.transforms.methods.Method": (),
    "graphjit.transforms.forward.OfPrimals": (),
    "graphjit.transforms.jacobians.JacobianFunction": ("_options",),
    "functools._lru_cache_wrapper": (),
    "functools.partial": (),
    "functools.cached_property": (),
}
# Compared by name, because importing their modules takes 5 and 15 ms.
LOGGER, GENERATOR = "logging.Logger", "numpy.random._generator.Generator"
Part = bytes | str


def joined(*parts: Part) -> bytes:
    """Parts as one, from which they could be told again."""
    texts = [part.encode() if isinstance(part, str) else part for part in parts]
    return b"".join(b"%d:%b" % (len(text), text) for text in texts)


def plain(value: Any) -> bytes:
    """A value that holds nothing but plain data, with all its contents.

    Raises:
        Refused: it is something else.
    """
    kind = type(value)
    if kind in PLAIN:
        return joined(kind.__name__, repr(value))
    if kind in CONTAINERS:
        items = [x for pair in value.items() for x in pair] if kind is dict else value
        return joined(kind.__name__, *(plain(item) for item in items))
    if kind in (set, frozenset):
        return joined(kind.__name__, *sorted(plain(item) for item in value))
    if kind is slice:
        return joined("slice", *(plain(x) for x in (value.start, value.stop, value.step)))
    return numpy_value(value) or own_value(value)


def numpy_value(value: Any) -> bytes:
    """A dtype or a NumPy scalar; nothing for other values.

    Raises:
        Refused: an array, which may be an input of the program and then is no plain data.
    """
    if isinstance(value, np.dtype):
        return joined("dtype", repr(value))
    if isinstance(value, np.generic):
        return joined("scalar", repr(value.dtype), value.tobytes())
    if isinstance(value, np.ndarray):
        raise Refused("an array deep inside a container")
    return b""


def array_form(array: np.ndarray[Any, Any]) -> bytes:
    """The dtype and shape of an array.

    Raises:
        Refused: an array of Python objects, or of a subclass.
    """
    if type(array) is not np.ndarray or array.dtype.hasobject:
        raise Refused(f"an array of type {type(array).__name__} and dtype {array.dtype}")
    return joined("array", repr(array.dtype), repr(array.shape))


def own_value(value: Any) -> bytes:
    """A member of an Enum, a class or function of a library, options of the library itself.

    Raises:
        Refused: none of these.
    """
    kind = type(value)
    if isinstance(value, enum.Enum):
        return joined("enum", kind.__module__, kind.__qualname__, value.name, plain(value.value))
    full = f"{kind.__module__}.{kind.__qualname__}"
    if full.startswith("graphjit.") and full in WRAPPERS and not tuple(parts(value)):
        return joined(full, *(plain(getattr(value, key)) for key in WRAPPERS[full]))
    if full.startswith("graphjit.") and is_dataclass(value):
        return joined(full, *(plain(getattr(value, f.name)) for f in fields(value)))
    return joined("named", named(value))


class Values:
    """The values that a function reads; those with parts by numbers, since the parts are listed.

    Args:
        reads: Where their parts are listed.
        large: Bytes above which an array counts by its form alone.
    """

    def __init__(self, reads: Reads, large: int) -> None:
        self.reads, self.large = reads, large
        self.names = frozenset(reads.attributes)
        known = (*reads.functions, *reads.classes)
        self.numbers = {id(value): number for number, value in enumerate(known)}
        self.beyond = {id(value) for _, value in reads.beyond}
        self.kept: list[Any] = []  # so that no id is used twice

    def of(self, value: Any) -> bytes:
        """A value as bytes.

        Raises:
            Refused: it has no known form.
        """
        if type(value) in PLAIN:
            return joined(type(value).__name__, repr(value))
        if id(value) in self.beyond:
            return plain(value)
        if isinstance(value, np.ndarray):  # by number too: one array in two places is one input
            elements = b"" if value.nbytes > self.large else value.tobytes()
            return joined(array_form(value), self._number(value), elements)
        if isinstance(value, Symbol):
            raise Refused("a traced value of an outer function")
        for kinds, form_of in self.FORMS:
            if isinstance(value, kinds):
                return form_of(self, value)
        return self._object(value)

    def _number(self, value: Any) -> str:
        if id(value) not in self.numbers:
            self.numbers[id(value)] = len(self.numbers)
            self.kept.append(value)
        return str(self.numbers[id(value)])

    def _container(self, value: Any) -> bytes:
        kind = self.class_name(type(value))
        return joined("container", kind, str(len(value)), self._number(value))

    def _module(self, value: types.ModuleType) -> bytes:
        if is_library(value):
            return joined("library", value.__name__, *module_text(value, self.names))
        return joined("module", value.__name__)

    def _function(self, value: types.FunctionType) -> bytes:
        if not is_library(value):
            return joined("function", self._number(value))
        if value.__closure__ is None:
            return joined("named", named(value))
        return joined("made", value.__module__, value.__qualname__)  # its cells are listed

    def _method(self, value: types.MethodType) -> bytes:
        return joined("method", self.of(value.__self__), self.of(value.__func__))

    def _builtin(self, value: Any) -> bytes:
        owner = getattr(value, "__self__", None)
        if owner is None or isinstance(owner, type | types.ModuleType):
            return joined("named", named(value))
        raise Refused(f"a method of a value of type {type(owner).__name__}")

    def _type(self, value: type) -> bytes:
        return joined("class", self.class_name(value))

    def _member(self, value: Any) -> bytes:
        inner = [self.of(function) for function in functions_of(value)]
        return joined("member", type(value).__name__, *inner)

    FORMS: tuple[tuple[Any, Callable[[Values, Any], bytes]], ...] = (
        (CONTAINERS, _container),
        (types.ModuleType, _module),
        (types.FunctionType, _function),
        (types.MethodType, _method),
        ((types.BuiltinFunctionType, np.ufunc, types.MethodDescriptorType), _builtin),
        (type, _type),
        (MEMBERS, _member),
    )

    def class_name(self, cls: type) -> bytes:
        """A class: of a library by name and version, the user's by name and number."""
        if is_library(cls):
            return joined("named", named(cls))
        return joined(cls.__module__, cls.__qualname__, self._number(cls))

    def class_text(self, cls: type) -> bytes:
        """A class of the user's: what it derives from, its fields, its members.

        Raises:
            Refused: the value of a member has no known form.
        """
        fields = joined(*getattr(cls, "__dataclass_fields__", ()))
        members = list(cls) if issubclass(cls, enum.Enum) else []
        return joined(
            joined(*map(self.class_name, cls.__mro__)), fields, joined(*map(plain, members))
        )

    def _object(self, value: Any) -> bytes:
        """An object of a class: the user's own, or one that wraps a function."""
        cls = type(value)
        full = f"{cls.__module__}.{cls.__qualname__}"
        if full == LOGGER:
            return joined("logger", value.name)
        if full == GENERATOR:
            raise Refused("random numbers")
        if full in WRAPPERS and tuple(parts(value)):
            rest = [plain(getattr(value, key)) for key in WRAPPERS[full]]
            return joined("wrapper", full, *rest, self._number(value))
        if not is_library(cls) and not isinstance(value, enum.Enum):
            self._check_bases(cls)
            return joined("object", self.class_name(cls), self._number(value))
        return plain(value)

    def _check_bases(self, cls: type) -> None:
        """Refuse an object whose state may lie where no attribute shows it.

        Raises:
            Refused: its class derives from one of a library.
        """
        for base in cls.__mro__:
            full = f"{base.__module__}.{base.__qualname__}"
            if is_library(base) and full not in BASES and base not in CONTAINERS:
                raise Refused(f"{cls.__qualname__} derives from {full}, whose state is not known")
