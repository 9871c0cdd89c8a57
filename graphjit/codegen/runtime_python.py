"""What generated programs call, as plain Python: for stepping through one, and as the meaning.

``runtime_numba`` has the same names for compiled programs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from graphjit.codegen.mathematics.describe import PLACES
from graphjit.codegen.mathematics.text import python_function
from graphjit.ir.aval import DTYPES


def _reader(short: str) -> Callable[[tuple[Any, ...], int], Any]:
    dtype = DTYPES[short]

    def read(args: tuple[Any, ...], position: int) -> Any:
        flat = np.asarray(args[position], dtype=dtype).reshape(-1)
        return flat.view(np.uint8) if short == "bool" else flat

    return read


ARRAYS = {f"array_{short}": _reader(short) for short in DTYPES}
SCALARS = {f"scalar_{short}": _reader(short) for short in DTYPES}


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Leave the function as it is."""
    return function


def part(array: Any, offset: int) -> Any:
    """The buffer that begins at an element of another."""
    return array[offset:]


def hide(extent: int) -> int:
    """A loop length that the optimiser is not to see, so that it vectorises short loops."""
    return extent


def _matrix(x: Any, rows: int, columns: int, leading: int) -> Any:
    return as_strided(x, (rows, columns), (leading * x.itemsize, x.itemsize))


def gemm(
    transpose_a: bool, transpose_b: bool, m: int, n: int, k: int,
    a: Any, lda: int, b: Any, ldb: int, c: Any, ldc: int,
) -> None:  # fmt: skip
    """C = op(A) op(B), row-major."""
    left = _matrix(a, k, m, lda).T if transpose_a else _matrix(a, m, k, lda)
    right = _matrix(b, n, k, ldb).T if transpose_b else _matrix(b, k, n, ldb)
    _matrix(c, m, n, ldc)[...] = left @ right


def gemv(
    transpose: bool, rows: int, columns: int, a: Any, lda: int, x: Any, incx: int, y: Any, incy: int
) -> None:
    """Y = op(A) x, row-major."""
    matrix = _matrix(a, rows, columns, lda)
    matrix = matrix.T if transpose else matrix
    m, n = matrix.shape
    _matrix(y, m, 1, incy)[:, 0] = matrix @ _matrix(x, n, 1, incx)[:, 0]


def _tape(short: str) -> Callable[[int], Any]:
    dtype = np.dtype(np.uint8) if short == "bool" else DTYPES[short]
    return lambda count: np.empty(count, dtype)


TAPES = {f"tape_{short}": _tape(short) for short in DTYPES}


def longer(tape: Any, count: int) -> Any:
    """A tape of more elements, with what is on it."""
    result = np.empty(count, tape.dtype)
    result[: len(tape)] = tape
    return result


def release(tape: Any) -> None:
    """Nothing: Python frees it."""


def __getattr__(name: str) -> Any:
    """The readers of arguments, by dtype (``array_f64``, ...), and mathematics (``exp``, ...)."""
    for table in (ARRAYS, SCALARS, TAPES):
        if name in table:
            return table[name]
    if name in PLACES:
        return python_function(name)
    raise AttributeError(name)
