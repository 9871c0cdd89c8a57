"""Passes over scans: hoisting, keeping, adding up afterwards, trimming."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphjit
from graphjit import scan
from graphjit.codegen.build import Program
from graphjit.ir import Aval, Graph, evaluate
from graphjit.ir.builder import Builder
from graphjit.ir.graph import Node
from graphjit.ir.verify import verify
from graphjit.passes.adjoint import adjoint
from graphjit.passes.batch import batch
from graphjit.passes.control_scan import Scan, sealed
from graphjit.passes.cut import cheapest
from graphjit.passes.pipeline import PRIMAL, PROGRAM, parse_pipeline, run, scans
from graphjit.passes.tangent import tangent
from graphjit.tracing.trace import trace

ROWS, WIDTH, STEPS = 2, 9, 4
SEEDS = range(12)
RNG = np.random.default_rng(8)
MATRIX = (ROWS, WIDTH)


def arguments() -> list[Any]:
    """Two weights, a bias, two carries, two slices."""
    shapes = [(WIDTH, WIDTH), (WIDTH, WIDTH), (WIDTH,), MATRIX, MATRIX]
    shapes += [(STEPS, *MATRIX), (STEPS, WIDTH)]
    return [RNG.normal(size=shape) * 0.4 for shape in shapes]


ARGUMENTS = arguments()
ALL = tuple(range(len(ARGUMENTS)))
OPERATIONS: list[Callable[..., Any]] = [
    lambda x, y, w: np.tanh(x),
    lambda x, y, w: np.exp(-x * x),
    lambda x, y, w: 1 / (1 + np.exp(-x)),
    lambda x, y, w: x * y,
    lambda x, y, w: x + 0.5 * y,
    lambda x, y, w: x @ w,
    lambda x, y, w: x @ w.T,
    lambda x, y, w: x @ (w * np.sin(w)),
    lambda x, y, w: x - np.mean(y, axis=1, keepdims=True),
    lambda x, y, w: np.where(x > y, x, 0.3 * y),
]


def random_loop(seed: int) -> Callable[..., Any]:
    """A function with a scan whose step is drawn from the seed; the values stay moderate."""

    def function(w: Any, u: Any, b: Any, h: Any, s: Any, xs: Any, zs: Any) -> Any:
        def step(carry: Any, slices: Any) -> Any:
            rng = np.random.default_rng(seed)
            (h, s), (x, z) = carry, slices
            pool = [h, s, x, h * z, np.broadcast_to(np.sin(b), MATRIX), x @ w]
            for _ in range(rng.integers(4, 12)):
                operation = OPERATIONS[rng.integers(len(OPERATIONS))]
                one, other = (pool[i] for i in rng.integers(len(pool), size=2))
                pool.append(np.clip(operation(one, other, (w, u)[rng.integers(2)]), -3.0, 3.0))
            mixed = np.tanh(pool[-1] + h @ u + b)
            return (mixed, pool[-2] * 0.5), (pool[-3] * s, np.sum(pool[rng.integers(len(pool))]))

        reverse = bool(seed % 2)
        (h, s), (ys, sums) = scan(step, (h, s), (xs, zs), reverse=reverse)
        return np.sum(h * s) + np.sum(ys * ys) * 0.1 + np.sum(np.sin(sums))

    return function


def traced(function: Callable[..., Any], args: list[Any]) -> Graph:
    return run(trace(function, tuple(args)).graph, PRIMAL)


def assert_same(graph: Graph, values: list[Any], *, compiled: bool = False) -> Graph:
    """The passes leave the graph valid, its meaning as it was, and can be run again."""
    after = verify(scans(graph))
    expected = evaluate(graph, *values)
    found: list[Any] = [evaluate(after, *values), evaluate(verify(scans(after)), *values)]
    if compiled:
        found.append(Program(graph, "loop")(*values))
    for results in found:
        for one, other in zip(results, expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-11)
    return after


@pytest.mark.parametrize("seed", SEEDS)
def test_random_loops_mean_the_same_with_gradients_and_second_derivatives(seed: int) -> None:
    graph = traced(random_loop(seed), ARGUMENTS)
    assert_same(graph, ARGUMENTS)
    first = adjoint(graph, ALL)
    assert_same(first, ARGUMENTS, compiled=seed < 4)
    along = [np.cos(a) for a in ARGUMENTS]
    assert_same(tangent(first, ALL), [*ARGUMENTS, *along])
    builder_free = Graph(first.nodes, first.inputs, first.outputs[1:2])
    summed = traced(lambda *args: np.sum(np.sin(evaluated(builder_free, *args))), ARGUMENTS)
    assert_same(adjoint(summed, ALL), ARGUMENTS, compiled=seed == 0)


def evaluated(graph: Graph, *args: Any) -> Any:
    """A graph's first output as part of a trace."""
    from graphjit.ir.symbol import Symbol

    builder = args[0].builder
    place = builder.inline(graph, [a.id for a in args])
    return Symbol(builder, place[graph.outputs[0]])


