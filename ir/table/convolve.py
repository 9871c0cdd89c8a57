"""Convolutions: contractions in which some axes of the first operand are seen through windows.

One trilinear form has all three: with letters as in einsum, and an upper-case letter for each
axis that windows move along,

    sum of x[..., stride i + dilation a - before, ...] w[..., a, ...] y[..., i, ...]

over all letters and all windows that lie inside ``x``. Leaving ``y`` out gives the convolution of
x with w; leaving ``x`` or ``w`` out gives its cotangents. Each of the three is bilinear in what is
left, and its transposes are the other two, so that derivatives of any order are closed.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from graphjit.ir.aval import Aval
from graphjit.ir.primitive import row
from graphjit.ir.table.rules import apply_row

Window = tuple[tuple[int, int, int], ...]  # stride, dilation and padding before, an axis each
OPERANDS = {"y": ("x", "w"), "x": ("y", "w"), "w": ("x", "y")}


def roles(spec: str) -> dict[str, str]:
    """The letters of x, w and y in ``x,w->y``."""
    operands, result = spec.split("->")
    x, w = operands.split(",")
    return {"x": x, "w": w, "y": result}


def windowed(letters: str) -> str:
    """The letters of the axes that windows move along."""
    return "".join(c for c in letters if c.isupper())


def spatial(x: Any, letters: str) -> tuple[int, ...]:
    """The lengths of an operand's windowed axes, in the order of ``x``'s letters."""
    return tuple(n for n, c in sorted(zip(x.shape, letters, strict=True), key=lambda p: p[1])
                 if c.isupper())  # fmt: skip


def convolved(a: Aval, b: Aval, spec: str, of: str, window: Window, sizes: tuple[int, ...]) -> Aval:
    """The aval: windowed axes have the given sizes, in alphabetical order of their letters."""
    letters = roles(spec)
    known: dict[str, int] = {}
    for role, x in zip(OPERANDS[of], (a, b), strict=True):
        known.update(zip(letters[role], x.shape, strict=True))
    known.update(zip(sorted(windowed(letters[of])), sizes, strict=True))
    return Aval(tuple(known[c] for c in letters[of]), a.dtype)


def multiplications(result: Aval, operands: Sequence[Aval], spec: str, of: str, **_: Any) -> int:
    """How many products are summed, those with zeros around ``x`` among them."""
    letters = roles(spec)
    avals = {of: result, **dict(zip(OPERANDS[of], operands, strict=True))}
    lengths = {
        (c, r if c.isupper() else ""): n
        for r in "xwy"
        for c, n in zip(letters[r], avals[r].shape, strict=True)
    }
    return math.prod(n for (_, role), n in lengths.items() if role != "x")


def reach(steps: tuple[int, int, int], at: int, x: int, y: int) -> tuple[slice, slice]:
    """Where ``x`` and ``y`` meet at one place of the kernel, along one axis."""
    stride, dilation, before = steps
    offset = dilation * at - before
    first = max(0, -(offset // stride))
    count = max(0, min(y, (x - 1 - offset) // stride + 1) - first)
    start = stride * first + offset if count else 0
    return slice(start, start + stride * count, stride), slice(first, first + count)


def picked(letters: str, axes: str, slices: tuple[Any, ...]) -> tuple[Any, ...]:
    """An index with something for each windowed axis, and everything along the others."""
    found = dict(zip(axes, slices, strict=True))
    return tuple(found.get(c, slice(None)) for c in letters)


def meetings(
    letters: dict[str, str], shapes: dict[str, tuple[int, ...]], window: Window
) -> Iterator[dict[str, tuple[Any, ...]]]:
    """For each place of the kernel the index of x, w and y that meet there."""
    axes = "".join(sorted(windowed(letters["w"])))
    sizes = {r: tuple(shapes[r][letters[r].index(c)] for c in axes) for r in "xwy"}
    for at in itertools.product(*map(range, sizes["w"])):
        pairs = [
            reach(steps, a, x, y)
            for steps, a, x, y in zip(window, at, sizes["x"], sizes["y"], strict=True)
        ]
        yield {
            "x": picked(letters["x"], axes, tuple(x for x, _ in pairs)),
            "w": picked(letters["w"], axes, at),
            "y": picked(letters["y"], axes, tuple(y for _, y in pairs)),
        }


def convolve(a: Any, b: Any, spec: str, of: str, window: Window, sizes: tuple[int, ...]) -> Any:
    """One product of matrices for each place of the kernel; no copy of any window."""
    first, second = OPERANDS[of]
    letters = roles(spec)
    aval = convolved(Aval(a.shape, a.dtype), Aval(b.shape, b.dtype), spec, of, window, sizes)
    result = np.zeros(aval.shape, np.result_type(a, b))
    shapes = {first: a.shape, second: b.shape, of: aval.shape}
    bare = {**letters, "w": "".join(c for c in letters["w"] if not c.isupper())}
    formula = f"{bare[first]},{bare[second]}->{bare[of]}"
    for place in meetings(letters, shapes, window):
        result[place[of]] += np.einsum(formula, a[place[first]], b[place[second]], optimize=True)
    return result


def transpose(ct: Any, a: Any, b: Any, spec: str, of: str, window: Window, **_: Any) -> Any:
    """For each operand, the form that leaves that one out."""
    first, second = OPERANDS[of]
    letters, given = roles(spec), {of: ct, first: a, second: b}

    def without(role: str) -> Any:
        pair = (given[r] for r in OPERANDS[role])
        sizes = spatial(given[role], letters[role])
        return apply_row("convolve", *pair, spec=spec, of=role, window=window, sizes=sizes)

    return without(first), without(second)


def batched(spec: str, of: str, wide: tuple[bool, bool], letter: str) -> str:
    """The specification with one more letter, on the result and on the operands that have it."""
    letters, marked = roles(spec), dict(zip(OPERANDS[of], wide, strict=True))
    named = {r: letter * marked.get(r, True) + letters[r] for r in "xwy"}
    return f"{named['x']},{named['w']}->{named['y']}"


row(
    "convolve", "contract", numpy=convolve, aval=convolved, transpose=transpose,
    latex="{0} * {1}",
)  # fmt: skip
