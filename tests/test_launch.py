"""Native calls: what they accept, what they hand to Python, and that nothing leaks or races."""

import copy
import dataclasses
import gc
import inspect
import pickle
import sys
import threading
import tracemalloc
import types
import weakref
from collections import OrderedDict, deque, namedtuple
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest

import graphjit
from graphjit.codegen import objects
from graphjit.errors import CompileError, IndexRangeError
from graphjit.flags import override
from graphjit.launch import entry, layout, vectorcall
from graphjit.launch.entry import MOST
from graphjit.launch.kernel import kernel_of
from graphjit.launch.vectorcall import native_class, native_offset, python_class, words_of
from graphjit.transforms import Compiled
from graphjit.transforms.native import WARM

X = np.arange(12.0).reshape(3, 4)
VECTOR = np.array([1.0, 2.0, 3.0])

pytestmark = pytest.mark.skipif(not layout.direct(), reason="calls go the portable way here")


class Pair(NamedTuple):
    first: Any
    second: Any


@graphjit.jit
def module_level(x: Any) -> Any:
    return x * 2.0


def warm(f: Any, *args: Any) -> Any:
    """Call until calls are native; the last result."""
    for _ in range(WARM + 1):
        result = f(*args)
    assert words_of(f)[0], f.stats.launch
    return result


def count(f: Any, *args: Any, **kwargs: Any) -> tuple[int, Any]:
    """How many native calls one call made, and its result."""
    before = f.stats._native.value
    result = f(*args, **kwargs)
    return f.stats._native.value - before, result


def goes_native(f: Any, *args: Any, **kwargs: Any) -> Any:
    made, result = count(f, *args, **kwargs)
    assert made == 1
    return result


def goes_to_python(f: Any, *args: Any, **kwargs: Any) -> Any:
    made, result = count(f, *args, **kwargs)
    assert made == 0
    return result


# -- results --------------------------------------------------------------------------------------


def test_results_are_as_through_python() -> None:
    def function(x: Any, z: Any) -> Any:
        y = x * z
        return {
            "a": y, "b": [y + 1.0, (np.sum(y), 7, "text", None, 1.5, True)], "c": (), "d": [],
            "e": Pair(y, x > z), "f": np.sum(y) > 1.0, "g": x.astype(np.float32),
            "h": (np.sum(x) > 0, np.any(x < 0), np.argmax(x)),
        }  # fmt: skip

    f = graphjit.jit(function)
    slow, fast = f(VECTOR, VECTOR), warm(f, VECTOR, VECTOR)
    assert repr(slow) == repr(fast)
    assert type(fast["e"]) is Pair
    assert type(fast["b"][1][0]) is np.float64
    assert type(fast["f"]) is np.bool_
    assert fast["f"] is np.True_
    assert fast["g"].dtype is np.dtype(np.float32)
    assert list(fast) == list(slow)
    assert f.stats.launch == "native"


@pytest.mark.parametrize("code", ["f4", "f8", "i1", "i4", "i8", "u2", "u8", "?"])
def test_scalars_of_each_dtype(code: str) -> None:
    value = np.dtype(code).type(1)
    f = graphjit.jit(lambda x: (x, np.stack([x, x])))
    assert repr(f(value)) == repr(warm(f, value))
    scalar, pair = goes_native(f, value)
    assert type(scalar) is type(value)
    assert pair.dtype == value.dtype
    assert repr(goes_native(f, np.array(value))) == repr((scalar, pair))


def test_results_are_fresh_and_one_output_may_stand_in_two_places() -> None:
    f = graphjit.jit(lambda x: [x + 1.0] * 2)
    warm(f, X)
    one, two = goes_native(f, X), goes_native(f, X)
    assert not np.shares_memory(one[0], two[0])
    np.testing.assert_array_equal(one[0], one[1])
    one[0][:] = 0
    np.testing.assert_array_equal(two[0], X + 1)


def test_results_that_are_held_are_never_filled_again() -> None:
    f = graphjit.value_and_grad(lambda x, z: x * z + x, (0, 1))
    warm(f, 1.0, 2.0)
    shown = [goes_native(f, float(k), 3.0) for k in range(20)]
    assert shown == [(4.0 * k, (4.0, float(k))) for k in range(20)]
    inner = [goes_native(f, float(k), 3.0)[1] for k in range(20)]
    assert inner == [(4.0, float(k)) for k in range(20)]
    scalars = [goes_native(f, float(k), 3.0)[1][1] for k in range(20)]
    assert scalars == list(range(20))
    assert len({id(s) for s in scalars}) == 20
    total = 0.0
    for k in range(20):
        value, (dx, dz) = f(float(k), 3.0)
        total += value + dx + dz
    assert total == sum(4.0 * k + 4.0 + k for k in range(20))


