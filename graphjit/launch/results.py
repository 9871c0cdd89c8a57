"""Make what a call returns, natively: arrays, NumPy scalars, containers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphjit.codegen.objects import WORD
from graphjit.launch import layout
from graphjit.launch.arguments import plain
from graphjit.launch.context import Context
from graphjit.launch.large import is_large
from graphjit.launch.reuse import LargeArray
from graphjit.launch.text import Text
from graphjit.launch.trees import PLAIN, Marker, Unexpected, children


def is_constant(value: Any) -> bool:
    """Whether a call can return the very object that the traced one returned."""
    plain = value is None or type(value) in (*PLAIN, float)
    return plain or isinstance(value, np.number | np.bool_) or (type(value) is tuple and not value)


class Results:
    """Writes the text that makes and packs the outputs.

    Whatever is made lies in a row of owned objects until it is part of something else, so that
    a failure on the way lets go of all.

    Attributes:
        addresses: Where the program writes each output.
        owned: How many places the row has.
    """

    def __init__(
        self, text: Text, context: Context,
        outputs: Sequence[tuple[tuple[int, ...], np.dtype[Any]]],
    ) -> None:  # fmt: skip
        self.text, self.context, self.outputs = text, context, outputs
        self.addresses: list[str] = []
        self.owned = 0
        self.objects: dict[int, tuple[str, int]] = {}
        self.used: set[int] = set()

    def allocated(self) -> None:
        """Fresh arrays, and room on the stack for scalars."""
        for index, (shape, dtype) in enumerate(self.outputs):
            if shape:
                self.fresh(index, shape, plain(dtype))
            else:
                self.addresses.append(self.text.room(f"i{8 * plain(dtype).itemsize}"))

    def fresh(self, index: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        """An array of a form; making it takes a reference to the dtype."""
        text, form = self.text, self.context.form(shape, dtype)
        large = LargeArray(text, self.context, shape, form) if is_large(shape, dtype) else None
        if large is not None:
            large.attempted()
        known = text.word(form + 1)
        text.call(self.context.function("Py_IncRef"), "void", f"ptr {known}")
        made = text.call(
            self.context.function("NewFromDescr"), "ptr", f"ptr {text.word(form)}", f"ptr {known}",
            f"i32 {len(shape)}", f"ptr {text.slot(form + 5)}", "ptr null", "ptr null", "i32 0",
            "ptr null",
        )  # fmt: skip
        if large is not None:
            text.demand(f"icmp ne ptr {made}, null", "failed")
            made = large.kept(made)
        self.objects[index] = (made, self.own(made))
        self.addresses.append(text.load(made, layout.DATA))

    def own(self, made: str) -> int:
        """Put an object that was just made in the row; null is a failure."""
        self.text.demand(f"icmp ne ptr {made}, null", "failed")
        self.text.store(f"ptr {made}", "%owned", WORD * self.owned)
        self.owned += 1
        return self.owned - 1

    def given(self, place: int) -> None:
        """An object of the row has another owner now."""
        self.text.store("ptr null", "%owned", WORD * place)

    def let_go(self, made: str) -> None:
        """Give up a reference."""
        self.text.call(self.context.function("Py_DecRef"), "void", f"ptr {made}")

    def returned(self, shown: Any) -> str:
        """What the call returns, with the outputs in the places of the markers."""
        made, _ = self.packed(shown)
        for index, (array, _) in self.objects.items():
            if index not in self.used and self.outputs[index][0]:
                self.let_go(array)
        return made

    def packed(self, shown: Any) -> tuple[str, int]:
        """One part of the result, and its place in the row.

        Raises:
            Unexpected: what cannot be made natively.
        """
        if type(shown) is Marker:
            return self.output(shown.index)
        if is_constant(shown):
            return self.known(shown)
        parts = list(shown.items()) if type(shown) is dict else children(shown)
        if parts is None:
            raise Unexpected(f"a result of type {type(shown).__name__}")
        inside = [(key, *self.packed(part)) for key, part in parts]
        return self.container(type(shown), inside)

    def container(self, kind: type, inside: list[tuple[Any, str, int]]) -> tuple[str, int]:
        """A container of objects that it takes over."""
        if kind is dict:
            return self.mapping(inside)
        if kind in (tuple, list):
            return self.row(kind, inside)
        return self.named(kind, inside) if issubclass(kind, tuple) else self.fields(kind, inside)

    def known(self, value: Any) -> tuple[str, int]:
        """An object that is there already."""
        return self.again(self.text.word(self.context.object(value)))

    def again(self, made: str) -> tuple[str, int]:
        """One more reference to an object."""
        self.text.call(self.context.function("Py_IncRef"), "void", f"ptr {made}")
        return made, self.own(made)

    def output(self, index: int) -> tuple[str, int]:
        """An output's object; a result may have it in more than one place."""
        if index in self.used:
            return self.again(self.objects[index][0])
        if not self.outputs[index][0]:
            self.objects[index] = self.scalar(self.addresses[index], self.outputs[index][1])
        self.used.add(index)
        return self.objects[index]

    def scalar(self, address: str, dtype: np.dtype[Any]) -> tuple[str, int]:
        """A NumPy scalar of the value at an address."""
        text, context = self.text, self.context
        value = text.load(address, 0, f"i{8 * dtype.itemsize}")
        if dtype.kind == "b":
            both = [f"ptr {text.word(context.object(b))}" for b in (np.True_, np.False_)]
            held = text.let(f"icmp ne i8 {value}, 0")
            return self.again(text.let(f"select i1 {held}, {', '.join(both)}"))
        kind = text.word(context.object(dtype.type))
        make = context.number(layout.allocator(dtype.type))
        made = text.call(make, "ptr", f"ptr {kind}", "i64 0")
        place = self.own(made)
        text.store(f"i{8 * dtype.itemsize} {value}", made, layout.VALUE)
        return made, place

    def row(self, kind: type, inside: list[tuple[Any, str, int]]) -> tuple[str, int]:
        """A tuple or a list, which takes over its items."""
        make = self.context.function("PyTuple_New" if kind is tuple else "PyList_New")
        made = self.text.call(make, "ptr", f"i64 {len(inside)}")
        place = self.own(made)
        items = self.text.at(made, layout.TUPLE_ITEMS) if kind is tuple else ""
        if kind is list and inside:
            items = self.text.load(made, layout.ITEMS)
        for index, (_, item, own) in enumerate(inside):
            self.text.store(f"ptr {item}", items, WORD * index)
            self.given(own)
        return made, place

    def mapping(self, inside: list[tuple[Any, str, int]]) -> tuple[str, int]:
        """A dict, which takes references of its own."""
        made = self.text.call(self.context.function("PyDict_New"), "ptr")
        place = self.own(made)
        put = self.context.function("PyDict_SetItem")
        for key, item, own in inside:
            known = self.text.word(self.context.object(key))
            code = self.text.call(put, "i32", f"ptr {made}", f"ptr {known}", f"ptr {item}")
            self.text.demand(f"icmp eq i32 {code}, 0", "failed")
            self.given(own)
            self.let_go(item)
        return made, place

    def named(self, kind: type, inside: list[tuple[Any, str, int]]) -> tuple[str, int]:
        """A named tuple: its class is called."""
        text = self.text
        row = text.room(f"[{max(len(inside), 1)} x ptr]")
        for index, (_, item, _) in enumerate(inside):
            text.store(f"ptr {item}", row, WORD * index)
        known = text.word(self.context.object(kind))
        call = self.context.function("PyObject_Vectorcall")
        made = text.call(
            call, "ptr", f"ptr {known}", f"ptr {row}", f"i64 {len(inside)}", "ptr null"
        )
        place = self.own(made)
        for _, item, own in inside:
            self.given(own)
            self.let_go(item)
        return made, place

    def fields(self, kind: type, inside: list[tuple[Any, str, int]]) -> tuple[str, int]:
        """A dataclass; as elsewhere in the library, without running its ``__init__``."""
        text, context = self.text, self.context
        known = text.word(context.object(kind))
        make, put = map(context.function, ("PyType_GenericAlloc", "PyObject_GenericSetAttr"))
        made = text.call(make, "ptr", f"ptr {known}", "i64 0")
        place = self.own(made)
        for key, item, own in inside:
            name = text.word(context.object(key))
            code = text.call(put, "i32", f"ptr {made}", f"ptr {name}", f"ptr {item}")
            text.demand(f"icmp eq i32 {code}, 0", "failed")
            self.given(own)
            self.let_go(item)
        return made, place

    def cleared(self) -> None:
        """Let go of all that the row holds."""
        text, count = self.text, self.owned
        text.put("br label %letting")
        text.label("letting")
        text.put("%which = phi i64 [ 0, %failed ], [ %which_, %let ]")
        text.put(f"%some = icmp ult i64 %which, {count}")
        text.put("br i1 %some, label %let, label %gone")
        text.label("let")
        text.put("%held_ = getelementptr ptr, ptr %owned, i64 %which")
        text.put("%held = load ptr, ptr %held_")
        self.let_go("%held")  # of null too
        text.put("%which_ = add i64 %which, 1")
        text.put("br label %letting")
        text.label("gone")
