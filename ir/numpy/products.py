"""Matrix products: all become ``contract``, or an elementwise product where nothing is summed."""

from __future__ import annotations

import operator
from functools import reduce
from typing import Any

import numpy as np

from graphjit.errors import ShapeError
from graphjit.ir.dispatch import builder_of, joint
from graphjit.ir.numpy.axes import axes_of
from graphjit.ir.numpy.einsum import LETTERS, Term, contracted
from graphjit.ir.registry import implements, refuse

LENGTH_HINT = "Transpose or reshape one operand so that they match."


def pair(a: Any, b: Any) -> list[Any]:
    return list(joint(builder_of(a, b), a, b))


def match(name: str, x: Any, y: Any, first: tuple[int, ...], second: tuple[int, ...]) -> None:
    """Refuse to sum over axes that differ in length.

    Raises:
        ShapeError: naming the function and the operands.
    """
    if [x.shape[i] for i in first] != [y.shape[i] for i in second]:
        fact = f"np.{name}: the axes to sum over differ in length"
        origin, operands = x.builder.origin(), (x.aval, y.aval)
        raise ShapeError(fact, origin=origin, operands=operands, hint=LENGTH_HINT)


def batched(name: str, x: Any, y: Any, first: str, second: str, result: str) -> Any:
    """A product over the last axes, named by letters; the axes before them are broadcast.

    Raises:
        ShapeError: operands with too few axes, or whose axes do not fit.
    """
    operands, origin = (x.aval, y.aval), x.builder.origin()
    if x.ndim < len(first) or y.ndim < len(second):
        fact = f"np.{name} takes operands of at least {len(first)} and {len(second)} axes"
        raise ShapeError(fact, origin=origin, operands=operands, hint="Use * to scale an array.")
    match(name, x, y, (first.index("j") - len(first),), (second.index("j") - len(second),))
    left, right = x.shape[: x.ndim - len(first)], y.shape[: y.ndim - len(second)]
    try:
        lead = LETTERS[26 : 26 + len(np.broadcast_shapes(left, right))]
    except ValueError:
        fact = f"np.{name}: the batch axes {left} and {right} cannot be broadcast together"
        raise ShapeError(fact, origin=origin, operands=operands) from None
    terms = [
        Term(x, lead[len(lead) - len(left) :] + first),
        Term(y, lead[len(lead) - len(right) :] + second),
    ]
    return contracted(terms, lead + result)


@implements(np.matmul, np.linalg.matmul)
def matmul(a: Any, b: Any, /, **options: Any) -> Any:
    x, y = pair(a, b)
    refuse(x.builder, np.matmul, **options)
    first, second = "ij" if x.ndim > 1 else "j", "jk" if y.ndim > 1 else "j"
    return batched("matmul", x, y, first, second, (first + second).replace("j", ""))


@implements(np.vecdot, np.linalg.vecdot)
def vecdot(a: Any, b: Any, /, *, axis: int = -1, **options: Any) -> Any:
    x, y = pair(a, b)
    refuse(x.builder, np.vecdot, **options)
    return batched("vecdot", np.moveaxis(x, axis, -1), np.moveaxis(y, axis, -1), "j", "j", "")


@implements(np.matvec)
def matvec(a: Any, b: Any, /, **options: Any) -> Any:
    x, y = pair(a, b)
    refuse(x.builder, np.matvec, **options)
    return batched("matvec", x, y, "ij", "j", "i")


@implements(np.vecmat)
def vecmat(a: Any, b: Any, /, **options: Any) -> Any:
    x, y = pair(a, b)
    refuse(x.builder, np.vecmat, **options)
    return batched("vecmat", x, y, "j", "jk", "k")


@implements(np.dot)
def dot(a: Any, b: Any, out: Any = None) -> Any:
    x, y = pair(a, b)
    refuse(x.builder, np.dot, out=out)
    if not x.ndim or not y.ndim:
        return x * y
    return along("dot", x, y, (x.ndim - 1,), (max(y.ndim - 2, 0),))


@implements(np.vdot)
def vdot(a: Any, b: Any, /) -> Any:
    return np.dot(np.ravel(a), np.ravel(b))


@implements(np.inner)
def inner(a: Any, b: Any, /) -> Any:
    x, y = pair(a, b)
    if not x.ndim or not y.ndim:
        return x * y
    return along("inner", x, y, (x.ndim - 1,), (y.ndim - 1,))


@implements(np.outer, np.linalg.outer)
def outer(a: Any, b: Any, out: Any = None) -> Any:
    x, y = pair(a, b)
    refuse(x.builder, np.outer, out=out)
    return np.reshape(x, (-1, 1)) * np.reshape(y, (1, -1))


