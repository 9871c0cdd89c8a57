"""What a function reads beside its arguments: found once, for guards and for fingerprints."""

import argparse
import dis
import functools
import gc
import inspect
import types
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple
from unittest.mock import MagicMock

import numpy as np
import pytest
import scipy.special

import graphjit
from graphjit.tracing import names as names_module
from graphjit.tracing.guards import Guards
from graphjit.tracing.names import ATTRIBUTES, GLOBALS, IMPORTS, names_of
from graphjit.tracing.reads import Reads

# -- names ----------------------------------------------------------------------------------------


def codes(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from codes(constant)


@pytest.mark.parametrize("module", [argparse, dis, inspect, types, np, names_module])
def test_names_are_those_that_dis_finds(module: types.ModuleType) -> None:
    source = inspect.getsource(module)
    for code in codes(compile(source, "x.py", "exec")):
        found = [i for c in codes(code) for i in dis.get_instructions(c)]
        expected = [
            {i.argval for i in found if i.opname in kind} for kind in (GLOBALS, ATTRIBUTES, IMPORTS)
        ]
        assert list(map(set, names_of(code))) == expected


def test_names_past_256_are_found() -> None:
    text = "def f(x):\n" + "".join(f"    x = g{i}(x.a{i})\n" for i in range(600)) + "    return x\n"
    space: dict[str, Any] = {}
    exec(text, space)
    names = names_of(space["f"].__code__)
    assert names.globals == {f"g{i}" for i in range(600)}
    assert names.attributes == {f"a{i}" for i in range(600)}


# -- what is found --------------------------------------------------------------------------------


class Config:
    scale = 2.0

    def __mul__(self, x: Any) -> Any:
        return x * OFFSET


@dataclass(slots=True)
class Slotted:
    scale: float = 1.0


class Pair(NamedTuple):
    scale: float = 1.0

    @property
    def doubled(self) -> float:
        return self.scale * FACTOR


OFFSET, FACTOR = 1.0, 2.0
norm = np.linalg.norm
softened = scipy.special.logsumexp


def scaled(config: Any, x: Any) -> Any:
    return x * config.scale


def changed(function: Any, change: Any) -> str:
    guards = Guards(function)
    assert guards.changed() == ""
    change()
    return guards.changed()


def test_an_attribute_that_only_a_helper_names() -> None:
    config = Config()
    words = changed(lambda x: scaled(config, x), lambda: setattr(config, "scale", 3.0))
    assert words == "closure config.scale was rebound"
    assert graphjit.jit(lambda x: scaled(config, x))(2.0) == 6.0


def test_a_class_that_is_used_as_a_namespace() -> None:
    class Settings:
        rate = 1.0

    f = graphjit.jit(lambda x: x * Settings.rate)
    assert f(3.0) == 3.0
    Settings.rate = 2.0
    assert f(3.0) == 6.0


def test_slots() -> None:
    slotted = Slotted()
    f = graphjit.jit(lambda x: x * slotted.scale)
    assert f(3.0) == 3.0
    slotted.scale = 2.0
    assert f(3.0) == 6.0
    assert f.stats.recompiles == ["closure slotted.scale: 1.0 -> 2.0"]


def test_slots_that_are_deleted() -> None:
    slotted = Slotted()
    words = changed(lambda x: x * slotted.scale, lambda: delattr(slotted, "scale"))
    assert words == "closure slotted.scale is gone"


def test_what_a_special_method_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    config = Config()
    words = changed(lambda x: config * x, lambda: monkeypatch.setitem(globals(), "OFFSET", 2.0))
    assert words == "global OFFSET: 1.0 -> 2.0"


def test_what_a_property_of_a_named_tuple_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    pair = Pair()
    words = changed(
        lambda x: x * pair.doubled, lambda: monkeypatch.setitem(globals(), "FACTOR", 3.0)
    )
    assert words == "global FACTOR: 2.0 -> 3.0"


def test_a_function_of_a_library_under_a_name_of_the_user_s(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def rebind() -> None:
        monkeypatch.setitem(globals(), "softened", np.sum)

    assert changed(lambda x: softened(x), rebind) == "global softened was rebound"  # noqa: PLW0108


def test_what_a_decorator_of_a_library_holds() -> None:
    factor = 2.0

    @np.errstate(all="ignore")
    def decorated(x: Any) -> Any:
        return x * factor

    f = graphjit.jit(lambda x: decorated(x) + 1.0)
    assert f(3.0) == 7.0
    factor = 3.0
    assert f(3.0) == 10.0


def test_arrays_of_one_name_are_told_apart() -> None:
    def make(data: Any) -> Any:
        return lambda x: x * data

    one, two = make(np.ones(3)), make(np.zeros(3))
    reads = Reads(lambda x: one(x) + two(x))
    assert list(reads.arrays) == ["closure data", "closure data_2"]


def test_an_array_that_is_met_twice_is_one() -> None:
    data = np.ones(3)
    alias = data
    assert list(Reads(lambda x: x * data + alias).arrays) == ["closure alias"]


def test_a_partial_and_its_arguments() -> None:
    config = Config()
    words = changed(functools.partial(scaled, config), lambda: setattr(config, "scale", 5.0))
    assert "scale was rebound" in words


def test_the_order_is_that_of_the_function() -> None:
    def f(x: Any) -> Any:
        return norm(x) * FACTOR + scaled(CONFIG, x)

    found = [reading.name for reading in Reads(f).readings]
    assert found == [
        "global CONFIG", "global FACTOR", "global norm", "global scaled",
        "global OFFSET", "global CONFIG.scale",
    ]  # fmt: skip


CONFIG = Config()


def test_an_object_that_has_every_attribute() -> None:
    mock = MagicMock()
    assert Guards(lambda x: mock(x) * mock.rate).changed() == ""


def test_guards_do_not_keep_an_instance_alive() -> None:
    class Model:
        def __init__(self) -> None:
            self.rate = 1.0

        def loss(self, x: Any) -> Any:
            return x * self.rate

    model = Model()
    guards = Guards(model.loss)
    reference = weakref.ref(model)
    del model
    gc.collect()
    assert reference() is None
    assert guards.changed() == ""
