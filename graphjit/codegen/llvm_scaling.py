"""AVX-512's instructions that split and scale numbers, and look them up, on any number of lanes.

They are written on whole registers: more lanes are cut into such, fewer are filled up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import numpy as np

from graphjit.codegen.llvm_instructions import shuffled
from graphjit.codegen.llvm_scalars import integer
from graphjit.codegen.llvm_text import Body, Operand, kind, lane, literal
from graphjit.codegen.loops import Let
from graphjit.codegen.native import Host, host

REQUIRED = frozenset({"+avx512f", "+avx512dq", "+avx512vl"})
REGISTERS = (16, 32, 64)  # bytes
# The intrinsic of each operation, and what it is told besides its operands: mantissas lie in
# [3/4, 3/2), significands in [1, 2), and those of negative numbers are NaN; the smaller magnitude,
# with the sign of x.
INSTRUCTIONS = {
    "times_power": ("mask.scalef", None), "exponent": ("mask.getexp", None),
    "mantissa": ("mask.getmant", 0b1111), "significand": ("mask.getmant", 0b1100),
    "within": ("mask.range", 0b0010), "special": ("mask.fixupimm", 0),
    "nearly_inverse": ("rcp14", None),
}  # fmt: skip
SCALING = frozenset({*INSTRUCTIONS, "lookup"})


def scales() -> bool:
    """Whether the processor that code is made for has the instructions."""
    return has_them(host())


@cache
def has_them(processor: Host) -> bool:
    """Whether a processor has the instructions."""
    return processor.vector_bytes == REGISTERS[-1] and {*processor.features.split(",")} >= REQUIRED


def scaling(body: Body, let: Let, operands: Sequence[Operand]) -> Operand:
    """Write one of the operations."""
    alike = body.alike(*operands)
    dtype, lanes = alike[0].dtype, alike[0].lanes
    if let.op == "lookup":
        least, write = REGISTERS[-1], lookup
    else:
        least, write = REGISTERS[0], masked
    count = max(1 << (lanes - 1).bit_length(), least // dtype.itemsize)
    whole = by_registers(body, [resized(body, o, count) for o in alike], let, write)
    return resized(body, whole, lanes)


Write = Callable[[Body, Let, Sequence[Operand]], Operand]


def by_registers(body: Body, x: Sequence[Operand], let: Let, write: Write) -> Operand:
    """The operation on halves, where the lanes, a power of two, are too many for a register."""
    dtype, lanes = x[0].dtype, x[0].lanes
    if lanes * dtype.itemsize <= REGISTERS[-1]:
        return write(body, let, x)
    half = lanes // 2
    low, high = (
        by_registers(body, [shuffled(body, o, range(i, i + half)) for o in x], let, write)
        for i in (0, half)
    )
    return shuffled(body, low, range(lanes), high)


def masked(body: Body, let: Let, x: Sequence[Operand]) -> Operand:
    """An intrinsic that takes a mask, of all lanes; in the widest form most take a way to round."""
    name, told = INSTRUCTIONS[let.op]
    dtype, lanes = x[0].dtype, x[0].lanes
    bits = 8 * dtype.itemsize * lanes
    letter = "d" if dtype == np.float64 else "s"
    operands = list(map(str, x))
    if let.op == "special":
        operands.append(table(let.params[0], dtype, lanes))
    if told is not None:
        operands.append(f"i32 {told}")
    if let.op != "special":
        operands.append(f"{x[0].kind} poison")
    operands.append(f"i{max(8, lanes)} -1")
    if bits == 8 * REGISTERS[-1] and name.startswith("mask."):
        operands.append("i32 4")  # as elsewhere
    return declared(body, f"avx512.{name}.p{letter}.{bits}", x[0], operands)


def table(specials: int, dtype: np.dtype[np.generic], lanes: int) -> str:
    """What ``special`` does to each class of numbers, in every lane."""
    whole = integer(dtype)
    return f"{kind(whole, lanes)} splat ({lane(whole)} {specials})"


def lookup(body: Body, let: Let, x: Sequence[Operand]) -> Operand:
    """The entries of a table in two registers, by the last bits of x."""
    dtype, lanes = x[0].dtype, x[0].lanes
    whole = kind(integer(dtype), lanes)
    index = body.let(f"bitcast {x[0]} to {whole}")
    entries = [f"{lane(dtype)} {literal(v, dtype)}" for v in let.params]
    first, second = (", ".join(entries[i : i + lanes]) for i in (0, lanes))
    vector, letter = x[0].kind, "d" if dtype == np.float64 else "s"
    operands = [f"{vector} <{first}>", f"{whole} {index}", f"{vector} <{second}>"]
    return declared(body, f"avx512.vpermi2var.p{letter}.512", x[0], operands)


def declared(body: Body, name: str, like: Operand, operands: Sequence[str]) -> Operand:
    """A call of an intrinsic of the processor."""
    kinds = [o[: o.index(">") + 1] if o[0] == "<" else o.split(" ")[0] for o in operands]
    full = f"llvm.x86.{name}"
    body.module.declare(full, like.kind, kinds)
    return body.value(f"call {like.kind} @{full}({', '.join(operands)})", like.dtype, like.lanes)


def resized(body: Body, x: Operand, lanes: int) -> Operand:
    """The first lanes, or as many by repeating them."""
    if x.lanes == lanes:
        return x
    if lanes == 1:
        return body.element(x, 0)
    if x.lanes == 1:
        whole = f"<{lanes} x {lane(x.dtype)}> poison"
        return body.value(f"insertelement {whole}, {x}, i64 0", x.dtype, lanes)
    return shuffled(body, x, [i % x.lanes for i in range(lanes)])
