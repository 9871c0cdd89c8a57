"""Results in the caller's arrays: ``out=``, and donated arguments."""

from __future__ import annotations

import gc
import re
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import optree
import pytest

import graphjit
from graphjit.errors import OutputError, TraceError
from graphjit.flags import override
from graphjit.ir import Builder, Symbol, aval_of
from running import WAYS, Way, way

RANDOM = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def as_python(request: pytest.FixtureRequest) -> Iterator[None]:
    """Run generated text as Python, but in tests that choose a way or are marked ``compiled``."""
    own = {"jit", "compiled"} & set(request.fixturenames)
    with override(jit=bool(own)):
        yield


class Pair(NamedTuple):
    first: Any
    second: Any


def loss(params: Any, x: Any) -> Any:
    return np.sum(np.tanh(x @ params["w"] + params["b"]) ** 2)


PARAMS = {"w": RANDOM.normal(size=(4, 3)), "b": RANDOM.normal(size=3)}
X = RANDOM.normal(size=(5, 4))
CASES: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
    "one array": (graphjit.jit(lambda x: x * 2), (X,)),
    "a scalar": (graphjit.jit(np.sum), (X,)),
    "containers": (
        graphjit.jit(lambda x: {"b": [x + 1, Pair(np.sum(x), x > 0)], "a": (x.T @ x,)}), (X,),
    ),
    "an argument": (graphjit.jit(lambda x: (x, x)), (X,)),
    "something else": (graphjit.jit(lambda x: (x.shape[0], x + 1, None, "text")), (X,)),
    "no arrays": (graphjit.jit(lambda x: (1, "text")), (X,)),
    "grad": (graphjit.grad(loss), (PARAMS, X)),
    "value_and_grad": (graphjit.value_and_grad(loss, argnums=(0, 1)), (PARAMS, X)),
    "vmap": (graphjit.vmap(np.sin), (X,)),
    "hessian": (graphjit.jit(graphjit.hessian(lambda b: np.sum(b**3))), (PARAMS["b"],)),
    "float": (graphjit.grad(lambda x: np.sin(x) * x), (0.5,)),
    "float32": (graphjit.jit(lambda x: np.exp(2 * x)), (X.astype(np.float32),)),
    "checked": (graphjit.jit(lambda x, i: x[i]), (X, np.array([4, 0, -1]))),
}  # fmt: skip


def like(result: Any) -> Any:
    """Arrays full of nonsense, for a result."""
    return optree.tree_map(
        lambda x: np.full(np.shape(x), 77, np.asarray(x).dtype) if is_array(x) else x, result
    )


def is_array(x: Any) -> bool:
    return isinstance(x, np.ndarray | np.generic)


def assert_same(found: Any, expected: Any) -> None:
    assert optree.tree_structure(found) == optree.tree_structure(expected)
    pairs = zip(optree.tree_leaves(found), optree.tree_leaves(expected), strict=True)
    for new, old in pairs:
        np.testing.assert_array_equal(new, old)


@WAYS
@pytest.mark.parametrize("name", CASES)
def test_the_result_is_in_the_given_arrays(name: str, jit: Way) -> None:
    function, args = CASES[name]
    function = type(function)(function._function, *function._options)  # type: ignore[misc, attr-defined] # none built yet
    with override(**way(jit)):
        expected = function(*args)
        for _ in range(3):  # the slow way, and what is written for the kind of call
            out = like(expected)
            found = function(*args, out=out)
            assert_same(found, expected)
            for new, old in zip(optree.tree_leaves(found), optree.tree_leaves(out), strict=True):
                assert new is old or not is_array(new)


def test_the_first_call_may_have_it() -> None:
    out = np.empty(3)
    double = graphjit.jit(lambda x: 2 * x)
    assert double(np.ones(3), out=out) is out
    assert out.tolist() == [2, 2, 2]
    assert double(np.ones(3), out=None) is not out


