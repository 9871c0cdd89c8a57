"""What belongs to a library, by name and version; and what of it no trace may rest on."""

from __future__ import annotations

import importlib.util
import operator
import sys
import types
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from graphjit.tracing.names import is_library, library_file, library_module

# What these say depends on more than on their arguments.
CHANGING = {
    "_io", "contextvars", "ctypes", "datetime", "gc", "genericpath", "glob", "importlib", "inspect",
    "io", "multiprocessing", "nt", "ntpath", "numpy.random", "os", "pathlib", "pickle", "posix",
    "posixpath", "random", "scipy.datasets", "scipy.io", "secrets", "shutil", "socket", "sqlite3",
    "subprocess", "sys", "tempfile", "threading", "time", "urllib", "uuid",
}  # fmt: skip
FILES = {"fromfile", "fromregex", "genfromtxt", "load", "loadtxt", "memmap", "open_memmap"}
NAMING = {"attrgetter", "methodcaller"}  # which read attributes that no code names
BUILTINS = {
    "__import__", "compile", "delattr", "dir", "eval", "exec", "getattr", "globals", "hasattr",
    "hash", "id", "input", "locals", "open", "setattr", "vars",
}  # fmt: skip
SHARED = (np,)  # where functions that tell no module are looked for


class Refused(Exception):  # noqa: N818 - never leaves this package
    """Why there is no fingerprint."""


def check_builtins(names: Iterable[str]) -> None:
    """Refuse functions of Python that see more than their arguments.

    Raises:
        Refused: naming one.
    """
    for name in sorted(BUILTINS.intersection(names)):
        raise Refused(f"it uses {name}(), so what it reads is not known")


def module_text(module: types.ModuleType, names: frozenset[str]) -> list[str]:
    """A library's module with what of it may be read under these names.

    Raises:
        Refused: there is something among it that changes by itself.
    """
    lines, pending, seen = [version_of(module.__name__)], [module], {module.__name__}
    for inner in pending:
        check_pure(inner.__name__, inner.__name__)
        for name in sorted(names & inner.__dict__.keys()):
            value = inner.__dict__[name]
            if isinstance(value, types.ModuleType):
                if is_library(value) and value.__name__ not in seen:
                    seen.add(value.__name__)
                    pending.append(value)
            elif isinstance(value, bool | int | float | str):
                lines.append(f"{inner.__name__}.{name} {value!r}")
            elif isinstance(value, types.FunctionType) and not is_library(value):
                raise Refused(f"{inner.__name__}.{name} is no longer the library's own")
            else:
                check_pure(str(getattr(value, "__module__", "")), name)
    return lines


def check_pure(module: str, name: str) -> None:
    """Refuse what gives another answer each time, or reads files.

    Raises:
        Refused: naming it.
    """
    parts = module.split(".")
    if CHANGING.intersection(".".join(parts[:i]) for i in range(1, len(parts) + 1)):
        raise Refused(f"it uses {name} of {module}, which depends on more than its arguments")
    if parts[0] == "numpy" and name in FILES:
        raise Refused(f"it uses numpy.{name}, which reads a file")
    if parts[0] in ("operator", "_operator") and name in NAMING:
        raise Refused(f"it uses {name}(), so what it reads is not known")


def import_text(name: str) -> list[str]:
    """A module that is imported while the function runs.

    Raises:
        Refused: it is the user's own, or changes by itself.
    """
    check_pure(name, name)
    try:
        found = importlib.util.find_spec(name.partition(".")[0])
    except (ImportError, ValueError):
        found = None
    origin = found.origin if found else None
    if name.partition(".")[0] not in sys.stdlib_module_names and not (
        origin and library_file(origin)
    ):
        raise Refused(f"it imports {name} while it runs")
    return [name, version_of(name)]


def named(value: Any) -> str:
    """Something of a library by its name there, with the library's version.

    Raises:
        Refused: it is not found under its name, or changes by itself.
    """
    name = getattr(value, "__qualname__", "") or getattr(value, "__name__", "")
    owner = getattr(value, "__objclass__", None)  # of a method such as str.upper
    bound = getattr(value, "__self__", None)  # of one such as tuple.__new__
    owner = bound if owner is None and isinstance(bound, type) else owner
    known = getattr(value, "__module__", None) or getattr(owner, "__module__", None)
    modules = [known] if known else [module.__name__ for module in SHARED] + ["scipy.special"]
    for module in modules:
        if name and library_module(module) and found(module, name) is value:
            check_pure(module, name)
            return f"{module}.{name} {version_of(module)}"
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    raise Refused(f"a value of type {kind} has no known form")


def found(module: str, name: str) -> Any:
    """What a loaded module has under a name, or None."""
    try:
        return operator.attrgetter(name)(sys.modules[module])
    except (AttributeError, KeyError):
        return None


@cache
def version_of(module: str) -> str:
    """The version of the library that a module belongs to; Python's own is in the environment.

    Size and time of its first file are part of it: a library that is being worked on is installed
    again and again under one version.

    Raises:
        Refused: it tells no version.
    """
    top = module.partition(".")[0]
    if top in sys.stdlib_module_names:
        return ""
    try:
        status = file_of(top).stat()
        return f"{told_version(top)} {status.st_size} {status.st_mtime_ns}"
    except (ImportError, OSError, ValueError):
        raise Refused(f"the library {top} tells no version") from None


def told_version(top: str) -> str:
    """What a library, or else its installation, says its version is.

    Raises:
        ModuleNotFoundError: neither does.
    """
    version = getattr(sys.modules.get(top), "__version__", None)
    if isinstance(version, str):
        return version
    from importlib import metadata  # takes 15 ms, and nearly all libraries do without

    return metadata.version(top)


def file_of(top: str) -> Path:
    """The first file of a library, loaded or not.

    Raises:
        FileNotFoundError: it has none.
    """
    loaded = getattr(sys.modules.get(top), "__file__", None)
    if loaded:
        return Path(loaded)
    spec = importlib.util.find_spec(top)  # which takes 20 ms
    if spec is None or spec.origin is None:
        raise FileNotFoundError(top)
    return Path(spec.origin)
