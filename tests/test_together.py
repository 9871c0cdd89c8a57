"""Updates that are alike are one loop over arrays side by side, and no bit is another."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import optree
import pytest

from graphjit import train
from graphjit.codegen.epoch import Epoch
from graphjit.codegen.loops import For, LoopProgram, Store
from graphjit.codegen.together import LARGE
from graphjit.errors import TrainingError
from graphjit.flags import override
from graphjit.train.loop import NativeLoop
from graphjit.train.optimizers import is_float, tree_map
from graphjit.train.result import TrainResult
from graphjit.train.setup import Setup
from graphjit.train.step import Steps
from plan_checks import check_plan
from running import WAYS, Way, way
from training_by_hand import NAMESPACE

APART = "together"


# -- optimizers ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Decay:
    """Gradient descent that shrinks matrices: two kinds of update."""

    rate: float = 0.05

    def init(self, params: Any) -> Any:  # noqa: ARG002
        return ()

    def update(self, gradients: Any, state: Any, params: Any) -> tuple[Any, Any]:
        def leaf(g: Any, p: Any) -> Any:
            return -self.rate * (g + 0.01 * p) if np.ndim(p) > 1 else -self.rate * g

        return tree_map(leaf, gradients, params), state


@dataclass(frozen=True)
class Clipped:
    """The step depends on all gradients, and on how many there were."""

    rate: float = 0.05

    def init(self, params: Any) -> Any:  # noqa: ARG002
        return {"count": 0.0}

    def update(
        self, gradients: Any, state: Any, params: Any  # noqa: ARG002
    ) -> tuple[Any, Any]:  # fmt: skip
        leaves = optree.tree_leaves(gradients, namespace=NAMESPACE)
        norm = np.sqrt(sum(np.sum(g * g) for g in leaves if is_float(g)))
        count = state["count"] + 1.0
        scale = self.rate / np.maximum(norm, 1.0) / np.sqrt(count)
        return tree_map(lambda g: -(scale * g).astype(g.dtype), gradients), {"count": count}


@dataclass(frozen=True)
class Shifted:
    """Remembers two gradients, each in the other's place, and an average of the parameters."""

    rate: float = 0.05

    def init(self, params: Any) -> Any:
        zeros = tree_map(np.zeros_like, params)
        return {"older": zeros, "old": zeros, "average": params}

    def update(self, gradients: Any, state: Any, params: Any) -> tuple[Any, Any]:
        old, older = state["old"], state["older"]
        updates = tree_map(lambda g, a, b: -self.rate * (g + (a - b)), gradients, old, older)
        average = tree_map(
            lambda a, p, u: (0.9 * a + 0.1 * (p + u)).astype(p.dtype),
            state["average"], params, updates,
        )  # fmt: skip
        return updates, {"older": old, "old": gradients, "average": average}


@dataclass(frozen=True)
class Root:
    """Divides by the root of the mean square (Tieleman & Hinton 2012)."""

    rate: float = 0.01

    def init(self, params: Any) -> Any:
        return tree_map(np.ones_like, params)

    def update(
        self, gradients: Any, state: Any, params: Any  # noqa: ARG002
    ) -> tuple[Any, Any]:  # fmt: skip
        square = tree_map(lambda s, g: 0.9 * s + 0.1 * g * g, state, gradients)
        return tree_map(lambda g, s: -self.rate * g / np.sqrt(s), gradients, square), square


@dataclass(frozen=True)
class Mixed:
    """Another function for matrices, another constant for arrays of an odd size."""

    rate: float = 0.05

    def init(self, params: Any) -> Any:  # noqa: ARG002
        return ()

    def update(self, gradients: Any, state: Any, params: Any) -> tuple[Any, Any]:
        def leaf(g: Any, p: Any) -> Any:
            function = np.tanh if np.ndim(p) > 1 else np.sin
            return -self.rate * ((0.5 if np.size(p) % 2 else 0.25) * function(g))

        return tree_map(leaf, gradients, params), state


@dataclass(frozen=True)
class Annealed:
    """The rate is part of the state."""

    rate: float = 0.05

    def init(self, params: Any) -> Any:  # noqa: ARG002
        return self.rate

    def update(
        self, gradients: Any, state: Any, params: Any  # noqa: ARG002
    ) -> tuple[Any, Any]:  # fmt: skip
        return tree_map(lambda g: -(state * g).astype(g.dtype), gradients), state * 0.9


