"""What a trace relied on beside its arguments, and whether it is still so.

A traced function reads closure cells, globals, defaults and attributes of ``self``; Python did
that once, while tracing. Guards remember what was found there, and are asked before every call.
Arrays are remembered by identity, because they are inputs of the program and later contents are
seen. Their *contents* are remembered too where the trace may have used them in Python: see
``Guards.freeze``.

Not seen are values reached in other ways: ``getattr`` with a computed name, attributes of
attributes, files, the clock.
"""

from __future__ import annotations

import dis
import os
import sys
import sysconfig
import types
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from graphjit.ir.symbol import Symbol
from graphjit.tracing.origin import inside_library

SCALARS = (bool, int, float, complex, str, bytes, type(None), np.generic)
ATOMS = (*SCALARS, type, types.ModuleType, types.BuiltinFunctionType, np.ufunc, Symbol)
GLOBAL_LOADS = frozenset({"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"})
ATTRIBUTE_LOADS = frozenset({"LOAD_ATTR", "LOAD_METHOD"})
UNUSED = (623, 624)  # positions of a Mersenne Twister from which nothing was drawn
DEPTH, WIDTH = 3, 256
SMALL = 512  # bytes that are compared in about 0.2 microseconds
LIBRARIES = tuple(
    {
        f"{Path(sysconfig.get_path(name)).resolve()}{os.sep}"
        for name in ("purelib", "platlib", "stdlib", "platstdlib")
    }
)


