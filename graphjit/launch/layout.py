"""Where CPython and NumPy keep what a launch reads, and whether that is so in this process.

The offsets are those of CPython's and NumPy's own headers for builds with a global lock. They are
compared with real objects at first use; where one of them does not hold, ``direct`` says no, and
every call goes the portable way.
"""

from __future__ import annotations

import ctypes
import importlib
import sys
import sysconfig
import weakref
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from graphjit.codegen.objects import WORD, word

TYPE = WORD  # of any object
SIZE = 2 * WORD  # of a tuple or list; how many entries a dict has
VALUE = 2 * WORD  # of a float, of a NumPy scalar, and of an int that has one digit: its first word
DIGIT = 3 * WORD
ITEMS = 3 * WORD  # of a list the address of its items
TUPLE_ITEMS = tuple.__basicsize__  # of a tuple the first one
CELL = 2 * WORD  # what a closure's cell holds
DATA, RANK, SHAPE = 2 * WORD, 3 * WORD, 4 * WORD  # of an array
DTYPE, FLAGS, WEAK = 7 * WORD, 8 * WORD, 9 * WORD
SCALAR_TYPE, BYTE_ORDER = 2 * WORD, 3 * WORD + 2  # of a dtype
C_CONTIGUOUS, ALIGNED = 0x1, 0x100
OF_ITS_OWN = 0x1 | 0x4 | 0x100 | 0x400  # contiguous, owns its data, aligned, writeable
IN_FORTRAN = 0x2
PAGE = 4096  # bytes, below which there is nothing
NEW_FROM_DESCR = 94  # in NumPy's table of C functions; the order is part of its binary interface
TP_ALLOC = 47  # CPython's number of a type's slot

FUNCTIONS = (
    "PyDict_GetItemWithError", "PyDict_New", "PyDict_SetItem", "PyErr_Clear", "PyErr_NoMemory",
    "PyEval_RestoreThread", "PyEval_SaveThread", "PyList_New", "PyLong_FromLongLong",
    "PyMem_RawFree", "PyMem_RawMalloc", "PyObject_GenericGetAttr", "PyObject_GenericSetAttr",
    "PyObject_Vectorcall", "PyType_GenericAlloc", "PyTuple_New", "Py_DecRef", "Py_IncRef",
)  # fmt: skip


def pointer(address: int) -> int:
    """The address at an address.

    Raises:
        ValueError: what is there is none.
    """
    found = word(address)
    if found < PAGE or found % WORD:
        raise ValueError(found)
    return found


def number(address: int) -> int:
    """The C int at an address."""
    return ctypes.c_int.from_address(address).value


@cache
def direct() -> bool:
    """Whether objects lie in memory as this module says."""
    if sys.implementation.name != "cpython" or not (3, 11) <= sys.version_info < (3, 15):
        return False
    if WORD != 8 or sysconfig.get_config_var("Py_GIL_DISABLED"):
        return False
    try:
        return all(check() for check in CHECKS) and functions() is not None
    except (AttributeError, OSError, TypeError, ValueError):
        return False


def references_are_known() -> bool:
    """How often an object is referred to, as its first word says."""
    one = object()
    before = word(id(one))
    row = [one] * 5
    return 0 < before < PAGE and word(id(one)) == before + len(row)


def containers_are_known() -> bool:
    """Tuples, lists, dicts and cells."""
    first, second = object(), object()
    pair, row, names = (first, second), [first, second], {"a": first, "b": second, "c": 1}
    cell = (lambda: pair).__closure__[0]  # type: ignore[index]
    inside = [word(id(pair) + TUPLE_ITEMS), word(id(pair) + TUPLE_ITEMS + WORD)]
    listed = [word(pointer(id(row) + ITEMS)), word(pointer(id(row) + ITEMS) + WORD)]
    sizes = [word(id(pair) + SIZE), word(id(row) + SIZE), word(id(names) + SIZE)]
    return (
        inside == listed == [id(first), id(second)]
        and sizes == [2, 2, 3]
        and word(id(pair) + TYPE) == id(tuple)
        and word(id(cell) + CELL) == id(pair)
    )


def integers_are_known() -> bool:
    """Ints of one digit differ in their first word or their digit, and in nothing else."""
    made = [int(text) for text in ("1000", "1000", "-1000", "1001")]
    keys = [(word(id(n) + VALUE), number(id(n) + DIGIT)) for n in made]
    return keys[0] == keys[1] and len(set(keys)) == 3


