"""The order in which np.einsum contracts: never more work than NumPy's, and the same values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import numpy as np
import pytest

from graphjit import grad, jit
from graphjit.ir.numpy.einsum_order import EXACT, order

LETTERS = "abcdefgh"


def problem(seed: int, count: int) -> tuple[list[str], str, dict[str, int]]:
    """Terms with one to three letters, those of the result, and the lengths."""
    rng = np.random.default_rng((seed, count))
    sizes = {c: int(rng.integers(1, 7)) for c in LETTERS}
    words = ["".join(rng.permutation(list(LETTERS))[: rng.integers(1, 4)]) for _ in range(count)]
    used = sorted(set("".join(words)))
    return words, "".join(c for c in used if rng.random() < 0.3), sizes


def work(
    words: Sequence[str], output: str, sizes: Mapping[str, int], steps: Sequence[Sequence[int]]
) -> int:
    """Multiplications of the pairs; letters that are left alone are summed before."""

    def needed(term: set[str], others: Sequence[set[str]]) -> set[str]:
        return term & set(output).union(*others)

    terms = [set(word) for word in words]
    terms = [needed(t, terms[:i] + terms[i + 1 :]) for i, t in enumerate(terms)]
    total = 0
    for step in steps:
        pair = [terms.pop(i) for i in sorted(step, reverse=True)]
        total += prod(sizes[c] for c in set[str]().union(*pair))
        terms.append(needed(set[str]().union(*pair), terms))
    assert len(terms) == 1
    return total


@pytest.mark.parametrize("count", range(3, EXACT + 1))
def test_no_order_takes_fewer_multiplications(count: int) -> None:
    for seed in range(10):
        words, output, sizes = problem(seed, count)
        own = work(words, output, sizes, order(words, output, sizes))
        arrays = [np.empty([sizes[c] for c in word]) for word in words]
        spec = ",".join(words) + "->" + output
        for how in ("greedy", "optimal")[: 1 + (count < 6)]:
            path = np.einsum_path(spec, *arrays, optimize=how)[0][1:]
            if all(len(step) == 2 for step in path):
                assert own <= work(words, output, sizes, path)


@pytest.mark.parametrize("count", [3, 4, 5, EXACT, EXACT + 1])
def test_values(count: int) -> None:
    words, output, sizes = problem(1, count)
    arrays = [np.random.default_rng(i).random([sizes[c] for c in w]) for i, w in enumerate(words)]
    spec = ",".join(words) + "->" + output
    found = jit(lambda *x: np.einsum(spec, *x))(*arrays)
    np.testing.assert_allclose(found, np.einsum(spec, *arrays, optimize=True), rtol=1e-11)


def test_a_chain_is_contracted_from_its_narrow_end() -> None:
    a, b, c = np.ones((40, 50)), np.ones((50, 60)), np.ones(60)

    def shapes(f: Any) -> list[tuple[int, ...]]:
        graph = jit(f).graph(a, b, c, stage="traced")
        return [n.aval.shape for n in graph.nodes if n.op == "contract"]

    assert shapes(lambda a, b, c: np.einsum("ij,jk,k->i", a, b, c)) == [(50,), (40,)]
    assert shapes(lambda a, b, c: np.linalg.multi_dot([a, b, c])) == [(50,), (40,)]
    slope = grad(lambda c: np.sum(np.einsum("ij,jk,k->i", a, b, c)))(c)
    np.testing.assert_allclose(slope, (a @ b).sum(axis=0))
