"""Native functions inside functions that Numba compiles."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils, errors, types
from numba.experimental import function_type  # noqa: F401 - teaches Numba the protocol
from numba.extending import intrinsic

from graphjit.exports.callbacks import are_numbers
from graphjit.exports.entry import NO_MEMORY
from graphjit.exports.form import Form, Item
from graphjit.exports.names import identifier

# Numba's programs hold addresses and not the objects behind them, so these stay for good.
KEPT: list[Any] = []


def first_class(form: Form) -> bool:
    """Whether a function takes and gives float64 scalars, and always has a result."""
    single = len(form.outputs) == 1 and are_numbers(form.outputs)
    return are_numbers(form.inputs) and single and not form.program.checks


class ScalarFunction(types.WrapperAddressProtocol):
    """A function of float64 numbers that Numba takes as a first-class function."""

    def __init__(self, form: Form, function: Any) -> None:
        self.__name__ = form.name
        self._function, self._count = function, len(form.inputs)
        self._address = address_of(function)

    def __wrapper_address__(self) -> int:
        return self._address

    def signature(self) -> Any:
        """Numba's signature: float64 in and out."""
        return types.float64(*[types.float64] * self._count)

    def __call__(self, *args: float) -> float:
        """Call it from Python."""
        return self._function(*args)  # type: ignore[no-any-return]


def scalar_function(form: Form, function: Any) -> ScalarFunction:
    """A first-class function."""
    made = ScalarFunction(form, function)
    KEPT.append(made)
    return made


def address_of(function: Any) -> int:
    """Where a function of ctypes begins."""
    return ctypes.cast(function, ctypes.c_void_p).value or 0


def array_function(form: Form, function: Any, *, into: bool) -> Callable[..., Any]:
    """A function for Numba that checks arrays and calls a function of C.

    Args:
        form: The program.
        function: Its plain entry as a function of ctypes.
        into: Whether the caller gives the arrays for the results.
    """
    KEPT.append(function)
    name = identifier(form.name, ())
    names: dict[str, Any] = {"np": np, "entry": function, "failed": failed(form)}
    text = call_text(form, names, into=into)
    exec(compile(text, f"<native {name}>", "exec"), names)  # noqa: S102 - our own text
    call = names["call"]
    call.__name__ = call.__qualname__ = name
    return numba.njit(nogil=True)(call)


def call_text(form: Form, names: dict[str, Any], *, into: bool) -> str:
    """The text of a function of arrays; what it calls is put among the names."""
    items = (*form.inputs, *form.outputs)
    taken = items if into else form.inputs
    lines = []
    for index, item in enumerate(items):
        names[f"p{index}"] = number(item) if item.by_value else pointer(item)
        if index < len(taken):
            lines += [] if item.by_value else shape_check(index, item)
        else:
            names[f"d{index}"] = item.aval.dtype.type
            lines.append(f"x{index} = np.empty({item.shape}, d{index})")
    given = ", ".join(f"p{i}(x{i})" for i in range(len(items)))
    lines += [f"status = entry({given})", "if status != 0:", "    failed(status)"]
    if not into:
        first = len(form.inputs)
        results = [f"x{i}{'[0]' * o.scalar}" for i, o in enumerate(form.outputs, first)]
        lines.append(f"return {', '.join(results)}")
    head = f"def call({', '.join(f'x{i}' for i in range(len(taken)))}):"
    return "\n".join([head, *(f"    {line}" for line in lines)])


def shape_check(index: int, item: Item) -> list[str]:
    """The lines that compare an array's shape."""
    message = f"{item.name} must have the shape {item.shape}"
    return [f"if x{index}.shape != {item.shape}:", f"    raise ValueError({message!r})"]


def failed(form: Form) -> Callable[..., Any]:
    """What raises for a status other than 0."""
    text = f"{form.name}: an index is out of bounds"

    def fail(status: int) -> None:
        if status == NO_MEMORY:
            raise MemoryError
        raise IndexError(text)

    return numba.njit(fail)


def pointer(item: Item) -> Any:
    """Numba's function for the address of an array's contents, for arrays of one type only."""
    element, axes = numba.from_dtype(item.aval.dtype), len(item.shape)
    wanted = f"a {'writable ' * item.result}C-contiguous {element} array of {axes} axes"

    @intrinsic
    def address(typing: Any, array: Any) -> Any:
        fits = (
            isinstance(array, types.Array) and array.dtype == element
            and array.ndim == axes and array.layout == "C" and array.aligned
        )  # fmt: skip
        if not fits or (item.result and not array.mutable):
            raise errors.TypingError(f"{item.name} must be {wanted}, not {array}")

        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            data = context.make_array(array)(context, builder, values[0]).data
            return builder.bitcast(data, cgutils.voidptr_t)

        return types.voidptr(array), generate

    return address


def number(item: Item) -> Any:
    """Numba's function that passes a number on, of one type only."""
    element = numba.from_dtype(item.aval.dtype)
    given = types.uint8 if element == types.boolean else element

    @intrinsic
    def value(typing: Any, x: Any) -> Any:
        if x != element:
            raise errors.TypingError(f"{item.name} must be a {element}, not {x}")

        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            if element == types.boolean:
                return builder.zext(values[0], ir.IntType(8))
            return values[0]

        return given(x), generate

    return value
