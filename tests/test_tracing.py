"""Tracing: leaves, user lines, captured arrays, guards, leaks, nested traces."""

import threading
from collections import namedtuple
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graphjit.errors import DTypeError, TraceError
from graphjit.ir import Symbol, evaluate
from graphjit.tracing.origin import user_line
from graphjit.tracing.trace import Traced, active, trace
from graphjit.tracing.trees import flatten

HERE = Path(__file__).name
GLOBAL = np.arange(1.0, 4.0)
LAYERS = [np.ones(3), np.full(3, 2.0)]


def values(traced: Traced) -> tuple[Any, ...]:
    """The outputs of the trace, by NumPy."""
    leaves = [traced.arguments.leaves[i] for i in traced.arguments.traced]
    return evaluate(traced.graph, *leaves, *traced.captured)


def ops(traced: Traced) -> list[str]:
    return [node.op for node in traced.graph.nodes]


def line_of(text: str) -> int:
    """The only line of this file with a marker in it."""
    lines = Path(__file__).read_text(encoding="utf-8").splitlines()
    (found,) = [i for i, line in enumerate(lines, 1) if line.endswith("# " + text)]
    return found


# -- arguments --------------------------------------------------------------------------------


Pair = namedtuple("Pair", "w b")  # noqa: PYI024 - what users write


@dataclass
class Model:
    w: Any
    b: Any
    name: str = "model"


@dataclass(frozen=True)
class Frozen:
    w: Any

    def __post_init__(self) -> None:
        assert isinstance(self.w, np.ndarray), "rebuilding must not run this"


@pytest.mark.parametrize(
    "tree",
    [
        {"w": np.ones(3), "b": 2.0},
        [np.ones(3), (np.ones(3), None)],
        Pair(np.ones(3), np.float32(2)),
        Model(np.ones(3), 1.5),
        Frozen(np.ones(3)),
        {"layers": [Pair(np.ones(3), 1.0), Model(np.ones(3), [None, {}])]},
    ],
    ids=["dict", "list", "namedtuple", "dataclass", "frozen", "nested"],
)
def test_a_container_comes_back_as_it_was(tree: Any) -> None:
    traced = trace(lambda t: t, (tree,))
    result = traced.outputs.rebuilt(values(traced))
    (before, spec), (after, same) = flatten(tree), flatten(result)
    assert spec == same
    assert type(result) is type(tree)
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one, other)


def test_floats_and_arrays_are_traced_and_the_rest_is_static() -> None:
    seen: list[Any] = []

    def f(*args: Any) -> Any:
        seen.extend(args)
        return args[0]

    trace(f, (np.ones(2), 1.5, np.float32(2), np.int64(3), 4, True, "text", None, print))
    assert [type(v) is Symbol for v in seen] == [True] * 4 + [False] * 5
    assert seen[4:] == [4, True, "text", None, print]
    assert [str(s.aval) for s in seen[:4]] == ["f64[2]", "f64[]", "f32[]", "i64[]"]
    assert [s.weak for s in seen[:4]] == [False, True, False, False]


def test_a_python_float_takes_the_dtype_of_the_array_it_meets() -> None:
    traced = trace(lambda x, rate: x * rate, (np.ones(2, np.float32), 0.5))
    assert values(traced)[0].dtype == np.float32


def test_a_named_argument_is_static() -> None:
    seen = []

    def f(x: Any, p: Any) -> Any:
        seen.append(p)
        return x

    trace(f, (np.ones(2), 2.0), static_argnames="p")
    trace(f, (np.ones(2), 3.0), static_argnums=1)
    trace(f, (np.ones(2),), {"p": 4.0}, static_argnames=("p",))
    assert seen == [2.0, 3.0, 4.0]


# -- lines ------------------------------------------------------------------------------------


def test_every_node_has_the_users_line() -> None:
    def f(x: Any) -> Any:
        y = np.sin(x)  # line of sin
        return y.sum()  # line of sum

    traced = trace(f, (np.ones(3),))
    lines: dict[str, Any] = {node.op: node.origin for node in traced.graph.nodes}
    assert (Path(lines["sin"].file).name, lines["sin"].line) == (HERE, line_of("line of sin"))
    assert lines["sum"].line == line_of("line of sum")


def test_a_line_is_one_object_and_skips_the_library() -> None:
    first, second = [user_line() for _ in range(2)]
    assert first is second
    assert first is not None
    assert Path(first.file).name == HERE
    called = np.vectorize(lambda _: str(user_line()))  # in numpy
    assert called(np.zeros(1))[0] == f"{HERE}:{line_of('in numpy')}"


# -- captured arrays ------------------------------------------------------------------------------


def test_a_captured_array_is_an_input_by_identity() -> None:
    traced = trace(lambda x: x + GLOBAL + GLOBAL, (np.ones(3),))
    assert len(traced.captured) == 1
    assert traced.captured[0] is GLOBAL
    assert len(traced.graph.inputs) == 2


