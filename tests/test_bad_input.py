"""What a user does wrong: the fact, the user's own line, the shapes, the way out."""

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graphjit import grad, jit, value_and_grad
from graphjit.errors import (
    DTypeError,
    GraphJITError,
    IndexRangeError,
    MissingRule,
    ShapeError,
    TraceError,
)

X = np.arange(1.0, 4.0)
LINES = Path(__file__).read_text(encoding="utf-8").splitlines()


def message(kind: type[GraphJITError], call: Any) -> str:
    """What the error says, once it is sure to name a line of this file that ends in `# here`."""
    with pytest.raises(kind) as caught:
        call()
    text = str(caught.value)
    found = re.search(rf"{re.escape(__file__)}:(\d+)", text)
    assert found, text
    line = LINES[int(found[1]) - 1].strip()
    assert line.endswith("# here"), text
    assert line in text
    assert "numba" not in text.lower()
    return text


# -- what NumPy code does to traced values --------------------------------------------------------


def test_shapes_that_do_not_broadcast() -> None:
    def f(x: Any, y: Any) -> Any:
        return np.sum(x + y)  # here

    text = message(ShapeError, lambda: grad(f)(np.ones((2, 3)), np.ones(4)))
    assert "cannot be broadcast together" in text
    assert "f64[2,3], f64[4]" in text
    assert "reshape" in text


def test_shapes_of_a_matrix_product() -> None:
    def f(x: Any, w: Any) -> Any:
        return x @ w  # here

    text = message(ShapeError, lambda: jit(f)(np.ones((8, 3)), np.ones((2, 3))))
    assert "f64[8,3]" in text
    assert "f64[2,3]" in text


def branch(x: Any) -> Any:
    if x > 0:  # here
        return x
    return -x


def loop(x: Any) -> Any:
    while x < 10:  # here
        x = x * 2
    return x


def either(x: Any) -> Any:
    return x > 0 and x < 1  # here


@pytest.mark.parametrize("f", [branch, loop, either])
def test_control_flow_on_a_traced_value(f: Any) -> None:
    text = message(TraceError, lambda: grad(f)(2.0))
    assert "truth of a traced value" in text
    assert "np.where(condition, a, b)" in text


def as_float(x: Any) -> Any:
    return float(x)  # here


def as_int(x: Any) -> Any:
    return int(x)  # here


def as_item(x: Any) -> Any:
    return x.item()  # here


def by_math(x: Any) -> Any:
    return math.sin(x)  # here


def by_range(x: Any) -> Any:
    return sum(i for i in range(x))  # here


def as_digits(x: Any) -> Any:
    return f"{x:.2f}"  # here


@pytest.mark.parametrize("f", [as_float, as_int, as_item, by_math, as_digits])
def test_numbers_wanted_from_a_traced_value(f: Any) -> None:
    text = message(TraceError, lambda: grad(f)(2.0))
    assert "traced value" in text
    assert "np.sin for math.sin" in text


def test_a_traced_value_as_a_size() -> None:
    text = message(GraphJITError, lambda: jit(by_range)(np.int64(3)))
    assert "Pass sizes as Python ints" in text


def test_a_new_array_of_traced_values() -> None:
    def f(t: Any) -> Any:
        return np.sum(np.array([t, t]))  # here

    text = message(TraceError, lambda: grad(f)(2.0))
    assert "stored in a NumPy array" in text
    assert "np.stack" in text


def test_asarray() -> None:
    def f(t: Any) -> Any:
        return np.sum(np.asarray(t))  # here

    assert "drop a np.asarray" in message(TraceError, lambda: grad(f)(X))


def test_assignment_into_a_new_array() -> None:
    def f(t: Any) -> Any:
        y = np.zeros(3)
        y[0] = t  # here
        return y.sum()

    text = message(TraceError, lambda: grad(f)(2.0))
    assert "assigned to an element of a NumPy array" in text
    assert "np.stack" in text


def test_pythons_own_sequence_error_stays() -> None:
    def f(t: Any) -> Any:
        np.zeros(3)[0] = [1.0, 2.0]
        return t

    with pytest.raises(ValueError, match="setting an array element"):
        jit(f)(2.0)


