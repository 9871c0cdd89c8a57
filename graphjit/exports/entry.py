"""Functions of C around a program: what they take, in LLVM IR.

Each keeps nothing between two calls: work memory is on the stack, or allocated and freed, so any
number of threads may be inside.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from graphjit.codegen.llvm_text import Module, literal, memory
from graphjit.codegen.loops import Buffer
from graphjit.codegen.plan import ALIGNMENT, arena, argument_order
from graphjit.codegen.render_llvm import Kernels, Rendered, module_text
from graphjit.exports.form import Form, Item
from graphjit.exports.names import identifier
from graphjit.ir.aval import dtype_name

STACK = 64 * 1024  # bytes of work memory that a call takes from the stack; more is allocated
NO_MEMORY = -1
NAN = literal(np.nan, np.dtype(np.float64))


@dataclass
class Entry:
    """A function of C that calls the program.

    Attributes:
        symbol: Its name.
        result: The type of what it returns.
        parameters: Each with its type.
        lines: What finds the arguments.
        pointers: Where the contents of each argument and result are, by buffer.
        fits: What has to be true of the parameters, if anything.
        refused: What it returns where that is not so, or where there is no memory.
        ending: The lines that return; ``%status`` is 0 unless an index was out of range.
        work: The memory that the caller gives for the work of the program, if it does.
    """

    symbol: str
    result: str
    parameters: list[str]
    lines: list[str] = field(default_factory=list)
    pointers: dict[str, str] = field(default_factory=dict)
    fits: str = ""
    refused: str = str(NO_MEMORY)
    ending: list[str] = field(default_factory=lambda: ["ret i32 %status"])
    work: str = ""

    def text(self, form: Form) -> str:
        """The function."""
        size = work_bytes(form)
        lines = [*self.lines]
        if not self.work and size <= STACK:
            lines.append(f"%work = alloca [{max(size, 1)} x i8], align {ALIGNMENT}")
        if self.fits:
            lines += [f"br i1 {self.fits}, label %fit, label %refused", "fit:"]
        allocated = not self.work and size > STACK
        if allocated:
            lines += [
                f"%work = call ptr @malloc(i64 {size})",
                "%none = icmp eq ptr %work, null",
                "br i1 %none, label %refused, label %start",
                "start:",
            ]
        given = [f"ptr {self.pointers[item.buffer]}" for item in (*form.inputs, *form.outputs)]
        lines.append(f"%status = call i32 @program({', '.join([*given, f'ptr {self.memory}'])})")
        lines += ["call void @free(ptr %work)"] * allocated + self.ending
        if self.fits or allocated:
            lines += ["refused:", f"ret {self.result} {self.refused}"]
        head = f"define {self.result} @{self.symbol}({', '.join(self.parameters)}) #0 {{"
        shown = [line if line.endswith(":") else f"  {line}" for line in lines]
        return "\n".join([head, "entry:", *shown, "}"])

    @property
    def memory(self) -> str:
        """The work memory."""
        return self.work or "%work"


def work_bytes(form: Form) -> int:
    """The work memory of the program."""
    return arena(form.program)


def render(
    form: Form, entries: Sequence[Entry], *, by_address: bool, blas: bool = True
) -> Rendered:
    """The module of a program and functions of C around it.

    Args:
        form: The program.
        entries: The functions.
        by_address: Read captured arrays where they are in this process, rather than embed them.
        blas: Whether products may call a BLAS.
    """
    module, order = Module(blas=blas), argument_order(form.program)
    kernels = Kernels(module, form.program, order)
    calls = kernels.calls(form.program.kernels)
    run = ["define internal void @run(ptr %table) #0 {", "entry:", *calls, "  ret void", "}"]
    if work_bytes(form) > STACK:
        module.declare("malloc", "ptr", ["i64"])
        module.declare("free", "void", ["ptr"])
    embedded = dict(form.constants) if by_address else {**form.constants, **form.captured}
    data = [constant(name, array) for name, array in embedded.items()]
    core = program(form, order, by_address=by_address)
    functions = [*data, *kernels.functions(), "\n".join(run), core]
    functions += [entry.text(form) for entry in entries]
    return Rendered(module_text(module, functions, identifier(form.name, ())), module.symbols)


def constant(name: str, array: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> str:
    """The contents of an array as data of the module."""
    data = np.ascontiguousarray(array, array.dtype.newbyteorder("=")).tobytes()
    text = "\\" + data.hex("\\")
    value = f'[{len(data)} x i8] c"{text}"' if data else "[1 x i8] zeroinitializer"
    return f"@data_{name} = internal constant {value}, align {ALIGNMENT}"


def program(form: Form, order: Sequence[Buffer], *, by_address: bool) -> str:
    """``program(inputs, outputs, work)``: makes the table that ``run`` takes; gives the status."""
    names = [item.buffer for item in (*form.inputs, *form.outputs)]
    places = {name: f"%{name}" for name in names}
    places |= {name: f"@data_{name}" for name in (*form.constants, *form.captured)}
    if by_address:
        known = {n: a.ctypes.data for n, a in form.captured.items()}
        places |= {n: f"inttoptr (i64 {address} to ptr)" for n, address in known.items()}
    lines = [f"%table = alloca [{max(len(order), 1)} x ptr]"]
    lines += ["%status = alloca i64", "store i64 0, ptr %status"]
    places |= {f"work_{dtype_name(dtype)}": "%work" for dtype in form.program.work}
    places["status"] = "%status"
    for index, buffer in enumerate(order):
        lines += [
            f"%slot{index} = getelementptr ptr, ptr %table, i64 {index}",
            f"store ptr {places[buffer.name]}, ptr %slot{index}",
        ]
    lines += ["call void @run(ptr %table)", "%code = load i64, ptr %status"]
    lines += ["%short = trunc i64 %code to i32", "ret i32 %short"]
    parameters = ", ".join([*(f"ptr %{n}" for n in names), "ptr %work"])
    head = f"define internal i32 @program({parameters}) #0 {{"
    return "\n".join([head, "entry:", *(f"  {line}" for line in lines), "}"])


def held(entry: Entry, item: Item, value: str) -> None:
    """Put a number that was passed by value where the program reads it."""
    kind, place = memory(item.aval.dtype), f"%place_{item.buffer}"
    entry.lines += [f"{place} = alloca {kind}", f"store {kind} {value}, ptr {place}"]
    entry.pointers[item.buffer] = place


def plain(form: Form, symbol: str, *, work: bool = False) -> Entry:
    """``int f(const double *x, double y, double *out)``, and the caller's work memory."""
    entry = Entry(symbol, "i32", [], work="%work" if work else "")
    for item in form.inputs:
        value = f"%given_{item.buffer}"
        if item.scalar:
            entry.parameters.append(f"{memory(item.aval.dtype)} {value}")
            held(entry, item, value)
        else:
            entry.parameters.append(f"ptr {value}")
            entry.pointers[item.buffer] = value
    for item in form.outputs:
        entry.parameters.append(f"ptr %given_{item.buffer}")
        entry.pointers[item.buffer] = f"%given_{item.buffer}"
    entry.parameters += ["ptr %work"] * work
    return entry


def returning(form: Form, symbol: str) -> Entry:
    """``double f(double x, double y)``; NaN where there is no memory."""
    entry = plain(form, symbol)
    entry.parameters.pop()
    returns_number(entry, form)
    return entry


def returns_number(entry: Entry, form: Form) -> None:
    """Let an entry return its one result, or NaN where it cannot be computed."""
    (out,) = form.outputs
    entry.result, entry.refused = "double", NAN
    entry.lines.append("%result = alloca double")
    entry.pointers[out.buffer] = "%result"
    entry.ending = [
        "%value = load double, ptr %result",
        "%fine = icmp eq i32 %status, 0",
        f"%number = select i1 %fine, double %value, double {NAN}",
        "ret double %number",
    ]
