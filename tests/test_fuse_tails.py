"""Functions of rows in loops of their own: random programs, and bodies by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from graphjit.codegen import tails as module
from graphjit.codegen.loops import (
    Address,
    Buffer,
    Check,
    Constant,
    For,
    Kernel,
    Let,
    Load,
    LoopProgram,
    Statement,
    Store,
    Value,
)
from graphjit.codegen.tails import tails
from graphjit.ir import evaluate
from graphjit.passes.adjoint import adjoint
from graphjit.passes.pipeline import PRIMAL, run
from graphjit.tracing import trace as tracing
from running import COMPILED, built, ran

F64, ROWS = np.dtype(np.float64), 300


def logsumexp(x: Any) -> Any:
    m = np.max(x, axis=1, keepdims=True)
    return np.sum(np.squeeze(m, 1) + np.log(np.sum(np.exp(x - m), axis=1)))


def kept(x: Any) -> Any:
    """The logarithm is wanted for each row as well."""
    logs = np.log(np.sum(np.exp(x), axis=1))
    return np.sum(logs), logs


def inside(x: Any) -> Any:
    """And here in the row itself."""
    logs = np.log(np.sum(np.exp(x), axis=1, keepdims=True))
    return np.sum(np.tanh(x - logs)), logs


def loops_of(function: Any, x: Any, jit: Any = False) -> list[int]:
    """How many loops each kernel has."""
    graph = adjoint(run(tracing.trace(function, (x,)).graph, PRIMAL), (0,))
    return [kernel.loops for kernel in built(graph, jit=jit).loops.kernels]


@COMPILED
@pytest.mark.parametrize("function", [logsumexp, kept, inside])
def test_rows_agree(function: Any, jit: str) -> None:
    x = np.random.default_rng(0).standard_normal((ROWS, 11))
    graph = adjoint(run(tracing.trace(function, (x,)).graph, PRIMAL), (0,))
    for got, wanted in zip(ran(graph, [x], jit=jit), evaluate(graph, x), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-12, atol=1e-14)


def test_logarithms_of_rows_are_taken_together() -> None:
    x = np.ones((ROWS, 11))
    assert max(loops_of(logsumexp, x)) == max(loops_of(kept, x)) == 2
    assert max(loops_of(logsumexp, x[:9])) == 1
    assert max(loops_of(inside, x)) == 1


def drawn(seed: int) -> Any:
    """A random formula of elements, of rows, and of what rows come to."""

    def f(x: Any) -> Any:
        random = np.random.default_rng(seed)
        rows, elements, ends = [x[:, 0]], [x], []
        for _ in range(int(random.integers(4, 11))):
            row, element = (v[int(random.integers(len(v)))] for v in (rows, elements))
            match int(random.integers(6)):
                case 0:
                    rows.append(np.sum(np.exp(-np.square(element)), axis=1))
                case 1:
                    rows.append(np.max(element, axis=1))
                case 2:
                    elements.append(element - row[:, None])
                case 3:
                    rows.append(np.log(1.5 + np.square(row)))
                case 4:
                    rows.append(np.tanh(row * rows[0]))
                case _:
                    ends.append(np.mean(row))
        return (sum(ends) + np.mean(rows[-1]) + np.mean(elements[-1]), *rows[1:3])

    return f


@pytest.mark.parametrize("jit", [False, "llvm", "numba"], ids=["python", "llvm", "numba"])
def test_random_programs_keep_their_meaning(jit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ROWS", 2)
    met, plain = [], module.split

    def noted(*args: Any) -> Any:
        met.append(args)
        return plain(*args)

    monkeypatch.setattr(module, "split", noted)
    count = 6 if jit == "numba" else 60
    x = np.random.default_rng(1).standard_normal((19, 5))
    for seed in range(count):
        graph = adjoint(run(tracing.trace(drawn(seed), (x,)).graph, PRIMAL), (0,))
        for got, want in zip(ran(graph, [x], jit=jit), evaluate(graph, x), strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-10, atol=1e-13)
    assert len(met) >= count // 3


# -- by hand: what may go and what may not ------------------------------------------------------


def work(name: str) -> Buffer:
    return Buffer(name, ROWS, F64, "work", (ROWS,))


V = {name: Value(name, F64, 1) for name in ("v1", "v2", "v3", "v4", "v5")}
ROW = ("i", 1)
SOURCE = Buffer("in0", ROWS * 8, F64, "input", (ROWS, 8))
RESULT = Buffer("out0", ROWS, F64, "output", (ROWS,))


def body(*more: Statement) -> list[Statement]:
    """A sum over a row, its logarithm, and whatever follows."""
    element = Load(V["v2"], Address(SOURCE, 0, (("i", 8), ("j", 1))))
    add = Let(V["v1"], "add", (V["v1"], V["v2"]))
    zero = Let(V["v1"], "copy", (Constant(0.0, F64),))
    return [zero, For("j", 8, [element, add]), Let(V["v3"], "log", (V["v1"],)), *more]


def split(*more: Statement) -> bool:
    kernel = Kernel("fused", [For("i", ROWS, body(*more))])
    loops = LoopProgram([kernel], [SOURCE], [RESULT], names=9)
    tails(loops)
    return loops.kernels[0].loops == 2


STORED = Store(Address(RESULT, 0, (ROW,)), V["v3"])


def test_a_result_goes_with_what_it_comes_of() -> None:
    assert split(STORED)
    double = Let(V["v4"], "add", (V["v3"], V["v1"]))
    assert split(double, STORED._replace(value=V["v4"]))


def test_what_others_wait_for_stays() -> None:
    reader = For("j", 8, [Let(V["v4"], "negative", (V["v3"],))])
    assert not split(STORED, reader)
    again = For("j", 8, [Load(V["v4"], Address(RESULT, 0, (ROW,)))])
    assert not split(STORED, again)
    changed = Let(V["v1"], "copy", (Constant(1.0, F64),))
    assert not split(STORED, changed)


def test_what_finds_its_way_by_values_stays() -> None:
    found = Load(V["v5"], Address(SOURCE, 0, (ROW, ("v3", 1))))
    assert not split(found)
    assert not split(Check(V["v5"], V["v3"], 8, 1))
    assert not split(
        Load(V["v4"], Address(SOURCE, 0)), Store(Address(RESULT, 0, (("v4", 1),)), V["v3"])
    )
