"""The functions of C that SciPy calls back, and which of them a program can be."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphjit.errors import CompileError
from graphjit.exports.entry import Entry, held, returns_number
from graphjit.exports.form import Form, Item
from graphjit.exports.names import unknown
from graphjit.ir.aval import DType
from graphjit.tracing.origin import user_line

DOUBLE, INTP = np.dtype(np.float64), np.dtype(np.intp)
DOUBLES = ctypes.POINTER(ctypes.c_double)
OTHERWISE = "0"  # what an ndimage callback returns for an error; 1 is success


@dataclass(frozen=True)
class Callback:
    """A function that SciPy calls.

    Attributes:
        kinds: What it returns, then what it takes, for ctypes.
        needs: What a program must be like.
        suits: Whether one is.
        entry: Writes the function.
    """

    kinds: tuple[Any, ...]
    needs: str
    suits: Callable[[Form], bool]
    entry: Callable[[Form, str], Entry]


def callback(form: Form, signature: str | None) -> tuple[str, Callback]:
    """The callback of a signature, or the first that the program can be.

    Raises:
        CompileError: there is none, or the program is of another form.
    """
    if form.program.checks:
        raise CompileError(
            "the function checks indices, and SciPy's callbacks cannot say which was out of range",
            origin=user_line(),
            hint="Use graphjit.native(f, args).ctypes, which raises IndexRangeError.",
        )
    if signature is None:
        fitting = [name for name, c in CALLBACKS.items() if c.suits(form)]
        if not fitting:
            raise mismatch(form, "SciPy has no callback of this form", next(iter(CALLBACKS)))
        return fitting[0], CALLBACKS[fitting[0]]
    name = " ".join(signature.replace("intptr_t", "npy_intp").split())
    if name not in CALLBACKS:
        raise unknown("callback", signature, CALLBACKS)
    if not CALLBACKS[name].suits(form):
        raise mismatch(form, f"the function cannot be called as {name!r}", name)
    return name, CALLBACKS[name]


def mismatch(form: Form, fact: str, name: str) -> CompileError:
    """The error for a program of another form."""
    shown = tuple(f"{i.label}: {i.aval}" for i in (*form.inputs, *form.outputs))
    return CompileError(
        fact, origin=user_line(), operands=shown, hint=f"{name} takes {CALLBACKS[name].needs}."
    )


# -- which ---------------------------------------------------------------------------------------


def is_array(items: tuple[Item, ...], dtype: DType) -> bool:
    """Whether there is one, an array of a dtype."""
    return len(items) == 1 and not items[0].scalar and items[0].aval.dtype == dtype


def is_number(items: tuple[Item, ...]) -> bool:
    """Whether there is one, a float64 of one element."""
    return len(items) == 1 and items[0].aval.dtype == DOUBLE and items[0].aval.size == 1


def are_numbers(items: tuple[Item, ...]) -> bool:
    """Whether all are float64 scalars, and there are some."""
    return bool(items) and all(i.scalar and i.aval.dtype == DOUBLE for i in items)


def one_number(form: Form) -> bool:
    """Of one number a number."""
    return len(form.inputs) == 1 and are_numbers(form.inputs) and is_number(form.outputs)


def many_numbers(form: Form) -> bool:
    """Of numbers, or of an array of them, a number."""
    inputs = are_numbers(form.inputs) or is_array(form.inputs, DOUBLE)
    return inputs and is_number(form.outputs)


def window(form: Form) -> bool:
    """Of an array a number."""
    return is_array(form.inputs, DOUBLE) and is_number(form.outputs)


def line(form: Form) -> bool:
    """Of an array an array."""
    return is_array(form.inputs, DOUBLE) and is_array(form.outputs, DOUBLE)


def coordinates(form: Form) -> bool:
    """Of integers an array."""
    return is_array(form.inputs, INTP) and is_array(form.outputs, DOUBLE)


# -- how -----------------------------------------------------------------------------------------


def of_one(form: Form, symbol: str, *more: str) -> Entry:
    """``double f(double x)``."""
    entry = Entry(symbol, "double", ["double %x", *more])
    held(entry, form.inputs[0], "%x")
    returns_number(entry, form)
    return entry


def of_many(form: Form, symbol: str, *more: str) -> Entry:
    """``double f(int n, double *x)``; NaN for another n than the program's."""
    entry = Entry(symbol, "double", ["i32 %n", "ptr %x", *more])
    first = form.inputs[0]
    count = len(form.inputs) if first.scalar else first.aval.size
    for index, item in enumerate(form.inputs):
        place = entry.pointers[item.buffer] = f"%x{index}"
        entry.lines.append(f"{place} = getelementptr double, ptr %x, i64 {index}")
    entry.lines.append(f"%fits = icmp eq i32 %n, {count}")
    entry.fits = "%fits"
    returns_number(entry, form)
    return entry


