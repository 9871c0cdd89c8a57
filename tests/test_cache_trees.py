"""Containers, constants and results as JSON and back."""

import enum
import json
import math
from collections import OrderedDict, defaultdict, deque
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import optree
import pytest

import graphjit
from graphjit.cache import trees
from graphjit.cache.libraries import Refused
from graphjit.cache.trees import Template, array_form, array_from, constant, constant_from
from graphjit.tracing.static import Statics
from graphjit.tracing.trees import Arguments, flatten


class Layer(NamedTuple):
    w: Any
    b: Any = None


@dataclass(frozen=True)
class State:
    step: int
    params: Any
    note: str = field(default="", init=False)

    def __post_init__(self) -> None:
        assert self.step >= 0, "rebuilding does not run this"


class Colour(enum.Enum):
    RED = 1


TREES = [
    None,
    1.5,
    [],
    (),
    {},
    [1, (2.0, None), "x"],
    {"b": 1, "a": [2, {"c": ()}]},
    {3: 1, 1: 2},
    {(1, "a"): 1.0},
    {2.5: 1},
    OrderedDict([("z", 1), ("a", 2)]),
    Layer(np.float32(2), (1, 2)),
    [Layer({"w": 1}), Layer(2, 3)],
    State(1, {"layers": [Layer(1, 2)]}),
    {"state": State(0, State(2, None))},
]


@pytest.mark.parametrize("tree", TREES, ids=repr)
def test_a_tree_comes_back(tree: Any) -> None:
    text = json.loads(json.dumps(trees.written(tree, constant)))
    found = trees.rebuilt(text, constant_from)
    assert found == tree
    assert repr(found) == repr(tree)
    assert flatten(found)[1] == flatten(tree)[1]


@pytest.mark.parametrize(
    "value",
    [
        0, 1, -(2**70), True, False, None, "", "é\n\0", b"\xff\0", 0.1, -0.0, math.inf, math.nan,
        1e-320, complex(-0.0, math.nan), (1, (2.0, "x")), np.float32(0.1), np.int8(-3), np.True_,
        np.float64(-0.0), np.uint64(2**64 - 1),
    ],
    ids=repr,
)  # fmt: skip
def test_a_constant_comes_back_with_its_type(value: Any) -> None:
    found = constant_from(json.loads(json.dumps(constant(value))))
    assert type(found) is type(value)
    assert repr(found) == repr(value)


class Inner:
    class Deep(NamedTuple):
        x: int


def local() -> Any:
    class Hidden(NamedTuple):
        x: int

    return Hidden(1)


def test_a_class_in_a_class_is_found() -> None:
    text = trees.written(Inner.Deep(1), constant)
    assert isinstance(trees.rebuilt(text, constant_from), Inner.Deep)


@pytest.mark.parametrize(
    "tree",
    [local(), deque([1]), defaultdict(list, a=[1]), Colour.RED, object(), {Colour.RED: 1}, {1, 2}],
    ids=lambda tree: type(tree).__name__,
)
def test_what_could_not_be_made_again_is_refused(tree: Any) -> None:
    with pytest.raises(Refused):
        trees.written(tree, constant)


@pytest.mark.parametrize(
    "text",
    [
        ["named", __name__, "Layer", ["w", "c"], []],
        ["named", __name__, "Gone", ["w"], []],
        ["named", "not_loaded", "Layer", ["w"], []],
        ["dataclass", __name__, "State", ["step"], []],
        ["dataclass", "os", "system", [], []],
        ["list"],
        ["odd", []],
        7,
    ],
)
def test_what_is_no_longer_there_is_refused(text: Any) -> None:
    with pytest.raises(Refused):
        trees.rebuilt(text, constant_from)


def test_no_module_is_imported_for_an_entry() -> None:
    import sys

    sys.modules.pop("this", None)
    with pytest.raises(Refused):
        trees.rebuilt(["named", "this", "s", [], []], constant_from)
    assert "this" not in sys.modules


