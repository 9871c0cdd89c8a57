"""Lower what walks along one axis in order: running sums, recurrences, the place of an extreme."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from graphjit.codegen.loops import (
    Address,
    Buffer,
    Constant,
    For,
    Index,
    Let,
    Load,
    Scalar,
    Statement,
    Store,
    Value,
)
from graphjit.codegen.nest import NAMES
from graphjit.ir.graph import Node
from graphjit.ir.view import View, contiguous

Read = tuple[Buffer, View]


def element(read: Read, order: list[int]) -> Address:
    """The element at the loop indices, the loops walking the axes in the given order."""
    buffer, view = read
    terms = tuple((NAMES[d], view.strides[a]) for d, a in enumerate(order) if view.strides[a])
    return Address(buffer, view.offset, terms)


def nested(shape: tuple[int, ...], order: list[int], body: list[Statement]) -> list[Statement]:
    """Loops over all but the last axis of the order, around a body that has the last loop."""
    for d in reversed(range(len(order) - 1)):
        body = [For(NAMES[d], shape[order[d]], body)]
    return body


def scan(
    node: Node, operands: list[Read], out: Buffer, fresh: Callable[[], str]
) -> list[Statement]:
    """A carry along the axis: carry = carry + x, or carry = a carry + b."""
    shape, axis = node.aval.shape, node.params["axis"]
    order = [a for a in range(len(shape)) if a != axis] + [axis]
    dtype, origin = node.aval.dtype, node.origin
    carry = Value(fresh(), dtype)
    loads = [Load(Value(fresh(), dtype), element(read, order), origin) for read in operands]
    body: list[Statement] = [*loads]
    if node.op == "recurrence":
        body.append(Let(carry, "multiply", (loads[0].value, carry), origin=origin))
    body.append(Let(carry, "add", (carry, loads[-1].value), origin=origin))
    body.append(Store(element((out, contiguous(shape)), order), carry, "", origin))
    start = Let(carry, "copy", (Constant(0, dtype),), origin=origin)
    loop = For(NAMES[len(order) - 1], shape[axis], body, reverse=node.params["reverse"])
    return nested(shape, order, [start, loop])


def locate(node: Node, read: Read, out: Buffer, fresh: Callable[[], str]) -> list[Statement]:
    """The first index of the extreme element along an axis; a NaN counts as extreme."""
    buffer, view = read
    (axis,) = node.params["axes"]
    order = [a for a in range(len(view.shape)) if a != axis] + [axis]
    index = NAMES[len(order) - 1]
    best, place = Value(fresh(), buffer.dtype), Value(fresh(), node.aval.dtype)
    here, x = Value(fresh(), node.aval.dtype), Value(fresh(), buffer.dtype)
    compare = "greater" if node.op == "argmax" else "less"
    first = element((buffer, view), order[:-1])
    body: list[Statement] = [
        Load(x, element(read, order), node.origin),
        Index(here, 0, ((index, 1),)),
        *better(x, best, compare, fresh),
    ]
    wins = body[-1].value  # type: ignore[union-attr]
    body += [
        Let(best, "select", (wins, x, best), origin=node.origin),
        Let(place, "select", (wins, here, place), origin=node.origin),
    ]
    kept = tuple(n for a, n in enumerate(view.shape) if a != axis)
    steps = contiguous(kept).strides
    target = Address(out, 0, tuple((NAMES[d], s) for d, s in enumerate(steps)))
    start: list[Statement] = [
        Load(best, first, node.origin),
        Let(place, "copy", (Constant(0, node.aval.dtype),)),
    ]
    loop = For(index, view.shape[axis], body)
    return nested(view.shape, order, [*start, loop, Store(target, place, "", node.origin)])


def better(x: Value, best: Value, compare: str, fresh: Callable[[], str]) -> list[Statement]:
    """Whether x takes the lead: it beats the best, or is the first NaN."""
    boolean = np.dtype(bool)
    beats, nan, lead, first, wins = (Value(fresh(), boolean) for _ in range(5))
    pairs: list[tuple[Value, str, tuple[Scalar, ...]]] = [
        (beats, compare, (x, best)),
        (nan, "not_equal", (x, x)),
        (lead, "equal", (best, best)),
        (first, "logical_and", (nan, lead)),
        (wins, "logical_or", (beats, first)),
    ]
    return [Let(value, op, operands) for value, op, operands in pairs]
