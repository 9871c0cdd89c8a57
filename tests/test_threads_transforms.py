"""``threads=`` of every transformation: what each compiles is for so many."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import graphjit
from graphjit.codegen import render_llvm
from graphjit.codegen.llvm_text import Module
from graphjit.errors import TraceError
from graphjit.flags import override

X = np.linspace(-1.0, 1.0, 5)


def f(x: Any) -> Any:
    return np.sum(np.tanh(x) * x)


def g(x: Any) -> Any:
    return np.tanh(x) * np.sum(x)


def pulled(threads: Any) -> Any:
    value, pull = graphjit.vjp(g, X, threads=threads)
    return value, pull(np.ones(5))


RUNS: dict[str, Callable[[Any], Any]] = {
    "jit": lambda n: graphjit.jit(f, threads=n)(X),
    "grad": lambda n: graphjit.grad(f, threads=n)(X),
    "value_and_grad": lambda n: graphjit.value_and_grad(f, threads=n)(X),
    "hessian": lambda n: graphjit.hessian(f, threads=n)(X),
    "hessian as a decorator": lambda n: graphjit.hessian(threads=n)(f)(X),
    "jacfwd": lambda n: graphjit.jacfwd(g, threads=n)(X),
    "jacfwd as a decorator": lambda n: graphjit.jacfwd(threads=n)(g)(X),
    "jacrev": lambda n: graphjit.jacrev(g, threads=n)(X),
    "jacobian": lambda n: graphjit.jacobian(g, threads=n)(X),
    "vmap": lambda n: graphjit.vmap(np.tanh, threads=n)(X),
    "vmap as a decorator": lambda n: graphjit.vmap(threads=n)(np.tanh)(X),
    "jvp": lambda n: graphjit.jvp(g, (X,), (X,), threads=n),
    "vjp": pulled,
    "hvp": lambda n: graphjit.hvp(f, (X,), (X,), threads=n),
}
runs = pytest.mark.parametrize("run", RUNS.values(), ids=RUNS.keys())


@pytest.fixture
def rendered(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The threads of the modules that are written."""
    found: list[int] = []

    def threaded() -> Module:
        module = before()
        found.append(module.threads)
        return module

    before = render_llvm.threaded
    monkeypatch.setattr(render_llvm, "threaded", threaded)
    with override(renderer="llvm", cache="off", tier="best"):
        yield found


@runs
def test_what_is_compiled_is_for_so_many(run: Callable[[Any], Any], rendered: list[int]) -> None:
    run(3)
    assert rendered
    assert set(rendered) == {3}


def test_each_number_has_programs_of_its_own(rendered: list[int]) -> None:
    def own(x: Any) -> Any:
        return np.sin(x) * np.sum(x)

    for threads in (3, 2, 3, None):
        value, pull = graphjit.vjp(own, X, threads=threads)
        pull(value)
    assert rendered == [3, 3, 2, 2, 0, 0]


@runs
@pytest.mark.parametrize("wrong", [0, 2.0, True, "2", [2]])
def test_a_wrong_number_is_refused(run: Callable[[Any], Any], wrong: Any) -> None:
    run(1)  # what is kept for 1 is not what is kept for True
    with pytest.raises(TraceError, match="threads cannot be"):
        run(wrong)
