"""Whether operands and params fit their operation, beyond what the aval rule looks at."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from graphjit.ir.aval import Aval, DType
from graphjit.ir.primitive import Primitive
from graphjit.ir.table.convolve import OPERANDS

Avals = tuple[Aval, ...]
Params = Mapping[str, Any]


def misfits(primitive: Primitive, operands: Avals, params: Params, result: Aval) -> Iterator[str]:
    """What does not fit, a sentence each; nothing where all is well."""
    if primitive.kind == "map":
        yield from _map(primitive, operands, result)
        if primitive.ufunc is not None and params:
            yield f"has the params {dict(params)}, but np.{primitive.ufunc.__name__} has none"
    check = CHECKS.get(primitive.name) or CHECKS.get(primitive.kind)
    if check is not None:
        yield from check(operands, params)


def _map(primitive: Primitive, operands: Avals, result: Aval) -> Iterator[str]:
    if len({operand.shape for operand in operands}) != 1:
        yield f"is a map of operands of different shapes ({_shown(operands)})"
    elif primitive.ufunc is not None:
        dtypes = tuple(operand.dtype for operand in operands)
        loop = _loop(primitive.ufunc, dtypes)
        if loop != (*dtypes, result.dtype):
            meant = " to ".join(", ".join(map(str, part)) for part in (loop[:-1], loop[-1:]))
            yield f"is {result} of ({_shown(operands)}), but NumPy goes from {meant or 'none'}"


@cache
def _loop(ufunc: Any, dtypes: tuple[DType, ...]) -> tuple[DType, ...]:
    """The dtypes of NumPy's own loop for these operands: theirs, then the result's."""
    return tuple(ufunc.resolve_dtypes((*dtypes, None)))


def _shown(operands: Avals) -> str:
    return ", ".join(map(str, operands))


def _same_dtype(operands: Avals, _: Params) -> Iterator[str]:
    if len({operand.dtype for operand in operands}) != 1:
        yield f"has operands of different dtypes ({_shown(operands)})"


def _where(operands: Avals, params: Params) -> Iterator[str]:
    if operands[0].dtype != np.dtype(bool):
        yield f"chooses by {operands[0]}, which is not bool"
    yield from _same_dtype(operands[1:], params)


def _wrap_index(operands: Avals, _: Params) -> Iterator[str]:
    if operands[0].dtype.kind not in "iu":
        yield f"is an index of {operands[0]}, which is not an integer"


def _constant(_: Avals, params: Params) -> Iterator[str]:
    value = params["value"]
    if not isinstance(value, np.ndarray) or not value.dtype.isnative:
        yield f"holds a {type(value).__name__}, not an array in native byte order"


def _axes(axes: Sequence[int], ndim: int) -> Iterator[str]:
    """What is wrong with axes: each is from 0 on, within the array, and there once."""
    inside = all(type(axis) is int and 0 <= axis < ndim for axis in axes)
    if not inside or len(set(axes)) != len(axes):
        yield f"has the axes {axes!r} of an array of {ndim} dimensions"


def _reduce(operands: Avals, params: Params) -> Iterator[str]:
    (operand,) = operands
    yield from _axes(params["axes"], operand.ndim)


def _one_axis(operands: Avals, params: Params) -> Iterator[str]:
    yield from _reduce(operands, params)
    if len(params["axes"]) != 1:
        yield f"finds a place along one axis, not along {params['axes']!r}"


def _scan(operands: Avals, params: Params) -> Iterator[str]:
    yield from _axes((params["axis"],), operands[0].ndim)
    if len(set(operands)) != 1:
        yield f"scans operands that differ ({_shown(operands)})"


def _contract(operands: Avals, params: Params) -> Iterator[str]:
    yield from _same_dtype(operands, params)
    terms, result = params["spec"].split("->")
    sizes: dict[str, int] = {}
    first, second = terms.split(",")
    for term, operand in zip((first, second), operands, strict=True):
        for letter, size in zip(term, operand.shape, strict=True):
            if sizes.setdefault(letter, size) != size:
                yield f"has the axis {letter!r} with two sizes, {sizes[letter]} and {size}"
    if any(len(set(term)) != len(term) for term in (first, second, result)):
        yield f"repeats a letter within a term of {params['spec']!r}"
    if alone := (set(first) ^ set(second)) - set(result):
        yield f"sums over {sorted(alone)}, which only one operand of {params['spec']!r} has"


def _convolve(operands: Avals, params: Params) -> Iterator[str]:
    """As of a contraction, but that a windowed axis has a length of its own in each operand."""
    yield from _same_dtype(operands, params)
    operand_terms, result = params["spec"].split("->")
    x, w = operand_terms.split(",")
    letters = {"x": x, "w": w, "y": result}
    first, second = (letters[role] for role in OPERANDS[params["of"]])
    sizes: dict[str, int] = {}
    for term, operand in zip((first, second), operands, strict=True):
        for letter, size in zip(term, operand.shape, strict=True):
            if letter.islower() and sizes.setdefault(letter, size) != size:
                yield f"has the axis {letter!r} with two sizes, {sizes[letter]} and {size}"
    every = x + w + result
    if alone := sorted(c for c in set(every) if every.count(c) == 1):
        yield f"has {alone}, which only one term of {params['spec']!r} has"
    windowed = {frozenset(c for c in term if c.isupper()) for term in letters.values()}
    if len(windowed) != 1 or {len(params["window"]), len(params["sizes"])} != {len(*windowed)}:
        yield f"has other windows than the upper-case letters of {params['spec']!r} say"
    if any(stride < 1 or dilation < 1 for stride, dilation, _ in params["window"]):
        yield f"moves windows by the steps {params['window']!r}, which are not all positive"


def _index(operands: Avals, params: Params) -> Iterator[str]:
    """What is wrong between an array, the axes that are indexed and the indices."""
    shape = params.get("shape", operands[0].shape)
    index, axes = operands[1:], params["axes"]
    yield from _axes(axes, len(shape))
    if len(index) != len(axes) or len({operand.shape for operand in index}) != 1:
        yield f"indexes the axes {axes!r} by ({_shown(index)})"
    elif any(operand.dtype.kind not in "iu" for operand in index):
        yield f"indexes by ({_shown(index)}): indices are integers"


def _scatter_add(operands: Avals, params: Params) -> Iterator[str]:
    wrong = list(_index(operands, params))
    yield from wrong
    if not wrong:
        rest = (n for axis, n in enumerate(params["shape"]) if axis not in params["axes"])
        expected = (*operands[1].shape, *rest)
        if operands[0].shape != expected:
            yield f"adds {operands[0]} where updates of shape {expected} belong"


def _broadcast(operands: Avals, params: Params) -> Iterator[str]:
    (operand,) = operands
    tail = params["shape"][len(params["shape"]) - operand.ndim :]
    fits = operand.ndim <= len(params["shape"])
    if not fits or any(n not in (1, m) for n, m in zip(operand.shape, tail, strict=True)):
        yield f"broadcasts {operand} to {params['shape']!r}"


def _reshape(operands: Avals, params: Params) -> Iterator[str]:
    (operand,) = operands
    if operand.size != Aval(params["shape"], operand.dtype).size:
        yield f"reshapes {operand} to {params['shape']!r}, which has another size"


def _transpose(operands: Avals, params: Params) -> Iterator[str]:
    (operand,) = operands
    if sorted(params["axes"]) != list(range(operand.ndim)):
        yield f"transposes {operand} by {params['axes']!r}, which is no order of its axes"


def _slice(operands: Avals, params: Params) -> Iterator[str]:
    yield from _strides(operands[0].shape, params["sizes"], params)


def _embed(operands: Avals, params: Params) -> Iterator[str]:
    yield from _strides(params["shape"], operands[0].shape, params)


def _strides(whole: Sequence[int], part: Sequence[int], params: Params) -> Iterator[str]:
    """Whether a part, ``step`` apart from ``start`` on, is inside the whole."""
    for n, size, start, step in zip(whole, part, params["start"], params["step"], strict=True):
        ends = (start, start + step * (size - 1))
        if step == 0 or (size > 0 and not all(0 <= end < n for end in ends)):
            yield f"picks {size} elements from {start} in steps of {step}, out of {n}"


def _concatenate(operands: Avals, params: Params) -> Iterator[str]:
    axis, first = params["axis"], operands[0]
    yield from _axes((axis,), first.ndim)
    yield from _same_dtype(operands, params)
    others = {(*operand.shape[:axis], *operand.shape[axis + 1 :]) for operand in operands}
    if len(others) != 1 or len({operand.ndim for operand in operands}) != 1:
        yield f"joins ({_shown(operands)}) along axis {axis}"


CHECKS: dict[str, Callable[[Avals, Params], Iterator[str]]] = {
    "strong_multiply": _same_dtype,
    "where": _where,
    "wrap_index": _wrap_index,
    "constant": _constant,
    "argmax": _one_axis,
    "argmin": _one_axis,
    "reduce": _reduce,
    "running": _scan,
    "contract": _contract,
    "convolve": _convolve,
    "index": _index,
    "scatter_add": _scatter_add,
    "broadcast": _broadcast,
    "reshape": _reshape,
    "transpose": _transpose,
    "slice": _slice,
    "embed": _embed,
    "concatenate": _concatenate,
}
