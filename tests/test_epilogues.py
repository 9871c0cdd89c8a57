"""Small products with the loops that read them, written as one."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from graphjit import value_and_grad
from graphjit.codegen import llvm_epilogue
from graphjit.codegen.build import build
from graphjit.codegen.epilogues import Around, Epilogue, behind, down
from graphjit.codegen.loops import (
    Address,
    Buffer,
    Constant,
    Fill,
    For,
    Gemm,
    Index,
    Let,
    Load,
    LoopProgram,
    Statement,
    Store,
    Value,
)
from graphjit.codegen.lower import lower
from graphjit.codegen.native import host, made_for
from graphjit.codegen.render_llvm import render
from graphjit.flags import override
from graphjit.ir import Builder, Graph, Symbol, aval_of, evaluate
from graphjit.passes.pipeline import PROGRAM, run
from running import assert_near, conforming

F32, F64 = np.dtype(np.float32), np.dtype(np.float64)
dtypes = pytest.mark.parametrize("dtype", [F32, F64], ids=str)
Function = Callable[..., Any]


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[Epilogue]:
    """The epilogues that are written."""
    found: list[Epilogue] = []
    original = llvm_epilogue.Finished.write

    def write(self: llvm_epilogue.Finished) -> None:
        found.append(self.e)
        original(self)

    monkeypatch.setattr(llvm_epilogue.Finished, "write", write)
    return found


def graph_of(f: Function, *args: Any) -> Graph:
    builder = Builder()
    symbols = [Symbol(builder, builder.input(aval_of(x))) for x in args]
    results = f(*symbols)
    results = results if isinstance(results, tuple) else (results,)
    return builder.graph([r.id for r in results])


def agree(graph: Graph, args: list[Any], donated: tuple[tuple[int, int], ...] = ()) -> None:
    """Demand what NumPy computes, from the best code and, bit by bit, from the quick."""
    expected = evaluate(graph, *args)
    with override(tier="best"):
        program = build(graph, "f", (), donated)
    found = program(*conforming(args))
    for e, x in zip(expected, found, strict=True):
        scale = 1e-4 if np.asarray(e).dtype == F32 else 1e-11
        np.testing.assert_allclose(x, e, rtol=scale, atol=scale * (1 + np.abs(e).max(initial=0)))
    with override(tier="auto"):
        quick = build(graph, "f", (), donated)(*conforming(args))
    for x, y in zip(found, quick, strict=True):
        np.testing.assert_array_equal(x, y)


def arrays(seed: int, *shapes: tuple[int, ...], dtype: Any = F64) -> list[Any]:
    rng = np.random.default_rng(seed)
    return [rng.uniform(-1, 1, shape).astype(dtype) for shape in shapes]


# -- random programs -------------------------------------------------------------------------------


MAPS: list[Function] = [
    lambda x, y: np.tanh(x) + y,
    np.maximum,
    lambda x, y: x * y - 0.5,
    lambda x, y: np.where(x > y, x, 0.1 * y),
    lambda x, y: 1 / (1 + np.exp(-x)) * y,
    lambda x, y: (x - y) ** 2,
]


class Random:
    """A program of small products and of what is done with their elements."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.dtype = F32 if self.rng.random() < 0.5 else F64
        self.m, self.n, self.k = (int(x) for x in self.rng.integers(1, 40, 3))
        self.seed = seed

    def arguments(self) -> list[Any]:
        m, n, k = self.m, self.n, self.k
        shapes = (m, k), (k, n), (n, k), (k, m), (n,), (m, 1), (m, n), (m, n)
        return arrays(self.seed, *shapes, dtype=self.dtype)

    def choose(self, items: list[Any]) -> Any:
        return items[int(self.rng.integers(len(items)))]

    def program(self, *args: Any) -> tuple[Any, ...]:
        a, b, bt, at, row, column, one, two = args
        self.rng = np.random.default_rng((self.seed, 1))
        values, results = [one, two], []
        others = [row, column, one, two]
        for _ in range(int(self.rng.integers(1, 4))):
            raw = self.choose([a, at.T]) @ self.choose([b, bt.T])
            x = raw
            for _ in range(int(self.rng.integers(1, 4))):
                x = self.choose(MAPS)(x, self.choose([*others, *values]))
            values.append(x)
            if self.rng.random() < 0.3:
                results.append(raw)
            if self.rng.random() < 0.4:
                results.append(np.sum(x, axis=int(self.rng.integers(2))))
            if self.rng.random() < 0.3:
                results.append(np.sum(x))
            if self.rng.random() < 0.4:
                a = x @ np.tanh(b).T
        return (*results, values[-1])


