"""Render a loop program as Python for Numba: a file to read, to step through, and to run."""

from __future__ import annotations

import linecache
import math
from typing import Any

import numpy as np

from graphjit.codegen.loops import (
    Address,
    Buffer,
    Check,
    Constant,
    Fill,
    For,
    Gemm,
    Gemv,
    Index,
    Kernel,
    Let,
    Load,
    LoopProgram,
    Scalar,
    Statement,
    Store,
    walk,
)
from graphjit.codegen.plan import lifetimes
from graphjit.ir.aval import DType, dtype_name
from graphjit.ir.graph import Origin

INFIX = {
    "add": "{} + {}", "subtract": "{} - {}", "multiply": "{} * {}", "divide": "{} / {}",
    "negative": "-{}", "positive": "{}", "copy": "{}", "power": "{} ** {}", "absolute": "abs({})",
    "reciprocal": "1 / {}", "maximum": "{0} if {0} >= {1} or {0} != {0} else {1}",
    "minimum": "{0} if {0} <= {1} or {0} != {0} else {1}",
    "less": "{} < {}", "less_equal": "{} <= {}", "greater": "{} > {}", "greater_equal": "{} >= {}",
    "equal": "{} == {}", "not_equal": "{} != {}", "isnan": "{0} != {0}",
    "logical_and": "{} and {}", "logical_or": "{} or {}", "logical_xor": "{} != {}", "logical_not": "not {}",
    "bitwise_and": "{} & {}", "bitwise_or": "{} | {}", "bitwise_xor": "{} ^ {}", "invert": "~{}",
    "left_shift": "{} << {}", "right_shift": "{} >> {}", "select": "{1} if {0} else {2}",
    "erf": "math.erf({})", "erfc": "math.erfc({})",
}  # fmt: skip
COMMENT_COLUMN = 56
WIDTH = 100


def render(program: LoopProgram, title: str, runtime: str) -> str:
    """The program as the text of a Python module with one function, ``run(args)``.

    ``args`` are the inputs, constants, outputs, the work array of each dtype, then the status.
    """
    return Writer(program).module(title, runtime)


def argument_order(program: LoopProgram) -> list[Buffer]:
    """The buffers in the order in which ``run`` takes them."""
    work = [Buffer(f"work_{dtype_name(d)}", n, d, "work", (n,)) for d, n in program.work.items()]
    status = [Buffer("status", 1, np.dtype(np.int64), "output", (1,))] if program.checks else []
    outputs = [b for b in program.outputs if b.name not in program.aliases]
    return [*program.inputs, *(b for b, _ in program.constants), *outputs, *work, *status]


