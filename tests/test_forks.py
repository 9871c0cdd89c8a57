"""A child process works, whatever the threads of its parent were at when it was forked."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

import graphjit
from graphjit import forks
from graphjit.codegen import build, libllvm, tiers
from graphjit.codegen.libllvm import library
from graphjit.flags import override
from graphjit.forks import Lock, unforked

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork"),
    pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning"),
]
X = np.linspace(0.2, 2.0, 7)
CUBES = 3 * X**2


def cubes(x: Any) -> Any:
    return np.sum(x**3)


def child(work: Callable[[], bool]) -> int:
    """The exit code of a forked process: 7 where the work is done and right."""
    ident = os.fork()
    if not ident:
        code = 1
        try:
            code = 7 if work() else 2
        finally:
            os._exit(code)
    killer = threading.Timer(30, os.kill, (ident, 9))
    killer.start()
    status = os.waitpid(ident, 0)[1]
    killer.cancel()
    return os.waitstatus_to_exitcode(status)


@contextmanager
def thread(work: Callable[[threading.Event, threading.Event], Any]) -> Iterator[threading.Event]:
    """A thread that is at some work, as long as the event is not set or the block runs."""
    begun, done = threading.Event(), threading.Event()
    worker = threading.Thread(target=work, args=(begun, done))
    worker.start()
    assert begun.wait(30)
    try:
        yield done
    finally:
        done.set()
        worker.join()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forks do not wait for long."""
    monkeypatch.setattr(forks, "LONGEST", 0.01)


def test_a_lock_is_open_in_a_child() -> None:
    lock = Lock()

    def holding(begun: threading.Event, done: threading.Event) -> None:
        with lock:
            begun.set()
            done.wait(30)

    def taken() -> bool:
        with lock:
            return True

    with thread(holding):
        assert child(taken) == 7
    assert taken()


def test_a_lock_held_by_the_thread_that_forks() -> None:
    lock = Lock()
    with lock:
        code = child(lambda: True)
        with lock:
            pass
    assert code == 7

    def forks_within() -> bool:
        with lock:
            inner = child(lambda: True)
        with lock:
            return inner == 7

    assert forks_within()

    with lock:
        ident = os.fork()
    if not ident:
        with lock:
            os._exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(ident, 0)[1]) == 7


def test_the_handler_of_a_signal_may_come_while_a_lock_is_held(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    once, loaded = libllvm.Once(), libllvm.loaded

    def interrupted() -> Any:
        monkeypatch.setattr(libllvm, "loaded", loaded)
        return once()

    monkeypatch.setattr(libllvm, "loaded", interrupted)
    worker = threading.Thread(target=once, daemon=True)
    worker.start()
    worker.join(30)
    assert not worker.is_alive()


def test_a_fork_waits_for_what_must_not_be_forked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forks, "LONGEST", 30.0)
    over: list[int] = []

    def working(begun: threading.Event, _: threading.Event) -> None:
        with unforked():
            with unforked():
                begun.set()
            time.sleep(0.2)
            over.append(1)

    with thread(working):
        assert child(lambda: bool(over)) == 7


def test_a_fork_waits_for_no_longer_than_it_may(impatient: None) -> None:
    def working(begun: threading.Event, done: threading.Event) -> None:
        with unforked():
            begun.set()
            done.wait(30)

    def again() -> bool:
        with unforked():
            return child(lambda: True) == 7

    with thread(working) as done:
        assert child(again) == 7
        assert not done.is_set()


