"""A compiled function called from elsewhere: by ctypes, by SciPy, inside Numba's functions."""

import ctypes
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numba
import numpy as np
import optree
import pytest
from scipy import integrate, ndimage

from graphjit import sparse
from graphjit.control import while_loop
from graphjit.errors import CompileError, DTypeError, IndexRangeError, TraceError
from graphjit.exports import NativeFunction, native
from graphjit.exports.entry import STACK, work_bytes
from graphjit.exports.form import form_of
from graphjit.transforms import grad, hessian, jacfwd, jit, value_and_grad, vmap
from zoo import ZOO, Animal

Array = np.ndarray[Any, Any]
animals = pytest.mark.parametrize("animal", ZOO, ids=lambda animal: animal.name)


def leaves(tree: Any) -> list[Any]:
    """The float leaves as a native function takes them: arrays, and numbers for shape ()."""
    found = optree.tree_leaves(tree, namespace="graphjit")
    arrays = [np.asarray(a) for a in found if isinstance(a, float | np.ndarray | np.generic)]
    return [a if a.ndim else a[()] for a in arrays]


def results(function: NativeFunction, args: Any) -> list[Array]:
    """What the function of C writes, shape () as one element."""
    outputs = [np.full(i.aval.shape or (1,), 7, i.aval.dtype) for i in function._form.outputs]
    assert function.ctypes(*leaves(args), *outputs) == 0
    return outputs


def assert_same(expected: Any, found: list[Array]) -> None:
    wanted = leaves(expected)
    assert len(wanted) == len(found)
    for a, b in zip(wanted, found, strict=True):
        np.testing.assert_array_equal(a, b.reshape(np.shape(a)))


def energy(w: Array, x: Array) -> Any:
    return np.sum(np.tanh(x @ w) ** 2)


def wave(x: Any) -> Any:
    return np.sin(x) * np.exp(-x)


def data(rows: int = 50, seed: int = 0) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(4, 3)), rng.normal(size=(rows, 4))


# -- C -------------------------------------------------------------------------------------------


@animals
def test_the_c_function_gives_the_same_bits(animal: Animal) -> None:
    both = value_and_grad(animal.function)
    args = animal.args()
    assert_same(both(*args), results(native(both, args), args))


def test_the_signature_has_the_users_names() -> None:
    def model(params: Any, x: Array, short: Any) -> Any:
        return {"mean": np.mean(x) * params[0]["w"], "sign": x > short}

    args = ([{"w": 2.0}], np.ones((2, 3), np.float32), np.int8(1))
    assert native(model, args).signature == (
        "int model(double params_0_w, const float *x, int8_t short_, float *out_mean, "
        "bool *out_sign)"
    )
    assert native(model, args).description.splitlines()[0] == (
        "params_0_w: float64 number, which is params[0]['w']"
    )


def test_dtypes_pass_as_they_are() -> None:
    def mixed(flag: Any, k: Any, x: Any, mask: Any, more: Any) -> Any:
        return np.where(mask, x, -x) * k + flag, ~mask, more * 2

    args = (
        np.bool_(True), np.int8(-3), np.float32(2.5), np.array([True, False, True]),
        np.array([[1, 2]], np.uint16),
    )  # fmt: skip
    assert_same(jit(mixed)(*args), results(native(mixed, args), args))


def test_the_address_is_a_plain_function_of_c() -> None:
    function = native(grad(wave), (1.0,))
    out = np.empty(1)
    kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_double, ctypes.c_void_p)
    assert kind(function.address)(0.5, out.ctypes.data) == 0
    assert out[0] == grad(wave)(0.5)


@pytest.mark.parametrize("rows", [50, 5000], ids=["stack", "heap"])
def test_threads_are_inside_at_once(rows: int) -> None:
    both = value_and_grad(energy)
    function = native(both, data(rows))
    assert (work_bytes(function._form) > STACK) == (rows == 5000)
    cases = [data(rows, seed) for seed in range(6)]
    alone = [results(function, args) for args in cases]

    def work(i: int) -> bool:
        found = results(function, cases[i % len(cases)])
        return all(map(np.array_equal, alone[i % len(cases)], found))

    with ThreadPoolExecutor(6) as pool:
        assert all(pool.map(work, range(120)))


