"""Two tiers of machine code: the quick one answers, the best one takes over."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

import graphjit
from graphjit import train
from graphjit.codegen import build, tiers
from graphjit.errors import CompileError
from graphjit.flags import override

Array = np.ndarray[Any, Any]
X = np.linspace(0.2, 2.0, 37)


def loss(x: Any) -> Any:
    return np.sum(np.tanh(x) * np.exp(-(x**2)) / np.log1p(x))


def program_of(f: Any) -> build.Program:
    """The program of the only specialisation."""
    (known,) = f._programs.values()
    assert isinstance(known.program, build.Program)
    return known.program


def waiting(program: build.Program) -> bool:
    return program.pending


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Holds the best code back until it is set."""
    opened, original = threading.Event(), build.native

    def slow(rendered: Any) -> Any:
        assert opened.wait(30)
        return original(rendered)

    monkeypatch.setattr(build, "native", slow)
    return opened


def test_the_quick_code_answers_while_the_best_is_made(gate: threading.Event) -> None:
    gradient = graphjit.value_and_grad(loss)
    with override(tier="auto"):
        first = gradient(X)
    program = program_of(gradient)
    quick = program.code
    for _ in range(40):  # no native entry is made for code that will be replaced
        second = gradient(X)
    assert waiting(program)
    assert program.code is quick
    gate.set()
    assert program.improvement is not None
    program.improvement.wait()
    third = gradient(X)
    assert not waiting(program)
    assert program.code is not quick
    for later in (second, third):
        np.testing.assert_allclose(later[0], first[0], rtol=1e-15)
        np.testing.assert_allclose(later[1], first[1], rtol=1e-14)
    for _ in range(40):
        np.testing.assert_array_equal(gradient(X)[1], third[1])
    assert "native" in str(gradient.stats.launch)


def test_calls_from_threads_while_the_code_is_replaced(gate: threading.Event) -> None:
    gradient = graphjit.grad(loss)
    with override(tier="auto"):
        expected = gradient(X)
    wrong: list[Array] = []
    start = threading.Barrier(4)

    def call() -> None:
        start.wait()
        for i in range(300):
            if i == 100:
                gate.set()
            found = gradient(X)
            if not np.allclose(found, expected, rtol=1e-13):
                wrong.append(found)

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_an_error_in_making_the_best_code_surfaces(monkeypatch: pytest.MonkeyPatch) -> None:
    answered = threading.Event()

    def broken(_: Any) -> Any:
        assert answered.wait(30)
        raise CompileError("the best code cannot be made")

    monkeypatch.setattr(build, "native", broken)
    gradient = graphjit.grad(loss)
    with override(tier="auto"):
        gradient(X)
    answered.set()
    improvement = program_of(gradient).improvement
    assert improvement is not None
    improvement.wait()
    with pytest.raises(CompileError, match="best code cannot be made"):
        gradient(X)


def test_the_best_code_at_once_if_asked_for() -> None:
    gradient = graphjit.grad(loss)
    with override(tier="best"):
        gradient(X)
    assert program_of(gradient).improvement is None


def test_a_training_loop_waits_for_the_best_code(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Any] = []
    monkeypatch.setattr(tiers.Improvement, "__init__", lambda *args: started.append(args))
    x = np.random.default_rng(0).normal(size=(20, 3))

    def squares(w: Any, x: Any) -> Any:
        return np.mean((x @ w - 1) ** 2)

    with override(tier="auto"):
        result = train.gradient_descent(squares, np.zeros(3), (x,), 0.1, steps=5)
    assert result.steps == 5
    assert not started


def test_better_code_waits_until_nobody_builds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiers, "PAUSE", 0.001)
    turns, made = tiers.Turns(), threading.Event()

    def make() -> Any:
        made.set()

    thread = threading.Thread(target=turns.take, args=(make,))
    with turns.first():
        thread.start()
        assert not made.wait(0.2)
    assert made.wait(30)
    thread.join()


def test_better_code_that_a_call_waits_for_is_made_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tiers, "PAUSE", 3600)
    turns, made = tiers.Turns(), threading.Event()

    def make() -> Any:
        made.set()

    with turns.first():
        pass
    thread = threading.Thread(target=turns.take, args=(make,))
    thread.start()
    assert not made.wait(0.05)
    turns.wait(thread)
    assert made.is_set()
