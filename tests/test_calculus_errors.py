"""What is wrong with a call of the calculus, by name, with what was expected and what came."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

from graphjit import grad, hessian, hvp, jacfwd, jacobian, jacrev, jvp, vjp, vmap
from graphjit.errors import DTypeError, GraphJITError, ShapeError, TraceError

X = np.array([1.0, 2.0, 3.0])
I3 = np.arange(3)


def message(kind: type[Exception], call: Callable[[], Any]) -> str:
    """The error's text, which must name a line of this file."""
    with pytest.raises(kind) as caught:
        call()
    assert isinstance(caught.value, GraphJITError)
    assert "test_calculus_errors.py:" in str(caught.value)
    return str(caught.value)


def scaled(x: Any, factor: Any) -> Any:
    return {"y": x * factor}


@pytest.mark.parametrize(
    ("kind", "tangents", "words"),
    [
        (ShapeError, (np.ones(2), None), ("the tangent of x must be f64[3], not f64[2]",)),
        (DTypeError, (X.astype("f4"), None), ("the tangent of x must be f64[3], not f32[3]",)),
        (DTypeError, (I3, None), ("the tangent of x must be f64[3], not i64[3]",)),
        (DTypeError, (X, 1), ("the tangent of factor must be f64[], not int 1", "factor: float")),
        (TraceError, ((X, X), None), ("the tangent of x has another structure", "(*, *)")),
        (TraceError, (X,), ("one tangent for each primal", "2 primals", "1 tangents")),
        (TraceError, X, ("tangents must be a tuple", "not ndarray")),
        (DTypeError, (None, None), ("every tangent is None",)),
    ],
)  # fmt: skip
@pytest.mark.parametrize("of", [jvp, hvp])
def test_tangents(of: Any, kind: Any, tangents: Any, words: Any) -> None:
    def f(x: Any, factor: Any) -> Any:
        return np.sum(x) * factor

    text = message(kind, lambda: of(f, (X, 2.0), tangents))
    assert all(word in text for word in words), text


def test_tangents_of_integers_and_parts() -> None:
    text = message(DTypeError, lambda: jvp(scaled, (X, 2), (X, 1.0)))
    assert "argument factor cannot be differentiated, so its tangent must be None" in text
    text = message(DTypeError, lambda: jvp(scaled, (I3, 2.0), (X, 1.0)))
    assert "x: i64[3]" in text

    def net(params: Any) -> Any:
        return params["w"][0] * 2

    text = message(ShapeError, lambda: jvp(net, ({"w": [X]},), ({"w": [np.ones(4)]},)))
    assert "the tangent of params['w'][0] must be f64[3], not f64[4]" in text
    text = message(TraceError, lambda: jvp(net, X, X))
    assert "primals must be a tuple" in text
    assert "(x,)" in text


def test_cotangents() -> None:
    _, pull = vjp(scaled, X, 2.0)
    text = message(TraceError, lambda: pull(X))
    assert "result: {'y': *}, cotangent: *" in text
    text = message(ShapeError, lambda: pull({"y": np.ones(4)}))
    assert "the cotangent of result['y'] must be f64[3], not f64[4]" in text
    text = message(DTypeError, lambda: pull({"y": X.astype("f4")}))
    assert "must be f64[3], not f32[3]" in text
    assert "not float" in message(ShapeError, lambda: pull({"y": 1.0}))


@pytest.mark.parametrize("mode", [jacfwd, jacrev, jacobian, lambda f: lambda x: vjp(f, x)])
def test_integers_in_and_out(mode: Any) -> None:
    def places(x: Any) -> Any:
        return x * 2.0, np.argmax(x)  # here

    text = message(DTypeError, lambda: mode(places)(X))
    assert "result[1] is no float" in text
    assert "result[1]: i64[]" in text
    assert "has_aux=True" in text
    text = message(DTypeError, lambda: mode(lambda x: x * 1.0)(I3))
    assert "integer argument x cannot be differentiated" in text
    assert "is no float" in message(DTypeError, lambda: mode(lambda x: 3)(X))
    text = message(DTypeError, lambda: mode(lambda x: "text")(X))
    assert "returned nothing to differentiate" in text


