"""Products with a number and its negative are one: the same bits, and fewer products."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from graphjit.ir import Aval, Builder, Graph, Symbol, evaluate
from graphjit.ir.verify import verify
from graphjit.passes.merge import merge
from graphjit.passes.negatives import negatives
from graphjit.passes.prune import prune

F64 = np.dtype(np.float64)
SPECIAL = [0.0, -0.0, 1.0, -1.0, 2.5, -3.0, np.inf, -np.inf, np.nan, 1e300, -1e300, 5e-324]
Expression = Callable[..., Any]


def built(f: Expression, shape: tuple[int, ...] = (len(SPECIAL) ** 2,), dtype: Any = F64) -> Graph:
    """The graph of a function of two arrays, equal nodes merged."""
    builder = Builder()
    x, y = (Symbol(builder, builder.input(Aval(shape, np.dtype(dtype)))) for _ in range(2))
    results = f(x, y)
    results = results if isinstance(results, tuple) else (results,)
    return merge(prune(builder.graph([r.id for r in results])))


def ops(graph: Graph) -> str:
    return " ".join(n.op for n in graph.nodes if n.op not in ("input", "constant", "broadcast"))


def check(graph: Graph, *values: Any) -> Graph:
    """The graph after the pass, which verifies and gives the same bits but for those of NaN."""
    after = negatives(graph)
    verify(after)
    pairs = zip(evaluate(graph, *values), evaluate(after, *values), strict=True)
    for old, new in pairs:
        number = ~np.isnan(old)
        assert (np.isnan(new) == ~number).all()
        assert np.where(number, old, 0).tobytes() == np.where(number, new, 0).tobytes()
    return after


def every_pair() -> tuple[Any, Any]:
    x, y = np.meshgrid(SPECIAL, SPECIAL)
    return x.ravel(), y.ravel()


CASES: dict[str, tuple[Expression, str]] = {
    "added": (lambda x, y: (x * 3, y + x * -3), "multiply subtract"),
    "added to": (lambda x, y: (x * -3, x * 3 + y), "multiply subtract"),
    "subtracted": (lambda x, y: (x * 3, y - x * -3), "multiply add"),
    "in a product": (
        lambda x, y: (x * 3, y + (x * -3) * y * (y + 1)),
        "multiply multiply add multiply subtract",
    ),
    "from it": (lambda x, y: (x * 3, x * -3 - y), "multiply negative subtract"),
    "twice": (lambda x, y: (x * 3, x * -3 + x * -3), "multiply negative add"),
    "in a function": (lambda x, y: (x * 3, np.exp(x * -3)), "multiply negative exp"),
    "both factors": (
        lambda x, y: (x * 3, y * 5, (x * -3) * (y * -5)),
        "multiply multiply multiply",
    ),
    "a result": (lambda x, y: (x * 3, x * -3, y + x * -3), "multiply negative subtract"),
    "of a negative": (
        lambda x, y: (x * 3, y + (x * -3) * 5, y - (x * -3) * -5),
        "multiply multiply subtract subtract",
    ),
    "another number": (lambda x, y: (x * 3, y + x * -4), "multiply multiply add"),
    "another value": (lambda x, y: (x * 3, x + y * -3), "multiply multiply add"),
    "two numbers alike": (lambda x, y: (x * -3, y + x * -3), "multiply add"),
}


@pytest.mark.parametrize("name", CASES)
def test_who_takes_the_sign(name: str) -> None:
    f, left = CASES[name]
    graph = built(f)
    with np.errstate(all="ignore"):
        after = check(graph, *every_pair())
    assert sorted(ops(prune(after)).split()) == sorted(left.split())


def test_a_sign_that_nobody_takes_is_put_at_the_product_itself() -> None:
    graph = built(lambda x, y: (x * 3, np.exp(x * -3 * y), np.sin(x * -3 * y)))
    assert ops(negatives(graph)).split().count("negative") == 1


def test_only_floats() -> None:
    graph = built(lambda x, y: (x * 3, y + x * -3), dtype=np.int64)
    assert negatives(graph) is graph


@pytest.mark.parametrize("seed", range(60))
def test_random_expressions(seed: int) -> None:
    rng = np.random.default_rng(seed)
    graph = built(lambda x, y: grown(rng, [x, y]), (64,))
    values = [rng.choice([*SPECIAL, *rng.standard_normal(20)], 64) for _ in range(2)]
    with np.errstate(all="ignore"):
        after = check(graph, *values)
    assert len(prune(after)) <= len(graph)


def grown(rng: np.random.Generator, found: list[Any]) -> tuple[Any, ...]:
    """Sums and products of earlier values, and of products with few different numbers."""
    for _ in range(40):
        a, b = (found[int(i)] for i in rng.integers(0, len(found), 2))
        match rng.integers(0, 6):
            case 0 | 1 | 2:
                found.append(found[int(rng.integers(0, 2))] * float(rng.choice([-3.0, 3.0])))
            case 3:
                found.append(a * b)
            case 4:
                found.append(a + b)
            case _:
                found.append(a - b)
    chosen = rng.integers(len(found) // 2, len(found), 6)
    return tuple(found[int(i)] for i in chosen)


def test_the_random_expressions_have_such_pairs() -> None:
    sources = [np.random.default_rng(seed) for seed in range(60)]
    made = [built(lambda x, y, rng=rng: grown(rng, [x, y]), (64,)) for rng in sources]
    assert sum(negatives(graph) is not graph for graph in made) > 30
