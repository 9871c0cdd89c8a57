"""Training loops and the disk cache: which change of a setup is another loop."""

import copy
import pickle
import re
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graphjit import train
from graphjit.cache import folder as folder_module
from graphjit.errors import IndexRangeError, TrainingError
from graphjit.flags import override
from graphjit.train.optimizers import tree_map
from graphjit.train.result import TrainResult

Change = dict[str, Any]
COMMENT = re.compile("#.*")  # with the line that asked for the text
NEW = "miss: not built before"
RNG = np.random.default_rng(3)
X, Y = RNG.normal(size=(50, 3)), RNG.normal(size=50)
PARAMS = {"w": np.zeros(3), "b": 0.0, "text": "a name", "count": 3}
OPTIONS: Change = {"batch_size": 16, "epochs": 4, "seed": 1}
LOSS = """
import numpy as np

SCALE = 1.0
TABLE = np.linspace(0.0, 1.0, 200)

def predicted(p, x):
    return x @ p["w"] + p["b"]

def loss(p, x, y):
    return np.mean((predicted(p, x) - y) ** 2) * SCALE + np.sum(TABLE * p["b"]) * 1e-3
"""


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(folder_module, "_warned", False)
    with override(cache=True, cache_dir=str(tmp_path / "cache")):
        yield tmp_path / "cache"


def module(old: str = "", new: str = "") -> Any:
    """The loss in a module of its own, as another process has it."""
    assert not old or LOSS.count(old) == 1
    made = types.ModuleType("model")
    exec(compile(LOSS.replace(old, new) if old else LOSS, "model.py", "exec"), vars(made))
    return made


def fitted(loss: Any = None, optimizer: Any = None, params: Any = None, **changes: Any) -> Any:
    data = changes.pop("data", (X, Y))
    optimizer = optimizer or train.sgd(0.1, momentum=0.9)
    own = PARAMS if params is None else params
    return train.minimize(loss or module().loss, own, data, optimizer, **{**OPTIONS, **changes})


def same(first: TrainResult, second: TrainResult) -> None:
    np.testing.assert_array_equal(first.losses, second.losses)
    np.testing.assert_array_equal(first.params["w"], second.params["w"])
    assert type(first.params["b"]) is type(second.params["b"])
    assert first.params["b"] == second.params["b"]
    assert first.state.keys() == second.state.keys()