@pytest.mark.parametrize("seed", SEEDS)
def test_batched_random_loops_mean_the_same(seed: int) -> None:
    graph = adjoint(traced(random_loop(seed), ARGUMENTS), ALL)
    for which in ((0, 2), (3, 5), ALL):
        wide = batch(graph, which, 3)
        args = [
            np.stack([a * k for k in (1, -0.5, 0.3)]) if i in which else a
            for i, a in enumerate(ARGUMENTS)
        ]
        assert_same(wide, args)


def random_system(seed: int) -> Callable[..., Any]:
    """A function with a scan of short vectors, put together from numbers and taken apart."""

    def function(c: Any, h: Any, g: Any, xs: Any) -> Any:
        def step(carry: Any, x: Any) -> Any:
            (h, g), rng = carry, np.random.default_rng(seed)
            pool = [h[0], h[1], h[2], x, c[0], np.sum(g), g[0, 1], np.sum(g, axis=0)[1]]
            for _ in range(rng.integers(3, 9)):
                one, other = (pool[i] for i in rng.integers(len(pool), size=2))
                pool.append(
                    [np.sin(one) + other, one * other, np.tanh(one - other)][rng.integers(3)]
                )
            more = np.stack([pool[i] for i in rng.integers(len(pool), size=3)])
            h = np.tanh(h + 0.1 * more[::-1] * c[1])
            g = np.where(g > 0.1, g.T * h[1], np.stack([h[:2], h[1:]]))
            return (h, g), (more, g[1])

        (h, g), (hs, gs) = scan(step, (h, g), xs, reverse=bool(seed % 2))
        return np.sum(np.sin(hs)) + np.sum(h) * np.sum(g * g) + np.sum(gs)

    return function


NUMBERS = [RNG.normal(size=shape) * 0.5 for shape in ((2,), (3,), (2, 2), (STEPS,))]


@pytest.mark.parametrize("seed", SEEDS)
def test_systems_of_numbers_mean_the_same(seed: int) -> None:
    graph = traced(random_system(seed), NUMBERS)
    (loop,) = loops(assert_same(graph, NUMBERS, compiled=seed < 4))
    assert loop.carry == 7
    assert not any(a.shape for a in loop.step.avals(loop.inputs.carry))
    first = adjoint(graph, range(4))
    assert_same(first, NUMBERS, compiled=seed < 4)
    assert_same(tangent(first, range(4)), [*NUMBERS, *map(np.cos, NUMBERS)])
    wide = batch(first, (1, 2), 3)
    args = [np.stack([a, -a, a * 0.3]) if i in (1, 2) else a for i, a in enumerate(NUMBERS)]
    assert_same(wide, args)


# -- what each pass does --------------------------------------------------------------------------


def recurrent(w: Any, u: Any, b: Any, h: Any, xs: Any) -> Any:
    def step(h: Any, x: Any) -> Any:
        h = np.tanh(x @ w + h @ u + b)
        return h, h

    _, ys = scan(step, h, xs)
    return np.sum(ys * ys)


WEIGHTS = [ARGUMENTS[i] for i in (0, 1, 2, 3, 5)]


def loops(graph: Graph) -> list[Scan]:
    return [Scan(n) for n in graph.nodes if n.op == "scan"]


def stacked(graph: Graph) -> int:
    """The bytes of all stacks of all scans."""
    found = [a for s in loops(graph) for a in s.node.results[s.carry :]]
    return sum(a.size * a.dtype.itemsize for a in found)


def products(graph: Graph) -> list[Node]:
    return [n for n in graph.nodes if n.op == "contract"]


def test_a_recurrent_net_has_one_product_a_step_each_way() -> None:
    graph = adjoint(traced(recurrent, WEIGHTS), range(4))
    after = assert_same(graph, WEIGHTS, compiled=True)
    forward, backward = loops(after)
    assert len(products(forward.step)) == len(products(backward.step)) == 1  # h @ u; g @ u.T
    assert not backward.step.count("tanh")
    assert len(products(after)) == 3  # xs @ w, and the gradients of both weights


def test_the_operands_of_a_product_are_read_where_they_are() -> None:
    after = scans(adjoint(traced(recurrent, WEIGHTS), range(4)))
    one = STEPS * ROWS * WIDTH * 8
    # forward: the states, each step's first and last; backward: what reaches the sums.
    assert stacked(after) == 3 * one


