"""Everything that a function reads beside its arguments, found by following its code.

Python reads closure cells, globals, defaults, attributes of objects, classes and modules while a
function is traced. They are listed in an order that depends on nothing but the function, so two
processes list the same. ``Guards`` asks later whether they are still so; the disk cache makes a
fingerprint of them.

An attribute counts as read if any code that is reached names it, since an object may be handed to
a helper function. Not seen are values reached in other ways: ``getattr`` with a computed name,
files, the clock, the text and the hash of an object.
"""

from __future__ import annotations

import itertools
import types
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphjit.ir.symbol import Symbol
from graphjit.records import NamedTuple
from graphjit.tracing.names import is_library, names_of
from graphjit.tracing.objects import Slots, always, functions_of, generated, parts

SCALARS = (bool, int, float, complex, str, bytes, type(None), np.generic)
ATOMS = (*SCALARS, types.BuiltinFunctionType, np.ufunc, type(np.sum), Symbol)
SHOWING = {"__repr__", "__str__", "__format__", "__hash__"}  # on which no trace rests
DEPTH, WIDTH = 3, 256
MAKERS = {"type", "replace", "__class__"}  # what makes an instance of an instance's class
MAKING = {"__init__", "__new__", "__post_init__", "__init_subclass__", "__set_name__", "__del__"}


class Reading(NamedTuple):
    """One value that was read.

    Attributes:
        container: Where: a dict, list, tuple, cell, ``Slots``; None for what is there for good.
        key: Its key, index or name there.
        value: What was found.
        name: What the user calls it, such as ``closure layers[1]['w']``.
    """

    container: Any
    key: Any
    value: Any
    name: str


