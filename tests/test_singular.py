"""Right where others give NaN: both modes, both orders, evaluated and compiled."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from graphjit.ir import Graph, evaluate
from graphjit.passes.adjoint import adjoint, pullback
from graphjit.passes.tangent import tangent
from graphjit.tracing.trace import trace
from graphjit.transforms import grad, jvp
from graphjit.transforms.derive import simplified
from running import conforming, ran
from singular import CASES, Array, Case

Run = Callable[[Graph, list[Any]], Any]
NARROW = [case for case in CASES if case.narrow]
SECOND = [case for case in CASES if case.hessian is not None]
KINDS = {
    "where": "A1 A2: singular branches", "at 0": "A3 A4 A6: norms and powers", "ties": "A8",
    "prod": "A9", "softplus": "B1", "logsumexp": "B2", "sigmoid": "B3", "tanh": "B3",
    "expm1": "B5", "scan": "inside a loop", "cond": "inside a choice",
}  # fmt: skip


class Point:
    """A case traced and simplified, as ``grad`` and ``jvp`` do it."""

    def __init__(self, case: Case, dtype: Any = float, run: Run | None = None) -> None:
        self.args = [a.astype(dtype) for a in case.args]
        traced = trace(case.function, tuple(self.args))
        self.graph, self.captured = simplified(traced.graph), list(traced.captured)
        self.count = len(self.args)
        self.run = run or (lambda graph, values: evaluate(graph, *values))

    def basis(self) -> Iterator[list[Array]]:
        """A direction along each element of the arguments."""
        for i, argument in enumerate(self.args):
            for j in range(argument.size):
                direction = [np.zeros_like(a) for a in self.args]
                direction[i].flat[j] = 1
                yield direction

    def flat(self, arrays: Any) -> Array:
        return np.concatenate([np.ravel(a) for a in arrays])

    def reverse(self) -> Array:
        graph = adjoint(self.graph, range(self.count))
        return self.flat(self.run(graph, [*self.args, *self.captured])[1:])

    def forward(self) -> Array:
        graph = tangent(self.graph, range(self.count))
        given = [*self.args, *self.captured]
        return np.array([self.run(graph, [*given, *move])[1] for move in self.basis()])

    def hessian(self, first: Any, second: Any) -> Array:
        """One mode over another; ``pullback`` twice is reverse over reverse."""
        wrt = range(self.count)
        inner = first(self.graph, wrt)
        given = [*self.args, *self.captured]
        gradient = Graph(inner.nodes, inner.inputs, inner.outputs[1:])
        if first is adjoint:
            outer = second(gradient, wrt)
            moves = self.basis()
            rows = [self.run(outer, [*given, *move])[self.count :] for move in moves]
            return np.array([self.flat(row) for row in rows])
        if second is pullback:
            second = adjoint
        outer = second(gradient, wrt)
        if second is adjoint:
            rows = [self.run(outer, [*given, *move])[1:] for move in self.basis()]
            return np.array([self.flat(row) for row in rows])
        every = list(self.basis())
        return np.array([[self.run(outer, [*given, *a, *b])[1] for b in every] for a in every])


def agree(found: Array, expected: Array, tolerance: float = 1e-12) -> None:
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_gradient_is_right_in_both_modes(case: Case) -> None:
    point = Point(case)
    agree(point.reverse(), case.gradient)
    agree(point.forward(), case.gradient)


@pytest.mark.parametrize("case", SECOND, ids=str)
@pytest.mark.parametrize("modes", ["forward over reverse", "reverse over forward",
                                   "reverse over reverse", "forward over forward"])  # fmt: skip
def test_the_second_derivative_is_right_however_the_modes_are_nested(
    case: Case, modes: str
) -> None:
    second, first = modes.split(" over ")
    known = {"forward": tangent, "reverse": adjoint}
    found = Point(case).hessian(known[first], tangent if second == "forward" else pullback)
    expected = case.hessian
    assert expected is not None
    exists = ~np.isnan(expected)  # NaN stands for an element that does not exist
    agree(found[exists], expected[exists])


@pytest.mark.parametrize("case", NARROW, ids=str)
def test_float32_stays_float32_and_is_as_right(case: Case) -> None:
    point = Point(case, np.float32)
    for found in (point.reverse(), point.forward()):
        assert found.dtype == np.float32
        agree(found, case.gradient, 1e-5)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_generated_text_gives_the_same(case: Case) -> None:
    point = Point(case, run=ran)
    agree(point.reverse(), case.gradient)
    agree(point.forward(), case.gradient)


SOME = [CASES[start::14] for start in range(0, 14, 7)]  # compiling all takes a minute


def together(group: list[Case]) -> tuple[Callable[..., Any], list[Any]]:
    """One function of all arguments that returns what every case gives."""
    counts = [len(case.args) for case in group]
    starts = np.cumsum([0, *counts[:-1]])

    def function(*args: Any) -> list[Any]:
        pairs = zip(group, starts, counts, strict=True)
        return [case.function(*args[i : i + n]) for case, i, n in pairs]

    return function, conforming([a for case in group for a in case.args])


def test_compiled_reverse_mode() -> None:
    group = SOME[0]
    function, args = together(group)
    places = tuple(range(len(args)))
    gradients = grad(lambda *args: sum(function(*args)), places)(*args)
    agree(
        np.concatenate([np.ravel(g) for g in gradients]),
        np.concatenate([case.gradient for case in group]),
    )


def test_compiled_forward_mode() -> None:
    group = SOME[1]
    function, args = together(group)
    for k in range(max(len(case.gradient) for case in group)):
        moved = []
        for case in group:
            move = np.zeros(len(case.gradient))
            move[k % len(move)] = 1
            cuts = np.cumsum([a.size for a in case.args])[:-1]
            moved += [
                np.reshape(part, a.shape)
                for part, a in zip(np.split(move, cuts), case.args, strict=True)
            ]
        _, tangents = jvp(function, tuple(args), tuple(conforming(moved)))
        expected = [case.gradient[k % len(case.gradient)] for case in group]
        agree(np.array(tangents), np.array(expected))


@pytest.mark.parametrize("word", KINDS)
def test_no_kind_of_point_is_left_out(word: str) -> None:
    assert sum(word in case.name for case in CASES) >= 1, KINDS[word]


def test_python_floats_at_zero() -> None:
    assert grad(lambda x: x * x**0.5)(0.0) == 0
    assert grad(lambda x: x**-1 * x * x)(2.0) == pytest.approx(1)
    assert np.isnan(grad(np.log)(-1.0))


def test_a_nan_that_is_legitimate_stays_in_the_value() -> None:
    value, slopes = jvp(lambda x: np.sum(np.log(x)), (np.array([-1.0, 1.0]),), (np.ones(2),))
    assert np.isnan(value)
    assert np.isnan(slopes)