def looped(step: Graph, consts: int) -> Graph:
    """A scan of one carry with this step; what is traced outside never gets into one."""
    builder = Builder()
    inputs = [builder.input(a) for a in step.avals(step.inputs)]
    items = builder.emit_control(
        "scan", inputs, step=step, consts=consts, carry=1, length=STEPS, reverse=False
    )
    return builder.graph(items)


def test_invariants_leave_the_loop_and_large_ones_stay() -> None:
    builder = Builder()
    shapes = [(9, 1), (1, 9), (9, 9), (9, 9)]
    a, b, h0, h = (builder.input(Aval(shape, np.dtype(float))) for shape in shapes)
    grown = builder.emit("multiply", a, b)
    moved = builder.emit("multiply", h, builder.emit("add", grown, builder.emit("sin", a)))
    dear = builder.emit("contract", moved, builder.emit("exp", h0), spec="ij,kj->ik")
    graph = looped(builder.graph([dear]), 3)
    args = [RNG.normal(size=shape) * 0.3 for shape in shapes]
    (loop,) = loops(assert_same(graph, args, compiled=True))
    assert not {"sin", "exp"} & {n.op for n in loop.step.nodes}
    assert [a.size for a in loop.step.avals(loop.inputs.consts)] == [9, 9, 9, 81]


def test_thin_products_stay_in_the_loop() -> None:
    def function(w: Any, h: Any, xs: Any) -> Any:
        return np.sum(scan(lambda h, x: (np.tanh(h + x @ w), None), h, xs)[0])

    args = [np.ones((2, 5)), np.ones(5), np.ones((STEPS, 2))]
    after = assert_same(traced(function, args), args)
    assert not products(after)
    assert len(products(loops(after)[0].step)) == 1


def test_a_loop_of_no_steps_computes_nothing_before() -> None:
    def function(w: Any, h: Any, xs: Any) -> Any:
        return np.sum(scan(lambda h, x: (np.tanh(h + x @ np.sin(w)), None), h, xs)[0])

    args = [WEIGHTS[0], WEIGHTS[3], np.ones((0, *MATRIX))]
    after = assert_same(adjoint(traced(function, args), (0, 1)), args, compiled=True)
    assert not products(after)


def test_less_is_kept_than_all_that_a_step_computes_and_dear_things_are() -> None:
    def function(h: Any, xs: Any) -> Any:
        def step(h: Any, x: Any) -> Any:
            return np.sin(np.exp(-(h * x)) + 2 * h * x - x), None

        return np.sum(scan(step, h, xs)[0])

    args = [WEIGHTS[3], WEIGHTS[4]]
    graph = adjoint(traced(function, args), (0,))
    after = assert_same(graph, args, compiled=True)
    _, backward = loops(after)
    assert not {"exp", "sin"} & {n.op for n in backward.step.nodes}
    assert stacked(after) <= 3 * STEPS * ROWS * WIDTH * 8


def test_stacks_that_nobody_reads_are_gone() -> None:
    def function(h: Any, xs: Any) -> Any:
        h, _ = scan(lambda h, x: (h + x, (h * x, np.sin(h))), h, xs)
        return np.sum(h)

    args = [WEIGHTS[3], WEIGHTS[4]]
    graph = adjoint(traced(function, args), (0, 1))
    assert stacked(graph) > stacked(assert_same(graph, args))
    plain = assert_same(traced(function, args), args)
    assert stacked(plain) == 0


def test_one_value_is_given_once() -> None:
    """``-w`` is written twice in the step, and each time computed outside of it."""

    def function(w: Any, h: Any, xs: Any) -> Any:
        def step(h: Any, x: Any) -> Any:
            (a, b) = x
            return np.sin(a @ -w + h) + np.cos(b @ -w + h), None

        return np.sum(scan(step, h, (xs, xs))[0])

    args = [WEIGHTS[0], WEIGHTS[3], WEIGHTS[4]]
    merged = run(traced(function, args), parse_pipeline("merge,prune"))
    (loop,) = loops(merged)
    assert (len(loop.inputs.consts), len(loop.inputs.slices)) == (2, 2)
    (loop,) = loops(assert_same(merged, args, compiled=True))
    assert [len(part) for part in loop.inputs] == [0, 1, 1]  # a stack of the one product
    assert_same(run(adjoint(merged, (0, 1, 2)), parse_pipeline("merge,prune")), args)


def test_a_carry_that_only_counts_for_itself_is_gone_and_a_needed_one_stays() -> None:
    def function(h: Any, xs: Any) -> Any:
        def step(carry: Any, x: Any) -> Any:
            a, b, c = carry
            return (a + x, b * 2, c + a), None

        return np.sum(scan(step, (h, h, h), xs)[0][2])

    args = [WEIGHTS[3], WEIGHTS[4]]
    (loop,) = loops(assert_same(traced(function, args), args))
    assert loop.carry == 2