@implements(np.kron)
def kron(a: Any, b: Any) -> Any:
    x, y = pair(a, b)
    ndim = max(x.ndim, y.ndim)
    x, y = (np.reshape(s, (1,) * (ndim - s.ndim) + s.shape) for s in (x, y))
    left = np.reshape(x, [m for n in x.shape for m in (n, 1)])
    right = np.reshape(y, [m for n in y.shape for m in (1, n)])
    return np.reshape(left * right, [m * n for m, n in zip(x.shape, y.shape, strict=True)])


def along(name: str, x: Any, y: Any, first: tuple[int, ...], second: tuple[int, ...]) -> Any:
    """Sum over the axes ``first`` of x and ``second`` of y; the others follow one another."""
    match(name, x, y, first, second)
    left, right = list(LETTERS[: x.ndim]), list(LETTERS[x.ndim : x.ndim + y.ndim])
    for i, j in zip(first, second, strict=True):
        right[j] = left[i]
    kept = [c for i, c in enumerate(left) if i not in first]
    kept += [c for j, c in enumerate(right) if j not in second]
    return contracted([Term(x, "".join(left)), Term(y, "".join(right))], "".join(kept))


@implements(np.tensordot, np.linalg.tensordot)
def tensordot(a: Any, b: Any, axes: Any = 2) -> Any:
    x, y = pair(a, b)
    if not isinstance(axes, list | tuple):
        count = operator.index(axes)
        axes = range(x.ndim - count, x.ndim), range(count)
    first, second = (tuple(s) if isinstance(s, range) else s for s in axes)
    return along("tensordot", x, y, axes_of(x, first), axes_of(y, second))


@implements(np.linalg.multi_dot)
def multi_dot(arrays: Any, *, out: Any = None) -> Any:
    """The chain of matrix products, in the order of least cost."""
    refuse(builder_of(arrays), np.linalg.multi_dot, out=out)
    ends = [np.ndim(a) for a in (arrays[0], arrays[-1])]
    letters = LETTERS[: len(arrays) + 1]
    words = [letters[i : i + 2] for i in range(len(arrays))]
    words[0] = words[0][-ends[0] :]
    words[-1] = words[-1][: ends[1]]
    result = letters[0] * (ends[0] > 1) + letters[-1] * (ends[1] > 1)
    return np.einsum(",".join(words) + "->" + result, *arrays)


@implements(np.linalg.matrix_power)
def matrix_power(a: Any, n: int) -> Any:
    """Repeated squaring, for a whole power that is not negative."""
    builder = builder_of(a)
    power = operator.index(n)
    if power < 0:
        refuse(builder, np.linalg.matrix_power, **{"a negative n": n})
    if power == 0:
        return np.broadcast_to(np.eye(a.shape[-1], dtype=a.dtype), a.shape) * np.ones_like(a)
    squares = [a]
    for _ in range(power.bit_length() - 1):
        squares.append(squares[-1] @ squares[-1])
    return reduce(np.matmul, [s for bit, s in enumerate(squares) if power >> bit & 1])


@implements(np.cross, np.linalg.cross)
def cross(
    a: Any, b: Any, axisa: int = -1, axisb: int = -1, axisc: int = -1, axis: Any = None
) -> Any:
    """The product of vectors of length 3.

    Raises:
        ShapeError: vectors of another length.
    """
    x, y = pair(a, b)
    axisa, axisb, axisc = (axisa, axisb, axisc) if axis is None else (axis, axis, axis)
    x, y = np.moveaxis(x, axisa, -1), np.moveaxis(y, axisb, -1)
    if x.shape[-1] != 3 or y.shape[-1] != 3:
        operands = (x.aval, y.aval)
        raise ShapeError(
            "np.cross takes vectors of 3", origin=x.builder.origin(), operands=operands
        )
    later, earlier = [1, 2, 0], [2, 0, 1]
    product = x[..., later] * y[..., earlier] - x[..., earlier] * y[..., later]
    return np.moveaxis(product, -1, axisc)


@implements(np.trace)
def trace(
    a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1, dtype: Any = None, out: Any = None
) -> Any:
    refuse(builder_of(a), np.trace, out=out)
    return np.sum(np.diagonal(a, offset, axis1, axis2), axis=-1, dtype=dtype)


@implements(np.linalg.trace)
def linalg_trace(x: Any, /, *, offset: int = 0, dtype: Any = None) -> Any:
    return trace(x, offset, -2, -1, dtype)
