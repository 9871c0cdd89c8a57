"""What the steady-state benchmark times computes the same; its ratios are what they say."""

from __future__ import annotations

import importlib
import os
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest

from graphjit.flags import override

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"


@pytest.fixture
def peers(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Any]]:
    """Imports a module of the benchmarks; all programs run as plain Python."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.setattr(numba.config, "DISABLE_JIT", True)
    with override(jit=False):
        yield importlib.import_module


def arguments(steady: Any, name: str) -> tuple[Any, ...]:
    """The workload's own, but few of them."""
    rng = np.random.default_rng(1)
    params, _, _ = steady.small_net(np.float64)
    regression = (rng.normal(size=3), np.array(0.1)), rng.normal(size=(70, 3))
    labels = np.sign(rng.normal(size=70))
    few: dict[str, Callable[[], tuple[Any, ...]]] = {
        "quiz": lambda: (2.0, 3.0),
        "logistic": lambda: (*regression, labels),
        "logistic_epoch": lambda: (*regression, labels, np.random.default_rng(0).permutation(70)),
        "descent_step": lambda: (params, rng.normal(size=(3, 10)), rng.random((3, 1))),
        "chain": partial(steady.normal, 300),
        "rosenbrock": partial(steady.normal, 9),
        "mixture": partial(steady.mixture, 3, 2, 80),
        "black_scholes": partial(steady.options, 11),
    }
    return few[name]()


@pytest.mark.parametrize(
    "name",
    ["quiz", "logistic", "logistic_epoch", "descent_step", "chain", "rosenbrock", "mixture",
     "black_scholes"],
)  # fmt: skip
def test_what_is_written_by_hand_agrees(peers: Callable[[str], Any], name: str) -> None:
    steady, harness = peers("peers.steady"), peers("harness")
    problem = next(p for p in steady.STEADY.values() if p.function == name)
    args = arguments(steady, name)
    by_hand = {"numba": ""} | ({"c": ""} if shutil.which("gcc") else {})
    results = {}
    for package in ("graphjit", *by_hand):
        built = peers(f"peers.{package}").PEERS[""]().build(problem, args)
        built.compile()
        results[package] = built.arrays(built.run())
    harness.agree(results, 1e-8)


def test_a_scan_of_batches_is_the_training_loop(peers: Callable[[str], Any]) -> None:
    steady, module = peers("peers.steady"), peers("peers.graphjit")
    args, results = arguments(steady, "logistic_epoch"), {}
    for way in ("", "scan"):
        built = module.PEERS[way]().build(steady.STEADY["logistic, epoch"], args)
        results[way] = built.arrays(built.run())
    peers("harness").agree(results, 1e-10)


def test_every_target_and_large_workload_is_one(peers: Callable[[str], Any]) -> None:
    steady, report = peers("peers.steady"), peers("peers.steady_report")
    assert set(report.TARGETS) <= set(steady.STEADY)
    assert set(steady.LARGE) <= set(steady.STEADY)


def sampled(competitor: str, *samples: float) -> dict[str, Any]:
    return {"setting": "one", "problem": "quiz", "competitor": competitor, "samples": samples}


def test_ratios_are_to_the_better_jax_the_best_peer_and_c(peers: Callable[[str], Any]) -> None:
    report = peers("peers.steady_report")
    rows = [
        sampled("GraphJIT", 1.0, 10.0, 1.0), sampled("C, hand", 2.0, 20.0, 2.1),
        sampled("Numba, hand", 0.1, 0.1, 0.1), sampled("JAX", 8.0, 80.0, 8.0),
        sampled("JAX, second core", 5.0, 50.0, 5.0), sampled("CasADi", 0.8, 8.0, 0.8),
        {"setting": "one", "problem": "quiz", "competitor": "autograd", "failed": "> 1 s"},
    ]  # fmt: skip
    assert report.Results(rows).ratios("quiz") == {"jax": 0.2, "best": 1.25, "c": 0.5}
    line = next(row for row in report.text(rows).splitlines() if row.startswith("quiz"))
    assert line.split()[3:] == [
        "1/5", "1/100", "MISSED", "1.25", "1.00", "MISSED", "CasADi", "0.50",
    ]  # fmt: skip


def test_all_cores_are_set_free(peers: Callable[[str], Any], tmp_path: Path) -> None:
    registry = peers("peers.registry")
    free = registry.STEADY["GraphJIT"].on_all_cores()
    given = free.environment(tmp_path, cache=False)
    assert (given["OMP_NUM_THREADS"], given["GRAPHJIT_THREADS"]) == (str(os.cpu_count()), "0")
    assert not free.pinned
    assert registry.STEADY["GraphJIT"].environment(tmp_path, cache=False)["GRAPHJIT_THREADS"] == "1"


def test_a_live_process_answers(peers: Callable[[str], Any], tmp_path: Path) -> None:
    live, registry = peers("peers.live"), peers("peers.registry")
    one = live.Live(registry.STEADY["GraphJIT"], "quiz", tmp_path)
    answer = one.ready(60)
    assert answer["count"] > 1
    value, by_x, by_z = one.arrays()
    np.testing.assert_allclose([value, by_x, by_z], [412.19145728, 1208.38121513, 809.70747922])
    assert set(one.time(3, 60)) == {"seconds", "cpu"}
    one.close()
    absent = live.Live(registry.STEADY["GraphJIT, scan"], "quiz", tmp_path)
    assert "unsupported" in absent.ready(60)
    absent.close()


def test_who_disagrees_is_not_timed(peers: Callable[[str], Any], tmp_path: Path) -> None:
    steady, state = peers("peers.steady"), peers("steady_state")
    race = state.Race(steady.STEADY["quiz"], tmp_path, None)
    assert race.agrees([np.array(1.0), np.array(2.0)])
    assert race.agrees([])
    assert race.agrees([np.array(1.0), np.array(2.0 + 1e-12)])
    assert not race.agrees([np.array(1.0), np.array(2.1)])
