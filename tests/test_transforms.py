"""jit, grad and value_and_grad: results, containers, specialisation, nesting, launch, threads."""

import copy
import gc
import pickle
import subprocess
import sys
import threading
import types
import weakref
from collections import namedtuple
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import graphjit
from graphjit import grad, jit, value_and_grad
from graphjit.errors import IndexRangeError, RecompileWarning
from graphjit.transforms.compiled import Compiled
from graphjit.transforms.quick import MISS

RANDOM = np.random.default_rng(7)
WEIGHT = np.array([1.0, 2.0, 3.0])


def close(found: Any, expected: Any) -> None:
    np.testing.assert_allclose(found, expected, rtol=1e-13, atol=1e-13)


def softmax_loss(params: Any, x: Any, y: Any) -> Any:
    for w, b in params[:-1]:
        x = 1 / (1 + np.exp(-(x @ w + b)))
    w, b = params[-1]
    logits = x @ w + b
    logp = logits - np.log(np.sum(np.exp(logits), axis=1, keepdims=True))
    return -np.mean(logp[np.arange(len(y)), y])


def softmax_data() -> Any:
    sizes = [(4, 3), (3, 2)]
    params = [(RANDOM.normal(size=s), RANDOM.normal(size=s[1])) for s in sizes]
    return params, RANDOM.normal(size=(5, 4)), np.array([0, 1, 1, 0, 1])


# -- values and gradients -------------------------------------------------------------------------


def test_a_network() -> None:
    params, x, y = softmax_data()
    value, gradients = value_and_grad(softmax_loss)(params, x, y)
    close(value, softmax_loss(params, x, y))
    assert [type(layer) for layer in gradients] == [tuple, tuple]
    assert [g.shape for layer in gradients for g in layer] == [(4, 3), (3,), (3, 2), (2,)]
    graphjit.check_grads(softmax_loss, (params, x, y))


def test_the_quiz() -> None:
    def f(x: Any, z: Any) -> Any:
        return np.exp(x * z) + x * z / np.log(x) + np.sin(np.log(x)) / (x * z)

    value, (dx, dz) = value_and_grad(f, argnums=(0, 1))(2.0, 3.0)
    np.testing.assert_allclose(value, 412.1914572841211755, rtol=1e-13)
    np.testing.assert_allclose([dx, dz], [1208.3812151266096294, 809.7074792185640812], rtol=1e-13)
    assert type(value) is type(dx) is type(dz) is np.float64


def test_decorator_and_call() -> None:
    @grad
    def plain(x: Any) -> Any:
        return x**2

    @grad(argnums=1)
    def second(x: Any, y: Any) -> Any:
        """Doc."""
        return x * y**2

    @jit(static_argnames="n")
    def static(x: Any, n: Any) -> Any:
        return x * n

    assert plain(3.0) == 6
    assert second(2.0, 3.0) == 12
    assert static(2.0, n=3.5) == 7
    assert (second.__name__, second.__doc__) == ("second", "Doc.")
    assert repr(second).startswith("<compiled test_decorator")


Pair = namedtuple("Pair", "w b")  # noqa: PYI024 - what users write


@dataclass
class Model:
    w: Any
    b: Any
    name: str = "tanh"


@pytest.mark.parametrize(
    ("tree", "get"),
    [
        ({"w": WEIGHT, "b": 2.0}, lambda t: (t["w"], t["b"])),
        ([WEIGHT, 2.0], lambda t: (t[0], t[1])),
        (Pair(WEIGHT, np.float32(2)), lambda t: t),
        (Model(WEIGHT, 2.0), lambda t: (t.w, t.b)),
        ({"a": [(WEIGHT, None), {"b": np.array(2.0)}]}, lambda t: (t["a"][0][0], t["a"][1]["b"])),
    ],
)  # fmt: skip
def test_the_gradient_has_the_container_of_the_argument(tree: Any, get: Any) -> None:
    def f(t: Any) -> Any:
        w, b = get(t)
        return np.sum(w**2) * b

    gradient = grad(f)(tree)
    assert type(gradient) is type(tree)
    w, b = get(gradient)
    close(w, 4 * WEIGHT)
    close(b, 14)
    assert np.asarray(b).dtype == np.asarray(get(tree)[1]).dtype


def test_text_in_a_differentiated_container_has_gradient_none() -> None:
    def f(model: Any) -> Any:
        return np.sum(getattr(np, model.name)(model.w)) * model.b

    gradient = grad(f)(Model(WEIGHT, 1.0, "sin"))
    close(gradient.w, np.cos(WEIGHT))
    assert gradient.name is None
    close(grad(f)(Model(WEIGHT, 1.0, "exp")).w, np.exp(WEIGHT))