@dataclass(frozen=True)
class Probed:
    """Products with what comes out are part of the state."""

    rate: float = 0.05

    def init(self, params: Any) -> Any:
        return [w.T @ w for w, _ in params["layers"]]

    def update(
        self, gradients: Any, state: Any, params: Any  # noqa: ARG002
    ) -> tuple[Any, Any]:  # fmt: skip
        updates = tree_map(lambda g: -self.rate * g, gradients)
        after = [w + u for (w, _), (u, _) in zip(params["layers"], updates["layers"], strict=True)]
        return updates, [w.T @ w for w in after]


OPTIMIZERS: dict[str, Any] = {
    "descent": train.sgd(0.05),
    "schedule": train.sgd(lambda step: 0.1 / (1 + step)),
    "momentum": train.sgd(0.05, 0.9),
    "nesterov": train.sgd(0.05, 0.9, nesterov=True),
    "adam": train.adam(0.01),
    "adam schedule": train.adam(lambda step: 0.01 / (1 + step)),
    "decay": Decay(),
    "clipped": Clipped(),
    "shifted": Shifted(),
    "root": Root(),
    "mixed": Mixed(),
    "annealed": Annealed(),
    "probed": Probed(),
}


# -- problems --------------------------------------------------------------------------------------


def loss(params: Any, x: Any, y: Any) -> Any:
    for w, b in params["layers"]:
        x = np.tanh(x @ w + b)
    rest = params["scale"] * np.sum(x, axis=1) + params["shift"] - y
    rest = rest + params["table"][params["which"]] * np.mean(params["extra"] ** 2)
    return np.mean(rest**2)


def tree(seed: int, depth: int = 3) -> Any:
    """Layers of random widths, some numbers, a leaf that is no float, two dtypes at times."""
    rng = np.random.default_rng(seed)
    widths = [4, *rng.integers(1, 9, depth)]
    kinds: list[Any] = [np.float64] if seed % 2 else [np.float64, np.float32]
    layers = [
        (0.5 * rng.standard_normal((m, n)).astype(kind), rng.standard_normal(n).astype(kind))
        for m, n, kind in zip(widths, widths[1:], rng.choice(kinds, depth), strict=False)
    ]
    return {
        "layers": layers, "scale": 0.5, "shift": np.float64(rng.normal()),
        "table": rng.normal(size=3), "which": 1, "extra": rng.normal(size=(2, 3)),
    }  # fmt: skip


def data(rows: int = 22) -> tuple[Any, Any]:
    rng = np.random.default_rng(rows)
    return rng.normal(size=(rows, 4)), rng.normal(size=rows)


def fitted(params: Any, optimizer: Any, skip: str = "", **options: Any) -> TrainResult:
    """Batches of 5, the last of 2."""
    changed = {"loss": loss, "batch_size": 5, "epochs": 3, "seed": 0, **options}
    with override(skip=skip):
        return train.minimize(params=params, data=data(), optimizer=optimizer, **changed)


def same(first: TrainResult, second: TrainResult) -> None:
    """To the last bit."""
    for a, b in ((first.params, second.params), (first.state, second.state)):
        old, new = (optree.tree_leaves(t, namespace=NAMESPACE) for t in (a, b))
        for one, two in zip(old, new, strict=True):
            assert type(one) is type(two)
            assert np.asarray(one).dtype == np.asarray(two).dtype
            np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(first.losses, second.losses)


def programs(
    optimizer: Any, params: Any = None, loss: Callable[..., Any] = loss, batch: int = 5
) -> list[LoopProgram]:
    """The programs of a step, each with a sound plan."""
    params = tree(0) if params is None else params
    examples = data()
    state = optimizer.init(params)
    epoch = Epoch(len(examples[0]), batch)
    steps = Steps(Setup(loss, optimizer, params, state, examples, epoch))
    for program in steps.programs:
        check_plan(program)
    return steps.programs


def inputs(program: LoopProgram) -> list[int]:
    """How many arrays lie in each of those that are given."""
    return [len(places) for b, places in program.joined if b.role == "input"]