def test_by_keyword_too() -> None:
    out = np.empty(3)
    assert graphjit.jit(lambda x, *, k: k * x)(np.ones(3), k=2.0, out=out) is out
    assert out.tolist() == [2, 2, 2]


def test_a_method_has_it() -> None:
    class Model:
        scale = 3.0

        @graphjit.jit
        def double(self, x: Any) -> Any:
            return self.scale * x

    out = np.empty(2)
    assert Model().double(np.ones(2), out=out) is out
    assert out.tolist() == [3, 3]


def test_an_argument_of_that_name_is_the_functions_own() -> None:
    assert graphjit.jit(lambda x, out: x + out)(np.ones(2), out=np.ones(2)).tolist() == [2, 2]
    assert graphjit.jit(lambda x, **rest: x + rest["out"])(1.0, out=1.0) == 2


# -- what shares memory ----------------------------------------------------------------------------

CAPTURED = np.arange(9.0).reshape(3, 3)


@pytest.mark.parametrize("calls", [1, 2], ids=["first", "later"])
@pytest.mark.parametrize("compiled", [False, True], ids=["python", "compiled"])
def test_arrays_that_share_memory_with_inputs(calls: int, compiled: bool) -> None:
    with override(jit=compiled):
        turn = graphjit.jit(lambda x, y: (x.T + y, x @ y))
    memory = np.empty(18)
    x, y = memory[:9].reshape(3, 3), memory[9:].reshape(3, 3)
    for outs in ((x, y), (y, x), (x, np.empty((3, 3))), (memory[5:14].reshape(3, 3), CAPTURED)):
        for _ in range(calls):
            memory[:] = np.arange(18.0)
            expected = x.T + y, x @ y
            with override(jit=compiled):
                found = turn(x, y, out=outs)
            assert_same(found, expected)
            assert found[0] is outs[0]
            assert found[1] is outs[1]


def test_a_captured_array_is_read_before_it_is_written() -> None:
    matrix = CAPTURED.copy()
    turn = graphjit.jit(lambda x: matrix.T * x)
    for _ in range(2):
        matrix[:] = CAPTURED
        assert turn(2.0, out=matrix) is matrix
        np.testing.assert_array_equal(matrix, 2 * CAPTURED.T)


def test_one_output_in_two_places() -> None:
    @graphjit.jit
    def twice(x: Any) -> Any:
        y = x + 1
        return y, y

    out = np.empty(3), np.empty(3)
    assert_same(twice(np.zeros(3), out=out), (np.ones(3), np.ones(3)))
    assert_same(out, (np.ones(3), np.ones(3)))


# -- what cannot be --------------------------------------------------------------------------------

BOTH = graphjit.jit(lambda x: {"a": x + 1, "s": np.sum(x)})
FINE = {"a": np.zeros(3), "s": np.zeros(())}
LOCKED = np.zeros(3)
LOCKED.flags.writeable = False
FAULTS = {
    "shape": ({**FINE, "a": np.zeros(4)}, "out['a'] has shape (4,) where the result has (3,)"),
    "scalar": ({**FINE, "s": np.zeros(1)}, "out['s'] has shape (1,) where the result has ()"),
    "dtype": (
        {**FINE, "a": np.zeros(3, int)}, "out['a'] has dtype int64 where the result has float64",
    ),
    "byte order": (
        {**FINE, "a": np.zeros(3, ">f8")}, "out['a'] has dtype >f8 where the result has float64",
    ),
    "list": ({**FINE, "a": 3.0}, "out['a'] is no NumPy array but float"),
    "masked": ({**FINE, "a": np.ma.zeros(3)}, "out['a'] is no NumPy array but MaskedArray"),
    "read-only": ({**FINE, "a": LOCKED}, "out['a'] is read-only"),
    "strided": ({**FINE, "a": np.zeros(6)[::2]}, "out['a'] is not C-contiguous and aligned"),
    "containers": ([np.zeros(3)], "out has other containers than the result"),
    "keys": ({"a": np.zeros(3)}, "out has other containers than the result"),
}  # fmt: skip


