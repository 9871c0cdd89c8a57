"""Every switch that the environment can set, declared once.

``GRAPHJIT_DEBUG=2 python train.py`` sets one for a whole process, ``flags.override(debug=2)`` for a
block of code: only in the thread or asyncio task that runs the block.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import field, fields, replace
from typing import Any

from graphjit.errors import GraphJITError
from graphjit.records import dataclass

PREFIX = "GRAPHJIT_"
WORDS = {
    **dict.fromkeys(("1", "on", "true", "yes"), True),
    **dict.fromkeys(("0", "off", "false", "no", ""), False),
}


class FlagError(GraphJITError, ValueError):
    """A flag that does not exist, or a value that it cannot have."""


def _flag(default: Any, doc: str, choices: tuple[str, ...] = ()) -> Any:
    return field(default=default, metadata={"doc": doc, "choices": choices})


@dataclass(frozen=True, slots=True)
class Flags:
    """The value of every flag. ``debug`` here is ``GRAPHJIT_DEBUG`` in the environment."""

    debug: int = _flag(
        0,
        "What goes to stderr: 1 passes and node counts, 2 also the graph after each pass, "
        "3 also the generated source, 4 also compare the meaning before and after each pass.",
    )
    dump: str = _flag("", "A folder that receives the graph after each pass as a text file.")
    skip: tuple[str, ...] = _flag((), "Passes to leave out, as in `fuse,merge`.")
    verify: bool = _flag(False, "Check after each pass that the graph obeys the rules of the IR.")
    jit: bool = _flag(True, "0 runs the generated text as plain Python, for a debugger.")
    renderer: str = _flag(
        "llvm",
        "What writes the machine code: `llvm` from the loops directly, `numba` from the readable "
        "text.",
        ("llvm", "numba"),
    )
    tier: str = _flag(
        "auto",
        "How a program is compiled: `auto` quickly for the first calls, while a thread makes the "
        "best code, which later calls use; `best` waits for that.",
        ("auto", "best"),
    )
    threads: int = _flag(
        0,
        "How many threads may share a large loop or product; 0 is as many as the process may use "
        "cores.",
    )
    cache: bool = _flag(True, "Keep compiled programs on disk for later processes; 0 or off: not.")
    cache_dir: str = _flag("", "The folder of the cache, instead of the user's usual one.")
    tuning: str = _flag(
        "", "The file of `graphjit bench --calibrate`, instead of the user's usual one; off: none."
    )
    cache_size: int = _flag(512, "The most megabytes that the cache takes on disk.")


NAMES = tuple(item.name for item in fields(Flags))
CHOICES: dict[str, tuple[str, ...]] = {f.name: f.metadata["choices"] for f in fields(Flags)}


def parse(name: str, text: str) -> Any:
    """The value that a flag's text stands for.

    Raises:
        FlagError: the text is no value of the flag's type.
    """
    default, text = getattr(Flags(), name), text.strip()
    if isinstance(default, bool) and text.lower() in WORDS:
        return WORDS[text.lower()]
    if isinstance(default, tuple):
        return tuple(word.strip() for word in text.split(",") if word.strip())
    if isinstance(default, str) and text in (CHOICES[name] or (text,)):
        return text
    if type(default) is int and text.isdecimal():
        return int(text)
    raise _bad(name, text)


def _bad(name: str, value: Any) -> FlagError:
    kind = getattr(Flags(), name).__class__
    wanted = {bool: "0 or 1", int: "an integer of 0 or more", tuple: "names", str: "text"}[kind]
    wanted = " or ".join(CHOICES[name]) or wanted
    return FlagError(f"{PREFIX}{name.upper()} cannot be {value!r}", hint=f"It takes {wanted}.")


def read(environment: Mapping[str, str]) -> Flags:
    """The flags that an environment sets, the others at their defaults.

    Raises:
        FlagError: naming the variable and what it takes.
    """
    given = {name: environment.get(PREFIX + name.upper()) for name in NAMES}
    return Flags(**{name: parse(name, text) for name, text in given.items() if text is not None})


_flags: ContextVar[Flags] = ContextVar("graphjit_flags", default=read(os.environ))  # noqa: B039 - frozen


def current() -> Flags:
    """The flags in force here."""
    return _flags.get()


@contextmanager
def override(**values: Any) -> Iterator[Flags]:
    """Set flags within a ``with`` block, for this thread or asyncio task only.

    >>> with override(debug=2, skip="fuse,merge") as flags:
    ...     flags.skip
    ('fuse', 'merge')

    Raises:
        FlagError: a name that is no flag, or a value of the wrong type.
    """
    token = _flags.set(replace(current(), **{k: _checked(k, v) for k, v in values.items()}))
    try:
        yield current()
    finally:
        _flags.reset(token)


def _checked(name: str, value: Any) -> Any:
    if name not in NAMES:
        import difflib  # 1 ms, for an error

        near = difflib.get_close_matches(name, NAMES, n=1) or NAMES
        raise FlagError(f"there is no flag {name!r}", hint=f"There is {', '.join(near)}.")
    kind = type(getattr(Flags(), name))
    if isinstance(value, str):
        return parse(name, value)
    if kind is tuple and isinstance(value, list | tuple) and all(type(v) is str for v in value):
        return tuple(value)
    if type(value) is kind and (kind is not int or value >= 0):
        return value
    raise _bad(name, value)


def table() -> str:
    """The flags as a Markdown table, for the documentation."""
    rows = ["| variable | type | default | meaning |", "|---|---|---|---|"]
    for item in fields(Flags):
        default = ",".join(item.default) if isinstance(item.default, tuple) else item.default
        shown = int(default) if isinstance(default, bool) else default
        kind = "names" if isinstance(item.default, tuple) else type(item.default).__name__
        rows.append(
            f"| `{PREFIX}{item.name.upper()}` | {kind} | {shown} | {item.metadata['doc']} |"
        )
    return "\n".join(rows)
