"""A compiled function as a function of C, of ctypes, of SciPy and of Numba, in this process."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from graphjit.codegen.code import Code
from graphjit.codegen.native import compiled
from graphjit.codegen.program import out_of_range
from graphjit.errors import DTypeError
from graphjit.exports.callbacks import callback
from graphjit.exports.declare import declaration, described
from graphjit.exports.entry import NO_MEMORY, Entry, plain, render, returning
from graphjit.exports.form import Form, Item, form_of
from graphjit.exports.names import identifier
from graphjit.tracing.origin import user_line


def native(
    f: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any] | None = None
) -> NativeFunction:
    """The machine code of a function, to be called from elsewhere in this process.

    It is made for the dtypes, shapes, containers and static values of these arguments. Traced
    leaves of the arguments become arguments of their own, and so do the leaves of the result. An
    array that the function has from elsewhere is read where it is, at each call; whatever else it
    read while it was traced is as it was then.

    Args:
        f: A NumPy function, or one that ``jit``, ``grad`` and the like return.
        args: The positional arguments that it is to be compiled for, as a tuple.
        kwargs: The arguments by name.

    Returns:
        The function in its several forms.

    Raises:
        TraceError: ``args`` is no tuple, or nothing of the result is computed.
        CompileError: the result is no container of arrays.
        DTypeError: a captured array does not lie in memory as programs read it.
        GraphJITError: the function cannot be traced or differentiated.
    """
    return NativeFunction(form_of(f, args, kwargs or {}))


def check_captured(array: np.ndarray[Any, Any]) -> None:
    """Refuse an array that cannot be read where it is.

    Raises:
        DTypeError: it is not in C order, aligned and of native byte order.
    """
    flags = array.flags
    if not (flags.c_contiguous and flags.aligned and array.dtype.isnative):
        raise DTypeError(
            "an array that the function has from elsewhere is not contiguous",
            origin=user_line(), operands=(f"{array.dtype}{list(array.shape)}",),
            hint="Let the function use np.ascontiguousarray(...) of it, or pass it as an argument.",
        )  # fmt: skip


class NativeFunction:
    """Machine code with the same meaning as a function of Python.

    It holds no lock of Python's, and keeps nothing between two calls, so threads may call it at
    once. It lives as long as this object, or as what was made from it.
    """

    def __init__(self, form: Form, *, blas: bool = True) -> None:
        for array in form.captured.values():
            check_captured(array)
        self._form, self._blas = form, blas
        self._name = identifier(form.name, ())

    def __repr__(self) -> str:
        return f"<native {self.signature}>"

    @property
    def signature(self) -> str:
        """The function as C declares it."""
        return declaration(self._form, self._name)

    @property
    def description(self) -> str:
        """Its arguments and results, a line each."""
        return "\n".join(described(self._form))

    def _code(self, entry: Entry) -> Code:
        rendered = render(self._form, [entry], by_address=True, blas=self._blas)
        return Code(compiled(rendered.text, passes="always-inliner"), rendered.symbols)

    def _function(self, entry: Entry, kinds: Sequence[Any]) -> Any:
        """An entry as a function of ctypes, which keeps the code and what it reads alive."""
        code = self._code(entry)
        call = ctypes.CFUNCTYPE(*kinds)(code.address(entry.symbol))
        call.owner = (code, self._form)  # type: ignore[attr-defined]
        return call

    @cached_property
    def _plain(self) -> Any:
        items = [*map(kind_by_value, self._form.inputs), *[ctypes.c_void_p] * self._results]
        return self._function(plain(self._form, "entry"), [ctypes.c_int, *items])

    @property
    def _results(self) -> int:
        return len(self._form.outputs)

    @cached_property
    def address(self) -> int:
        """Where the function of C begins that ``signature`` declares."""
        return ctypes.cast(self._plain, ctypes.c_void_p).value or 0

    @cached_property
    def ctypes(self) -> Callable[..., int]:
        """The function for ctypes.

        It takes an array for each argument and each result (which it writes), and a number for an
        argument of shape (). Arrays of another dtype or shape, or that are not contiguous, are a
        ``ctypes.ArgumentError``; an index out of range is an ``IndexRangeError``.
        """
        items = [*map(kind_by_value, self._form.inputs), *[ctypes.c_void_p] * self._results]
        call = ctypes.CFUNCTYPE(ctypes.c_int, *items)(self.address)
        call.owner = self._plain  # type: ignore[attr-defined]
        call.argtypes = list(map(checked_kind, (*self._form.inputs, *self._form.outputs)))
        call.errcheck = self._checked  # type: ignore[assignment]
        return call

    def _checked(self, status: int, *_: Any) -> int:
        if status == NO_MEMORY:
            raise MemoryError
        if status:
            raise out_of_range(self._form.program, status)
        return status

    def low_level_callable(self, signature: str | None = None) -> Any:
        """A ``scipy.LowLevelCallable``, for ``scipy.integrate`` and ``scipy.ndimage``.

        Args:
            signature: Which of SciPy's callbacks it is to be, as ``"double (double, void *)"``.
                Where it is left out, a function of one float64 scalar is ``double (double)``, one
                of several, or of one array, to a number is ``double (int, double *, void *)``,
                and one of an array to an array is that of ``ndimage.generic_filter1d``.

        Raises:
            CompileError: SciPy has no such callback, or the function is of another form, or it
                checks indices.
        """
        import scipy

        name, chosen = callback(self._form, signature)
        function = self._function(chosen.entry(self._form, "entry"), chosen.kinds)
        return scipy.LowLevelCallable(function, signature=name)

    @cached_property
    def numba(self) -> Any:
        """What can be called inside a ``@numba.njit`` function, and from Python.

        For float64 scalars and a result of one float64 scalar it is a first-class function of
        Numba's (an object with the wrapper address protocol), which can also be passed as an
        argument. Else it is an njit function that takes the arguments and returns the result, or
        a tuple of the results. A dtype, a number of axes or a layout that does not fit is an error
        when the calling function is compiled; a shape is a ``ValueError``.
        """
        from graphjit.exports import numba_calls  # loads Numba: 0.3 s

        if numba_calls.first_class(self._form):
            doubles = [ctypes.c_double] * (1 + len(self._form.inputs))
            function = self._function(returning(self._form, "entry"), doubles)
            return numba_calls.scalar_function(self._form, function)
        return numba_calls.array_function(self._form, self._plain, into=False)

    @cached_property
    def numba_into(self) -> Any:
        """As ``numba`` for arrays, but it takes arrays for the results too, and returns nothing."""
        from graphjit.exports import numba_calls  # loads Numba: 0.3 s

        return numba_calls.array_function(self._form, self._plain, into=True)


def kind_by_value(item: Item) -> Any:
    """How ctypes passes an argument: a number by value, else an address."""
    return np.ctypeslib.as_ctypes_type(item.aval.dtype) if item.scalar else ctypes.c_void_p


def checked_kind(item: Item) -> Any:
    """A number, or an array of exactly this dtype and shape."""
    if item.by_value:
        return kind_by_value(item)
    flags: Any = ["C", "A", *["W"] * item.result]
    shape = item.shape
    return np.ctypeslib.ndpointer(item.aval.dtype, len(shape), shape=shape, flags=flags)
