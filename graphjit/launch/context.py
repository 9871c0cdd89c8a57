"""What one entry reads: addresses of objects and functions, shapes, counts.

Code holds no address, so that the same code serves every function called in the same way. It is
given the address of a block of machine words instead; the objects in it are kept alive here.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphjit.launch.helpers import addresses
from graphjit.launch.layout import functions

# The first words: where a call goes on that does not fit, and the first argument of that; how many
# calls are inside; work memory; two addresses of counts; the program; two results that are kept.
MISS, MISSED, RUNNING, POOL, CALLS, TRACES, KERNEL, KEPT = range(8)
HEAD = KEPT + 2


class Context:
    """The words, and what keeps their meaning alive.

    Attributes:
        kept: Every object whose address is among the words.
        owned: The places of objects that the code itself puts there, and lets go of.
    """

    def __init__(self) -> None:
        self.words = [0] * HEAD
        self.kept: list[Any] = []
        self.owned = [KEPT, KEPT + 1]
        self._places: dict[tuple[str, int], int] = {}

    def number(self, value: int) -> int:
        """The place of a word of its own."""
        self.words.append(value)
        return len(self.words) - 1

    def owner(self) -> int:
        """The place of an object that the code puts there; none at first."""
        self.owned.append(self.number(0))
        return self.owned[-1]

    def object(self, value: Any) -> int:
        """The place of an object's address; the same for the same object."""
        key = ("object", id(value))
        if key not in self._places:
            self.kept.append(value)
            self._places[key] = self.number(id(value))
        return self._places[key]

    def function(self, name: str) -> int:
        """The place of the address of a C function, or of a helper."""
        key = (name, 0)
        if key not in self._places:
            known = functions() or {}
            self._places[key] = self.number(known.get(name) or addresses()[name])
        return self._places[key]

    def block(self, words: Sequence[int]) -> int:
        """The place of several words in a row."""
        place = len(self.words)
        self.words.extend(words)
        return place

    def form(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> int:
        """The place of what an array has to look like: class, dtype, number of axes, extents."""
        known = [np.ndarray, dtype, dtype.type]
        self.kept += known
        order = ord(dtype.byteorder)
        return self.block([*map(id, known), order, len(shape), *shape])

    def data(self, array: np.ndarray[Any, Any]) -> int:
        """The place of the address of an array's contents, which must stay where they are."""
        self.kept.append(array)
        return self.number(array.ctypes.data)

    def sealed(self) -> ctypes.Array[Any]:
        """The block of memory."""
        return (ctypes.c_size_t * len(self.words))(*self.words)