def test_argnums() -> None:
    def f(x: Any, y: Any, z: Any) -> Any:
        return x * y**2 * z**3

    args = (2.0, 3.0, 5.0)
    assert grad(f, -1)(*args) == 2 * 9 * 75
    assert grad(f, (2,))(*args) == (2 * 9 * 75,)
    assert grad(f, [1, 0])(*args) == (2 * 6 * 125, 9 * 125)
    value, gradients = value_and_grad(f, (0, 2))(*args)
    assert (value, *gradients) == (2250, 1125, 1350)


def test_has_aux() -> None:
    def f(x: Any) -> Any:
        y = x**2
        return y.sum(), {"y": y, "name": "square", "none": None}

    gradient, aux = grad(f, has_aux=True)(WEIGHT)
    close(gradient, 2 * WEIGHT)
    close(aux["y"], WEIGHT**2)
    assert (aux["name"], aux["none"]) == ("square", None)
    (value, aux), gradient = value_and_grad(f, has_aux=True)(WEIGHT)
    assert value == 14
    close(aux["y"], WEIGHT**2)
    close(gradient, 2 * WEIGHT)


def test_what_the_result_does_not_depend_on_has_gradient_zero() -> None:
    args = (WEIGHT, np.ones((2, 3), np.float32), {"a": 1.5})
    x, y, z = grad(lambda x, y, z: np.sum(x), (0, 1, 2))(*args)
    close(x, np.ones(3))
    assert (y.shape, y.dtype, y.any()) == ((2, 3), np.float32, False)
    assert (type(z["a"]), z["a"]) == (np.float64, 0)
    assert grad(lambda x: 2.5)(3.0) == 0
    assert value_and_grad(lambda x: (1.0, x), has_aux=True)(3.0) == ((1.0, 3.0), 0.0)


def test_a_float32_argument_has_a_float32_gradient() -> None:
    def f(x: Any, rate: Any) -> Any:
        return np.sum(x**2) * rate

    value, (dx, drate) = value_and_grad(f, (0, 1))(WEIGHT.astype(np.float32), 0.5)
    assert (type(value), dx.dtype, type(drate)) == (np.float32, np.float32, np.float64)
    assert drate == 14


def test_what_is_no_array_passes_through_jit() -> None:
    result = jit(lambda x: {"x": x + 1, "none": None, "text": "t", "n": 3, "f": 2.5})(WEIGHT)
    close(result.pop("x"), WEIGHT + 1)
    assert result == {"none": None, "text": "t", "n": 3, "f": 2.5}
    assert jit(lambda x: None)(WEIGHT) is None


def test_scalars_come_back_as_numpy_scalars() -> None:
    for dtype in (np.float64, np.float32, np.int64):
        assert type(jit(np.sum)(WEIGHT.astype(dtype))) is dtype
    assert type(jit(lambda x: x > 1)(2.0)) is np.bool_
    assert type(jit(lambda x: x)(2.0)) is np.float64


def test_keywords_and_defaults() -> None:
    @jit
    def f(x: Any, *more: Any, scale: Any = 2.0, **rest: Any) -> Any:
        return x * scale + sum(more) + sum(rest.values())

    assert f(3.0) == 6
    assert f(3.0, 1.0, 2.0, scale=1.0) == 6
    assert f(3.0, b=1.0, a=2.0) == 9
    assert grad(lambda x, scale: x * scale)(3.0, scale=4.0) == 4


# -- launch ---------------------------------------------------------------------------------------


def layouts() -> dict[str, Any]:
    base = RANDOM.normal(size=(4, 6))
    raw = np.zeros(4 * 6 * 8 + 1, np.uint8)[1:].view(np.float64).reshape(4, 6)
    raw[...] = base
    frozen = base.copy()
    frozen.setflags(write=False)
    return {
        "contiguous": base,
        "strided": np.repeat(base, 2, axis=1)[:, ::2],
        "fortran": np.asfortranarray(base),
        "reversed": base[::-1, ::-1],
        "broadcast": np.broadcast_to(base[0], (4, 6)),
        "byteswapped": base.astype(">f8"),
        "readonly": frozen,
        "unaligned": raw,
        "empty": np.zeros((0, 3)),
        "zero-dimensional": np.array(2.5),
        "one": np.array([2.5]),
        "numpy scalar": np.float64(2.5),
        "swapped scalar": np.array(2.5, ">f8"),
        "python float": 2.5,
    }