def test_a_result_in_a_container_that_holds_itself() -> None:
    f = graphjit.jit(lambda x: x * 2.0)
    warm(f, 1.0)
    held: dict[Any, Any] = {}
    for k in range(50):
        held[f(float(k))] = f(float(k))
    assert held == {2.0 * k: 2.0 * k for k in range(50)}
    hashed = {hash(f(float(k))) for k in range(50)}
    assert hashed == {hash(2.0 * k) for k in range(50)}


def test_empty_arrays_and_calls_without_arguments() -> None:
    f = graphjit.jit(lambda x: (x + 1.0, np.sum(x)))
    empty = np.empty((0, 3))
    shown = warm(f, empty)
    assert shown[0].shape == (0, 3)
    assert shown[1] == 0
    g = graphjit.jit(lambda: np.sum(X))
    assert warm(g) == X.sum()
    assert goes_native(g) == X.sum()


def test_gradients_come_in_the_container_of_the_argument() -> None:
    def loss(p: Any, x: Any) -> Any:
        return np.sum((x @ p["w"] + p["b"][0]) ** 2)

    params = {"w": np.ones(4), "b": [0.5, None]}
    f = graphjit.value_and_grad(loss)
    slow = f(params, X)
    fast = warm(f, params, X)
    assert repr(slow) == repr(fast)
    goes_native(f, params, X)
    goes_native(f, {"b": [2.5, None], "w": np.ones(4)}, X)


# -- what a native call accepts -------------------------------------------------------------------


def strided(x: Any) -> Any:
    return np.repeat(x, 2, axis=-1)[..., ::2]


def unaligned(x: Any) -> Any:
    memory = np.empty(x.nbytes + 1, np.uint8)[1:].view(x.dtype).reshape(x.shape)
    memory[...] = x
    assert not memory.flags.aligned
    return memory


class Sub(np.ndarray[Any, Any]):
    """A subclass, which has rules of its own."""


@pytest.mark.parametrize(
    "other",
    [
        np.asfortranarray, strided, unaligned,
        lambda x: x.astype(np.float32), lambda x: x.astype(x.dtype.newbyteorder()),
        lambda x: x[:2].copy(), lambda x: x.reshape(4, 3).copy(), lambda x: x.reshape(-1),
        lambda x: x.reshape(1, 3, 4), lambda x: x[::-1],
        lambda x: x.astype(int),
    ],
)  # fmt: skip
def test_other_arrays_go_to_python_and_come_out_right(other: Callable[[Any], Any]) -> None:
    f = graphjit.jit(lambda x: x * 2.0)
    warm(f, X)
    value = other(X)
    np.testing.assert_array_equal(goes_to_python(f, value), value * 2.0)
    np.testing.assert_array_equal(goes_native(f, X), X * 2.0)


@pytest.mark.parametrize("other", [X.view(Sub), [1.0, 2.0], None, "text", 3, object(), 1j])
def test_other_objects_get_what_python_says(other: Any) -> None:
    def outcome(f: Any) -> str:
        try:
            return repr(goes_to_python(f, other))
        except Exception as error:  # noqa: BLE001 - whatever it is
            return f"{type(error)} {error}"

    f, g = graphjit.jit(lambda x: x * 2.0), graphjit.jit(lambda x: x * 2.0)
    warm(f, X)
    assert outcome(f) == outcome(g)


def test_the_same_dtype_as_another_object_is_native() -> None:
    f = graphjit.jit(lambda x: x * 2.0)
    warm(f, X)
    copied = np.dtype(np.float64, metadata={"note": 1})
    other = X.view(copied)
    assert other.dtype is not X.dtype
    goes_native(f, other)
    goes_native(f, pickle.loads(pickle.dumps(X)))


def test_readonly_arrays_and_offsets_are_native() -> None:
    f = graphjit.jit(lambda x: x * 2.0)
    warm(f, X)
    frozen = X.copy()
    frozen.setflags(write=False)
    np.testing.assert_array_equal(goes_native(f, frozen), X * 2)
    np.testing.assert_array_equal(goes_native(f, np.vstack([X, X])[3:]), X * 2)


def test_floats_and_numpy_scalars_are_kinds_of_their_own() -> None:
    f = graphjit.jit(lambda x, z: x * z)
    warm(f, 2.0, 3.0)
    assert goes_native(f, 2.5, 3.0) == 7.5
    assert goes_to_python(f, np.float64(2.5), 3.0) == 7.5
    assert goes_to_python(f, np.float32(2.5), 3.0).dtype == np.float32
    assert goes_to_python(f, 2, 3.0) == 6
    assert goes_to_python(f, True, 3.0) == 3
    warm(f, np.float64(2.0), 3.0)
    assert goes_native(f, np.float64(2.5), 3.0) == 7.5
    assert goes_native(f, np.array(2.5), 3.0) == 7.5
    assert goes_native(f, 2.5, 3.0) == 7.5
    assert goes_to_python(f, np.array([2.5]), 3.0) == 7.5


