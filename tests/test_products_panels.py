"""Large products in panels of rows: which are, and random layers keep their values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from graphjit.codegen import panels as module
from graphjit.codegen import share
from graphjit.codegen.loops import (
    Address,
    Buffer,
    Constant,
    Fill,
    For,
    Gemm,
    Kernel,
    LoopProgram,
)
from graphjit.codegen.lower import lower
from graphjit.codegen.walks import walk
from graphjit.ir import evaluate
from graphjit.passes.adjoint import adjoint
from graphjit.passes.pipeline import PRIMAL, PROGRAM, run
from products import traced
from running import WAYS, Way, built, conforming

F32, F64 = np.dtype(np.float32), np.dtype(np.float64)


@pytest.fixture
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever can be done in panels is, worth it or not."""
    for name, value in (("ROWS", 3), ("NEAR", range(2, 7)), ("FEWEST", 2)):
        monkeypatch.setattr(module, name, value)
    for name in ("WORTH", "LEAST"):
        monkeypatch.setattr(share, name, 1)
    monkeypatch.setattr(share, "worthless", lambda *_: set())


def in_panels(loops: LoopProgram) -> int:
    """How many products of panels share their loop with something."""
    shared = [k for k in loops.kernels if ";" in k.title]
    loops_of = [s for k in shared for s in k.statements if isinstance(s, For)]
    return sum(isinstance(s, Gemm) for loop in loops_of for s in walk(loop.body))


def layered(number: int) -> Callable[..., Any]:
    """Random layers on 12 rows, with rows, columns and everything reduced now and then."""

    def f(x: Any, w: Any, v: Any, b: Any) -> Any:
        rng = np.random.default_rng(number)
        steps: list[Callable[[Any, Any], Any]] = [
            lambda h, old: h @ w,
            lambda h, old: h @ v.T,
            lambda h, old: np.tanh(h + b),
            lambda h, old: np.maximum(h, 0.1) * old,
            lambda h, old: h - np.max(h, axis=1, keepdims=True),
            lambda h, old: h / (1 + np.sum(h * h, axis=0)),
            lambda h, old: h @ (old.T @ h) * 0.01,
            lambda h, old: h[::-1] + old,
            lambda h, old: np.concatenate([h[1:], old[:1]]),
        ]
        values = [x, np.sin(x @ w + b)]
        for _ in range(int(rng.integers(3, 9))):
            h = values[-1]
            values.append(
                steps[int(rng.integers(len(steps)))](h, values[rng.integers(len(values))])
            )
        return np.mean(values[-1] ** 2), values[-1], values[rng.integers(1, len(values))]

    return f


def arguments(number: int) -> list[Any]:
    rng = np.random.default_rng(number)
    return [rng.standard_normal(s) / 3 for s in ((12, 5), (5, 5), (5, 5), (5,))]


@WAYS
@pytest.mark.usefixtures("_small")
def test_random_layers_keep_their_values(jit: Way) -> None:
    met, count = 0, 3 if jit == "numba" else 40  # Numba takes seconds a program
    for number in range(count):
        values = arguments(number)
        graph = run(traced(layered(number), *values), PRIMAL)
        if number % 3:
            graph = adjoint(graph, (0, 1, 2, 3))
        program = built(graph, jit=jit)
        met += in_panels(program.loops)
        for a, b in zip(evaluate(graph, *values), program(*conforming(values)), strict=True):
            np.testing.assert_allclose(b, a, rtol=1e-9, atol=1e-11)
    assert met > count


@pytest.mark.usefixtures("_small")
def test_threads_may_share_the_loops_of_a_panel(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sum over rows has parts that are set to zero, in a loop of the same program."""
    monkeypatch.setattr(module, "ROWS", 256)
    monkeypatch.setattr(module, "NEAR", range(256, 257))
    args = [x * 0.1 for x in large(columns=1024, rows=512)]
    graph = run(traced(lambda *a: np.sum(network(*a) ** 2), *args), PRIMAL)
    graph = adjoint(graph, (1, 2, 3))
    program = built(graph, jit="llvm")
    assert in_panels(program.loops)
    for a, b in zip(evaluate(graph, *args), program(*conforming(args)), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-3, atol=1e-4)


def network(x: Any, w: Any, v: Any, b: Any) -> Any:
    return np.tanh(x @ w + b) @ v


def large(columns: int = 256, rows: int = 4096) -> list[Any]:
    rng = np.random.default_rng(0)
    shapes = (rows, 8), (8, columns), (columns, 4), (columns,)
    return [rng.standard_normal(s).astype(F32) for s in shapes]


def lowered(f: Callable[..., Any], args: list[Any]) -> LoopProgram:
    return lower(run(traced(f, *args), PROGRAM))


def work(loops: LoopProgram) -> int:
    return sum(n * d.itemsize for d, n in loops.work.items())


def test_layers_that_hand_on_much_share_their_panels() -> None:
    loops = lowered(network, large())
    assert in_panels(loops) == 2
    assert work(loops) <= 2 * 128 * 260 * 4 + 4096  # what is between them has room for a panel


def test_layers_that_hand_on_little_do_not() -> None:
    assert not in_panels(lowered(network, large(columns=64)))  # a row of it
    assert not in_panels(lowered(network, large(rows=1024)))  # all of it
    assert not in_panels(lowered(network, large(rows=4099)))  # a prime cannot be divided


def test_what_is_kept_for_the_backward_pass_is_computed_whole() -> None:
    args = large()
    graph = run(traced(lambda *a: np.sum(network(*a) ** 2), *args), PRIMAL)
    loops = lower(run(adjoint(graph, (1, 2)), PROGRAM))
    assert not in_panels(loops)
    assert any(isinstance(s, Gemm) and s.m == 4096 for k in loops.kernels for s in k.statements)


@pytest.mark.parametrize("jit", ["numba", "llvm"])
def test_large_layers(jit: Way) -> None:
    args = large()
    found = built(traced(network, *args), jit=jit)(*conforming(args))
    np.testing.assert_allclose(found[0], network(*args), rtol=1e-4, atol=1e-4)


# -- by hand -----------------------------------------------------------------------------------


def buffer(name: str, size: int, role: Any = "work") -> Buffer:
    return Buffer(name, size, F64, role, (size,))


def product(m: int, *, transposed: bool = False) -> Kernel:
    a, b, c = buffer("a", m * 4, "input"), buffer("b", 32, "input"), buffer("c", m * 8)
    s = Gemm(m, 8, 4, Address(a, 5), m if transposed else 4, transposed, Address(b, 0), 8, False,
             Address(c, 7), 8)  # fmt: skip
    return Kernel("contract", [s])


def test_panels_are_even() -> None:
    assert [module.panel(m) for m in (4096, 10_000, 1000, 512, 511, 4099)] == [
        128, 125, 125, 64, 0, 0,
    ]  # fmt: skip


def test_a_product_in_panels() -> None:
    (loop,) = module.cut([product(1000)])["c"].statements
    assert isinstance(loop, For)
    assert loop.extent == 8
    (s,) = loop.body
    assert isinstance(s, Gemm)
    assert (s.m, s.n, s.k) == (125, 8, 4)
    assert (s.a.offset, s.a.terms, s.b.terms) == (5, (("i", 500),), ())
    assert (s.c.offset, s.c.terms) == (7, (("i", 1000),))


def test_what_is_not_cut() -> None:
    both = Kernel("contract", [*product(1000).statements, *product(1000).statements])
    fill = Kernel("fill", [Fill(buffer("d", 9), Constant(0, F64))])
    assert module.cut([product(1000, transposed=True), both, fill, product(1009)]) == {}
