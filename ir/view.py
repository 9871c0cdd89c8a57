"""Views: layout operations as affine maps from an element's index to a place in a flat buffer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise

from graphjit.ir.graph import Node
from graphjit.records import NamedTuple


class View(NamedTuple):
    """Element ``i`` lies at ``offset + sum(strides[a] * i[a])``; strides count elements."""

    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int = 0

    @property
    def contiguous(self) -> bool:
        """Whether the elements lie in C order without gaps, from the start of the buffer."""
        return self.offset == 0 and self.squeezed() == contiguous(self.shape).squeezed()

    def squeezed(self) -> View:
        """Without the axes of length 1; an empty view has strides of 0."""
        if 1 in self.shape or 0 in self.shape:
            return _squeezed(self.shape, self.strides, self.offset)
        return self


@lru_cache(maxsize=4096)
def _squeezed(shape: tuple[int, ...], strides: tuple[int, ...], offset: int) -> View:
    kept = [(n, s) for n, s in zip(shape, strides, strict=True) if n != 1]
    if 0 in shape:
        return View(tuple([n for n, _ in kept]), (0,) * len(kept), 0)
    return View(tuple([n for n, _ in kept]), tuple([s for _, s in kept]), offset)


@lru_cache(maxsize=4096)
def contiguous(shape: tuple[int, ...]) -> View:
    """The view of a whole buffer in C order."""
    strides, step = [], 1
    for n in reversed(shape):
        strides.append(step)
        step *= n
    return View(shape, tuple(reversed(strides)))


def through(node: Node, view: View) -> View | None:
    """The view of a layout node's result, given that of its operand; None where it needs a copy."""
    match node.op:
        case "broadcast":
            return _broadcast(view, node.params["shape"])
        case "reshape":
            return _reshape(view, node.params["shape"])
        case "transpose":
            axes = node.params["axes"]
            shape = tuple(view.shape[a] for a in axes)
            return View(shape, tuple(view.strides[a] for a in axes), view.offset)
        case "hold":
            return view
        case "slice":
            return _slice(view, node.params["start"], node.params["step"], node.params["sizes"])
    return None


def _broadcast(view: View, shape: tuple[int, ...]) -> View:
    lead = len(shape) - len(view.shape)
    own = (
        0 if n == 1 and full != 1 else s
        for n, s, full in zip(view.shape, view.strides, shape[lead:], strict=True)
    )
    return View(shape, (0,) * lead + tuple(own), view.offset)


def _slice(
    view: View, start: tuple[int, ...], step: tuple[int, ...], sizes: tuple[int, ...]
) -> View:
    offset = view.offset + sum(a * s for a, s in zip(start, view.strides, strict=True))
    return View(sizes, tuple(k * s for k, s in zip(step, view.strides, strict=True)), offset)


def _reshape(view: View, shape: tuple[int, ...]) -> View | None:
    """Match runs of old axes that lie evenly with runs of new ones of the same size."""
    if 0 in shape:
        return contiguous(shape)
    old = view.squeezed()
    strides, axis = [0] * len(shape), 0
    pending = [a for a, n in enumerate(shape) if n != 1]
    while pending:
        taken, count = _equal_runs(old.shape[axis:], [shape[a] for a in pending])
        if not _evenly(old, axis, axis + taken):
            return None
        axis += taken
        step = old.strides[axis - 1]
        for a in reversed(pending[:count]):
            strides[a] = step
            step *= shape[a]
        pending = pending[count:]
    return View(shape, tuple(strides), view.offset)


def _equal_runs(old: Sequence[int], new: Sequence[int]) -> tuple[int, int]:
    """How many leading extents of each make the least equal products; none is 1."""
    have, size = old[0], new[0]
    taken, count = 1, 1
    while have != size:
        if have < size:
            have *= old[taken]
            taken += 1
        else:
            size *= new[count]
            count += 1
    return taken, count


def _evenly(view: View, first: int, last: int) -> bool:
    """Whether axes ``first`` to ``last - 1`` can be walked as one."""
    pairs = pairwise(range(first, last))
    return all(view.strides[a] == view.strides[b] * view.shape[b] for a, b in pairs)


def merge_axes(shape: tuple[int, ...], maps: list[tuple[int, ...]]) -> list[list[int]]:
    """Runs of adjacent axes that every stride map walks as one; axes of length 1 are dropped."""
    runs: list[list[int]] = []
    for axis, n in enumerate(shape):
        if n == 1:
            continue
        last = runs[-1][-1] if runs else None
        if last is not None and all(m[last] == m[axis] * n for m in maps):
            runs[-1].append(axis)
        else:
            runs.append([axis])
    return runs


def run_length(shape: tuple[int, ...], run: list[int]) -> int:
    """How many elements a run of axes has."""
    return math.prod(shape[a] for a in run)