def test_code_is_generated_and_loaded_where_no_fork_comes_between(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[bool] = []
    own = type(library())
    original = own.object_file

    def watched(*args: Any) -> bytes:
        seen.append(threading.get_ident() in forks._busy)
        return original(*args)

    monkeypatch.setattr(own, "object_file", watched)
    with override(cache=False, tier="auto"):
        gradient = graphjit.grad(cubes)
        gradient(X)
    assert improved(gradient)
    library._first()
    assert len(seen) >= 3
    assert all(seen)


def test_a_function_that_a_thread_of_the_parent_was_building(impatient: None) -> None:
    place: list[Any] = []

    def slow(x: Any) -> Any:
        if place:
            begun, done = place
            begun.set()
            done.wait(30)
        return cubes(x)

    gradient = graphjit.grad(slow)

    def building(*events: threading.Event) -> None:
        place.extend(events)
        gradient(X)

    def called() -> bool:
        place.clear()
        return np.allclose(gradient(X), CUBES)

    with override(cache=False), thread(building):
        assert child(called) == 7


def test_a_pull_that_a_thread_of_the_parent_was_building() -> None:
    value, pull = graphjit.vjp(lambda x: x**3, X)

    def building(begun: threading.Event, done: threading.Event) -> None:
        with pull._program.lock:
            begun.set()
            done.wait(30)

    with thread(building):
        assert child(lambda: np.allclose(pull(np.ones_like(value))[0], CUBES)) == 7


def test_better_code_is_made_in_a_child_of_a_parent_that_was_making_some() -> None:
    def making(begun: threading.Event, done: threading.Event) -> None:
        def make() -> Any:
            begun.set()
            done.wait(30)

        tiers.turns.take(make)

    def called() -> bool:
        with override(cache=False, tier="auto"):
            gradient = graphjit.grad(cubes)
            gradient(X)
        return improved(gradient)

    with thread(making):
        assert child(called) == 7


def test_better_code_is_made_in_a_child_of_a_parent_that_was_building(impatient: None) -> None:
    def building(begun: threading.Event, done: threading.Event) -> None:
        with tiers.turns.first():
            begun.set()
            done.wait(30)

    def made() -> bool:
        return tiers.turns.take(lambda: 5) == 5  # type: ignore[arg-type,return-value,comparison-overlap]

    with thread(building):
        assert child(made) == 7


def test_a_child_makes_the_better_code_that_its_parent_had_begun(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened, original = threading.Event(), build.native

    def slow(rendered: Any) -> Any:
        assert opened.wait(30)
        return original(rendered)

    monkeypatch.setattr(build, "native", slow)
    with override(cache=False, tier="auto"):
        gradient = graphjit.grad(cubes)
        gradient(X)

    def called() -> bool:
        opened.set()
        return improved(gradient)

    try:
        assert child(called) == 7
        assert not opened.is_set()
    finally:
        opened.set()
    assert improved(gradient)


def improved(gradient: Any) -> bool:
    """Whether better code comes, and is right."""
    (known,) = gradient._programs.values()
    quick = known.program._earlier if hasattr(known.program, "_earlier") else known.program.code
    known.program.improvement.wait()
    return known.program.code is not quick and np.allclose(gradient(X), CUBES)


def test_where_no_thread_can_start_the_quick_code_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", full)
    monkeypatch.setattr(library, "_library", None)
    with override(cache=False, tier="auto"):
        gradient = graphjit.grad(cubes)
        for _ in range(40):
            np.testing.assert_allclose(gradient(X), CUBES)
    program: Any = next(iter(gradient._programs.values())).program
    assert not program.pending


@pytest.mark.parametrize("before", ["", "graphjit.jit(lambda x: x + 1)(1.0)"])
def test_a_first_call_at_exit_leaves_no_thread(before: str) -> None:
    script = f"""
        import atexit, threading
        import numpy as np, graphjit
        def last():
            print(graphjit.grad(lambda x: np.sum(np.sin(x)))(np.zeros(3)))
            print(threading.active_count())
        atexit.register(last)
        {before}
    """
    variables = {**os.environ, "GRAPHJIT_CACHE": "off", "GRAPHJIT_TIER": "auto"}
    command = [sys.executable, "-c", textwrap.dedent(script)]
    done = subprocess.run(command, capture_output=True, text=True, env=variables, check=True)
    assert done.stdout.splitlines() == ["[1. 1. 1.]", "1"]
    assert not done.stderr


def test_the_end_of_the_process_waits_for_what_a_daemon_builds() -> None:
    script = """
        import os, threading, time
        import numpy as np, graphjit
        begun = threading.Event()
        def slow(x):
            begun.set()
            time.sleep(0.2)
            os.write(1, b"traced")
            return np.sum(x)
        threading.Thread(target=graphjit.grad(slow), args=(np.ones(3),), daemon=True).start()
        begun.wait()
    """
    variables = {**os.environ, "GRAPHJIT_CACHE": "off"}
    command = [sys.executable, "-c", textwrap.dedent(script)]
    done = subprocess.run(command, capture_output=True, text=True, env=variables, check=True)
    assert done.stdout == "traced"
