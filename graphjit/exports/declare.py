"""The program as a declaration of C, and its arguments in words."""

from __future__ import annotations

import re

from graphjit.codegen.program import out_of_range
from graphjit.exports.entry import NO_MEMORY, work_bytes
from graphjit.exports.form import Form, Item
from graphjit.exports.names import identifier
from graphjit.ir.aval import DType

HEADER = """\
/* {title}
 *
{about}
 *
 * Arguments and results are arrays in C order, one after the other; a result must not overlap an
 * argument or another result. A function keeps nothing between two calls, so threads may call it
 * at once.
 *
{arguments}
 *
 * {name} returns 0, or
{codes}
 */
#ifndef {guard}_H
#define {guard}_H

#include <stdbool.h>
#include <stdint.h>

{sizes}

#ifdef __cplusplus
extern "C" {{
#endif

{whole};

/* The same in memory of the caller's: {guard}_WORK_BYTES bytes, aligned as a double is, or better
 * to 64; it allocates nothing{tapes}. */
{split};

#ifdef __cplusplus
}}
#endif

#endif
"""


def kind(dtype: DType) -> str:
    """The type of an element in C."""
    plain = {"float64": "double", "float32": "float", "bool": "bool"}
    return plain.get(dtype.name, f"{dtype.name}_t")


def parameters(form: Form) -> list[str]:
    """Each argument and result as C declares it."""
    found = []
    for item in form.inputs:
        element = kind(item.aval.dtype)
        found.append(f"{element} {item.name}" if item.scalar else f"const {element} *{item.name}")
    return found + [f"{kind(item.aval.dtype)} *{item.name}" for item in form.outputs]


def declaration(form: Form, name: str, *more: str) -> str:
    """The function as C declares it."""
    return f"int {name}({', '.join([*parameters(form), *more])})"


def described(form: Form) -> list[str]:
    """A line for each argument and result: its name, dtype and shape, what the user calls it."""
    return [line(item) for item in (*form.inputs, *form.outputs)]


def line(item: Item) -> str:
    """An argument in words."""
    extents = " x ".join(map(str, item.aval.shape))
    what = f"{item.aval.dtype} array, {extents}" if extents else f"{item.aval.dtype} number"
    label = "" if item.label == item.name else f", which is {item.label}"
    return f"{item.name}: {what}{label}"


def codes(form: Form) -> list[str]:
    """What each status but 0 stands for."""
    found = [f"{NO_MEMORY}: there is no memory"]
    for code in range(1, len(form.program.checks) + 1):
        error = out_of_range(form.program, code)
        where = f" at {error.origin.place}" if error.origin else ""  # type: ignore[attr-defined]
        found.append(f"{code}: {error.fact}{where}")
    return found


def header(form: Form, name: str, about: list[str], *, tapes: bool) -> str:
    """The file that a program in C includes."""
    guard, work = name.upper(), work_bytes(form)
    sizes = {f"{guard}_WORK_BYTES": work}
    for item in (*form.inputs, *form.outputs):
        if not item.scalar:
            macro = identifier(f"{guard}_{item.name.upper()}_SIZE", sizes)
            sizes[macro] = item.aval.size
    return HEADER.format(
        title=comment(f"{name}: made by GraphJIT from {form.title}"),
        about="\n".join(f" * {comment(text)}" for text in about),
        arguments="\n".join(f" *   {comment(text)}" for text in described(form)),
        codes="\n".join(f" *   {comment(text)}" for text in codes(form)),
        sizes="\n".join(f"#define {macro} {value}" for macro, value in sizes.items()),
        whole=wrapped(declaration(form, name)), name=name, guard=guard,
        split=wrapped(declaration(form, f"{name}_on", "void *work")),
        tapes=" but the record of a loop whose length is not known" if tapes else "",
    )  # fmt: skip


def comment(text: str) -> str:
    """Text that does not end a comment of C, on one line."""
    shown = "".join(c if c.isprintable() else " " for c in text)
    return re.sub(r"\*/|/\*", "* /", shown)


def wrapped(text: str) -> str:
    """A declaration on lines of at most 100 characters."""
    head, _, rest = text.partition("(")
    lines, line = [], f"{head}("
    for part in rest.split(", "):
        if len(line) + len(part) > 97 and line.strip():
            lines.append(line.rstrip())
            line = "    "
        line += f"{part}, "
    return "\n".join([*lines, line[:-2]])
