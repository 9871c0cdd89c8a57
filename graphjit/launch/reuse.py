"""Results that nobody holds any more are filled again, as ``zip`` does with its tuples.

Of a large array it is the memory that counts: for new one, the system clears page by page.

A result of tuples and NumPy scalars is most of what a short call costs. The last two are kept: two,
since a loop that assigns the result still holds the one before while the next is computed. A tree
is filled again only where every reference to every object of it is its own; then nobody can see
that it is not a new one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from graphjit.codegen.objects import WORD
from graphjit.launch import layout
from graphjit.launch.context import KEPT, Context
from graphjit.launch.text import Text
from graphjit.launch.trees import Marker

MOST = 16  # objects of a result; more would cost more to look at than it saves


def reusable(shown: Any, outputs: Sequence[tuple[tuple[int, ...], np.dtype[Any]]]) -> bool:
    """Whether a result has only tuples and scalars, each output once, and few of them."""
    inside = list(objects(shown))
    markers = [value.index for value in inside if type(value) is Marker]
    plain = all(type(value) is Marker or (type(value) is tuple and value) for value in inside)
    if not plain or len(inside) > MOST or len(set(markers)) < len(markers):
        return False
    # From Python 3.14 on a tuple remembers its hash.
    known = layout.TUPLE_ITEMS == layout.ITEMS or type(shown) is Marker
    return known and all(not outputs[i][0] and outputs[i][1].kind != "b" for i in markers)


def objects(shown: Any) -> Iterator[Any]:
    """A result and all that is in it."""
    yield shown
    for part in shown if type(shown) is tuple else ():
        yield from objects(part)


class LargeArray:
    """Writes the text that fills a large array again: the last two of an output are kept.

    One serves only if nobody else refers to it, weakly neither, and if it is as it was made.
    """

    def __init__(self, text: Text, context: Context, shape: tuple[int, ...], form: int) -> None:
        self.text, self.context, self.shape, self.form = text, context, shape, form
        self.newer, self.older = context.owner(), context.owner()
        self.found, self.ready = text.room("ptr"), text.name()

    def attempted(self) -> None:
        """Take one of those that are kept, if one is free, and go on where there is an array."""
        for place in (self.newer, self.older):
            busy = self.text.name()
            array = self.text.word(place)
            self.free(array, busy)
            self.text.call(self.context.function("Py_IncRef"), "void", f"ptr {array}")
            self.go_on(array)
            self.text.label(busy)

    def free(self, array: str, busy: str) -> None:
        """Look whether a kept array is there, nobody else's, and as it was made."""
        text = self.text
        text.demand(f"icmp ne ptr {array}, null", busy)
        extents = text.load(array, layout.SHAPE)
        flags = text.load(array, layout.FLAGS, "i32")
        known = [
            ("i64", text.load(array, 0, "i64"), 1),
            ("i64", text.load(array, layout.WEAK, "i64"), 0),
            ("ptr", text.load(array, layout.DTYPE), text.word(self.form + 1)),
            ("i32", text.load(array, layout.RANK, "i32"), len(self.shape)),
            ("i32", text.let(f"and i32 {flags}, {~layout.IN_FORTRAN}"), layout.OF_ITS_OWN),
        ]
        for kind, value, expected in known:
            text.demand(f"icmp eq {kind} {value}, {expected}", busy)
        for axis, extent in enumerate(self.shape):
            own = text.load(extents, WORD * axis, "i64")
            text.demand(f"icmp eq i64 {own}, {extent}", busy)

    def kept(self, made: str) -> str:
        """Keep a new array in the place of the older one, and go on; the array that there is."""
        keep(self.text, self.context, made, self.newer, self.older)
        self.go_on(made)
        self.text.label(self.ready)
        return self.text.load(self.found)

    def go_on(self, array: str) -> None:
        """There is an array."""
        self.text.store(f"ptr {array}", self.found)
        self.text.put(f"br label %{self.ready}")


def keep(text: Text, context: Context, made: str, newer: int, older: int) -> None:
    """Keep a new object in the place of the older of two."""
    before, last = text.word(older), text.word(newer)
    text.call(context.function("Py_IncRef"), "void", f"ptr {made}")
    text.put(f"store ptr {made}, ptr {text.slot(newer)}")
    text.put(f"store ptr {last}, ptr {text.slot(older)}")
    text.call(context.function("Py_DecRef"), "void", f"ptr {before}")


class Reuse:
    """Writes the text that fills a result again, and that keeps it."""

    def __init__(
        self, text: Text, context: Context, addresses: Sequence[str],
        outputs: Sequence[tuple[tuple[int, ...], np.dtype[Any]]],
    ) -> None:  # fmt: skip
        self.text, self.context, self.addresses = text, context, addresses
        self.outputs = outputs

    def attempted(self, shown: Any, returned: str) -> None:
        """Fill one of the results that are kept and go to where it is returned, if one is free."""
        text = self.text
        for slot in (KEPT, KEPT + 1):
            busy, root = text.name(), text.word(slot)
            text.demand(f"icmp ne ptr {root}, null", busy)
            places = list(self.free(shown, root, busy))
            for index, place in places:
                kind = f"i{8 * self.outputs[index][1].itemsize}"
                value = text.load(self.addresses[index], 0, kind)
                text.store(f"{kind} {value}", place, layout.VALUE)
            text.call(self.context.function("Py_IncRef"), "void", f"ptr {root}")
            text.put(f"store ptr {root}, ptr {returned}")
            text.put("br label %done")
            text.label(busy)

    def free(self, shown: Any, place: str, busy: str) -> Iterator[tuple[int, str]]:
        """Look whether an object has one reference, and all that is in it; the scalars."""
        references = self.text.load(place, 0, "i64")
        self.text.demand(f"icmp eq i64 {references}, 1", busy)
        if type(shown) is Marker:
            yield shown.index, place
            return
        for index, part in enumerate(shown):
            inside = self.text.load(place, layout.TUPLE_ITEMS + WORD * index)
            yield from self.free(part, inside, busy)

    def kept(self, made: str) -> None:
        """Keep a new result in the place of the older one."""
        keep(self.text, self.context, made, KEPT, KEPT + 1)