def test_keywords_and_other_counts_of_arguments() -> None:
    f = graphjit.jit(lambda x, z=2.0: x * z)
    warm(f, 1.5, 2.0)
    assert goes_to_python(f, 1.5, z=4.0) == 6
    assert goes_to_python(f, x=1.5, z=4.0) == 6
    for _ in range(WARM):
        f(z=4.0, x=1.5)
        f(1.5, z=4.0)
    assert goes_native(f, 1.5, z=4.5) == 6.75
    assert goes_native(f, x=1.5, z=4.5) == 6.75
    assert goes_to_python(f, z=4.5, x=1.5) == 6.75  # the order of the traced call is native
    assert goes_to_python(f, 1.5) == 3
    assert goes_native(f, *[1.5, 4.0]) == 6
    with pytest.raises(TypeError):
        f(1.0, 2.0, 3.0)
    with pytest.raises(TypeError):
        f(1.0, 2.0, y=3.0)
    with pytest.raises(TypeError):
        f()


def test_static_values_are_compared() -> None:
    f = graphjit.jit(lambda x, n, name, flag: x * n if flag and name == "a" else x)
    thousand = int("1000")
    warm(f, 2.0, thousand, "a", True)
    assert goes_native(f, 2.0, int("1000"), "a", True) == 2000
    assert goes_to_python(f, 2.0, -1000, "a", True) == -2000
    assert goes_to_python(f, 2.0, 1001, "a", True) == 2002
    assert goes_to_python(f, 2.0, thousand, "a", False) == 2
    assert goes_to_python(f, 2.0, thousand, "b", True) == 2
    assert goes_to_python(f, 2.0, thousand, None, True) == 2
    assert goes_to_python(f, 2.0, thousand + 2**70, "a", True) == 2.0 * (1000 + 2**70)


def test_containers_are_compared() -> None:
    other_pair: Any = namedtuple("other_pair", "first second")  # noqa: PYI024 - of no types
    f = graphjit.jit(lambda t: t[0]["w"] * t[1][0] + t[2].first)
    warm(f, ({"w": 2.0}, [3.0], Pair(1.0, None)))
    assert goes_native(f, ({"w": 3.0}, [4.0], Pair(1.0, None))) == 13
    for other in (
        ({"w": 3.0, "v": 1.0}, [4.0], Pair(1.0, None)),
        ({"w": 3.0}, [4.0, 5.0], Pair(1.0, None)),
        ({"w": 3.0}, (4.0,), Pair(1.0, None)),
        ({"w": 3.0}, [4.0], Pair(1.0, 2.0)),
        [{"w": 3.0}, [4.0], Pair(1.0, None)],
        (OrderedDict(w=3.0), [4.0], Pair(1.0, None)),
        ({"w": 3.0}, [4.0], other_pair(1.0, None)),
    ):
        assert goes_to_python(f, other) == 13
    with pytest.raises(KeyError):
        f(({"v": 3.0}, [4.0], Pair(1.0, None)))
    assert goes_native(f, ({"w": 3.0}, [4.0], Pair(1.0, None))) == 13


@pytest.mark.parametrize("options", [{}, {"frozen": True}, {"slots": True}])
def test_dataclasses(options: Any) -> None:
    @dataclasses.dataclass(**options)
    class Params:
        w: Any
        b: Any
        n: Any = "abc"

        def __post_init__(self) -> None:
            made.append(self)

    made: list[Any] = []
    loss = graphjit.grad(lambda p, x: np.sum(x * p.w["k"]) + p.b * len(p.n))
    params: Any = Params({"k": np.ones(4)}, 2.0)
    assert repr(loss(params, X)) == repr(warm(loss, params, X))
    del made[:]
    gradient: Any = goes_native(loss, params, X)
    assert not made
    assert isinstance(gradient, Params)
    assert gradient.b == 3
    assert gradient.n is None
    np.testing.assert_array_equal(gradient.w["k"], X.sum(0))
    goes_to_python(loss, Params({"k": np.ones(4)}, 2.0, "ab"), X)
    before = [sys.getrefcount(o) for o in (params, params.w, params.w["k"], params.b, Params)]
    for _ in range(1000):
        loss(params, X)
    after = [sys.getrefcount(o) for o in (params, params.w, params.w["k"], params.b, Params)]
    assert max(abs(a - b) for a, b in zip(after, before, strict=True)) < 10


