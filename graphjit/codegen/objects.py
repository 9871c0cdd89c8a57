"""Where CPython and NumPy keep what a program reads of its arguments, and whether they do."""

from __future__ import annotations

import ctypes
from functools import cache

import numpy as np

WORD = ctypes.sizeof(ctypes.c_void_p)
ITEMS = 3 * WORD  # of a tuple: after the reference count, the type and the size
DATA = 2 * WORD  # of an array the pointer to its data, of a float and a NumPy scalar the value


def word(address: int) -> int:
    """The machine word at an address."""
    return ctypes.c_size_t.from_address(address).value


@cache
def direct() -> bool:
    """Whether tuples, arrays and scalars lie in memory as CPython and NumPy lay them out."""
    array, real, strong = np.arange(3.0), 1.25, np.float32(2.5)
    pack = (array, real)
    try:
        items = [word(id(pack) + ITEMS), word(id(pack) + ITEMS + WORD)]
        data = word(id(array) + DATA)
        values = (
            ctypes.c_double.from_address(id(real) + DATA).value,
            ctypes.c_float.from_address(id(strong) + DATA).value,
        )
    except (OSError, ValueError):
        return False
    return items == [id(array), id(real)] and data == array.ctypes.data and values == (1.25, 2.5)
