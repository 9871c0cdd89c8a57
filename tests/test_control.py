"""scan, fori_loop, cond and while_loop: meaning, both modes, batching, native loops."""

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

import graphjit
from graphjit import cond, fori_loop, scan, value_and_grad, while_loop
from graphjit.codegen.build import Program
from graphjit.errors import ShapeError, TraceError
from graphjit.ir import Graph, evaluate
from graphjit.ir.text import parse, show
from graphjit.ir.verify import verify
from graphjit.passes.adjoint import adjoint
from graphjit.passes.batch import batch
from graphjit.passes.pipeline import PROGRAM, run
from graphjit.passes.tangent import tangent
from graphjit.tracing.trace import trace

RNG = np.random.default_rng(3)
W, H, XS = RNG.normal(size=(3, 3)) * 0.5, RNG.normal(size=3), RNG.normal(size=(5, 3))


def recurrent(w: Any, h: Any, xs: Any) -> Any:
    """Carries an int beside the state, and stacks two outputs."""

    def step(carry: Any, x: Any) -> Any:
        h, n = carry
        h = np.tanh(w @ h + x) * np.cos(n * 0.1)
        return (h, n + 1), (h * 2, n)

    (h, _), (ys, ns) = scan(step, (h, 0), xs)
    return np.sum(h) + np.sum(ys**2) + np.sum(ns) * 0.5


def recurrent_by_hand(w: Any, h: Any, xs: Any) -> Any:
    total = 0.0
    for n, x in enumerate(xs):
        h = np.tanh(w @ h + x) * np.cos(n * 0.1)
        total += np.sum((2 * h) ** 2) + 0.5 * n
    return np.sum(h) + total


def backwards(w: Any, h: Any, xs: Any) -> Any:
    h, ys = scan(lambda h, x: (np.sin(w @ h) + x, h @ h), h, xs, reverse=True)
    return np.sum(h) * np.sum(ys)


def backwards_by_hand(w: Any, h: Any, xs: Any) -> Any:
    total = 0.0
    for x in xs[::-1]:
        total += h @ h
        h = np.sin(w @ h) + x
    return np.sum(h) * total


def branching(p: Any, x: Any) -> Any:
    def yes(x: Any, p: Any) -> Any:
        return np.sin(x) * np.sum(p)

    return np.sum(cond(np.sum(p) > 0, yes, lambda x, p: x * x + p, x, p))


def branching_by_hand(p: Any, x: Any) -> Any:
    return np.sum(np.sin(x) * np.sum(p) if np.sum(p) > 0 else x * x + p)


def counted(x: Any) -> Any:
    return np.sum(fori_loop(0, 4, lambda i, v: np.sin(v) * x + i, x))


def counted_by_hand(x: Any) -> Any:
    v = x
    for i in range(4):
        v = np.sin(v) * x + i
    return np.sum(v)


def nested(w: Any, x: Any) -> Any:
    def outer(carry: Any, t: Any) -> Any:
        carry, _ = scan(lambda h, k: (np.tanh(w @ h) + t * k, None), carry, np.arange(3.0))
        return carry, np.sum(carry)

    carry, ys = scan(outer, x, np.linspace(0, 1, 4))
    return np.sum(carry * carry) + np.sum(ys)


def nested_by_hand(w: Any, x: Any) -> Any:
    total = 0.0
    for t in np.linspace(0, 1, 4):
        for k in np.arange(3.0):
            x = np.tanh(w @ x) + t * k
        total += np.sum(x)
    return np.sum(x * x) + total


def growing(x: Any, y: Any) -> Any:
    return while_loop(lambda v: np.sum(v) < 50.0, lambda v: v * np.exp(y * 0.1) + x, x).sum()


def growing_by_hand(x: Any, y: Any) -> Any:
    v = x
    while np.sum(v) < 50.0:
        v = v * np.exp(y * 0.1) + x
    return v.sum()


def many_rounds(x: Any) -> Any:
    """More rounds than a tape has room for at first; the constant is closed over."""
    return np.sum(while_loop(lambda v: np.sum(v) < 60.0, lambda v: v + np.sin(x) * 0.1, x) ** 2)


def many_rounds_by_hand(x: Any) -> Any:
    v = x
    while np.sum(v) < 60.0:
        v = v + np.sin(x) * 0.1
    return np.sum(v**2)


class Case(NamedTuple):
    function: Callable[..., Any]
    by_hand: Callable[..., Any]
    args: tuple[Any, ...]