@pytest.mark.parametrize("calls", [0, 2], ids=["first", "later"])
@pytest.mark.parametrize("name", FAULTS)
def test_what_cannot_hold_the_result_is_refused(name: str, calls: int) -> None:
    out, message = FAULTS[name]
    for _ in range(calls):
        BOTH(np.ones(3), out=FINE)
    with pytest.raises(OutputError, match=f"^{re.escape(message)}\n") as raised:
        BOTH(np.ones(3), out=out)
    assert "test_out.py" in str(raised.value)


def test_arrays_for_two_outputs_must_be_apart() -> None:
    memory = np.zeros(4)
    with pytest.raises(OutputError, match=r"^out\['s'\] and out\['a'\] share memory"):
        BOTH(np.ones(3), out={"a": memory[:3], "s": memory[2:3].reshape(())})


def test_results_that_are_computed_have_none() -> None:
    pull = graphjit.jit(lambda x: x)
    with pytest.raises(TraceError, match="out= cannot be used inside a function"):
        graphjit.jit(lambda x: pull(x, out=np.empty(3)))(np.ones(3))
    builder = Builder()
    symbol = Symbol(builder, builder.input(aval_of(np.ones(3))))
    with pytest.raises(TraceError, match="out= cannot be used inside a function"):
        pull(symbol, out=np.empty(3))


def test_an_index_out_of_range_is_still_an_error() -> None:
    function, (x, _) = CASES["checked"]
    for _ in range(3):
        with pytest.raises(IndexError, match="out of bounds for an axis of size 5"):
            function(x, np.array([0, 1, 7]), out=np.empty((3, 4)))


# -- donated arguments -----------------------------------------------------------------------------


def descend(params: Any, x: Any) -> Any:
    value, slopes = graphjit.value_and_grad(loss)(params, x)
    return value, {name: params[name] - 0.1 * slopes[name] for name in params}


def fresh() -> Any:
    return {name: array.copy() for name, array in PARAMS.items()}


@WAYS
def test_a_donated_array_is_the_result(jit: Way) -> None:
    expected = graphjit.jit(descend)(PARAMS, X)
    with override(**way(jit)):
        step = graphjit.jit(descend, donate_argnums=0)
        for _ in range(3):
            params = fresh()
            value, after = step(params, X)
            assert value == pytest.approx(expected[0], rel=1e-14)
            for name in PARAMS:
                assert after[name] is params[name]
                np.testing.assert_allclose(after[name], expected[1][name], rtol=1e-13)


def test_many_steps_in_one_place(compiled: None) -> None:
    plain, donating = graphjit.jit(descend), graphjit.jit(donate_argnums=(0,))(descend)
    slow, fast = fresh(), fresh()
    kept = dict(fast)
    for _ in range(40):  # calls are native by then, where they can be
        _, slow = plain(slow, X)
        _, fast = donating(fast, X)
    for name in PARAMS:
        assert fast[name] is kept[name]
        np.testing.assert_allclose(fast[name], slow[name], rtol=1e-12)


def test_nothing_is_overwritten_that_another_may_see() -> None:
    step = graphjit.jit(lambda a, b: (a + b, a.T - b), donate_argnums=(0, 1))
    square, other = CAPTURED, CAPTURED + 1
    locked = square.copy()
    locked.flags.writeable = False
    stack = np.stack([square, square])
    for _ in range(3):
        for a in (locked, stack[0], np.asfortranarray(square)):
            before = a.copy()
            b = other.copy()
            assert_same(step(a, b), (before + other, before.T - other))
            np.testing.assert_array_equal(a, before)
        same = square.copy()
        assert_same(step(same, same), (square + square, square.T - square))
        np.testing.assert_array_equal(same, square)


