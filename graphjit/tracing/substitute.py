"""SciPy's functions that no protocol reaches, replaced by ours where a traced function names them.

``scipy.special.logsumexp`` and its like turn their operands into NumPy arrays before anything
can see a traced value. So the function is run as a copy with other globals: a view of its own
ones in which those names stand for functions that take traced values too. Nothing is patched,
neither SciPy nor the user's module, so other threads see no difference.

What the view reaches: the function's globals, the helper functions that it names, and modules.
What it does not reach, such as methods of objects, gets SciPy's own function, and an error that
names ``graphjit.special``.
"""

from __future__ import annotations

import dis
import sys
import types
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

from graphjit.ir.registry import FUNCTIONS, with_scipy
from graphjit.ir.symbol import Symbol

Known = dict[types.FunctionType, types.FunctionType]
WRITES = ("STORE_GLOBAL", "DELETE_GLOBAL")
NAMES = ("logsumexp", "softmax", "log_softmax")


def substituted(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, with SciPy's functions that take no traced value replaced.

    Anything but a plain Python function or method, and a function that names nothing to
    replace, comes back as it is.
    """
    if isinstance(function, types.MethodType):
        inner = substituted(function.__func__)
        return (
            function if inner is function.__func__ else types.MethodType(inner, function.__self__)
        )
    return replaced(function, {}) if isinstance(function, types.FunctionType) else function


def replaced(function: types.FunctionType, known: Known) -> types.FunctionType:
    """The function or its copy, the same at every look."""
    if function not in known:
        plain = isinstance(function.__globals__, View) or not concerned(function)
        known[function] = function if plain else copied(function, known)
    return known[function]


def concerned(function: types.FunctionType) -> bool:
    """Whether the function, or a helper that it names, reaches what is to be replaced.

    One that assigns to globals is left alone: what it assigns would get lost in the view.
    """
    if any(
        step.opname in WRITES for code in codes(function.__code__) for step in dis.Bytecode(code)
    ):
        return False
    pending, seen = [function], set[types.FunctionType]()
    while pending:
        current = pending.pop()
        seen.add(current)
        names = {name for code in codes(current.__code__) for name in code.co_names}
        found = [current.__globals__.get(name) for name in names]
        if any(reaches(value) for value in found):
            return True
        helpers = (v for v in found if isinstance(v, types.FunctionType) and own(v, function))
        pending.extend(v for v in helpers if v not in seen)
    return False


def codes(code: types.CodeType) -> Iterator[types.CodeType]:
    """The code, and that of the functions defined in it."""
    yield code
    for inner in code.co_consts:
        if isinstance(inner, types.CodeType):
            yield from codes(inner)


def reaches(value: Any) -> bool:
    """Whether a global is one of the functions, or a module through which it is reached."""
    module = isinstance(value, types.ModuleType) and value.__name__ in ("scipy", "scipy.special")
    special = sys.modules.get("scipy.special")  # nobody can name what nobody has imported
    return module or any(value is getattr(special, n, special) for n in NAMES if special)


def own(helper: types.FunctionType, function: types.FunctionType) -> bool:
    """Whether a helper belongs to the same top-level package: libraries are left alone."""
    first, second = (str(f.__module__).partition(".")[0] for f in (helper, function))
    return first == second


def copied(function: types.FunctionType, known: Known) -> types.FunctionType:
    """The function with a view of its globals in their place; its cells are shared."""
    copy = types.FunctionType(
        function.__code__,
        View(function, known),
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    copy.__kwdefaults__ = function.__kwdefaults__
    copy.__dict__.update(function.__dict__)
    copy.__qualname__, copy.__module__ = function.__qualname__, function.__module__
    return copy


class View(dict[str, Any]):
    """A function's globals as they are at each look, but for the replaced ones.

    Python looks a global up through ``__getitem__`` where the globals are no plain dict. Names
    such as ``__name__`` and ``__builtins__`` are stored too, since it reads those directly.
    """

    def __init__(self, function: types.FunctionType, known: Known) -> None:
        found = function.__globals__
        super().__init__({name: found[name] for name in found if name.startswith("__")})
        untyped: Any = function  # mypy's cache forgets the attribute __builtins__
        self["__builtins__"] = untyped.__builtins__
        self.function, self.known = function, known

    def __getitem__(self, name: str) -> Any:
        value = self.function.__globals__[name]
        if reaches(value):
            return Module(value) if isinstance(value, types.ModuleType) else either(value)
        if isinstance(value, types.FunctionType) and own(value, self.function):
            return replaced(value, self.known)
        return value


class Module:
    """A view of ``scipy`` or ``scipy.special`` with the functions replaced."""

    def __init__(self, module: types.ModuleType) -> None:
        self._module = module

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._module, name)
        if not reaches(value):
            return value
        return Module(value) if isinstance(value, types.ModuleType) else either(value)


@cache
def either(function: Callable[..., Any]) -> Callable[..., Any]:
    """SciPy's function for arrays, ours for traced values."""

    def call(*args: Any, **kwargs: Any) -> Any:
        if not any(isinstance(value, Symbol) for value in (*args, *kwargs.values())):
            return function(*args, **kwargs)
        with_scipy()
        return FUNCTIONS[function](*args, **kwargs)

    return call