def test_a_dataclass_with_computed_fields_stays_with_python() -> None:
    @dataclasses.dataclass
    class Params:
        w: Any

        def __getattr__(self, name: str) -> Any:
            raise AttributeError(name)

    f = graphjit.jit(lambda p: p.w * 2.0)
    for _ in range(WARM + 1):
        assert f(Params(1.5)) == 3
    assert f.stats.launch == "Python: fields of Params that are computed"


def test_dicts_with_keys_that_compare_by_code_go_to_python() -> None:
    class Key:
        def __hash__(self) -> int:
            return hash("w")

        def __eq__(self, other: object) -> bool:
            raise ValueError("compared")

    f = graphjit.jit(lambda d: d["w"])
    warm(f, {"w": 2.0})
    with pytest.raises(ValueError, match="compared"):
        f({Key(): 1.0})
    assert goes_native(f, {"w": 3.0}) == 3


# -- guards ---------------------------------------------------------------------------------------


def test_globals_and_closures_are_compared() -> None:
    scale, table = 2.0, {"k": [3.0]}
    namespace: dict[str, Any] = {"g": 5.0}
    inner = types.FunctionType((lambda x: x * g).__code__, namespace)  # type: ignore[name-defined] # noqa: F821

    f = graphjit.jit(lambda x: inner(x) * scale * table["k"][0])
    warm(f, 1.0)
    assert goes_native(f, 1.0) == 30
    scale = 4.0
    assert goes_to_python(f, 1.0) == 60
    warm(f, 1.0)
    namespace["g"] = 6.0
    assert goes_to_python(f, 1.0) == 72
    warm(f, 1.0)
    table["k"][0] = 1.0
    assert goes_to_python(f, 1.0) == 24
    warm(f, 1.0)
    table["k"].append(1.0)
    assert goes_to_python(f, 1.0) == 24
    warm(f, 1.0)
    table["j"] = [2.0]
    assert goes_to_python(f, 1.0) == 24
    warm(f, 1.0)
    del namespace["g"]
    with pytest.raises(NameError):
        f(1.0)


def test_an_equal_number_is_no_change() -> None:
    scale = float("2.5")
    f = graphjit.jit(lambda x: x * scale)
    warm(f, 1.0)
    scale = float("2.5")
    assert goes_to_python(f, 1.0) == 2.5
    assert f.stats.specialisations == 1


def test_attributes_are_compared() -> None:
    class Model:
        w = 2.0

        def __init__(self) -> None:
            self.b = 1.0

    model = Model()
    f = graphjit.jit(lambda x: x * model.w + model.b)
    warm(f, 1.0)
    assert goes_native(f, 1.0) == 3
    model.b = 2.0
    assert goes_to_python(f, 1.0) == 4
    warm(f, 1.0)
    model.w = 3.0  # now hides that of the class
    assert goes_to_python(f, 1.0) == 5
    warm(f, 1.0)
    del model.w
    Model.w = 7.0
    assert goes_to_python(f, 1.0) == 9


def test_contents_of_small_arrays_are_compared() -> None:
    array = np.arange(9.0)[1:].copy()
    small = np.array([1, 2, 3], np.int8)
    f = graphjit.jit(lambda x: x * (2.0 if array[7] > 0 else 1.0) * (1.0 if small[2] == 3 else 5.0))
    warm(f, 1.0)
    assert goes_native(f, 1.0) == 2
    array[7] = -1
    assert goes_to_python(f, 1.0) == 1
    warm(f, 1.0)
    small[2] = 4
    assert goes_to_python(f, 1.0) == 5


def test_captured_arrays_are_read_at_every_call() -> None:
    array = np.arange(1000.0)
    f = graphjit.jit(lambda x: np.max(array * x))
    warm(f, 1.0)
    array[0] = 5000.0
    assert goes_native(f, 1.0) == 5000
    array.resize(2000, refcheck=False)
    array[-1] = 7000.0
    assert goes_to_python(f, 1.0) == 7000


def test_an_outer_trace_takes_a_call_in() -> None:
    inner = graphjit.jit(lambda x: x * 3.0)
    warm(inner, 2.0)
    native = inner.stats._native.value
    outer = graphjit.jit(lambda x: inner(x) + inner(2.0))
    assert outer(1.0) == 9
    assert inner.stats._native.value == native
    goes_native(inner, 2.0)


def test_a_trace_in_another_thread_changes_nothing() -> None:
    f = graphjit.jit(lambda x: x * 3.0)
    warm(f, 2.0)
    inside, done = threading.Event(), threading.Event()

    @graphjit.jit
    def waiting(x: Any) -> Any:
        inside.set()
        assert done.wait(10)
        return x

    thread = threading.Thread(target=waiting, args=(1.0,))
    thread.start()
    assert inside.wait(10)
    assert goes_to_python(f, 2.0) == 6
    done.set()
    thread.join()
    assert goes_native(f, 2.0) == 6


