"""SciPy's functions that no protocol reaches work in a traced function as it is written."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
import scipy
from scipy import special
from scipy.special import logsumexp
from scipy.special import softmax as soft

from graphjit.errors import TraceError
from graphjit.tracing.substitute import substituted
from graphjit.tracing.trace import trace
from samples import run

X = np.arange(6.0).reshape(2, 3)
SCALE = 3.0
COUNT = 0


def log_probabilities(x: Any) -> Any:
    return x - logsumexp(x, axis=-1, keepdims=True)


def by_helper(x: Any) -> Any:
    return log_probabilities(x)


def by_name(x: Any, *, scale: float = 2.0) -> Any:
    return scale * soft(x, axis=0) * SCALE


def by_module(x: Any) -> Any:
    return special.log_softmax(x) + scipy.special.softmax(x, 1) + special.expit(x)


def inner(x: Any) -> Any:
    def total(row: Any) -> Any:
        return logsumexp(row) * len(list(map(abs, [1, -2])))

    return sum(total(row) for row in x)


def recursive(x: Any, depth: int = 3) -> Any:
    return logsumexp(x) if depth == 0 else recursive(x * 2, depth - 1) + 1


def on_arrays(x: Any) -> Any:
    return x * logsumexp(np.arange(3.0))


class Model:
    def loss(self, x: Any) -> Any:
        return logsumexp(x)


FUNCTIONS = [by_helper, by_name, by_module, inner, recursive, on_arrays, Model().loss]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_the_function_gives_what_it_gives_on_arrays(function: Any) -> None:
    (result,) = run(substituted(function), X)
    np.testing.assert_allclose(result, function(X), rtol=1e-13)


@pytest.mark.parametrize("function", [f for f in FUNCTIONS if f is not on_arrays])
def test_a_trace_substitutes(function: Any) -> None:
    assert trace(function, (X,)).graph.count("exp") > 0


def test_what_names_nothing_to_replace_stays_itself() -> None:
    def plain(x: Any) -> Any:
        return np.sin(x) * SCALE

    assert substituted(plain) is plain
    assert substituted(np.sin) is np.sin
    assert substituted(max) is max


def counting(x: Any) -> Any:
    global COUNT  # noqa: PLW0603 - the test
    COUNT += 1
    return logsumexp(x)


def test_a_function_that_assigns_to_globals_is_left_alone_and_says_the_way_out() -> None:
    before = COUNT
    with pytest.raises(TraceError, match=r"Import logsumexp from graphjit\.special"):
        trace(counting, (X,))
    assert before + 1 == COUNT


def outside() -> tuple[Any, Any]:
    return logsumexp, special.logsumexp


def test_nothing_is_patched_while_a_trace_runs() -> None:
    begun, ended, seen = threading.Event(), threading.Event(), list[Any]()

    def watch() -> None:
        begun.wait(10)
        seen.extend(outside())
        ended.set()

    def watched(x: Any) -> Any:
        begun.set()
        ended.wait(10)
        return logsumexp(x)

    original = special.logsumexp
    other = threading.Thread(target=watch)
    other.start()
    trace(watched, (X,))
    other.join()
    assert len(seen) == 2
    assert all(function is original for function in seen)


def test_a_name_that_does_not_exist_is_a_name_error() -> None:
    def wrong(x: Any) -> Any:
        return logsumexp(x) + missing_name  # type: ignore[name-defined]  # noqa: F821 - the test

    with pytest.raises(NameError, match="missing_name"):
        trace(wrong, (X,))


def test_the_error_in_a_substituted_function_names_the_line() -> None:
    def wrong(x: Any) -> Any:
        logsumexp(x)
        return float(x)

    with pytest.raises(TraceError, match="return float"):
        trace(wrong, (X,))