def test_arrays_made_inside_become_part_of_the_program() -> None:
    def f(x: Any) -> Any:
        return x + np.arange(100) + np.array([0.5])

    traced = trace(f, (np.ones(100),))
    assert not traced.captured
    assert "iota" in ops(traced)
    np.testing.assert_array_equal(values(traced)[0], f(np.ones(100)))


def test_a_reshaped_range_becomes_iota() -> None:
    def f(x: Any) -> Any:
        return x[np.arange(70)[:, None], np.arange(3)]

    traced = trace(f, (np.arange(210.0).reshape(70, 3),))
    assert not traced.captured
    assert ops(traced).count("iota") == 2
    np.testing.assert_array_equal(values(traced)[0], np.arange(210.0).reshape(70, 3))


def test_large_arrays_and_arrays_held_elsewhere_stay_inputs() -> None:
    held = []

    def f(x: Any) -> Any:
        held.append(np.array([1.0, 5.0]))
        view = held[0][:1]
        made = np.full(100, 2.0).sum() + np.sum(x[0] * (2 * np.eye(20)))
        return x.sum() + made + np.sum(x * view)

    traced = trace(f, (np.ones(3),))
    assert sorted(a.shape for a in traced.captured) == [(1,), (20, 20)]


def test_concrete_outputs() -> None:
    traced = trace(lambda x: (x, GLOBAL, None, "text", 3, 2.5), (np.ones(3),))
    result = traced.outputs.rebuilt(values(traced))
    assert result[2:] == (None, "text", 3, 2.5)
    np.testing.assert_array_equal(result[1], GLOBAL)


# -- guards -----------------------------------------------------------------------------------


def guarded(function: Any) -> Any:
    return trace(function, (np.ones(3),)).guards


def test_nothing_changed() -> None:
    scale, table = 2.0, {"a": [np.ones(3)]}

    def helper(x: Any) -> Any:
        return x * scale

    guards = guarded(lambda x: helper(x) * table["a"][0] + GLOBAL)
    assert guards.changed() == ""


def test_rebound_globals_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    guards = guarded(lambda x: x + GLOBAL)
    monkeypatch.setitem(globals(), "GLOBAL", np.zeros(3))
    assert guards.changed() == "global GLOBAL was rebound"


def test_closure_scalars_are_compared_by_value() -> None:
    scale = 2.5

    def f(x: Any) -> Any:
        return x * scale

    guards = guarded(f)
    scale = float("2.5")
    assert guards.changed() == ""
    scale = 3.5
    assert guards.changed() == "closure scale: 2.5 -> 3.5"


def test_minus_zero_is_another_value() -> None:
    zero = 0.0
    guards = guarded(lambda x: x * zero)
    zero = -0.0
    assert guards.changed() == "closure zero: 0.0 -> -0.0"


def test_containers_are_compared_by_their_leaves() -> None:
    layers = [{"w": np.ones(3)}, {"w": np.ones(3)}]
    guards = guarded(lambda x: sum(x @ layer["w"] for layer in layers))
    assert guards.changed() == ""
    layers[1]["w"] = np.zeros(3)
    assert guards.changed() == "closure layers[1]['w'] was rebound"
    layers[1:] = []
    assert "layers" in guards.changed()


def helper(x: Any) -> Any:
    return inner_helper(x)


def inner_helper(x: Any) -> Any:
    return x * LAYERS[0]


def test_helper_functions_are_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    guards = guarded(helper)
    with monkeypatch.context() as patch:
        patch.setitem(globals(), "inner_helper", lambda x: x)
        assert guards.changed() == "global inner_helper was rebound"
    assert guards.changed() == ""
    kept, LAYERS[0] = LAYERS[0], np.zeros(3)
    assert guards.changed() == "global LAYERS[0] was rebound"
    LAYERS[0] = kept


def test_attributes_of_self_are_seen() -> None:
    class Net:
        rate = 1.0

        def __init__(self) -> None:
            self.w, self.unused = np.ones(3), 0

        def scaled(self, x: Any) -> Any:
            return x * self.rate

        def loss(self, x: Any) -> Any:
            return self.scaled(x) @ self.w

    net = Net()
    guards = guarded(net.loss)
    net.unused = 1
    assert guards.changed() == ""
    Net.rate = 2.0
    assert guards.changed() == "self.rate: 1.0 -> 2.0"
    Net.rate = 1.0
    net.rate = 2.0
    assert guards.changed() == "self.rate was rebound"
    del net.rate
    net.w = np.zeros(3)
    assert guards.changed() == "self.w was rebound"


def test_contents_read_in_python_are_seen() -> None:
    switch, data = np.array([1.0, 2.0]), np.ones((40, 40))

    def f(x: Any) -> Any:
        return x * 2 if switch[0] > 0 else x * np.linalg.det(data)

    guards = guarded(f)
    data[0, 0] = 2.0
    assert "contents of closure data" in guards.changed()
    data[0, 0] = 1.0
    assert guards.changed() == ""
    switch[0] = -1
    assert "contents of closure switch" in guards.changed()


