"""What generated programs call, compiled: Numba intrinsics under the names of ``runtime_python``.

A program takes one argument, the address of a tuple of arrays and scalars, and reads the data
pointers itself: no wrapper per argument is compiled, and no conversion is done per call. The
offsets of CPython's and NumPy's structures are checked at import; where they do not hold, the
argument is the address of a table of pointers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import llvmlite.binding as llvm
import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from graphjit.codegen import objects
from graphjit.codegen.blas import SYMBOL, find
from graphjit.codegen.mathematics.describe import PLACES
from graphjit.codegen.numba_mathematics import function
from graphjit.codegen.objects import DATA, ITEMS, WORD
from graphjit.ir.aval import DTYPES

INT = ir.IntType(64)
ENUM = ir.IntType(32)
ROW_MAJOR, NO_TRANSPOSE = 101, 111
OPTIONS: dict[str, Any] = {
    "error_model": "numpy",
    "no_cfunc_wrapper": True,
    "no_rewrites": True,
    "nogil": True,
}


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile for one address."""
    return numba.njit(types.void(types.intp), **OPTIONS)(function)


def _pointer_reader(short: str, *, scalar: bool) -> Any:
    # A bool is one byte in memory: programs read and write it as such.
    pointer = types.CPointer(types.uint8 if short == "bool" else numba.from_dtype(DTYPES[short]))

    @intrinsic
    def read(typing: Any, args: Any, position: Any) -> Any:
        if not isinstance(position, types.IntegerLiteral):
            return None
        index = position.literal_value

        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            def load(address: Any, offset: int) -> Any:
                place = builder.add(address, ir.Constant(INT, offset))
                return builder.load(builder.inttoptr(place, INT.as_pointer()))

            if not objects.direct():
                address = load(values[0], WORD * index)
            else:
                item = load(values[0], ITEMS + WORD * index)
                address = builder.add(item, ir.Constant(INT, DATA)) if scalar else load(item, DATA)
            return builder.inttoptr(address, context.get_value_type(pointer))

        return pointer(types.intp, position), generate

    return read


ARRAYS = {f"array_{short}": _pointer_reader(short, scalar=False) for short in DTYPES}
SCALARS = {f"scalar_{short}": _pointer_reader(short, scalar=True) for short in DTYPES}


@intrinsic
def part(typing: Any, array: Any, offset: Any) -> Any:
    """The pointer to an element."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.gep(values[0], [values[1]])

    return array(array, types.intp), generate


@intrinsic
def hide(typing: Any, extent: Any) -> Any:
    """The number, through an empty assembly statement that the optimiser cannot see through."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        kind = ir.FunctionType(INT, [INT])
        return builder.call(ir.InlineAsm(kind, "", "=r,0", side_effect=False), [values[0]])

    return types.intp(types.intp), generate


def _routine(context: Any, builder: Any, name: str, arguments: list[Any]) -> Any:
    """Call a cblas routine by its own symbol."""
    blas = find()
    if blas is None:
        message = "no BLAS was found"
        raise RuntimeError(message)
    symbol = f"{SYMBOL}{name}"
    llvm.add_symbol(symbol, blas.addresses[name])
    width = ir.IntType(blas.integer)
    narrowed = [
        builder.trunc(a, width) if a.type == INT and blas.integer != 64 else a for a in arguments
    ]
    kind = ir.FunctionType(ir.VoidType(), [a.type for a in narrowed])
    builder.call(cgutils.get_or_insert_function(builder.module, kind, symbol), narrowed)
    return context.get_dummy_value()


def _flag(builder: Any, transpose: Any) -> Any:
    wide = (
        builder.zext(transpose, ENUM)
        if transpose.type.width < ENUM.width
        else builder.trunc(transpose, ENUM)
    )
    return builder.add(wide, ir.Constant(ENUM, NO_TRANSPOSE))


