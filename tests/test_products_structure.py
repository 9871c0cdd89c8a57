"""Products with matrices of a known structure: what they become, their values and gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from graphjit import grad, jacfwd, jacobian, jacrev
from graphjit.ir import evaluate
from graphjit.passes.contractions import contractions
from products import ops, simple, traced
from running import WAYS, Way, built, conforming

N, K, D = 20, 18, 5
seed = np.random.default_rng(0)
F = np.dtype(float)
I = np.dtype(np.int64)  # noqa: E741 - as in IR text


def one_hot(y: Any, size: int, dtype: Any = float) -> Any:
    return (y[:, None] == np.arange(size)).astype(dtype)


def special(*shape: int) -> Any:
    """Numbers, with all that is not finite in some columns, and zeros of both signs."""
    x = seed.standard_normal(shape)
    columns = x.reshape(-1, shape[-1])
    columns[3, 0], columns[:2, 1], columns[7, 2] = np.inf, (np.nan, -np.inf), np.nan
    columns[4, 3], columns[5, 3], columns[0, 4] = 0.0, -0.0, np.inf
    return x


FORMS: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
    "diag @ X": (lambda v, x: np.diag(v) @ x, (np.zeros(N), np.zeros((N, D)))),
    "X.T @ diag": (lambda v, x: x.T @ np.diag(v), (np.zeros(N), np.zeros((N, D)))),
    "X.T @ diag @ X": (lambda v, x: x.T @ np.diag(v) @ x, (np.zeros(N), np.zeros((N, D)))),
    "one-hot @ W": (lambda y, w: one_hot(y, K) @ w, (np.zeros(N, int), np.zeros((K, D)))),
    "W.T @ one-hot.T": (lambda y, w: w.T @ one_hot(y, K).T, (np.zeros(N, int), np.zeros((K, D)))),
    "batched": (
        lambda y, w: np.einsum("nk,bkd->bdn", one_hot(y, K), w),
        (np.zeros(N, int), np.zeros((2, K, D))),
    ),
}  # fmt: skip
forms = pytest.mark.parametrize("name", FORMS)


def filled(args: tuple[Any, ...], make: Callable[..., Any]) -> list[Any]:
    return [
        seed.integers(-3, K + 3, x.shape) if x.dtype == I else make(*x.shape) if x.ndim > 1
        else seed.standard_normal(x.shape) for x in args
    ]  # fmt: skip


@forms
def test_selections_sum_nothing(name: str) -> None:
    f, args = FORMS[name]
    graph = simple(traced(f, *args))
    inner = [n.aval.shape for n in graph.nodes if n.op == "contract"]
    assert inner == ([(D, D)] if name == "X.T @ diag @ X" else [])
    assert not ops(graph) & {"scatter_add"}


@forms
@pytest.mark.parametrize("make", [seed.standard_normal, special], ids=["finite", "special"])
def test_selections_give_what_numpy_gives(name: str, make: Callable[..., Any]) -> None:
    f, args = FORMS[name]
    graph = traced(f, *args)
    make = (lambda *s: seed.standard_normal(s)) if make is not special else special
    for _ in range(5):
        values = filled(args, make)
        with np.errstate(invalid="ignore"):
            (wanted,), (found,) = evaluate(graph, *values), evaluate(simple(graph), *values)
        if name == "X.T @ diag @ X":  # what is summed is rounded as before
            np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-12)
        else:
            np.testing.assert_array_equal(found, wanted)
            zero = wanted == 0
            np.testing.assert_array_equal(np.signbit(found[zero]), np.signbit(wanted[zero]))


@forms
@WAYS
def test_selections_compiled(name: str, jit: Way) -> None:
    f, args = FORMS[name]
    graph = traced(f, *args)
    values = filled(args, special)
    with np.errstate(invalid="ignore"):
        (wanted,), (found,) = evaluate(graph, *values), built(graph, jit=jit)(*conforming(values))
    np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-12)


def test_in_a_backward_pass_zeros_win() -> None:
    f, args = FORMS["diag @ X"]
    v, x = filled(args, special)
    graph = simple(traced(f, *args, adjoint=True))
    assert not ops(graph) & {"contract", "isfinite"}
    np.testing.assert_array_equal(evaluate(graph, v, x)[0], v[:, None] * x)


@pytest.mark.parametrize("inside", [False, True], ids=["any index", "checked"])
def test_the_transpose_of_one_hot_rows_scatters_backward(inside: bool) -> None:
    def f(y: Any, g: Any) -> Any:
        place = np.argmax(np.reshape(y, (N, 1)) + np.zeros(K), axis=1) if inside else y
        return one_hot(place, K).T @ g

    y, g = seed.integers(-3, K + 3, N), seed.standard_normal((N, D))
    for adjoint in (False, True):
        graph = traced(f, y, g, adjoint=adjoint)
        assert ("scatter_add" in ops(simple(graph))) is adjoint
        wanted = evaluate(graph, y, g)[0]
        np.testing.assert_allclose(evaluate(simple(graph), y, g)[0], wanted, atol=1e-13)


def test_what_only_looks_like_a_selection_is_left_alone() -> None:
    x, y, m = np.zeros((N, D)), np.zeros(N, int), np.zeros((N, N))

    def kept(f: Callable[..., Any], *args: Any) -> bool:
        return "contract" in ops(simple(traced(f, *args)))

    assert kept(lambda y, x: one_hot(y, N).T @ x, y, x)  # forward: a sum of rows
    assert kept(lambda m, x: np.where(m == np.arange(N), 1.0, 0.0) @ x, m, x)
    assert kept(lambda y, x: np.where(y[:, None] == np.arange(N), 1.0, 2.0) @ x, y, x)
    assert kept(lambda y, x: np.where(y[:, None] == np.arange(N), 1.0, -0.0) @ x, y, x)
    assert kept(lambda y, m, x: np.where(y[:, None] == np.arange(N), m, 0.0) @ x, y, m, x)
    assert kept(lambda y, x: (y[:, None] == 2 * np.arange(N)).astype(float) @ x, y, x)
    assert kept(lambda y, x: (y[:, None] > np.arange(N)).astype(float) @ x, y, x)


@forms
def test_gradients_of_selections(name: str) -> None:
    f, args = FORMS[name]
    values = filled(args, lambda *s: seed.standard_normal(s))
    weights = seed.standard_normal(np.shape(f(*values)))
    moving = tuple(i for i, x in enumerate(args) if x.dtype == F)
    found = grad(lambda *a: np.sum(weights * f(*a)), argnums=moving)(*values)
    for place, slope in zip(moving, found, strict=True):
        direction = seed.standard_normal(args[place].shape)

        def along(t: float, place: int = place, direction: Any = direction) -> Any:
            moved = [v + t * direction if i == place else v for i, v in enumerate(values)]
            return np.sum(weights * f(*moved))

        difference = (along(1e-5) - along(-1e-5)) / 2e-5
        np.testing.assert_allclose(np.sum(slope * direction), difference, rtol=1e-6, atol=1e-8)


def test_jacobians_multiply_by_no_identity() -> None:
    w, x = seed.standard_normal((6, 7)), seed.standard_normal(7)

    def f(x: Any, w: Any) -> Any:
        return np.tanh(w @ x)

    wanted = (1 - np.tanh(w @ x) ** 2)[:, None] * w
    for jac in (jacobian, jacfwd, jacrev):
        made = jac(f)
        np.testing.assert_allclose(made(x, w), wanted, rtol=1e-12, atol=1e-14)
        graph = made.graph(x, w, stage="fused")
        assert [n.aval.shape for n in graph.nodes if n.op == "contract"] == [(6,)]
        assert "transpose" not in ops(graph)
    w[2, 3] = np.inf
    assert np.isnan(jacfwd(f)(x, w)[2]).any()
    assert np.isfinite(np.delete(jacfwd(f)(x, w), 2, axis=0)).all()


# -- the layout of operands -----------------------------------------------------------------------


def test_maps_of_transposes_are_computed_as_they_are_stored() -> None:
    x, y, v = seed.standard_normal((4, 6)), seed.standard_normal((4, 6)), seed.standard_normal(4)
    cases: list[tuple[Callable[..., Any], bool]] = [
        (lambda x, y, v: (x.T * v - y.T).T, False),
        (lambda x, y, v: np.where(x.T > 0, x.T, v).T, True),
        (lambda x, y, v: (x.T * 2.0) @ (v[:, None] / y), False),
        (lambda x, y, v: (x.T + y.reshape(6, 4)).T, True),
        (lambda x, y, v: np.exp(x.T).T, True),
    ]
    for f, stays in cases:
        graph = traced(f, x, y, v)
        simpler = simple(graph)
        assert ("transpose" in ops(simpler)) is stays
        for found, wanted in zip(evaluate(simpler, x, y, v), evaluate(graph, x, y, v), strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-14)
    cube = seed.standard_normal((2, 3, 4))
    line = seed.standard_normal((2, 4))

    def turned(c: Any, u: Any) -> Any:
        moved = np.transpose(c, (2, 0, 1)) * u.T[:, :, None]
        return np.transpose(moved, (1, 2, 0))

    graph = traced(turned, cube, line)
    assert not any(n.aval.shape == (4, 2, 3) for n in simple(graph).nodes)
    np.testing.assert_array_equal(evaluate(simple(graph), cube, line)[0], cube * line[:, None, :])
    other = traced(lambda c, u: np.transpose(turned(c, u), (1, 0, 2)) * np.transpose(
        np.transpose(c, (2, 0, 1)) * u.T[:, :, None], (2, 1, 0)), cube, line)  # fmt: skip
    np.testing.assert_array_equal(
        evaluate(simple(other), cube, line)[0],
        np.transpose(cube * line[:, None, :], (1, 0, 2)) ** 2,
    )


def test_a_transposed_product_is_written_in_order() -> None:
    a, b = np.ones((3, 4)), np.ones((4, 5))
    once = contractions(simple(traced(lambda a, b: (a @ b).T * 2.0, a, b)))
    assert "transpose" not in ops(once)
    assert [n.params["spec"] for n in once.nodes if n.op == "contract"] == ["ij,jk->ki"]
    cube = np.ones((2, 3, 4))

    def turned(c: Any, b: Any) -> Any:
        return np.transpose(np.einsum("zij,jk->zik", c, b), (1, 2, 0)) * 2.0

    (kept,) = (n for n in contractions(simple(traced(turned, cube, b))).nodes if n.op == "contract")
    assert kept.params["spec"] == "zij,jk->zik"  # a matrix for each z; not a line for each i and k
    twice = contractions(simple(traced(lambda a, b: np.exp(a @ b) + np.exp((a @ b).T).T, a, b)))
    assert sum(n.op == "contract" for n in twice.nodes) == 1
