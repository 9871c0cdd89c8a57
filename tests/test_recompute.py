"""checkpoint and the pass recompute: the same derivatives from less memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import optree
import pytest

import graphjit
from graphjit import checkpoint, grad
from graphjit.codegen.build import Program
from graphjit.errors import TraceError
from graphjit.flags import override
from graphjit.ir import Builder, Graph, aval_of, evaluate
from graphjit.ir.dag import minimum_cut
from graphjit.ir.text import parse, show
from graphjit.ir.verify import verify
from graphjit.passes.adjoint import adjoint
from graphjit.passes.compare import agree, room
from graphjit.passes.linear import linear
from graphjit.passes.pipeline import PROGRAM, parse_pipeline, run
from graphjit.passes.recompute import Plan, recompute
from random_graphs import random_arguments, random_graph
from running import conforming
from zoo import ZOO, Animal, trace

CLEAN = parse_pipeline("prune,fold,simplify,merge,prune")
BUDGETS = (None, 0, 64, 4096)
animals = pytest.mark.parametrize("animal", ZOO, ids=lambda animal: animal.name)
RNG = np.random.default_rng(11)
X = RNG.normal(size=1000)
NET = (RNG.normal(size=(32, 64)), [RNG.normal(size=(64, 64)) / 8 for _ in range(12)])


@pytest.fixture(autouse=True)
def as_plain_python() -> Iterator[None]:
    """Generated programs run as Python: compiling them takes longer."""
    with override(jit=False):
        yield


def work(graph: Graph) -> int:
    """The bytes of the work arrays of a graph's program."""
    return sum(size * dtype.itemsize for dtype, size in Program(graph, "f").loops.work.items())


def differentiated(function: Callable[..., Any], args: Any) -> tuple[Graph, list[Any]]:
    """A value and its gradients, simplified as for compiling; and the values of the inputs."""
    graph, values = trace(function, args)
    floats = [i for i, ident in enumerate(graph.inputs) if graph.nodes[ident].aval.inexact]
    return run(adjoint(run(graph, CLEAN), floats), CLEAN), values


def chain(x: Any) -> Any:
    for _ in range(40):
        x = np.sin(1.01 * x + 0.1)
    return np.sum(x)


def net(x: Any, weights: Any) -> Any:
    for w in weights:
        z = x @ w
        x = z / (1 + np.exp(-z)) + 0.1 * np.tanh(2 * z)
    return np.mean(x * x)


def checkpointed_net(x: Any, weights: Any) -> Any:
    @checkpoint
    def block(x: Any, weights: Any) -> Any:
        for w in weights:
            z = x @ w
            x = z / (1 + np.exp(-z)) + 0.1 * np.tanh(2 * z)
        return x

    for at in range(0, len(weights), 3):
        x = block(x, weights[at : at + 3])
    return np.mean(x * x)


# -- recompute ---------------------------------------------------------------------------------


def same_bits(graph: Graph, values: list[Any]) -> None:
    expected, text = evaluate(graph, *values), str(graph)
    for budget in BUDGETS:
        after = verify(recompute(graph, budget))
        for one, two in zip(expected, evaluate(after, *values), strict=True):
            np.testing.assert_array_equal(one, two)
        assert parse(show(after)) == after
    assert str(graph) == text


@animals
def test_on_gradients_of_the_zoo_every_bit_stays(animal: Animal) -> None:
    same_bits(*differentiated(animal.function, animal.args()))


@pytest.mark.parametrize("seed", range(30))
def test_on_gradients_of_random_graphs_every_bit_stays(seed: int) -> None:
    graph = random_graph(seed, 60, smooth=True)
    floats = [i for i, n in enumerate(graph.avals(graph.inputs)) if n.inexact]
    same_bits(run(adjoint(graph, floats), CLEAN), random_arguments(graph, seed))


@pytest.mark.parametrize("seed", range(6))
def test_programs_of_random_graphs_compute_the_same(seed: int) -> None:
    graph = random_graph(seed, 60, smooth=True)
    values = random_arguments(graph, seed)
    floats = [i for i, n in enumerate(graph.avals(graph.inputs)) if n.inexact]
    graph = run(adjoint(graph, floats), CLEAN)
    expected = Program(graph, "f")(*conforming(values))
    found = Program(recompute(graph, 0), "f")(*conforming(values))
    for one, two in zip(expected, found, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-9, atol=1e-9)