# -- nothing changes -------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_random_trees_train_to_the_same_bits(name: str, seed: int) -> None:
    optimizer, params = OPTIMIZERS[name], tree(seed)
    with override(jit=False):
        same(fitted(params, optimizer, APART), fitted(params, optimizer))


def scaled(params: Any, x: Any, y: Any) -> Any:
    """No product of matrices, which may be summed otherwise beside another loop."""
    for w, b in params["layers"]:
        x = np.tanh(np.mean(x, axis=1)[:, None] * np.mean(w, axis=0) + b)
    return np.mean((params["scale"] * np.sum(x, axis=1) + params["shift"] - y) ** 2)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_compiled_to_the_same_bits(name: str) -> None:
    optimizer, params = OPTIMIZERS[name], tree(7)
    same(*(fitted(params, optimizer, skip, loss=scaled) for skip in (APART, "")))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_nets_compiled(name: str) -> None:
    optimizer, params = OPTIMIZERS[name], tree(6)
    apart, joined = (fitted(params, optimizer, skip) for skip in (APART, ""))
    np.testing.assert_allclose(apart.losses, joined.losses, rtol=1e-4)


@WAYS
def test_every_way_gives_the_same(jit: Way) -> None:
    params, adam = tree(3, 2), train.adam(0.01)
    with override(**way(jit)):
        same(*(fitted(params, adam, skip, loss=scaled) for skip in (APART, "")))


@pytest.mark.parametrize("size", [None, 1, 21])
def test_all_examples_at_once_and_one_at_a_time(size: int | None) -> None:
    params, adam = tree(5), train.adam(0.01)
    same(*(fitted(params, adam, skip, batch_size=size, loss=scaled) for skip in (APART, "")))


def test_training_goes_on_from_a_state() -> None:
    optimizer = OPTIMIZERS["shifted"]
    first = fitted(tree(4), optimizer, epochs=1, shuffle=False)
    second = fitted(first.params, optimizer, epochs=1, shuffle=False, state=first.state)
    same(replace_losses(fitted(tree(4), optimizer, epochs=2, shuffle=False), second.losses), second)


def replace_losses(result: TrainResult, losses: Any) -> TrainResult:
    np.testing.assert_array_equal(result.losses[-len(losses) :], losses)
    return replace(result, losses=losses)


def test_results_are_arrays_of_their_own() -> None:
    params = tree(2)
    before = optree.tree_map(np.copy, params, namespace=NAMESPACE)
    first = fitted(params, train.adam(0.01))
    kept = optree.tree_map(np.copy, first.params, namespace=NAMESPACE)
    fitted(tree(2), train.adam(0.5))
    assert optree.tree_all(
        optree.tree_map(np.array_equal, kept, first.params, namespace=NAMESPACE),
        namespace=NAMESPACE,
    )
    arrays = [a for a in optree.tree_leaves(first.params, namespace=NAMESPACE) if np.ndim(a)]
    assert all(a.flags.owndata or a.base.size == a.size for a in arrays)
    same_before = optree.tree_map(np.array_equal, before, params, namespace=NAMESPACE)
    assert optree.tree_all(same_before, namespace=NAMESPACE)


def test_results_are_copied_before_another_thread_may_have_the_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected, give_back = fitted(tree(2), train.adam(0.01)), NativeLoop.give_back

    def overwritten(loop: NativeLoop, pack: list[Any]) -> None:
        give_back(loop, pack)
        for place in loop.own:
            pack[place].fill(7)

    monkeypatch.setattr(NativeLoop, "give_back", overwritten)
    same(fitted(tree(2), train.adam(0.01)), expected)


def test_the_last_parameters_with_a_finite_loss_come_back() -> None:
    found = []
    for skip in (APART, ""):
        with pytest.raises(TrainingError) as caught:
            fitted(tree(1), train.sgd(1e200), skip, epochs=50)
        found.append(caught.value.result)  # type: ignore[attr-defined]
    same(*found)
    leaves = optree.tree_leaves(found[1].params, namespace=NAMESPACE)
    assert all(np.isfinite(leaf).all() for leaf in leaves)


