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
    inputs, outputs = list(form.inputs), list(form.outputs)
    taken = [*inputs, *outputs] if into else inputs
    names: dict[str, Any] = {"np": np, "entry": function, "failed": failed(form)}
    lines = []
    for index, item in enumerate(taken):
        if not item.scalar:
            lines += checked(index, item, names)
        elif index >= len(inputs):
            names[f"p{index}"] = pointer(item, (1,), writable=True)
            lines += shape_check(index, item, (1,))
    for index, item in enumerate(outputs):
        if not into:
            names[f"p{index + len(inputs)}"] = pointer(item, item.aval.shape or (1,), writable=True)
            names[f"d{index}"] = item.aval.dtype.type
            made = f"np.empty({item.aval.shape or (1,)}, d{index})"
            lines.append(f"x{index + len(inputs)} = {made}")
    given = [passed(index, item, names) for index, item in enumerate(inputs)]
    given += [f"p{i}(x{i})" for i in range(len(inputs), len(inputs) + len(outputs))]
    lines += [f"status = entry({', '.join(given)})", "if status != 0:", "    failed(status)"]
    if not into:
        results = [f"x{i}" for i in range(len(inputs), len(inputs) + len(outputs))]
        ends = [r if not o.scalar else f"{r}[0]" for r, o in zip(results, outputs, strict=True)]
        lines.append(f"return {', '.join(ends)}")
    head = f"def call({', '.join(f'x{i}' for i in range(len(taken)))}):"
    text = "\n".join([head, *(f"    {line}" for line in lines)])
    exec(compile(text, f"<native {form.name}>", "exec"), names)  # noqa: S102 - our own text
    call = names["call"]
    call.__name__ = call.__qualname__ = form.name
    return numba.njit(nogil=True)(call)


def checked(index: int, item: Item, names: dict[str, Any]) -> list[str]:
    """The lines that check an array, and the function that finds its contents."""
    writable = item.buffer.startswith("out")
    names[f"p{index}"] = pointer(item, item.aval.shape, writable=writable)
    return shape_check(index, item, item.aval.shape)


def shape_check(index: int, item: Item, shape: tuple[int, ...]) -> list[str]:
    """The lines that compare an array's shape."""
    return [
        f"if x{index}.shape != {shape}:",
        f'    raise ValueError("{item.name} must have the shape {shape}")',
    ]


def passed(index: int, item: Item, names: dict[str, Any]) -> str:
    """The text that passes an argument on."""
    if not item.scalar:
        return f"p{index}(x{index})"
    names[f"s{index}"] = number(item)
    return f"s{index}(x{index})"


def failed(form: Form) -> Callable[..., Any]:
    """What raises for a status other than 0."""
    text = f"{form.name}: an index is out of bounds"

    def fail(status: int) -> None:
        if status == NO_MEMORY:
            raise MemoryError
        raise IndexError(text)

    return numba.njit(fail)


def pointer(item: Item, shape: tuple[int, ...], *, writable: bool) -> Any:
    """Numba's function for the address of an array's contents, for arrays of one type only."""
    element = numba.from_dtype(item.aval.dtype)
    wanted = f"a {'writable ' * writable}C-contiguous {element} array of {len(shape)} axes"

    @intrinsic
    def address(typing: Any, array: Any) -> Any:
        fits = (
            isinstance(array, types.Array) and array.dtype == element
            and array.ndim == len(shape) and array.layout == "C" and array.aligned
        )  # fmt: skip
        if not fits or (writable and not array.mutable):
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
