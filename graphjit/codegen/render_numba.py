"""Render a loop program as Python for Numba: a file to read, to step through, and to run."""

from __future__ import annotations

import linecache

from graphjit.codegen.expressions import call, computed, name, place, stored, whole, written
from graphjit.codegen.loops import (
    ROUNDS,
    Address,
    Buffer,
    Check,
    Fill,
    For,
    Gemm,
    Gemv,
    If,
    Kernel,
    Let,
    LoopProgram,
    PickedGemv,
    Product,
    Statement,
    Store,
    Tape,
    While,
)
from graphjit.codegen.mathematics.describe import described
from graphjit.codegen.plan import argument_order, lifetimes
from graphjit.codegen.products import written_out
from graphjit.codegen.walks import walk
from graphjit.ir.aval import dtype_name
from graphjit.ir.graph import Origin

COMMENT_COLUMN = 56
WIDTH = 100


def render(program: LoopProgram, title: str, runtime: str) -> str:
    """The program as the text of a Python module with one function, ``run(args)``.

    ``args`` are the inputs, constants, outputs, the work array of each dtype, then the status.
    """
    return Writer(program).module(title, runtime)


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
            names = names.union(*map(needed, walk(kernel.statements)))
        return names

    def arguments(self) -> None:
        """Name every buffer: arguments by position, work buffers by their place."""
        for position, buffer in enumerate(self.buffers()):
            self.put(
                1,
                f"{buffer.name} = {reader(buffer)}(args, {position})",
                f"{buffer.role} {describe(buffer)}",
            )
        for target, offset in self.program.offsets.items():
            buffer = self.work[target]
            home = f"work_{dtype_name(buffer.dtype)}"
            self.put(1, f"{target} = part({home}, {offset})", describe(buffer))
        for target, source in self.program.aliases.items():
            while source in self.program.aliases:
                source = self.program.aliases[source]  # noqa: PLW2901 - follows the chain
            self.put(1, f"{target} = {source}", "overwritten in place")

    def kernel(self, number: int, kernel: Kernel, depth: int) -> None:
        """One kernel under a line that says what it is."""
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
        """One statement, with what is in it."""
        match s:
            case For() | While() | If():
                self.compound(s, depth)
            case Fill():
                # The last name that a loop may have, since this may stand inside of others.
                element = place(Address(s.buffer, 0, (("w", 1),)))
                self.put(depth, f"for w in range({s.buffer.size}):")
                self.put(depth + 1, f"{element} = {stored(s.value)}")
            case Check():
                self.check(s, depth)
            case Tape():
                self.tape(s, depth)
            case Store():
                self.put(depth, f"{place(s.address)} = {written(s)}", origin=s.origin)
            case Product() | PickedGemv():
                self.block(written_out(s), depth)
            case Gemm() | Gemv():
                self.put(depth, call(s), origin=s.origin)
            case _:
                self.put(depth, f"{s.value.name} = {computed(s)}", origin=s.origin)

    def compound(self, s: For | While | If, depth: int) -> None:
        """A statement that has others inside."""
        match s:
            case For():
                extent = f"hide({s.extent})" if short(s) else str(s.extent)
                bounds = f"{s.extent - 1}, -1, -1" if s.reverse else extent
                self.put(depth, f"for {s.index} in range({bounds}):")
                self.block(s.body, depth + 1)
            case While():
                self.put(depth, "while True:")
                self.block(s.test, depth + 1)
                self.put(depth + 1, f"if {place(s.answer)} == 0:")
                self.put(depth + 2, "break")
                self.block(s.body, depth + 1)
            case If():
                self.put(depth, f"if {place(s.which)} != 0:")
                self.block(s.then, depth + 1)
                self.put(depth, "else:")
                self.block(s.otherwise, depth + 1)

    def block(self, statements: list[Statement], depth: int) -> None:
        """Statements in a row, or ``pass`` where there are none."""
        for statement in statements:
            self.statement(statement, depth)
        if not statements:
            self.put(depth, "pass")

    def tape(self, s: Tape, depth: int) -> None:
        """Allocate the tapes, make room on them, or free them."""
        match s.action:
            case "open":
                self.put(depth, f"{s.room} = {ROUNDS}", "rounds that the tape has room for")
                for b in s.buffers:
                    kind = f"tape_{dtype_name(b.dtype)}"
                    self.put(depth, f"{b.name} = {kind}({s.room} * {b.size})", describe(b))
            case "ensure":
                self.put(depth, f"if {s.count} >= {s.room}:")
                self.put(depth + 1, f"{s.room} = 2 * {s.room}")
                for b in s.buffers:
                    self.put(depth + 1, f"{b.name} = longer({b.name}, {s.room} * {b.size})")
            case "close":
                for b in s.buffers:
                    self.put(depth, f"release({b.name})")

    def check(self, s: Check, depth: int) -> None:
        """An index counted from the front, and what happens where it is out of range."""
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
    """What the user calls the buffer, its dtype and shape."""
    aval = f"{dtype_name(buffer.dtype)}[{','.join(map(str, buffer.shape))}]"
    return f"{buffer.label}: {aval}" if buffer.label else aval


def needed(s: Statement) -> set[str]:
    """The runtime's names that a statement uses."""
    match s:
        case For() if short(s):
            return {"hide"}
        case Let() if described(s.op, s.value.dtype):
            return {s.op}
        case Product() | PickedGemv():
            return set().union(*map(needed, walk(written_out(s))))
        case Gemm():
            return {"gemm", *parted(s.a, s.b, s.c)}
        case Gemv():
            return {"gemv", *parted(s.a, s.x, s.y)}
        case Tape():
            return {"longer", "release", *(f"tape_{dtype_name(b.dtype)}" for b in s.buffers)}
    return set()


def parted(*addresses: Address) -> set[str]:
    """The name of what finds the middle of a buffer, where an address is there."""
    return set() if all(map(whole, addresses)) else {"part"}


def short(loop: For) -> bool:
    """Whether LLVM would unroll the loop whole, to scalar code, if it saw its length.

    Measured: an innermost loop of 8 to 16 doubles runs 4 to 8 times faster with a hidden length,
    a copy of rows of 32 to 64 twice as fast; at 100 it makes no difference.
    """
    innermost = not any(isinstance(s, For) for s in loop.body)
    return innermost and 4 <= loop.extent <= 64 and not loop.reverse
