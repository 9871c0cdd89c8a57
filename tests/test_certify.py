"""certify: the zoo agrees to a few ULPs, and a wrong rule is caught and named."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphjit
from graphjit import certify
from graphjit.certificate import Certificate
from graphjit.certificate.numbers import Complex, NoContinuationError, Precise, run
from graphjit.errors import DTypeError, GradientError
from graphjit.flags import override
from graphjit.ir import TABLE, evaluate
from graphjit.passes.adjoint import adjoint
from samples import SAMPLES, Sample
from samples import trace as traced
from zoo import ZOO, Animal

mpmath = pytest.importorskip("mpmath")
X = np.random.default_rng(5).normal(size=(2, 3))
SMOOTH = [  # of each row one sample with a few elements, if it has a derivative
    next(s for s in SAMPLES if s.op == op and np.prod(s.shapes[0]) > 1)
    for op in dict.fromkeys(s.op for s in SAMPLES if s.shapes)
    if TABLE[op].partials or TABLE[op].transpose or TABLE[op].vjp
]


@pytest.fixture(autouse=True)
def generated_text_as_plain_python() -> Iterator[None]:
    """The programs are small: compiling them would take most of the time."""
    with override(jit=False):
        yield


def found(certificate: Certificate, method: str) -> Any:
    """What a method found on the first argument."""
    return next(c for c in certificate.comparisons if c.method == method)


@pytest.mark.parametrize("animal", ZOO, ids=lambda animal: animal.name)
def test_the_zoo_agrees_to_a_few_ulps(animal: Animal) -> None:
    certificate = certify(animal.function, animal.args(), entries=3)
    assert certificate.passed, certificate
    certificate.check()
    for comparison in certificate.comparisons:
        if comparison.method in ("reverse", "forward") and comparison.agrees is not None:
            assert comparison.ulps is not None
            assert comparison.ulps <= 20, certificate
    assert found(certificate, "mpmath").agrees is not None or animal.name == "empty"


def f(params: Any, x: Any) -> Any:
    return np.sum(np.sin(params["w"] * x)) + np.cumprod(x[0])[-1] * params["b"]


PARAMS = {"w": np.ones((2, 3)), "b": 1.5}


def wrong(monkeypatch: pytest.MonkeyPatch, op: str, **columns: Any) -> None:
    monkeypatch.setitem(TABLE, op, dataclasses.replace(TABLE[op], **columns))


def test_a_wrong_rule_is_caught_and_its_entry_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def partials(y: Any, x: Any) -> Any:
        return (np.cos(x) * np.where(x > 1, 1.1, 1.0),)

    wrong(monkeypatch, "sin", partials=partials)
    w = np.zeros((2, 3))
    w[1, 2] = 2.0
    certificate = certify(f, ({"w": w, "b": 1.5}, np.ones((2, 3))), argnums=0)
    assert not certificate.passed
    for method, agrees in (
        ("reverse", False), ("forward", False), ("complex step", True), ("mpmath", True),
        ("differences", True),
    ):  # fmt: skip
        assert found(certificate, method).agrees is agrees, certificate
    assert "WRONG params['w'][1,2]: " in certificate.report
    assert certificate.report.endswith("THEY DISAGREE")
    with pytest.raises(GradientError, match=r"reverse disagrees at params\['w'\]\[1,2\]") as caught:
        certificate.check()
    assert "test_certify.py" in str(caught.value)


@pytest.mark.parametrize(("column", "mode"), [("vjp", "reverse"), ("jvp", "forward")])
def test_a_mistake_in_one_mode_is_told_from_one_in_the_other(
    column: str, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule = getattr(TABLE["recurrence"], column)

    def doubled(given: Any, *rest: Any, **params: Any) -> Any:
        result = rule(given, *rest, **params)
        return tuple(2 * r for r in result) if column == "vjp" else 2 * result

    wrong(monkeypatch, "recurrence", **{column: doubled})
    certificate = certify(f, (PARAMS, X), argnums=1)
    assert [c.method for c in certificate.comparisons if c.agrees is False] == [mode]


def test_differences_alone_do_not_rest_on_the_trace() -> None:
    def other(x: Any) -> Any:
        return np.sum(x * x) if isinstance(x, np.ndarray) else np.sum(x)

    certificate = certify(other, np.array([2.0, 3.0]))
    assert [c.method for c in certificate.comparisons if c.agrees is False] == ["differences"]


def test_the_report_and_the_file(tmp_path: Path) -> None:
    path = tmp_path / "certificate.json"
    certificate = certify(f, (PARAMS, X), path=path)
    lines = certificate.report.splitlines()
    assert lines[0].startswith("derivatives of f (")
    assert lines[1] == "reference: params by mpmath, x by mpmath"
    assert lines[-1] == "all agree"
    assert len(lines) == 3 + 2 * 5 + 1
    assert str(certificate) == certificate.report
    told = json.loads(path.read_text())
    assert told == certificate.as_dict()
    assert told["passed"] is True
    assert {(c["argument"], c["method"]) for c in told["comparisons"]} >= {
        ("params", "reverse"), ("x", "complex step"), ("x", "differences")
    }  # fmt: skip
    assert all(c["ulps"] < 30 for c in told["comparisons"] if c["method"] != "differences")


REASONS = [
    (lambda x: np.sum(np.maximum(x, 0.1)), "complex step", "maximum is not analytic (", True),
    (lambda x: np.sum(np.where(x > 0, x, 2 * x)), "complex step", "greater is not analytic", True),
    (lambda x: np.sum(abs(x)), "complex step", "absolute is not analytic", True),
    (lambda x: np.sum(x * graphjit.stop_gradient(x)), "mpmath", "stop_gradient has a deriv", True),
    (lambda x: np.sum(np.fmod(x, 2.0)), "mpmath", "mpmath has no fmod", True),
    (lambda x: np.sum(np.cosh(300 * x)), "complex step", "", True),
]


@pytest.mark.parametrize(("function", "method", "reason", "passed"), REASONS)
def test_a_method_that_does_not_apply_says_why(
    function: Any, method: str, reason: str, passed: bool
) -> None:
    certificate = certify(function, X)
    assert found(certificate, method).reason.startswith(reason)
    assert certificate.passed is passed, certificate


def test_without_mpmath_the_complex_step_is_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mpmath", None)
    certificate = certify(np.sin, 1.0)
    assert found(certificate, "mpmath").reason == "mpmath is not installed"
    assert list(certificate.reference.values()) == ["complex step"]
    assert certificate.passed


def test_what_is_too_large_for_many_digits_is_left_to_the_others() -> None:
    certificate = certify(lambda x: np.sum(np.sin(x) @ np.cos(x)), np.ones((300, 300)), entries=2)
    assert "too large" in found(certificate, "mpmath").reason
    assert certificate.passed
    assert found(certificate, "reverse").entries == 2


def test_control_flow_arrays_and_captured_values() -> None:
    table = np.linspace(1, 2, 3)

    def loops(x: Any) -> Any:
        h, hs = graphjit.scan(lambda h, v: (np.tanh(h * v + table), h), 0 * x[0], x, reverse=True)
        y = graphjit.cond(x[0, 0] > 0, np.sin, np.cos, h)
        return {"y": y, "h": hs, "n": 3}

    def halved(x: Any) -> Any:
        return graphjit.while_loop(lambda c: c > 1.0, lambda c: c * 0.5 * x[0], x[1])

    for function, x in ((loops, X), (halved, np.array([0.9, 7.0]))):
        certificate = certify(function, x)
        assert certificate.passed, certificate
        assert all(c.agrees for c in certificate.comparisons if c.method != "complex step")


def test_float32_is_measured_in_its_own_ulps() -> None:
    certificate = certify(lambda x: np.mean(np.exp(x) ** 2), X.astype(np.float32))
    assert certificate.passed, certificate
    assert certificate.dtype == "float32"
    assert 0 < found(certificate, "reverse").ulps < 10
    assert found(certificate, "complex step").ulps < 1e-6


def test_arguments_are_chosen_and_integers_left_alone() -> None:
    def g(x: Any, n: Any, kind: str, y: float) -> Any:
        return np.sum(x[n]) * y

    args = (np.ones(3), np.array([0, 0, 2]), "text", 2.0)
    assert list(certify(g, args).reference) == ["x", "y"]
    assert list(certify(g, args, argnums=-1).reference) == ["y"]
    assert certify(g, args, rtol=1e-14).passed


@pytest.mark.parametrize("sample", SMOOTH, ids=str)
def test_a_row_continued_to_other_numbers_means_the_same(sample: Sample) -> None:
    operands = sample.operands(np.float64)

    def function(*operands: Any) -> Any:
        return graphjit.ir.dispatch.emit(sample.op, *operands, **sample.params)

    graph, _ = traced(function, *operands)
    expected = evaluate(graph, *operands)[0]
    with mpmath.workdps(30):
        precise = Precise(mpmath.mp)
        try:
            (result,) = run(graph, [precise.lift(x) for x in operands], precise)
        except NoContinuationError as error:
            assert sample.op in ("fmod", "fabs", "copysign"), error.fact  # noqa: PT017
            return
        np.testing.assert_allclose(result.astype(float), expected, rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("sample", [s for s in SMOOTH if TABLE[s.op].analytic], ids=str)
def test_the_complex_step_agrees_with_the_rule_of_the_row(sample: Sample) -> None:
    operands = sample.operands(np.float64)

    def function(*operands: Any) -> Any:
        return np.sum(graphjit.ir.dispatch.emit(sample.op, *operands, **sample.params))

    graph, _ = traced(function, *operands)
    places = [i for i, x in enumerate(operands) if x.dtype.kind == "f"]
    gradients = evaluate(adjoint(graph, places), *operands)[1:]
    for gradient, place in zip(gradients, places, strict=True):
        values: list[Any] = [Complex().lift(x) for x in operands]
        values[place] = values[place].astype(complex)
        if gradient.size:
            values[place].flat[-1] += 1e-60j
            (result,) = run(graph, values, Complex())
            np.testing.assert_allclose(np.imag(result) / 1e-60, gradient.flat[-1], rtol=1e-12)


def test_there_is_nothing_to_certify() -> None:
    with pytest.raises(DTypeError, match=r"nothing to differentiate(.|\n)*arguments: ndarray, int"):
        certify(lambda x, n: x * n, (np.arange(3), 2))
    with pytest.raises(DTypeError, match="returns no floats to differentiate, but bool"):
        certify(lambda x: x > 0, (np.ones(3),))
