"""check_grads finds wrong gradients and names the entry."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from graphjit import check_grads, jit
from graphjit.errors import DTypeError, GradientError, GraphJITError
from graphjit.ir.primitive import TABLE

X = np.random.default_rng(3).normal(size=(3, 4))


def f(params: Any, x: Any) -> Any:
    w, (b, scale) = params["w"], params["rest"]
    return np.mean(np.tanh(x @ w + b) ** 2) * scale


PARAMS = {"w": np.ones((4, 2)) / 3, "rest": [np.zeros(2), 1.5]}


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("argnums", [0, 1, (0, 1), -1])
def test_right_gradients_pass(order: int, argnums: Any) -> None:
    check_grads(f, (PARAMS, X), argnums=argnums, order=order)


def test_float32_has_a_step_of_its_own() -> None:
    check_grads(lambda x: np.sum(np.sin(x) ** 2), X.astype(np.float32), order=2)


def test_arrays_and_trees_of_results() -> None:
    check_grads(lambda x: {"a": np.exp(x), "n": 3, "b": [x.sum(), x > 0]}, X, order=2)
    check_grads(jit(lambda x: np.outer(x, x)), X[0])


def test_large_values() -> None:
    check_grads(lambda x: np.sum(x**3), 1e6 * X)
    check_grads(lambda x: np.sum(np.log(x)), np.array([1e3, 2e5]))


@pytest.fixture
def wrong_sine(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sine's derivative where x > 1 is 10 % too large."""
    row = dataclasses.replace(
        TABLE["sin"], partials=lambda y, x: (np.cos(x) * np.where(x > 1, 1.1, 1.0),)
    )
    monkeypatch.setitem(TABLE, "sin", row)


@pytest.mark.usefixtures("wrong_sine")
def test_the_worst_entry_is_named() -> None:
    def loss(params: Any, x: Any) -> Any:  # line of loss
        return np.sum(np.sin(params[0][1])) + np.sum(x)

    bad = np.zeros((3, 4))
    check_grads(loss, ([(np.ones(2), bad)], X), argnums=(0, 1))
    bad[2, 3] = 1.2
    with pytest.raises(GradientError, match=r"at params\[0\]\[1\]\[2,3\]") as caught:
        check_grads(loss, ([(np.ones(2), bad)], X), argnums=(0, 1))
    message = str(caught.value)
    assert f"analytic {1.1 * np.cos(1.2):.10g}" in message
    assert f"numeric {np.cos(1.2):.5g}"[:-1] in message
    assert "test_check_grads.py" in message
    assert issubclass(GradientError, AssertionError)
    assert issubclass(GradientError, GraphJITError)


@pytest.mark.usefixtures("wrong_sine")
def test_a_scalar_argument_is_named() -> None:
    with pytest.raises(GradientError, match=r"at rate: analytic"):
        check_grads(lambda x, rate: x * np.sin(rate), (2.0, 1.5), argnums=(0, 1))


def test_order_two_sees_a_wrong_second_derivative(monkeypatch: pytest.MonkeyPatch) -> None:
    row = dataclasses.replace(TABLE["cos"], partials=lambda y, x: (np.sin(x),))
    monkeypatch.setitem(TABLE, "cos", row)
    check_grads(lambda x: np.sum(np.sin(x)), X)
    with pytest.raises(GradientError, match=r"second derivative .* at x\[\d,\d\]"):
        check_grads(lambda x: np.sum(np.sin(x)), X, order=2)


def test_a_wrong_value_is_seen() -> None:
    calls = iter(range(1000))
    with pytest.raises(GradientError, match="compiled value differs"):
        check_grads(lambda x: np.sum(x) + next(calls), X)


def test_nan_is_no_agreement() -> None:
    with pytest.raises(GradientError, match="nan"), np.errstate(invalid="ignore"):
        check_grads(lambda x: np.sum(np.sqrt(x)), np.array([1.0, -1.0]))


def test_forward_mode_is_checked_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    def f(x: Any) -> Any:
        return np.sum(np.cumprod(x) ** 2)

    wrong = dataclasses.replace(
        TABLE["recurrence"], jvp=lambda tangents, h, a, b, **_: 2 * tangents[0] * h
    )
    monkeypatch.setitem(TABLE, "recurrence", wrong)
    x = np.array([1.5, 0.5, 2.0])
    check_grads(f, x, modes="reverse")
    for modes in ("forward", ("reverse", "forward")):
        with pytest.raises(GradientError, match=r"the gradient by forward mode .* at x\[\d\]"):
            check_grads(f, x, modes=modes)


def test_what_does_not_move_has_no_tangent() -> None:
    def f(params: Any, kind: str, n: Any) -> Any:
        return params["w"] ** n[0] * np.sum(params["x"]) if kind == "power" else 0.0

    args = ({"w": 1.5, "x": np.ones(2), "name": "no number"}, "power", np.array([2.0]))
    check_grads(f, args, argnums=(0, 2), order=2, modes=("forward",))


def test_options() -> None:
    check_grads(lambda x: np.sum(np.exp(x)), X, eps=1e-2, rtol=1e-3)
    with pytest.raises(GradientError):
        check_grads(lambda x: np.sum(np.exp(x)), X, eps=1e-1, rtol=1e-8, atol=0)
    with pytest.raises(ValueError, match="order must be 1 to 3"):
        check_grads(np.sum, X, order=0)
    with pytest.raises(ValueError, match="modes must be among"):
        check_grads(np.sum, X, modes=("backward",))


def test_what_cannot_be_checked_is_named() -> None:
    with pytest.raises(DTypeError, match="integer argument x cannot be differentiated"):
        check_grads(rows, (np.arange(6).reshape(2, 3), 2.0))
    with pytest.raises(
        DTypeError, match=r"returns no floats(.|\n)*but bool(.|\n)*test_check_grads"
    ):
        check_grads(lambda x: x > 0, np.ones(3))


def rows(x: Any, scale: Any) -> Any:
    return np.sin(x) * scale


@pytest.mark.parametrize("modes", ["rev", "fwd", ("fwd", "rev")])
def test_modes_have_short_names(monkeypatch: pytest.MonkeyPatch, modes: Any) -> None:
    check_grads(rows, (np.ones((2, 3)), 2.0), argnums=(0, 1), order=2, modes=modes)
    row = dataclasses.replace(TABLE["sin"], partials=lambda y, x: (1.1 * np.cos(x),))
    monkeypatch.setitem(TABLE, "sin", row)
    with pytest.raises(GradientError, match=r"disagrees(.|\n)*x\["):
        check_grads(lambda x, s: rows(2 * x, s), (np.ones((2, 3)), 2.0), modes=modes)
