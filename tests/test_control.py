"""scan, fori_loop, cond and while_loop: meaning, both modes, batching, native loops."""

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

import graphjit
from graphjit import cond, control_eager, fori_loop, scan, value_and_grad, while_loop
from graphjit.codegen.build import Program
from graphjit.errors import DTypeError, GraphJITError, MissingRule, ShapeError, TraceError
from graphjit.flags import override
from graphjit.ir import Graph, evaluate
from graphjit.ir.text import parse, show
from graphjit.ir.verify import verify
from graphjit.passes.adjoint import adjoint
from graphjit.passes.batch import batch
from graphjit.passes.pipeline import PROGRAM, run
from graphjit.passes.tangent import tangent
from graphjit.tracing.trace import trace
from graphjit.transforms import kept, specialise

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


def test_calls_written_for_jax_work() -> None:
    total, seen = scan(lambda c, x: (c + x, c), init=0.0, xs=H, length=3, reverse=True, unroll=2)
    np.testing.assert_allclose(total, np.sum(H))
    assert seen[-1] == 0.0
    assert fori_loop(lower=0, upper=3, body_fun=lambda i, v: v + i, init_val=0, unroll=True) == 3


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
    with pytest.raises(ShapeError, match=r"must be a scalar, not bool\[2\]"):
        while_loop(lambda v: v < 3, lambda v: v + 1, np.zeros(2))


BAD: dict[str, tuple[Callable[[], Any], type[GraphJITError], str]] = {
    "length": (
        lambda: scan(lambda c, x: (c, None), 0.0, np.zeros(3), length=4), ShapeError,
        r"one length(.|\n)*xs: f64\[3\], length: 4",
    ),
    "lengths": (
        lambda: scan(lambda c, x: (c, None), 0.0, {"a": XS, "b": H}), ShapeError,
        r"one length(.|\n)*xs\['a'\]: f64\[5,3\], xs\['b'\]: f64\[3\]",
    ),
    "negative length": (
        lambda: scan(lambda c, x: (c, None), 0.0, None, length=-1), TraceError,
        "length takes an int of 0 or more, not -1",
    ),
    "length of another type": (
        lambda: scan(lambda c, x: (c, None), 0.0, None, length=2.0),  # type: ignore[arg-type]
        TraceError, "length takes an int of 0 or more, not 2.0",
    ),
    "carry's structure": (
        lambda: scan(lambda c, x: ((c, c), None), 0.0, H), TraceError,
        r"scan returns the carry in another structure(.|\n)*takes \*, returns \(\*, \*\)",
    ),
    "part of a carry": (
        lambda: while_loop(lambda c: c["n"] < 3, lambda c: {"n": c["n"] + 0.5, "v": c["v"]},
                           {"n": 0, "v": H}), ShapeError,
        r"body of while_loop(.|\n)*carry\['n'\]: takes i64\[\], returns f64\[\]",
    ),
    "value of fori_loop": (
        lambda: fori_loop(0, 3, lambda i, v: v.sum(), H), ShapeError,
        r"body of fori_loop(.|\n)*carry: takes f64\[3\], returns f64\[\]",
    ),
    "value of fori_loop, traced": (
        lambda: fori_loop(0, np.int64(3), lambda i, v: v.sum(), H), ShapeError,
        r"body of fori_loop(.|\n)*\[1\]: takes f64\[3\], returns f64\[\]",
    ),
    "a bound": (
        lambda: fori_loop(0, 3.5, lambda i, v: v, 1.0), DTypeError,
        r"upper of fori_loop must be an integer, not f64\[\]",
    ),
    "bounds": (
        lambda: fori_loop(np.arange(2), 3, lambda i, v: v, 1.0), ShapeError,
        r"lower of fori_loop must be one integer, not i64\[2\]",
    ),
    "branches": (
        lambda: cond(True, lambda x: x, lambda x: (x, x), H), TraceError,
        r"different structures(.|\n)*true: \*, false: \(\*, \*\)",
    ),
    "part of a branch": (
        lambda: cond(True, lambda x: (x, x), lambda x: (x, x > 0), H), ShapeError,
        r"different forms(.|\n)*result\[1\]: true: f64\[3\], false: bool\[3\]",
    ),
    "no function": (
        lambda: cond(True, 1, lambda x: x, H), TraceError,  # type: ignore[arg-type]
        "cond takes functions, not int",
    ),
}  # fmt: skip


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_named(name: str, inside: bool) -> None:
    call, error, words = BAD[name]
    with pytest.raises(error, match=words) as caught:
        graphjit.jit(call)() if inside else call()
    assert "test_control.py:" in str(caught.value)


# -- outside a trace ------------------------------------------------------------------------------