class Reads:
    """What a function reads.

    Args:
        function: The function.
        classes: Further classes that it reaches, as those of its arguments.

    Attributes:
        readings: In the order of discovery.
        functions: The user's functions that it may run, itself the first.
        classes: The user's classes that it reaches.
        attributes: The names of all attributes that these functions read.
        arrays: The arrays found, by what the user calls them.
        generators: The random generators found.
        sizes: The containers, with their lengths and names.
        absent: Namespaces and keys in them that would hide what was read.
        beyond: Values too deep or too large to be followed.
    """

    def __init__(self, function: Callable[..., Any], classes: Sequence[type] = ()) -> None:
        self.readings: list[Reading] = []
        self.functions: list[types.FunctionType] = []
        self.classes: list[type] = []
        self.attributes: set[str] = set()
        self.arrays: dict[str, np.ndarray[Any, Any]] = {}
        self.generators: dict[str, np.random.Generator] = {}
        self.sizes: list[tuple[Any, int, str]] = []
        self.absent: list[tuple[Any, str, str]] = []
        self.beyond: list[tuple[str, Any]] = []
        self._makes = False
        self._owners: list[tuple[Any, str, int]] = []
        self._pending: deque[types.FunctionType] = deque()
        self._seen: dict[Any, Any] = {}  # holds what it has seen, so that no id is used twice
        self._value(function, "self", 0)
        for cls in classes:
            self._namespace(cls, cls.__name__)
        while self._pending:
            self._function(self._pending.popleft())

    def _first(self, key: Any, value: Any) -> bool:
        """Whether this was not met before."""
        if key in self._seen:
            return False
        self._seen[key] = value
        return True

    # -- functions ----------------------------------------------------------------------------

    def _function(self, function: types.FunctionType) -> None:
        """All that a function of the user's reads."""
        names = names_of(function.__code__)
        self._name(names.attributes)
        self._make(names.globals | names.attributes)
        self.functions.append(function)
        found = function.__globals__
        for name in sorted(names.globals & found.keys()):
            self._item(found, name, f"global {name}", 0)
        self._held(function)

    def _held(self, function: types.FunctionType) -> None:
        """What a function carries with it: its cells and defaults."""
        free = function.__code__.co_freevars
        for name, cell in zip(free, function.__closure__ or (), strict=True):
            self._cell(cell, f"closure {name}")
        defaults = (
            *enumerate(function.__defaults__ or ()),
            *(function.__kwdefaults__ or {}).items(),
        )
        for key, value in defaults:
            self._fixed(key, value, f"default {key} of {function.__name__}")
        if function.__dict__:
            self._owner(function, function.__name__, 0)

    def _name(self, names: frozenset[str]) -> None:
        """Read attributes with these names of all objects met so far, and of all to come."""
        fresh = names - self.attributes
        self.attributes |= fresh
        if fresh:
            for owner, name, depth in tuple(self._owners):
                self._look(owner, name, depth, fresh)

    def _make(self, names: frozenset[str]) -> None:
        """Follow what makes instances, of all classes, once something is named that can."""
        if MAKERS & names and not self._makes:
            self._makes = True
            for cls in tuple(self.classes):
                self._class(cls, made=True)

    def _follow(self, function: types.FunctionType) -> None:
        """Come to a function later; of a library's what it holds, if it was made while running."""
        if not self._first(id(function), function):
            return
        if not is_library(function):
            self._pending.append(function)
        elif function.__closure__:
            self._held(function)

    def _free(self, name: str) -> str:
        """The name, or one like it where another array has it."""
        numbered = (f"{name}_{i}" for i in itertools.count(2))
        return next(n for n in itertools.chain([name], numbered) if n not in self.arrays)

    # -- values -------------------------------------------------------------------------------

    def _fixed(self, key: Any, value: Any, name: str) -> None:
        """A value that cannot be rebound."""
        self.readings.append(Reading(None, key, value, name))
        self._value(value, name, 0)

    def _cell(self, cell: types.CellType, name: str) -> None:
        if self._first(id(cell), cell):
            try:
                value = cell.cell_contents
            except ValueError:  # not assigned yet
                return
            self.readings.append(Reading(cell, name, value, name))
            self._value(value, name, 0)

    def _item(self, container: Any, key: Any, name: str, depth: int, owner: Any = None) -> None:
        """One entry; a class is given as ``owner``, since its namespace is new at every look."""
        owner = container if owner is None else owner
        if self._first((id(owner), key), owner):
            value = container[key]
            self.readings.append(Reading(container, key, value, name))
            self._value(value, name, depth)

    def _value(self, value: Any, name: str, depth: int) -> None:
        """What can change inside a value that was found under ``name``."""
        if isinstance(value, np.ndarray):
            if self._first(id(value), value):
                self.arrays[self._free(name)] = value
        elif isinstance(value, ATOMS):
            return
        elif isinstance(value, types.FunctionType):
            self._follow(value)
        elif isinstance(value, type | types.ModuleType):
            self._namespace(value, name)
        elif depth > DEPTH:
            self.beyond.append((name, value))
        elif self._first(id(value), value):
            self._inside(value, name, depth)

    def _namespace(self, value: Any, name: str) -> None:
        """What is read of a class or module that is the user's own."""
        if is_library(value) or not self._first(id(value), value):
            return
        if isinstance(value, type):
            self._class(value, made=True)
        self._owner(value, name, 0)

    def _inside(self, value: Any, name: str, depth: int) -> None:
        """The parts of a container, a callable, a generator, an object."""
        if isinstance(value, list | tuple | dict):
            self._container(value, name, depth)
        elif isinstance(value, types.MethodType):
            self._value(value.__self__, name, depth)
            self._value(value.__func__, name, depth)
        elif type(value).__module__ == "numpy.random._generator":
            self.generators[name] = value
        else:
            inside = tuple(parts(value))
            for key, part in inside:
                self._fixed(key, part, name if key == "function" else f"{key} of {name}")
            if not inside:
                self._class(type(value))
                self._owner(value, name, depth)

    def _container(self, value: Any, name: str, depth: int) -> None:
        if len(value) > WIDTH:
            return self.beyond.append((name, value))
        if type(value) not in (list, tuple, dict):
            self._class(type(value))
            self._owner(value, name, depth)
        self.sizes.append((value, len(value), name))
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            self._item(value, key, f"{name}[{key!r}]", depth + 1)
        return None

    # -- objects, classes, modules ------------------------------------------------------------

    def _owner(self, owner: Any, name: str, depth: int) -> None:
        """Read the attributes of an object that the code names."""
        self._owners.append((owner, name, depth))
        self._look(owner, name, depth, self.attributes | always(owner))

    def _look(self, owner: Any, name: str, depth: int, names: set[str] | frozenset[str]) -> None:
        own = getattr(owner, "__dict__", {})
        if not isinstance(owner, type):
            for attribute in sorted(names & own.keys()):
                self._item(own, attribute, f"{name}.{attribute}", depth + 1)
        classes = owner.__mro__ if isinstance(owner, type) else type(owner).__mro__
        for cls in classes:
            if not is_library(cls):
                for attribute in sorted(names & cls.__dict__.keys()):
                    self._class_attribute(owner, cls, attribute, f"{name}.{attribute}", depth)

    def _class_attribute(
        self, owner: Any, cls: type, attribute: str, name: str, depth: int
    ) -> None:
        own = {} if isinstance(owner, type) else getattr(owner, "__dict__", {})
        if attribute in own:
            return
        value = cls.__dict__[attribute]
        if isinstance(value, types.MemberDescriptorType):
            if not isinstance(owner, type) and hasattr(owner, attribute):
                self._item(Slots.of(owner, self._seen), attribute, name, depth + 1)
            return
        for function in functions_of(value):
            self._follow(function)
        self._item(cls.__dict__, attribute, name, 0, cls)
        if not isinstance(owner, type) and hasattr(owner, "__dict__"):
            self.absent.append((owner.__dict__, attribute, name))  # where it would be hidden

    def _class(self, cls: type, *, made: bool = False) -> None:
        """A class of the user's: Python itself calls its special methods, by no name in the code.

        Those that make an instance run only where the class itself is reached.
        """
        made = made or self._makes
        for base in cls.__mro__:
            if is_library(base) or not self._first((id(base), made), base):
                continue
            if base not in self.classes:
                self.classes.append(base)
            for name, value in base.__dict__.items():
                if name[:2] == "__" == name[-2:] and (made or name not in MAKING):
                    for function in functions_of(value):
                        if name not in SHOWING and not generated(function):
                            self._follow(function)