@pytest.mark.parametrize("layout", layouts())
def test_every_layout_gives_numpys_answer(layout: str) -> None:
    x = layouts()[layout]
    before = np.array(x, copy=True)

    def f(x: Any) -> Any:
        return np.tanh(x) * 2 - x

    def total(x: Any) -> Any:
        return np.sum(np.tanh(x) * 2 - x)

    compiled = jit(f)
    for _ in range(2):
        found = compiled(x)
        close(found, f(x))
        assert (np.shape(found), found.dtype) == (np.shape(x), np.dtype(float))
        value, gradient = value_and_grad(total)(x)
        close(value, total(x))
        close(gradient, 2 - 2 * np.tanh(x) ** 2 - 1)
        assert np.shape(gradient) == np.shape(x)
    np.testing.assert_array_equal(x, before)
    captured = jit(lambda y: f(x) + y * x)
    close(captured(1.0), f(x) + x)


def test_layouts_share_one_program() -> None:
    f = jit(lambda x: x * 2)
    for name in ("contiguous", "strided", "fortran", "reversed", "byteswapped", "readonly"):
        f(layouts()[name])
    assert (f.stats.specialisations, f.stats.calls) == (1, 6)


def test_a_memory_map_is_an_array(tmp_path: Any) -> None:
    x = np.memmap(tmp_path / "x", float, "w+", shape=(3,))
    x[:] = WEIGHT
    found = jit(lambda x: x + 1)(x)
    assert type(found) is np.ndarray
    close(found, WEIGHT + 1)


def test_results_share_no_memory() -> None:
    x, held = WEIGHT.copy(), WEIGHT.copy()

    @jit
    def f(x: Any) -> Any:
        y = x * 2
        return x, x, y, y, held, y[1:], np.array([7.0, 8.0]), x.reshape(3, 1)

    first, second = f(x), f(x)
    arrays = [x, held, *first, *second]
    shared = [
        (i, j) for i, a in enumerate(arrays) for j, b in enumerate(arrays[:i])
        if np.shares_memory(a, b)
    ]  # fmt: skip
    assert not shared
    for array in first:
        np.add(array, 100, out=array)
    close(f(x)[0], WEIGHT)
    close(f(x)[6], [7, 8])
    dx, dy = grad(lambda x, y: np.sum(x) + np.sum(y), (0, 1))(x, x)
    assert not np.shares_memory(dx, dy)


def test_an_index_out_of_range_names_the_line() -> None:
    f = jit(lambda x, i: x[i])
    assert f(WEIGHT, np.array([2]))[0] == 3
    with pytest.raises(IndexRangeError, match="out of bounds") as caught:
        f(WEIGHT, np.array([3]))
    assert "test_transforms.py" in str(caught.value)


def test_plain_arrays_take_the_fast_way(monkeypatch: pytest.MonkeyPatch) -> None:
    f = jit(lambda x, y: x + y)
    f(WEIGHT, WEIGHT)
    monkeypatch.setattr(Compiled, "_call", None)
    close(f(WEIGHT, WEIGHT), 2 * WEIGHT)
    monkeypatch.undo()
    close(f(WEIGHT, 1.0), WEIGHT + 1)
    assert f._last is not None
    assert f._last.quick((WEIGHT, WEIGHT)) is MISS
    assert f._last.quick((WEIGHT, 1.0)) is not MISS


# -- specialisation -------------------------------------------------------------------------------


def test_one_program_for_each_kind_of_call() -> None:
    @jit
    def scale(x: Any, n: Any) -> Any:
        return x * n

    close(scale(WEIGHT, 3), WEIGHT * 3)
    close(scale(WEIGHT + 1, 3), (WEIGHT + 1) * 3)
    close(scale(np.ones(4), 3), np.full(4, 3))
    close(scale(np.ones(4), 4), np.full(4, 4))
    close(scale(np.ones(4, np.float32), True), np.ones(4))
    close(scale(np.ones(4), np.ones(4)), np.ones(4))
    close(scale(WEIGHT, 3), WEIGHT * 3)
    assert scale.stats.specialisations == 5
    assert scale.stats.calls == 7
    assert scale.stats.recompiles == [
        "argument x: f64[3] -> f64[4]",
        "static n: 3 -> 4",
        "argument x: f64[4] -> f32[4]; static n: 4 -> True",
        "argument x: f32[4] -> f64[4]; static n: True -> f64[4]",
    ]


def test_static_values_differ_by_type() -> None:
    f = jit(lambda x, n: x * n if type(n) is int else -x, static_argnames="n")
    assert [f(2.0, n) for n in (1, True, 1.0, 1)] == [2, -2, -2, 2]
    sign = jit(lambda z, x: np.copysign(x, z), static_argnums=0)
    assert [sign(z, 2.0) for z in (0.0, -0.0)] == [2, -2]


