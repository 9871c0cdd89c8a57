"""Arrays of a program's own, written out in Python."""

from __future__ import annotations

import base64
import textwrap
from typing import Any

import numpy as np

from graphjit.codegen.expressions import literal
from graphjit.ir.aval import DType

SHORT = 64  # elements of an array that are written as numbers; more are written as bytes
INDENTED: dict[str, Any] = {
    "subsequent_indent": "    ", "break_long_words": False, "break_on_hyphens": False,
}  # fmt: skip


def stored(dtype: DType) -> str:
    """What elements are in memory."""
    return "uint8" if dtype == np.bool_ else dtype.name


def constant(name: str, array: np.ndarray[Any, Any]) -> str:
    """An array of the program's own, flat."""
    kind, elements = stored(array.dtype), array.reshape(-1)
    elements = np.ascontiguousarray(elements, array.dtype.newbyteorder("="))
    if array.size <= SHORT:
        numbers = ", ".join(literal(value, np.dtype(float)) for value in elements)
        if array.dtype.kind != "f":
            numbers = ", ".join(str(int(value)) for value in elements)
        lines = textwrap.wrap(f"{name} = np.array([{numbers}], np.{kind})", 96, **INDENTED)
        return "\n".join(lines) + "\n\n"
    little = elements.astype(elements.dtype.newbyteorder("<"), copy=False)
    code = base64.b64encode(little.tobytes()).decode()
    written = "\n".join(f'    "{part}"' for part in textwrap.wrap(code, 88))
    order = "<" + np.dtype(kind).str[1:]
    return (
        f"# {elements.size} elements of {array.dtype}\n"
        f"{name} = np.frombuffer(base64.b64decode(\n{written}\n), {order!r}).astype(np.{kind})\n\n"
    )