def test_the_same_function_is_compiled_once_and_only_where_that_pays(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    built: list[str] = []

    def noted(graph: Graph, name: str, *more: Any) -> Any:
        built.append(name)
        return specialise.build_program(graph, name, *more)

    monkeypatch.setattr(kept, "build_program", noted)

    def step(c: Any, x: Any) -> Any:
        return np.sin(c) + x, c

    short, long = np.arange(4.0), np.arange(100_000.0) % 3
    expected = scan(step, 0.5, short)
    assert not built  # NumPy is done by then
    for _ in range(3):
        seen = scan(step, 0.5, long)[1]
    assert len(built) == 1
    assert seen.shape == long.shape
    np.testing.assert_array_equal(scan(step, 0.5, short)[1], expected[1])
    monkeypatch.setattr(control_eager, "PATIENCE", 0.0)
    np.testing.assert_allclose(scan(step, 0.5, short)[1], expected[1], rtol=1e-14)
    assert len(built) == 2


def test_numpy_gives_up_on_a_long_while_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    def step(pair: Any) -> Any:
        return pair[0] + 1, pair[1] * 0.5 + 1

    def answer() -> Any:
        return while_loop(lambda pair: pair[0] < 3000, step, (0, 0.0))

    expected = answer()
    assert expected == (3000, 2.0)
    monkeypatch.setattr(control_eager, "PATIENCE", 1e-3)
    assert answer() == expected


def test_results_are_the_callers_own_and_changes_are_seen() -> None:
    x, scale = np.arange(3.0), np.array([2.0])
    same = cond(True, lambda x: x, lambda x: -x, x)
    same += 1
    np.testing.assert_array_equal(x, [0, 1, 2])

    def body(_: Any, value: Any) -> Any:
        return value * scale

    np.testing.assert_array_equal(fori_loop(0, 3, body, np.ones(1)), [8.0])
    scale[0] = 3.0
    np.testing.assert_array_equal(fori_loop(0, 3, body, np.ones(1)), [27.0])
    assert [int(fori_loop(0, n, lambda i, v: v + i, 0)) for n in range(5)] == [0, 0, 1, 3, 6]


def test_an_index_out_of_range_is_the_programs_own_error() -> None:
    with pytest.raises(IndexError, match="out of bounds for an axis of size 3"):
        scan(lambda c, i: ((c[0], c[1] + c[0][i]), None), (H, 0.0), np.array([1, 7]))


# -- reverse over reverse -------------------------------------------------------------------------


def two_states(x: Any, y: Any) -> Any:
    """Carries an int, a vector and a number."""

    def body(state: Any) -> Any:
        i, v, n = state
        return i + 1, np.sin(v) * y + x * np.cos(y * i), n + np.sum(v * v)

    _, v, n = while_loop(lambda state: state[0] < 4, body, (0, x, 0.0 * x[0]))
    return np.sum(np.cos(v) ** 2 * np.arange(1, 4)) * np.sin(n)


def two_states_by_hand(x: Any, y: Any) -> Any:
    v, n = x, 0.0 * x[0]
    for i in range(4):
        v, n = np.sin(v) * y + x * np.cos(y * i), n + np.sum(v * v)
    return np.sum(np.cos(v) ** 2 * np.arange(1, 4)) * np.sin(n)


def loops_inside(x: Any, y: Any) -> Any:
    def body(state: Any) -> Any:
        i, v, n = state
        inner = while_loop(lambda t: t[0] < 2, lambda t: (t[0] + 1, t[1] + np.cos(v) * y), (0, v))
        last, _ = scan(lambda c, t: (np.sin(c * t) + y, None), inner[1], np.arange(1.0, 3))
        return i + 1, last, n + cond(i > 1, np.sum, lambda v: np.sum(v * v), v)

    _, v, n = while_loop(lambda state: state[0] < 3, body, (0, x, 0.0 * x[0]))
    return np.sum(np.cos(v) ** 2) * np.sin(n)


def loops_inside_by_hand(x: Any, y: Any) -> Any:
    v, n = x, 0.0 * x[0]
    for i in range(3):
        c = v
        for _ in range(2):
            c = c + np.cos(v) * y
        for t in (1.0, 2.0):
            c = np.sin(c * t) + y
        v, n = c, n + (np.sum(v) if i > 1 else np.sum(v * v))
    return np.sum(np.cos(v) ** 2) * np.sin(n)


LOOPS = {
    "two states": (two_states, two_states_by_hand),
    "loops inside": (loops_inside, loops_inside_by_hand),
}
LX, LY, LV = np.array([0.3, 0.5, 0.2]), np.array([0.7, 1.1, 0.9]), np.array([0.4, -1.2, 0.8])


def derivatives(f: Callable[..., Any]) -> dict[str, Callable[[], Any]]:
    """Every nesting in which a loop's backward pass is pulled back."""
    slope = graphjit.grad(f)

    def second(x: Any, y: Any) -> Any:
        return np.sum(slope(x, y) * LV)

    def third(x: Any, y: Any) -> Any:
        return np.sum(graphjit.grad(second)(x, y) * LV)

    def spread(y: Any) -> Any:
        rows = graphjit.vmap(slope, (0, None))(np.stack([LX, LV]), y)
        return np.sum(rows**2)

    return {
        "grad of grad": lambda: graphjit.grad(second)(LX, LY),
        "grad of grad, of the constant": lambda: graphjit.grad(second, 1)(LX, LY),
        "three times": lambda: graphjit.grad(third, (0, 1))(LX, LY),
        "grad of hvp": lambda: graphjit.grad(
            lambda x: np.sum(graphjit.hvp(f, (x, LY), (LV, None)) * LV)
        )(LX),
        "jvp of grad of grad": lambda: graphjit.jvp(graphjit.grad(second), (LX, LY), (LV, LX))[1],
        "jacrev of grad": lambda: graphjit.jacrev(slope)(LX, LY),
        "of the direction": lambda: graphjit.grad(lambda v: np.sum(slope(LX, LY) * v * v))(LV),
        "examples": lambda: graphjit.vmap(graphjit.grad(second), (0, None))(np.stack([LX, LV]), LY),
        "through examples": lambda: graphjit.grad(spread)(LY),
    }


@pytest.mark.parametrize("nesting", derivatives(two_states))
@pytest.mark.parametrize("name", LOOPS)
def test_reverse_over_reverse_through_a_while_loop(name: str, nesting: str) -> None:
    loop, by_hand = LOOPS[name]
    with override(jit=False):
        found, expected = (derivatives(f)[nesting]() for f in (loop, by_hand))
    np.testing.assert_allclose(np.array(found), np.array(expected), rtol=1e-11)


def test_reverse_over_reverse_through_a_while_loop_compiles() -> None:
    loop, by_hand = LOOPS["two states"]
    found, expected = (derivatives(f)["grad of grad"]() for f in (loop, by_hand))
    np.testing.assert_allclose(found, expected, rtol=1e-11)


def test_examples_that_need_different_numbers_of_rounds() -> None:
    """Second derivatives in a batch, each example by itself."""

    def loss(x: Any, y: Any) -> Any:
        return np.sum(np.cos(growing(x, y)) * np.arange(1.0, 4.0))

    def second(x: Any, y: Any) -> Any:
        return graphjit.grad(lambda x: np.sum(graphjit.grad(loss)(x, y) * LV))(x)

    xs, y = np.stack([LX, LY * 3, LX * 9]), np.float64(0.7)
    for f in (second, graphjit.hessian(loss)):
        with override(jit=False):
            found = graphjit.vmap(f, (0, None))(xs, y)
            each = [graphjit.jit(f)(x, y) for x in xs]
        np.testing.assert_allclose(found, np.stack(each), rtol=1e-9, atol=1e-12)


def test_a_rule_of_its_own_inside_a_while_loop() -> None:
    def clipped(bwd: Any) -> Any:
        @graphjit.custom_vjp
        def f(x: Any) -> Any:
            return np.sin(x)

        f.defvjp(lambda x: (np.sin(x), x), bwd)
        return lambda x: np.sum(while_loop(lambda v: np.sum(v) < 9, lambda v: v + f(v) ** 2, x))

    def twice(f: Any) -> Any:
        return graphjit.grad(lambda x: np.sum(graphjit.grad(f)(x) * LV))(LX)

    with override(jit=False):
        found = twice(clipped(lambda x, ct: (np.cos(x) * ct,)))
        plain = twice(
            lambda x: np.sum(while_loop(lambda v: np.sum(v) < 9, lambda v: v + np.sin(v) ** 2, x))
        )
        np.testing.assert_allclose(found, plain, rtol=1e-11)
        with pytest.raises(MissingRule, match=r"f is a custom_vjp.*not known to be linear"):
            twice(clipped(lambda x, ct: (np.clip(np.cos(x) * ct, -1, 1),)))


def test_a_step_indexes_an_array_from_outside() -> None:
    rows = np.array([[3, 0], [1, 4], [2, 2]])

    def picked(xs: Any, rows: Any) -> Any:
        return scan(lambda total, r: (total + np.sum(xs[r] ** 2, axis=0), xs[r, 1]), W[0], rows)

    with override(jit=False):
        total, seen = graphjit.jit(picked)(XS, rows)
        slope = graphjit.grad(lambda xs: np.sum(picked(xs, rows)[0] * H))(XS)
    np.testing.assert_allclose(total, W[0] + sum(np.sum(XS[r] ** 2, axis=0) for r in rows))
    np.testing.assert_array_equal(seen, XS[rows, 1])
    counts = np.bincount(rows.ravel(), minlength=len(XS))[:, None]
    np.testing.assert_allclose(slope, 2 * counts * XS * H)