def test_integers_out_of_jvp() -> None:
    text = message(DTypeError, lambda: jvp(np.argmax, (X,), (X,)))
    assert "result is no float" in text


def test_aux_that_is_not_there() -> None:
    for call in (
        lambda: jvp(np.sum, (X,), (X,), has_aux=True),
        lambda: vjp(np.sum, X, has_aux=True),
        lambda: jacfwd(np.sum, has_aux=True)(X),
    ):
        assert "pair (result, auxiliary)" in message(TraceError, call)


def test_a_hessian_of_a_vector() -> None:
    def f(x: Any) -> Any:
        return x * 2  # here

    for call in (lambda: hessian(f)(X), lambda: hvp(f, (X,), (X,))):
        text = message(ShapeError, call)
        assert "a Hessian needs a scalar, but the function returned an array of shape (3,)" in text
        assert "return x * 2" in text
    assert "has no Hessian" in message(DTypeError, lambda: hessian(np.argmax)(X))
    assert "argnums=2" in message(TraceError, lambda: hessian(np.sum, 2)(X))


def test_sizes_of_vmap() -> None:
    def f(x: Any, params: Any) -> Any:
        return x * params["w"]

    text = message(ShapeError, lambda: vmap(f)(X, {"w": np.ones(4)}))
    assert "x has 3 and params['w'] has 4" in text
    assert "params['w']: f64[4], axis 0" in text
    values: list[Any] = [2.0, 2, np.float32(1)]
    for value, shown in zip(values, ("factor: float", "factor: 2", "factor: f32"), strict=True):
        text = message(ShapeError, partial(vmap(scaled), X, value))
        assert "axis 0 of argument factor, which has no such axis" in text
        assert shown in text
        assert "in_axes=(0, None)" in text
    text = message(ShapeError, lambda: vmap(scaled, (1, None))(X, 2.0))
    assert "axis 1 of argument x" in text


def test_axes_of_vmap() -> None:
    text = message(TraceError, lambda: vmap(scaled, (0,))(X, X))
    assert "in_axes is for 1 argument, but the call has 2" in text
    text = message(TraceError, lambda: vmap(scaled, (None, None))(X, X))
    assert "in_axes gives none an axis" in text
    text = message(TraceError, lambda: vmap(scaled, (0, {"u": 0}))(X, {"v": X}))
    assert "in_axes for argument factor does not fit: {'u': 0}" in text
    for strange in ("x", 1.0, True):
        text = message(TraceError, partial(vmap(np.sin, strange), X))
        assert f"does not fit: {strange!r}" in text
    text = message(TraceError, lambda: vmap(np.sin, 0, (0, 0))(X))
    assert "out_axes does not fit" in text
    text = message(ShapeError, lambda: vmap(np.sin, 0, 3)(X))
    assert "out_axes=3 is no axis of a result of 1 axes" in text
    text = message(ShapeError, lambda: vmap(lambda x: x * 2, 0, None)(X))
    assert "without a batch axis depends on an argument" in text
    assert "out_axes" in text


def test_what_is_no_function() -> None:
    number: Any = 3
    calls: list[Any] = [jacfwd, vmap, hessian, lambda f: jvp(f, (X,), (X,)), lambda f: vjp(f, X)]
    for call in calls:
        text = message(TraceError, partial(call, number))
        assert "a function is needed, not int" in text


def test_an_error_inside_says_where() -> None:
    def f(x: Any) -> Any:
        return x @ np.ones((4, 2))  # here

    for call in (lambda: vmap(f)(np.ones((5, 3))), lambda: jacfwd(f)(X), lambda: vjp(f, X)):
        assert "return x @ np.ones((4, 2))" in message(ShapeError, call)
    text = message(ShapeError, lambda: grad(lambda w: vmap(f)(w).sum())(np.ones((5, 3))))
    assert "f64[3]" in text