def arrays_are_known() -> bool:
    """Arrays: data, number of axes, shape, dtype, flags; and dtypes."""
    array = np.zeros((3, 4, 2), np.float32)
    swapped = np.dtype(">i4") if sys.byteorder == "little" else np.dtype("<i4")
    shape = [word(pointer(id(array) + SHAPE) + i * WORD) for i in range(3)]
    orders = [ctypes.c_char.from_address(id(d) + BYTE_ORDER).value for d in (array.dtype, swapped)]
    return (
        word(id(array) + DATA) == array.ctypes.data
        and number(id(array) + RANK) == 3
        and shape == [3, 4, 2]
        and word(id(array) + DTYPE) == id(array.dtype)
        and word(id(array.dtype) + SCALAR_TYPE) == id(np.float32)
        and orders == [b"=", swapped.byteorder.encode()]
        and flags_are_known(array)
        and weak_references_are_known(array)
    )


def flags_are_known(array: np.ndarray[Any, Any]) -> bool:
    """Contiguity and alignment."""
    unaligned = np.frombuffer(bytes(17), np.uint8)[1:].view(np.float64)
    cases = (array, array.T, array[::2], array[:, ::2], unaligned, np.empty(()))
    return all(
        bool(number(id(a) + FLAGS) & C_CONTIGUOUS) == a.flags.c_contiguous
        and bool(number(id(a) + FLAGS) & ALIGNED) == a.flags.aligned
        for a in cases
    )


def weak_references_are_known(array: np.ndarray[Any, Any]) -> bool:
    """Where an array has its weak references, and the flags of one that was just made."""
    none = word(id(array) + WEAK)
    one = weakref.ref(array)
    fresh = number(id(array) + FLAGS) & ~IN_FORTRAN == OF_ITS_OWN
    return fresh and none == 0 and word(id(array) + WEAK) == id(one)


def scalars_are_known() -> bool:
    """The values of floats and of NumPy's scalars."""
    values = [np.dtype(code).type(101.0) for code in "fdbhilqBHILQ"]
    found = [ctypes.string_at(id(v) + VALUE, v.itemsize) for v in values]
    real = ctypes.c_double.from_address(id(number_of("1.25")) + VALUE).value
    return found == [v.tobytes() for v in values] and real == 1.25


def number_of(text: str) -> float:
    """A float that is an object of its own."""
    return float(text)


CHECKS: tuple[Callable[[], bool], ...] = (
    references_are_known,
    containers_are_known,
    integers_are_known,
    arrays_are_known,
    scalars_are_known,
)


@cache
def functions() -> dict[str, int] | None:
    """The addresses of the C functions that a launch calls, or None where one is not as known."""
    found = {name: address_of(getattr(ctypes.pythonapi, name)) for name in FUNCTIONS}
    found["NewFromDescr"] = table = array_function(NEW_FROM_DESCR)
    return found if makes_arrays(table) else None


def address_of(function: Any) -> int:
    """Where a foreign function begins."""
    return ctypes.cast(function, ctypes.c_void_p).value or 0


def c_function(name: str, result: Any, *arguments: Any) -> Any:
    """A function of CPython's C interface, with a prototype that nobody else shares."""
    return ctypes.PYFUNCTYPE(result, *arguments)((name, ctypes.pythonapi))


def array_function(index: int) -> int:
    """An entry of NumPy's table of C functions."""
    module: Any = importlib.import_module("numpy._core._multiarray_umath")
    find = c_function("PyCapsule_GetPointer", ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)
    return word(find(module._ARRAY_API, None) + index * WORD)  # noqa: SLF001 - C has no other


def makes_arrays(address: int) -> bool:
    """Whether a function makes an array of a dtype and shape; it takes a reference to the dtype."""
    kinds = (
        ctypes.py_object, ctypes.py_object, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p,
        ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p,
    )  # fmt: skip
    make = ctypes.PYFUNCTYPE(ctypes.py_object, *kinds)(address)
    dtype, shape = np.dtype(np.float32), (ctypes.c_ssize_t * 2)(3, 4)
    c_function("Py_IncRef", None, ctypes.py_object)(dtype)
    made = make(np.ndarray, dtype, 2, ctypes.addressof(shape), None, None, 0, None)
    return type(made) is np.ndarray and made.shape == (3, 4) and made.dtype is dtype


def allocator(kind: Any) -> int:
    """The function that makes an instance of a type, empty."""
    slot = c_function("PyType_GetSlot", ctypes.c_void_p, ctypes.py_object, ctypes.c_int)
    return slot(kind, TP_ALLOC) or 0
