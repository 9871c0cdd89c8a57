"""Which names a code object reads, taken from its instructions, and what counts as a library."""

from __future__ import annotations

import dis
import os
import sys
import sysconfig
import types
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from graphjit.records import NamedTuple
from graphjit.tracing.origin import inside_library

GLOBALS = frozenset({"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"})
ATTRIBUTES = frozenset({"LOAD_ATTR", "LOAD_METHOD", "LOAD_SUPER_ATTR"})
IMPORTS = frozenset({"IMPORT_NAME"})
KINDS = (GLOBALS, ATTRIBUTES, IMPORTS)
FLAGGED = {"LOAD_GLOBAL": 1, "LOAD_ATTR": 1 if sys.version_info >= (3, 12) else 0}
FLAGGED["LOAD_SUPER_ATTR"] = 2  # the lowest bits of its argument are flags, above is the name
OPERATIONS = {
    dis.opmap[name]: (name, FLAGGED.get(name, 0))
    for name in GLOBALS | ATTRIBUTES | IMPORTS
    if name in dis.opmap
}
EXTENDED = dis.opmap["EXTENDED_ARG"]
LIBRARIES = tuple(
    {
        f"{Path(sysconfig.get_path(name)).resolve()}{os.sep}"
        for name in ("purelib", "platlib", "stdlib", "platstdlib")
    }
)


class Names(NamedTuple):
    """What a code object and those inside it name.

    Attributes:
        globals: Globals and builtins that are read.
        attributes: Attributes that are read of anything.
        imports: Modules that are imported while it runs.
    """

    globals: frozenset[str]
    attributes: frozenset[str]
    imports: frozenset[str]


@lru_cache(maxsize=4096)
def names_of(code: types.CodeType) -> Names:
    """All that a code object and those inside it name."""
    named = set(instructions(code))
    inner = [names_of(c) for c in code.co_consts if isinstance(c, types.CodeType)]
    own = [frozenset(name for op, name in named if op in kind) for kind in KINDS]
    return Names(*(frozenset.union(*sets) for sets in zip(own, *inner, strict=True)))


def instructions(code: types.CodeType) -> Iterator[tuple[str, str]]:
    """The instructions that read a name, each with the name.

    They are read as bytes, since ``dis`` takes ten times as long, before every first call.
    """
    text, names, high = code.co_code, code.co_names, 0
    for place in range(0, len(text), 2):
        operation, argument = text[place], text[place + 1] | high
        high = argument << 8 if operation == EXTENDED else 0
        if operation in OPERATIONS:
            name, shift = OPERATIONS[operation]
            yield name, names[argument >> shift]


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
