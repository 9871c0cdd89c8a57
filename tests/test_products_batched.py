"""Batched products, axes in every order: no copies, and blocks where rows are far apart."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import graphjit
from graphjit.codegen.loops import (
    For,
    Gemm,
    Gemv,
    LoopProgram,
    Product,
    Store,
)
from graphjit.codegen.lower import lower
from graphjit.codegen.walks import walk
from graphjit.flags import override
from graphjit.passes.pipeline import PROGRAM, run
from graphjit.tracing import trace as tracing
from running import WAYS, Way, built, conforming, ran, way

SPECS = {
    "bij,bjk->bik": ((8, 6, 7), (8, 7, 5)),
    "bqd,bkd->bqk": ((8, 16, 9), (8, 16, 9)),
    "bqk,bqd->bkd": ((8, 16, 9), (8, 16, 5)),
    "bqhd,bkhd->bhqk": ((2, 20, 3, 9), (2, 12, 3, 9)),
    "bhqk,bkhd->bqhd": ((2, 3, 20, 12), (2, 12, 3, 9)),
    "nkd,kde->nke": ((531, 25, 10), (25, 10, 7)),
    "nke,kde->nkd": ((531, 25, 7), (25, 10, 7)),
    "nkd,nke->kde": ((531, 25, 10), (531, 25, 7)),
    "nkd,nke->ked": ((531, 25, 10), (531, 25, 7)),
    "bij,bj->bi": ((40, 6, 7), (40, 7)),
    "bi,bi->b": ((40, 7), (40, 7)),
    "ijk,jkl->il": ((6, 5, 4), (5, 4, 3)),
    "ijk,kjl->il": ((6, 5, 4), (4, 5, 3)),
    "ijk,lj->ilk": ((6, 5, 4), (3, 5)),
    "i,j->ij": ((9,), (7,)),
    "ij,j->i": ((9, 7), (7,)),
    "ij,i->j": ((9, 7), (9,)),
    "i,i->": ((70,), (70,)),
}
FAR = ("nkd,kde->nke", "nke,kde->nkd")
specs = pytest.mark.parametrize("spec", SPECS)


def operands(spec: str, dtype: Any) -> list[Any]:
    """Small whole numbers: sums are exact in every order."""
    rng = np.random.default_rng(len(spec))
    return [rng.integers(-9, 10, shape).astype(dtype) for shape in SPECS[spec]]


def program(spec: str, renderer: str = "llvm") -> LoopProgram:
    graph = graphjit.jit(lambda a, b: np.einsum(spec, a, b)).graph(
        *operands(spec, float), stage="traced"
    )
    with override(**way(renderer)):
        return lower(run(graph, PROGRAM))


@specs
@WAYS
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_values(spec: str, dtype: Any, jit: Way) -> None:
    a, b = operands(spec, dtype)
    graph = graphjit.jit(lambda a, b: np.einsum(spec, a, b)).graph(a, b, stage="traced")
    found = built(graph, jit=jit)(*conforming([a, b]))[0]
    np.testing.assert_array_equal(found, np.einsum(spec, a, b))


@specs
def test_nothing_is_copied(spec: str) -> None:
    assert [k.title for k in program(spec).kernels if k.title == "copy"] == (
        ["copy"] if spec == "ijk,kjl->il" else []
    )


@pytest.mark.parametrize("spec", FAR)
def test_rows_that_are_far_apart_are_taken_some_at_a_time(spec: str) -> None:
    (kernel,) = program(spec).kernels
    whole, rest = (s for s in kernel.statements if isinstance(s, For))
    rows = [s.m for s in walk([whole, rest]) if isinstance(s, Gemm)]
    assert rows[0] * whole.extent + rows[1] * rest.extent == 531
    assert rows[0] < 40
    assert isinstance(whole.body[0], For)
    assert whole.body[0].extent == 25


def test_sums_along_such_rows_are_taken_in_parts_by_code_of_our_own() -> None:
    for spec in ("nkd,nke->kde", "nkd,nke->ked"):
        parts = [s for k in program(spec).kernels for s in walk(k.statements)]
        assert sum(isinstance(s, Product) for s in parts) == 2
        kernels = program(spec, "numba").kernels
        assert any(isinstance(s, Gemm) for k in kernels for s in walk(k.statements))
    near = [s for k in program("bqk,bqd->bkd").kernels for s in walk(k.statements)]
    assert not any(isinstance(s, Product | Gemv) for s in near)


@pytest.mark.parametrize("strided", ["first", "second"])
def test_only_what_is_in_the_way_is_copied(strided: str) -> None:
    """Every other column of one operand: the other is read where it is."""
    random = np.random.default_rng(2)
    x, w = random.standard_normal((9, 16)), random.standard_normal((8, 20))

    def first(x: Any, w: Any) -> Any:
        return x[:, ::2] @ w

    def second(x: Any, w: Any) -> Any:
        return w.T @ x.T[::2]

    function = first if strided == "first" else second
    graph = tracing.trace(function, (x, w)).graph
    copied = [
        s.address.buffer.size
        for kernel in built(graph).loops.kernels
        for s in walk(kernel.statements)
        if isinstance(s, Store)
    ]
    assert copied == [72]
    np.testing.assert_allclose(ran(graph, [x, w])[0], function(x, w), rtol=1e-12)
