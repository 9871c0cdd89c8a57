"""About how long a program runs: long enough to let others run meanwhile, or not."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from graphjit.codegen.loops import (
    For,
    Gemm,
    Gemv,
    If,
    Let,
    LoopProgram,
    PickedGemv,
    Product,
    Statement,
    While,
)
from graphjit.codegen.mathematics import described

LONG = 10_000.0  # nanoseconds; giving the lock away and taking it back costs about 50
# A loop that takes less is not shared: to wake a thread takes 20 microseconds. What is counted here
# takes no vectors into account: it is four to eight times what a loop takes.
SHARED = 200_000.0
# In a program that takes that long there is more to share, and threads look for it for a while
# before they sleep: to give them something takes 2 microseconds.
AWAKE = 1_000_000.0
AMONG_OTHERS = 0.5
CALLED = (
    20_000.0  # a product that takes less is never one for which a BLAS wakes threads of its own
)
DEAR = frozenset({"fmod", "rare"})  # besides the functions that are described


def estimate(program: LoopProgram) -> float:
    """About how many nanoseconds a run takes; infinity where a loop's length is not known."""
    return sum(duration(kernel.statements) for kernel in program.kernels)


def duration(statements: Sequence[Statement]) -> float:
    """About how many nanoseconds statements take."""
    return math.fsum(map(cost, statements))


def least(kernels: Iterable[Sequence[Statement]]) -> float:
    """How long a loop of these kernels must be for threads to share it."""
    whole = math.fsum(filter(math.isfinite, map(duration, kernels)))
    return SHARED if whole < AWAKE else AMONG_OTHERS * SHARED


def cost(s: Statement) -> float:
    """About how many nanoseconds a statement takes."""
    match s:
        case For():
            return s.extent * duration(s.body)
        case While():
            return math.inf
        case If():
            return max(duration(s.then), duration(s.otherwise))
        case Gemm():
            return 0.1 * s.m * s.n * s.k
        case Product():
            turns = math.prod(n for n, _, _ in (*s.rows, *s.depth))
            return 0.1 * turns * s.columns
        case Gemv() | PickedGemv():
            return 0.3 * s.rows * s.columns
        case Let() if s.op in DEAR or described(s.op, s.value.dtype):
            return 3.0
    return 0.2
