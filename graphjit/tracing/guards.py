"""What a trace relied on beside its arguments, and whether it is still so.

A traced function reads closure cells, globals, defaults and attributes of ``self``; Python did
that once, while tracing. Guards remember what was found there, and are asked before every call.
Arrays are remembered by identity, because they are inputs of the program and later contents are
seen. Their *contents* are remembered too where the trace may have used them in Python: see
``Guards.freeze``.

What a function reads is found by ``graphjit.tracing.reads``, which says what is not seen.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from graphjit.tracing.names import is_library
from graphjit.tracing.reads import SCALARS, Reading, Reads

UNUSED = (623, 624)  # positions of a Mersenne Twister from which nothing was drawn
SMALL = 512  # bytes that are compared in about 0.2 microseconds


class Guards:
    """The places a function read, with what was found there.

    Attributes:
        arrays: The arrays found, by what the user calls them.
        generators: The random generators found.
        frozen: The names of the arrays whose elements the trace may have read in Python.
    """

    frozen: tuple[str, ...] = ()

    def __init__(self, function: Callable[..., Any], reads: Reads | None = None) -> None:
        # Of the readings only the places are kept: a guard must not keep the function alive.
        reads = Reads(function) if reads is None else reads
        self.arrays, self.generators = reads.arrays, reads.generators
        self._contents: list[tuple[np.ndarray[Any, Any], bytes, str]] = []
        self._absent, self._sizes = tuple(reads.absent), tuple(reads.sizes)
        cells = [r for r in reads.readings if isinstance(r.container, types.CellType)]
        self._cells = tuple((r.container, r.value, r.name) for r in cells)
        bound = set(map(id, cells))
        self._items = tuple(r for r in reads.readings if id(r) not in bound and rebindable(r))

    def changed(self) -> str:
        """What is no longer as it was, or an empty string."""
        for container, key, expected, name in self._items:
            try:
                found = container[key]
            except (KeyError, IndexError):
                return f"{name} is gone"
            if found is not expected and not same(found, expected):
                return difference(name, expected, found)
        return self._cells_changed() or self._insides_changed()

    def _cells_changed(self) -> str:
        for cell, expected, name in self._cells:
            try:
                found = cell.cell_contents
            except ValueError:
                return f"{name} is gone"
            if found is not expected and not same(found, expected):
                return difference(name, expected, found)
        return ""

    def _insides_changed(self) -> str:
        for container, size, name in self._sizes:
            if len(container) != size:
                return f"{name} has {len(container)} entries, not {size}"
        for namespace, key, name in self._absent:
            if key in namespace:
                return f"{name} was rebound"
        for array, contents, name in self._contents:
            if array.tobytes() != contents:
                return f"the contents of {name} changed while Python code depends on them"
        return ""

    def conditions(self) -> tuple[Any, ...]:
        """What ``changed`` compares, for those who compare it natively.

        Items, cells, sizes, absent names and contents, each without its name.
        """
        groups = (self._items, self._cells, self._sizes, self._absent, self._contents)
        return tuple([tuple(row[:-1]) for row in group] for group in groups)

    def freeze(self, captured: list[Any], *, computed: bool) -> None:
        """Guard the contents of arrays whose elements the trace may have read in Python."""
        self.hold(self.exposed(captured, computed=computed))

    def hold(self, names: Iterable[str]) -> None:
        """Guard the contents of these arrays, but for large ones that nothing can write to."""
        self.frozen = tuple(names)
        for name in self.frozen:
            array = self.arrays[name]
            if array.nbytes <= SMALL or array.flags.writeable or array.base is not None:
                self._contents.append((array, array.tobytes(), name))

    def exposed(self, captured: list[Any], *, computed: bool) -> list[str]:
        """The names of the arrays whose elements the trace may have read in Python.

        ``if scale[0] > 1`` or ``np.linalg.inv(a)`` on a plain array is computed once, while
        tracing. An array is exposed to that if it is small; or if it is no input of the program,
        so that it was read in Python or not at all; or if the trace met values ``computed`` by
        NumPy from plain arrays.
        """
        inputs = set(map(id, captured))
        return [
            name
            for name, array in self.arrays.items()
            if computed or array.nbytes <= SMALL or id(array) not in inputs
        ]


def rebindable(reading: Reading) -> bool:
    """Whether to ask for a value again: not for ``np``, nor for a library's ``norm``."""
    value = reading.value
    if reading.container is None or (is_library(value) and isinstance(value, types.ModuleType)):
        return False
    return not is_library(value) or getattr(value, "__name__", "") != reading.key


def same(found: Any, expected: Any) -> bool:
    """Whether a rebound value changes nothing: an equal scalar of the same type."""
    if type(found) is not type(expected) or not isinstance(found, SCALARS):
        return False
    return bool(found == expected) and repr(found) == repr(expected)  # 0.0 is not -0.0


def difference(name: str, expected: Any, found: Any) -> str:
    """What changed, for the list of recompilations."""
    if isinstance(expected, SCALARS) and isinstance(found, SCALARS):
        return f"{name}: {expected!r} -> {found!r}"
    return f"{name} was rebound"


def random_states(function: Callable[..., Any]) -> Iterator[tuple[str, Any]]:
    """The random state that a function can reach: its generators' and NumPy's global one."""
    for name, generator in Guards(function).generators.items():
        yield name, repr(generator.bit_generator.state)
    if "numpy.random" not in sys.modules:
        yield "np.random", UNUSED
        return
    state: Any = np.random.get_state(legacy=False)  # noqa: NPY002 - the legacy state is meant
    inner, gauss = state["state"], state["has_gauss"]
    fresh = inner["pos"] in UNUSED and not gauss
    yield "np.random", UNUSED if fresh else (inner["pos"], inner["key"][:8].tobytes(), gauss)
