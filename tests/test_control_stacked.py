"""Loops inside loops whose last carry is stacked: it is written where the outer turn is."""

from typing import Any

import numpy as np
import pytest

import graphjit
from graphjit import scan, while_loop
from graphjit.codegen.loops import For
from graphjit.codegen.lower import lower
from graphjit.codegen.walks import walk
from graphjit.flags import override
from graphjit.passes.pipeline import PROGRAM, run
from graphjit.tracing.trace import trace
from running import WAYS, way

TURNS, WIDTH = 3, 5
ROWS = np.random.default_rng(2).uniform(0.2, 0.9, (TURNS, WIDTH))
TIMES = 2


def again(x: Any) -> Any:
    """What each turn of the inner loop does."""
    return x * x * 0.5 + 0.3


def scanned(x: Any) -> Any:
    """By a scan."""
    return scan(lambda s, _: (again(s), None), x, None, length=TIMES)[0]


def asked(x: Any) -> Any:
    """By a loop that asks before each turn."""
    return while_loop(lambda v: v[1] < TIMES, lambda v: (again(v[0]), v[1] + 1), (x, 0))[0]


@WAYS
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("inner", [scanned, asked])
def test_a_last_carry_is_stacked(inner: Any, reverse: bool, jit: Any) -> None:
    def function(rows: Any) -> Any:
        return scan(lambda c, x: (c + 1.0, inner(x) + 0.0), 0.0, rows, reverse=reverse)[1]

    def bare(rows: Any) -> Any:
        return scan(lambda c, x: (c + 1.0, inner(x)), 0.0, rows, reverse=reverse)[1]

    with override(**way(jit)):
        for form in (function, bare):
            np.testing.assert_allclose(graphjit.jit(form)(ROWS), again(again(ROWS)), rtol=1e-14)


@WAYS
def test_the_second_derivative_of_scans_in_scans(jit: Any) -> None:
    def plain(x: Any) -> Any:
        for _ in range(2 * TIMES):
            x = again(x)
        return np.sum(x)

    def nested(x: Any) -> Any:
        return np.sum(scan(lambda c, _: (scanned(c), None), x, None, length=2)[0])

    with override(**way(jit)):
        expected, found = (
            graphjit.grad(lambda x, f=f: np.sum(np.sin(graphjit.grad(f)(x))))(ROWS[0])
            for f in (plain, nested)
        )
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_an_inner_loop_writes_its_carry_in_place() -> None:
    def function(rows: Any) -> Any:
        return scan(lambda c, x: (c, scanned(x)), 0.0, rows)[1]

    program = lower(run(trace(function, (ROWS,)).graph, PROGRAM))
    inner = [s for k in program.kernels for s in walk(k.statements) if isinstance(s, For)]
    (turns,) = [s for s in inner if s.extent == TIMES]
    assert len(turns.body) == 1
    assert program.aliases