@pytest.mark.parametrize(
    "array",
    [np.arange(6.0).reshape(2, 3).T, np.zeros((0, 3)), np.array(True), np.arange(3, dtype=">f4")],
)
def test_an_array_comes_back(array: np.ndarray[Any, Any]) -> None:
    form, elements = array_form(array)
    found = array_from(json.loads(json.dumps(form)), elements)
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array, strict=True)
    assert found.flags.writeable


def test_an_array_of_objects_is_refused() -> None:
    with pytest.raises(Refused, match="dtype object"):
        array_form(np.array([None]))


# -- calls ----------------------------------------------------------------------------------------


def f(*args: Any, **kwargs: Any) -> Any:
    return args, kwargs


def signed(*args: Any, **kwargs: Any) -> str:
    static = Statics.of(f, "mode", ())
    arguments = Arguments(f, args, kwargs, static)
    return json.dumps(trees.signature(arguments.spec, arguments.keys))


def test_calls_of_one_program_have_one_signature() -> None:
    one = signed({"w": np.ones((2, 3)), "n": 3}, 1.5, mode="fast")
    assert one == signed({"w": np.zeros((2, 3)), "n": 3}, 2.5, mode="fast")


def test_calls_of_different_programs_have_different_ones() -> None:
    x = np.ones((2, 3))
    calls: list[Any] = [
        (x,), (x.astype("f4"),), (x[:1],), (x, None), ([x],), ((x,),), ({"a": x},), ({"b": x},),
        (1.0,), (1,), (True,), ("1",), (np.float64(1),), (Layer(x),), (State(1, x),),
        (State(2, x),), (OrderedDict(a=x),),
    ]  # fmt: skip
    texts = [signed(*call) for call in calls] + [signed(x, mode=m) for m in (1, 1.0, "a", (1,))]
    assert len(set(texts)) == len(texts)


def test_a_static_object_is_refused() -> None:
    with pytest.raises(Refused):
        signed(1.0, mode=object())


# -- results --------------------------------------------------------------------------------------


def loss(params: Any, x: Any) -> Any:
    value = np.sum(params["a"].w * x) + np.sum(params["b"][0] * 2)
    return value, {"prediction": x + 1, "count": 3, "name": "loss", "none": None}


PARAMS = {"b": [np.ones(2)], "a": Layer(np.ones(3))}
X = np.arange(3.0)


def scalar(params: Any, x: Any) -> Any:
    return loss(params, x)[0]


@pytest.mark.parametrize(
    "compiled",
    [
        graphjit.jit(loss),
        graphjit.grad(scalar),
        graphjit.grad(scalar, argnums=(0, 1)),
        graphjit.grad(loss, has_aux=True),
        graphjit.value_and_grad(loss, has_aux=True),
        graphjit.jit(lambda params, x: State(4, x * 2)),
        graphjit.jacrev(lambda params, x: x * params["a"].w, argnums=1),
        graphjit.jacfwd(lambda params, x: {"y": x * x}, argnums=1),
        graphjit.hessian(lambda params, x: np.sum(x**3), argnums=1),
    ],
    ids=str,
)
@pytest.mark.usefixtures("as_python")
def test_a_result_is_made_as_derived_makes_it(compiled: Any) -> None:
    derived = compiled._derive(compiled._arguments((PARAMS, X), {}))
    count = len(derived.graph.outputs)
    text = json.loads(json.dumps(Template.of(derived.result, count).written()))
    values = [np.full(2, float(i)) for i in range(count)]
    expected, found = derived.result(values), Template.read(text)(values)
    assert repr(found) == repr(expected)
    assert flatten(found)[1] == flatten(expected)[1]
    leaves = zip(optree.tree_leaves(found), optree.tree_leaves(expected), strict=True)
    assert all(a is b for a, b in leaves if isinstance(a, np.ndarray))


def test_a_result_that_holds_a_function_is_refused() -> None:
    with pytest.raises(Refused):
        Template.of(lambda values: (values[0], lambda g: g), 1).written()
