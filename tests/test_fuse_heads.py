"""Functions of what rows begin with in loops of their own: programs, and bodies by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from graphjit.codegen.heads import heads
from graphjit.codegen.loops import (
    Address,
    Buffer,
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
from graphjit.codegen.walks import walk
from graphjit.ir import evaluate
from graphjit.passes.adjoint import adjoint
from graphjit.passes.pipeline import PRIMAL, run
from graphjit.tracing import trace as tracing
from running import COMPILED, built, ran

F64, ROWS = np.dtype(np.float64), 300


def scaled(x: Any, v: Any) -> Any:
    """An exponential for each row, and what is made of it."""
    return (1 / (1 + np.exp(-v)) * np.exp(v))[:, None] * x


def stored(x: Any, v: Any) -> Any:
    """The function of the row is wanted itself, and in a sum."""
    y = np.tanh(v)
    return np.sum(y[:, None] * x, axis=1), y, np.sum(y)


def after(x: Any, v: Any) -> Any:
    """Another function waits for the row."""
    y = np.log1p(v * v)
    s = np.sum(np.exp(x) * y[:, None], axis=1, keepdims=True)
    return x / np.log(s + 2) + np.sin(y)[:, None]


def total(results: Any) -> Any:
    """One number of all of them."""
    return sum(np.sum(y * y) for y in (results if isinstance(results, tuple) else (results,)))


@COMPILED
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("function", [scaled, stored, after])
def test_rows_agree(function: Any, dtype: Any, jit: str) -> None:
    rng = np.random.default_rng(0)
    for rows in (ROWS, 257):
        x, v = (rng.uniform(-1, 1, s).astype(dtype) for s in ((rows, 7), (rows,)))
        graph = tracing.trace(lambda x, v: total(function(x, v)), (x, v)).graph
        tolerance = 1e-4 if dtype == np.float32 else 1e-12
        for g in (tracing.trace(function, (x, v)).graph, adjoint(run(graph, PRIMAL), (0, 1))):
            for found, wanted in zip(ran(g, [x, v], jit=jit), evaluate(g, x, v), strict=True):
                np.testing.assert_allclose(found, wanted, rtol=tolerance, atol=tolerance)


def test_functions_come_first() -> None:
    x, v = np.ones((ROWS, 7)), np.ones(ROWS)
    for function, loops in ((scaled, 2), (stored, 2), (after, 2)):
        kernels = built(tracing.trace(function, (x, v)).graph, jit=False).loops.kernels
        assert max(kernel.loops for kernel in kernels) == loops
    few = built(tracing.trace(scaled, (x[:20], v[:20])).graph, jit=False).loops.kernels
    assert max(kernel.loops for kernel in few) == 1


# -- by hand ---------------------------------------------------------------------------------------

V = {name: Value(name, F64, 1) for name in ("v1", "v2", "v3", "v4", "v5")}
SOURCE = Buffer("in0", ROWS, F64, "input", (ROWS,))
RESULT = Buffer("out0", ROWS * 8, F64, "output", (ROWS, 8))
PLACE = Address(RESULT, 0, (("i", 8), ("j", 1)))
GIVEN = Load(V["v1"], Address(SOURCE, 0, (("i", 1),)))
FUNCTION = Let(V["v2"], "exp", (V["v1"],))


def split(*head: Statement, inner: tuple[Statement, ...] = ()) -> LoopProgram | None:
    """A loop with this head, and a loop inside that stores ``v2``."""
    body = [*head, For("j", 8, [*inner, Store(PLACE, V["v2"])])]
    loops = LoopProgram([Kernel("fused", [For("i", ROWS, body)])], [SOURCE], [RESULT], names=9)
    heads(loops)
    return loops if loops.kernels[0].loops == 2 else None


def test_what_is_needed_goes_along_under_another_name() -> None:
    program = split(GIVEN, FUNCTION)
    assert program is not None
    first, second = program.kernels[0].statements
    assert isinstance(first, For)
    assert isinstance(second, For)
    names = [[s.value for s in x.body if isinstance(s, Let | Load)] for x in (first, second)]
    assert len(names[0]) == 2
    assert names[1] == [V["v2"]]
    assert not {v.name for v in names[0]} & V.keys()
    again = split(GIVEN, FUNCTION, inner=(Let(V["v4"], "negative", (V["v1"],)),))
    assert again is not None
    assert GIVEN in walk(again.kernels[0].statements[1:])


def test_what_goes_on_with_a_result_goes_along() -> None:
    program = split(GIVEN, FUNCTION._replace(value=V["v3"]), Let(V["v2"], "square", (V["v3"],)))
    assert program is not None
    [kernel] = program.kernels
    stores = [s for s in walk(kernel.statements) if isinstance(s, Store)]
    assert len(stores) == 2  # one value a row, and the result


@pytest.mark.parametrize(
    "head",
    [
        (GIVEN, Let(V["v2"], "negative", (V["v1"],))),  # is not dear
        (Let(V["v1"], "copy", (Constant(0.0, F64),)), Let(V["v1"], "copy", (V["v2"],)), FUNCTION),
        (Load(V["v1"], Address(RESULT, 0, (("i", 8),))), FUNCTION),  # which the loop overwrites
    ],
)
def test_what_may_not_come_earlier_stays(head: tuple[Statement, ...]) -> None:
    assert split(*head) is None


def test_what_the_row_updates_stays() -> None:
    update = Let(V["v1"], "add", (V["v1"], V["v1"]))
    assert split(GIVEN, FUNCTION, inner=(update,)) is None
    assert split(GIVEN, FUNCTION, inner=(FUNCTION,)) is None
