"""Order of storage: random programs of batched products keep their meaning, and gain by it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from graphjit.codegen.loops import (
    Gemm,
)
from graphjit.codegen.walks import walk
from graphjit.ir import Graph, evaluate
from graphjit.ir.verify import verify
from graphjit.passes import arrange as module
from graphjit.passes.adjoint import adjoint
from graphjit.passes.arrange import arrange
from graphjit.passes.pipeline import PRIMAL, PROGRAM, run
from graphjit.tracing import trace as tracing
from random_products import agrees, arguments, program
from running import COMPILED, built, ran

BEFORE = [step for step in PROGRAM if step.name not in ("contractions", "arrange", "fuse")]


@pytest.fixture
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LEAST", 1)
    monkeypatch.setattr(module, "LONG", 4)


small = pytest.mark.usefixtures("_small")


def gradient_of(seed: int) -> Graph:
    """Values and gradients of a random program, ready to be arranged."""
    graph = run(tracing.trace(program(seed), tuple(arguments(seed))).graph, PRIMAL)
    return run(adjoint(graph, (0, 1, 2)), BEFORE)


@small
@pytest.mark.parametrize("block", range(10))
def test_random_programs_keep_their_meaning(block: int) -> None:
    changed = 0
    for seed in range(12 * block, 12 * block + 12):
        graph, values = gradient_of(seed), arguments(seed)
        after = verify(arrange(graph))
        changed += after is not graph
        agrees(evaluate(graph, *values), evaluate(after, *values))
    assert changed >= 4


@small
@COMPILED
def test_compiled_programs_agree(jit: str) -> None:
    for seed in range(1000, 1004 if jit == "numba" else 1030):
        graph, values = gradient_of(seed), arguments(seed)
        agrees(evaluate(graph, *values), ran(graph, values, jit=jit))


def mixture(means: Any, scales: Any, x: Any) -> Any:
    scaled = np.einsum("kij,nkj->nki", scales, x[:, None, :] - means)
    return np.sum(np.exp(-0.5 * np.sum(scaled**2, axis=2)))


def mixture_graph() -> Graph:
    rng = np.random.default_rng(0)
    args = [rng.standard_normal(shape) for shape in ((5, 3), (5, 3, 3), (300, 3))]
    graph = run(tracing.trace(mixture, tuple(args)).graph, PRIMAL)
    return run(adjoint(graph, (0, 1)), BEFORE)


def test_components_lie_one_by_one_and_points_last() -> None:
    """All of (300, 5, 3) is stored as (5, 3, 300); the points are turned once, nothing copied."""
    graph = mixture_graph()
    stored = {
        n.aval.shape
        for n in arrange(graph).nodes
        if n.op in ("subtract", "multiply", "contract") and n.aval.size == 4500
    }
    assert stored == {(5, 3, 300)}
    program = built(graph).loops
    titles = [kernel.title for kernel in program.kernels]
    assert "copy" not in titles
    inside = [s for k in program.kernels for s in walk(k.statements)]
    assert sum(isinstance(s, Gemm) for s in inside) == 2  # the means' gradient is of sums


def test_what_has_no_scattered_product_is_left_alone() -> None:
    def attention(q: Any, k: Any, v: Any) -> Any:
        scores = np.exp(q @ np.swapaxes(k, -1, -2))
        return np.sum((scores / np.sum(scores, axis=-1, keepdims=True)) @ v)

    args = [np.ones((8, 64, 64))] * 3
    graph = run(adjoint(tracing.trace(attention, tuple(args)).graph, (0, 1, 2)), BEFORE)
    assert arrange(graph) is graph
