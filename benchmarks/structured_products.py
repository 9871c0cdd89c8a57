"""Products of a known structure, and batched ones: as written for GraphJIT and NumPy, and by hand.

python benchmarks/structured_products.py
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import harness
import numpy as np

import graphjit

rng = np.random.default_rng(0)


class Case(NamedTuple):
    """What is computed: by GraphJIT, by NumPy with the same text, by hand in NumPy."""

    name: str
    compiled: Callable[..., Any]
    args: tuple[Any, ...]
    written: Callable[..., Any] | None = None
    by_hand: Callable[..., Any] | None = None

    def competitors(self) -> Mapping[str, Callable[[], Any]]:
        """Those that there are."""
        calls = {"GraphJIT": self.compiled, "NumPy": self.written, "by hand": self.by_hand}
        return {name: partial(f, *self.args) for name, f in calls.items() if f is not None}


def plain(name: str, f: Callable[..., Any], *args: Any, by_hand: Any = None) -> Case:
    """A function without a derivative."""
    return Case(name, graphjit.jit(f), args, f, by_hand)


def one_hot(y: Any, w: Any) -> Any:
    return (y[:, None] == np.arange(len(w))).astype(w.dtype) @ w


def einsum(spec: str, *shapes: tuple[int, ...]) -> Case:
    arrays = [rng.standard_normal(shape) for shape in shapes]
    by_path = partial(np.einsum, spec, optimize=True)
    return plain(spec, lambda *x: np.einsum(spec, *x), *arrays, by_hand=by_path)


def logistic(w: Any, x: Any, s: Any) -> Any:
    return np.mean(np.logaddexp(0, -s * (x @ w)))


def logistic_hessian(w: Any, x: Any, s: Any) -> Any:
    p = 1 / (1 + np.exp(s * (x @ w)))
    return (x.T * (p * (1 - p) / len(x))) @ x


def layer(x: Any, w: Any) -> Any:
    return np.tanh(w @ x)


def layer_jacobian(x: Any, w: Any) -> Any:
    return (1 - np.tanh(w @ x)[:, None] ** 2) * w


def layers(x: Any, w: Any, b: Any, v: Any) -> Any:
    return np.maximum(x @ w + b, 0) @ v


def masked(a: Any, x: Any) -> Any:
    return (np.tril(np.ones(a.shape)) * a) @ x


def triangular_loss(a: Any, x: Any) -> Any:
    return np.sum((np.tril(a) @ x) ** 2)


def triangular_gradient(a: Any, x: Any) -> Any:
    low = np.tril(a)
    ct = 2 * (low @ x)
    return np.tril(ct @ x.T), low.T @ ct


def cases() -> list[Case]:
    x, w, s = rng.standard_normal((1000, 50)), rng.standard_normal(50), np.ones(1000)
    square, v = rng.standard_normal((100, 100)), rng.standard_normal(100)
    y, table = rng.integers(0, 100, 1000), rng.standard_normal((100, 32))
    a, right = rng.standard_normal((256, 256)), rng.standard_normal((256, 64))
    large = [
        rng.standard_normal(shape).astype(np.float32)
        for shape in ((10_000, 64), (64, 256), (256,), (256, 64))
    ]
    return [
        Case("Hessian, logistic 1000x50", graphjit.hessian(logistic), (w, x, s),
             None, logistic_hessian),
        Case("Jacobian, tanh(W x) 100x100", graphjit.jacobian(layer), (v, square),
             None, layer_jacobian),
        plain("X.T X, 1000x50", lambda x: x.T @ x, x),
        plain("X.T diag(v) X, 1000x50", lambda x, v: x.T @ np.diag(v) @ x, x, s,
              by_hand=lambda x, v: (x.T * v) @ x),
        plain("one-hot W, 1000x100x32", one_hot, y, table, by_hand=lambda y, w: w[y]),
        plain("tril(A) X, 256x256x64", lambda a, x: np.tril(a) @ x, a, right),
        plain("(mask * A) X, 256x256x64", masked, a, right),
        plain("np.eye(256) X, 256x256x64", lambda x: np.eye(256) @ x, right),
        Case("gradient of sum((tril(A) X)²)", graphjit.grad(triangular_loss, argnums=(0, 1)),
             (a, right), None, triangular_gradient),
        plain("layers 64-256-64, 10000 rows", layers, *large),
        einsum("bqd,bkd->bqk", (8, 64, 64), (8, 64, 64)),
        einsum("bqhd,bkhd->bhqk", (2, 64, 4, 16), (2, 64, 4, 16)),
        einsum("nkd,kde->nke", (1000, 25, 10), (25, 10, 10)),
        einsum("nkd,nke->kde", (1000, 25, 10), (1000, 25, 10)),
        einsum("ab,bc,cd,de->ae", (10, 200), (200, 30), (30, 200), (200, 5)),
    ]  # fmt: skip


def row(name: str, timings: Mapping[str, harness.Timing]) -> tuple[str, ...]:
    shown = [harness.duration(timings[c].median) if c in timings else "" for c in NAMES]
    best = min((t for c, t in timings.items() if c != NAMES[0]), key=lambda t: t.median)
    return name, *shown, f"{timings[NAMES[0]].over(best):.2f}"


NAMES = ("GraphJIT", "NumPy", "by hand")


def main() -> None:
    """Measure, print, and keep what was measured."""
    found = {case.name: harness.race(case.competitors()) for case in cases()}
    head = ("", *NAMES, "to the better NumPy")
    sys.stdout.write(harness.table(head, [row(*item) for item in found.items()]) + "\n")
    harness.save(
        "structured_products",
        [{"case": n, "competitor": c, "seconds": t.median, "least": t.minimum}
         for n, timings in found.items() for c, t in timings.items()],
    )  # fmt: skip


if __name__ == "__main__":
    main()
