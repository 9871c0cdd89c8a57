"""Symmetric products: which are, their values, and what is left out of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from graphjit import grad, hessian, jit, vmap
from graphjit.codegen.loops import (
    Gemm,
    Kernel,
    Product,
)
from graphjit.codegen.lower import lower
from graphjit.codegen.walks import walk
from graphjit.flags import override
from graphjit.passes.contractions import contractions
from graphjit.passes.pipeline import PROGRAM, run
from products import simple, traced
from running import WAYS, Way, built, conforming

seed = np.random.default_rng(0)


def marks(f: Callable[..., Any], *args: Any, adjoint: bool = False) -> list[bool]:
    graph = contractions(simple(traced(f, *args, adjoint=adjoint)))
    return [n.params.get("symmetric", False) for n in graph.nodes if n.op == "contract"]


def test_which_products_are_symmetric() -> None:
    x, z, v = np.ones((9, 4)), np.ones((9, 4)), np.ones(9)
    assert marks(lambda x: x.T @ x, x) == [True]
    assert marks(lambda x: x @ x.T, x) == [True]
    assert marks(lambda x: (x.T @ x).T, x) == [True]
    assert marks(lambda x, z: x.T @ z, x, z) == [False]
    assert marks(lambda x: x[:4] @ x[:4], x) == [False]  # a square, but not with its transpose
    assert marks(lambda x, v: x.T @ (v[:, None] * x), x, v) == [False]  # rounding may differ
    assert marks(lambda x, v: x.T @ (v[:, None] * x), x, v, adjoint=True) == [True]
    assert marks(lambda x, v: (-x / v[:, None]).T @ (v[:, None] * x), x, v, adjoint=True) == [True]
    assert marks(lambda x, v: x.T @ (v[:4] * x), x, v, adjoint=True) == [False]  # of its columns
    assert marks(lambda x, v: x.T @ (v[:, None] / x), x, v, adjoint=True) == [False]
    assert marks(lambda x: np.einsum("bij,bik->bjk", x[None], x[None]), x) == [False]
    assert marks(lambda x: np.einsum("ij,ij->", x, x), x) == [False]  # a number
    assert marks(lambda x: np.einsum("ij,ij->i", x, x), x) == [False]


@WAYS
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(700, 50), (130, 100), (40, 33), (5, 3), (0, 40), (6000, 50)])
def test_symmetric_products(shape: tuple[int, int], dtype: Any, jit: Way) -> None:
    x = seed.integers(-9, 10, shape).astype(dtype)  # exact in whatever order it is summed

    def products(x: Any) -> list[Any]:
        return [x.T @ x, 2 * (x.T @ x[:, ::-1].copy()) + 1, x @ x.T]

    found = built(traced(products, x), jit=jit)(*conforming([x]))
    for result, wanted in zip(found, products(x), strict=True):
        np.testing.assert_array_equal(result, wanted)


def multiplications(kernel: Kernel) -> int:
    """Those of the products of a kernel."""
    found = 0
    for s in walk(kernel.statements):
        if isinstance(s, Gemm):
            found += s.m * s.n * s.k
        elif isinstance(s, Product):
            found += s.columns * math.prod(n for n, *_ in (*s.rows, *s.depth))
    return found


def test_a_symmetric_product_leaves_out_what_is_below_the_diagonal() -> None:
    def work(f: Callable[..., Any], *args: Any) -> int:
        program = lower(run(traced(f, *args), PROGRAM))
        return sum(map(multiplications, program.kernels))

    x, z = np.ones((500, 64)), np.ones((500, 64))
    assert 0 < work(lambda x: x.T @ x, x) <= 0.65 * work(lambda x, z: x.T @ z, x, z)
    assert 0 < work(lambda x: x @ x.T, x.T) <= 0.65 * work(lambda x, z: x.T @ z, x, z)
    with override(renderer="numba"):
        assert 0 < work(lambda x: x.T @ x, x) <= 0.65 * work(lambda x, z: x.T @ z, x, z)
    small = np.ones((10, 20))
    assert work(lambda x: x.T @ x, small) == 20 * 20 * 10


def test_hessian_of_logistic_regression() -> None:
    x, s, w = seed.standard_normal((300, 40)), np.sign(seed.standard_normal(300)), np.ones(40)

    def loss(w: Any) -> Any:
        return np.mean(np.logaddexp(0, -s * (x @ w)))

    found, h = hessian(loss)(w), 1 / (1 + np.exp(-s * (x @ w)))
    wanted = (x.T * (h * (1 - h) / 300)) @ x
    np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-15)
    np.testing.assert_array_equal(found[:32, 32:], found[32:, :32].T)

    @jit
    def inside(w: Any, x: Any, s: Any) -> Any:
        return hessian(lambda w: np.mean(np.logaddexp(0, -s * (x @ w))))(w)

    np.testing.assert_allclose(inside(w, x, s), found, rtol=1e-12, atol=1e-15)
    for graph in (hessian(loss).graph(w, stage="fused"), inside.graph(w, x, s, stage="fused")):
        products = [n for n in graph.nodes if n.op == "contract"]
        assert [n.params.get("symmetric") for n in products] == [None, True]


def test_remarks_do_not_stand_in_the_way_of_transformations() -> None:
    x = seed.standard_normal((4, 30, 20))

    def f(x: Any) -> Any:
        return np.sum(jit(lambda x: x.T @ x)(x) ** 2)

    wanted = 4 * np.einsum("bij,bjk->bik", x, np.einsum("bij,bik->bjk", x, x))
    np.testing.assert_allclose(vmap(grad(f))(x), wanted, rtol=1e-12)