@pytest.fixture
def loading(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From its call on nothing may be traced or compiled."""

    def refused(*_: Any, **__: Any) -> Any:
        raise AssertionError("traced or compiled")

    def begin() -> None:
        monkeypatch.setattr("graphjit.tracing.trace.substituted", refused)
        monkeypatch.setattr("graphjit.codegen.build.machine_code", refused)

    return begin


@dataclass(frozen=True)
class Signs:
    """A user's optimizer: steps of one size."""

    rate: float
    twice: bool = False

    def init(self, params: Any) -> Any:  # noqa: ARG002 - the optimizer's protocol
        return {}

    def update(self, gradients: Any, state: Any, params: Any) -> Any:  # noqa: ARG002
        factor = 2.0 if self.twice else 1.0
        return tree_map(lambda g: -self.rate * factor * np.sign(g), gradients), state


def falling(step: Any) -> Any:
    return 0.1 / (1.0 + step)


OPTIMIZERS = {
    "sgd": train.sgd(0.1),
    "nesterov": train.sgd(0.1, momentum=0.5, nesterov=True),
    "adam": train.adam(0.05),
    "schedule": train.adam(falling),
    "own": Signs(0.01),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("batch", [16, 25, None])
def test_a_loaded_loop_trains_the_same(
    name: str, batch: int | None, loading: Callable[[], None]
) -> None:
    first = fitted(optimizer=OPTIMIZERS[name], batch_size=batch)
    assert first.cache == NEW
    loading()
    second = fitted(optimizer=OPTIMIZERS[name], batch_size=batch)
    assert second.cache == "hit"
    same(first, second)


def test_numbers_are_arguments_of_a_loaded_loop(loading: Callable[[], None]) -> None:
    fitted()
    others = [train.sgd(0.2, momentum=0.9), train.sgd(0.1, momentum=0.1)]
    with override(cache=False):
        expected = [fitted(optimizer=optimizer) for optimizer in others]
        expected.append(fitted(params={**PARAMS, "w": np.ones(3)}, data=(2 * X, Y), seed=5))
    loading()
    found = [fitted(optimizer=optimizer) for optimizer in others]
    found.append(fitted(params={**PARAMS, "w": np.ones(3)}, data=(2 * X, Y), seed=5))
    for first, second in zip(expected, found, strict=True):
        assert (first.cache, second.cache) == ("", "hit")
        same(first, second)


CHANGES: dict[str, tuple[Change, str]] = {
    "helper": ({"loss": ("x @ p", "2.0 * x @ p")}, "miss: helper predicted changed"),
    "global": ({"loss": ("SCALE = 1.0", "SCALE = 2.0")}, "miss: global SCALE changed"),
    "batch": ({"batch_size": 10}, NEW),
    "examples": ({"data": (X[:40], Y[:40])}, NEW),
    "dtype": ({"data": (X.astype(np.float32), Y)}, NEW),
    "field": ({"optimizer": train.sgd(0.1, momentum=0.9, nesterov=True)}, NEW),
    "kind": ({"optimizer": train.adam(0.1)}, NEW),
    "none": ({"optimizer": train.sgd(0.1)}, NEW),
    "static": ({"params": {**PARAMS, "count": 4}}, NEW),
    "name": ({"params": {**PARAMS, "text": "another"}}, NEW),
    "weak": ({"params": {**PARAMS, "b": np.float64(0.0)}}, NEW),
}


@pytest.mark.parametrize("name", CHANGES)
def test_another_setup_is_another_loop(name: str) -> None:
    fitted()
    changes, outcome = dict(CHANGES[name][0]), CHANGES[name][1]
    edit = changes.pop("loss", ("", ""))
    with override(cache=False):
        expected = fitted(module(*edit).loss, **changes)
    found = fitted(module(*edit).loss, **changes)
    assert found.cache == outcome
    same(expected, found)
    assert fitted().cache == "hit"


@pytest.mark.parametrize("change", ["schedule", "update", "field"])
def test_another_optimizer_of_the_user_is_another_loop(
    change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    optimizer: Any = train.adam(falling) if change == "schedule" else Signs(0.01)
    first = fitted(optimizer=optimizer)
    if change == "schedule":
        optimizer = train.adam(lambda step: 0.05 / (1.0 + step))
    elif change == "field":
        optimizer = replace(optimizer, twice=True)
    else:

        def update(self: Any, gradients: Any, state: Any, params: Any) -> Any:
            return tree_map(lambda g: -self.rate * 2.0 * np.sign(g), gradients), state

        monkeypatch.setattr(Signs, "update", update)
    second = fitted(optimizer=optimizer)
    assert second.cache.startswith("miss: ")
    assert (first.losses[1:] != second.losses[1:]).all()
    assert fitted(optimizer=optimizer).cache == "hit"


def test_a_captured_array_is_an_input(loading: Callable[[], None]) -> None:
    fitted()
    other = module()
    other.TABLE *= 3
    with override(cache=False):
        expected = fitted(other.loss)
    loading()
    again = module()
    again.TABLE *= 3
    found = fitted(again.loss)
    assert found.cache == "hit"
    same(expected, found)


def test_contents_that_python_read_are_compared() -> None:
    text = ("np.sum(TABLE * p", "np.sum(np.sort(TABLE)[::-1] * p")
    fitted(module(*text).loss)
    other = module(*text)
    other.TABLE *= 3
    found = fitted(other.loss)
    words = "the contents of global TABLE changed while Python code depends on them"
    assert found.cache == f"miss: {words}"
    with override(cache=False):
        again = module(*text)
        again.TABLE *= 3
        same(fitted(again.loss), found)


def test_the_text_of_a_loaded_loop() -> None:
    first, second = fitted(), fitted()
    assert second.cache == "hit"
    with override(cache=False):
        third = fitted()
    bare = [COMMENT.sub("", result.source) for result in (first, second, third)]
    assert bare[0] == bare[1] == bare[2]
    assert "for step in range" in bare[0]
    for made in (copy.deepcopy(second), pickle.loads(pickle.dumps(second))):
        assert made.source == second.source


def test_a_second_call_needs_no_disk() -> None:
    loss = module().loss
    first, second = fitted(loss), fitted(loss)
    assert (first.cache, second.cache, second.compile_seconds) == (NEW, "", 0.0)


def test_errors_of_a_loaded_loop_name_the_line() -> None:
    def pick(p: Any, i: Any) -> Any:
        return np.sum(p[i] ** 2)

    def trained(data: Any) -> Any:
        copy_of = types.FunctionType(pick.__code__, pick.__globals__)
        return train.minimize(copy_of, np.ones(4), data, train.sgd(0.1), batch_size=2)

    assert trained(np.array([0, 1, 2, 3])).cache == NEW
    with pytest.raises(IndexRangeError, match="size 4") as caught:
        trained(np.array([0, 1, 2, 9]))
    assert caught.value.origin is not None
    assert caught.value.origin.line == pick.__code__.co_firstlineno + 1


def test_a_loaded_loop_rewinds_where_the_loss_is_no_number() -> None:
    def diverged() -> TrainResult:
        with pytest.raises(TrainingError) as caught:
            fitted(optimizer=train.sgd(1e200), epochs=50)
        result: TrainResult = caught.value.result  # type: ignore[attr-defined]
        return result

    first, second = diverged(), diverged()
    assert (first.cache, second.cache) == (NEW, "hit")
    same(first, second)


def test_a_loss_that_draws_numbers_is_not_kept() -> None:
    generator = np.random.default_rng(0)

    def loss(p: Any, x: Any, y: Any) -> Any:
        return np.mean((x @ p["w"] - y) ** 2) if generator is not None else 0.0

    assert fitted(loss).cache == "not kept: closure generator: random numbers"


def test_a_function_and_a_loop_of_one_loss_are_two_entries(place: Path) -> None:
    import graphjit

    loss = module().loss
    fitted(loss)
    f = graphjit.grad(loss)
    f(PARAMS | {"count": None}, X, Y)
    assert f.stats.cache == NEW
    assert len(list(place.glob("*.entry"))) == 6
