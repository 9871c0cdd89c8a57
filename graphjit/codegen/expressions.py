"""The text of addresses, constants and operations, as Python that Numba compiles too."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphjit.codegen.loops import (
    Address,
    Constant,
    Gemm,
    Gemv,
    Index,
    Let,
    Load,
    Scalar,
    Store,
)
from graphjit.codegen.mathematics.describe import described
from graphjit.ir.aval import DType

INFIX = {
    "add": "{} + {}", "subtract": "{} - {}", "multiply": "{} * {}", "divide": "{} / {}",
    "negative": "-{}", "positive": "{}", "copy": "{}", "power": "{} ** {}", "absolute": "abs({})",
    "reciprocal": "1 / {}", "maximum": "{0} if {0} >= {1} or {0} != {0} else {1}",
    "minimum": "{0} if {0} <= {1} or {0} != {0} else {1}",
    "less": "{} < {}", "less_equal": "{} <= {}", "greater": "{} > {}", "greater_equal": "{} >= {}",
    "equal": "{} == {}", "not_equal": "{} != {}", "isnan": "{0} != {0}",
    "logical_and": "{} and {}", "logical_or": "{} or {}", "logical_xor": "{} != {}",
    "logical_not": "not {}",
    "bitwise_and": "{} & {}", "bitwise_or": "{} | {}", "bitwise_xor": "{} ^ {}", "invert": "~{}",
    "left_shift": "{} << {}", "right_shift": "{} >> {}", "select": "{1} if {0} else {2}",
    "erf": "math.erf({})", "erfc": "math.erfc({})",
}  # fmt: skip


def affine(offset: int, terms: tuple[tuple[str, int], ...]) -> str:
    """``offset + 16*i + j`` as text."""
    parts = [str(offset)] if offset or not terms else []
    parts += [n if s == 1 else f"{s}*{n}" for n, s in terms]
    return " + ".join(parts)


def place(a: Address) -> str:
    """The element, to assign to."""
    return f"{a.buffer.name}[{affine(a.offset, a.buffer.start + a.terms)}]"


def loaded(a: Address) -> str:
    """The element as a value of its dtype; a bool lies in memory as a byte."""
    return f"{place(a)} != 0" if a.buffer.dtype == np.bool_ else place(a)


def whole(a: Address) -> bool:
    """Whether the address is where its buffer begins."""
    return not (a.offset or a.terms or a.buffer.start)


def pointer(a: Address) -> str:
    """The buffer as a library call takes it, from the element on."""
    if whole(a):
        return a.buffer.name
    return f"part({a.buffer.name}, {affine(a.offset, a.buffer.start + a.terms)})"


def name(x: Scalar) -> str:
    """A value's name, or a constant written out."""
    return literal(x.value, x.dtype) if isinstance(x, Constant) else x.name


def stored(x: Constant) -> str:
    """A constant as it lies in memory: a bool is a byte."""
    return str(int(x.value)) if x.dtype == np.bool_ else literal(x.value, x.dtype)


def literal(value: Any, dtype: DType) -> str:
    """A number of exactly this dtype, in Python and in Numba."""
    if dtype == np.bool_:
        return str(bool(value))
    if dtype.kind == "f":
        text = repr(float(value)).replace("inf", "np.inf").replace("nan", "np.nan")
        text = f"({text})" if text.startswith("-") else text
        return text if dtype == np.float64 else f"np.float32({text})"
    text = f"({int(value)})" if value < 0 else str(int(value))
    return text if dtype == np.int64 else f"np.{dtype.name}({text})"


def computed(s: Let | Load | Index) -> str:
    """The right-hand side of an assignment to a scalar."""
    match s:
        case Let():
            return expression(s)
        case Load():
            return loaded(s.address)
    return cast(affine(s.offset, s.terms), s.value.dtype, np.dtype(np.int64))


def expression(s: Let) -> str:
    """The right-hand side of a Let, of exactly its dtype."""
    operands = [name(o) for o in s.operands]
    dtype = s.value.dtype
    if s.op == "cast":
        return cast(operands[0], dtype, s.operands[0].dtype)
    if s.op == "reciprocal":
        return f"{literal(1, dtype)} / {operands[0]}"
    if s.op == "square":
        return f"{operands[0]} * {operands[0]}"
    if described(s.op, dtype):
        return f"{s.op}({', '.join(operands)})"
    template = INFIX.get(s.op)
    if template is None:
        template = f"np.{s.op}({', '.join(['{}'] * len(operands))})"
    return exact(template.format(*operands), s.op, dtype)


def written(s: Store) -> str:
    """What a Store puts into memory; with an operation, combined with what is there."""
    value, boolean = name(s.value), s.address.buffer.dtype == np.bool_
    if s.op:
        held = f"({loaded(s.address)})" if boolean else loaded(s.address)
        value = exact(INFIX[s.op].format(held, value), s.op, s.address.buffer.dtype)
    return f"np.uint8({value})" if boolean else value


def exact(text: str, op: str, dtype: DType) -> str:
    """Small integers and float32 results that Numba or math widens go back to their dtype."""
    narrow = dtype.kind in "iu" and dtype.itemsize < 8 and op not in ("copy", "select", "positive")
    unsigned = dtype == np.uint64 and op in ("add", "subtract", "multiply", "power")
    libm = dtype == np.float32 and op in ("erf", "erfc")
    return f"np.{dtype.name}({text})" if narrow or unsigned or libm else text


def cast(text: str, dtype: DType, source: DType) -> str:
    """The text, converted where the dtypes differ."""
    if dtype == source:
        return text
    if dtype == np.bool_:
        return f"{text} != 0"
    return f"np.{dtype.name}({text})"


def call(s: Gemm | Gemv) -> str:
    """A call of the BLAS."""
    if isinstance(s, Gemv):
        arrays = f"{pointer(s.a)}, {s.lda}, {pointer(s.x)}, {s.incx}, {pointer(s.y)}, {s.incy}"
        return f"gemv({s.transpose}, {s.rows}, {s.columns}, {arrays})"
    flags = f"{s.transpose_a}, {s.transpose_b}, {s.m}, {s.n}, {s.k}"
    arrays = f"{pointer(s.a)}, {s.lda}, {pointer(s.b)}, {s.ldb}, {pointer(s.c)}, {s.ldc}"
    return f"gemm({flags}, {arrays})"
