"""A fingerprint of a function: equal in two processes where its trace would come out the same.

It covers the code of the function and of the user's own functions that it may run, and all values
that these read (``graphjit.tracing.reads`` finds them). What belongs to a library stands for
itself by name and version. Large arrays count by dtype and shape alone, since they are inputs of
the program; which of them the trace looked into is known only after tracing, so their digests
(``contents``) are compared apart.

Lines and file names are not in it, so that code may move. What errors say of lines is compared
apart: ``origins`` is a digest of where, relative to its function's first line, each instruction
stands. A program that has no lines to report needs no equal ``origins``; in one that has, a line
is kept relative to its function (``place_of``), and moves with it.

Whatever has no sure form has no fingerprint, with the reason: then nothing is kept on disk.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, lru_cache
from itertools import chain
from typing import Any

import numpy as np

from graphjit.cache.libraries import Refused, check_builtins, import_text
from graphjit.cache.values import Values, joined, plain
from graphjit.digests import digest, hexadecimal
from graphjit.tracing.names import names_of
from graphjit.tracing.objects import Slots
from graphjit.tracing.reads import Reads

LARGE = 512  # bytes above which an array counts by its form, as for guards
HIDDEN = {"__dict__", "__globals__", "__closure__", "__code__", "__getattribute__"}
CODE = (
    "co_name", "co_argcount", "co_posonlyargcount", "co_kwonlyargcount", "co_flags", "co_names",
    "co_varnames", "co_freevars", "co_cellvars",
)  # fmt: skip


class Fingerprint:
    """What tells whether a function's trace would come out the same.

    Attributes:
        key: A digest in hexadecimal digits, or an empty string where there is none.
        reason: Why there is none.
        reads: What the function reads: its guards and captured arrays come from it too.
        parts: What the key is made of, each with a name that a user knows it by.
    """

    def __init__(
        self, key: str, reason: str, reads: Reads, parts: tuple[tuple[str, bytes], ...] = ()
    ) -> None:
        self.key, self.reason, self.reads, self.parts = key, reason, reads, parts

    @cached_property
    def origins(self) -> str:
        """A digest of the lines of its instructions, relative to the functions' first lines."""
        codes = [function.__code__ for function in self.reads.functions]
        return hexadecimal(joined(*(lines_of(code, code.co_firstlineno) for code in codes)))

    def contents(self) -> dict[str, str]:
        """A digest of the elements of each large array, by its name in ``reads.arrays``."""
        arrays = self.reads.arrays.items()
        return {name: contents_of(array) for name, array in arrays if array.nbytes > LARGE}

    def place_of(self, file: str, line: int) -> tuple[int, int] | None:
        """A line as the number of its function and the lines after that one's first."""
        for number, function in enumerate(self.reads.functions):
            code = function.__code__
            if code.co_filename == file and line in all_lines(code):
                return number, line - code.co_firstlineno
        return None

    def line_at(self, place: tuple[int, int]) -> tuple[str, int]:
        """The file and line of a place, now."""
        code = self.reads.functions[place[0]].__code__
        return code.co_filename, code.co_firstlineno + place[1]


def fingerprint(function: Callable[..., Any], classes: Sequence[type] = ()) -> Fingerprint:
    """The fingerprint of a function that is about to be traced.

    Args:
        function: The function.
        classes: Those of the containers among its arguments, whose methods it may run
            (``graphjit.cache.trees.classes_of``).
    """
    reads = Reads(function, classes)
    try:
        parts = tuple(described(function, reads))
        return Fingerprint(hexadecimal(joined(*(text for _, text in parts))), "", reads, parts)
    except Refused as refusal:
        return Fingerprint("", str(refusal), reads)
    except RecursionError:
        return Fingerprint("", "it reads a container that is nested too deep", reads)


def value_key(*values: Any) -> str:
    """A digest of static arguments and options, with all their contents.

    An empty string where one of them has no sure form.
    """
    try:
        return hexadecimal(joined(*map(plain, values)))
    except Refused:
        return ""


def contents_of(array: np.ndarray[Any, Any]) -> str:
    """A digest of an array's elements, in C order."""
    return hexadecimal(np.ascontiguousarray(array).view(np.uint8).data)


def described(function: Callable[..., Any], reads: Reads) -> Iterator[tuple[str, bytes]]:
    """All that was read as bytes, each part with a name.

    Raises:
        Refused: something has no sure form.
    """
    values, containers = Values(reads, LARGE), dict[int, int]()
    yield "the function", values.of(function)
    for place, own in enumerate(reads.functions):
        name = f"helper {own.__name__}" if place else "its code"
        yield name, joined(code_text(own.__code__), *surroundings(own))
    for hidden in sorted(HIDDEN & reads.attributes):
        raise Refused(f"it reads {hidden}, so what it reads is not known")
    for cls in reads.classes:
        yield f"class {cls.__qualname__}", values.class_text(cls)
    for container, key, value, name in reads.readings:
        number = containers.setdefault(id(container), len(containers))
        kind = "slots" if isinstance(container, Slots) else ""
        try:
            yield name, joined(f"{number} {kind}", plain(key), values.of(value))
        except Refused as refusal:
            raise Refused(f"{name}: {refusal}") from None


def surroundings(function: types.FunctionType) -> list[str]:
    """What a function takes from Python itself, and what it imports while it runs.

    Raises:
        Refused: something that depends on more than its arguments.
    """
    names = names_of(function.__code__)
    check_builtins(names.globals - function.__globals__.keys())
    return list(chain.from_iterable(map(import_text, sorted(names.imports))))


@lru_cache(maxsize=4096)
def code_text(code: types.CodeType) -> bytes:
    """A digest of what a code object does; where it stands is left out.

    Raises:
        Refused: a constant has no known form.
    """
    facts = [plain(getattr(code, name)) for name in CODE]
    consts = [code_text(c) if isinstance(c, types.CodeType) else plain(c) for c in code.co_consts]
    return digest(joined(code.co_code, code.co_exceptiontable, joined(*facts), joined(*consts)))


def lines_of(code: types.CodeType, first: int) -> bytes:
    """The lines of a code object and of those in it, relative to a line."""
    inner = [lines_of(c, first) for c in code.co_consts if isinstance(c, types.CodeType)]
    return joined(code.co_linetable, str(code.co_firstlineno - first), *inner)


def all_lines(code: types.CodeType) -> set[int]:
    """The lines of a code object and of those in it."""
    lines = {line for _, _, line in code.co_lines() if line is not None}
    inner = [c for c in code.co_consts if isinstance(c, types.CodeType)]
    return lines.union(*map(all_lines, inner))
