"""A compiled program as a native function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np

from graphjit.codegen import objects
from graphjit.codegen.code import Code
from graphjit.codegen.program import Runnable, out_of_range


@dataclass(frozen=True)
class Kernel:
    """A native function on a table of addresses.

    The table has the addresses of the inputs, constants, outputs, the work memory of each dtype,
    then an int64 status if the program checks indices; a status other than 0 is an error.

    Attributes:
        address: Where the function begins.
        constants: The arrays of the program's own.
        outputs: Shape and dtype of each output.
        work: How many elements of which dtype each piece of work memory has.
        checks: Whether there is a status.
        fail: Raises the error that a status stands for.
        long: Whether other threads of Python should run meanwhile.
        style: ``table`` takes the table, and returns nothing; ``tuple`` is a function of Numba's
            whose argument is the address of a tuple of arrays and scalars.
        owner: What keeps the function in memory.
    """

    address: int
    constants: Sequence[np.ndarray[Any, Any]]
    outputs: Sequence[tuple[tuple[int, ...], np.dtype[Any]]]
    work: Sequence[tuple[int, np.dtype[Any]]] = ()
    checks: bool = False
    fail: Callable[[int], Any] | None = None
    long: bool = False
    style: Literal["table", "tuple"] = "table"
    owner: Any = None


def kernel_of(program: Runnable) -> Kernel | None:
    """The native function of a program, or None where there is none."""
    found = native_function(program.code)
    if found is None:
        return None
    style, address = found
    fail = partial(raise_status, program)
    return Kernel(
        address, program.constants, program.outputs, program.work, bool(program.checks), fail,
        program.long, style, program,
    )  # fmt: skip


def native_function(code: Any) -> tuple[Literal["table", "tuple"], int] | None:
    """The address of the function that runs a program, and what it takes."""
    if isinstance(code, Code):
        return "table", code.address("run")
    if code is None or not objects.direct():
        return None
    compiled = code.overloads[code.signatures[0]]
    return "tuple", compiled.library.get_pointer_to_function(compiled.fndesc.llvm_func_name)


def raise_status(program: Runnable, status: int) -> None:
    """Raise what a status of the program stands for.

    Raises:
        GraphJITError: always.
    """
    raise out_of_range(program, status)
