"""Shared outer loops: random programs keep their meaning, and arrays between become small."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from graphjit.codegen import share as module
from graphjit.codegen.loops import (
    Address,
    Buffer,
    For,
    Gemm,
    Kernel,
    Load,
    LoopProgram,
    Statement,
    Store,
    Value,
)
from graphjit.codegen.lower import lower
from graphjit.codegen.share import share
from graphjit.ir import evaluate
from graphjit.passes import arrange
from graphjit.passes.adjoint import adjoint
from graphjit.passes.pipeline import PRIMAL, PROGRAM, run
from graphjit.tracing import trace as tracing
from random_products import agrees, arguments, program
from running import built, ran

F64 = np.dtype(np.float64)


@pytest.fixture
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("WORTH", 1), ("LEAST", 1)):
        monkeypatch.setattr(module, name, value)
    monkeypatch.setattr(arrange, "LEAST", 1)
    monkeypatch.setattr(arrange, "LONG", 4)


def shared(loops: LoopProgram) -> list[Kernel]:
    return [kernel for kernel in loops.kernels if ";" in kernel.title]


@pytest.mark.usefixtures("_small")
@pytest.mark.parametrize("jit", [False, "llvm"], ids=["python", "llvm"])
def test_random_programs_keep_their_meaning(jit: str | bool) -> None:
    met = 0
    for seed in range(2000, 2030):
        values = arguments(seed)
        graph = run(tracing.trace(program(seed), tuple(values)).graph, PRIMAL)
        graph = adjoint(graph, (0, 1, 2))
        found = ran(graph, values, jit=jit)
        met += len(shared(built(graph, jit=jit).loops))
        agrees(evaluate(graph, *values), found)
    assert met > 15


def attention(q: Any, k: Any, v: Any) -> Any:
    scores = np.exp(q @ np.swapaxes(k, -1, -2))
    return np.sum((scores / np.sum(scores, axis=-1, keepdims=True)) @ v)


def test_scores_of_attention_live_for_one_turn() -> None:
    args = [np.ones((8, 64, 32))] * 3
    graph = adjoint(run(tracing.trace(attention, tuple(args)).graph, PRIMAL), (0, 1, 2))
    loops = lower(run(graph, PROGRAM))
    assert shared(loops)
    assert sum(n * d.itemsize for d, n in loops.work.items()) < 8 * 64 * 64 * 8


# -- by hand: what may share a loop and what may not -------------------------------------------


def product(source: Buffer, out: Buffer) -> Kernel:
    """Eight products of 16 by 16 matrices that lie one by one."""
    a, c = (Address(b, 0, (("i", 256),)) for b in (source, out))
    return Kernel("contract", [For("i", 8, [Gemm(16, 16, 16, a, 16, False, a, 16, False, c, 16)])])


def loop(extent: int, size: int, read: Address, write: Address, name: str) -> Kernel:
    value = Value(name, F64)
    body: list[Statement] = [Load(value, read), Store(write, value)]
    return Kernel("fused", [For("i", extent, [For("j", size, body)])])


def work(name: str) -> Buffer:
    return Buffer(name, 2048, F64, "work", (2048,))


def rows(buffer: Buffer, *terms: tuple[str, int], offset: int = 0) -> Address:
    return Address(buffer, offset, terms)


SOURCE = Buffer("in0", 2048, F64, "input", (2048,))
RESULT = Buffer("out0", 2048, F64, "output", (2048,))
IN_TURN = ("i", 256), ("j", 1)


@pytest.mark.usefixtures("_small")
@pytest.mark.parametrize(
    ("read", "kernels"),
    [
        (rows(work("t1"), *IN_TURN), 1),
        (rows(work("t1"), ("i", 256), ("j", 1), offset=1), 2),  # the last of each is the next's
        (rows(work("t1"), ("i", -256), ("j", 1), offset=1792), 2),  # from the end
        (rows(work("t1"), ("j", 256), ("i", 1)), 2),  # across
        (rows(work("t1"), ("j", 1)), 2),  # the first, every time
        (rows(work("t1"), ("i", 256), ("v7", 1)), 2),  # somewhere
    ],
)
def test_turns_must_not_meet(read: Address, kernels: int) -> None:
    reader = loop(8, 8 if read.terms[0][0] == "j" and len(read.terms) > 1 else 256, read,
                  rows(RESULT, *IN_TURN), "v1")  # fmt: skip
    loops = LoopProgram([product(SOURCE, work("t1")), reader], [SOURCE], [RESULT])
    share(loops)
    assert len(loops.kernels) == kernels


@pytest.mark.usefixtures("_small")
def test_a_loop_over_all_is_cut() -> None:
    value = Value("v1", F64)
    flat: list[Statement] = [Load(value, rows(work("t1"), ("i", 1))),
                             Store(rows(RESULT, ("i", 1)), value)]  # fmt: skip
    reader = Kernel("fused", [For("i", 2048, flat)])
    loops = LoopProgram([product(SOURCE, work("t1")), reader], [SOURCE], [RESULT])
    share(loops)
    (kernel,) = loops.kernels
    (outer,) = kernel.statements
    assert isinstance(outer, For)
    assert outer.extent == 8
    inside = outer.body[1]
    assert isinstance(inside, For)
    assert inside.extent == 256
    store = inside.body[1]
    assert isinstance(store, Store)
    assert dict(store.address.terms) == {"i": 256, inside.index: 1}
    gemm = outer.body[0]
    assert isinstance(gemm, Gemm)
    assert (gemm.c.buffer.size, gemm.c.terms) == (256, ())


@pytest.mark.usefixtures("_small")
def test_memory_that_others_use_stays_whole() -> None:
    reader = loop(8, 256, rows(work("t1"), *IN_TURN), rows(RESULT, *IN_TURN), "v1")
    loops = LoopProgram([product(SOURCE, work("t1")), reader], [SOURCE], [RESULT])
    share(loops, {"t1"})
    (kernel,) = loops.kernels
    outer = kernel.statements[0]
    assert isinstance(outer, For)
    gemm = outer.body[0]
    assert isinstance(gemm, Gemm)
    assert gemm.c.buffer.size == 2048


@pytest.mark.usefixtures("_small")
def test_what_stands_between_keeps_its_place() -> None:
    """A kernel that needs all of the product and makes what the reader needs."""
    spread = loop(8, 8, rows(work("t1"), ("j", 256), ("i", 1)), rows(work("t2"), ("i", 1)), "v1")
    value, other = Value("v2", F64), Value("v3", F64)
    body: list[Statement] = [
        Load(value, rows(work("t1"), *IN_TURN)),
        Load(other, rows(work("t2"), ("i", 1))),
        Store(rows(RESULT, *IN_TURN), value),
    ]
    reader = Kernel("fused", [For("i", 8, [For("j", 256, body)])])
    kernels = [product(SOURCE, work("t1")), spread, reader]
    loops = LoopProgram(kernels, [SOURCE], [RESULT])
    share(loops)
    assert len(loops.kernels) == 3


def with_ends(first: list[Statement], second: list[Statement]) -> list[Kernel]:
    """A product and a reader with statements after the one's loop and before the other's."""
    reader = loop(8, 256, rows(work("t1"), *IN_TURN), rows(RESULT, *IN_TURN), "v1")
    one = product(SOURCE, work("t1"))
    one.statements += first
    reader.statements[:0] = second
    return [one, reader]


def store(buffer: Buffer) -> list[Statement]:
    return [Load(Value("v8", F64), rows(SOURCE)), Store(rows(buffer), Value("v8", F64))]


def load(buffer: Buffer) -> list[Statement]:
    return [Load(Value("v9", F64), rows(buffer))]


@pytest.mark.usefixtures("_small")
@pytest.mark.parametrize(
    ("first", "second", "kernels"),
    [
        ([], [], 1),
        (store(work("t3")), [], 1),
        ([], load(work("t3")), 1),
        ([], load(work("t1")), 2),  # one element of the whole product
        ([], store(work("t1")), 2),
        (store(work("t1")), [], 2),  # the product is changed once it is whole
        (load(RESULT), [], 2),
        (store(work("t3")), load(work("t3")), 2),
    ],
)
def test_what_is_before_and_after_the_loops_keeps_its_place(
    first: list[Statement], second: list[Statement], kernels: int
) -> None:
    loops = LoopProgram(with_ends(first, second), [SOURCE], [RESULT])
    share(loops)
    assert len(loops.kernels) == kernels


@pytest.mark.parametrize("rows", [3, 700, 2000])
def test_a_loop_of_no_turns_stays_by_itself(rows: int) -> None:
    def function(w: Any, nothing: Any, x: Any) -> Any:
        return np.mean((x @ w) ** 2) + np.sum(nothing**2)

    rng = np.random.default_rng(rows)
    values = [rng.normal(size=(2, 10)), np.zeros(0), rng.normal(size=(rows, 2))]
    graph = run(tracing.trace(function, tuple(values)).graph, PRIMAL)
    agrees(evaluate(graph, *values), ran(graph, values, jit="llvm"))