def test_assignment_into_a_traced_array() -> None:
    def f(x: Any) -> Any:
        x[0] = 1.0  # here
        return x.sum()

    text = message(TraceError, lambda: grad(f)(X))
    assert "cannot be assigned to" in text
    assert "np.where" in text


def test_an_in_place_operator_on_a_plain_array() -> None:
    def f(x: Any) -> Any:
        y = np.zeros(3)
        y += x  # here
        return y.sum()

    def g(x: Any) -> Any:
        x += 1  # here
        return x.sum()

    assert "x = x + t" in message(TraceError, lambda: grad(f)(X))
    assert "x = x + t" in message(TraceError, lambda: grad(g)(X))


def test_a_function_without_a_primitive() -> None:
    def f(x: Any) -> Any:
        return np.spacing(x).sum()  # here

    def g(x: Any) -> Any:
        return np.unwrap(x).sum()  # here

    assert "np.spacing has no primitive" in message(MissingRule, lambda: grad(f)(X))
    assert "np.unwrap has no primitive" in message(MissingRule, lambda: grad(g)(X))


def test_a_method_and_an_option_without_a_primitive() -> None:
    def f(x: Any) -> Any:
        return x.byteswap()  # here

    def g(x: Any) -> Any:
        return np.add(x, x, where=np.array([True, False, True]))  # here

    assert "ndarray.byteswap has no primitive" in message(MissingRule, lambda: jit(f)(X))
    assert "where=" in message(MissingRule, lambda: jit(g)(X))


def test_indices() -> None:
    def f(x: Any) -> Any:
        return x[5]  # here

    def g(x: Any) -> Any:
        return x[x > 1].sum()  # here

    assert "out of bounds" in message(IndexRangeError, lambda: jit(f)(X))
    assert "np.where(mask, x, 0)" in message(TraceError, lambda: grad(g)(X))


KEPT: list[Any] = []


def test_a_tracer_kept_after_its_trace() -> None:
    def f(x: Any) -> Any:
        KEPT.append(np.exp(x))  # here
        return x.sum()

    grad(f)(X)
    text = message(TraceError, lambda: KEPT[0] + KEPT[0])
    assert "after its trace had ended" in text
    assert "f64[3]" in text
    assert "after its trace" in message(TraceError, lambda: jit(lambda x: x)(KEPT[0]))
    assert "after its trace" in message(TraceError, lambda: jit(lambda x: x + KEPT[0])(X))


# -- gradients that there are not -----------------------------------------------------------------


def test_a_gradient_of_an_array() -> None:
    def f(x: Any) -> Any:
        return x * 2  # here

    text = message(ShapeError, lambda: grad(f)(X))
    assert "scalar" in text
    assert "(3,)" in text
    assert "np.sum or np.mean" in text


def test_a_gradient_of_an_integer() -> None:
    def f(x: Any) -> Any:
        return np.argmax(x)  # here

    text = message(DTypeError, lambda: grad(f)(X))
    assert "no float" in text
    assert "i64[]" in text
    assert "no float" in message(DTypeError, lambda: grad(lambda x: 3)(X))  # here


@pytest.mark.parametrize(
    ("result", "shown"), [(None, "None"), ((1.0, 2.0), "(*, *)"), ("text", "str"), ({}, "{}")]
)
def test_a_gradient_of_something_else(result: Any, shown: str) -> None:
    text = message(TraceError, lambda: grad(lambda x: result)(X))  # here
    assert "returns one number" in text
    assert f"returned {shown}" in text


def test_aux_that_is_not_there() -> None:
    text = message(TraceError, lambda: grad(lambda x: x.sum(), has_aux=True)(X))  # here
    assert "pair (loss, auxiliary)" in text


@pytest.mark.parametrize(
    ("arg", "shown"),
    [
        (3, "w: int 3"),
        (True, "w: bool True"),
        (np.arange(3), "w: i64[3]"),
        (np.ones(3, bool), "w: bool[3]"),
        (np.int32(2), "w: i32[]"),
    ],
)
def test_integer_arguments(arg: Any, shown: str) -> None:
    call = value_and_grad(lambda w: np.sum(w * 1.0))
    text = message(DTypeError, lambda: call(arg))  # here
    assert "integer argument w cannot be differentiated" in text
    assert shown in text
    assert "3.0 for 3" in text