class Writer:
    """Lines of text, with the user's own line in the margin."""

    def __init__(self, program: LoopProgram) -> None:
        self.program = program
        self.work = {n: b for n, (b, _, _) in lifetimes(program.kernels).items()}
        self.lines: list[str] = []
        self.last: Origin | None = None

    def buffers(self) -> list[Buffer]:
        """What the program takes, in order."""
        return argument_order(self.program)

    def module(self, title: str, runtime: str) -> str:
        """The whole text."""
        self.header(title, runtime)
        for number, kernel in enumerate(self.program.kernels):
            self.kernel(number, kernel, 1)
        return "\n".join(self.lines) + "\n"

    def header(self, title: str, runtime: str) -> None:
        """Imports, the function's first line, its arguments."""
        names = ", ".join(sorted(self._used()))
        self.lines = [repr(title), "", "import math", "", "import numpy as np", ""]
        self.lines += [f"from {runtime} import {names}", "", "", "@kernel", "def run(args):"]
        self.arguments()

    def _used(self) -> set[str]:
        """The names of the runtime that the text needs."""
        names = {"kernel", *map(reader, self.buffers())}
        if self.program.offsets:
            names.add("part")
        for kernel in self.program.kernels:
            for s in walk(kernel.statements):
                match s:
                    case Gemm():
                        names |= {"gemm"} | (
                            {"part"} if any(a.offset or a.terms for a in (s.a, s.b, s.c)) else set()
                        )
                    case Gemv():
                        names |= {"gemv"} | (
                            {"part"} if any(a.offset or a.terms for a in (s.a, s.x, s.y)) else set()
                        )
                    case For():
                        names |= {"hide"} if short(s) else set()
        return names

    def arguments(self) -> None:
        """Name every buffer: arguments by position, work buffers by their place."""
        for position, buffer in enumerate(self.buffers()):
            self.put(
                1,
                f"{buffer.name} = {reader(buffer)}(args, {position})",
                f"{buffer.role} {describe(buffer)}",
            )
        for name, source in self.program.aliases.items():
            self.put(1, f"{name} = {source}", "overwritten in place")
        for name, offset in self.program.offsets.items():
            buffer = self.work[name]
            home = f"work_{dtype_name(buffer.dtype)}"
            self.put(1, f"{name} = part({home}, {offset})", describe(buffer))

    def kernel(self, number: int, kernel: Kernel, depth: int) -> None:
        self.lines += ["", f"{'    ' * depth}# {number}: {kernel.title}"]
        self.last = None
        for statement in kernel.statements:
            self.statement(statement, depth)

    def put(self, depth: int, code: str, comment: str = "", origin: Origin | None = None) -> None:
        """One line of code, and beside it the user's line where it changes."""
        text = "    " * depth + code
        if origin is not None and origin != self.last:
            self.last = origin
            source = linecache.getline(origin.file, origin.line).strip()
            comment = f"{origin}  {source}".strip()
        if comment:
            comment = "".join(c for c in comment if c.isprintable())
            text = f"{text:<{COMMENT_COLUMN}}  # {comment}"
        self.lines.append(
            text[:WIDTH] if comment and len(text) > WIDTH and len(code) < COMMENT_COLUMN else text
        )

    # -- statements -----------------------------------------------------------------------------

    def statement(self, s: Statement, depth: int) -> None:
        match s:
            case For():
                extent = f"hide({s.extent})" if short(s) else str(s.extent)
                bounds = f"{s.extent - 1}, -1, -1" if s.reverse else extent
                self.put(depth, f"for {s.index} in range({bounds}):")
                for inner in s.body:
                    self.statement(inner, depth + 1)
            case Let():
                self.put(depth, f"{s.value.name} = {expression(s)}", origin=s.origin)
            case Load():
                self.put(depth, f"{s.value.name} = {loaded(s.address)}", origin=s.origin)
            case Index():
                code = cast(affine(s.offset, s.terms), s.value.dtype, np.dtype(np.int64))
                self.put(depth, f"{s.value.name} = {code}", origin=s.origin)
            case Store():
                value = name(s.value)
                if s.op:
                    held = loaded(s.address)
                    held = f"({held})" if s.address.buffer.dtype == bool else held
                    value = joined(s.op, held, value, s.address.buffer.dtype)
                value = f"np.uint8({value})" if s.address.buffer.dtype == bool else value
                self.put(depth, f"{place(s.address)} = {value}", origin=s.origin)
            case Fill():
                self.put(depth, f"for i in range({s.buffer.size}):")
                self.put(
                    depth + 1, f"{place(Address(s.buffer, 0, (('i', 1),)))} = {stored(s.value)}"
                )
            case Check():
                self.check(s, depth)
            case Gemm():
                flags = f"{s.transpose_a}, {s.transpose_b}, {s.m}, {s.n}, {s.k}"
                arrays = (
                    f"{pointer(s.a)}, {s.lda}, {pointer(s.b)}, {s.ldb}, {pointer(s.c)}, {s.ldc}"
                )
                self.put(depth, f"gemm({flags}, {arrays})", origin=s.origin)
            case Gemv():
                flags = f"{s.transpose}, {s.rows}, {s.columns}"
                arrays = (
                    f"{pointer(s.a)}, {s.lda}, {pointer(s.x)}, {s.incx}, {pointer(s.y)}, {s.incy}"
                )
                self.put(depth, f"gemv({flags}, {arrays})", origin=s.origin)

    def check(self, s: Check, depth: int) -> None:
        index, value = name(s.index), s.value.name
        self.put(
            depth, f"{value} = {index} + {s.size} if {index} < 0 else {index}", origin=s.origin
        )
        self.put(depth, f"if {value} < 0 or {value} >= {s.size}:")
        self.put(depth + 1, f"status[0] = {s.code}")
        self.put(depth + 1, f"{value} = 0")