def test_structure_chooses_the_program() -> None:
    f = jit(lambda t: sum(t.values()))
    assert f({"a": 1.0, "b": 2.0}) == 3
    assert f({"b": 1.0}) == 1
    assert f.stats.recompiles == ["the structure of the arguments changed"]


def test_stats_print_as_a_table() -> None:
    f = jit(lambda x: x + 1)
    f(WEIGHT)
    f(np.ones(2))
    shown = repr(f.stats)
    assert "calls            2" in shown
    assert "recompiled       argument x: f64[3] -> f64[2]" in shown
    assert {"trace", "compile"} <= set(f.stats.seconds)
    assert all(seconds > 0 for seconds in f.stats.seconds.values())


def test_a_changing_int_is_reported_once() -> None:
    f = jit(lambda x, step: x * step)
    with pytest.warns(RecompileWarning, match=r"8 times for the changing int step") as caught:
        assert [f(1.0, step) for step in range(10)] == list(range(10))
    assert len(caught) == 1
    assert caught[0].filename == __file__


def test_graph_and_source() -> None:
    f = grad(lambda x: np.sum(np.sin(x)))
    traced = f.graph(WEIGHT, stage="traced")
    assert [node.op for node in traced.nodes] == ["input", "sin", "sum"]
    assert f.graph(WEIGHT, stage="adjoint").count("cos") == 1
    assert f.stats.specialisations == 0
    assert f.graph(WEIGHT).count("fused") == 1
    assert "cos" in f.source(WEIGHT)
    assert f.stats.specialisations == 1


# -- guards ---------------------------------------------------------------------------------------


def test_contents_of_a_captured_array_are_seen() -> None:
    held = np.ones((30, 30))
    f = jit(lambda x: x + held)
    close(f(1.0), np.full((30, 30), 2))
    held[0, 0] = 7
    assert f(1.0)[0, 0] == 8
    held *= 2
    close(f(1.0), held + 1)
    assert f.stats.specialisations == 1


def test_a_rebound_global_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    f = jit(lambda x: x + WEIGHT)
    close(f(WEIGHT), WEIGHT * 2)
    before = WEIGHT
    monkeypatch.setitem(globals(), "WEIGHT", np.ones((2, 3)))
    close(f(before), before + np.ones((2, 3)))
    monkeypatch.undo()
    close(f(WEIGHT), WEIGHT * 2)
    assert f.stats.recompiles == ["global WEIGHT was rebound"] * 2


def test_a_closure_scalar_is_seen() -> None:
    scale = 2
    f = grad(lambda x: x * scale)
    assert f(1.0) == 2
    scale = 3
    assert f(1.0) == 3
    assert f.stats.recompiles == ["closure scale: 2 -> 3"]


def test_a_captured_array_that_changes_its_shape_is_seen() -> None:
    held = np.ones(6)
    f = jit(lambda x: x + held)
    assert f(1.0).shape == (6,)
    held.shape = (2, 3)
    assert f(1.0).shape == (2, 3)
    assert "changed its form" in f.stats.recompiles[0]


def test_a_computed_value_follows_its_source() -> None:
    matrix = np.diag([2.0, 4.0])
    f = jit(lambda x: np.linalg.inv(matrix) @ x)
    close(f(np.ones(2)), [0.5, 0.25])
    matrix[0, 0] = 1
    close(f(np.ones(2)), [1, 0.25])


# -- nesting --------------------------------------------------------------------------------------


def cube(x: Any) -> Any:
    return x**3


def test_derivatives_of_derivatives() -> None:
    assert grad(grad(cube))(2.0) == 12
    assert grad(grad(grad(cube)))(2.0) == 6
    assert jit(grad(jit(grad(jit(cube)))))(2.0) == 12
    assert grad(lambda x: grad(cube)(x) * x)(2.0) == 36
    value, gradient = value_and_grad(lambda x: value_and_grad(cube)(x)[1])(2.0)
    assert (value, gradient) == (12, 12)


def test_inner_functions_close_over_outer_values() -> None:
    # d/dx [x · d/dz (x z²)] = d/dx [2 x² z] = 4 x z: perturbations must not be confused
    assert grad(lambda x: x * grad(lambda z: x * z * z)(3.0))(2.0) == 24
    # d/dx [x · d/dy (x + y)] = 1
    assert grad(lambda x: x * grad(lambda y: x + y)(1.0))(1.0) == 1
    assert jit(lambda x: jit(lambda y: jit(lambda z: x + y + z)(y))(x))(2.0) == 6

    def outer(w: Any) -> Any:
        def inner(x: Any) -> Any:
            return np.sum(w * x**2)

        return np.sum(grad(inner)(WEIGHT) ** 2)

    close(grad(outer)(WEIGHT), 8 * WEIGHT**3)