def test_a_trace_that_fails_is_over() -> None:
    f = graphjit.jit(lambda x: x * 3.0)
    warm(f, 2.0)
    with pytest.raises(ZeroDivisionError):
        graphjit.jit(lambda x: x * (1 // 0))(1.0)
    goes_native(f, 2.0)


def test_kinds_of_calls_are_tried_one_after_the_other() -> None:
    f = graphjit.jit(lambda x: x * 2.0)
    arrays = [np.ones(n) for n in range(1, MOST + 3)]
    for array in arrays:
        warm(f, array)
    for array in arrays[-MOST:]:
        assert goes_native(f, array).shape == array.shape
    for array in arrays[:-MOST]:
        assert goes_to_python(f, array).shape == array.shape


# -- what is not called natively ------------------------------------------------------------------


def test_static_arguments() -> None:
    def function(x: Any, axes: Any, scale: Any, apply: Any = None) -> Any:
        y = np.sum(x, axis=axes) * scale
        return y if apply is None else apply(y)

    f = graphjit.jit(function, static_argnames=("axes", "scale", "apply"))
    axes = (0, 1)
    for _ in range(WARM + 1):
        assert f(X, axes, scale=2.5) == 2.5 * X.sum()
        assert f(X, axes, 2.5, apply=np.negative) == -2.5 * X.sum()
    half = 2.5
    goes_to_python(f, X, axes, scale=float("3.5"))
    assert f.stats.specialisations == 3
    assert f(X, axes, scale=half) == 2.5 * X.sum()
    assert f(X, axes, 2.5, apply=np.sqrt) == np.sqrt(2.5 * X.sum())
    assert f.stats.specialisations == 4


def test_a_static_argument_that_may_change_inside_stays_with_python() -> None:
    class Options:
        def __init__(self) -> None:
            self.scale = 2.0

        def __hash__(self) -> int:
            return hash(self.scale)

        def __eq__(self, other: object) -> bool:
            return isinstance(other, Options) and other.scale == self.scale

    f = graphjit.jit(lambda x, o: x * o.scale, static_argnames="o")
    options = Options()
    for _ in range(WARM + 1):
        assert f(1.5, options) == 3
    assert f.stats.launch == "Python: a static argument of type Options"
    assert not words_of(f)[0]
    assert "launch" in repr(f.stats)
    assert f.stats.calls == WARM + 1
    options.scale = 4.0
    assert f(1.5, options) == 6


def test_code_that_cannot_be_made_leaves_calls_to_python(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> Any:
        raise CompileError("no room")

    monkeypatch.setattr(entry, "code_of", refuse)
    f = graphjit.jit(lambda x: x * 2.0)
    for _ in range(WARM + 2):
        assert f(1.5) == 3
    assert f.stats.launch == "Python: no room"


def test_many_leaves_in_and_out() -> None:
    f = graphjit.jit(lambda xs: [x * 2.0 for x in xs])
    arrays = [np.full(3, float(k)) for k in range(200)]
    warm(f, arrays)
    for k, result in enumerate(goes_native(f, arrays)):
        np.testing.assert_array_equal(result, np.full(3, 2.0 * k))


def test_plain_python_stays_with_python() -> None:
    with override(jit=False):
        f = graphjit.jit(lambda x: x * 2.0)
        for _ in range(WARM + 1):
            assert f(2.0) == 4
    assert f.stats.launch == "Python: the program is no machine code"


def test_a_subclass_with_a_call_of_its_own_keeps_it() -> None:
    class Loud(Compiled):
        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            return ("loud", super().__call__(*args, **kwargs))

    f = Loud(lambda x: x * 2.0)
    for _ in range(2 * WARM):
        assert f(2.0) == ("loud", 4.0)


@pytest.mark.parametrize("renderer", ["llvm", "numba"])
def test_both_renderers_are_called_natively(renderer: str) -> None:
    def function(x: Any, z: Any, w: Any) -> Any:
        return np.tanh(x @ w) * z, np.sum(x), np.cumsum(x[0]) + np.array([1.0, 2.0, 3.0, 4.0])

    with override(renderer=renderer):
        f = graphjit.jit(function)
        slow = f(X, 2.0, X.T.copy())
        for _ in range(WARM):
            f(X, 2.0, X.T.copy())
        fast = goes_native(f, X, 2.0, X.T.copy())
    for a, b in zip(slow, fast, strict=True):
        np.testing.assert_array_equal(a, b)


# -- errors ---------------------------------------------------------------------------------------


def test_an_index_out_of_range_is_raised() -> None:
    f = graphjit.jit(lambda x, i: (np.sum(x), x[i], x * 2.0))
    good, bad = np.array([2]), np.array([3])
    warm(f, VECTOR, good)
    for _ in range(3):
        with pytest.raises(IndexRangeError, match="out of bounds") as caught:
            f(VECTOR, bad)
        assert "test_launch.py" in str(caught.value)
        assert goes_native(f, VECTOR, good)[1] == 3


def test_errors_of_the_slow_way_pass_through() -> None:
    class BoomError(Exception):
        pass

    def function(x: Any) -> Any:
        if x.shape[0] == 2:
            raise BoomError
        return x * 2.0

    f = graphjit.jit(function)
    warm(f, VECTOR)
    for _ in range(3):
        with pytest.raises(BoomError):
            f(np.ones(2))
        np.testing.assert_array_equal(goes_native(f, VECTOR), 2 * VECTOR)


def test_a_named_tuple_that_refuses_lets_go_of_all() -> None:
    class Strict(namedtuple("Strict", "a b")):  # noqa: PYI024, SLOT002
        refuse = False

        def __new__(cls, a: Any, b: Any) -> Any:
            if cls.refuse:
                raise ValueError("refused")
            return super().__new__(cls, a, b)

    f = graphjit.jit(lambda x: Strict(x * 2.0, [x, x + 1.0]))
    shown = warm(f, X)
    assert type(shown) is Strict
    Strict.refuse = True
    alive = len([o for o in gc.get_objects() if type(o) is list])
    for _ in range(100):
        with pytest.raises(ValueError, match="refused"):
            f(X)
    assert len([o for o in gc.get_objects() if type(o) is list]) < alive + 50


# -- memory ---------------------------------------------------------------------------------------


def leaves(tree: Any) -> Iterator[Any]:
    """The objects in a tree, and those that hold them."""
    yield tree
    inside = tree.values() if isinstance(tree, dict) else tree
    for part in inside if isinstance(tree, dict | list | tuple) else ():
        yield from leaves(part)


def test_references_do_not_leak() -> None:
    f = graphjit.jit(lambda t, z: {"a": [t["x"] * z, (np.sum(t["x"]), 1000003, "text")]})
    tree, z = {"x": X.copy(), "y": [2.0, np.float32(1)], "n": 5}, float("3.25")
    shown = warm(f, tree, z)
    warm(f, tree, 2)  # a program of its own, which refers to such objects for good
    objects = [*leaves(tree), z, X.dtype, np.float64, None, np.ndarray, *leaves(shown), "a", "text"]
    gc.collect()  # of other tests: it must not go meanwhile
    before = [sys.getrefcount(o) for o in objects]
    gc.disable()
    try:
        for _ in range(5000):
            f(tree, z)
            f(tree, 2)
    finally:
        gc.enable()
    after = [sys.getrefcount(o) for o in objects]
    assert max(abs(a - b) for a, b in zip(after, before, strict=True)) < 50


def test_memory_does_not_grow() -> None:
    f = graphjit.value_and_grad(lambda p, x: np.sum((x @ p["w"]) ** 2))
    g = graphjit.jit(lambda x, i: x[i])
    params = {"w": np.ones(4)}
    warm(f, params, X)
    warm(g, VECTOR, np.array([0]))
    bad = np.array([5])

    def run(times: int) -> None:
        for i in range(times):
            f(params, X)
            if i % 100 == 0:
                with pytest.raises(IndexRangeError):
                    g(VECTOR, bad)

    run(300)
    tracemalloc.start()
    try:
        run(300)
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        run(10000)
        gc.collect()
        after = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert after - before < 20_000


def test_a_dropped_function_is_freed_with_what_it_holds() -> None:
    class Holder:
        def __init__(self) -> None:
            self.w = np.arange(1000.0)

    holder = Holder()
    f = graphjit.jit(lambda x, h=holder: np.sum(h.w) * x)
    seen = weakref.ref(holder), weakref.ref(f)
    del holder
    f = graphjit.jit(f._function)
    warm(f, 1.0)
    reference = weakref.ref(f)
    del f
    gc.collect()
    assert reference() is None
    assert [r() for r in seen] == [None, None]


def test_rebuilt_programs_are_let_go() -> None:
    array: Any = np.arange(1000.0)
    f = graphjit.jit(lambda x: np.sum(array) * x)
    warm(f, 1.0)
    old = weakref.ref(array)
    array = np.arange(1000.0) + 1
    warm(f, 1.0)
    assert len(f._native._launcher._entries) == 1
    assert not f._native._launcher._retired
    f._last = None
    gc.collect()
    assert old() is None


def test_work_memory_of_any_size() -> None:
    for n in (8, 40, 400):
        x = np.random.default_rng(0).standard_normal((n, n))
        f = graphjit.jit(lambda x: np.linalg.norm((x @ x) @ x + np.sum(x @ x, axis=0)))
        slow = f(x)
        warm(f, x)
        assert goes_native(f, x) == slow
        assert goes_native(f, x) == slow


# -- threads and re-entrancy ----------------------------------------------------------------------


def test_threads_get_their_own_results() -> None:
    n = 120
    f = graphjit.jit(lambda x, w: np.tanh(x @ w) @ w)
    w = np.eye(n)
    warm(f, np.zeros((n, n)), w)
    assert f._last is not None
    program: Any = f._last.program
    assert program.long
    faults: list[int] = []

    def run(k: int) -> None:
        x = np.full((n, n), k / 10)
        for _ in range(40):
            result = f(x, w)
            if not np.allclose(result, np.tanh(x)):
                faults.append(k)

    threads = [threading.Thread(target=run, args=(k,)) for k in range(8)]
    before = f.stats.calls
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults
    assert f.stats.calls == before + 8 * 40


def test_threads_while_programs_change() -> None:
    scale = 1.0
    f = graphjit.jit(lambda t: np.tanh(t[0] @ t[0]) * scale)
    x = np.full((90, 90), 0.01)
    warm(f, [x])
    base = np.tanh(x @ x)
    faults: list[Any] = []
    stop = threading.Event()

    def run() -> None:
        while not stop.is_set():
            ratio = np.unique(np.round(f([x.copy()]) / base, 6))
            if len(ratio) != 1 or ratio[0] not in (1.0, 2.0, 3.0):
                faults.append(ratio)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for step in range(6):
        scale = 1.0 + step % 3
        for _ in range(2 * WARM):
            f([x])
    stop.set()
    for thread in threads:
        thread.join()
    assert not faults


def test_a_list_changed_meanwhile_keeps_its_arrays() -> None:
    f = graphjit.jit(lambda t: np.tanh(t[0] @ t[0]))
    x = np.full((150, 150), 0.01)
    held = [x.copy()]
    warm(f, held)
    expected = np.tanh(x @ x)
    stop = threading.Event()

    def change() -> None:
        while not stop.is_set():
            held[0] = x.copy()

    thread = threading.Thread(target=change)
    thread.start()
    for _ in range(100):
        np.testing.assert_allclose(f(held), expected)
    stop.set()
    thread.join()


def test_calls_from_inside_a_call() -> None:
    class Key(NamedTuple):
        value: Any

    class Calling(Key):
        __slots__ = ()

        def __new__(cls, value: Any) -> Any:
            if inner:
                inner.pop()
                f(3.0)
            return super().__new__(cls, value)

    inner: deque[int] = deque()

    f = graphjit.jit(lambda x: Calling(x * 2.0))
    warm(f, 1.0)
    inner.extend(range(5))
    made, result = count(f, 4.0)
    assert made == 6
    assert result.value == 8
    assert not f._native._launcher._retired


# -- as an object of Python -----------------------------------------------------------------------


def test_the_class_is_that_of_python() -> None:
    f = graphjit.jit(lambda x: x)
    assert isinstance(f, Compiled)
    assert type(f) is native_class(Compiled)
    assert python_class(type(f)) is Compiled
    assert native_class(type(f)) is type(f)
    assert (type(f).__name__, type(f).__module__) == (Compiled.__name__, Compiled.__module__)
    assert type(f).__qualname__ == "Compiled"
    assert type(f).__doc__ == Compiled.__doc__
    assert repr(f).startswith("<compiled test_the_class_is_that_of_python.<locals>")


def test_attributes_weak_references_and_cycles() -> None:
    f = graphjit.jit(lambda x: x * 2.0)
    warm(f, 1.0)
    vars(f)["extra"] = f
    assert vars(f)["extra"] is f
    assert gc.is_tracked(f)
    reference = weakref.ref(f)
    del f
    gc.collect()
    assert reference() is None


def test_types_of_functions_do_not_pile_up() -> None:
    kind = type(graphjit.jit(lambda x: x))
    before = sys.getrefcount(kind)
    for _ in range(50):
        graphjit.jit(lambda x: x)
    gc.collect()
    assert sys.getrefcount(kind) < before + 5


def test_signature_and_copies() -> None:
    def function(x: Any, z: float = 2.0) -> Any:
        """Multiply."""
        return x * z

    f = graphjit.jit(function)
    warm(f, 1.0, 2.0)
    assert inspect.signature(f) == inspect.signature(function)
    assert (f.__doc__, f.__name__) == ("Multiply.", "function")
    for other in (copy.copy(f), copy.deepcopy(f)):
        assert type(other) is type(f)
        assert other is not f
        assert other(3.0) == 6
        assert other.stats.calls == 1
    assert f.stats.calls == WARM + 1


def test_pickles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, __name__, types.ModuleType(__name__))
    vars(sys.modules[__name__])["module_level"] = module_level
    warm(module_level, 1.0)
    assert pickle.loads(pickle.dumps(module_level)) is module_level
    made = Compiled(np.tanh)
    again = pickle.loads(pickle.dumps(made))
    assert type(again) is type(made)
    assert again(0.0) == 0


def test_methods() -> None:
    class Model:
        def __init__(self, w: float) -> None:
            self.w = w

        @graphjit.jit
        def scaled(self, x: Any) -> Any:
            return x * self.w

    one, two = Model(2.0), Model(3.0)
    for _ in range(WARM + 1):
        assert (one.scaled(1.0), two.scaled(1.0)) == (2.0, 3.0)
    assert one.scaled.stats._native.value > 0
    one.w = 5.0
    assert (one.scaled(1.0), two.scaled(1.0)) == (5.0, 3.0)


def test_subclasses_are_native_too() -> None:
    f = graphjit.jacfwd(lambda x: x * x)
    warm(f, VECTOR)
    np.testing.assert_array_equal(goes_native(f, VECTOR), np.diag(2 * VECTOR))


def test_calls_are_counted() -> None:
    f = graphjit.jit(lambda x: x * 2.0)
    for _ in range(100):
        f(1.0)
    assert f.stats.calls == 100
    assert f.stats._native.value == 100 - WARM


# -- the portable way -----------------------------------------------------------------------------


@pytest.fixture
def portable(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An interpreter whose objects lie in memory in another way."""
    monkeypatch.setattr(vectorcall, "direct", lambda: False)
    monkeypatch.setattr(objects, "direct", lambda: False)
    monkeypatch.delattr(Compiled, vectorcall.MADE, raising=False)
    yield
    if vectorcall.MADE in vars(Compiled):
        delattr(Compiled, vectorcall.MADE)


@pytest.mark.usefixtures("portable")
def test_the_portable_way_gives_the_same() -> None:
    def function(x: Any, t: Any) -> Any:
        return {"a": np.tanh(x) * t[0], "b": (np.sum(x), x[t[1]])}

    f = graphjit.jit(function)
    assert type(f) is Compiled
    assert native_offset(f) is None
    index = np.array([1])
    for _ in range(WARM + 2):
        shown = f(X, [2.0, index])
    np.testing.assert_allclose(shown["a"], np.tanh(X) * 2)
    assert shown["b"][0] == X.sum()
    assert f.stats.launch == "Python: this interpreter is not known"
    assert f.stats.calls == WARM + 2
    with pytest.raises(IndexRangeError):
        f(X, [2.0, np.array([7])])
    assert pickle.loads(pickle.dumps(Compiled(np.tanh)))(0.0) == 0


@pytest.mark.parametrize("check", layout.CHECKS[1:])
def test_a_layout_that_does_not_hold_is_noticed(
    check: Callable[[], bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {
        "containers_are_known": "ITEMS", "integers_are_known": "DIGIT",
        "arrays_are_known": "SHAPE", "scalars_are_known": "VALUE",
    }  # fmt: skip
    name = names[check.__name__]
    monkeypatch.setattr(layout, name, getattr(layout, name) - 8)
    layout.direct.cache_clear()
    try:
        assert not layout.direct()
    finally:
        layout.direct.cache_clear()


def test_a_type_that_cannot_be_made_leaves_the_class(monkeypatch: pytest.MonkeyPatch) -> None:
    class Plain:
        def __call__(self) -> int:
            return 1

    monkeypatch.setattr(vectorcall, "is_sound", lambda *_: False)
    assert native_class(Plain) is Plain
    assert native_class(Plain)()() == 1


# -- kernels --------------------------------------------------------------------------------------


def test_long_programs_let_others_run() -> None:
    x = np.ones((100, 100))
    quick, long = graphjit.jit(lambda x: x + 1.0), graphjit.jit(lambda x: x @ x @ x)
    warm(quick, VECTOR)
    warm(long, x)
    programs: list[Any] = [f._last and f._last.program for f in (quick, long)]
    kernels = map(kernel_of, programs)
    assert [kernel.long for kernel in kernels if kernel] == [False, True]


def test_code_without_addresses_serves_every_shape() -> None:
    f, g = graphjit.jit(lambda x: x * 2.0), graphjit.jit(np.tanh)
    warm(f, VECTOR)
    warm(g, X)
    one, two = (next(iter(h._native._launcher._entries.values())) for h in (f, g))
    assert one._code is not two._code or one.start == two.start
    warm(f, np.ones(7))
    codes = {e._code for e in f._native._launcher._entries.values()}
    assert len(codes) == 1
