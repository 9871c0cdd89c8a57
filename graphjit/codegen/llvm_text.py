"""LLVM IR as text: types, constants, and the function that is being written."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import field
from functools import cache
from typing import Any

import numpy as np

from graphjit.ir.aval import DType
from graphjit.records import NamedTuple, dataclass

BOOL = np.dtype(bool)
I64 = np.dtype(np.int64)


class Operand(NamedTuple):
    """A value in LLVM IR: its text, the dtype of a lane, how many lanes; 1 is a plain scalar."""

    text: str
    dtype: DType
    lanes: int = 1

    @property
    def kind(self) -> str:
        """Its type, as ``double`` or ``<8 x i1>``."""
        return kind(self.dtype, self.lanes)

    def __str__(self) -> str:
        return f"{self.kind} {self.text}"


@cache
def lane(dtype: DType) -> str:
    """The type of one value; truth values are bits, and bytes in memory."""
    if dtype == BOOL:
        return "i1"
    if dtype.kind == "f":
        return {2: "half", 4: "float", 8: "double"}[dtype.itemsize]
    return f"i{8 * dtype.itemsize}"


@cache
def kind(dtype: DType, lanes: int) -> str:
    """The type of so many values."""
    return lane(dtype) if lanes == 1 else f"<{lanes} x {lane(dtype)}>"


def memory(dtype: DType, lanes: int = 1) -> str:
    """The type as it lies in memory."""
    return kind(np.dtype(np.uint8) if dtype == BOOL else dtype, lanes)


@cache
def suffix(dtype: DType, lanes: int) -> str:
    """How the name of an overloaded intrinsic ends, as ``v8f64``."""
    letter = "f" if dtype.kind == "f" else "i"
    bits = 1 if dtype == BOOL else 8 * dtype.itemsize
    return f"{letter}{bits}" if lanes == 1 else f"v{lanes}{letter}{bits}"


def literal(value: Any, dtype: DType) -> str:
    """A number; a float by its bits, so that it is exactly this one."""
    if dtype == BOOL:
        return "true" if value else "false"
    if dtype.kind == "f":
        exact = float(dtype.type(value))
        return f"0x{struct.unpack('<Q', struct.pack('<d', exact))[0]:016X}"
    return str(int(value))


def constant(value: Any, dtype: DType, lanes: int = 1) -> Operand:
    """The same number in every lane."""
    text = literal(value, dtype)
    return Operand(text if lanes == 1 else f"splat ({lane(dtype)} {text})", dtype, lanes)


def mask(lanes: int, last: int, first: int = 0) -> Operand:
    """The lanes from ``first`` to ``last - 1``."""
    each = ", ".join(f"i1 {literal(first <= i < last, BOOL)}" for i in range(lanes))
    return Operand(f"<{each}>", BOOL, lanes)


@dataclass(eq=False, repr=False)
class Module:
    """What is shared by the functions of a module: declarations, and helpers written once.

    ``fused`` says whether described functions may use ``fma``, ``scaling`` whether AVX-512's ways
    to split and scale numbers; None is what the processor has,
    ``blas`` whether products may call a BLAS where functions of our own exist, ``own`` whether they
    may be functions of our own where there is a BLAS. ``pool`` gives the
    address of what shares loops among threads (None: nothing does), ``threads`` how many may (0: as
    many as usual), ``kernels`` has the statements of all kernels, ``worth`` says how long a loop of
    theirs must be for threads to share it, ``tasks`` has the functions that are shared, and
    ``shared`` says how many loops call them. ``wide`` says whether several vectors of each value
    are taken at once where that pays, ``widened`` for how many loops it does, ``around`` what is
    known of the kernels from which products may take the loops that read them.
    """

    declarations: dict[str, str] = field(default_factory=dict)
    helpers: dict[str, str] = field(default_factory=dict)
    symbols: dict[str, int] = field(default_factory=dict)
    fused: bool | None = None
    scaling: bool | None = None
    blas: bool = True
    own: bool = True
    pool: Callable[[], int] | None = None
    threads: int = 0
    kernels: list[list[Any]] = field(default_factory=list)
    worth: float = 0.0
    tasks: dict[str, str] = field(default_factory=dict)
    shared: int = 0
    wide: bool = True
    widened: int = 0
    around: Any = None

    def declare(self, name: str, result: str, parameters: Sequence[str], more: str = "") -> None:
        """Say what a function of elsewhere takes and gives."""
        if name not in self.declarations:
            text = f"declare {result} @{name}({', '.join(parameters)}) {more}".rstrip()
            self.declarations[name] = text

    def task(self, text: str) -> str:
        """The name of a function of a block of turns, given without one."""
        name = self.tasks.setdefault(text, f"task{len(self.tasks)}")
        self.helpers[name] = f"define internal void @{name}{text}"
        return name

    def text(self, functions: Sequence[str]) -> str:
        """The whole module."""
        return "\n".join([*self.declarations.values(), *self.helpers.values(), *functions, ""])


class Body:
    """The lines of a function that is being written, and its counters."""

    def __init__(self, module: Module) -> None:
        self.module = module
        self.lines: list[str | list[str]] = []
        self.block = "entry"
        self._names: Iterator[int] = itertools.count()
        self._splats: dict[tuple[str, int], tuple[str, Operand]] = {}

    def text_lines(self) -> Iterator[str]:
        """The lines, those that were left room for among them."""
        for line in self.lines:
            if isinstance(line, str):
                yield line
            else:
                yield from line

    def fresh(self) -> str:
        """A name that is not taken."""
        return f"%v{next(self._names)}"

    def label(self) -> str:
        """The label of a block to come."""
        return f"b{next(self._names)}"

    def begin(self, label: str) -> None:
        """From here on lines belong to this block."""
        self.lines.append(f"{label}:")
        self.block = label

    def put(self, line: str) -> None:
        """A line without a result."""
        self.lines.append(f"  {line}")

    def let(self, instruction: str) -> str:
        """The name of what an instruction gives."""
        name = self.fresh()
        self.lines.append(f"  {name} = {instruction}")
        return name

    def value(self, instruction: str, dtype: DType, lanes: int = 1) -> Operand:
        """What an instruction gives, as an operand."""
        return Operand(self.let(instruction), dtype, lanes)

    def call(
        self, name: str, dtype: DType, lanes: int, operands: Sequence[Operand], more: str = ""
    ) -> Operand:
        """Call a function of elsewhere that gives such a value."""
        result = kind(dtype, lanes)
        self.module.declare(name, result, [o.kind for o in operands], more)
        return self.value(f"call {result} @{name}({', '.join(map(str, operands))})", dtype, lanes)

    def intrinsic(self, name: str, *operands: Operand) -> Operand:
        """One of LLVM's own functions, overloaded by its first operand."""
        first = operands[0]
        full = f"llvm.{name}.{suffix(first.dtype, first.lanes)}"
        return self.call(full, first.dtype, first.lanes, operands)

    def spread(self, x: Operand, lanes: int) -> Operand:
        """A scalar in every lane."""
        if x.lanes == lanes:
            return x
        if not x.text.startswith("%"):
            return Operand(f"splat ({x})", x.dtype, lanes)
        block, known = self._splats.get((x.text, lanes), ("", x))
        if block != self.block:
            empty = f"<{lanes} x {lane(x.dtype)}> poison"
            first = self.let(f"insertelement {empty}, {x}, i64 0")
            zeros = f"<{lanes} x i32> zeroinitializer"
            whole = f"<{lanes} x {lane(x.dtype)}>"
            known = self.value(f"shufflevector {whole} {first}, {empty}, {zeros}", x.dtype, lanes)
            self._splats[x.text, lanes] = self.block, known
        return known

    def alike(self, *operands: Operand) -> list[Operand]:
        """The operands with as many lanes as the widest has."""
        lanes = max([o.lanes for o in operands])
        return [o if o.lanes == lanes else self.spread(o, lanes) for o in operands]

    def element(self, x: Operand, index: int) -> Operand:
        """One lane as a scalar."""
        return self.value(f"extractelement {x}, i64 {index}", x.dtype) if x.lanes > 1 else x

    def collected(self, parts: Sequence[Operand]) -> Operand:
        """Scalars as the lanes of a vector."""
        if len(parts) == 1:
            return parts[0]
        dtype = parts[0].dtype
        whole = Operand("poison", dtype, len(parts))
        for index, part in enumerate(parts):
            whole = self.value(f"insertelement {whole}, {part}, i64 {index}", dtype, len(parts))
        return whole

    def repeat(
        self, count: int, carried: Sequence[Operand],
        turn: Callable[[Operand, list[Operand]], Sequence[Operand]], step: int = 1,
    ) -> list[Operand]:  # fmt: skip
        """``turn`` at 0, step, 2 step, ... below ``count``, which is at least one step."""
        if count == step:
            return list(turn(constant(0, I64), list(carried)))
        before, top, after = self.block, self.label(), self.label()
        self.put(f"br label %{top}")
        self.begin(top)
        index, following = self.fresh(), self.fresh()
        phis: list[str] = []
        self.lines.append(phis)
        names = [Operand(self.fresh(), o.dtype, o.lanes) for o in carried]
        ends = turn(Operand(index, I64), list(names))
        last = self.block
        phis.append(f"  {index} = phi i64 [ 0, %{before} ], [ {following}, %{last} ]")
        for name, start, end in zip(names, carried, ends, strict=True):
            ways = f"[ {start.text}, %{before} ], [ {end.text}, %{last} ]"
            phis.append(f"  {name.text} = phi {name.kind} {ways}")
        self.put(f"{following} = add nuw nsw i64 {index}, {step}")
        more = self.let(f"icmp ult i64 {following}, {count}")
        self.put(f"br i1 {more}, label %{top}, label %{after}")
        self.begin(after)
        return list(ends)