class Guards:
    """The places a function read, with what was found there.

    Attributes:
        arrays: The arrays found, by what the user calls them.
        generators: The random generators found.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.arrays: dict[str, np.ndarray[Any, Any]] = {}
        self.generators: dict[str, np.random.Generator] = {}
        self._items: dict[tuple[int, Any], tuple[Any, Any, Any, str]] = {}
        self._sizes: dict[int, tuple[Any, int, str]] = {}
        self._cells: dict[int, tuple[types.CellType, Any, str]] = {}
        self._absent: list[tuple[Any, str, str]] = []
        self._contents: list[tuple[np.ndarray[Any, Any], bytes, str]] = []
        self._seen: set[Any] = set()
        self._function(function)
        self._seen.clear()  # a guard must not keep the function alive
        self._precompiled = tuple(self._items.values())
        self._precompiled_cells = tuple(self._cells.values())
        self._precompiled_sizes = tuple(self._sizes.values())

    def changed(self) -> str:
        """What is no longer as it was, or an empty string."""
        for container, key, expected, name in self._precompiled:
            try:
                found = container[key]
            except (KeyError, IndexError):
                return f"{name} is gone"
            if found is not expected and not same(found, expected):
                return difference(name, expected, found)
        return self._cells_changed() or self._insides_changed()

    def _cells_changed(self) -> str:
        for cell, expected, name in self._precompiled_cells:
            try:
                found = cell.cell_contents
            except ValueError:
                return f"{name} is gone"
            if found is not expected and not same(found, expected):
                return difference(name, expected, found)
        return ""

    def _insides_changed(self) -> str:
        for container, size, name in self._precompiled_sizes:
            if len(container) != size:
                return f"{name} has {len(container)} entries, not {size}"
        for namespace, key, name in self._absent:
            if key in namespace:
                return f"{name} was rebound"
        for array, contents, name in self._contents:
            if array.tobytes() != contents:
                return f"the contents of {name} changed while Python code depends on them"
        return ""

    def freeze(self, captured: list[Any], *, computed: bool) -> None:
        """Guard the contents of arrays whose elements the trace may have read in Python.

        ``if scale[0] > 1`` or ``np.linalg.inv(a)`` on a plain array is computed once, while
        tracing. The contents of an array are compared at each call if it is small; or if it
        is no input of the program, so that it was read in Python or not at all; or if the
        trace met values ``computed`` by NumPy from plain arrays.
        """
        inputs = set(map(id, captured))
        for name, array in self.arrays.items():
            fixed = array.nbytes > SMALL and not array.flags.writeable and array.base is None
            if not fixed and (computed or array.nbytes <= SMALL or id(array) not in inputs):
                self._contents.append((array, array.tobytes(), name))

    # -- collecting ---------------------------------------------------------------------------

    def _function(self, function: Any) -> None:
        """All that a Python function reads."""
        if isinstance(function, types.MethodType):
            code = getattr(function.__func__, "__code__", None)
            self._attributes(function.__self__, "self", names_read(code) if code else frozenset())
            function = function.__func__
        if not isinstance(function, types.FunctionType):
            return self._callable(function)
        if function in self._seen or inside_library(function.__code__.co_filename):
            return None
        self._seen.add(function)
        read = names_read(function.__code__)
        for name in sorted(globals_read(function.__code__) & function.__globals__.keys()):
            self._item(function.__globals__, name, f"global {name}", read, 0)
        for name, cell in zip(
            function.__code__.co_freevars, function.__closure__ or (), strict=True
        ):
            self._cell(cell, f"closure {name}", read)
        defaults = (function.__defaults__ or (), function.__kwdefaults__ or {})
        for key, value in (*enumerate(defaults[0]), *defaults[1].items()):
            self._value(value, f"default {key} of {function.__name__}", read, 0)
        return None

    def _callable(self, function: Any) -> None:
        """A compiled function, a partial, an object with ``__call__``."""
        inner = getattr(function, "__wrapped__", None) or getattr(function, "func", None)
        if inner is not None:
            self._function(inner)
        for value in (*getattr(function, "args", ()), *getattr(function, "keywords", {}).values()):
            self._value(value, "an argument of a partial", frozenset(), 0)
        for rule in getattr(function, "rules", ()):  # those of a custom_vjp or custom_jvp
            self._value(rule, "a derivative rule", frozenset(), 0)
        call = getattr(type(function), "__call__", None)  # noqa: B004 - the function is wanted
        if inner is None and isinstance(call, types.FunctionType):
            self._function(types.MethodType(call, function))

    def _cell(self, cell: types.CellType, name: str, read: frozenset[str]) -> None:
        try:
            value = cell.cell_contents
        except ValueError:  # not assigned yet
            return
        if id(cell) not in self._cells:
            self._cells[id(cell)] = (cell, value, name)
            self._value(value, name, read, 0)

    def _item(self, container: Any, key: Any, name: str, read: frozenset[str], depth: int) -> None:
        if (id(container), key) in self._items:
            return
        value = container[key]
        if not is_library(value):
            self._items[id(container), key] = (container, key, value, name)
            self._value(value, name, read, depth)

    def _value(self, value: Any, name: str, read: frozenset[str], depth: int) -> None:
        """What can change inside a value that was found under ``name``."""
        if isinstance(value, np.ndarray):
            self.arrays.setdefault(name, value)
        elif isinstance(value, types.ModuleType):
            self._module(value, name, read)
        elif isinstance(value, ATOMS) or depth > DEPTH or is_library(value):
            return
        elif isinstance(value, list | tuple | dict):
            self._container(value, name, read, depth)
        elif type(value).__module__ == "numpy.random._generator":
            self.generators[name] = value
        elif isinstance(value, types.FunctionType | types.MethodType) or callable(value):
            self._function(value)
        elif id(value) not in self._seen:
            self._attributes(value, name, read, depth)

    def _module(self, module: types.ModuleType, name: str, read: frozenset[str]) -> None:
        """What is read of a module that is the user's own."""
        if is_library(module) or id(module) in self._seen:
            return
        self._seen.add(id(module))
        for attribute in read & module.__dict__.keys():
            self._item(module.__dict__, attribute, f"{name}.{attribute}", read, 0)

    def _container(self, value: Any, name: str, read: frozenset[str], depth: int) -> None:
        if id(value) in self._sizes or len(value) > WIDTH:
            return
        self._sizes[id(value)] = (value, len(value), name)
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            self._item(value, key, f"{name}[{key!r}]", read, depth + 1)

    def _attributes(self, owner: Any, name: str, read: frozenset[str], depth: int = 0) -> None:
        """The attributes of an object that the code names, one level; and its methods."""
        self._seen.add(id(owner))
        own = getattr(owner, "__dict__", {})
        for attribute in read & own.keys():
            self._item(own, attribute, f"{name}.{attribute}", read, depth + 1)
        for cls in type(owner).__mro__:
            if is_library(cls):
                continue
            for attribute in (read & cls.__dict__.keys()) - own.keys():
                self._class_attribute(owner, cls, attribute, name, read)

    def _class_attribute(
        self, owner: Any, cls: type, attribute: str, name: str, read: frozenset[str]
    ) -> None:
        value = cls.__dict__[attribute]
        method = getattr(value, "fget", None) or getattr(value, "__func__", value)
        if isinstance(method, types.FunctionType) and method not in self._seen:
            self._function(types.MethodType(method, owner))
        self._item(cls.__dict__, attribute, f"{name}.{attribute}", read, 0)
        if hasattr(owner, "__dict__"):  # where an assignment would hide the class's attribute
            self._absent.append((owner.__dict__, attribute, f"{name}.{attribute}"))


