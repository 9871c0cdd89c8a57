"""A class whose instances can be called natively.

CPython calls an object through a pointer inside it, where its type says that there is one. A
class written in Python cannot say so; a subclass made by the C interface can. Its instances have
two more words: the pointer, and what the native code reads. While the pointer is null, a call
is the Python class's own ``__call__``.
"""

from __future__ import annotations

import ctypes
import weakref
from typing import Any

from graphjit.codegen.objects import WORD
from graphjit.launch.layout import c_function, direct

HAVE_VECTORCALL, HAVE_GC, BASETYPE, DEFAULT = 1 << 11, 1 << 14, 1 << 10, 1 << 18
PY_SSIZE, READ_ONLY, MEMBERS = 19, 1, 72  # CPython's numbers of a kind of member, a flag, a slot
MADE, OFFSET = "_native_class", "_native_offset"


class Member(ctypes.Structure):
    """``PyMemberDef``."""

    _fields_ = (
        ("name", ctypes.c_char_p), ("kind", ctypes.c_int), ("offset", ctypes.c_ssize_t),
        ("flags", ctypes.c_int), ("doc", ctypes.c_char_p),
    )  # fmt: skip


class Slot(ctypes.Structure):
    """``PyType_Slot``."""

    _fields_ = (("number", ctypes.c_int), ("value", ctypes.c_void_p))


class Spec(ctypes.Structure):
    """``PyType_Spec``."""

    _fields_ = (
        ("name", ctypes.c_char_p), ("size", ctypes.c_int), ("item", ctypes.c_int),
        ("flags", ctypes.c_uint), ("slots", ctypes.POINTER(Slot)),
    )  # fmt: skip


_kept: list[Any] = []  # CPython reads some of a description as long as the type lives


def native_class(cls: type) -> type:
    """The subclass of a Python class that is called natively, or the class where none can be."""
    known: type | None = cls.__dict__.get(MADE)
    if known is None:
        if OFFSET in cls.__dict__ or not direct():
            return cls
        known = made(cls)
        setattr(cls, MADE, known)
    return known


def python_class(cls: type) -> type:
    """The class that a native class was made from."""
    return cls.__base__ if OFFSET in cls.__dict__ and cls.__base__ else cls


def made(cls: type) -> type:
    """A native subclass; the class itself where the C interface refuses."""
    offset = cls.__basicsize__
    members = (Member * 2)(Member(b"__vectorcalloffset__", PY_SSIZE, offset, READ_ONLY, None))
    slots = (Slot * 2)(Slot(MEMBERS, ctypes.addressof(members)))
    name = f"{cls.__module__}.{cls.__name__}".encode()
    flags = DEFAULT | BASETYPE | HAVE_VECTORCALL
    spec = Spec(name, offset + 2 * WORD, 0, flags, slots)
    build = c_function(
        "PyType_FromSpecWithBases", ctypes.py_object, ctypes.c_void_p, ctypes.py_object
    )
    try:
        result: type = build(ctypes.addressof(spec), (cls,))
    except (SystemError, TypeError):
        return cls
    _kept.append((name, members, slots, spec))
    setattr(result, OFFSET, offset)
    if not is_sound(result, cls):
        return cls
    result.__qualname__, result.__doc__ = cls.__qualname__, cls.__doc__
    return result


def is_sound(made: type, cls: type) -> bool:
    """Whether the type has what is needed: the flag, the words, and all that its base has."""
    wanted, managed = HAVE_VECTORCALL | HAVE_GC, 3 << 3  # dict and weak references
    if made.__flags__ & wanted != wanted or (made.__flags__ ^ cls.__flags__) & managed:
        return False
    if made.__basicsize__ != cls.__basicsize__ + 2 * WORD or made.__itemsize__:
        return False
    instance: Any = object.__new__(made)
    object.__setattr__(instance, "probe", made)
    found = vars(instance) == {"probe": made} and weakref.ref(instance)() is instance
    return found and words_of(instance)[:] == [0, 0]


def native_offset(instance: Any) -> int | None:
    """Where an object's two words are, or None where it has none."""
    return type(instance).__dict__.get(OFFSET)


def words_of(instance: Any) -> Any:
    """The two words of an object, as an array in place."""
    offset = native_offset(instance)
    assert offset is not None  # noqa: S101 - its class is native
    return (ctypes.c_size_t * 2).from_address(id(instance) + offset)


def point(instance: Any, code: int, context: int) -> None:
    """Let calls of an object run native code; null gives them back to Python.

    Both words are written in one step of the interpreter: no call sees one of them alone.
    """
    words_of(instance)[0:2] = [code, context]
