"""The described functions inside Numba's programs: intrinsics that link their LLVM text.

No type is inferred in them. Each is a scalar function that is always inlined, so LLVM vectorises
the loop around it. A library holds one function for one dtype, made when it is first needed.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from functools import cache
from typing import Any

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from graphjit.codegen.llvm_mathematics import called
from graphjit.codegen.llvm_text import Body, Module, Operand, kind
from graphjit.codegen.mathematics import described, scalar_function
from graphjit.codegen.native import host
from graphjit.ir.aval import DType

ENTRY = """
define weak_odr {result} @{symbol}({parameters}) {more} {{
entry:
{lines}
  ret {value}
}}
"""
ATTRIBUTES = "attributes #1 = { alwaysinline nounwind willreturn memory(none) }"
# A call with a rare branch in it is not inlined, and a vectorised loop calls another function.
PURE = "nounwind willreturn memory(none)"
OUT_OF_LINE = """
define weak_odr {result} @{symbol}({parameters}) alwaysinline {{
  %r = call {result} @{symbol}_alone({parameters}) #2
  ret {result} %r
}}
attributes #2 = {{
  noinline nounwind willreturn memory(none) "vector-function-abi-variant"="{variants}"
}}
"""


def module_text(op: str, dtype: DType) -> str:
    """A module of one function of scalars, and what it needs."""
    # LLVM does not vectorise the processor's own instructions.
    module, name = Module(scaling=False), symbol(op, dtype)
    if not branches(op, dtype):
        return module.text([entry(module, op, dtype, 1, name, "alwaysinline"), ATTRIBUTES])
    # As many as fit, and as many as there are where the loop has float64 too.
    lanes = sorted({host().vector_bytes // size for size in (dtype.itemsize, 8)})
    functions = [entry(module, op, dtype, n, f"{name}_{n}", PURE) for n in lanes]
    functions.append(entry(module, op, dtype, 1, f"{name}_alone", f"noinline {PURE}"))
    parameters = scalar_function(op, dtype).parameters
    shape = "v" * len(parameters)
    functions.append(OUT_OF_LINE.format(
        result=kind(dtype, 1), symbol=name,
        parameters=", ".join(f"{kind(dtype, 1)} %{p.name}" for p in parameters),
        variants=",".join(f"_ZGV_LLVM_N{n}{shape}_{name}_alone({name}_{n})" for n in lanes),
    ))  # fmt: skip
    return module.text([*functions, ATTRIBUTES])


def entry(module: Module, op: str, dtype: DType, lanes: int, name: str, more: str) -> str:
    """The function for so many lanes, to be seen from other modules."""
    body = Body(module)
    parameters = [
        Operand(f"%{p.name}", dtype, lanes) for p in scalar_function(op, dtype).parameters
    ]
    value = called(body, op, parameters)
    return ENTRY.format(
        result=value.kind, symbol=name, lines="\n".join(body.text_lines()), value=value,
        parameters=", ".join(map(str, parameters)), more=more,
    )  # fmt: skip


@cache
def branches(op: str, dtype: DType) -> bool:
    """Whether a function has a branch to the C library in it."""
    return any(
        s.op == "rare" or (described(s.op, s.value.dtype) and branches(s.op, s.value.dtype))
        for s in scalar_function(op, dtype).body
    )


def symbol(op: str, dtype: DType) -> str:
    """What the function is called in Numba's modules."""
    return f"graphjit_{op}_f{8 * dtype.itemsize}"


LINKED: weakref.WeakKeyDictionary[Any, set[str]] = weakref.WeakKeyDictionary()


def link(library: Any, op: str, dtype: DType) -> str:
    """Put the function into a library that is being made, once; its symbol."""
    name = symbol(op, dtype)
    known = LINKED.setdefault(library, set())
    if name not in known:
        known.add(name)
        library.add_llvm_module(llvm.parse_assembly(module_text(op, dtype)))
    return name


@cache
def function(op: str) -> Callable[..., Any]:
    """The operation on floats of one dtype, to be called in compiled programs."""

    def of_one(_typing: Any, x: Any) -> Any:
        return typed(op, x)

    def of_two(_typing: Any, x: Any, y: Any) -> Any:
        return typed(op, x, y)

    count = len(scalar_function(op, np.dtype(np.float64)).parameters)
    form = (of_one, of_two)[count - 1]
    form.__name__ = op
    return intrinsic(form)


def typed(op: str, *operands: Any) -> Any:
    """The signature for operands of these types, and what generates the call."""
    kind = types.float32 if all(o == types.float32 for o in operands) else types.float64
    dtype = np.dtype(str(kind))

    def generate(context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        name = link(context.active_code_library, op, dtype)
        real = context.get_value_type(kind)
        form = ir.FunctionType(real, [real] * len(values))
        entry = cgutils.get_or_insert_function(builder.module, form, name)
        return builder.call(entry, values)

    return kind(*[kind] * len(operands)), generate
