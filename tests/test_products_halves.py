"""Batches of products of which masks leave a triangle: which are, and the gradients."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest

from graphjit.codegen import triangles as lowering
from graphjit.codegen.loops import For, Gemm, Statement
from graphjit.codegen.lower import lower
from graphjit.ir import Graph, evaluate
from graphjit.ir.parse import parse
from graphjit.passes import halves as remarks
from graphjit.passes.adjoint import adjoint
from graphjit.passes.pipeline import PRIMAL, PROGRAM, Pipeline, run
from products import traced
from running import WAYS, Way, built, conforming

Function = Callable[..., Any]
BEFORE = Pipeline(step for step in PROGRAM if step.name not in ("nested", "fuse"))


@pytest.fixture
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remarks, "LEAST", 3)
    monkeypatch.setattr(remarks, "DEPTH", 2)
    for name, value in (("OWN_PANEL", 2), ("OWN_WORTH", 1), ("SHARE", 1.0)):
        monkeypatch.setattr(lowering, name, value)


def gradient(f: Function, *args: Any) -> Graph:
    return adjoint(run(traced(f, *args), PRIMAL), tuple(range(len(args))))


def wanted(f: Function, *args: Any) -> list[Any]:
    """What is said of the products in the gradient."""
    graph = run(gradient(f, *args), BEFORE)
    assert parse(str(graph)) == graph
    return [n.params["wanted"] for n in graph.nodes if "wanted" in n.params]


def batch(d: int, n: int = 256, k: int = 3) -> tuple[Any, Any]:
    rng = np.random.default_rng(d)
    return rng.standard_normal((k, d, d)), rng.standard_normal((n, k, d))


def low(a: Any, offset: int = 0) -> Any:
    return np.tri(a.shape[-1], k=offset) * a


def loss(part: Function, spec: str = "kij,nkj->kni") -> Function:
    return lambda a, x: np.sum(np.sin(np.einsum(spec, part(a), x)) ** 2)


PARTS: dict[str, tuple[Function, Any]] = {
    "below": (lambda a: low(a, -1), -1),
    "with the diagonal": (low, 0),
    "some above": (lambda a: low(a, 2), 2),
    "chosen": (lambda a: np.tril(a, 1), 1),
    "two masks": (lambda a: low(a, -1) + np.eye(a.shape[-1]) * np.exp(a), 0),
    "two chosen": (lambda a: low(a, -2) + np.tril(np.sin(a), 1), 1),
    "turned": (lambda a: low(np.swapaxes(a, 1, 2), -1), -1),
    "above": (lambda a: np.triu(a, 2), -2),
    "all of it too": (lambda a: low(a) + a, None),
    "two sides": (lambda a: low(a, -1) + np.triu(a, 1), None),
    "another mask": (lambda a: (a.shape[-1] > np.arange(a.shape[-1])) * a, None),
    "along the batch": (lambda a: a * np.tri(a.shape[0], a.shape[1])[:, :, None], None),
    "part of it": (lambda a: low(a)[:, ::-1], None),
}


@pytest.mark.parametrize("name", PARTS)
def test_which_part_is_wanted(name: str) -> None:
    part, offset = PARTS[name]
    found = wanted(loss(part), *batch(20))
    assert [o for _, _, o in found] == ([] if offset is None else [offset])


def test_small_ones_stay() -> None:
    assert wanted(loss(low), *batch(15)) == []
    assert wanted(loss(low), *batch(20, n=200)) == []
    a, x = np.ones((20, 20)), np.ones((256, 20))
    assert wanted(lambda a, x: np.sum(np.sin(x @ low(a).T)), a, x) == []  # no batch


def test_a_product_that_is_a_result_stays() -> None:
    a, x = batch(20)

    def f(a: Any, b: Any, x: Any) -> Any:
        return np.sum(np.sin(np.einsum("kij,nkj->kni", low(a) + b, x)) ** 2)

    assert wanted(f, a, a, x) == []


def test_forward_products_stay() -> None:
    a, x = batch(20)
    graph = run(traced(lambda a, x: low(np.einsum("nki,nkj->kij", x, x)), a, x), BEFORE)
    assert not any("wanted" in n.params for n in graph.nodes)


def check(name: str, spec: str, d: int, jit: Way) -> None:
    a, x = batch(d, n=7)
    graph = gradient(loss(PARTS[name][0], spec), a, x)
    found = built(graph, jit=jit)(*conforming([a, x]))
    for one, two in zip(evaluate(graph, a, x), found, strict=True):
        np.testing.assert_allclose(two, one, rtol=1e-9, atol=1e-10)


@WAYS
@pytest.mark.usefixtures("_small")
@pytest.mark.parametrize("name", ["two masks", "above"])
def test_gradients(name: str, jit: Way) -> None:
    check(name, "kij,nkj->nki", 16, jit)


@pytest.mark.usefixtures("_small")
@pytest.mark.parametrize("spec", ["kij,nkj->kni", "kji,nkj->nki", "kij,nki->njk"])
@pytest.mark.parametrize("name", PARTS)
def test_gradients_of_every_kind(name: str, spec: str) -> None:
    for d in (16, 19):
        check(name, spec, d, "llvm")


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_large_gradients(dtype: Any) -> None:
    a, x = (v.astype(dtype) for v in batch(24, n=900))
    graph = gradient(loss(PARTS["two masks"][0]), a, x)
    found = built(graph, jit="llvm")(*conforming([a, x]))
    close = 1e-9 if dtype == np.float64 else 2e-3
    for one, two in zip(evaluate(graph, a, x), found, strict=True):
        np.testing.assert_allclose(two, one, rtol=close, atol=close)


def multiplications(statements: Iterable[Statement], times: int = 1) -> int:
    found = 0
    for s in statements:
        if isinstance(s, For):
            found += multiplications(s.body, times * s.extent)
        elif isinstance(s, Gemm):
            found += times * math.prod((s.m, s.n, s.k))
    return found


def work(f: Function, *args: Any) -> int:
    loops = lower(run(gradient(f, *args), PROGRAM))
    return sum(multiplications(kernel.statements) for kernel in loops.kernels)


def test_what_is_left_out() -> None:
    a, x = batch(20, n=1000)
    whole = a.size * 1000
    assert work(loss(lambda a: 2 * a), a, x) == 3 * whole
    assert work(loss(low), a, x) == 2 * whole + whole * 5 // 8