def test_a_loop_of_unknown_length_allocates_by_itself() -> None:
    def root(a: Any) -> Any:
        return while_loop(lambda c: np.abs(c * c - a) > 1e-12, lambda c: (c + a / c) / 2, a)

    (slope,) = results(native(grad(root), (2.0,)), (2.0,))
    assert slope[0] == pytest.approx(0.5 / np.sqrt(2), rel=1e-12)


def test_ctypes_checks_what_it_is_given() -> None:
    w, x = data()
    call, out = native(energy, (w, x)).ctypes, np.empty(1)
    readonly = np.empty(1)
    readonly.flags.writeable = False
    for wrong in (
        (w.T, x, out), (w[:2], x, out), (w.astype(np.float32), x, out), (w, x[::2], out),
        (w, x, np.empty(2)), (w, x, readonly), (w, 1.0, out),
    ):  # fmt: skip
        with pytest.raises(ctypes.ArgumentError):
            call(*wrong)


def test_an_index_out_of_range_is_an_error() -> None:
    def pick(table: Array, i: Array) -> Any:
        return table[i]

    function = native(pick, (np.arange(5.0), np.array([1, 2])))
    assert_same(np.array([4.0, 0.0]), results(function, (np.arange(5.0), np.array([-1, 0]))))
    with pytest.raises(IndexRangeError, match="out of bounds for an axis of size 5"):
        results(function, (np.arange(5.0), np.array([0, 5])))
    with pytest.raises(IndexError, match="pick: an index is out of bounds"):
        function.numba(np.arange(5.0), np.array([0, 5]))


def test_what_is_derived_in_other_ways_can_be_called_too() -> None:
    def f(x: Array) -> Any:
        return np.sum(np.sin(x) * x[::-1])

    x = np.linspace(0.0, 1.0, 4)
    for function, args in (
        (hessian(f), (x,)), (jacfwd(np.tan), (x,)), (vmap(f), (np.stack([x, 2 * x]),)),
        (jit(lambda *a: a[::-1]), (x, 2.0)),
    ):  # fmt: skip
        assert_same(function(*args), results(native(function, args), args))


def test_a_hostile_name_stays_a_name() -> None:
    def f(x: Any) -> Any:
        return x * 2

    f.__name__ = 'f\n}\ndefine void @run("'
    assert (
        native(f, (np.ones(2),)).signature == "int f_define_void_run(const double *x, double *out)"
    )
    assert_same(np.full(2, 2.0), results(native(f, (np.ones(2),)), (np.ones(2),)))
    np.testing.assert_array_equal(native(f, (np.ones(2),)).numba(np.ones(2)), [2.0, 2.0])


def test_a_captured_array_is_read_where_it_is() -> None:
    weights = np.ones(100)
    function = native(lambda x: x @ weights, (np.ones(100),))
    weights[:] = 2.0
    assert results(function, (np.ones(100),))[0][0] == 200.0


def test_a_method_and_a_plain_function_can_be_given() -> None:
    class Model:
        scale = 3.0

        @grad
        def loss(self, x: Any) -> Any:
            return self.scale * x * x

    assert native(Model().loss, (1.0,)).numba(2.0) == 12.0
    assert native(wave, (1.0,)).numba(2.0) == jit(wave)(2.0)


# -- SciPy ---------------------------------------------------------------------------------------


def test_quad_integrates_a_function_and_its_derivative() -> None:
    area, _ = integrate.quad(native(wave, (1.0,)).low_level_callable(), 0, 2)
    assert area == pytest.approx((1 - np.exp(-2) * (np.sin(2) + np.cos(2))) / 2, rel=1e-13)
    rise, _ = integrate.quad(native(grad(wave), (1.0,)).low_level_callable(), 0, 2)
    assert rise == pytest.approx(wave(2.0), rel=1e-13)


@pytest.mark.parametrize("signature", ["double (double)", "double (double, void *)"])
def test_quad_takes_either_form_of_one_number(signature: str) -> None:
    call = native(wave, (1.0,)).low_level_callable(signature)
    assert call.signature == signature
    assert integrate.quad(call, 0, 1)[0] == pytest.approx(integrate.quad(wave, 0, 1)[0], rel=1e-13)


@pytest.mark.parametrize("signature", [None, "double (int, double *)"])
def test_quad_passes_further_arguments(signature: str | None) -> None:
    call = native(lambda x, a, b: a * x + b, (1.0, 1.0, 1.0)).low_level_callable(signature)
    assert integrate.quad(call, 0, 2, args=(3.0, 5.0))[0] == pytest.approx(16.0, rel=1e-14)


