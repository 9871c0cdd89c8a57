"""The competitors of the benchmarks compute the same; how fast they are is measured by hand."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numba
import pytest

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