def test_integers_inside_a_container() -> None:
    call = grad(lambda params: np.sum(params[0]["w"]) * params[1])
    text = message(DTypeError, lambda: call([{"w": X}, 3]))  # here
    assert "integer argument params[1]" in text
    text = message(DTypeError, lambda: call([{"w": np.arange(3)}, 3.0]))  # here
    assert "integer argument params[0]['w']" in text


def test_nothing_to_differentiate() -> None:
    text = message(DTypeError, lambda: grad(lambda name: 1.0)("text"))  # here
    assert "argument name holds nothing to differentiate" in text


@pytest.mark.parametrize("argnums", [2, -3, (0, 5)])
def test_argnums_out_of_range(argnums: Any) -> None:
    call = grad(lambda x, y: np.sum(x), argnums)
    text = message(TraceError, lambda: call(X, X))  # here
    assert "names no positional argument" in text
    assert "positional arguments: x, y" in text


@pytest.mark.parametrize("argnums", [(0, 0), (1, -1)])
def test_argnums_twice(argnums: Any) -> None:
    call = grad(lambda x, y: np.sum(x), argnums)
    assert "names an argument twice" in message(TraceError, lambda: call(X, X))  # here


# -- arguments that cannot be compiled ------------------------------------------------------------


@pytest.mark.parametrize(
    "array",
    [
        np.array([None, 1]),
        np.array(["a", "b"]),
        np.array([b"a"]),
        np.array(["2026-01-01"], "datetime64[D]"),
        np.array([1], "timedelta64[s]"),
        np.array([1j]),
        np.ones(2, np.float16),
        np.ones(2, np.longdouble),
        np.zeros(2, [("a", float)]),
    ],
    ids=lambda a: str(a.dtype),
)
def test_dtypes(array: Any) -> None:
    text = message(DTypeError, lambda: jit(lambda x, p: x)(X, [{"w": array}]))  # here
    assert "argument p[0]['w']" in text
    assert str(array.dtype) in text
    assert "float32 or float64" in text


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (np.ma.masked_array([1.0, 2.0], [True, False]), "masked array"),
        (np.ones((1, 1)).view(np.matrix), "array subclass numpy.matrix"),
        (2 + 1j, "is complex"),
    ],
)
def test_arrays_with_rules_of_their_own(value: Any, words: str) -> None:
    text = message(DTypeError, lambda: jit(lambda x: x)(value))  # here
    assert "argument x" in text
    assert words in text


class Foreign:
    def __array__(self) -> Any:
        return X


def test_arrays_of_other_libraries() -> None:
    text = message(DTypeError, lambda: jit(lambda x: x)(Foreign()))  # here
    assert "array of another library" in text
    assert "np.asarray" in text


def test_captured_arrays_that_cannot_be_compiled() -> None:
    words = np.array(["a"])

    def f(x: Any) -> Any:
        return x + words  # here

    assert "<U1" in message(DTypeError, lambda: jit(f)(X))


def test_static_arguments() -> None:
    f = jit(lambda x, n: x, static_argnames="n")
    text = message(TraceError, lambda: f(X, [1, 2]))  # here
    assert "static argument n (list) has no hash" in text
    text = message(DTypeError, lambda: f(X, n=np.ma.masked_array([1.0])))  # here
    assert "masked array" in text
    text = message(TraceError, lambda: jit(lambda x: x, static_argnames="m"))  # here
    assert "'m'" in text
    assert "set" in message(TraceError, lambda: jit(lambda x: x)({1, 2}))  # here


NUMBER: Any = 3


def test_what_is_no_function() -> None:
    assert "a function is needed, not int" in message(TraceError, lambda: grad(NUMBER))  # here


def test_wrong_arguments_are_pythons_own_error() -> None:
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'y'"):
        jit(lambda x, y: x)(X)