CASES = {
    "recurrent": Case(recurrent, recurrent_by_hand, (W, H, XS)),
    "backwards": Case(backwards, backwards_by_hand, (W, H, XS)),
    "branch taken": Case(branching, branching_by_hand, (np.abs(H), XS[0])),
    "branch not taken": Case(branching, branching_by_hand, (-np.abs(H), XS[0])),
    "counted": Case(counted, counted_by_hand, (H,)),
    "nested": Case(nested, nested_by_hand, (W, H)),
    "while": Case(growing, growing_by_hand, (np.abs(H), np.float64(0.7))),
    "many rounds": Case(many_rounds, many_rounds_by_hand, (np.abs(H) + 0.2,)),
}
ALL = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def traced(case: Case) -> tuple[Graph, list[Any]]:
    found = trace(case.function, case.args)
    return verify(found.graph), [*case.args, *found.captured]


def directions(args: tuple[Any, ...]) -> list[Any]:
    rng = np.random.default_rng(5)
    return [rng.normal(size=np.shape(a)) for a in args]


def slope(case: Case) -> float:
    """The derivative along the directions, by differences of the plain NumPy function."""
    step = 1e-6
    sides = [
        case.by_hand(*(a + s * u for a, u in zip(case.args, directions(case.args), strict=True)))
        for s in (step, -step)
    ]
    return float(sides[0] - sides[1]) / (2 * step)


@ALL
def test_evaluates_compiles_and_prints_what_the_loop_says(case: Case) -> None:
    graph, values = traced(case)
    expected = case.by_hand(*case.args)
    np.testing.assert_allclose(evaluate(graph, *values)[0], expected, rtol=1e-12)
    np.testing.assert_allclose(graphjit.jit(case.function)(*case.args), expected, rtol=1e-12)
    assert parse(show(graph)) == graph
    verify(run(graph, PROGRAM))


@ALL
def test_tangents_agree_with_differences(case: Case) -> None:
    graph, values = traced(case)
    dual = verify(tangent(graph, range(len(case.args))))
    found = evaluate(dual, *values, *directions(case.args))[1]
    np.testing.assert_allclose(found, slope(case), rtol=1e-6)


@ALL
def test_cotangents_agree_with_tangents_and_compile(case: Case) -> None:
    graph, values = traced(case)
    wrt = range(len(case.args))
    along = directions(case.args)
    forward = evaluate(tangent(graph, wrt), *values, *along)[1]
    gradients = evaluate(verify(adjoint(graph, wrt)), *values)[1:]
    total = sum(np.sum(g * u) for g, u in zip(gradients, along, strict=True))
    np.testing.assert_allclose(total, forward, rtol=1e-12)
    _, compiled = value_and_grad(case.function, argnums=tuple(wrt))(*case.args)
    for one, two in zip(compiled, gradients, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-10, atol=1e-12)


@ALL
def test_second_order_forward_over_reverse(case: Case) -> None:
    graph, values = traced(case)
    wrt = range(len(case.args))
    along = directions(case.args)
    second = verify(tangent(adjoint(graph, wrt), wrt))
    found = evaluate(second, *values, *along)[1 + len(case.args) + 1 :]
    step = 1e-6
    sides = []
    for s in (step, -step):
        moved = [a + s * u for a, u in zip(case.args, along, strict=True)]
        sides.append(evaluate(adjoint(graph, wrt), *moved, *values[len(case.args) :])[1:])
    for got, high, low in zip(found, *sides, strict=True):
        np.testing.assert_allclose(got, (high - low) / (2 * step), rtol=1e-5, atol=1e-5)


@ALL
def test_batching_is_a_loop_over_examples(case: Case) -> None:
    graph, values = traced(case)
    wrt = range(len(case.args))
    graphs = (graph, adjoint(graph, wrt))
    for source in graphs:
        for size in (1, len(case.args)):
            for which in itertools.combinations(wrt, size):
                check_batch(source, values, which)


def check_batch(graph: Graph, values: list[Any], which: tuple[int, ...], count: int = 3) -> None:
    wide = verify(batch(graph, which, count))
    scales = [(1 + 0.3 * k) * (-1) ** k for k in range(count)]
    if graph.count("while") or graph.count("unwind"):
        scales = [1 + 0.3 * k for k in range(count)]
    args = [np.stack([v * s for s in scales]) if i in which else v for i, v in enumerate(values)]
    found = evaluate(wide, *args)
    for k in range(count):
        own = [a[k] if i in which else a for i, a in enumerate(args)]
        for whole, one in zip(found, evaluate(graph, *own), strict=True):
            np.testing.assert_allclose(whole[k], one, rtol=1e-9, atol=1e-9)