def test_a_compiled_helper_is_seen_through() -> None:
    held = np.ones(3)
    helper = jit(lambda x: {"y": x * held, "name": "h"})
    f = jit(lambda x: helper(x)["y"] + helper(WEIGHT)["y"])
    close(f(WEIGHT), 2 * WEIGHT)
    held[:] = 2
    close(f(WEIGHT), 4 * WEIGHT)
    assert helper.stats.calls == 0
    close(helper(WEIGHT)["y"], 2 * WEIGHT)


def test_aux_and_containers_inside() -> None:
    def inner(p: Any) -> Any:
        return np.sum(p["w"] ** 3), p["w"] * 2

    def outer(p: Any) -> Any:
        gradient, aux = grad(inner, has_aux=True)(p)
        return np.sum(gradient["w"]) + np.sum(aux)

    close(grad(outer)({"w": WEIGHT})["w"], 6 * WEIGHT + 2)


def test_the_weakness_of_a_float_goes_through() -> None:
    f = jit(lambda rate, x: jit(lambda r: r * 2)(rate) * x)
    assert f(0.5, np.ones(3, np.float32)).dtype == np.float32


# -- as objects -----------------------------------------------------------------------------------


class Net:
    def __init__(self, w: Any) -> None:
        self.w = w

    @value_and_grad
    def loss(self, x: Any) -> Any:
        return np.sum((self.w * x) ** 2)

    @jit(static_argnames="power")
    def forward(self, x: Any, power: int = 1) -> Any:
        return (self.w * x) ** power


def test_methods() -> None:
    one, two = Net(WEIGHT), Net(np.ones(3))
    close(one.loss(WEIGHT)[1], 2 * WEIGHT**3)
    close(two.loss(WEIGHT)[1], 2 * WEIGHT)
    close(one.forward(WEIGHT, power=2), WEIGHT**4)
    assert one.loss.stats.calls == 1
    assert "in0" in one.loss.source(WEIGHT) or one.loss.source(WEIGHT)
    one.w = np.zeros(3)
    close(one.loss(WEIGHT)[0], 0)
    assert one.loss.stats.recompiles == ["self.w was rebound"]
    close(Net(WEIGHT).forward(WEIGHT), WEIGHT**2)


def test_a_dropped_instance_is_freed() -> None:
    net = Net(WEIGHT)
    net.loss(WEIGHT)
    reference = weakref.ref(net)
    del net
    gc.collect()
    assert reference() is None
    assert not Net.loss._bound


@jit
def by_name(x: Any) -> Any:
    return x + 1


def plus_two(x: Any) -> Any:
    return x + 2


def test_pickle_and_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType(__name__)
    vars(module).update(globals())
    monkeypatch.setitem(sys.modules, __name__, module)
    assert pickle.loads(pickle.dumps(by_name)) is by_name
    again = pickle.loads(pickle.dumps(grad(plus_two)))
    assert again(1.0) == 1
    other = copy.deepcopy(by_name)
    assert other is not by_name
    assert other(1.0) == 2
    assert by_name.stats.calls == 0


def test_many_threads_build_one_program() -> None:
    f = value_and_grad(softmax_loss)
    params, x, y = softmax_data()
    expected = softmax_loss(params, x, y)
    barrier = threading.Barrier(8)
    found: list[Any] = []

    def work() -> None:
        barrier.wait(10)
        found.extend(f(params, x, y)[0] for _ in range(20))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert f.stats.specialisations == 1
    assert len(found) == 160
    assert len(set(map(float, found))) == 1
    close(found[0], expected)


def test_an_exception_while_tracing_leaves_nothing_behind() -> None:
    fail = True

    @grad
    def f(x: Any) -> Any:
        if fail:
            raise KeyError("mine")
        return x**2

    for _ in range(2):
        with pytest.raises(KeyError, match="mine"):
            f(3.0)
    fail = False
    assert f(3.0) == 6
    assert f.stats.specialisations == 1


def test_the_package_offers_what_it_names() -> None:
    assert set(graphjit.__all__) == set(dir(graphjit))
    for name in graphjit.__all__:
        assert getattr(graphjit, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'gard'"):
        _ = graphjit.gard


def test_importing_is_light() -> None:
    text = "import sys, graphjit; print(*sorted({'numba', 'networkx'} & set(sys.modules)))"
    command = [sys.executable, "-c", text]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd="/")
    assert done.stdout.strip() == ""
