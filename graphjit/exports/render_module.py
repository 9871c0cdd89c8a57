"""A program as a Python file that needs NumPy and Numba alone."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

import numpy as np

from graphjit.codegen.expressions import affine, name
from graphjit.codegen.llvm_loops import resolved
from graphjit.codegen.loops import (
    ROUNDS,
    Address,
    For,
    Gemm,
    Let,
    Statement,
    Tape,
)
from graphjit.codegen.mathematics.describe import described, scalar_function
from graphjit.codegen.mathematics.text import dependencies, python_text
from graphjit.codegen.plan import arena, argument_order
from graphjit.codegen.render_numba import Writer, describe
from graphjit.codegen.walks import walk
from graphjit.exports.constants import INDENTED, constant, stored
from graphjit.exports.declare import codes, line
from graphjit.exports.form import Form, Item
from graphjit.ir.aval import DType, dtype_name

MODULE = '''\
"""{title}

It needs NumPy and Numba, and nothing else. {name}(...) checks its arguments and returns new arrays;
{name}_into(...) is the same for functions that Numba compiles, and writes into arrays of theirs.
"""

{imports}
compiled = numba.njit(error_model="numpy", nogil=True)

{constants}{mathematics}{body}

@compiled
def {name}_into({all}):
    """{name} on C-contiguous arrays; a result of shape () goes to an array of one element."""
{checks}{call}


def {name}({inputs}):
    """{what}

    Args:
{arguments}

    Returns:
{results}

    Raises:
        TypeError: an argument has another dtype.
        ValueError: an argument has another shape.{raises}
    """
{conversions}{allocations}    {name}_into({all})
    return {returned}


def conforming(name, value, shape, dtype):
    """The value as an array in C order, if it has the dtype and the shape."""
    array = np.asarray(value)
    if array.dtype != dtype:
        raise TypeError(f"{{name}} must be of dtype {{np.dtype(dtype)}}, not {{array.dtype}}")
    if array.shape != shape:
        raise ValueError(f"{{name}} must have the shape {{shape}}, not {{array.shape}}")
    return np.require(array, dtype, ["C", "A"])
'''
LONGER = '''

@compiled
def longer(tape, count):
    """A tape of more elements, with what is on it."""
    result = np.empty(count, tape.dtype)
    result[: len(tape)] = tape
    return result
'''


def render_module(form: Form, function: str) -> str:
    """The text of the file.

    Args:
        form: The program; calls of a BLAS in it are of whole matrices.
        function: What the function is to be called.
    """
    names = [item.name for item in form.inputs]
    everything = [item.name for item in (*form.inputs, *form.outputs)]
    body = body_text(form)
    constants = "".join(constant(n, a) for n, a in {**form.constants, **form.captured}.items())
    checks = form.program.checks
    returned = ", ".join(result(item) for item in form.outputs)
    return MODULE.format(
        title=text(f"{function}: made by GraphJIT from {form.title}."), name=function,
        imports=imports(body, constants), body=body, constants=constants,
        mathematics=mathematics(form),
        inputs=", ".join(names), all=", ".join(everything),
        checks="".join(shape_check(item) for item in (*form.inputs, *form.outputs)),
        call=call(form), what=text(f"{form.title}."),
        arguments="\n".join(described_item(item) for item in form.inputs) or "        None.",
        results="\n".join(described_item(item) for item in form.outputs),
        raises="\n        IndexError: an index is out of range." if checks else "",
        conversions="".join(map(conversion, form.inputs)),
        allocations="".join(map(allocation, form.outputs)), returned=returned,
    )  # fmt: skip


def text(words: str) -> str:
    """Words that are safe in a docstring."""
    shown = "".join(c if c.isprintable() else " " for c in words)
    return shown.replace("\\", "/").replace('"', "'")


def imports(body: str, constants: str) -> str:
    """The modules that the text needs."""
    known = ["math"] if "math." in body else []
    known += ["base64"] if "base64." in constants else []
    standard = "\n".join(f"import {m}" for m in sorted(known))
    return f"{standard}\n\nimport numba\nimport numpy as np\n".lstrip()


# -- arguments and results -----------------------------------------------------------------------


def described_item(item: Item) -> str:
    """A line of the docstring."""
    return f"        {text(line(item))}."


def shape_check(item: Item) -> str:
    """The lines that refuse an array of another shape, before it is read."""
    if item.by_value:
        return ""
    message = f'"{item.name} must have the shape {item.shape}"'
    return f"    if {item.name}.shape != {item.shape}:\n        raise ValueError({message})\n"


def conversion(item: Item) -> str:
    """The line that checks an argument."""
    dtype, tail = f"np.{item.aval.dtype.name}", "[()]" if item.scalar else ""
    arguments = f'"{item.name}", {item.name}, {item.aval.shape}, {dtype}'
    return f"    {item.name} = conforming({arguments}){tail}\n"


def allocation(item: Item) -> str:
    """The line that makes an array for a result."""
    return f"    {item.name} = np.empty({item.shape}, np.{item.aval.dtype.name})\n"


def result(item: Item) -> str:
    """The result of an array."""
    return f"{item.name}[0]" if item.scalar else item.name


def call(form: Form) -> str:
    """The lines that run the program on flat arrays, and raise what its status says."""
    given = [flat(item) for item in (*form.inputs, *form.outputs)]
    work = form.program.work
    lines = []
    if len(work) == 1:
        given += [f"np.empty({size}, np.{stored(dtype)})" for dtype, size in work.items()]
    elif work:
        lines.append(f"work = np.empty({arena(form.program)}, np.uint8)")
        given += [part_of_work(dtype, size) for dtype, size in work.items()]
    if form.program.checks:
        lines.append("status = np.zeros(1, np.int64)")
        given.append("status")
    lines.append(f"run({', '.join(given)})")
    lines = [part for line in lines for part in textwrap.wrap(line, 94, **INDENTED)]
    if form.program.checks:
        for code, message in enumerate(codes(form)[1:], 1):
            fact = message.partition(": ")[2]
            lines += [f"if status[0] == {code}:", f"    raise IndexError({text(fact)!r})"]
    return "\n".join(f"    {line}" for line in lines)


def part_of_work(dtype: DType, size: int) -> str:
    """The work array of one dtype: those of all begin at the same place."""
    return f"work[:{size * dtype.itemsize}].view(np.{stored(dtype)})"


def flat(item: Item) -> str:
    """An argument as ``run`` takes it: flat, bools as bytes, a number in a tuple."""
    boolean = item.aval.dtype == np.bool_
    if item.by_value:
        return f"(np.uint8({item.name}),)" if boolean else f"({item.name},)"
    view = ".view(np.uint8)" if boolean else ""
    return f"{item.name}.reshape(-1){view}"


# -- mathematics ---------------------------------------------------------------------


def mathematics(form: Form) -> str:
    """The functions that the program calls, and those that these call, each once."""
    found: dict[tuple[str, DType], None] = {}
    for s in statements(form):
        if isinstance(s, Let) and described(s.op, s.value.dtype):
            found.update(dict.fromkeys(dependencies(s.op, s.value.dtype)))
    return "".join(f"\n@compiled\n{python_text(*f)}\n" for f in found)


def statements(form: Form) -> Iterator[Statement]:
    """All statements of the program."""
    for kernel in form.program.kernels:
        yield from walk(kernel.statements)


# -- the loops -------------------------------------------------------------------------------------


class ModuleWriter(Writer):
    """Writes the loops as a function of flat arrays."""

    def __init__(self, form: Form) -> None:
        super().__init__(form.program)
        self.form = form

    def run(self) -> str:
        """The function ``run``."""
        own = {*self.form.constants, *self.form.captured}
        taken = [b for b in argument_order(self.program) if b.name not in own]
        self.lines = ["", "@compiled"]
        self.put(0, f"def run({', '.join(b.name for b in taken)}):")
        self.put(1, '"""The loops: each line with the node and the line that it comes from."""')
        for target, offset in self.program.offsets.items():
            buffer = self.work[target]
            home = f"work_{dtype_name(buffer.dtype)}"
            end = offset + buffer.size
            self.put(1, f"{target} = {home}[{offset}:{end}]", describe(buffer))
        for target in self.program.aliases:
            home = resolved(target, self.program.aliases)
            self.put(1, f"{target} = {home}", "overwritten in place")
        for number, kernel in enumerate(self.program.kernels):
            self.kernel(number, kernel, 1)
        return "\n".join(self.lines) + "\n"

    def tape(self, s: Tape, depth: int) -> None:
        """Make tapes, or longer ones; they are freed where nothing refers to them any more."""
        if s.action == "open":
            self.put(depth, f"{s.room} = {ROUNDS}", "rounds that the tape has room for")
            for b in s.buffers:
                made = f"np.empty({s.room} * {b.size}, np.{stored(b.dtype)})"
                self.put(depth, f"{b.name} = {made}", describe(b))
        elif s.action == "ensure":
            super().tape(s, depth)

    def statement(self, s: Statement, depth: int) -> None:
        """One statement; mathematics by the names of the functions above."""
        match s:
            case Let() if described(s.op, s.value.dtype):
                function = scalar_function(s.op, s.value.dtype).name
                operands = ", ".join(name(o) for o in s.operands)
                self.put(depth, f"{s.value.name} = {function}({operands})", origin=s.origin)
            case Gemm():
                self.put(depth, dot(s), origin=s.origin)
            case For():
                bounds = f"{s.extent - 1}, -1, -1" if s.reverse else str(s.extent)
                self.put(depth, f"for {s.index} in range({bounds}):")
                self.block(s.body, depth + 1)
            case _:
                super().statement(s, depth)


def dot(s: Gemm) -> str:
    """A product of whole matrices by NumPy's BLAS, or Numba's."""
    a = matrix(s.a, (s.k, s.m) if s.transpose_a else (s.m, s.k))
    b = matrix(s.b, (s.n, s.k) if s.transpose_b else (s.k, s.n))
    left, right = a + ".T" * s.transpose_a, b + ".T" * s.transpose_b
    return f"np.dot({left}, {right}, {matrix(s.c, (s.m, s.n))})"


def matrix(a: Address, shape: tuple[int, int]) -> str:
    """The elements from an address on, as a matrix."""
    size, start = shape[0] * shape[1], affine(a.offset, a.buffer.start + a.terms)
    whole = start == "0" and size == a.buffer.size
    part = "" if whole else f"[{start} : {start} + {size}]"
    return f"{a.buffer.name}{part}.reshape({shape[0]}, {shape[1]})"


def body_text(form: Form) -> str:
    """The function ``run``, and what it needs for its tapes."""
    body = ModuleWriter(form).run()
    return f"{LONGER}\n{body}" if "longer(" in body else body