def test_a_loop_from_the_disk_is_the_same(tmp_path: Path) -> None:
    with override(cache=True, cache_dir=str(tmp_path)):
        built = train.minimize(model(), tree(1), data(), train.adam(0.01), batch_size=5, epochs=2)
        loaded = train.minimize(model(), tree(1), data(), train.adam(0.01), batch_size=5, epochs=2)
    assert (built.cache.split(":")[0], loaded.cache.split(":")[0]) == ("miss", "hit")
    assert "joined0" in str(loaded.text)
    same(built, loaded)


def model() -> Any:
    """The loss as another process has it."""
    made: dict[str, Any] = {"np": np, "__name__": "model"}
    exec(compile(inspect.getsource(loss), "model.py", "exec"), made)
    return made["loss"]


# -- what is done ----------------------------------------------------------------------------------


def net(depth: int, width: int) -> Any:
    rng = np.random.default_rng(depth)
    return [(rng.normal(size=(width, width)), np.zeros(width)) for _ in range(depth)]


def classifier(params: Any, x: Any, y: Any) -> Any:
    x = np.concatenate([x, x], axis=1)
    for w, b in params:
        x = np.tanh(x @ w + b)
    return np.mean((x[:, 0] - y) ** 2)


@pytest.mark.parametrize("name", ["descent", "momentum", "nesterov", "adam", "root"])
@pytest.mark.parametrize("depth", [2, 9, 20])
def test_layers_are_updated_in_one_loop(name: str, depth: int) -> None:
    optimizer = OPTIMIZERS[name]
    for program in programs(optimizer, net(depth, 8), classifier):
        last = program.kernels[-1].statements
        loops = [s for s in last if isinstance(s, For)]
        assert [loop.extent for loop in loops] == [depth * (64 + 8)]
        stores = [s for s in loops[0].body if isinstance(s, Store)]
        leaves = optree.tree_leaves(optimizer.init(net(1, 8)), namespace=NAMESPACE)
        kinds = 1 + sum(np.ndim(leaf) > 0 for leaf in leaves) // 2
        assert len(stores) == kinds
        assert not any(k.title == "update" and k.loops for k in program.kernels)


def test_what_is_updated_otherwise_is_a_group_of_its_own() -> None:
    full, rest = programs(Decay(), net(4, 8), classifier)
    assert inputs(full) == [4, 4]
    assert inputs(rest) == []
    extents = [s.extent for k in full.kernels[-2:] for s in k.statements if isinstance(s, For)]
    assert sorted(extents) == [32, 256]


def test_large_arrays_stay_by_themselves() -> None:
    width = 8
    while width * width * 8 <= LARGE:
        width *= 2
    params = net(3, width)
    first = (np.ones((8, width)), np.zeros(width))
    full, _ = programs(train.sgd(0.1), [first, *params], classifier)
    assert inputs(full) == [5]  # the first matrix, and the vectors
    with override(skip=APART):
        assert all(not p.joined for p in programs(train.sgd(0.1), net(3, 8), classifier))


def test_pieces_of_whole_lines_begin_at_lines() -> None:
    params = [
        (np.ones((8, 3)), np.zeros(3)),
        (np.ones((3, 8)), np.zeros(8)),
        (np.ones((8, 8)), 0.0),
    ]
    full, _ = programs(train.sgd(0.1), params, classifier)
    (buffer, places), *_ = (pair for pair in full.joined if pair[0].role == "input")
    sizes = {b.name: b.size for b in full.inputs}
    assert [at for name, at in places.items() if sizes[name] % 8 == 0 and at % 8] == []
    assert buffer.size == sum(sizes[name] for name in places)


def test_rows_that_a_step_has_not_read_are_not_touched() -> None:
    """A gradient that is scattered stays sparse, beside others."""

    def words(params: Any, x: Any, y: Any) -> Any:
        rows = params["words"][(np.abs(x[:, 0]) * 10).astype(int)]
        rest = rows @ params["w"] + np.tanh(x @ params["b"]) @ params["c"] - y
        return np.mean(rest**2)

    params = {"words": np.ones((60, 4)), "w": np.ones(4), "b": np.ones((4, 3)), "c": np.ones(3)}
    full, _ = programs(train.sgd(0.1), params, words)
    assert inputs(full) == [3]
