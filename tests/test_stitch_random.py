"""Random joins and cuts, differentiated twice: the pass that stitches pieces keeps the meaning."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import optree
import pytest

from graphjit import grad, jacfwd, jacrev
from graphjit.flags import override
from graphjit.ir import evaluate
from graphjit.passes.pipeline import PROGRAM, run

Function = Callable[[Any, Any], Any]


def cut(rng: np.random.Generator, size: int) -> slice:
    """A slice with something in it."""
    first = int(rng.integers(0, size))
    return slice(first, int(rng.integers(first + 1, size + 1)))


def pads(rng: np.random.Generator) -> tuple[int, int]:
    return int(rng.integers(0, 3)), int(rng.integers(0, 3))


# Ways to make a vector of two others.
WAYS: list[Callable[[np.random.Generator, Any, Any], Any]] = [
    lambda rng, a, _: a[cut(rng, len(a))],
    lambda rng, a, b: np.concatenate([a[cut(rng, len(a))], b])[:12],
    lambda rng, a, _: np.roll(a, int(rng.integers(-3, 4))),
    lambda rng, a, _: np.pad(a, pads(rng))[:12],
    lambda _, a, __: a[::-1],
    lambda _, a, b: np.ravel(np.stack([a[: len(b)], b[: len(a)]]))[:12],
    lambda _, a, __: a[1:] * a[:-1] if len(a) > 1 else a * a,
    lambda _, a, b: np.sin(a[: len(b)]) * b[: len(a)],
    lambda _, a, b: a[len(a) - min(len(a), len(b)) :] - b[: len(a)],
]


def joined(rng: np.random.Generator, values: list[Any]) -> Any:
    """One more vector, made of those there are by cutting, joining, turning or computing."""
    a, b = (values[int(rng.integers(0, len(values)))] for _ in range(2))
    return WAYS[int(rng.integers(0, len(WAYS)))](rng, a, b)


def function(seed: int) -> Function:
    """A scalar function of two vectors."""

    def f(x: Any, y: Any) -> Any:
        rng = np.random.default_rng(seed)
        values = [x, y]
        for _ in range(int(rng.integers(3, 9))):
            values.append(joined(rng, values))
        tops = [values[int(rng.integers(2, len(values)))] for _ in range(3)]
        return sum(np.sum(t * t) for t in tops) + np.sum(tops[0]) * np.sum(values[-1])

    return f


@pytest.mark.parametrize("block", range(12))
def test_random_joins_differentiated_twice(block: int) -> None:
    rng = np.random.default_rng(block)
    args: Any = (rng.normal(size=6), rng.normal(size=5))
    for seed in range(8 * block, 8 * block + 8):
        slopes = grad(function(seed), (0, 1))
        for mode in (jacrev, jacfwd):
            graph = mode(slopes, (0, 1)).graph(*args, stage="adjoint")
            leaves = optree.tree_leaves(args)
            expected = evaluate(graph, *leaves)
            found = evaluate(run(graph, PROGRAM), *leaves)
            for old, new in zip(expected, found, strict=True):
                room = 1e-10 * (1 + np.abs(old).max(initial=0))
                np.testing.assert_allclose(new, old, rtol=1e-9, atol=room, err_msg=str(seed))


def test_a_stored_sum_of_embeddings_is_read_where_another_needs_a_part() -> None:
    def f(x: Any, y: Any) -> Any:
        first = np.concatenate([x, x[::-1], y[1]]) * np.sum(y[0])
        second = np.tile(x, 3) - np.roll(np.ravel(np.stack([x, x, x])), 2)
        return np.sum(first * second)

    rng = np.random.default_rng(0)
    args: Any = (rng.normal(size=5), rng.normal(size=(2, 5)))
    slopes = grad(f, (0, 1))
    second = jacrev(slopes, (0, 1))
    with override(skip=("stitch",)):
        plain = jacrev(grad(f, (0, 1)), (0, 1))(*args)
    for one, two in zip(optree.tree_leaves(second(*args)), optree.tree_leaves(plain), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-12, atol=1e-12)


FARTHEST: dict[str, Function] = {
    "of a sum": lambda x, y: x * -10.0 + (0.1 - x),
    "of three": lambda x, y: y + (x - (y * 0.3 - x)),
    "of what is joined": lambda x, y: np.pad(x[1:], (0, 1)) + (np.pad(y[:-1], (1, 0)) - (0.7 - x)),
}


@pytest.mark.parametrize("name", FARTHEST)
def test_the_largest_is_found_again_where_a_sum_is_computed_anew(name: str) -> None:
    def f(x: Any, y: Any) -> Any:
        z = FARTHEST[name](x, y)
        return np.max(z) - 0.5 * np.sum(z[:-1])

    slopes = grad(f, (0, 1))
    for seed in range(40):
        args: Any = np.random.default_rng(seed).normal(size=(2, 5000))
        with override(jit=seed % 4 == 0):
            found = slopes(*args)
        graph = slopes.graph(*args, stage="adjoint")
        for old, new in zip(evaluate(graph, *args), found, strict=True):
            np.testing.assert_allclose(new, old, rtol=1e-12, atol=1e-12, err_msg=str(seed))
