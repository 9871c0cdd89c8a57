"""Triangular products: which are, their values, infinities and NaN, and what is left out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from graphjit import grad, jit
from graphjit.codegen import triangles as lowering
from graphjit.codegen.loops import (
    Address,
    Buffer,
    For,
    Gemm,
    If,
    LoopProgram,
    Store,
)
from graphjit.codegen.lower import lower
from graphjit.codegen.walks import walk
from graphjit.ir import evaluate
from graphjit.ir.parse import parse
from graphjit.passes import triangles as remarks
from graphjit.passes.adjoint import adjoint
from graphjit.passes.contractions import contractions
from graphjit.passes.pipeline import PRIMAL, PROGRAM, run
from products import simple, traced
from running import WAYS, Way, built, conforming

F64 = np.dtype(np.float64)


@pytest.fixture
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remarks, "LEAST", 3)
    for name, value in (("PANEL", 2), ("STEP", 2), ("WORTH", 1), ("SHARE", 1.0)):
        monkeypatch.setattr(lowering, name, value)


def remarked(f: Callable[..., Any], *args: Any, adjoint: bool = False) -> list[Any]:
    graph = contractions(simple(traced(f, *args, adjoint=adjoint)))
    assert parse(str(graph)) == graph
    products = [n.params for n in graph.nodes if n.op == "contract"]
    return [{**p, "spec": ""} for p in products]


def test_which_products_are_triangular() -> None:
    a, x = np.ones((80, 70)), np.ones((70, 4))
    assert remarked(lambda a, x: np.tril(a) @ x, a, x) == [
        {"spec": "", "zeros": (0, "j", "i", 0, True)}
    ]
    assert remarked(lambda a, x: np.triu(a, 5) @ x, a, x, adjoint=True) == [
        {"spec": "", "zeros": (0, "i", "j", -5, False)}
    ]
    assert remarked(lambda a, x: x.T @ np.tril(a, -3).T, a, x)[0]["zeros"][0] == 1
    assert remarked(lambda a, x: np.tril(a @ x), a, np.ones((70, 80))) == [
        {"spec": "", "wanted": ("k", "i", 0)}
    ]
    assert remarked(lambda a, x: [np.tril(a @ x), a @ x], a, np.ones((70, 80))) == [{"spec": ""}]
    both = remarked(lambda a, x: [np.tril(a @ x), np.sin(a @ x)], a, np.ones((70, 80)))
    assert both == [{"spec": ""}]
    assert remarked(lambda a, x: (np.tril(a) + 1) @ x, a, x) == [{"spec": ""}]
    assert remarked(lambda a, x: np.tril(a[:8]) @ x, a, x) == [{"spec": ""}]  # small


def test_products_with_masks_are_triangular() -> None:
    a, x, w = np.ones((80, 70)), np.ones((70, 4)), np.ones((80, 80))

    def mask(a: Any) -> Any:
        return np.tril(np.ones(a.shape), 2)

    masked = {"spec": "", "zeros": (0, "j", "i", 2, 2)}
    assert remarked(lambda a, x: (mask(a) * a) @ x, a, x) == [masked]
    assert remarked(lambda a, x: (a * (mask(a) > 0)) @ x, a, x) == [masked]
    assert remarked(lambda x, w: np.triu(np.ones((80, 80))) @ w, x, w) == [
        {"spec": "", "zeros": (0, "i", "j", 0, 1)}
    ]
    backward = remarked(lambda a, x: (mask(a) * a) @ x, a, x, adjoint=True)
    assert backward == [{"spec": "", "zeros": (0, "j", "i", 2, 0)}]
    product = a, np.ones((70, 70))
    assert remarked(lambda a, y: mask(a) * (a @ y), *product) == [{"spec": ""}]  # NaN where it is
    assert remarked(lambda a, y: mask(a) * (a @ y), *product, adjoint=True) == [
        {"spec": "", "wanted": ("k", "i", 2)}
    ]
    mixed = remarked(lambda a, y: mask(a) * (a @ y) ** 2, *product, adjoint=True)
    assert mixed == [{"spec": ""}]
    held = np.tril(np.ones((80, 70)))  # whose contents may change
    assert remarked(lambda a, x: (held * a) @ x, a, x) == [{"spec": ""}]


@WAYS
@pytest.mark.usefixtures("_small")
def test_masked_products(jit: Way) -> None:
    rng = np.random.default_rng(0)
    for (m, k, n), offset in (((18, 21, 5), -1), ((17, 16, 4), 3)):
        a, x = rng.standard_normal((m, k)), rng.standard_normal((k, n))
        for part in (np.tril, np.triu):

            def f(a: Any, x: Any, part: Any = part, offset: int = offset) -> Any:
                t = part(np.ones(a.shape), offset) * a
                return t @ x, x.T @ t.T, t.T @ (t @ x), part(np.ones(a.shape), offset) @ x

            program = built(traced(f, a, x), jit=jit)
            for row, column, hole in ((0, k - 1, np.inf), (m - 1, 0, np.nan), (0, 0, -np.inf)):
                whole, a[row, column] = a[row, column], hole
                with np.errstate(invalid="ignore"):
                    found = program(*conforming([a, x]))
                    for one, two in zip(f(a, x), found, strict=True):
                        np.testing.assert_allclose(two, one, rtol=1e-9, atol=1e-12)
                a[row, column] = whole


SHAPES = [(13, 13, 5), (9, 14, 4), (14, 9, 3), (6, 6, 6)]


@WAYS
@pytest.mark.usefixtures("_small")
def test_triangular_products(jit: Way) -> None:
    rng = np.random.default_rng(0)
    for m, k, n in SHAPES[: 2 if jit == "numba" else None]:
        a, x = rng.standard_normal((m, k)), rng.standard_normal((k, n))
        for offset in (-30, -2, 0, 3, 30) if jit != "numba" else (1,):
            for part in (np.tril, np.triu):

                def f(a: Any, x: Any, part: Any = part, offset: int = offset) -> Any:
                    t = part(a, offset)
                    return t @ x, x.T @ t.T, t.T @ (t @ x), part(t @ x @ x.T, offset)

                graph = traced(f, a, x)
                program = built(graph, jit=jit)
                if offset == -2 and m == k:
                    assert branches(program.loops) or part is np.triu
                for hole in (0.0, np.inf, np.nan):
                    x[k // 2, 1] = hole or x[k // 2, 1]
                    with np.errstate(invalid="ignore"):
                        found = program(*conforming([a, x]))
                        for one, two in zip(f(a, x), found, strict=True):
                            np.testing.assert_allclose(two, one, rtol=1e-9, atol=1e-12)
                x[k // 2, 1] = 1.0


@WAYS
@pytest.mark.usefixtures("_small")
def test_gradients(jit: Way) -> None:
    rng = np.random.default_rng(1)
    for offset, size in ((-1, 12), (2, 12), (-1, 19)):
        a, x = rng.standard_normal((size, size)), rng.standard_normal((size, 5))

        def loss(a: Any, x: Any, offset: int = offset, size: int = size) -> Any:
            low = np.tril(a, offset) if size < 16 else a * np.tri(size, k=offset)
            high = np.triu(a, offset)
            return np.sum(np.sin(low @ x) ** 2) + np.sum((x.T @ high) * 0.5 @ (low @ high @ x))

        graph = adjoint(run(traced(loss, a, x), PRIMAL), (0, 1))
        with np.errstate(invalid="ignore"):
            found = built(graph, jit=jit)(*conforming([a, x]))
        for one, two in zip(evaluate(graph, a, x), found, strict=True):
            np.testing.assert_allclose(two, one, rtol=1e-9, atol=1e-12)


def branches(loops: LoopProgram) -> int:
    return sum(isinstance(s, If) for k in loops.kernels for s in walk(k.statements))


def work(f: Callable[..., Any], *args: Any, wrt: tuple[int, ...] = ()) -> int:
    """Multiplications of a program; of two sides of a branch the first, where all is finite."""
    graph = run(traced(f, *args), PRIMAL)
    loops = lower(run(adjoint(graph, wrt) if wrt else graph, PROGRAM))
    statements = [s for k in loops.kernels for s in k.statements]
    statements += [t for s in statements if isinstance(s, If) for t in s.then]
    return sum(s.m * s.n * s.k for s in statements if isinstance(s, Gemm))


def test_what_is_left_out() -> None:
    a, x = np.ones((256, 256)), np.ones((256, 64))
    whole = 256 * 256 * 64
    assert work(lambda a, x: np.tril(a) @ x, a, x) == whole * 5 // 8
    assert work(lambda a, x: x.T @ np.triu(a), a, x) == whole * 5 // 8
    assert work(lambda a, x: np.tril(a, 200) @ x, a, x) == whole  # too little
    assert work(lambda a, x: np.sum((np.tril(a) @ x) ** 2), a, x, wrt=(0, 1)) == 3 * whole * 5 // 8


@pytest.mark.parametrize("small", ["m", "n"])
@pytest.mark.parametrize("offset", [-40, 0, 17])
def test_what_is_not_computed_of_a_result_is_set_to_zero(small: Any, offset: int) -> None:
    a, c = Buffer("a", 96 * 64, F64, "input"), Buffer("c", 96 * 96, F64, "work")
    whole = Gemm(96, 96, 64, Address(a, 0), 64, False, Address(a, 0), 64, True, Address(c, 0), 96)
    names = iter(f"v{i}" for i in range(99))
    half = lowering.Half("m", "n", small, offset)
    found = lowering.by_half(whole, half, lambda: next(names))
    assert found is not None
    written = np.zeros((96, 96), int)
    for s in found:
        inner = s.body[0] if isinstance(s, For) else s
        if isinstance(s, For) and isinstance(inner, For) and isinstance(inner.body[0], Store):
            row, column = divmod(inner.body[0].address.offset, 96)
            written[row : row + s.extent, column : column + inner.extent] += 1
        elif isinstance(s, Gemm):
            row, column = divmod(s.c.offset, 96)
            written[row : row + s.m, column : column + s.n] += 1
            wanted = np.tri(96, 96, offset) if small == "n" else np.tri(96, 96, offset).T
            assert wanted[row : row + s.m, :column].sum() == 0
            assert wanted[row : row + s.m, column + s.n :].sum() == 0
    assert (written == 1).all()


def test_gradients_of_large_triangles() -> None:
    rng = np.random.default_rng(2)
    a, x = rng.standard_normal((200, 200)), rng.standard_normal((200, 40))
    t = np.tril(a)
    da, dx = grad(lambda a, x: np.sum((np.tril(a) @ x) ** 2), argnums=(0, 1))(a, x)
    np.testing.assert_allclose(da, np.tril(2 * t @ x @ x.T), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(dx, 2 * t.T @ (t @ x), rtol=1e-9, atol=1e-9)


def test_zero_times_infinity_is_nan_as_in_numpy() -> None:
    a, x = np.ones((200, 200)), np.ones((200, 40))
    x[150, 3], x[20, 7] = np.inf, np.nan
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(jit(lambda a, x: np.tril(a) @ x)(a, x), np.tril(a) @ x)


@pytest.mark.parametrize("shape", [(3,), (1,), (0,), (3, 5), (5, 3), (0, 4), (2, 3, 4)])
@pytest.mark.parametrize("part", [np.tril, np.triu])
def test_triangles_of_any_shape(part: Any, shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(3).standard_normal(shape)
    for k in (-9, -1, 0, np.int64(1), 2, 9):
        found = jit(lambda x, k=k: part(x, k))(x)
        assert found.dtype == x.dtype
        np.testing.assert_array_equal(found, part(x, k))
    with pytest.raises(TypeError, match="integer"):
        jit(lambda x: part(x, 1.5))(x)
    assert jit(lambda x: part(x, 10**12))(x).shape == part(x).shape  # more than its int32 holds