def reader(buffer: Buffer) -> str:
    """The runtime's function that finds an argument."""
    scalar = buffer.role == "input" and not buffer.shape
    return f"{'scalar' if scalar else 'array'}_{dtype_name(buffer.dtype)}"


def describe(buffer: Buffer) -> str:
    aval = f"{dtype_name(buffer.dtype)}[{','.join(map(str, buffer.shape))}]"
    return f"{buffer.label}: {aval}" if buffer.label else aval


def short(loop: For) -> bool:
    """Whether LLVM would unroll the loop whole, to scalar code, if it saw its length.

    Measured: an innermost loop of 8 to 16 doubles runs 4 to 8 times faster with a hidden length.
    """
    innermost = not any(isinstance(s, For) for s in loop.body)
    return innermost and 4 <= loop.extent < 32 and not loop.reverse


def affine(offset: int, terms: tuple[tuple[str, int], ...], start: str = "") -> str:
    """``offset + 16*i + j`` as text."""
    parts = [start] if start else []
    parts += [str(offset)] if offset or not (terms or start) else []
    parts += [n if s == 1 else f"{s}*{n}" for n, s in terms]
    return " + ".join(parts)


def place(a: Address) -> str:
    return f"{a.buffer.name}[{affine(a.offset, a.terms, a.buffer.start)}]"


def loaded(a: Address) -> str:
    """The element as a value of its dtype; a bool lies in memory as a byte."""
    return f"{place(a)} != 0" if a.buffer.dtype == bool else place(a)


def pointer(a: Address) -> str:
    if not a.offset and not a.terms and not a.buffer.start:
        return a.buffer.name
    return f"part({a.buffer.name}, {affine(a.offset, a.terms, a.buffer.start)})"


def name(x: Scalar) -> str:
    return literal(x.value, x.dtype) if isinstance(x, Constant) else x.name


def stored(x: Constant) -> str:
    return str(int(x.value)) if x.dtype == bool else literal(x.value, x.dtype)


def literal(value: Any, dtype: DType) -> str:
    """A number of exactly this dtype, in Python and in Numba."""
    if dtype == bool:
        return str(bool(value))
    if dtype.kind == "f":
        number = float(value)
        text = (
            repr(number)
            if math.isfinite(number)
            else "np.nan"
            if number != number
            else "np.inf"
            if number > 0
            else "-np.inf"
        )
        text = f"({text})" if text.startswith("-") else text
        return text if dtype == np.float64 else f"np.float32({text})"
    text = f"({int(value)})" if value < 0 else str(int(value))
    return text if dtype == np.int64 else f"np.{dtype.name}({text})"


def expression(s: Let) -> str:
    """The right-hand side of a Let, of exactly its dtype."""
    operands = [name(o) for o in s.operands]
    dtype = s.value.dtype
    if s.op == "cast":
        return cast(operands[0], dtype, s.operands[0].dtype)
    if s.op == "reciprocal":
        return f"{literal(1, dtype)} / {operands[0]}"
    if s.op == "square":
        return f"{operands[0]} * {operands[0]}"
    template = INFIX.get(s.op)
    if template is None:
        template = f"np.{s.op}({', '.join(['{}'] * len(operands))})"
    return exact(template.format(*operands), s.op, dtype)


def joined(op: str, left: str, right: str, dtype: DType) -> str:
    return exact(INFIX[op].format(left, right), op, dtype)


def exact(text: str, op: str, dtype: DType) -> str:
    """Small integers and float32 results that Numba or math widens go back to their dtype."""
    narrow = dtype.kind in "iu" and dtype.itemsize < 8 and op not in ("copy", "select", "positive")
    unsigned = dtype == np.uint64 and op in ("add", "subtract", "multiply", "power")
    libm = dtype == np.float32 and op in ("erf", "erfc")
    return f"np.{dtype.name}({text})" if narrow or unsigned or libm else text


def cast(text: str, dtype: DType, source: DType) -> str:
    if dtype == source:
        return text
    if dtype == bool:
        return f"{text} != 0"
    return f"np.{dtype.name}({text})"
