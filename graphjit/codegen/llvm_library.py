"""Matrix products in LLVM IR: calls of the BLAS, and of functions of our own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from graphjit.codegen.blas import SYMBOL, find
from graphjit.codegen.llvm_matrix import MatrixProduct, Steps
from graphjit.codegen.llvm_matrix_choice import Way, choice, ways
from graphjit.codegen.llvm_text import kind, literal
from graphjit.codegen.loops import Address, Gemm, Gemv
from graphjit.errors import CompileError
from graphjit.ir.aval import DType

if TYPE_CHECKING:
    from graphjit.codegen.llvm_memory import Memory

ROW_MAJOR, NO_TRANSPOSE = 101, 111


def gemm(w: Memory, s: Gemm) -> None:
    """C = op(A) op(B), by a function of our own where that is faster."""
    way = way_for(w, s)
    if way is None:
        gemm_call(w, s)
    else:
        own_call(w, way, s.a, s.b, s.c)


def gemv(w: Memory, s: Gemv) -> None:
    """Y = op(A) x, by a function of our own where that is faster."""
    way = way_for(w, s)
    if way is None:
        gemv_call(w, s)
    else:
        own_call(w, way, s.x, s.a, s.y)


def way_for(w: Memory, s: Gemm | Gemv) -> Way | None:
    """The function of our own for a product; None where it is a call of the BLAS."""
    if not w.module.own and find() is not None:
        return None
    p = product_of(s)
    if w.module.blas or not p.m * p.n * p.k:
        return choice(p, held=w.module.pool is not None)
    return min(ways(p), key=lambda way: way.cost, default=None)


def product_of(s: Gemm | Gemv) -> MatrixProduct:
    """A statement as a product; a vector is a row, before the matrix."""
    dtype = s.a.buffer.dtype
    if isinstance(s, Gemm):
        a = Steps(1, s.lda) if s.transpose_a else Steps(s.lda, 1)
        b = Steps(1, s.ldb) if s.transpose_b else Steps(s.ldb, 1)
        return MatrixProduct(dtype, s.m, s.n, s.k, a, b, Steps(s.ldc, 1))
    n, k = (s.columns, s.rows) if s.transpose else (s.rows, s.columns)
    matrix = Steps(s.lda, 1) if s.transpose else Steps(1, s.lda)
    return MatrixProduct(dtype, 1, n, k, Steps(0, s.incx), matrix, Steps(0, s.incy))


def own_call(w: Memory, way: Way, a: Address, b: Address, c: Address) -> None:
    """Call a function of our own; there is one for all products that are alike."""
    if way.name not in w.module.helpers:
        w.module.helpers[way.name] = way.function(w.module)
    first, second = (b, a) if way.swapped else (a, b)
    pointers = ", ".join(f"ptr {w.first(x)}" for x in (first, second, c))
    w.put(f"call void @{way.name}({pointers})")


def gemm_call(w: Memory, s: Gemm) -> None:
    """C = op(A) op(B) by the library."""
    dtype = s.a.buffer.dtype
    flags = [ROW_MAJOR, NO_TRANSPOSE + s.transpose_a, NO_TRANSPOSE + s.transpose_b]
    one, zero = real(1, dtype), real(0, dtype)
    a, b, c = (f"ptr {w.first(x)}" for x in (s.a, s.b, s.c))
    sizes: list[int | str] = [s.m, s.n, s.k, one, a, s.lda, b, s.ldb, zero, c, s.ldc]
    routine(w, "gemm", dtype, flags, sizes)


def gemv_call(w: Memory, s: Gemv) -> None:
    """Y = op(A) x by the library."""
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
    symbol = f"{SYMBOL}{letter}{name}"
    w.module.symbols[symbol] = blas.addresses[letter + name]
    arguments = [f"i32 {f}" for f in flags]
    arguments += [x if isinstance(x, str) else f"i{blas.integer} {x}" for x in sizes]
    w.module.declare(symbol, "void", [a.split()[0] for a in arguments])
    w.put(f"call void @{symbol}({', '.join(arguments)})")
