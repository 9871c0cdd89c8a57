"""The described functions as plain Python that Numba compiles too.

A product and a sum are two operations there, each rounded: Python has no ``fma``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

import numpy as np

from graphjit.codegen.expressions import expression, name
from graphjit.codegen.loops import Let
from graphjit.codegen.mathematics.describe import APART, described, scalar_function, summary
from graphjit.ir.aval import DType


def python_text(op: str, dtype: DType) -> str:
    """The function as Python: ``def exp_f64(x):`` and a line for each operation."""
    function = scalar_function(op, dtype, fused=False)
    parameters = ", ".join(p.name for p in function.parameters)
    lines = [f"{s.value.name} = {right_side(s)}" for s in function.body]
    body = [f'"""{summary(op)}"""', *lines, f"return {name(function.result)}"]
    return f"def {function.name}({parameters}):\n" + "".join(f"    {line}\n" for line in body)


def right_side(s: Let) -> str:
    """One operation of a description."""
    operands = [name(o) for o in s.operands]
    real = f"np.{s.value.dtype.name}"
    if s.op in ("bits", "from_bits"):
        return f"np.{s.operands[0].dtype.name}({operands[0]}).view({real})"
    if s.op == "rare":
        condition, usual, *arguments = operands
        called = f"{elsewhere(s.params[0], s.value.dtype)}({', '.join(arguments)})"
        return f"{real}({called}) if {condition} else {usual}"
    if described(s.op, s.value.dtype):
        return f"{scalar_function(s.op, s.value.dtype).name}({', '.join(operands)})"
    return expression(s)


def elsewhere(function: str, dtype: DType) -> str:
    """The name of a function that is rarely called."""
    return scalar_function(function, dtype).name if function in APART else f"np.{function}"


def dependencies(op: str, dtype: DType) -> list[tuple[str, DType]]:
    """The functions that the text of one calls, and itself, each after what it calls."""
    found: dict[tuple[str, DType], None] = {}
    for s in scalar_function(op, dtype, fused=False).body:
        function = s.params[0] if s.op == "rare" else s.op
        if function in APART or described(s.op, s.value.dtype):
            found.update(dict.fromkeys(dependencies(function, s.value.dtype)))
    return [*found, (op, dtype)]


def python_texts(functions: Iterable[tuple[str, DType]]) -> str:
    """The text of functions and of those that they call, each once."""
    wanted = dict.fromkeys(d for f in functions for d in dependencies(*f))
    return "\n\n".join(python_text(*f) for f in wanted)


@cache
def python_function(op: str) -> Callable[..., Any]:
    """The function on NumPy's scalars, run as Python, for either dtype."""
    forms = {}
    for dtype in map(np.dtype, (np.float32, np.float64)):
        namespace: dict[str, Any] = {"np": np}
        exec(python_texts([(op, dtype)]), namespace)  # noqa: S102 - our own text
        forms[dtype] = namespace[scalar_function(op, dtype).name]

    def call(*operands: Any) -> Any:
        single = all(isinstance(o, np.float32) for o in operands)
        dtype = np.dtype(np.float32 if single else np.float64)
        return forms[dtype](*map(dtype.type, operands))

    return call
