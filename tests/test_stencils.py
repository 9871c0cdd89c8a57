"""Overlapping slices: their adjoints become pieces side by side, with the same meaning."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphjit
from graphjit import train
from graphjit.codegen.loops import (
    Fill,
    LoopProgram,
)
from graphjit.codegen.walks import walk
from graphjit.flags import override
from graphjit.ir import Graph, evaluate
from graphjit.ir.verify import verify
from graphjit.passes import seams
from graphjit.passes.adjoint import adjoint
from graphjit.passes.boxes import Box, boxes, extent, split, within
from graphjit.passes.compare import agree, outcome
from graphjit.passes.pipeline import PRIMAL, parse_pipeline, run
from graphjit.passes.stitch import stitch
from graphjit.testing import check_grads
from graphjit.tracing import trace as tracing
from running import COMPILED, built, ran

Function = Callable[[Any], Any]
BEFORE = parse_pipeline("inline,prune,fold,simplify,merge,fold,simplify,merge,prune,order")


def rosenbrock(x: Any) -> Any:
    return np.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def curvature(x: Any) -> Any:
    return np.sum((x[2:] - 2 * x[1:-1] + x[:-2]) ** 2)


def rough(x: Any) -> Any:
    return np.sum((x[1:, :] - x[:-1, :]) ** 2) + np.sum((x[:, 1:] - x[:, :-1]) ** 2)


def variation(x: Any) -> Any:
    down, right = x[1:, :-1] - x[:-1, :-1], x[:-1, 1:] - x[:-1, :-1]
    return np.sum(np.sqrt(down**2 + right**2 + 1e-3))


def heat(x: Any) -> Any:
    inner = x[1:-1, 1:-1]
    new = inner + 0.1 * (x[2:, 1:-1] + x[:-2, 1:-1] + x[1:-1, 2:] + x[1:-1, :-2] - 4 * inner)
    return np.sum(np.tanh(new))


def heat_twice(x: Any) -> Any:
    for _ in range(2):
        x = x[1:-1] + 0.2 * (x[2:] - 2 * x[1:-1] + x[:-2])
    return np.sum(x**2)


def autoregression(x: Any) -> Any:
    return np.mean((x[3:] - 0.5 * x[2:-1] - 0.3 * x[1:-2] + 0.1 * np.sin(x[:-3])) ** 2)


def differences(x: Any) -> Any:
    return np.sum(np.diff(x, n=2, axis=0) ** 2) + np.sum(np.exp(np.diff(x, axis=-1)))


def dear(x: Any) -> Any:
    y = np.tanh(x)
    return np.sum(y[1:] * y[:-1]) + np.sum(np.exp(x))


def strided(x: Any) -> Any:
    return np.sum(x[::2][: len(x[1::2])] * x[1::2]) + np.sum(x[::-1][1:] * x[:-1] ** 2)


def backwards(x: Any) -> Any:
    turned = x[::-1]
    return np.sum((turned[1:] - turned[:-1] ** 2) ** 2)


def mirrored(x: Any) -> Any:
    return np.sum(np.sin(x[::-1] * 2)[1:] * np.sin(x[1:] * 2)) + np.sum(x[::-1] * x**2)


def rooted(x: Any) -> Any:
    return np.sqrt(np.sum((x[1:] - x[:-1]) ** 2) + 1)


def unpacked(x: Any) -> Any:
    a, b, c, d = x[0], x[1], x[2], x[3]
    return np.sum(a * b + np.sin(c) * d + a)


def recurrence(x: Any) -> Any:
    state = x[0]
    for t in range(1, len(x)):
        state = np.tanh(0.5 * state + x[t])
    return np.sum(state)


STENCILS: list[tuple[Function, tuple[int, ...]]] = [
    (rosenbrock, (2,)), (rosenbrock, (3,)), (rosenbrock, (50,)), (rosenbrock, (5, 4)),
    (curvature, (3,)), (curvature, (4,)), (curvature, (40,)), (curvature, (9, 3)),
    (rough, (2, 2)), (rough, (1, 6)), (rough, (7, 5)), (rough, (6, 6)), (rough, (4, 5, 3)),
    (variation, (6, 7)), (heat, (3, 3)), (heat, (6, 7)), (heat_twice, (5,)), (heat_twice, (30,)),
    (autoregression, (30,)), (autoregression, (4,)), (differences, (5, 6)), (dear, (30,)),
    (strided, (9,)), (strided, (10,)), (backwards, (12,)), (mirrored, (11,)),
    (rooted, (20,)), (unpacked, (4,)), (unpacked, (4, 3)), (recurrence, (8,)), (recurrence, (8, 2)),
]  # fmt: skip
stencils = pytest.mark.parametrize(
    ("function", "shape"), STENCILS, ids=[f"{f.__name__}-{s}" for f, s in STENCILS]
)


def sample(shape: tuple[int, ...], seed: int = 0) -> Any:
    return np.random.default_rng(seed).normal(size=shape)


def value_and_gradient(function: Function, x: Any) -> Graph:
    """The graph of both, ready to be stitched."""
    return run(adjoint(run(tracing.trace(function, (x,)).graph, PRIMAL), (0,)), BEFORE)


def same(graph: Graph, x: Any) -> Graph:
    """The stitched graph, once it is seen to be a graph of the same meaning."""
    after = verify(stitch(graph))
    for old, new in zip(evaluate(graph, x), evaluate(after, x), strict=True):
        np.testing.assert_allclose(new, old, rtol=1e-12, atol=1e-12)
        assert np.shape(new) == np.shape(old)
    return after


# -- meaning -------------------------------------------------------------------------------------


@pytest.mark.parametrize("large", [1, seams.LARGE])
@stencils
def test_stitching_keeps_the_meaning(
    function: Function, shape: tuple[int, ...], large: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seams, "LARGE", large)
    x = sample(shape)
    same(value_and_gradient(function, x), x)


@COMPILED
@stencils
def test_programs_give_what_the_graph_says(
    function: Function, shape: tuple[int, ...], jit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seams, "LARGE", 1)
    x = sample(shape)
    graph = value_and_gradient(function, x)
    for old, new in zip(evaluate(graph, x), ran(graph, [x], jit=jit), strict=True):
        np.testing.assert_allclose(new, old, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("function", [rosenbrock, rough, variation, heat_twice, dear, strided])
def test_second_derivatives(function: Function) -> None:
    shape = (4, 5) if function in (rough, variation) else (7,)
    check_grads(function, (sample(shape),), order=2)


def test_a_batch_of_stencils() -> None:
    gradient = graphjit.grad(rosenbrock)
    x = sample((3, 9))
    each = np.stack([gradient(row) for row in x])
    np.testing.assert_allclose(graphjit.vmap(gradient)(x), each, rtol=1e-12)


def test_training_writes_over_what_the_pieces_read() -> None:
    """New parameters take the place of the old, of which each piece reads its neighbours."""

    def loss(x: Any, y: Any) -> Any:
        return np.sum((x[1:] - x[:-1]) ** 2) + 0.01 * np.mean((x - y) ** 2)

    x, y = sample((30,)), sample((4, 30), 1)
    found = train.minimize(loss, x, (y,), train.sgd(0.1), batch_size=4, epochs=5, shuffle=False)
    for _ in range(5):
        step = np.diff(x)
        slope = np.append(0.0, 2 * step) - np.append(2 * step, 0.0)
        x = x - 0.1 * (slope + 0.01 * 2 * np.sum(x - y, axis=0) / y.size)
    np.testing.assert_allclose(found.params, x, rtol=1e-12)


@pytest.mark.parametrize("shape", [(0,), (1,), (0, 3), (3, 0), (1, 1)])
def test_slices_without_elements(shape: tuple[int, ...]) -> None:
    def function(x: Any) -> Any:
        return np.sum((x[1:] - x[:-1]) ** 2) + np.sum(x[:0] * 2) + np.sum(x**2)

    x = sample(shape)
    value, gradient = graphjit.value_and_grad(function)(x)
    with override(skip="stitch"):
        expected = graphjit.value_and_grad(function)(x)
    np.testing.assert_allclose(value, expected[0])
    np.testing.assert_allclose(gradient, expected[1])


def random_stencil(rng: np.random.Generator) -> tuple[Function, tuple[int, ...]]:
    """A sum of products of slices, some of values computed before, and the shape it takes."""
    ndim = int(rng.integers(1, 4))
    shape = tuple(int(n) for n in rng.integers(1, 8, size=ndim))
    maps: list[Function] = [np.sin, np.tanh, np.square, lambda v: v, lambda v: 2 * v, np.exp]
    kept = tuple(int(rng.integers(0, n + 1)) for n in shape)
    plan = []
    for _ in range(int(rng.integers(2, 7))):
        index = []
        for n, k in zip(shape, kept, strict=True):
            steps = [s for s in (1, 1, 1, -1, 2, -2) if (k - 1) * abs(s) < n or k == 0]
            step = int(rng.choice(steps))
            room = n - (max(k, 1) - 1) * abs(step)
            first = int(rng.integers(0, max(room, 1)))
            reach = list(range(n))[first :: abs(step)][:k]
            index.append((min(reach, default=0), len(reach), abs(step), step < 0))
        plan.append((index, int(rng.integers(len(maps))), int(rng.integers(len(maps)))))

    def function(x: Any) -> Any:
        result: Any = 0.0
        for number, (index, before, after) in enumerate(plan):
            pick = tuple(slice(a, a + (k - 1) * s + 1 if k else a, s) for a, k, s, _ in index)
            turn = tuple(slice(None, None, -1 if back else 1) for *_, back in index)
            part = maps[after](maps[before](x)[pick][turn])
            result = result * part if number % 3 == 2 else result + part
        return np.sum(result) + 0.5 * np.sum(np.cos(x) ** 2)

    return function, shape


@pytest.mark.parametrize("seed", range(150))
def test_random_stencils(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seams, "LARGE", 1 if seed % 2 else seams.LARGE)
    rng = np.random.default_rng(seed)
    function, shape = random_stencil(rng)
    x = rng.uniform(-1, 1, size=shape)
    graph = value_and_gradient(function, x)
    same(graph, x)
    found = ran(graph, [x])
    for old, new in zip(evaluate(graph, x), found, strict=True):
        np.testing.assert_allclose(new, old, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("seed", range(40))
def test_random_second_derivatives(seed: int) -> None:
    rng = np.random.default_rng((seed, 1))
    function, shape = random_stencil(rng)
    x, v = rng.uniform(-1, 1, size=(2, *shape))
    graph = run(tracing.trace(function, (x,)).graph, PRIMAL)
    product = parse_pipeline("adjoint(wrt=0),prune,tangent(wrt=0),prune")
    before = run(run(graph, product), BEFORE)
    args = [x, v][: len(before.inputs)]
    assert agree_all(before, stitch(before), args)


def agree_all(before: Graph, after: Graph, args: list[Any]) -> bool:
    """Whether two graphs give the same, NaN included."""
    old, new = outcome(verify(before), args), outcome(verify(after), args)
    return all(agree(a, b, 1e-8) for a, b in zip(old, new, strict=True))


# -- what is gained ------------------------------------------------------------------------------


def program_of(function: Function, x: Any) -> LoopProgram:
    return built(value_and_gradient(function, x)).loops


def fills(program: LoopProgram) -> int:
    return sum(isinstance(s, Fill) for k in program.kernels for s in walk(k.statements))


@pytest.mark.parametrize("function", [rosenbrock, curvature, rooted])
def test_a_stencil_is_a_loop_and_its_ends(function: Function) -> None:
    program = built(value_and_gradient(function, sample((1000,)))).loops
    assert not fills(program)
    assert not any(size >= 990 for size in program.work.values())


def test_a_stencil_in_the_plane_is_a_loop_and_its_edges() -> None:
    program = built(value_and_gradient(rough, sample((60, 80)))).loops
    assert not fills(program)
    assert not program.work or max(program.work.values()) < 1000
    assert len(program.kernels) <= 4


def test_what_is_dear_is_stored_and_not_computed_twice() -> None:
    x = sample((1000,))
    graph = stitch(value_and_gradient(dear, x))
    large = [n.op for n in graph.nodes if n.aval.size > 900]
    assert large.count("tanh") == 1
    assert large.count("exp") == 1


def test_rows_read_one_by_one_are_stored_one_by_one() -> None:
    graph = stitch(value_and_gradient(recurrence, sample((40, 3))))
    assert not graph.count("embed")
    assert graph.count("concatenate") == 1


def test_a_graph_without_embeddings_is_left_as_it_is() -> None:
    graph = value_and_gradient(lambda x: np.sum(np.sin(x) ** 2), sample((5,)))
    assert stitch(graph) is graph


def test_one_row_of_a_large_array_stays_an_embedding() -> None:
    graph = value_and_gradient(lambda x: np.sum(x[7] ** 2), sample((100, 100)))
    assert stitch(graph) is graph


# -- boxes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(20))
def test_boxes_cover_an_array_once_and_cross_no_edge(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = tuple(int(n) for n in rng.integers(1, 9, size=rng.integers(1, 4)))
    regions: list[Box] = []
    for _ in range(int(rng.integers(1, 5))):
        ends = [np.sort(rng.integers(-1, n + 2, size=2)) for n in shape]
        regions.append(tuple((int(a), int(b)) for a, b in ends))
    tree = split(shape, regions, 10_000)
    assert tree is not None
    count = np.zeros(shape, int)
    for box in boxes(tree):
        place = tuple(slice(lo, hi) for lo, hi in box)
        count[place] += 1
        assert extent(box) == count[place].size > 0
        for region in regions:
            inside = [range(*box[a]) for a in range(len(shape))]
            common = all(set(r) & set(range(*region[a])) for a, r in enumerate(inside))
            assert common == within(box, region)
    assert (count == 1).all()


def test_too_many_boxes_are_none() -> None:
    regions: list[Box] = [((k, k + 1), (0, 9)) for k in range(9)]
    assert split((9, 9), regions, 17) is None
    assert split((9, 9), regions, 18) is not None
