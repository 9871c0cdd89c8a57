"""How much memory programs need: no more than what is alive at once, but for a tenth."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

import graphjit
from graphjit import nn, train
from graphjit.codegen import lower as lowering
from graphjit.codegen.loops import LoopProgram
from graphjit.codegen.lower import lower
from graphjit.codegen.pack import Life, bound, chronological, packed
from graphjit.codegen.plan import ALIGNMENT, arena, plan
from graphjit.flags import override
from graphjit.passes.adjoint import adjoint
from graphjit.passes.pipeline import PROGRAM, run
from plan_checks import check_plan, least
from random_graphs import random_graph
from running import WAYS, Way, way
from zoo import ZOO, Animal

SLACK = 1.1


@contextmanager
def planned() -> Iterator[list[LoopProgram]]:
    """Every program that is planned meanwhile, those of loop bodies too, checked."""
    found: list[LoopProgram] = []

    def checked(program: LoopProgram, donated: Any, foreign: Any = (), **options: Any) -> None:
        plan(program, donated, foreign, **options)
        check_plan(program, foreign)
        need = least(program, foreign)
        assert need <= arena(program) <= SLACK * need
        found.append(program)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lowering, "plan", checked)
        yield found


# -- programs --------------------------------------------------------------------------------------


@pytest.mark.parametrize("animal", ZOO, ids=lambda animal: animal.name)
def test_the_zoo_needs_what_is_alive_at_once(animal: Animal) -> None:
    graph, _ = animal.trace()
    floats = [i for i, ident in enumerate(graph.inputs) if graph.nodes[ident].aval.inexact]
    with planned() as programs:
        lower(run(adjoint(graph, floats), PROGRAM))
    assert programs


@pytest.mark.parametrize("block", range(10))
def test_random_programs_need_what_is_alive_at_once(block: int) -> None:
    for seed in range(5000 + 10 * block, 5010 + 10 * block):
        with planned() as programs:
            lower(run(random_graph(seed, 20 + seed % 90), PROGRAM))
        assert programs


def affine(params: Any, x: Any) -> Any:
    return x @ params[0] + params[1]


def cross_entropy(logits: Any, y: Any) -> Any:
    logits = logits - np.max(logits, axis=1, keepdims=True)
    logp = logits - np.log(np.sum(np.exp(logits), axis=1, keepdims=True))
    return -np.mean(logp[np.arange(y.shape[0]), y])


def classifier(params: Any, x: Any, y: Any) -> Any:
    for layer in params[:-1]:
        x = np.maximum(affine(layer, x), 0)
    return cross_entropy(affine(params[-1], x), y)


def normed(x: Any) -> Any:
    centred = x - np.mean(x, axis=-1, keepdims=True)
    return centred / np.sqrt(np.mean(centred * centred, axis=-1, keepdims=True) + 1e-5)


def attention(params: Any, x: Any) -> Any:
    query, key, value, out, up, down = params
    h = normed(x)
    scores = (h @ query) @ np.swapaxes(h @ key, -1, -2) / 4
    weights = np.exp(scores - np.max(scores, axis=-1, keepdims=True))
    x = x + (weights / np.sum(weights, axis=-1, keepdims=True)) @ (h @ value) @ out
    wide = normed(x) @ up
    return np.mean((x + wide * (1 + np.tanh(wide + 0.04 * wide**3)) @ down) ** 2)


def convolutional(params: Any, x: Any, y: Any) -> Any:
    first, second, last = params
    h = nn.max_pool2d(np.maximum(nn.conv2d(x, first), 0), 2)
    h = nn.max_pool2d(np.maximum(nn.conv2d(h, second), 0), 2)
    return cross_entropy(h.reshape(x.shape[0], -1) @ last, y)


def recurrent(params: Any, sequence: Any) -> Any:
    w, u, b = params

    def step(state: Any, x: Any) -> Any:
        h, s = state
        gates = x @ w + h @ u + b
        forget, enter, leave = (1 / (1 + np.exp(-g)) for g in (gates[0], gates[1], gates[2]))
        s = s * forget + enter * np.tanh(gates[3])
        h = leave * np.tanh(s)
        return (h, s), h

    zero = np.zeros(u.shape[-1])
    _, outputs = graphjit.scan(step, (zero, zero), sequence)
    return np.mean(outputs**2)


def iterated(a: Any, x: Any) -> Any:
    def step(state: Any) -> Any:
        count, x = state
        return count + 1, np.tanh(a @ x) + 0.1 * np.sin(a.T @ x)

    return np.sum(graphjit.while_loop(lambda s: s[0] < 5, step, (0, x))[1])


def mixture(alphas: Any, means: Any, scales: Any, x: Any) -> Any:
    apart = (x[:, None, :] - means) * np.exp(scales)
    inner = alphas + np.sum(scales, axis=1) - 0.5 * np.sum(apart**2, axis=2)
    most = np.max(inner, axis=1, keepdims=True)
    return np.sum(np.log(np.sum(np.exp(inner - most), axis=1)) + most[:, 0])


def normal(*shapes: tuple[int, ...], dtype: Any = float) -> list[Any]:
    rng = np.random.default_rng(0)
    return [rng.normal(size=shape).astype(dtype) for shape in shapes]


def layers(*sizes: int) -> list[Any]:
    return [tuple(normal((m, n), (n,), dtype=np.float32)) for m, n in pairwise(sizes)]


LABELS = np.arange(24) % 10
SQUARES, WIDE = [(16, 16)] * 4, [(16, 64), (64, 16)]
MODELS: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
    "classifier": (
        classifier, (layers(100, 64, 32, 10), *normal((24, 100), dtype=np.float32), LABELS),
    ),
    "attention": (attention, (normal(*SQUARES, *WIDE), *normal((3, 12, 16)))),
    "convolutional": (
        convolutional, (normal((3, 3, 1, 4), (3, 3, 4, 8), (128, 10)),
                        *normal((24, 16, 16, 1)), LABELS),
    ),
    "recurrent": (recurrent, (normal((4, 14, 14), (4, 14, 14), (4, 14)), *normal((20, 14)))),
    "while": (iterated, tuple(normal((9, 9), (9,)))),
    "mixture": (mixture, tuple(normal((25,), (25, 10), (25, 10), (100, 10)))),
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("transform", [graphjit.jit, graphjit.value_and_grad])
def test_models_need_what_is_alive_at_once(name: str, transform: Any) -> None:
    function, args = MODELS[name]
    graph = transform(function).graph(*args)
    with planned() as programs:
        lower(graph)
    assert len(programs) > (name in ("recurrent", "while"))


@WAYS
@pytest.mark.parametrize("name", MODELS)
def test_models_compute_the_same_in_little_memory(name: str, jit: Way) -> None:
    """Arrays share memory as tightly as the plan says, and each still has its own values."""
    function, args = MODELS[name]
    with override(**way(jit)):
        value, gradients = graphjit.value_and_grad(function)(*args)
    assert value == pytest.approx(function(*args), rel=2e-6)
    direction = normal(*(np.shape(leaf) for leaf in leaves(args[0])))
    slope = sum(np.vdot(g, d) for g, d in zip(leaves(gradients), direction, strict=True))
    assert slope == pytest.approx(slope_along(function, args, direction), rel=2e-3)


def leaves(tree: Any) -> list[Any]:
    if isinstance(tree, list | tuple):
        return [leaf for part in tree for leaf in leaves(part)]
    return [tree]


def slope_along(function: Any, args: Any, direction: list[Any]) -> Any:
    """The derivative along a direction, by forward mode: no array is shared as in reverse."""
    import optree

    flat, spec = optree.tree_flatten(args[0])
    shape = [np.asarray(d, np.asarray(x).dtype) for d, x in zip(direction, flat, strict=True)]
    along = optree.tree_unflatten(spec, shape)
    with override(jit=False):
        return graphjit.jvp(lambda p: function(p, *args[1:]), (args[0],), (along,))[1]


def test_a_training_loop_needs_what_is_alive_at_once() -> None:
    params, x, y = MODELS["classifier"][1]
    with planned() as programs, override(jit=False):
        train.minimize(classifier, params, (x[:10], y[:10]), train.adam(1e-3),
                          epochs=1, batch_size=4)  # fmt: skip
    assert len(programs) >= 2  # the whole batches, and the last one


# -- packing ---------------------------------------------------------------------------------------


def random_lives(seed: int, count: int) -> list[Life]:
    rng = np.random.default_rng((seed, count))
    sizes = ALIGNMENT * np.exp(rng.uniform(0, 6, count)).astype(int)
    first = rng.integers(0, count, count)
    spans = [rng.geometric(0.3, count), rng.integers(0, count // 3 + 1, count)][seed % 2]
    return [Life(*map(int, life)) for life in zip(sizes, first, first + spans, strict=True)]


@pytest.mark.parametrize("count", [1, 2, 5, 10, 20, 40])
def test_a_packing_is_as_small_as_what_is_in_use(count: int) -> None:
    for seed in range(30):
        lives = random_lives(seed, count)
        offsets, size = packed(lives)
        assert bound(lives) <= size <= SLACK * bound(lives)
        assert size == max(at + life.size for at, life in zip(offsets, lives, strict=True))
        for i, a in enumerate(lives):
            for j, b in enumerate(lives[:i]):
                if a.first <= b.last and b.first <= a.last:
                    apart = offsets[i] + a.size <= offsets[j], offsets[j] + b.size <= offsets[i]
                    assert any(apart)


def test_one_packing_after_the_other_is_tried() -> None:
    gains = [packed(lives).size < chronological(lives).size
             for lives in (random_lives(seed, 20) for seed in range(30))]  # fmt: skip
    assert sum(gains) > 10


def test_nothing_needs_nothing() -> None:
    assert packed([]) == ([], 0)