def test_nquad_integrates_numbers_and_arrays() -> None:
    def bell(x: Any, y: Any, z: Any) -> Any:
        return x * y + np.exp(-z * z)

    def of_array(x: Array) -> Any:
        return x[0] * x[1] + np.exp(-(x[2] ** 2))

    ranges = [(0, 1), (0, 2), (-1, 1)]
    wanted = 2.0 + 2 * integrate.quad(lambda z: np.exp(-z * z), -1, 1)[0]
    for f, args in ((bell, (1.0, 1.0, 1.0)), (of_array, (np.ones(3),))):
        call = native(f, args).low_level_callable()
        assert integrate.nquad(call, ranges)[0] == pytest.approx(wanted, rel=1e-12)


def test_another_number_of_variables_is_not_a_number() -> None:
    call = native(lambda x, y: x + y, (1.0, 1.0)).low_level_callable()
    with pytest.warns(integrate.IntegrationWarning):
        assert np.isnan(integrate.quad(call, 0, 1, args=(1.0, 2.0))[0])


def test_filters_of_images_call_it() -> None:
    image = np.random.default_rng(0).normal(size=(12, 9))
    window = native(lambda x: np.sum(x * x) - x[4], (np.ones(9),))
    call = window.low_level_callable("int (double *, intptr_t, double *, void *)")
    wanted = ndimage.generic_filter(image, lambda x: np.sum(x * x) - x[4], size=3)
    np.testing.assert_allclose(ndimage.generic_filter(image, call, size=3), wanted, rtol=1e-12)
    with pytest.raises(RuntimeError):
        ndimage.generic_filter(image, call, size=4)


def test_filters_of_lines_call_it() -> None:
    image = np.random.default_rng(0).normal(size=(5, 8))
    line = native(lambda x: x[2:] - x[:-2], (np.ones(10),))
    found = ndimage.generic_filter1d(image, line.low_level_callable(), 3, mode="nearest")
    wanted = ndimage.correlate1d(image, [-1.0, 0.0, 1.0], mode="nearest")
    np.testing.assert_allclose(found, wanted, rtol=1e-12)


def test_a_transform_of_coordinates_calls_it() -> None:
    image = np.random.default_rng(0).normal(size=(6, 7))
    turn = native(lambda i: i[::-1] * 1.0, (np.ones(2, np.intp),))
    call = turn.low_level_callable("int (npy_intp *, double *, int, int, void *)")
    found = ndimage.geometric_transform(image, call, output_shape=(7, 6), order=1)
    np.testing.assert_allclose(found, image.T, rtol=1e-12)


@pytest.mark.parametrize(
    ("f", "args", "signature", "words"),
    [
        (wave, (1.0,), "double (float)", "there is no callback 'double \\(float\\)'"),
        (wave, (np.float32(1),), None, "SciPy has no callback of this form"),
        (lambda x, y: x + y, (1.0, 1.0), "double (double)", "takes a float64 scalar and gives one"),
        (lambda t, i: t[i], (np.ones(3), np.array([0])), None, "cannot say which was out of range"),
    ],
)
def test_what_scipy_cannot_call_is_refused(
    f: Callable[..., Any], args: Any, signature: str | None, words: str
) -> None:
    with pytest.raises(CompileError, match=words):
        native(f, args).low_level_callable(signature)


# -- Numba ---------------------------------------------------------------------------------------


def test_a_function_of_numbers_is_a_first_class_function_of_numba() -> None:
    value: Any = native(wave, (1.0,)).numba
    slope: Any = native(grad(wave), (1.0,)).numba
    assert isinstance(native(wave, (1.0,)).numba, numba.types.WrapperAddressProtocol)

    @numba.njit
    def newton(f: Any, x: float) -> float:
        for _ in range(8):
            x -= f(x) / slope(x)  # one as an argument, one as a global
        return x

    assert newton(value, 3.0) == pytest.approx(np.pi, rel=1e-14)
    assert slope(0.5) == grad(wave)(0.5)