@pytest.mark.parametrize("seed", range(60))
def test_random_programs_are_what_numpy_computes(seed: int) -> None:
    random = Random(seed)
    args = random.arguments()
    agree(graph_of(random.program, *args), args)


@pytest.mark.parametrize("width", [16, 32])
@pytest.mark.parametrize("seed", range(100, 108))
def test_random_programs_on_narrower_processors(seed: int, width: int) -> None:
    random = Random(seed)
    args = random.arguments()
    with made_for(host()._replace(vector_bytes=width, fma=host().fma and width > 16)):
        agree(graph_of(random.program, *args), args)


def test_random_programs_have_epilogues(written: list[Epilogue]) -> None:
    for seed in range(60):
        random = Random(seed)
        args = random.arguments()
        render(lower(run(graph_of(random.program, *args), PROGRAM)), "f")
    assert len(written) >= 15
    assert any(down(e, s) for e in written for s in e.body if isinstance(s, Store))
    assert {bool(e.row) for e in written} == {True, False}
    assert any(e.kept for e in written)
    assert not all(e.kept for e in written)


def loss(params: Any, x: Any, y: Any) -> Any:
    for w, b in params:
        x = 1 / (1 + np.exp(-(x @ w + b)))
    return np.mean((x - y) ** 2)


@dtypes
@pytest.mark.parametrize("sizes", [(10, 16, 16, 1), (3, 5, 7, 4), (17, 33, 9, 3)], ids=str)
def test_gradients_of_nets(sizes: tuple[int, ...], dtype: Any, written: list[Epilogue]) -> None:
    shapes = [shape for n, m in pairwise(sizes) for shape in ((n, m), (m,))]
    leaves = arrays(0, *shapes, dtype=dtype)
    params = [(leaves[i], leaves[i + 1]) for i in range(0, len(leaves), 2)]
    x, y = arrays(1, (19, sizes[0]), (19, sizes[-1]), dtype=dtype)
    with override(tier="best"):
        value, slopes = value_and_grad(loss)(params, x, y)
    assert len(written) >= 3
    with override(jit=False):
        expected, gradients = value_and_grad(loss)(params, x, y)
    assert_near(np.asarray(expected), np.asarray(value), 8)
    scale = 1e-5 if dtype == F32 else 1e-13
    for pair, other in zip(slopes, gradients, strict=True):
        for g, e in zip(pair, other, strict=True):
            np.testing.assert_allclose(g, e, rtol=100 * scale, atol=scale)


@dtypes
def test_a_result_over_an_operand_of_the_loop(dtype: Any, written: list[Epilogue]) -> None:
    args = arrays(3, (13, 6), (6, 21), (13, 21), dtype=dtype)
    graph = graph_of(lambda a, b, c: np.tanh(a @ b) * c + c, *args)
    agree(graph, args, donated=((0, 2),))
    assert len(written) == 2  # in the best and in the quick code


@dtypes
def test_a_result_over_a_factor_waits_for_the_product(dtype: Any) -> None:
    args = arrays(4, (16, 16), (16, 16), dtype=dtype)
    graph = graph_of(lambda a, b: np.maximum(a @ b, 0) + a, *args)
    agree(graph, args, donated=((0, 0),))
    graph = graph_of(lambda a, b: np.maximum(a @ b, 0) + b, *args)
    agree(graph, args, donated=((0, 1),))


def test_batches_that_threads_share(written: list[Epilogue]) -> None:
    args = arrays(5, (600, 16, 12), (600, 12, 20), (20,))
    graph = graph_of(lambda a, b, c: np.tanh(a @ b + c), *args)
    results = []
    for threads in (1, 2):
        with override(tier="best", threads=threads):
            results.append(build(graph, "f")(*conforming(args))[0])
    assert written
    np.testing.assert_array_equal(*results)
    np.testing.assert_allclose(results[0], evaluate(graph, *args)[0], rtol=1e-11, atol=1e-12)


def test_a_large_factor_by_columns_is_not_put_on_the_stack(written: list[Epilogue]) -> None:
    args = arrays(6, (2, 300), (300, 300), (300,))
    agree(graph_of(lambda a, b, c: np.maximum(a @ b.T + c, 0), *args), args)
    assert not written
    args = arrays(6, (20, 30), (30, 30), (30,))
    agree(graph_of(lambda a, b, c: np.maximum(a @ b.T + c, 0), *args), args)
    assert written


