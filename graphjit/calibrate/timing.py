"""What native programs take, without what a call from Python costs."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np

from graphjit.codegen.build import build
from graphjit.codegen.code import Code
from graphjit.codegen.native import compiled
from graphjit.codegen.program import Runnable, work_memory
from graphjit.errors import CompileError
from graphjit.flags import override as flags
from graphjit.launch.kernel import kernel_of
from graphjit.transforms.compiled import Compiled
from graphjit.tuning import Tuning, override

ROUNDS = 25
ROUND = 200_000.0  # nanoseconds of one timing: many calls of a small program
REPEATED = """
define void @repeated(ptr %program, ptr %table, i64 %count) {
entry:
  br label %turn
turn:
  %i = phi i64 [ 0, %entry ], [ %next, %turn ]
  call void %program(ptr %table)
  %next = add i64 %i, 1
  %more = icmp ult i64 %next, %count
  br i1 %more, label %turn, label %end
end:
  ret void
}
"""


class Timed(NamedTuple):
    """A program on arguments: ``run(count)`` runs it so often; what it reads is kept beside it."""

    run: Callable[[int], None]
    kept: Sequence[Any]


@cache
def repeated() -> Callable[..., None]:
    """Call a program many times, in native code."""
    code = Code(compiled(REPEATED), {})
    return code.function("repeated", ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)


def program_of(function: Callable[..., Any], args: Sequence[Any], chosen: Tuning) -> Runnable:
    """The best code of a function, made with some numbers, not kept on disk."""
    with override(chosen), flags(cache=False, tier="best", renderer="llvm", jit=True, threads=1):
        return build(Compiled(function).graph(*args, stage="traced"), "measured")


def timed(program: Runnable, args: Sequence[Any]) -> Timed:
    """A program on arrays, ready to be run."""
    kernel = kernel_of(program)
    if kernel is None or kernel.style != "table":
        raise CompileError("there is no native code to measure")
    outputs = [np.empty(shape, dtype) for shape, dtype in kernel.outputs]
    status = [np.zeros(1, np.int64)]
    arrays = [*args, *kernel.constants, *outputs, *work_memory(kernel.work), *status]
    table = np.array([a.ctypes.data for a in arrays], np.uintp)
    run = partial(repeated(), kernel.address, table.ctypes.data)
    return Timed(run, (program, arrays, table))


def nanoseconds(programs: Mapping[Any, Timed], rounds: int = ROUNDS) -> dict[Any, float]:
    """What one run of each takes: the least of rounds in which each runs in turn."""
    counts = {name: max(1, int(ROUND / max(taken(p, 1), 1.0))) for name, p in programs.items()}
    best = dict.fromkeys(programs, float("inf"))
    for _ in range(rounds):
        for name, program in programs.items():
            best[name] = min(best[name], taken(program, counts[name]) / counts[name])
    return best


def taken(program: Timed, count: int) -> float:
    """The nanoseconds of so many runs."""
    start = time.perf_counter_ns()
    program.run(count)
    return float(time.perf_counter_ns() - start)
