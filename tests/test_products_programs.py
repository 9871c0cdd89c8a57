"""Programs with small matrix products, as the LLVM renderer writes them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from graphjit import grad, jit
from graphjit.codegen.lower import lower
from graphjit.codegen.render_llvm import render
from graphjit.flags import override
from graphjit.ir import Builder, Symbol, aval_of
from graphjit.passes.pipeline import PROGRAM, run

dtypes = pytest.mark.parametrize("dtype", [np.dtype(np.float32), np.dtype(np.float64)], ids=str)


def text_of(f: Callable[..., Any], *args: Any) -> tuple[str, set[str]]:
    """The rendered text of a function of arrays, and what it calls elsewhere."""
    builder = Builder()
    symbols = [Symbol(builder, builder.input(aval_of(x))) for x in args]
    graph = run(builder.graph([f(*symbols).id]), PROGRAM)
    rendered = render(lower(graph), "f")
    return rendered.text, set(rendered.symbols)


def test_small_products_call_no_library_and_large_ones_do() -> None:
    small, large = np.ones((12, 12)), np.ones((600, 600))
    text, symbols = text_of(lambda a: a @ a, small)
    assert "call void @rows_f64_12x12x12" in text
    assert not symbols
    text, symbols = text_of(lambda a: a @ a, large)
    assert "graphjit_dgemm" in symbols
    assert "@rows_" not in text


def test_loops_remain_for_what_they_do_as_well() -> None:
    two, three = np.ones((2, 2)), np.ones(3)
    assert "call void @rows_f64_2x2x2" in text_of(lambda a: a @ a, two)[0]
    for f, x in ((lambda x: x @ x, three), (lambda x: np.outer(x, x), three)):
        assert "_f64_" not in text_of(f, x)[0]
    with override(renderer="numba"):
        assert "_f64_" not in text_of(lambda a: a @ a, two)[0]


def test_products_that_are_alike_are_one_function() -> None:
    text, _ = text_of(lambda a, b: (a @ b) @ b, np.ones((12, 12)), np.ones((12, 12)))
    assert text.count("define internal void @rows_f64_12x12x12") == 1
    assert text.count("call void @rows_f64_12x12x12") == 1  # by the one kernel for both
    assert text.count("call void @kernel0(") == 2


def test_the_text_of_a_product_is_short() -> None:
    text, _ = text_of(lambda a, b: a @ b, np.ones((100, 50)), np.ones((50, 50)))
    assert len(text.splitlines()) < 250


@pytest.mark.parametrize("shape", [(0, 3, 4), (3, 0, 4), (3, 4, 0), (0, 0, 0), (5, 6, 0)])
def test_products_without_elements_or_without_terms(shape: tuple[int, int, int]) -> None:
    m, n, k = shape
    a, b = np.ones((m, k)), np.ones((k, n))
    np.testing.assert_array_equal(jit(lambda a, b: a @ b)(a, b), a @ b)


@dtypes
def test_programs_with_products_of_all_forms(dtype: np.dtype[Any]) -> None:
    seed = np.random.default_rng(2)
    a, b, x = (seed.standard_normal(s).astype(dtype) for s in ((12, 20), (20, 16), (20,)))
    batch = seed.standard_normal((3, 12, 20)).astype(dtype)

    def products(np: Any, a: Any, b: Any, x: Any, batch: Any) -> list[Any]:
        return [
            a @ b, b.T @ a.T, a @ a.T, a.T @ a, a @ x, x @ b, b.T @ x, np.outer(x, x),
            a[2:9, 3:15] @ b[4:16, 1:11], a[::2] @ b, batch @ b, batch @ a.T,
            np.einsum("bij,bkj->bik", batch, batch), np.einsum("bij,bik->jk", batch, batch),
            a[:, ::3] @ x[::3], b[:, 4] @ b,
        ]  # fmt: skip

    for got, wanted in zip(
        jit(lambda *args: products(np, *args))(a, b, x, batch),
        products(np, a, b, x, batch), strict=True,
    ):  # fmt: skip
        assert got.dtype == dtype
        limit = 40 * np.finfo(dtype).eps * np.abs(wanted).max()
        np.testing.assert_allclose(got, wanted, rtol=0, atol=limit)


@dtypes
def test_gradients_of_a_small_net(dtype: np.dtype[Any]) -> None:
    seed = np.random.default_rng(1)
    x, w, v = (seed.standard_normal(s).astype(dtype) for s in ((32, 10), (10, 16), (16, 3)))

    def loss(w: Any, v: Any) -> Any:
        return (((x @ w) @ v) ** 2).sum()

    dw, dv = grad(loss, argnums=(0, 1))(w, v)
    error = 2 * (x @ w @ v)
    for got, wanted in ((dv, (x @ w).T @ error), (dw, x.T @ (error @ v.T))):
        limit = 200 * np.finfo(dtype).eps * np.abs(wanted).max()
        np.testing.assert_allclose(got, wanted, rtol=0, atol=limit)
