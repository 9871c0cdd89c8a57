"""Long sums: numbers come out of them, and products go in with one rounding."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

import graphjit
from graphjit.codegen.llvm_loops import Inner, contracted
from graphjit.codegen.loops import Constant, Let, Value
from graphjit.codegen.native import host, made_for
from graphjit.flags import override
from graphjit.ir import Aval, Builder, Graph, Symbol
from graphjit.passes.addends import LONG
from graphjit.passes.merge import merge
from graphjit.passes.simplify import simplify
from running import WAYS, Way, way

F64, F32 = np.dtype(np.float64), np.dtype(np.float32)
SHAPE = (3, LONG)
Function = Callable[..., Any]


def ops(f: Function, shape: tuple[int, ...] = SHAPE, dtype: Any = F64) -> str:
    """What is left of a function of two arrays, without what costs nothing."""
    builder = Builder()
    x, y = (Symbol(builder, builder.input(Aval(shape, np.dtype(dtype)))) for _ in range(2))
    graph: Graph = simplify(merge(builder.graph([f(x, y).id])))
    free = ("input", "constant", "broadcast")
    return " ".join(n.op for n in graph.nodes if n.op not in free)


RULES: dict[str, tuple[Function, str]] = {
    "a number": (lambda x, y: np.sum(x * 3), "sum multiply"),
    "a negative number": (lambda x, y: np.sum(-3 * x), "sum multiply"),
    "along an axis": (lambda x, y: np.sum(3 * x, axis=1), "sum multiply"),
    "a small number": (lambda x, y: np.sum(x * 0.5), "multiply sum"),
    "an infinite number": (lambda x, y: np.sum(x * np.inf), "multiply sum"),
    "short sums": (lambda x, y: np.sum(3 * x, axis=0), "multiply sum"),
    "squares": (
        lambda x, y: np.sum(3 * x**2 + y**2),
        "square square sum sum multiply add",
    ),
    "equal numbers": (
        lambda x, y: np.sum(3 * x**2 + 3 * y**2),
        "square square add sum multiply",
    ),
    "a small number and a large": (
        lambda x, y: np.sum(3 * abs(x) + 0.3 * y**2),
        "absolute square multiply sum sum multiply add",
    ),
    "no number": (lambda x, y: np.sum(x**2 + y**2), "square square add sum"),
    "two signs": (lambda x, y: np.sum(3 * x**2 - y**2), "square multiply square subtract sum"),
    "two signs and more": (
        lambda x, y: np.sum(3 * x**2 - y**2 + abs(y)),
        "square multiply square subtract absolute add sum",
    ),
    "a negative one": (
        lambda x, y: np.sum(-3 * x**2 + y**2),
        "square multiply square add sum",
    ),
    "any sign": (lambda x, y: np.sum(3 * x**2 + y), "square multiply add sum"),
    "along an axis, two": (
        lambda x, y: np.sum(3 * x**2 + y**2, axis=1),
        "square multiply square add sum",
    ),
}


@pytest.mark.parametrize("name", RULES)
def test_what_comes_out(name: str) -> None:
    f, left = RULES[name]
    assert ops(f) == left


def test_two_sums_in_float64_are_dearer_than_a_product_in_float32() -> None:
    f = RULES["squares"][0]
    assert ops(f, dtype=F32).split().count("sum") == 1
    assert ops(lambda x, y: np.sum(3 * x), dtype=F32) == "sum multiply"


@pytest.mark.parametrize("worst", [np.inf, -np.inf, np.nan, 1e200, -1e308, 5e-324, -0.0])
@pytest.mark.parametrize("name", RULES)
def test_special_values_stay_what_they_are(name: str, worst: float) -> None:
    f = RULES[name][0]
    x, y = np.zeros(SHAPE), np.zeros(SHAPE)
    x[1, 77], y[2, 5] = worst, 2.5
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(graphjit.jit(f)(x, y), f(x, y), rtol=1e-14)


def test_large_terms_that_cancel_may_be_a_number_where_they_overflowed() -> None:
    x = np.zeros(SHAPE)
    x[0, :2] = 1e308, -1e308
    assert graphjit.jit(lambda x: np.sum(3 * x))(x) == 0


# -- programs --------------------------------------------------------------------------------------


def random_sum(rng: np.random.Generator) -> Function:
    """The sum of a few products, squares and others, with numbers in front."""
    parts: list[Function] = [
        lambda x, y: x * y, lambda x, y: x**2, lambda x, y: (x - y) ** 2, lambda x, y: abs(y),
        lambda x, y: np.exp(x), lambda x, y: y * np.sin(x), lambda x, y: x * x * y,
    ]  # fmt: skip
    chosen = [parts[int(i)] for i in rng.integers(0, len(parts), int(rng.integers(1, 4)))]
    numbers = [float(c) for c in rng.choice([1.0, 2.0, 100.0, 0.3, -3.0], len(chosen))]
    axis = None if rng.random() < 0.7 else 1

    def f(x: Any, y: Any) -> Any:
        terms = [c * part(x, y) for c, part in zip(numbers, chosen, strict=True)]
        return np.sum(np.sum(sum(terms[1:], terms[0]), axis=axis) ** 2)

    return f


def check(f: Function, x: Any, y: Any, **flags: Any) -> None:
    """Value and gradients, against those of a sum that is too short for the rules."""
    with override(cache="off", **flags):
        value, (dx, dy) = graphjit.value_and_grad(f, argnums=(0, 1))(x, y)
    close = 1e-3 if x.dtype == np.float32 else 1e-10
    np.testing.assert_allclose(value, f(x, y), rtol=close)
    with pytest.MonkeyPatch.context() as patch, override(cache="off", jit=False):
        patch.setattr("graphjit.passes.addends.LONG", x.size + 1)
        _, expected = graphjit.value_and_grad(f, argnums=(0, 1))(x, y)
    for old, new in zip(expected, (dx, dy), strict=True):
        np.testing.assert_allclose(new, old, rtol=close, atol=close * abs(old).max())


@WAYS
@pytest.mark.parametrize("dtype", [F64, F32], ids=str)
def test_random_sums(dtype: Any, jit: Way) -> None:
    for seed in range(12 if jit == "llvm" else 2):
        rng = np.random.default_rng(seed)
        x, y = (rng.standard_normal((2, LONG + 3)).astype(dtype) for _ in range(2))
        check(random_sum(rng), x, y, **way(jit))


@pytest.mark.parametrize("width", [16, 32, 64])
@pytest.mark.parametrize("fma", [False, True])
def test_random_sums_on_other_processors(width: int, fma: bool) -> None:
    fma &= host().fma
    with made_for(host()._replace(vector_bytes=min(width, host().vector_bytes), fma=fma)):
        for seed in range(20, 26):
            rng = np.random.default_rng(seed)
            x, y = (rng.standard_normal((2, LONG + 3)) for _ in range(2))
            check(random_sum(rng), x, y, renderer="llvm", tier="best")


@pytest.mark.parametrize("tier", ["auto", "best"])
def test_products_are_added_with_one_rounding(tier: str) -> None:
    if not host().fma:
        pytest.skip("this processor has no fma")
    x = np.full(64, 1 + 2.0**-30)
    y = np.full(64, 1 - 2.0**-30)
    x[:32] *= -1  # so a lane rounds to -1 or so first, and is left with 2**-60
    with override(renderer="llvm", cache="off", tier=tier):
        found = graphjit.jit(lambda x, y: np.sum(x * y))(x, y)
        apart = graphjit.jit(lambda x, y: (np.sum(x * y), x * y))(x, y)[0]
    exact = sum(Fraction(a) * Fraction(b) for a, b in zip(x.tolist(), y.tolist(), strict=True))
    assert exact == 0 == apart
    assert 0 < abs(found) <= 64 * 2.0**-60


def test_sums_of_products_are_no_less_exact() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 300_000))
    f = graphjit.jit(lambda x, y: np.sum(100 * (x * y) ** 2 + (1 - x) ** 2))
    exact = math.fsum([*(100 * (x * y) ** 2), *((1 - x) ** 2)])
    assert f(x, y) == pytest.approx(exact, rel=1e-15)


# -- bodies of loops -------------------------------------------------------------------------------

A, B, C, P, Q, S, T = (Value(name, F64) for name in "abcpqst")


def body(*statements: Inner, **folds: str) -> str:
    """The operations of a body whose products have joined their sums."""
    return " ".join(s.op for s in contracted(statements, folds) if isinstance(s, Let))


def test_a_product_joins_its_sum() -> None:
    product, total = Let(P, "multiply", (A, B)), Let(S, "add", (S, P))
    (joined,) = contracted([product, total], {"s": "add"})
    assert isinstance(joined, Let)
    assert (joined.value, joined.op, joined.operands) == (S, "fma", (A, B, S))
    (square,) = contracted([Let(P, "square", (A,)), Let(S, "add", (P, S))], {"s": "add"})
    assert isinstance(square, Let)
    assert square.operands == (A, A, S)


def test_two_sums_take_their_own() -> None:
    statements = (
        Let(P, "multiply", (A, B)), Let(Q, "square", (C,)), Let(S, "add", (S, Q)),
        Let(T, "add", (P, T)),
    )  # fmt: skip
    assert body(*statements, s="add", t="add") == "fma fma"


def test_a_product_that_is_read_elsewhere_stays() -> None:
    product, total = Let(P, "multiply", (A, B)), Let(S, "add", (S, P))
    assert body(product, Let(Q, "exp", (P,)), total, s="add") == "multiply exp add"
    assert body(product, total, Let(T, "add", (T, P)), s="add", t="add") == "multiply add add"


def test_what_is_no_product_stays() -> None:
    assert body(Let(P, "exp", (A,)), Let(S, "add", (S, P)), s="add") == "exp add"
    assert body(Let(S, "add", (S, Constant(1.0, F64))), s="add") == "add"
    assert body(Let(P, "multiply", (A, B)), Let(S, "multiply", (S, P)), s="multiply") == (
        "multiply multiply"
    )
    assert body(Let(P, "multiply", (A, B)), Let(Q, "add", (A, P))) == "multiply add"


def test_other_dtypes_stay() -> None:
    p = Value("p", F32)
    single = Let(p, "multiply", (Value("a", F32), Value("b", F32)))
    assert body(single, Let(S, "add", (S, p)), s="add") == "multiply add"
    i, j = (Value(name, np.dtype(np.int64)) for name in "ij")
    assert body(Let(i, "multiply", (j, j)), Let(j, "add", (j, i)), j="add") == "multiply add"
