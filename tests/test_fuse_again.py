"""What several shared loops compute each for itself: random programs, and programs by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from graphjit.codegen import again as module
from graphjit.codegen import share as sharing
from graphjit.codegen.loops import (
    Address,
    Buffer,
    Constant,
    For,
    Gemm,
    Kernel,
    Let,
    Load,
    LoopProgram,
    Statement,
    Store,
    Value,
)
from graphjit.codegen.lower import lower
from graphjit.codegen.share import share
from graphjit.codegen.walks import walk, writes
from graphjit.ir import evaluate
from graphjit.passes import arrange, costs
from graphjit.passes.adjoint import adjoint
from graphjit.passes.pipeline import PRIMAL, PROGRAM, run
from graphjit.tracing import trace as tracing
from graphjit.tuning import caches
from random_products import agrees, arguments, program
from running import built, ran

F64 = np.dtype(np.float64)


@pytest.fixture
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thresholds at which small programs are treated as large ones."""
    for name, value in (("WORTH", 1), ("LEAST", 1)):
        monkeypatch.setattr(sharing, name, value)
    monkeypatch.setattr(arrange, "LEAST", 1)
    monkeypatch.setattr(arrange, "LONG", 4)
    monkeypatch.setattr(module, "LARGE", 0)
    monkeypatch.setattr(costs, "CACHE", 0)


small = pytest.mark.usefixtures("_small")


def mixture(means: Any, scales: Any, x: Any) -> Any:
    scaled = np.einsum("kij,nkj->nki", scales, x[:, None, :] - means)
    return np.sum(np.log(np.sum(np.exp(-np.sum(scaled**2, axis=2)), axis=1)))


def drawn(k: int, d: int, n: int) -> list[Any]:
    random = np.random.default_rng(k)
    return [random.standard_normal(s) / d for s in ((k, d), (k, d, d), (n, d))]


@small
@pytest.mark.parametrize("jit", [False, "llvm", "numba"], ids=["python", "llvm", "numba"])
def test_a_mixture_makes_differences_twice(jit: str | bool) -> None:
    values = drawn(3, 4, 150)
    graph = adjoint(run(tracing.trace(mixture, tuple(values)).graph, PRIMAL), (0, 1))
    kernels = [k for k in built(graph, jit=jit).loops.kernels if ";" in k.title]
    assert sum("fused subtract" in kernel.title for kernel in kernels) == 2
    agrees(evaluate(graph, *values), ran(graph, values, jit=jit))


def test_differences_of_a_large_mixture_take_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    k, d, n = 50, 8, 4000
    values = drawn(k, d, n)
    graph = adjoint(run(tracing.trace(mixture, tuple(values)).graph, PRIMAL), (0, 1))
    optimised = run(graph, PROGRAM)
    found = []
    for least in (4, 1 << 20):
        monkeypatch.setattr(module, "LARGE", least / caches().second * (1 << 20))
        found.append(lower(optimised).work[F64])
    assert found[1] - found[0] > 0.9 * k * d * n


@small
@pytest.mark.parametrize("jit", [False, "llvm"], ids=["python", "llvm"])
def test_random_programs_keep_their_meaning(jit: str | bool, monkeypatch: Any) -> None:
    met = []
    plain = module.with_nest

    def noted(*args: Any) -> Any:
        met.append(args)
        return plain(*args)

    monkeypatch.setattr(module, "with_nest", noted)
    for seed in range(3000, 3040):
        values = arguments(seed)
        graph = run(tracing.trace(program(seed), tuple(values)).graph, PRIMAL)
        graph = adjoint(graph, (0, 1, 2))
        agrees(evaluate(graph, *values), ran(graph, values, jit=jit))
    assert len(met) > 8


# -- by hand: what may be computed again and what may not ---------------------------------------


def at(buffer: Buffer, *terms: tuple[str, int], offset: int = 0) -> Address:
    return Address(buffer, offset, terms)


def work(name: str) -> Buffer:
    return Buffer(name, 2048, F64, "work", (2048,))


SOURCE, SMALL, OTHER = (Buffer(n, 2048, F64, "input", (2048,)) for n in ("in0", "in1", "in2"))
FIRST, SECOND, MADE = (Buffer(n, 2048, F64, "output", (2048,)) for n in ("out0", "out1", "out2"))
IN_TURN = ("i", 256), ("j", 1)