def _letter(pointer: Any) -> str:
    return "d" if pointer.dtype == types.float64 else "s"


@intrinsic
def gemm(
    typing: Any,
    ta: Any,
    tb: Any,
    m: Any,
    n: Any,
    k: Any,
    a: Any,
    lda: Any,
    b: Any,
    ldb: Any,
    c: Any,
    ldc: Any,
) -> Any:
    """C = op(A) op(B), row-major."""
    i = types.intp

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        ta, tb, m, n, k, a, lda, b, ldb, c, ldc = values
        real = context.get_value_type(signature.args[5].dtype)
        one, zero = ir.Constant(real, 1.0), ir.Constant(real, 0.0)
        head = [ir.Constant(ENUM, ROW_MAJOR), _flag(builder, ta), _flag(builder, tb)]
        return _routine(
            context, builder, _letter(signature.args[5]) + "gemm",
            [*head, m, n, k, one, a, lda, b, ldb, zero, c, ldc],
        )  # fmt: skip

    return types.void(types.boolean, types.boolean, i, i, i, a, i, b, i, c, i), generate


@intrinsic
def gemv(
    typing: Any,
    t: Any,
    rows: Any,
    columns: Any,
    a: Any,
    lda: Any,
    x: Any,
    incx: Any,
    y: Any,
    incy: Any,
) -> Any:
    """Y = op(A) x, row-major."""
    i = types.intp

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        t, rows, columns, a, lda, x, incx, y, incy = values
        real = context.get_value_type(signature.args[3].dtype)
        one, zero = ir.Constant(real, 1.0), ir.Constant(real, 0.0)
        head = [ir.Constant(ENUM, ROW_MAJOR), _flag(builder, t)]
        return _routine(
            context, builder, _letter(signature.args[3]) + "gemv",
            [*head, rows, columns, one, a, lda, x, incx, zero, y, incy],
        )  # fmt: skip

    return types.void(types.boolean, i, i, a, i, x, i, y, i), generate


def _c_function(builder: Any, name: str, result: Any, *arguments: Any) -> Any:
    """Call a function of the C library on pointers to bytes and sizes."""
    kind = ir.FunctionType(result, [a.type for a in arguments])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), arguments)


def _tape_of(short: str) -> Any:
    dtype = DTYPES[short]
    pointer = types.CPointer(types.uint8 if short == "bool" else numba.from_dtype(dtype))

    @intrinsic
    def tape(typing: Any, count: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            size = builder.mul(values[0], ir.Constant(INT, dtype.itemsize))
            memory = _c_function(builder, "malloc", cgutils.voidptr_t, size)
            return builder.bitcast(memory, context.get_value_type(pointer))

        return pointer(types.intp), generate

    return tape


TAPES = {f"tape_{short}": _tape_of(short) for short in DTYPES}


@intrinsic
def longer(typing: Any, tape: Any, count: Any) -> Any:
    """A tape of more elements, with what is on it."""
    width = np.dtype(str(tape.dtype)).itemsize

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        size = builder.mul(values[1], ir.Constant(INT, width))
        old = builder.bitcast(values[0], cgutils.voidptr_t)
        memory = _c_function(builder, "realloc", cgutils.voidptr_t, old, size)
        return builder.bitcast(memory, context.get_value_type(tape))

    return tape(tape, types.intp), generate


@intrinsic
def release(typing: Any, tape: Any) -> Any:
    """Free a tape."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        memory = builder.bitcast(values[0], cgutils.voidptr_t)
        _c_function(builder, "free", ir.VoidType(), memory)
        return context.get_dummy_value()

    return types.void(tape), generate


def __getattr__(name: str) -> Any:
    """The readers of arguments, by dtype (``array_f64``, ...), and mathematics (``exp``, ...)."""
    for table in (ARRAYS, SCALARS, TAPES):
        if name in table:
            return table[name]
    if name in PLACES:
        return function(name)
    raise AttributeError(name)