def succeeds(entry: Entry, form: Form) -> Entry:
    """Let an entry write from ``x`` to ``y``, and return 1."""
    entry.pointers = {form.inputs[0].buffer: "%x", form.outputs[0].buffer: "%y"}
    entry.refused, entry.fits = OTHERWISE, "%fits"
    entry.ending = [
        "%fine = icmp eq i32 %status, 0",
        "%good = zext i1 %fine to i32",
        "ret i32 %good",
    ]
    return entry


def of_window(form: Form, symbol: str) -> Entry:
    """``int f(double *x, npy_intp n, double *y, void *)``."""
    entry = Entry(symbol, "i32", ["ptr %x", "i64 %n", "ptr %y", "ptr %user"])
    entry.lines.append(f"%fits = icmp eq i64 %n, {form.inputs[0].aval.size}")
    return succeeds(entry, form)


def sized(entry: Entry, kind: str, form: Form) -> Entry:
    """Compare the sizes ``n`` of x and ``m`` of y with the program's."""
    entry.lines += [
        f"%fits_x = icmp eq {kind} %n, {form.inputs[0].aval.size}",
        f"%fits_y = icmp eq {kind} %m, {form.outputs[0].aval.size}",
        "%fits = and i1 %fits_x, %fits_y",
    ]
    return succeeds(entry, form)


def of_line(form: Form, symbol: str) -> Entry:
    """``int f(double *x, npy_intp n, double *y, npy_intp m, void *)``."""
    kinds = ["ptr %x", "i64 %n", "ptr %y", "i64 %m", "ptr %user"]
    return sized(Entry(symbol, "i32", kinds), "i64", form)


def of_coordinates(form: Form, symbol: str) -> Entry:
    """``int f(npy_intp *x, double *y, int m, int n, void *)``."""
    kinds = ["ptr %x", "ptr %y", "i32 %n", "i32 %m", "ptr %user"]
    return sized(Entry(symbol, "i32", kinds), "i32", form)


REAL, INT, SIZE, USER = ctypes.c_double, ctypes.c_int, ctypes.c_ssize_t, ctypes.c_void_p
SIZES = ctypes.POINTER(ctypes.c_ssize_t)
NUMBERS = "float64 scalars, or one float64 array, and gives one number"
CALLBACKS = {
    "double (double)": Callback(
        (REAL, REAL), "a float64 scalar and gives one", one_number, of_one
    ),
    "double (int, double *, void *)": Callback(
        (REAL, INT, DOUBLES, USER), NUMBERS, many_numbers,
        lambda form, symbol: of_many(form, symbol, "ptr %user"),
    ),
    "double (int, double *)": Callback((REAL, INT, DOUBLES), NUMBERS, many_numbers, of_many),
    "double (double, void *)": Callback(
        (REAL, REAL, USER), "a float64 scalar and gives one", one_number,
        lambda form, symbol: of_one(form, symbol, "ptr %user"),
    ),
    "int (double *, npy_intp, double *, npy_intp, void *)": Callback(
        (INT, DOUBLES, SIZE, DOUBLES, SIZE, USER), "a float64 array and gives one", line, of_line
    ),
    "int (double *, npy_intp, double *, void *)": Callback(
        (INT, DOUBLES, SIZE, DOUBLES, USER), "a float64 array and gives one number",
        window, of_window,
    ),
    "int (npy_intp *, double *, int, int, void *)": Callback(
        (INT, SIZES, DOUBLES, INT, INT, USER), "an array of np.intp and gives one of float64",
        coordinates, of_coordinates,
    ),
}  # fmt: skip