def test_sums_are_taken_out_only_where_nothing_else_reads_them() -> None:
    """A sum that starts anywhere leaves; one that a step reads, or that is stacked, stays."""

    def function(total: Any, h: Any, xs: Any) -> Any:
        def step(carry: Any, x: Any) -> Any:
            a, b, c, d, e, h = carry
            h = np.sin(h * x)
            more = h.T @ x
            first = e + more
            after = (a + more, b + more * np.sum(b), c + x.T @ h, d + more, first + x.T @ h, h)
            return after, (c, np.sum(d), np.sum(first))

        (a, b, c, d, e, h), (cs, ds, es) = scan(step, (*[total] * 5, h), xs)
        return np.sum(a * b) + np.sum(c + d + e) + np.sum(h) + np.sum(cs) + np.sum(ds * es)

    args = [WEIGHTS[0], WEIGHTS[3], WEIGHTS[4]]
    after = assert_same(traced(function, args), args, compiled=True)
    (loop,) = loops(after)
    assert (loop.carry, len(products(after))) == (5, 1)


def test_products_with_what_does_not_move_stay() -> None:
    def function(w: Any, total: Any, xs: Any) -> Any:
        return np.sum(scan(lambda c, x: (c + np.tanh(w).T @ x, None), total, xs)[0])

    args = [WEIGHTS[3], WEIGHTS[0], WEIGHTS[4]]
    assert_same(traced(function, args), args, compiled=True)


def test_scans_of_other_lengths_keep_nothing_for_each_other() -> None:
    def function(h: Any, xs: Any) -> Any:
        h, ys = scan(lambda h, x: (np.sin(h * x), np.exp(h)), h, xs)
        again, _ = scan(lambda s, y: (s + np.exp(np.cos(y)), None), h, ys)
        fewer, _ = scan(lambda s, y: (s + np.exp(np.cos(y)), None), h, ys[1:])
        return np.sum(again * fewer)

    args = [WEIGHTS[3], WEIGHTS[4]]
    after = assert_same(traced(function, args), args, compiled=True)
    assert [s.step.count("cos") for s in loops(after)] == [1, 0, 1]


def test_with_a_budget_nothing_more_is_stacked() -> None:
    graph = sealed(adjoint(traced(recurrent, WEIGHTS), range(4)))
    assert stacked(assert_same(graph, WEIGHTS, compiled=True)) <= stacked(graph)
    (plain, spare) = (
        graphjit.value_and_grad(recurrent, argnums=(0, 1), budget=b)(*WEIGHTS)
        for b in (None, 10**9)
    )
    for one, other in zip(plain[1], spare[1], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10)


def test_the_gradient_of_a_simplified_step() -> None:
    def function(h: Any) -> Any:
        return np.sum(scan(lambda h, _: (1 / (1 + np.exp(-h)), None), h, None, length=3)[0])

    gradient = graphjit.grad(function)(np.array([-1000.0, 0.0, 1000.0]))
    assert np.isfinite(gradient).all()
    assert not any(
        n.op == "exp" for s in loops(traced(function, [np.ones(3)])) for n in s.step.nodes
    )


def test_checkpointed_steps_are_computed_again() -> None:
    inner = graphjit.checkpoint(lambda h, x: np.tanh(np.sin(h) + x))

    def function(h: Any, xs: Any) -> Any:
        return np.sum(scan(lambda h, x: (inner(h, x), None), h, xs)[0])

    args = [WEIGHTS[3], WEIGHTS[4]]
    after = assert_same(adjoint(traced(function, args), (0, 1)), args, compiled=True)
    assert stacked(after) <= 2 * STEPS * ROWS * WIDTH * 8  # the carries, the gradient of xs


def test_the_passes_have_names_in_a_pipelines_text() -> None:
    graph = adjoint(traced(recurrent, WEIGHTS), range(4))
    steps = parse_pipeline("bodies,keep,scalars,trim,hoist,total,trim")
    assert str(steps) == "bodies,keep,scalars,trim,hoist,total,trim"
    after = run(graph, steps)
    np.testing.assert_allclose(evaluate(after, *WEIGHTS)[1], evaluate(graph, *WEIGHTS)[1])
    assert "scans" in str(PROGRAM)


def test_a_small_cut() -> None:
    edges: dict[Any, float] = {("s", "a"): 3, ("s", "b"): 2, ("a", "b"): 5, ("a", "t"): 2}
    edges["b", "t"] = 2
    near = cheapest(edges, "s", "t")
    assert "t" not in near
    assert sum(c for (start, end), c in edges.items() if start in near and end not in near) == 4
    edges["b", "t"] = float("inf")
    assert cheapest(edges, "s", "t") == {"s"}