def test_a_batched_condition_and_a_batched_loop_compile() -> None:
    for case in (CASES["branch taken"], CASES["while"]):
        graph, values = traced(case)
        signs = [1.0, 2.0] if graph.count("while") else [1.0, -1.0]
        wide = batch(graph, [0], 2)
        args = [np.stack([values[0] * s for s in signs]), *values[1:]]
        (found,) = Program(wide, "batched")(*args)
        expected = [evaluate(graph, values[0] * s, *values[1:])[0] for s in signs]
        np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_outside_a_trace_they_run_at_once() -> None:
    total, seen = scan(lambda c, x: (c + x, c * x), 0.0, np.arange(4.0))
    assert total == 6.0
    np.testing.assert_array_equal(seen, [0.0, 0.0, 2.0, 9.0])
    assert fori_loop(0, 5, lambda i, v: v * 2 + i, 1.0) == 58.0
    assert while_loop(lambda v: v < 10, lambda v: v * 3, 1.0) == 27.0
    assert cond(True, lambda x: x + 1, lambda x: x - 1, 2.0) == 3.0
    assert cond(False, lambda x: x + 1, lambda x: x - 1, 2.0) == 1.0


def test_a_traced_bound_makes_a_while_loop() -> None:
    power = graphjit.jit(lambda x, n: fori_loop(0, n, lambda i, v: v * x, 1.0))
    assert power(2.0, np.int64(10)) == 1024.0
    assert power(2.0, np.int64(0)) == 1.0


def test_no_steps_at_all() -> None:
    last, ys = scan(lambda c, x: (c + x, c), np.ones(2), np.empty((0, 2)))
    np.testing.assert_array_equal(last, [1.0, 1.0])
    assert ys.shape == (0, 2)


def test_the_compile_time_is_that_of_the_body() -> None:
    sizes = []
    for steps in (10, 1000):
        program = graphjit.jit(lambda h, xs: scan(lambda h, x: (np.tanh(h + x), None), h, xs)[0])
        sizes.append(len(program.source(H, np.zeros((steps, 3))).splitlines()))
    assert sizes[0] == sizes[1]


def test_a_training_loop_runs_through_a_scan() -> None:
    def loss(w: Any, xs: Any, y: Any) -> Any:
        def step(h: Any, x: Any) -> Any:
            return np.tanh(h @ w + x), None

        return np.mean((scan(step, np.zeros_like(xs[:, 0]), np.swapaxes(xs, 0, 1))[0] - y) ** 2)

    rng = np.random.default_rng(0)
    xs, y = rng.normal(size=(12, 4, 3)), rng.normal(size=(12, 3)) * 0.1
    result = graphjit.train.minibatch_sgd(loss, W, (xs, y), 0.1, batch_size=5, epochs=3)
    slopes, w = value_and_grad(loss), W
    order = np.random.default_rng(0)
    for _ in range(3):
        places = order.permutation(12)
        for at in range(0, 12, 5):
            w = w - 0.1 * slopes(w, xs[places[at : at + 5]], y[places[at : at + 5]])[1]
    np.testing.assert_allclose(result.params, w, rtol=1e-12)


def test_bad_bodies_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"another form(.|\n)*takes f64\[3\], returns f64"):
        scan(lambda c, x: (c.sum(), None), np.zeros(3), XS)
    with pytest.raises(ShapeError, match="one length"):
        scan(lambda c, x: (c, None), 0.0, (np.zeros(3), np.zeros(4)))
    with pytest.raises(ShapeError, match="one length"):
        scan(lambda c, x: (c, None), 0.0, None)
    with pytest.raises(TraceError, match="pair"):
        scan(lambda c, x: c, 0.0, np.zeros(3))
    with pytest.raises(ShapeError, match=r"branches of cond(.|\n)*true: f64"):
        cond(True, lambda x: x, lambda x: x.sum(), np.ones(3))
    with pytest.raises(ShapeError, match=r"must be a scalar(.|\n)*np.where"):
        cond(np.array([True, False]), lambda x: x, lambda x: x, 1.0)
    with pytest.raises(ShapeError, match="must be a scalar"):
        while_loop(lambda v: v < 3, lambda v: v + 1, np.zeros(2))
