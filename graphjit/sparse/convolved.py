"""What each element of a convolution depends on: the windows that it is summed over."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from graphjit.ir.graph import Node
from graphjit.ir.table.convolve import OPERANDS, meetings, roles
from graphjit.sparse.sets import Array, Sets, through, union

if TYPE_CHECKING:
    from graphjit.sparse.dependence import Dependence

Shapes = dict[str, tuple[int, ...]]


def of_convolve(d: Dependence, node: Node) -> Sets | None:
    """The union over the places of the kernel, for each operand in turn."""
    of = node.params["of"]
    shapes = {role: d.shape(node, i) for i, role in enumerate(OPERANDS[of])}
    shapes[of] = node.aval.shape
    parts = []
    for position, role in enumerate(OPERANDS[of]):
        sets = d.operand(node, position)
        if sets is not None:
            parts.append(through(links(node, role, shapes), node.aval.size, sets, node))
    return union(parts)


def links(node: Node, role: str, shapes: Shapes) -> tuple[Array, Array]:
    """The numbers of the result's elements, and beside each that of an operand's element."""
    letters, of = roles(node.params["spec"]), node.params["of"]
    bare = {**letters, "w": "".join(c for c in letters["w"] if c.islower())}
    together = bare[of] + "".join(c for c in bare[role] if c not in bare[of])
    found = []
    for place in meetings(letters, shapes, node.params["window"]):
        pair = (aligned(numbered(shapes[r])[place[r]], bare[r], together) for r in (of, role))
        found.append([np.ravel(side) for side in np.broadcast_arrays(*pair)])
    if not found:
        return np.zeros(0, int), np.zeros(0, int)
    targets, sources = (np.concatenate(side) for side in zip(*found, strict=True))
    return targets, sources


def numbered(shape: tuple[int, ...]) -> Array:
    """The elements of an array, counted in C order."""
    return np.arange(int(np.prod(shape))).reshape(shape)


def aligned(x: Array, letters: str, target: str) -> Array:
    """The array with an axis for each letter of ``target``, of length 1 where it has none."""
    kept = [letters.index(c) for c in target if c in letters]
    lengths = iter(x.transpose(kept).shape)
    return x.transpose(kept).reshape([next(lengths) if c in letters else 1 for c in target])
