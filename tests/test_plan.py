"""The memory plan, checked by lifetimes found anew; and outputs that overwrite inputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from graphjit.codegen.build import launcher, runtime
from graphjit.codegen.loops import LoopProgram, Store
from graphjit.codegen.lower import lower
from graphjit.codegen.pack import Arena
from graphjit.codegen.plan import arena, argument_order
from graphjit.codegen.program import work_memory
from graphjit.codegen.render_numba import render
from graphjit.codegen.texts import compiled
from graphjit.ir import Builder, Graph, Symbol, aval_of, evaluate
from graphjit.ir.aval import dtype_name
from graphjit.passes.adjoint import adjoint
from graphjit.passes.pipeline import PROGRAM, run
from plan_checks import buffers_in, check_plan, check_written_first, flat, written
from random_graphs import random_graph
from running import conforming
from zoo import ZOO, Animal

animals = pytest.mark.parametrize("animal", ZOO, ids=lambda animal: animal.name)
BOTH = pytest.mark.parametrize("jit", [False, True], ids=["python", "numba"])


def gradient(animal: Animal) -> Graph:
    graph, _ = animal.trace()
    floats = [i for i, ident in enumerate(graph.inputs) if graph.nodes[ident].aval.inexact]
    return adjoint(graph, floats)


@animals
def test_nothing_that_lives_at_once_overlaps_in_the_zoo(animal: Animal) -> None:
    program = lower(run(gradient(animal), PROGRAM))
    check_plan(program)
    check_written_first(program)


@pytest.mark.parametrize("block", range(10))
def test_nothing_that_lives_at_once_overlaps_in_random_graphs(block: int) -> None:
    for seed in range(3000 + 10 * block, 3010 + 10 * block):
        program = lower(run(random_graph(seed, 20 + seed % 60), PROGRAM))
        check_plan(program)
        check_written_first(program)


def chain(length: int) -> LoopProgram:
    """A chain of products, each a kernel of its own."""
    builder = Builder()
    x, w = (builder.input(aval_of(np.ones((16, 16)))) for _ in range(2))
    for _ in range(length):
        x = builder.emit("tanh", builder.emit("contract", x, w, spec="ij,jk->ik"))
    return lower(run(builder.graph([x]), PROGRAM))


def test_a_deep_chain_needs_no_more_memory_than_a_short_one() -> None:
    short, deep = chain(5), chain(300)
    assert len(deep.kernels) == 600
    assert deep.work == short.work
    assert arena(deep) <= 3 * 256 * 8
    check_plan(deep)


def test_a_wide_program_needs_what_is_alive_at_once() -> None:
    builder = Builder()
    x, w = (builder.input(aval_of(np.ones((16, 16)))) for _ in range(2))
    kept = [builder.emit("contract", x, w, spec="ij,jk->ik")]
    for _ in range(9):
        kept.append(builder.emit("contract", kept[-1], w, spec="ij,jk->ik"))
    total = kept[0]
    for other in reversed(kept):
        total = builder.emit("contract", total, other, spec="ij,jk->ik")
    program = lower(builder.graph([total]))
    check_plan(program)
    assert arena(program) <= 11 * 256 * 8


@pytest.mark.parametrize("seed", range(20))
def test_an_arena_never_gives_what_is_taken(seed: int) -> None:
    rng, arena = np.random.default_rng(seed), Arena()
    taken: dict[int, int] = {}
    most = 0
    for _ in range(300):
        if taken and rng.random() < 0.5:
            offset = int(rng.choice(list(taken)))
            arena.release(offset, taken.pop(offset))
        else:
            size = int(rng.integers(1, 9)) * 8
            offset = arena.take(size)
            for start, length in taken.items():
                assert offset + size <= start or start + length <= offset
            taken[offset] = size
        most = max(most, sum(taken.values()))
        assert all(start + length <= arena.size for start, length in taken.items())
        assert sum(taken.values()) + sum(n for _, n in arena.free) <= arena.size
    assert arena.size <= 2 * most + 64


# -- donation --------------------------------------------------------------------------------------

SQUARE, VECTOR = np.arange(16.0).reshape(4, 4) / 16, np.arange(4.0) / 4


def graph_of(function: Callable[..., Any], *args: Any) -> tuple[Graph, list[Any]]:
    """The fused graph and the values of its inputs, arrays that the function holds included."""
    builder = Builder()
    symbols = [Symbol(builder, builder.input(aval_of(x))) for x in args]
    graph = run(builder.graph([y.id for y in function(*symbols)]), PROGRAM)
    return graph, [*args, *builder.captured]


def executed(program: LoopProgram, args: list[Any], *, jit: bool = False) -> dict[str, Any]:
    """Every array of the program after it ran, by name."""
    source = render(program, "donation", runtime(jit=jit))
    order = argument_order(program)
    constants = {b.name: np.ascontiguousarray(v) for b, v in program.constants}
    values = {b.name: v for b, v in zip(program.inputs, args, strict=True)} | constants
    work = work_memory([(size, dtype) for dtype, size in program.work.items()])
    values |= {f"work_{dtype_name(array.dtype)}": array for array in work}
    arrays = {
        b.name: values[b.name] if b.name in values else np.zeros(b.shape, b.dtype) for b in order
    }
    launcher(compiled(source, "donation"), jit=jit)(tuple(arrays.values()))
    return arrays


def donate(
    function: Callable[..., Any], *args: Any, donated: dict[int, int], jit: bool = False
) -> tuple[LoopProgram, list[Any]]:
    """Run with donation; the outputs, those donated read from the inputs they overwrite."""
    graph, values = graph_of(function, *args)
    expected = [np.copy(v) for v in evaluate(graph, *values)]
    program = lower(graph, donated=donated)
    check_plan(program)
    check_written_first(program)
    arrays = executed(program, conforming(values), jit=jit)
    found = [
        arrays[(program.inputs[donated[p]] if p in donated else b).name]
        for p, b in enumerate(program.outputs)
    ]
    for position, (old, new) in enumerate(zip(expected, found, strict=True)):
        np.testing.assert_allclose(new, old, rtol=1e-14, err_msg=f"output {position}")
    return program, found


@BOTH
def test_an_elementwise_update_happens_in_place(jit: bool) -> None:
    program, _ = donate(lambda w, g: (w - 0.1 * g,), SQUARE, SQUARE + 1, donated={0: 0}, jit=jit)
    assert program.aliases == {"out0": "in0"}
    assert len(program.kernels) == 1


@BOTH
def test_what_is_read_again_later_is_overwritten_at_the_end(jit: bool) -> None:
    program, _ = donate(
        lambda w, x: (w * 0.5, np.sum(np.sin(x @ w)), w @ x),
        SQUARE,
        SQUARE + 1,
        donated={0: 0},
        jit=jit,
    )
    assert program.aliases == {"out0": "in0"}


ONE, TWO = (SQUARE,), (SQUARE, SQUARE + 1)
FIRST, BOTH_OF_THEM = {0: 0}, {0: 0, 1: 1}
CASES: dict[str, tuple[Callable[..., Any], tuple[Any, ...], dict[int, int]]] = {
    "transposed read": (lambda w: (w.T + 1,), ONE, FIRST),
    "both ways": (lambda w: (w.T + w,), ONE, FIRST),
    "flipped read": (lambda w: (w[::-1] * 2,), ONE, FIRST),
    "shifted read": (lambda w: (np.concatenate([w[1:], w[:1]]),), ONE, FIRST),
    "row read by every row": (lambda w: (w + w[0],), ONE, FIRST),
    "a product of itself": (lambda w: (w @ w,), ONE, FIRST),
    "a running sum": (lambda w: (np.cumsum(w, axis=1),), ONE, FIRST),
    "a softmax": (lambda w: (np.exp(w) / np.sum(np.exp(w), axis=1)[:, None],), ONE, FIRST),
    "normed by its own total": (lambda w: (w / np.sum(w),), ONE, FIRST),
    "itself": (lambda w: (w,), ONE, FIRST),
    "swapped": (lambda a, b: (b, a), TWO, BOTH_OF_THEM),
    "each of the other": (lambda a, b: (np.sin(b), np.cos(a)), TWO, BOTH_OF_THEM),
    "crossed": (lambda a, b: (a @ b, a + b), TWO, BOTH_OF_THEM),
    "read by another output": (lambda a, b: (a * 2, b + a.T), TWO, BOTH_OF_THEM),
    "output read later": (lambda a, b: (a * 2, (a * 2) @ b), TWO, FIRST),
    "the same output twice": (lambda a: (a + 1, a + 1), ONE, FIRST),
    "a constant": (lambda a: (np.zeros((4, 4)) + 0 * a[0, 0], a), ONE, FIRST),
    "momentum": (lambda w, v: (w - 0.1 * (0.9 * v + 1), 0.9 * v + 1), TWO, BOTH_OF_THEM),
    "a gather": (lambda w: (np.take(w, [3, 0, 0, 1], axis=0),), ONE, FIRST),
}


@pytest.mark.parametrize("name", CASES)
def test_donated_or_not_the_outputs_are_the_same(name: str) -> None:
    function, args, donated = CASES[name]
    program, _ = donate(function, *args, donated=donated)
    assert set(program.aliases) <= {f"out{p}" for p in donated}
    for out, into in program.aliases.items():
        assert_no_crossed_read(program, out, into)
    if name == "momentum":
        assert set(program.aliases) == {"out0", "out1"}


def assert_no_crossed_read(program: LoopProgram, out: str, into: str) -> None:
    """No kernel from the writer on reads the overwritten input at another place than it writes."""
    names = {b.name: b for b in (*program.inputs, *program.outputs)}
    seen = False
    for kernel in program.kernels:
        statements = list(flat(kernel.statements))
        stores = [s for s in statements if written(s) == names[out]]
        if stores:
            seen = True
            places = {(s.address.offset, s.address.terms) for s in stores if isinstance(s, Store)}
            for statement in statements:
                address = getattr(statement, "address", None)
                if address is not None and address.buffer == names[into]:
                    assert (address.offset, address.terms) in places
        elif seen:
            assert all(names[into] not in buffers_in(s) for s in statements)
    assert seen


def test_donated_cases_compiled() -> None:
    for name in ("both ways", "momentum", "read by another output", "swapped"):
        function, args, donated = CASES[name]
        donate(function, *args, donated=donated, jit=True)


@pytest.mark.parametrize("seed", range(40))
def test_random_updates_in_place(seed: int) -> None:
    """Three matrices, each replaced by a random expression of all."""
    rng = np.random.default_rng(seed)

    def expression(symbols: Any) -> Any:
        a, b = (symbols[i] for i in rng.integers(0, 3, 2))
        forms: list[Callable[[], Any]] = [
            lambda: a + b, lambda: a.T * b, lambda: a @ b, lambda: np.sin(a) - b[::-1],
            lambda: a / (1 + np.sum(b**2)), lambda: a, lambda: np.cumsum(a, axis=1) * b,
        ]  # fmt: skip
        return forms[int(rng.integers(len(forms)))]()

    def function(*symbols: Any) -> Any:
        values = list(symbols)
        values += [expression(values[:3]) for _ in range(3)]
        return [values[int(i)] + 0.5 * values[int(j)] for i, j in rng.integers(0, 6, (3, 2))]

    args = [rng.normal(size=(4, 4)) for _ in range(3)]
    order = [int(i) for i in rng.permutation(3)]
    donate(function, *args, donated=dict(enumerate(order)))
