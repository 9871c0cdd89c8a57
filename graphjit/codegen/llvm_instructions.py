"""Single instructions of LLVM IR on operands of one type, and calls of the C library."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphjit.codegen.llvm_text import BOOL, Body, Operand, constant
from graphjit.ir.aval import DType


def binary(body: Body, name: str, a: Operand, b: Operand) -> Operand:
    """An instruction of two operands of one type, which it gives."""
    return body.value(f"{name} {a}, {b.text}", a.dtype, a.lanes)


def compare(body: Body, test: str, a: Operand, b: Operand) -> Operand:
    """A comparison: with a NaN everything is false but ``ne``."""
    if a.dtype.kind == "f":
        return body.value(f"fcmp {'u' if test == 'ne' else 'o'}{test} {a}, {b.text}", BOOL, a.lanes)
    sign = "" if test in ("eq", "ne") else "s" if a.dtype.kind == "i" else "u"
    return body.value(f"icmp {sign}{test} {a}, {b.text}", BOOL, a.lanes)


def select(body: Body, condition: Operand, a: Operand, b: Operand) -> Operand:
    """``a`` in the lanes where the condition holds, else ``b``."""
    condition, a, b = body.alike(condition, a, b)
    return body.value(f"select {condition}, {a}, {b}", a.dtype, a.lanes)


def shuffled(
    body: Body, x: Operand, places: Sequence[int], other: Operand | None = None
) -> Operand:
    """The lanes at places, counted on in another vector of as many."""
    second = f"{x.kind} poison" if other is None else str(other)
    index = ", ".join(f"i32 {i}" for i in places)
    text = f"shufflevector {x}, {second}, <{len(places)} x i32> <{index}>"
    return body.value(text, x.dtype, len(places))


def scalarised(body: Body, name: str, operands: list[Operand], dtype: DType) -> Operand:
    """A function of the C library, a lane at a time."""
    symbol = name if dtype == np.float64 else f"{name}f"
    parts = [
        body.call(symbol, dtype, 1, [body.element(o, i) for o in operands], "memory(none)")
        for i in range(operands[0].lanes)
    ]
    return body.collected(parts)


def like(value: Any, x: Operand) -> Operand:
    """A number of another operand's type."""
    return constant(value, x.dtype, x.lanes)