@pytest.mark.filterwarnings("ignore::numba.NumbaExperimentalFeatureWarning")
def test_first_class_functions_can_be_chosen_at_run_time() -> None:
    functions = native(np.sin, (1.0,)).numba, native(lambda x: x * x, (1.0,)).numba

    @numba.njit
    def total(fs: Any, x: float) -> float:
        result = 0.0
        for f in fs:
            result += f(x)
        return result

    assert total(functions, 0.5) == pytest.approx(np.sin(0.5) + 0.25, rel=1e-15)


def test_a_gradient_is_called_in_a_loop_of_numba() -> None:
    w, x = data()
    both = value_and_grad(energy)
    step = native(both, (w, x)).numba

    @numba.njit
    def descend(w: Array, x: Array) -> Any:
        losses = np.empty(5)
        for i in range(5):
            losses[i], slope = step(w, x)
            w = w - 0.01 * slope
        return losses, w

    losses, end = descend(w, x)
    for loss in losses:
        value, slope = both(w, x)
        assert loss == value
        w = w - 0.01 * slope
    np.testing.assert_allclose(end, w, rtol=1e-14)


def test_numba_writes_into_arrays_that_are_given() -> None:
    w, x = data()
    call = native(value_and_grad(energy), (w, x)).numba_into
    loss, slope = np.empty(1), np.empty_like(w)
    x.flags.writeable = False  # an argument may be read-only

    @numba.njit
    def run(w: Array, x: Array, loss: Array, slope: Array) -> Any:
        call(w, x, loss, slope)
        return loss[0]

    assert run(w, x, loss, slope) == loss[0]
    assert_same(value_and_grad(energy)(w, x), [loss, slope])


def test_numba_refuses_what_does_not_fit() -> None:
    w, x = data()
    function = native(energy, (w, x))
    for wrong, word in (
        (w.astype(np.float32), "C-contiguous float64 array of 2 axes"),
        (np.asfortranarray(w), "not array\\(float64, 2d, F\\)"),
        (w.reshape(-1), "not array\\(float64, 1d, C\\)"),
    ):
        with pytest.raises(numba.TypingError, match=word):
            function.numba(wrong, x)
    with pytest.raises(ValueError, match=r"w must have the shape \(4, 3\)"):
        function.numba(w[:2], x)
    frozen = np.empty(1)
    frozen.flags.writeable = False
    with pytest.raises(numba.TypingError, match="out must be a writable C-contiguous"):
        function.numba_into(w, x, frozen)
    with pytest.raises(numba.TypingError, match="k must be a int8"):
        native(lambda x, k: x * k, (np.ones(2), np.int8(1))).numba(np.ones(2), 3)


def test_numbers_and_bools_pass_through_numba() -> None:
    def mixed(flag: Any, k: Any, mask: Any) -> Any:
        return np.where(mask, k, -k) + flag, ~mask, np.sum(k) * 1.5

    args = (np.bool_(True), np.int64(3), np.array([True, False]))
    first, second, third = native(mixed, args).numba(True, 3, args[2])
    wanted = jit(mixed)(*args)
    np.testing.assert_array_equal(first, wanted[0])
    np.testing.assert_array_equal(second, wanted[1])
    assert third == wanted[2]


# -- bad input -----------------------------------------------------------------------------------


def test_bad_input_is_told_so() -> None:
    with pytest.raises(
        TraceError, match=r"must be given as a tuple, not as float\n.*\n.*\n.*\(x,\)"
    ):
        native(wave, 1.0)  # type: ignore[arg-type]
    with pytest.raises(TraceError, match="a function is needed, not int"):
        native(3, ())  # type: ignore[arg-type]
    with pytest.raises(TraceError, match="returns nothing that is computed"):
        native(lambda x: None, (1.0,))
    with pytest.raises(CompileError, match="the result is no container of arrays"):
        native(sparse.jacobian(np.sin), (np.ones(3),))
    wide = np.ones((100, 2))
    with pytest.raises(DTypeError, match="not contiguous"):
        native(lambda x: x @ wide[:, 0], (np.ones(100),))

    @jit
    def outer(x: Any) -> Any:
        return native(wave, (x,)).numba(1.0)

    with pytest.raises(TraceError, match="arguments of another trace"):
        outer(1.0)


def test_tracing_errors_name_the_users_line() -> None:
    def bad(x: Array) -> Any:
        return x @ np.ones(7)

    with pytest.raises(ValueError, match=r"x @ np.ones\(7\)"):
        form_of(bad, (np.ones(3),), {})