def same(found: Any, expected: Any) -> bool:
    """Whether a rebound value changes nothing: an equal scalar of the same type."""
    if type(found) is not type(expected) or not isinstance(found, SCALARS):
        return False
    return bool(found == expected) and repr(found) == repr(expected)  # 0.0 is not -0.0


def difference(name: str, expected: Any, found: Any) -> str:
    """What changed, for the list of recompilations."""
    if isinstance(expected, SCALARS) and isinstance(found, SCALARS):
        return f"{name}: {expected!r} -> {found!r}"
    return f"{name} was rebound"


@lru_cache(maxsize=4096)
def names_loaded(code: types.CodeType, opnames: frozenset[str]) -> frozenset[str]:
    """The names that these instructions load in a code object and in those inside it."""
    names = {i.argval for i in dis.get_instructions(code) if i.opname in opnames}
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names |= names_loaded(constant, opnames)
    return frozenset(names)


def globals_read(code: types.CodeType) -> frozenset[str]:
    """The globals that a code object reads."""
    return names_loaded(code, GLOBAL_LOADS)


def names_read(code: types.CodeType) -> frozenset[str]:
    """The attributes that a code object reads of anything."""
    return names_loaded(code, ATTRIBUTE_LOADS)


def is_library(value: Any) -> bool:
    """Whether a function, class, module or object is not the user's own code."""
    if isinstance(value, types.FunctionType):
        return library_file(value.__code__.co_filename)
    if isinstance(value, types.ModuleType | type):
        module = value if isinstance(value, types.ModuleType) else None
        return library_module(module.__name__ if module else value.__module__)
    return False


@lru_cache(maxsize=4096)
def library_module(name: str) -> bool:
    """Whether a module is Python's own or installed."""
    top = name.partition(".")[0]
    if top in sys.stdlib_module_names and top != "__main__":
        return True
    file = getattr(sys.modules.get(name), "__file__", None)
    return bool(file) and library_file(file)


@lru_cache(maxsize=4096)
def library_file(file: str) -> bool:
    """Whether a source file is Python's own or installed."""
    return inside_library(file) or str(Path(file).resolve()).startswith(LIBRARIES)


def random_states(function: Callable[..., Any]) -> Iterator[tuple[str, Any]]:
    """The random state that a function can reach: its generators' and NumPy's global one."""
    for name, generator in Guards(function).generators.items():
        yield name, repr(generator.bit_generator.state)
    if "numpy.random" not in sys.modules:
        yield "np.random", UNUSED
        return
    state: Any = np.random.get_state(legacy=False)  # noqa: NPY002 - the legacy state is meant
    inner, gauss = state["state"], state["has_gauss"]
    fresh = inner["pos"] in UNUSED and not gauss
    yield "np.random", UNUSED if fresh else (inner["pos"], inner["key"][:8].tobytes(), gauss)