# -- which loops may be epilogues ------------------------------------------------------------------


M, N, K = 6, 8, 4


def buffer(name: str, size: int = M * N, role: Any = "work") -> Buffer:
    return Buffer(name, size, F64, role, (size,))


A, B, C, OUT, MORE = (buffer(n, s) for n, s in zip("abcde", (24, 32, 48, 48, 48), strict=True))
ROW = buffer("row", N)
PRODUCT = Gemm(M, N, K, Address(A, 0), K, False, Address(B, 0), N, False, Address(C, 0), N)
X, Y, Z = (Value(name, F64, 2) for name in "xyz")


def element(b: Buffer, offset: int = 0) -> Address:
    return Address(b, offset, (("i", N), ("j", 1)))


def down_columns(b: Buffer) -> Address:
    return Address(b, 0, (("j", 1),))


USUAL: list[Statement] = [
    Load(X, element(C)),
    Load(Y, down_columns(ROW)),
    Let(Z, "add", (X, Y)),
    Store(element(OUT), Z),
]


def looked_at(
    body: list[Statement],
    between: list[Statement] | None = None,
    after: list[Statement] | None = None,
    once: list[Statement] | None = None,
    **program: Any,
) -> Epilogue | None:
    """The epilogue of the usual product, if the body in a loop may be one."""
    loop = For("i", M, [*(once or []), For("j", N, body)])
    statements: list[Statement] = [PRODUCT, *(between or []), loop]
    whole = LoopProgram([], [], [], **program)
    known = behind(statements, 0, Around(whole, [statements, after or []]))
    return known[0] if known else None


def test_the_usual_loop_is_an_epilogue() -> None:
    e = looked_at(USUAL)
    assert e is not None
    assert not e.kept
    assert looked_at(USUAL, between=[Fill(MORE, Constant(0, F64))]) is not None


def test_a_product_that_others_read_is_kept() -> None:
    e = looked_at(USUAL, after=[Load(X, Address(C, 3))])
    assert e is not None
    assert e.kept
    over = [*USUAL[:3], Store(element(OUT), Z)]
    e = looked_at(over, after=[Load(X, Address(OUT, 3))], aliases={"d": "c"})
    assert e is not None
    assert not e.kept  # what is read later is the result, which lies in the same place


SUMMED = Value("s", F64)
REFUSED: dict[str, dict[str, Any]] = {
    "over the first factor": {"body": USUAL, "aliases": {"d": "a"}},
    "over the memory of the second": {"body": USUAL, "offsets": {"b": 40, "d": 0}},
    "a sum over all": {"body": [*USUAL, Let(SUMMED, "add", (SUMMED, Z))]},
    "other elements of the product": {"body": [Load(X, element(C, 1)), *USUAL[1:]]},
    "other elements of the result": {"body": [Load(Y, element(OUT, 1)), USUAL[0], *USUAL[2:]]},
    "a result for each row": {"body": [*USUAL[:3], Store(Address(OUT, 0, (("i", 1),)), Z)]},
    "columns written again and again": {"body": [*USUAL[:3], Store(down_columns(OUT), Z)]},
    "sums of columns that are read": {
        "body": [*USUAL, Store(down_columns(ROW), Z, "add")],
    },
    "sums of columns over a factor": {
        "body": [*USUAL, Store(down_columns(MORE), Z, "add")], "aliases": {"e": "a"},
    },
    "a fill of a factor": {"body": USUAL, "between": [Fill(A, Constant(0, F64))]},
    "a fill of the product": {"body": USUAL, "between": [Fill(C, Constant(0, F64))]},
    "a load between": {"body": USUAL, "between": [Load(SUMMED, Address(C, 0))]},
    "a place that is computed": {
        "body": [Index(SUMMED, 0, (("j", 1),)), Load(Y, Address(ROW, 0, (("s", 1),))),
                 USUAL[0], *USUAL[2:]],
    },
    "a computed place before the row": {
        "once": [Load(SUMMED, Address(MORE, 0, (("i", 1),)))],
        "body": [Load(Y, Address(ROW, 0, (("s", 1), ("j", 1)))), USUAL[0], *USUAL[2:]],
    },
    "no element of the product": {"body": [USUAL[1], Store(element(OUT), Y)]},
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED.values(), ids=list(REFUSED))
def test_a_loop_that_must_wait_for_the_whole_product(case: dict[str, Any]) -> None:
    assert looked_at(**case) is None