def test_second_derivatives_of_what_was_recomputed() -> None:
    graph, values = differentiated(net, NET)
    summed = [Graph(g.nodes, g.inputs, g.outputs[:1]) for g in (graph, recompute(graph, 0))]
    one, two = (evaluate(adjoint(g, [0, 1]), *values)[1:] for g in summed)
    for a, b in zip(one, two, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize(("function", "args"), [(chain, (X,)), (net, NET)], ids=["chain", "net"])
def test_what_is_kept_fits_the_budget_and_the_program_needs_less(function: Any, args: Any) -> None:
    graph, _ = differentiated(function, args)
    plan = Plan(graph)
    everything = plan.bytes(plan.wanted)
    assert recompute(graph, everything) is graph
    before = work(graph)
    for share, bound in ((4, 0.65), (8, 0.5)):
        budget = everything // share
        assert plan.bytes(plan.cheapest(budget) - plan.free) <= budget
        after = recompute(graph, budget)
        assert work(after) < bound * before, share


def test_later_passes_do_not_undo_it() -> None:
    graph, _ = differentiated(chain, (X,))
    after = recompute(graph, Plan(graph).bytes(Plan(graph).wanted) // 5)
    program = run(after, PROGRAM)
    bodies = [n.params["body"] for n in program.nodes if n.op == "fused"]
    assert sum(body.count("sin") for body in bodies) > 60
    assert program.count("hold") == sum(body.count("hold") for body in bodies) == 0


def test_without_a_budget_only_what_costs_nothing_is_done_again() -> None:
    graph, _ = differentiated(net, NET)
    after = recompute(graph)
    for op in ("contract", "exp", "tanh"):
        assert after.count(op) == graph.count(op)
    assert work(after) < work(graph)


def test_dear_operations_are_done_again_last() -> None:
    graph, _ = differentiated(net, NET)
    everything = Plan(graph).bytes(Plan(graph).wanted)
    counts = []
    for budget in (everything // 3, 0):
        after = recompute(graph, budget)
        counts.append([after.count(op) - graph.count(op) for op in ("divide", "exp", "contract")])
    (divisions, exponentials, products), all_again = counts
    assert divisions > 0
    assert (exponentials, products) == (12, 0)
    assert all_again == [12, 12, 12]


def test_loops_are_kept_and_read() -> None:
    def loss(x: Any) -> Any:
        last, seen = graphjit.scan(lambda h, t: (np.sin(h) * t, h * h), x, np.arange(1.0, 5))
        return np.sum(np.exp(last) * np.exp(last)) + np.sum(np.tanh(np.tanh(seen)))

    graph = graphjit.value_and_grad(loss).graph(np.ones(3), stage="adjoint")
    arguments = [np.ones(3), np.arange(1.0, 5)][: len(graph.inputs)]
    same_bits(run(graph, CLEAN), arguments)


def test_a_graph_without_a_backward_pass_stays() -> None:
    graph, _ = trace(chain, (X,))
    assert recompute(graph, 0) is graph


def test_it_has_a_place_in_a_pipelines_text() -> None:
    text = "prune,adjoint(wrt=0),recompute(budget=8000),recompute"
    pipeline = parse_pipeline(text)
    assert str(pipeline) == text
    graph, values = trace(chain, (X,))
    after = run(graph, pipeline)
    plain = adjoint(graph, [0])
    for one, two in zip(evaluate(after, *values), evaluate(plain, *values), strict=True):
        np.testing.assert_array_equal(one, two)


def test_minimum_cut() -> None:
    edges = {("s", "a"): 3.0, ("a", "t"): np.inf, ("s", "b"): np.inf, ("b", "t"): 1.0}
    first, second = minimum_cut(edges, "s", "t")
    assert (first, second) == ({"s", "b"}, {"a", "t"})


# -- checkpoint --------------------------------------------------------------------------------


@animals
def test_a_checkpointed_animal_has_its_gradient(animal: Animal) -> None:
    args: Any = animal.args()
    count = len(optree.tree_leaves(args))
    found = []
    for function in (animal.function, checkpoint(animal.function)):
        graph, values = trace(function, args)
        floats = [i for i, n in enumerate(graph.avals(graph.inputs)[:count]) if n.inexact]
        found.append(evaluate(verify(adjoint(verify(graph), floats)), *values))
    for one, two in zip(*found, strict=True):
        assert agree(one, two, room(graph))


def test_checkpoints_need_less_memory_for_the_same_gradient() -> None:
    graphs = [differentiated(f, NET)[0] for f in (net, checkpointed_net)]
    assert work(graphs[1]) < 0.6 * work(graphs[0])
    values = [NET[0], *NET[1]]
    for one, two in zip(*(Program(g, "f")(*values) for g in graphs), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-10, atol=1e-15)


def test_the_forward_pass_of_a_checkpoint_is_inlined_and_the_backward_pass_is_not() -> None:
    graph, _ = differentiated(checkpointed_net, NET)
    program = run(graph, PROGRAM)
    assert (graph.count("checkpoint"), program.count("checkpoint")) == (8, 4)
    assert sum(n.params["body"].count("contract") for n in program.nodes if n.op == "checkpoint")


def inside(x: Any, w: Any) -> Any:
    def step(h: Any, t: Any) -> Any:
        return checkpoint(lambda h, w: np.tanh(w @ np.sin(h)) * t)(h, w), np.sum(h)

    last, seen = graphjit.scan(step, x, np.arange(1.0, 4))
    return np.sum(last) * np.sum(seen)


def nested(x: Any, w: Any) -> Any:
    inner = checkpoint(lambda x: np.sin(np.sin(w @ x)))
    return np.sum(checkpoint(lambda x, scale: inner(inner(x)) * scale)(x, scale=2.0))


@pytest.mark.parametrize("function", [inside, nested])
@pytest.mark.parametrize(
    "transform",
    [
        graphjit.jit,
        lambda f: grad(f, (0, 1)),
        lambda f: graphjit.jacfwd(f, (0, 1)),
        lambda f: grad(lambda x, w: sum(np.sum(g * g) for g in grad(f, (0, 1))(x, w)), (0, 1)),
        lambda f: lambda x, w: graphjit.hvp(f, (x, w), (x * x, w * w)),
        lambda f: lambda x, w: graphjit.vmap(grad(f, 1), (0, None))(np.stack([x, -x]), w),
    ],
    ids=["value", "grad", "jacfwd", "second", "hvp", "vmap"],
)
def test_every_mode_and_order(
    function: Any, transform: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, w = RNG.normal(size=3), RNG.normal(size=(3, 3))
    found = transform(function)(x, w)
    monkeypatch.setitem(globals(), "checkpoint", lambda f: f)
    expected = transform(function)(x, w)
    pairs = zip(found, expected, strict=True) if isinstance(found, tuple) else [(found, expected)]
    for one, two in pairs:
        np.testing.assert_allclose(one, two, rtol=1e-9, atol=1e-12)


def test_it_compiles() -> None:
    x, w = RNG.normal(size=3), RNG.normal(size=(3, 3))
    found = grad(nested, 1)(x, w)
    with override(jit=True):
        np.testing.assert_allclose(grad(nested, 1)(x, w), found, rtol=1e-12)


def test_outside_a_trace_and_for_odd_results() -> None:
    assert checkpoint(lambda x, *, y: [x, y])(3, y="text") == [3, "text"]
    assert graphjit.remat is checkpoint
    f = graphjit.jit(lambda x: (checkpoint(lambda n: n + 1)(3), checkpoint(np.square)(x), x))
    assert f(0.0) == (4, 0.0, 0.0)


# -- linear ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda x, y: 2 * x + x * y - np.sum(x) / (y + 1), True),
        (lambda x, y: np.where(y > 0, x, 0.0), True),
        (lambda x, y: np.where(y > 0, x, 1.0), False),
        (lambda x, y: np.where(x > 0, x, 0.0), False),
        (lambda x, y: np.cumsum(x[::-1]) @ np.diag(y), True),
        (lambda x, y: np.concatenate([x, y]), False),
        (lambda x, y: np.concatenate([x, np.zeros_like(y)]), True),
        (lambda x, y: x * x, False),
        (lambda x, y: y / x, False),
        (lambda x, y: x + 1, False),
        (lambda x, y: np.clip(x, -1, 1), False),
        (lambda x, y: np.exp(y), True),
        (lambda x, y: np.take(x, [2, 0]), True),
    ],
)
def test_what_is_seen_to_be_linear(function: Any, expected: bool) -> None:
    graph, _ = trace(function, (np.ones(3), np.ones(3)))
    assert linear(run(graph, CLEAN), [0]) is expected


def test_a_hold_keeps_its_value_and_derivative() -> None:
    builder = Builder()
    x, y = builder.input(aval_of(np.ones(3))), builder.input(aval_of(1.0))
    held = builder.emit("hold", builder.emit("sin", x), y)
    graph = verify(builder.graph([builder.emit("sum", held, axes=(0,))]))
    values: list[Any] = [np.array([0.1, 0.2, 0.3]), np.float64(2)]
    expected = [np.sum(np.sin(values[0])), np.cos(values[0]), 0.0]
    for one, two in zip(evaluate(adjoint(graph, [0, 1]), *values), expected, strict=True):
        np.testing.assert_allclose(one, two)


# -- a budget for a gradient ----------------------------------------------------------------------


def test_a_gradient_takes_a_budget() -> None:
    x, weights = NET
    full = grad(net)
    thrifty = grad(net, budget=50_000)
    np.testing.assert_allclose(thrifty(x, weights), full(x, weights), rtol=1e-12)
    needs = [work(g.graph(x, weights, stage="adjoint")) for g in (full, thrifty)]
    assert needs[1] < 0.6 * needs[0]
    holds = [g.graph(x, weights, stage="adjoint").count("hold") for g in (full, thrifty)]
    assert holds[0] == 0 < holds[1]


def test_a_budget_in_a_decorator_inside_a_trace_and_at_second_order() -> None:
    @graphjit.value_and_grad(budget=0)
    def loss(x: Any) -> Any:
        return chain(x) * 2

    value, slope = loss(X)
    np.testing.assert_allclose(value, 2 * chain(X), rtol=1e-12)
    np.testing.assert_allclose(slope, grad(lambda x: chain(x) * 2)(X), rtol=1e-10)
    twice = grad(lambda x: np.sum(grad(chain, budget=64)(x) ** 2))
    np.testing.assert_allclose(twice(X), grad(lambda x: np.sum(grad(chain)(x) ** 2))(X), rtol=1e-9)


@pytest.mark.parametrize("budget", [-1, 1e6, "1 GB", True])
def test_a_budget_that_is_no_number_of_bytes(budget: Any) -> None:
    with pytest.raises(TraceError, match=r"budget takes a number of bytes, not(.|\n)*an int of 0"):
        grad(chain, budget=budget)
