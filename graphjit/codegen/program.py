"""The side of a program that runs: its memory, its launch, its errors.

A program that was loaded from the disk needs this module and LLVM, but none of what builds one.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np

from graphjit.cache.lookup import Missed
from graphjit.cache.objects import kept_code
from graphjit.codegen import objects, workers
from graphjit.codegen.blas import SYMBOL, find
from graphjit.codegen.code import Code
from graphjit.errors import CompileError, GraphJITError, IndexRangeError, PowerError
from graphjit.ir.aval import DType
from graphjit.ir.graph import Origin
from graphjit.records import NamedTuple

LINE = 64  # bytes of a cache line


class Checked(Protocol):
    """A program whose status says which of its checks has failed."""

    @property
    def checks(self) -> Sequence[tuple[Origin | None, int]]:
        """For each status from 1 on the line that it stands for, and the size of the axis."""
        ...


class Memory(NamedTuple):
    """What a program is given beside its inputs.

    Attributes:
        constants: The arrays of its constant buffers.
        outputs: Shape and dtype of each output.
        work: Length and dtype of each view of the one piece of scratch memory.
        checks: The line and the axis behind each status; where there are any, there is a status.
        long: Whether a run takes long enough to let other threads of Python run.
        donated: Outputs that are written over inputs, both by position.
    """

    constants: tuple[np.ndarray[Any, Any], ...]
    outputs: list[tuple[tuple[int, ...], DType]]
    work: list[tuple[int, DType]]
    checks: Sequence[tuple[Origin | None, int]] = ()
    long: bool = False
    donated: Mapping[int, int] = MappingProxyType({})


class Runnable:
    """A program: call it with arguments that conform to its inputs.

    Conforming means: contiguous arrays of exactly the input's shape and native dtype; for inputs
    of shape () a NumPy scalar of the dtype (or a Python float for float64).

    Attributes:
        launch: Runs it on a tuple of inputs, constants, outputs and scratch memory.
        memory: What it is given beside its inputs.
        code: What holds the machine code: ``Code``, or Numba's dispatcher; else None.
    """

    def __init__(
        self, memory: Memory, launch: Callable[[tuple[Any, ...]], None], code: Any
    ) -> None:
        self.memory, self.launch, self.code = memory, launch, code
        self.constants, self.outputs, self.work = memory.constants, memory.outputs, memory.work
        self.checks, self.long = memory.checks, memory.long
        self._status = [(1, np.dtype(np.int64))] if memory.checks else []
        self._pool: list[tuple[Any, ...]] = []

    def __call__(self, *args: Any) -> list[Any]:
        """The outputs: arrays, NumPy scalars where the shape is (); fresh, or donated inputs.

        Raises:
            IndexRangeError: an index array held an index outside its axis.
        """
        donated = self.memory.donated
        outputs = [
            args[donated[i]] if i in donated else np.empty(shape, dtype)
            for i, (shape, dtype) in enumerate(self.outputs)
        ]
        self.into(args, outputs)
        return [out if out.shape else out[()] for out in outputs]

    def into(self, args: Sequence[Any], outputs: Sequence[Any]) -> None:
        """Run on arrays for the outputs, which are in no other array's memory.

        Those of outputs that are written over inputs are not looked at.

        Raises:
            IndexRangeError: an index array held an index outside its axis.
        """
        donated = self.memory.donated
        fresh = [out for i, out in enumerate(outputs) if i not in donated] if donated else outputs
        scratch = self.take_scratch()
        self.launch((*args, *self.constants, *fresh, *scratch))
        self.give_back(scratch)

    def take_scratch(self) -> tuple[Any, ...]:
        """Work memory for one run, so that runs do not meet in it."""
        try:
            return self._pool.pop()
        except IndexError:  # the first call, or another thread has it
            return (*work_memory(self.work), *(np.zeros(n, d) for n, d in self._status))

    def give_back(self, scratch: tuple[Any, ...]) -> None:
        """Keep the work memory for the next run.

        Raises:
            IndexRangeError: the run met an index outside its axis.
        """
        if self.checks and scratch[-1][0]:
            raise out_of_range(self, int(scratch[-1][0]))
        self._pool.append(scratch)


def work_memory(work: Sequence[tuple[int, DType]]) -> list[np.ndarray[Any, Any]]:
    """The work array of each dtype: all begin at the same place, at the start of a cache line."""
    size = max((n * dtype.itemsize for n, dtype in work), default=0)
    memory = np.zeros(size + LINE, np.uint8)
    first = -memory.ctypes.data % LINE
    return [memory[first : first + n * d.itemsize].view(d) for n, d in work]


def out_of_range(program: Checked, code: int) -> GraphJITError:
    """The error that a status code of the program stands for: an axis of 0 for an exponent."""
    origin, size = program.checks[code - 1]
    if not size:
        return PowerError(
            "an integer was raised to a negative integer power", origin=origin,
            hint="Make one of them a float: the result of 2 ** -1 is no integer.",
        )  # fmt: skip
    return IndexRangeError(
        f"an index is out of bounds for an axis of size {size}", origin=origin,
        hint=f"Valid indices are {-size} to {size - 1}.",
    )  # fmt: skip


class Kept(NamedTuple):
    """Object code on disk: its key, and the names of what it calls."""

    key: str
    symbols: Sequence[str]


def code_written(kept: Kept) -> list[Any]:
    """Where object code is and what it calls, for a manifest: BLAS with integers of some width."""
    blas = find() if set(kept.symbols) - {workers.ENTRY} else None
    return [kept.key, list(kept.symbols), 0 if blas is None else blas.integer]


def code_read(form: Sequence[Any]) -> Code:
    """The object code, with the addresses in this process of what it calls.

    Raises:
        Missed: it is gone, or there is another BLAS.
        CompileError: it is no object code, or calls something unknown.
    """
    key, symbols, integer = form
    content = kept_code(key)
    if content is None:
        raise Missed("its object code is gone")
    routines = set(symbols) - {workers.ENTRY}
    blas = find() if routines else None
    if blas is not None and blas.integer != integer:
        raise Missed("there is another BLAS")
    addresses = {} if blas is None else {SYMBOL + n: a for n, a in blas.addresses.items()}
    if len(routines) < len(symbols):
        addresses[workers.ENTRY] = workers.entry()
    if not addresses.keys() >= set(symbols):
        raise CompileError(f"there is no {', '.join(sorted({*symbols} - addresses.keys()))}")
    try:
        return Code(content, {name: addresses[name] for name in symbols})
    except RuntimeError as error:
        raise CompileError(f"the object code cannot be loaded: {error}") from error


def on_pack(code: Code) -> Callable[[tuple[Any, ...]], None]:
    """What runs machine code on a tuple in the order of its arguments."""
    if not objects.direct():
        entry = code.function("run", ctypes.c_size_t)
        return lambda pack: with_table(entry, pack)
    run = code.function("launch", ctypes.c_size_t)
    return lambda pack: run(id(pack))


def with_table(native: Callable[[int], None], pack: tuple[Any, ...]) -> None:
    """Run a program on a table of data pointers, where Python's structures are not as expected."""
    arrays = [np.ascontiguousarray(a) for a in pack]
    table = np.array([a.ctypes.data for a in arrays], dtype=np.uintp)
    native(table.ctypes.data)
