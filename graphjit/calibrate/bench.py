"""``graphjit bench``: what a few small programs take on this machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from graphjit.calibrate.timing import nanoseconds, timed
from graphjit.codegen.program import Runnable
from graphjit.flags import override
from graphjit.transforms.compiled import Compiled
from graphjit.transforms.derive import PLAIN, Derivation
from graphjit.transforms.gradient import Gradient

CALLS, ROUNDS = 200, 15
BOTH = Gradient(0, has_aux=False, value=True)


class Case(NamedTuple):
    """A function with arguments, and what is made of it."""

    name: str
    function: Callable[..., Any]
    args: tuple[Any, ...]
    derivation: Derivation = BOTH


def quiz(x: Any) -> Any:
    """A formula of one number."""
    return np.exp(x * 3) + x * 3 / np.log(x) + np.sin(np.log(x)) / (x * 3)


def logistic(w: Any, x: Any, s: Any) -> Any:
    """The loss of a linear classifier."""
    return np.mean(np.logaddexp(0, -s * (x @ w)))


def network(params: Any, x: Any, y: Any) -> Any:
    """The loss of a net of sigmoid layers."""
    for w, b in params:
        x = 1 / (1 + np.exp(-(x @ w + b)))
    return np.mean((x - y) ** 2)


def chain(x: Any) -> Any:
    """Functions of each element."""
    return np.sum(np.sin(x) * np.exp(-x * x) + np.tanh(x))


def product(a: Any, b: Any) -> Any:
    """A product of matrices."""
    return a @ b


def cases() -> list[Case]:
    """The programs of the table."""
    rng = np.random.default_rng(0)
    normal = rng.standard_normal
    params = [(normal((m, n)) / 4, np.zeros(n)) for m, n in ((10, 16), (16, 16), (16, 1))]
    square = normal((256, 256))
    return [
        Case("a formula and its slope", quiz, (2.0,)),
        Case("net 10-16-16-1, batch 32", network, (params, normal((32, 10)), rng.random((32, 1)))),
        Case("logistic regression 1000x50", logistic,
             (normal(50), normal((1000, 50)), np.sign(normal(1000)))),
        Case("functions of 100,000 values", chain, (normal(100_000),)),
        Case("product 256x256x256", product, (square, square), PLAIN),
    ]  # fmt: skip


def row(case: Case) -> tuple[str, float, float, float]:
    """Its name; seconds of the first call, of a later one, and of the program alone."""
    with override(cache=False, tier="best"):
        compiled = Compiled(case.function, case.derivation)
        first = seconds(lambda: compiled(*case.args), 1)
        for _ in range(20):  # until calls are native
            compiled(*case.args)
        count = max(1, min(CALLS, int(2e-3 / max(seconds(lambda: compiled(*case.args), 1), 1e-7))))
        later = min(seconds(lambda: compiled(*case.args), count) for _ in range(ROUNDS))
        last: Any = compiled._last  # noqa: SLF001 - what was compiled just now
        program: Runnable = last.program
        arrays = [np.asarray(x) for x in last.conformed(compiled._arguments(case.args, {}).leaves)]  # noqa: SLF001
        alone = nanoseconds({0: timed(program, arrays)})[0] * 1e-9
    return case.name, first, later, alone


def seconds(call: Callable[[], Any], count: int) -> float:
    """What one of so many calls takes."""
    start = time.perf_counter()
    for _ in range(count):
        call()
    return (time.perf_counter() - start) / count


def bench() -> Iterator[str]:
    """The table, line by line."""
    head = ("value and gradient, µs", "first call", "later call", "inside")
    yield f"{head[0]:<30}{head[1]:>12}{head[2]:>12}{head[3]:>12}"
    for case in cases():
        name, *measured = row(case)
        yield f"{name:<30}" + "".join(f"{1e6 * t:>12,.2f}" for t in measured)