def test_a_captured_array_is_not_overwritten() -> None:
    weights = CAPTURED.copy()
    step = graphjit.jit(lambda w: (w + weights, weights * 2), donate_argnums=0)
    for _ in range(3):
        assert_same(step(weights), (2 * CAPTURED, 2 * CAPTURED))
        np.testing.assert_array_equal(weights, CAPTURED)


def test_what_is_read_elsewhere_has_a_result_of_its_own() -> None:
    turn = graphjit.jit(lambda x: x @ x.T + x[::-1], donate_argnums=0)
    for _ in range(3):
        x = CAPTURED.copy()
        found = turn(x)
        np.testing.assert_array_equal(found, CAPTURED @ CAPTURED.T + CAPTURED[::-1])
        assert found is not x
        np.testing.assert_array_equal(x, CAPTURED)


def test_only_what_is_donated_is_overwritten() -> None:
    step = graphjit.jit(lambda a, b, k: (a * k, b * k, a + b), donate_argnums=-2)
    for _ in range(3):
        a, b = np.ones(4), np.full(4, 2.0)
        first, second, third = step(a, b, 3.0)
        assert (first is b, second is b, third is b).count(True) <= 1
        assert_same((first, second, third), (np.full(4, 3.0), np.full(4, 6.0), np.full(4, 3.0)))
        np.testing.assert_array_equal(a, np.ones(4))


def test_both_at_once() -> None:
    step = graphjit.jit(lambda a: a + 1, donate_argnums=0)
    for _ in range(3):
        a, out = np.zeros(3), np.empty(3)
        assert step(a, out=out) is out
        assert out.tolist() == [1, 1, 1]


def test_an_argument_that_is_not_there_cannot_be_donated() -> None:
    with pytest.raises(TraceError, match="donate_argnums=2 names no positional argument"):
        graphjit.jit(lambda a, b: a + b, donate_argnums=2)(np.ones(2), np.ones(2))
    with pytest.raises(TraceError, match="donate_argnums"):
        graphjit.jit(lambda a: a, donate_argnums=(0, 0))(np.ones(2))


def test_static_arguments_have_nothing_to_donate() -> None:
    power = graphjit.jit(lambda x, n: x**n, donate_argnums=(0, 1))
    x = np.full(3, 2.0)
    assert power(x, 3).tolist() == [8, 8, 8]


# -- allocation ------------------------------------------------------------------------------------

BIG = RANDOM.normal(size=(300, 300))


def allocated(call: Callable[[], Any]) -> int:
    """The most bytes that calls allocate at once, of what Python and NumPy are told of."""
    for _ in range(40):
        call()
    gc.collect()
    tracemalloc.start()
    try:
        call()
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(10):
            call()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


def test_a_call_allocates_its_outputs_alone(compiled: None) -> None:
    deep = graphjit.jit(lambda x: np.sum(np.tanh(np.tanh(x @ x) @ x), axis=0))
    assert deep.explain_compile(BIG).work["bytes of work memory"] >= BIG.nbytes
    assert allocated(lambda: deep(BIG)) < 10_000
    one = graphjit.jit(lambda x: np.tanh(x @ x) @ x)
    assert BIG.nbytes <= allocated(lambda: one(BIG)) + 10_000 < 2 * BIG.nbytes + 20_000


def test_with_out_nothing_is_allocated(compiled: None) -> None:
    one, out = graphjit.jit(lambda x: np.tanh(x @ x) @ x), np.empty_like(BIG)
    assert allocated(lambda: one(BIG, out=out)) < 10_000


def test_what_is_donated_is_not_allocated_again(compiled: None) -> None:
    step = graphjit.jit(lambda w: w - 0.1 * np.tanh(w), donate_argnums=0)
    w = BIG.copy()
    assert allocated(lambda: step(w)) < 10_000


def test_a_gradient_in_place_allocates_nothing(compiled: None) -> None:
    both = graphjit.value_and_grad(lambda w: np.sum(np.tanh(w @ BIG) ** 2))
    out = np.empty(()), np.empty_like(BIG)
    assert allocated(lambda: both(BIG, out=out)) < 10_000
