"""What each scalar operation of the loop IR is in LLVM IR, on any number of lanes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from graphjit.codegen.llvm_instructions import binary, compare, like, scalarised, select
from graphjit.codegen.llvm_text import BOOL, I64, Body, Operand, constant, kind
from graphjit.codegen.llvm_whole import floor_divide, power, remainder
from graphjit.codegen.native import host
from graphjit.errors import CompileError
from graphjit.ir.aval import DType

Rule = Callable[[Body, list[Operand], DType], Operand]

ARITHMETIC = {
    "add": ("fadd", "add"), "subtract": ("fsub", "sub"), "multiply": ("fmul", "mul"),
    "divide": ("fdiv", ""), "bitwise_and": ("", "and"), "bitwise_or": ("", "or"),
    "bitwise_xor": ("", "xor"), "logical_and": ("", "and"), "logical_or": ("", "or"),
    "logical_xor": ("", "xor"), "left_shift": ("", "shl"), "fmod": ("frem", "srem"),
}  # fmt: skip
COMPARISONS = {
    "less": "lt", "less_equal": "le", "greater": "gt", "greater_equal": "ge",
    "equal": "eq", "not_equal": "ne",
}  # fmt: skip
INTRINSICS = {
    "sqrt": "sqrt", "floor": "floor", "ceil": "ceil", "trunc": "trunc", "rint": "rint",
    "copysign": "copysign", "fabs": "fabs", "fma": "fma",
}  # fmt: skip
LIBM = {
    **{name: name for name in (
        "exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "sin", "cos", "tan", "sinh",
        "cosh", "tanh", "cbrt", "hypot", "erf", "erfc", "fmod",
    )},
    "arcsin": "asin", "arccos": "acos", "arctan": "atan", "arctan2": "atan2",
    "arcsinh": "asinh", "arccosh": "acosh", "arctanh": "atanh", "power": "pow",
}  # fmt: skip


def operation(body: Body, op: str, operands: Sequence[Operand], dtype: DType) -> Operand:
    """Write one operation on operands of its own dtype; scalars meet vectors lane by lane."""
    alike = body.alike(*operands)
    if op in COMPARISONS:
        return compare(body, COMPARISONS[op], *alike)
    if op in RULES:
        return RULES[op](body, alike, dtype)
    if op in INTRINSICS and dtype.kind == "f":
        return body.intrinsic(INTRINSICS[op], *alike)
    if op in ARITHMETIC:
        name = ARITHMETIC[op][0 if dtype.kind == "f" else 1]
        return binary(body, name, alike[0], alike[1])
    if op in INTRINSICS:  # whole numbers are whole already
        return alike[0]
    if dtype.kind != "f" or op not in LIBM:
        raise CompileError(f"there is no machine code for {op} of {dtype}")
    return scalarised(body, LIBM[op], alike, dtype)


def total(body: Body, parts: Sequence[Operand]) -> Operand:
    """A sum, neighbours first."""
    while len(parts) > 1:
        pairs = zip(parts[::2], parts[1::2], strict=False)  # an odd one waits
        sums = [operation(body, "add", pair, pair[0].dtype) for pair in pairs]
        parts = [*sums, *parts[2 * len(sums) :]]
    return parts[0]


# -- rules that are more than one instruction ---------------------------------------------------


def _copy(body: Body, x: list[Operand], dtype: DType) -> Operand:
    return x[0]


def _negative(body: Body, x: list[Operand], dtype: DType) -> Operand:
    if dtype.kind == "f":
        return body.value(f"fneg {x[0]}", dtype, x[0].lanes)
    return binary(body, "sub", like(0, x[0]), x[0])


def _absolute(body: Body, x: list[Operand], dtype: DType) -> Operand:
    if dtype.kind == "f":
        return body.intrinsic("fabs", x[0])
    if dtype.kind != "i":
        return x[0]
    return select(body, compare(body, "lt", x[0], like(0, x[0])), _negative(body, x, dtype), x[0])


def _reciprocal(body: Body, x: list[Operand], dtype: DType) -> Operand:
    return binary(body, "fdiv", like(1, x[0]), x[0])


def _square(body: Body, x: list[Operand], dtype: DType) -> Operand:
    return binary(body, "fmul" if dtype.kind == "f" else "mul", x[0], x[0])


def _extreme(test: str, winner: int) -> Rule:
    """The larger or smaller of two; the first wins if operand number ``winner`` is a NaN."""

    def rule(body: Body, x: list[Operand], dtype: DType) -> Operand:
        wins = compare(body, test, *x)
        if dtype.kind == "f":
            wins = binary(body, "or", wins, _isnan(body, [x[winner]], dtype))
        return select(body, wins, *x)

    return rule


def _select(body: Body, x: list[Operand], dtype: DType) -> Operand:
    return select(body, *x)


def _logical_not(body: Body, x: list[Operand], dtype: DType) -> Operand:
    return binary(body, "xor", x[0], like(1, x[0]))


def _invert(body: Body, x: list[Operand], dtype: DType) -> Operand:
    return binary(body, "xor", x[0], like(-1, x[0]))


def _right_shift(body: Body, x: list[Operand], dtype: DType) -> Operand:
    return binary(body, "ashr" if dtype.kind == "i" else "lshr", *x)


def _isnan(body: Body, x: list[Operand], dtype: DType) -> Operand:
    if x[0].dtype.kind != "f":
        return constant(0, BOOL, x[0].lanes)
    return body.value(f"fcmp uno {x[0]}, {x[0].text}", BOOL, x[0].lanes)


def _size(test: str, otherwise: int) -> Rule:
    """A comparison of the magnitude with infinity."""

    def rule(body: Body, x: list[Operand], dtype: DType) -> Operand:
        if x[0].dtype.kind != "f":
            return constant(otherwise, BOOL, x[0].lanes)
        return compare(body, test, body.intrinsic("fabs", x[0]), like(np.inf, x[0]))

    return rule


def _signbit(body: Body, x: list[Operand], dtype: DType) -> Operand:
    bits = _bits(body, x, dtype) if x[0].dtype.kind == "f" else x[0]
    return compare(body, "lt", bits, like(0, bits))


def integer(dtype: DType) -> DType:
    """The signed integer as wide as a float."""
    return np.dtype(f"i{dtype.itemsize}")


def _bits(body: Body, x: list[Operand], dtype: DType) -> Operand:
    """A float's bits as an integer of its width."""
    whole = integer(x[0].dtype)
    return body.value(f"bitcast {x[0]} to {kind(whole, x[0].lanes)}", whole, x[0].lanes)