def test_contents_of_a_large_input_may_change() -> None:
    data = np.ones((40, 3))
    guards = guarded(lambda x: data @ x)
    data[0, 0] = 2.0
    assert guards.changed() == ""


def test_guards_are_bounded() -> None:
    table = {i: np.ones(1) for i in range(10_000)}
    assert len(guarded(lambda x: x * table[0])._items) < 10


# -- traces ---------------------------------------------------------------------------------------


def test_an_exception_passes_through_and_leaves_no_trace_behind() -> None:
    def f(x: Any) -> Any:
        np.sin(x)
        raise RuntimeError("mine")  # raised here

    with pytest.raises(RuntimeError, match=r"^mine$") as caught:
        trace(f, (np.ones(3),))
    assert caught.traceback[-1].lineno + 1 == line_of("raised here")
    assert active() is None
    assert ops(trace(np.sin, (np.ones(3),))) == ["input", "sin"]


LEAKED: list[Any] = []


def leak() -> Any:
    def f(x: Any) -> Any:
        LEAKED[:] = [np.exp(x)]  # made here
        return x.sum()

    trace(f, (np.ones(3),))
    return LEAKED[0]


@pytest.mark.parametrize(
    "use",
    [
        lambda t: t + t,
        lambda t: t + 1,
        lambda t: np.ones(3) * t,
        np.sin,
        lambda t: t.sum(),
        np.sum,
        lambda t: -t,
        lambda t: t[0],
        lambda t: t[:],
        lambda t: t[np.array([0, 1])],
        lambda t: t.T @ t,
        lambda t: t.reshape(3, 1),
        lambda t: t.astype(np.float32),
        lambda t: t.astype(np.float64),
        lambda t: np.where(t > 0, t, 0),
        lambda t: np.stack([t, t]),
        np.zeros_like,
        list,
        bool,
        lambda t: float(t[0]),
        np.asarray,
        lambda t: t.item(),
        lambda t: trace(lambda x: x + t, (np.ones(3),)),
        lambda t: trace(lambda x: t, (np.ones(3),)),
        lambda t: trace(lambda x: t * t, (np.ones(3),)),
        lambda t: trace(lambda x: x, (t,)),
    ],
)
def test_a_tracer_kept_after_its_trace_raises(use: Any) -> None:
    leaked = leak()
    count = len(leaked.builder.nodes)
    with pytest.raises(TraceError, match="used after its trace had ended") as caught:
        use(leaked)
    assert f"{HERE}:{line_of('made here')}" in str(caught.value)
    assert len(leaked.builder.nodes) == count


def test_an_inner_tracer_that_escapes_to_the_outer_trace_raises() -> None:
    def inner(z: Any) -> Any:
        kept.append(z * 2)  # escapes
        return z

    def outer(x: Any) -> Any:
        trace(inner, (np.ones(3),))
        return x + kept[0]

    kept: list[Any] = []

    with pytest.raises(TraceError, match="used after its trace") as caught:
        trace(outer, (np.ones(3),))
    assert f"{HERE}:{line_of('escapes')}" in str(caught.value)


def test_an_outer_value_is_a_hidden_input_of_the_inner_trace() -> None:
    found = []

    def outer(x: Any) -> Any:
        inner = trace(lambda z: z * x, (np.ones(3),))
        found.append(inner)
        return x

    trace(outer, (np.ones(3),))
    assert found[0].nested
    assert isinstance(found[0].captured[0], Symbol)


def test_threads_trace_apart() -> None:
    barrier, graphs = threading.Barrier(4), {}

    def work(count: int) -> None:
        def f(x: Any) -> Any:
            for _ in range(count):
                x = np.sin(x)
                barrier.wait(10) if _ < 5 else None
            return x

        graphs[count] = trace(f, (np.ones(3),)).graph

    threads = [threading.Thread(target=work, args=(count,)) for count in (5, 6, 7, 8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {n: g.count("sin") for n, g in graphs.items()} == {5: 5, 6: 6, 7: 7, 8: 8}


RANDOM = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("draw", "name"),
    [(lambda: np.random.rand(3), "np.random"), (lambda: RANDOM.normal(size=3), "global RANDOM")],  # noqa: NPY002
)
def test_random_numbers_are_not_frozen(draw: Any, name: str) -> None:
    with pytest.raises(TraceError, match="random numbers were drawn from") as caught:
        trace(lambda x: x + draw(), (np.ones(3),))
    assert name in str(caught.value)
    assert "pass them in as an argument" in str(caught.value)


def test_the_name_of_an_argument_is_in_the_message() -> None:
    bad = np.array(["a"])
    with pytest.raises(DTypeError, match=r"argument params\[0\]\['w'\]"):
        trace(lambda x, params: x, (np.ones(3), [{"w": bad}]))
    with pytest.raises(DTypeError, match=r"argument model\.b"):
        trace(lambda x, model: x, (np.ones(3),), {"model": Model(np.ones(3), bad)})
