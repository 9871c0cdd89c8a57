"""Sparse Jacobians and Hessians: pattern, coloring, and one product for each color.

>>> import numpy as np
>>> from graphjit import sparse
>>> def residual(x):
...     return x**3 - 2 * x[::-1]
>>> sparse.jacobian(residual)(np.ones(4)).toarray()
array([[ 3.,  0.,  0., -2.],
       [ 0.,  3., -2.,  0.],
       [ 0., -2.,  3.,  0.],
       [-2.,  0.,  0.,  3.]])
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any, overload

from graphjit.sparse.coloring import Coloring
from graphjit.sparse.compiled import SparseDerivation, SparseDerivative

__all__ = ["Coloring", "SparseDerivative", "hessian", "jacobian", "pattern"]

Function = Callable[..., Any]
Decorator = Callable[[Function], SparseDerivative]
Numbers = int | Sequence[int]
Names = str | Sequence[str]


@overload
def jacobian(
    f: Function, argnums: Numbers = 0, static_argnames: Names = ()
) -> SparseDerivative: ...


@overload
def jacobian(f: None = None, argnums: Numbers = 0, static_argnames: Names = ()) -> Decorator: ...


def jacobian(
    f: Function | None = None, argnums: Numbers = 0, static_argnames: Names = ()
) -> SparseDerivative | Decorator:
    """The Jacobian of a function that returns one float array, as a sparse matrix.

    Its sparsity pattern is read from the graph, its columns (or rows, where that takes fewer) are
    colored so that those of one color do not overlap, and one program computes a product for each
    color: the cost grows with the number of colors, not with that of columns.

    Rows are the elements of the result and columns those of the argument, both in C order; where
    the argument is a container, the elements of its float leaves one after the other.

    Args:
        f: The function; left out, a decorator is returned.
        argnums: Which positional argument; for several, their columns stand side by side in one
            matrix, in this order.
        static_argnames: As in ``jit``.

    Returns:
        What takes the arguments of ``f`` and returns a ``scipy.sparse.csr_array``. Its ``pattern``
        and ``coloring`` take the same arguments.

    Raises:
        TraceError, DTypeError: when called, if the result is not one float array or the argument
            is not made of floats.
        ShapeError: when called, if the Jacobian is large and not sparse.
    """
    return made(f, SparseDerivation(1, positions(argnums)), static_argnames)


@overload
def hessian(f: Function, argnums: Numbers = 0, static_argnames: Names = ()) -> SparseDerivative: ...


@overload
def hessian(f: None = None, argnums: Numbers = 0, static_argnames: Names = ()) -> Decorator: ...


def hessian(
    f: Function | None = None, argnums: Numbers = 0, static_argnames: Names = ()
) -> SparseDerivative | Decorator:
    """The Hessian of a function that returns one float, as a sparse matrix.

    Each product with a vector is computed forward over reverse. A star coloring uses the symmetry,
    so that an arrow-shaped Hessian needs two products; the matrix is symmetric to the last bit.

    Args:
        f: The function; left out, a decorator is returned.
        argnums: As in ``jacobian``; for several the matrix has their mixed derivatives too.
        static_argnames: As in ``jit``.

    Returns:
        What takes the arguments of ``f`` and returns a ``scipy.sparse.csr_array``.

    Raises:
        ShapeError: when called, if the result is no scalar, or the Hessian is large and not sparse.
        TraceError, DTypeError: when called, if it is no float, or the argument not made of floats.
    """
    return made(f, SparseDerivation(2, positions(argnums)), static_argnames)


def pattern(
    f: Function, argnums: Numbers = 0, order: int = 1, static_argnames: Names = ()
) -> Function:
    """Where the Jacobian (``order=1``) or Hessian (``order=2``) of a function can be nonzero.

    Args:
        f: The function.
        argnums: As in ``jacobian``.
        order: 1 or 2.
        static_argnames: As in ``jit``.

    Returns:
        What takes the arguments of ``f`` and returns a boolean ``scipy.sparse.csr_array``. Nothing
        is compiled.

    Raises:
        ValueError: ``order`` is neither 1 nor 2.
    """
    if order not in {1, 2}:
        message = f"order must be 1 (Jacobian) or 2 (Hessian), not {order}"
        raise ValueError(message)
    return SparseDerivative(f, SparseDerivation(order, positions(argnums)), static_argnames).pattern


def positions(argnums: Numbers) -> int | tuple[int, ...]:
    """``argnums`` as it is, or as a tuple."""
    return argnums if isinstance(argnums, int) else tuple(map(operator.index, argnums))


def made(
    f: Function | None, derivation: SparseDerivation, static_argnames: Names
) -> SparseDerivative | Decorator:
    """The function's derivative, or a decorator that makes it."""
    if f is None:
        return functools.partial(
            SparseDerivative, derivation=derivation, static_argnames=static_argnames
        )
    return SparseDerivative(f, derivation, static_argnames)
