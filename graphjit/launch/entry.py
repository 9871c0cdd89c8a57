"""Entries in memory: made, linked to one another, and kept while they run."""

from __future__ import annotations

import ctypes
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any

from graphjit.cache.objects import object_code
from graphjit.codegen.code import Code
from graphjit.codegen.native import compiled
from graphjit.launch import layout
from graphjit.launch.context import (
    CALLS,
    KERNEL,
    MISS,
    MISSED,
    POOL,
    RUNNING,
    TRACES,
    Context,
)
from graphjit.launch.kernel import Kernel
from graphjit.launch.render import Call, EntryWriter
from graphjit.launch.vectorcall import point

CODES = 256  # kinds of calls whose code is kept for the next function that is called so
LEVEL = 0  # of code generation: there are no loops, and a higher one takes five times as long
MOST = 8  # kinds of calls of one function that are tried one after the other
FREE = layout.c_function("PyMem_RawFree", None, ctypes.c_void_p)  # neither minds a null
LET_GO = layout.c_function("Py_DecRef", None, ctypes.c_void_p)

_codes: OrderedDict[str, Code] = OrderedDict()


def code_of(text: str) -> Code:
    """The code of a module: made once a process, or found on disk."""
    known = _codes.pop(text, None)
    if known is None:
        content, _ = object_code(text, lambda: compiled(text, LEVEL), LEVEL)
        known = Code(content, {})
    _codes[text] = known
    while len(_codes) > CODES:
        _codes.popitem(last=False)
    return known


class Entry:
    """Native code for one kind of call of one compiled function.

    Args:
        call: The kind of call.
        kernel: The program.
        offset: Where the callable has its two words.
        calls: The address of a count of calls.
        traces: The address of a count of traces that are under way.

    Raises:
        Unexpected: a part of the call that is not launched natively; it says which.
    """

    def __init__(self, call: Call, kernel: Kernel, offset: int, calls: int, traces: int) -> None:
        context = Context()
        text = EntryWriter(call, kernel, context, offset).module()
        self._code = code_of(text)
        self._kept = (context.kept, kernel)
        context.words[CALLS], context.words[TRACES] = calls, traces
        context.words[KERNEL] = kernel.address
        self._words, self._owned = context.sealed(), tuple(context.owned)
        self.start, self.body = self._code.address("entry"), self._code.address("body")

    @property
    def context(self) -> int:
        """The address of what it reads."""
        return ctypes.addressof(self._words)

    @property
    def running(self) -> bool:
        """Whether a call is inside."""
        return bool(self._words[RUNNING])

    def otherwise(self, code: int, first: int) -> None:
        """What a call of another kind goes on to, and the first argument of that."""
        self._words[MISS : MISSED + 1] = [code, first]  # in one step of the interpreter

    # When Python ends, the names of this module may be gone before its last objects.
    def __del__(self, _pool: int = POOL, _free: Any = FREE, _let_go: Any = LET_GO) -> None:
        words = getattr(self, "_words", None)
        if words is not None:
            _free(words[_pool])
            for place in self._owned:
                _let_go(words[place])


class Launcher:
    """The entries of one callable object, in the order in which they are tried.

    Args:
        instance: The object; it is not kept alive.
        call: What answers a call in Python, given the object first.
    """

    def __init__(self, instance: Any, call: Callable[..., Any]) -> None:
        self._reference = reference = weakref.ref(instance)
        self._entries: dict[Any, Entry] = {}
        self._retired: list[Entry] = []

        def slow(*args: Any, **kwargs: Any) -> Any:
            return call(reference(), *args, **kwargs)

        self._slow = slow

    def install(self, key: Any, entry: Entry) -> None:
        """Let calls try this entry first."""
        self._retire([key])
        self._entries = {key: entry, **self._entries}
        self._retire(list(self._entries)[MOST:])
        self._link()

    def discard(self, keys: Iterable[Any]) -> None:
        """Let calls go past these entries."""
        self._retire(keys)
        self._link()

    def _retire(self, keys: Iterable[Any]) -> None:
        """Keep an entry that is running; forget those that no longer are."""
        gone = [self._entries.pop(key) for key in keys if key in self._entries]
        self._retired = [entry for entry in (*self._retired, *gone) if entry.running]

    def _link(self) -> None:
        """Let each entry go on to the next, and the last one to Python."""
        code, first = (layout.functions() or {})["PyObject_Vectorcall"], id(self._slow)
        start = 0
        for entry in reversed(self._entries.values()):
            entry.otherwise(code, first)
            start, code, first = entry.start, entry.body, entry.context
        point(self._reference(), start, first if start else 0)
