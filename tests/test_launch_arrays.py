"""Large arrays that nobody holds any more are filled again, and never where that could be seen."""

import gc
import threading
import tracemalloc
import warnings
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphjit
from graphjit.flags import override
from graphjit.launch.large import LARGE
from graphjit.transforms.native import NEW, WARM

SIZE = LARGE // 8
X = np.arange(float(SIZE))
KEPT = 2  # of each output

Array = np.ndarray[Any, Any]


def twice(x: Any) -> Any:
    return 2.0 * x


def warmed(f: Callable[..., Any] = twice, *args: Any) -> Any:
    g = graphjit.jit(f)
    for _ in range(WARM + 1):
        g(*(args or (X,)))
    assert g.stats.launch == "native"
    return g


def addresses(g: Any, times: int = 6) -> set[int]:
    return {g(X).ctypes.data for _ in range(times)}


def test_memory_is_used_again() -> None:
    g = warmed()
    assert len(addresses(g)) <= KEPT
    result = g(X)
    for i in range(4):  # while the result before is still held
        result = g(X + i)
        np.testing.assert_array_equal(result, 2 * (X + i))


def test_the_larger_the_results_the_sooner_their_memory_is_kept() -> None:
    x = np.ones(NEW // 32)
    with override(tier="best"):
        large, small = graphjit.jit(lambda x: (x + 1, x + 2)), graphjit.jit(lambda x: x + 1)
        for launch in ("", "native"):  # each call makes half of NEW
            large(x)
            small(x[:8])
            assert (large.stats.launch, small.stats.launch) == (launch, "")


def test_small_arrays_are_fresh() -> None:
    small = X[: SIZE - 1]
    g = warmed(twice, small)
    tracemalloc.start()
    try:
        g(small)
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] < small.nbytes
    finally:
        tracemalloc.stop()


def test_held_results_keep_their_values() -> None:
    g = warmed()
    held = [g(X + i) for i in range(5)]
    assert len({a.ctypes.data for a in held}) == 5
    for i, array in enumerate(held):
        np.testing.assert_array_equal(array, 2 * (X + i))


@pytest.mark.parametrize(
    "hold",
    [
        lambda a: a[5:10],
        lambda a: a.reshape(2, -1).T,
        memoryview,
        lambda a: {"inside": [a]},
        lambda a: a.ctypes,
        lambda a: a.flat,
        lambda a: lambda: a,
        weakref.ref,
    ],
)
def test_whatever_refers_to_a_result_keeps_it(hold: Callable[[Array], Any]) -> None:
    g = warmed()
    holders, seen = [], []
    for i in range(5):
        result = g(X + i)
        holders.append(hold(result))
        seen.append(id(result))
        del result
    values = [h for h in holders if isinstance(h, np.ndarray | memoryview)]
    for i, value in enumerate(values):
        first = np.asarray(value).ravel()[0]
        assert first == 2 * (X + i)[5 if np.asarray(value).size == 5 else 0]
    kept = [h() for h in holders if isinstance(h, weakref.ref)]
    assert len({id(a) for a in kept if a is not None}) == sum(a is not None for a in kept)
    assert len(set(seen)) >= 3


def shorter(a: Array) -> None:
    a.resize(SIZE // 2, refcheck=False)


def longer(a: Array) -> None:
    a.resize(SIZE * 2, refcheck=False)


def folded(a: Array) -> None:
    a.shape = (2, SIZE // 2)


def column(a: Array) -> None:
    a.shape = (SIZE, 1)


def other(a: Array) -> None:
    a.dtype = np.dtype(np.int64)  # type: ignore[misc]


def closed(a: Array) -> None:
    a.flags.writeable = False


@pytest.mark.parametrize("change", [shorter, longer, folded, column, other, closed])
def test_an_array_that_was_changed_is_not_used_again(change: Callable[[Array], None]) -> None:
    g = warmed()
    for i in range(6):
        result = g(X + i)
        assert (result.shape, result.dtype) == ((SIZE,), np.float64)
        assert result.flags.writeable
        assert result.flags.owndata
        np.testing.assert_array_equal(result, 2 * (X + i))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            change(result)
        del result


def test_an_argument_is_not_written_to() -> None:
    g = warmed()
    x = X
    for i in range(1, 5):
        x = g(x)
        np.testing.assert_array_equal(x, 2.0**i * X)


def test_results_in_containers_and_twice() -> None:
    g = warmed(lambda x: {"a": 2 * x, "b": [(y := x + 1), y]})
    for i in range(5):
        found = g(X + i)
        np.testing.assert_array_equal(found["a"], 2 * (X + i))
        np.testing.assert_array_equal(found["b"][0], X + i + 1)
        np.testing.assert_array_equal(found["b"][1], X + i + 1)
        assert found["a"] is not found["b"][0]


def test_threads_get_arrays_of_their_own() -> None:
    g = warmed()
    wrong: list[int] = []

    def call(number: int) -> None:
        for i in range(30):
            x = X[:] + (100 * number + i)
            result = g(x)
            if result[7] != 2 * x[7] or result[-1] != 2 * x[-1]:
                wrong.append(number)

    threads = [threading.Thread(target=call, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_the_memory_goes_with_the_function() -> None:
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        g = warmed()
        first, held = g(X), g(X)
        del first
        assert tracemalloc.get_traced_memory()[0] - before >= 2 * X.nbytes
        del g
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] - before < 1.5 * X.nbytes
        np.testing.assert_array_equal(held, 2 * X)
    finally:
        tracemalloc.stop()
