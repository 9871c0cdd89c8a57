"""The competitors of the benchmarks compute the same; how fast they are is measured by hand."""

from __future__ import annotations

import dataclasses
import functools
import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest

import graphjit
from graphjit.flags import override

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"
TINY: dict[str, dict[str, int]] = {
    "quiz": {},
    "elementwise": {"size": 7},
    "logistic": {"examples": 20, "long": 70, "epochs": 2},
    "networks": {"batch": 4, "examples": 10, "epochs": 1},
}


@pytest.fixture
def harness(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The benchmarks' modules, with all programs run as plain Python: nothing is compiled."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.setattr(numba.config, "DISABLE_JIT", True)
    with override(jit=False):
        yield importlib.import_module("harness")


@pytest.mark.parametrize("name", TINY)
def test_competitors_agree(harness: Any, name: str) -> None:
    cases = importlib.import_module(f"workloads.{name}").cases(**TINY[name])
    checked = [case for case in cases if case.kind != "program"]  # the same, without the launch
    assert checked
    for case in checked:
        results = {who: call() for who, call in case.prepare().items()}
        assert len(results) > 1
        harness.agree(results, case.tolerance)


def test_disagreement_is_found(harness: Any) -> None:
    with pytest.raises(AssertionError, match="slow, fast"):
        harness.race({"fast": lambda: (1.0, [2.0]), "slow": lambda: (1.0, [2.1])}, rounds=1)


def test_race_takes_each_round_as_a_pair(harness: Any) -> None:
    first, second = harness.Timing((1.0, 10.0, 1.0)), harness.Timing((2.0, 20.0, 2.1))
    assert second.over(first) == 2.0
    assert (second.minimum, second.median) == (2.0, 2.1)


def test_table_lines_up(harness: Any) -> None:
    text = harness.table(("a", "time"), [("long name", "1"), ("b", "12 ms")])
    assert text.splitlines()[2:] == ["long name      1", "b          12 ms"]


def test_the_four_ways_find_the_same_gradient(harness: Any) -> None:
    four_ways = importlib.import_module("four_ways")
    assert harness.__name__ == "harness"
    x = np.linspace(-1, 1, 6)
    for function in four_ways.FUNCTIONS:
        exact = function.gradient(x.astype(np.longdouble))
        assert four_ways.error(graphjit.grad(function.numpy)(x), exact) < 1e-14
        assert four_ways.error(four_ways.differences(function.numpy, x), exact) < 1e-8
        pytest.importorskip("sympy")
        by_formula, _ = four_ways.symbolic(function, 6)
        assert four_ways.error(by_formula(x), exact) < 1e-14


def test_clipping_stores_no_gradients(harness: Any) -> None:
    clipping = importlib.import_module("per_example_clipping")
    assert harness.__name__ == "harness"
    args, functions = clipping.arguments(8, (10, 12, 3)), clipping.functions()
    memory = {name: clipping.work_bytes(f, args) for name, f in functions.items()}
    assert memory["clipped"] < 2 * memory["one gradient"]
    assert memory["stored"] > 8 * 8 * 10 * 12


def test_recomputed_gradients_agree_and_need_less(harness: Any) -> None:
    depth = importlib.import_module("memory_depth")
    assert harness.__name__ == "harness"
    small = functools.partial(depth.layers, batch=8, width=8)
    deep = dataclasses.replace(depth.DEEP["net"], make=small)
    measured = depth.measure(deep, 9, rounds=1)  # the race checks that the results agree
    assert measured["bytes"]["checkpoints"] < 0.6 * measured["bytes"]["stored"]
    assert measured["bytes"]["recomputed"] < 0.8 * measured["bytes"]["stored"]
