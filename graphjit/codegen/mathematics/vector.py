"""A described function over whole arrays, compiled: what tests and benchmarks run."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from graphjit.codegen.code import Code
from graphjit.codegen.llvm_mathematics import called
from graphjit.codegen.llvm_text import Body, Module, Operand, kind, lane
from graphjit.codegen.mathematics.describe import scalar_function
from graphjit.codegen.native import compiled, host
from graphjit.ir.aval import DType

LOOP = """
define void @run(i64 %count, ptr %out, {parameters}) {{
entry:
  br label %test
test:
  %i = phi i64 [ 0, %entry ], [ %next, %{end} ]
  %more = icmp slt i64 %i, %count
  br i1 %more, label %turn, label %done
turn:
{lines}
  %next = add i64 %i, {lanes}
  br label %test
done:
  ret void
}}
attributes #1 = {{ memory(none) }}
"""


def over_arrays(
    op: str,
    dtype: Any = np.float64,
    lanes: int = 0,
    *,
    fused: bool | None = None,
    scaling: bool | None = None,
) -> Callable[..., Any]:
    """The function for 1-D arrays of one dtype, any length; ``lanes`` 1 is the scalar form.

    ``fused`` forces or forbids one rounding of a product and a sum, ``scaling`` operations that
    split and scale numbers; None is what there is.
    """
    dtype = np.dtype(dtype)
    lanes = lanes or host().vector_bytes // dtype.itemsize
    count = len(scalar_function(op, dtype).parameters)
    run = loop(op, dtype, lanes, fused=fused, scaling=scaling)

    def call(*arrays: Any) -> Any:
        size = len(arrays[0])
        padded = -(-size // lanes) * lanes
        whole = [np.ones(padded, dtype) for _ in range(count)]
        for target, array in zip(whole, arrays, strict=True):
            target[:size] = array
        out = np.empty(padded, dtype)
        run(padded, out.ctypes.data, *(a.ctypes.data for a in whole))
        return out[:size]

    return call


@cache
def loop(
    op: str, dtype: DType, lanes: int = 0, *, fused: bool | None = None, scaling: bool | None = None
) -> Callable[..., None]:
    """The compiled loop: it takes a multiple of the lanes, and addresses, the result's first."""
    lanes = lanes or host().vector_bytes // dtype.itemsize
    kinds = [ctypes.c_void_p] * (1 + len(scalar_function(op, dtype).parameters))
    return code(op, dtype, lanes, fused=fused, scaling=scaling).function(
        "run", ctypes.c_int64, *kinds
    )


def code(
    op: str, dtype: DType, lanes: int, *, fused: bool | None = None, scaling: bool | None = None
) -> Code:
    """The machine code of the loop."""
    module = Module(fused=fused, scaling=scaling)
    text = loop_text(module, op, dtype, lanes)
    return Code(compiled(text, passes="always-inliner"), module.symbols)


def loop_text(module: Module, op: str, dtype: DType, lanes: int) -> str:
    """The loop as LLVM IR."""
    body, shape = Body(module), kind(dtype, lanes)
    body.block = "turn"
    count = len(scalar_function(op, dtype).parameters)

    def place(array: str) -> str:
        return body.let(f"getelementptr {lane(dtype)}, ptr {array}, i64 %i")

    loads = [f"load {shape}, ptr {place(f'%x{j}')}, align {dtype.itemsize}" for j in range(count)]
    operands = [Operand(body.let(text), dtype, lanes) for text in loads]
    result = called(body, op, operands)  # composed ones too
    body.put(f"store {result}, ptr {place('%out')}, align {dtype.itemsize}")
    parameters = ", ".join(f"ptr %x{j}" for j in range(count))
    lines = "\n".join(body.text_lines())
    return module.text([
        LOOP.format(parameters=parameters, end=body.block, lines=lines, lanes=lanes)
    ])  # fmt: skip