def maker(source: Buffer, *, op: str = "negative", store: str = "") -> For:
    """t1 = op(source), one turn's part."""
    a, b = Value("v1", F64), Value("v2", F64)
    body: list[Statement] = [
        Load(a, at(source, *IN_TURN)),
        Let(b, op, (a,)),
        Store(at(work("t1"), *IN_TURN), b, store),
    ]
    return For("j", 256, body)


def product(operand: Buffer, out: Buffer, offset: int = 0, step: int = 256) -> Gemm:
    a, c = at(operand, ("i", step), offset=offset), at(out, ("i", 256))
    return Gemm(16, 16, 16, a, 16, False, a, 16, False, c, 16)


def two(nest: For, between: list[Kernel], offset: int = 0) -> LoopProgram:
    """A loop that makes t1 and multiplies it, and a later one that does so too."""
    one = Kernel("contract", [For("i", 8, [nest, product(work("t1"), FIRST)])])
    last = Kernel("contract", [For("i", 8, [product(work("t1"), SECOND, offset)])])
    return LoopProgram([one, *between, last], [SOURCE, SMALL], [FIRST, SECOND], names=9)


def made_again(loops: LoopProgram, foreign: tuple[str, ...] = ()) -> bool:
    parts = [sharing.Part.of(kernel) for kernel in loops.kernels]
    outers = [module.Outer(part.kernel, part.outer) for part in parts]
    changed = module.again(loops, outers, foreign)
    if changed:
        last = outers[-1].kernel
        assert changed == {len(outers) - 1}
        written = [b.name for s in walk(last.statements) for b in writes(s)]
        assert written == ["t10", "out1"]
        names = [s.value.name for s in walk(last.statements) if isinstance(s, Let | Load)]
        assert names == ["v11", "v12"]
    return bool(changed)


def writer(buffer: Buffer) -> Kernel:
    zero = Constant(0.0, F64)
    return Kernel("fused", [For("i", 2048, [Store(at(buffer, ("i", 1)), zero)])])


@small
def test_a_cheap_map_is_made_again() -> None:
    assert made_again(two(maker(SOURCE), []))
    assert made_again(two(maker(SOURCE), [writer(MADE)]))


@small
def test_what_is_dear_or_kept_is_not() -> None:
    costly = maker(SOURCE)
    costly.body[1:2] = [Let(Value(f"v{i + 20}", F64), "exp", (Value("v1", F64),)) for i in range(9)]
    costly.body.insert(-1, Let(Value("v2", F64), "exp", (Value("v28", F64),)))
    assert not made_again(two(costly, []))
    assert not made_again(two(maker(SOURCE), []), ("t1",))


@small
def test_what_is_not_the_same_by_then_is_not() -> None:
    assert not made_again(two(maker(SOURCE), [writer(SOURCE)]))


@small
def test_what_is_not_made_whole_by_one_map_is_not() -> None:
    assert not made_again(two(maker(SOURCE, store="add"), []))
    half = maker(SOURCE)
    assert not made_again(two(For("j", 128, half.body), []))
    assert not made_again(two(maker(work("t1")), []))
    outside = maker(SOURCE)
    outside.body[1] = Let(Value("v2", F64), "add", (Value("v1", F64), Value("v77", F64)))
    assert not made_again(two(outside, []))


@small
def test_a_reader_of_other_turns_is_not_given_its_own() -> None:
    assert not made_again(two(maker(SOURCE), [], offset=1))
    loops = two(maker(SOURCE), [])
    loops.kernels[-1] = Kernel("contract", [For("i", 8, [product(work("t1"), SECOND, step=300)])])
    assert not made_again(loops)
    loops = two(maker(SOURCE), [])
    loops.kernels[-1].statements.append(Load(Value("v8", F64), at(work("t1"))))
    assert not made_again(loops)


@small
def test_small_arrays_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LARGE", 4)
    assert not made_again(two(maker(SOURCE), []))


@small
def test_other_results_of_the_nest_are_left_out() -> None:
    nest = maker(SOURCE)
    extra: list[Any] = [
        Load(Value("v5", F64), at(OTHER, *IN_TURN)),
        Let(Value("v6", F64), "multiply", (Value("v5", F64), Value("v2", F64))),
        Store(at(MADE, *IN_TURN), Value("v6", F64)),
    ]
    nest.body.extend(extra)
    loops = two(nest, [])
    loops.outputs.append(MADE)
    assert made_again(loops)
    share(loops)
