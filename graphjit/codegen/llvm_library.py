"""Calls of the BLAS in LLVM IR."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from graphjit.codegen.blas import find
from graphjit.codegen.llvm_text import kind, literal
from graphjit.codegen.loops import Gemm, Gemv
from graphjit.errors import CompileError
from graphjit.ir.aval import DType

if TYPE_CHECKING:
    from graphjit.codegen.llvm_memory import Memory

ROW_MAJOR, NO_TRANSPOSE = 101, 111


def gemm(w: Memory, s: Gemm) -> None:
    """C = op(A) op(B)."""
    dtype = s.a.buffer.dtype
    flags = [ROW_MAJOR, NO_TRANSPOSE + s.transpose_a, NO_TRANSPOSE + s.transpose_b]
    one, zero = real(1, dtype), real(0, dtype)
    a, b, c = (f"ptr {w.first(x)}" for x in (s.a, s.b, s.c))
    sizes: list[int | str] = [s.m, s.n, s.k, one, a, s.lda, b, s.ldb, zero, c, s.ldc]
    routine(w, "gemm", dtype, flags, sizes)


def gemv(w: Memory, s: Gemv) -> None:
    """Y = op(A) x."""
    dtype = s.a.buffer.dtype
    one, zero = real(1, dtype), real(0, dtype)
    a, x, y = (f"ptr {w.first(x)}" for x in (s.a, s.x, s.y))
    sizes: list[int | str] = [s.rows, s.columns, one, a, s.lda, x, s.incx, zero, y, s.incy]
    routine(w, "gemv", dtype, [ROW_MAJOR, NO_TRANSPOSE + s.transpose], sizes)


def real(value: float, dtype: DType) -> str:
    """A number with its type."""
    return f"{kind(dtype, 1)} {literal(value, dtype)}"


def routine(
    w: Memory, name: str, dtype: DType, flags: Sequence[int], sizes: Sequence[int | str]
) -> None:
    """Call a cblas routine under a name that its address is given for when the code is loaded."""
    blas = find()
    if blas is None:
        raise CompileError("no BLAS was found", hint="NumPy's and SciPy's wheels have one.")
    letter = "d" if dtype.itemsize == 8 else "s"
    symbol = f"graphjit_{letter}{name}"
    w.module.symbols[symbol] = blas.addresses[letter + name]
    arguments = [f"i32 {f}" for f in flags]
    arguments += [x if isinstance(x, str) else f"i{blas.integer} {x}" for x in sizes]
    w.module.declare(symbol, "void", [a.split()[0] for a in arguments])
    w.put(f"call void @{symbol}({', '.join(arguments)})")
