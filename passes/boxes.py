"""Boxes: pieces of an array, and how the edges of some cut it into others."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TypeVar

Place = tuple[int, ...]
Box = tuple[tuple[int, int], ...]  # for each axis where it begins and ends
Tree = Box | list["Tree"]  # parts along axis 0, of these along axis 1, ...; boxes at the leaves
Item = TypeVar("Item")


def split(shape: Place, regions: Sequence[Box], most: int) -> Tree | None:
    """The boxes into which the edges of the regions cut an array.

    None where the regions in all boxes, and the boxes, are more than ``most``.
    """
    count = 0

    def cut(axis: int, regions: Sequence[Box], before: Box) -> Tree | None:
        nonlocal count
        if axis == len(shape):
            count += len(regions) + 1
            return before if count <= most else None
        parts: list[Tree] = []
        ends = [(*r[axis], r) for r in regions]
        for lo, hi, over in sweep(shape[axis], ends, most):
            part = cut(axis + 1, over, (*before, (lo, hi)))
            if part is None:
                return None
            parts.append(part)
        return parts

    return cut(0, regions, ())


def sweep(
    n: int, ends: list[tuple[int, int, Item]], most: int | None = None
) -> list[tuple[int, int, list[Item]]]:
    """The intervals into which intervals cut an axis, and which of them cover each.

    No more than so many are found.
    """
    edges = sorted({0, n, *(e for lo, hi, _ in ends for e in (lo, hi) if 0 < e < n)})
    edges = edges if most is None else edges[: most + 2]
    place = {edge: i for i, edge in enumerate(edges)}
    over: list[list[Item]] = [[] for _ in edges[1:]]
    for lo, hi, item in ends:
        if lo < hi and lo < n and hi > 0:
            for i in range(place.get(max(lo, 0), len(over)), place.get(min(hi, n), len(over))):
                over[i].append(item)
    return list(zip(edges, edges[1:], over, strict=False))


def boxes(tree: Tree) -> Iterator[Box]:
    """The leaves of a tree, in order."""
    if isinstance(tree, list):
        for part in tree:
            yield from boxes(part)
    else:
        yield tree


def box_at(at: Place, shape: Place) -> Box:
    """The box of a shape that begins at a place."""
    return tuple((a, a + n) for a, n in zip(at, shape, strict=True))


def shifted(box: Box, by: Place) -> Box:
    """The box in the indices of what begins at a place."""
    return tuple((lo - b, hi - b) for (lo, hi), b in zip(box, by, strict=True))


def within(box: Box, region: Box) -> bool:
    """Whether a box lies in a region."""
    pairs = zip(box, region, strict=True)
    return all(first <= lo and hi <= last for (lo, hi), (first, last) in pairs)


def apart(box: Box, region: Box) -> bool:
    """Whether a box and a region have nothing in common."""
    pairs = zip(box, region, strict=True)
    return any(hi <= first or last <= lo for (lo, hi), (first, last) in pairs)


def lengths(box: Box) -> Place:
    """The shape of a box."""
    return tuple(hi - lo for lo, hi in box)


def extent(box: Box) -> int:
    """How many elements a box has."""
    return math.prod(lengths(box))