def _from_bits(body: Body, x: list[Operand], dtype: DType) -> Operand:
    """The float that has these bits."""
    real = np.dtype(f"f{x[0].dtype.itemsize}")
    return body.value(f"bitcast {x[0]} to {kind(real, x[0].lanes)}", real, x[0].lanes)


def _fma(body: Body, x: list[Operand], dtype: DType) -> Operand:
    """``a b + c``; in one rounding where the processor has it."""
    if host().fma:
        return body.intrinsic("fma", *x)
    return binary(body, "fadd", binary(body, "fmul", x[0], x[1]), x[2])


def _cast(body: Body, x: list[Operand], dtype: DType) -> Operand:
    value, source = x[0], x[0].dtype
    if source == dtype:
        return value
    if dtype == BOOL:
        return compare(body, "ne", value, like(0, value))
    if source.kind == "f" and dtype.kind == "u" and dtype.itemsize < I64.itemsize:
        return _cast(body, [_cast(body, x, I64)], dtype)
    name = conversion(source, dtype)
    if not name:
        return Operand(value.text, dtype, value.lanes)
    return body.value(f"{name} {value} to {kind(dtype, value.lanes)}", dtype, value.lanes)


def conversion(source: DType, target: DType) -> str:
    """The instruction that converts; empty where the bits stay."""
    if source.kind == "f" and target.kind == "f":
        return "fpext" if target.itemsize > source.itemsize else "fptrunc"
    if source.kind == "f":
        return "fptosi" if target.kind == "i" else "fptoui"
    if target.kind == "f":
        return "sitofp" if source.kind == "i" else "uitofp"
    if source == BOOL or target.itemsize > source.itemsize:
        return "sext" if source.kind == "i" else "zext"
    return "trunc" if target.itemsize < source.itemsize else ""


RULES: dict[str, Rule] = {
    "copy": _copy, "positive": _copy, "negative": _negative, "absolute": _absolute,
    "reciprocal": _reciprocal, "square": _square, "maximum": _extreme("ge", 0),
    "minimum": _extreme("le", 0), "fmax": _extreme("ge", 1), "fmin": _extreme("le", 1),
    "select": _select, "logical_not": _logical_not, "invert": _invert,
    "right_shift": _right_shift,
    "isnan": _isnan, "isinf": _size("eq", 0), "isfinite": _size("lt", 1), "signbit": _signbit,
    "bits": _bits, "from_bits": _from_bits, "fma": _fma, "cast": _cast, "power": power,
    "floor_divide": floor_divide, "remainder": remainder,
}  # fmt: skip
