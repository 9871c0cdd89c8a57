"""The garbage collector is left as it was, and what is dropped is collected."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Iterator
from typing import Any
from weakref import WeakSet

import numpy as np
import pytest

import graphjit
from graphjit.garbage import uncollected


@pytest.fixture(autouse=True)
def enabled() -> Iterator[None]:
    assert gc.isenabled()
    yield
    gc.enable()


class Cycle:
    """What only the collector frees."""

    alive = 0

    def __init__(self) -> None:
        self.own = self
        type(self).alive += 1

    def __del__(self) -> None:
        type(self).alive -= 1


def test_no_collection_within_the_block() -> None:
    with uncollected():
        assert not gc.isenabled()
        with uncollected():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()


def test_a_collector_that_was_off_stays_off() -> None:
    gc.disable()
    with uncollected():
        pass
    assert not gc.isenabled()


def test_an_interrupt_leaves_it_on(monkeypatch: pytest.MonkeyPatch) -> None:
    disable = gc.disable

    def interrupted() -> None:
        disable()
        raise KeyboardInterrupt

    monkeypatch.setattr(gc, "disable", interrupted)
    with pytest.raises(KeyboardInterrupt), uncollected():
        pass
    assert gc.isenabled()


def test_an_error_within_the_block_leaves_it_on() -> None:
    thresholds = gc.get_threshold()

    def broken(x: Any) -> Any:
        message = f"no value at {type(x).__name__}"
        raise ValueError(message)

    with pytest.raises(ValueError, match="no value at"):
        graphjit.grad(broken)(1.0)
    assert gc.isenabled()
    assert gc.get_threshold() == thresholds


def test_what_blocks_leave_is_collected_in_time() -> None:
    Cycle.alive = 0
    most = 0
    for _ in range(100):
        with uncollected():
            for _ in range(5_000):
                Cycle()
        most = max(most, Cycle.alive)
    assert most < 300_000


def test_dropped_functions_are_collected_in_time() -> None:
    functions = WeakSet[Any]()
    for scale in range(300):
        function = graphjit.grad(lambda x, k=float(scale): np.sum(np.sin(k * x)))
        function(np.ones(3))
        functions.add(function)
    del function
    assert len(functions) < 290


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_child_collects_though_a_thread_of_its_parent_was_building() -> None:
    begun, done = threading.Event(), threading.Event()

    def building() -> None:
        with uncollected():
            begun.set()
            done.wait(30)

    thread = threading.Thread(target=building)
    thread.start()
    assert begun.wait(30)
    child = os.fork()
    if not child:
        os._exit(7 if gc.isenabled() else 1)
    done.set()
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert gc.isenabled()
