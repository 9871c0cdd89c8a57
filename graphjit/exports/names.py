"""Names for C and Python: a user's own, made fit to be written into a program."""

from __future__ import annotations

import difflib
import keyword
import math
import re
from collections.abc import Collection

from graphjit.errors import CompileError
from graphjit.tracing.origin import user_line

C_WORDS = frozenset(
    re.findall(
        r"\w+",
        """
        alignas alignof and asm auto bool break case catch char class const constexpr continue
        default delete do double else enum explicit export extern false float for friend goto if
        inline int long main mutable namespace new not nullptr operator or private protected public
        register restrict return short signed sizeof static struct switch template this throw true
        try typedef typename union unsigned using virtual void volatile while work
        """,
    )
)
C_LIBRARY = frozenset(dir(math)) | {
    "abs",
    "malloc",
    "realloc",
    "free",
    "memcpy",
    "memset",
    "printf",
}
# What an exported module calls something of its own.
MODULE_WORDS = frozenset((
    "np", "numba", "math", "base64", "compiled", "conforming", "longer", "run", "status",
))  # fmt: skip
TAKEN = C_WORDS | MODULE_WORDS | {*keyword.kwlist}


def identifier(label: str, used: Collection[str]) -> str:
    """The label as a name that is not among those used: ``params[0]['w']`` is ``params_0_w``."""
    name = re.sub(r"\W+", "_", label, flags=re.ASCII).strip("_") or "x"
    name = f"x{name}" if name[0].isdigit() else name
    candidate, count = name + "_" * (name in TAKEN), 1
    while candidate in used:
        count += 1
        candidate = f"{name}_{count}"
    return candidate


def checked_name(name: str) -> str:
    """The name of an exported function.

    Raises:
        CompileError: it is no name in Python and C, or one that these need themselves.
    """
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z]\w*", name, re.ASCII):
        raise CompileError(
            f"{name!r} is no name of a function in Python and C", origin=user_line(),
            hint="Use a letter, then letters, digits and underscores, as in export(f, args, 'f').",
        )  # fmt: skip
    if name in TAKEN | C_LIBRARY:
        raise CompileError(
            f"{name!r} has a meaning of its own in Python or C", origin=user_line(),
            hint=f"Call it my_{name}, for example.",
        )  # fmt: skip
    return name


def unknown(noun: str, value: object, known: Collection[str]) -> CompileError:
    """The error for a choice that does not exist."""
    near = difflib.get_close_matches(str(value), known, n=1)
    hint = f"Did you mean {near[0]!r}?" if near else f"There is {', '.join(sorted(known))}."
    return CompileError(f"there is no {noun} {value!r}", origin=user_line(), hint=hint)
