"""Sums of products: the factors are added up first, whatever stands around the product."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import graphjit
from graphjit.ir import Graph, evaluate
from graphjit.ir.verify import verify
from graphjit.passes.simplify import simplify
from graphjit.passes.sums import TERMS
from graphjit.tracing import trace as tracing
from running import COMPILED, ran

Function = Callable[..., Any]
L, U, Q = (3, 5, 4), (6, 3, 5), (3, 4)  # matrices, their vectors, and what is added
FORMS: dict[str, Function] = {
    "all rows": lambda a, u, q: np.sum(np.einsum("kij,nki->nkj", a, u), axis=0),
    "rows and columns": lambda a, u, q: np.sum(np.einsum("kij,nki->nkj", a, u), axis=(0, 2)),
    "everything free": lambda a, u, q: np.sum(np.einsum("ij,ni->nj", a[0], u[:, 0])),
    "negative": lambda a, u, q: np.sum(-np.einsum("kij,nki->nkj", a, u), axis=0),
    "first of a difference": lambda a, u, q: np.sum(np.einsum("kij,nki->nkj", a, u) - q, axis=0),
    "last of a difference": lambda a, u, q: np.sum(q - np.einsum("kij,nki->nkj", a, u), axis=0),
    "a difference within": lambda a, u, q: np.sum(
        q - (np.sin(q) - np.einsum("kij,nki->nkj", a, u)), axis=0
    ),
    "with a repeated factor": lambda a, u, q: np.sum(
        np.einsum("kij,nki->nkj", a, u) + q * np.cos(u[:, :, :4]), axis=0
    ),
    "with a factor that is not": lambda a, u, q: np.sum(
        np.einsum("kij,nki->nkj", a, u) + q * np.cos(u[:, :, :4]), axis=1
    ),
    "with a factor of each row": lambda a, u, q: np.sum(
        np.einsum("kij,nki->nkj", a, u) + u[:, :1, :1] * np.cos(u[:, :, :4]), axis=0
    ),
    "a factor of fewer axes": lambda a, u, q: np.sum(
        np.einsum("kij,nki->nkj", a, u) + q[0] * np.cos(u[:, :, :4]), axis=0
    ),
}
KEPT: dict[str, Function] = {
    "what both have": lambda a, u, q: np.sum(np.einsum("kij,nki->nkj", a, u), axis=1),
    "other maps": lambda a, u, q: np.sum(np.tanh(np.einsum("kij,nki->nkj", a, u)), axis=0),
    "a product of products": lambda a, u, q: np.sum(
        np.einsum("nkj,kj->nk", np.einsum("kij,nki->nkj", a, u), q), axis=0
    ),
}


def given() -> list[Any]:
    random = np.random.default_rng(3)
    return [random.standard_normal(shape) for shape in (L, U, Q)]


def traced(function: Function, *args: Any) -> Graph:
    return tracing.trace(function, args or tuple(given())).graph


def graph_of(function: Function, *args: Any) -> Graph:
    """The graph as a part of a backward pass."""
    graph = traced(function, *args)
    nodes = [
        replace(node, origin=replace(node.origin, adjoint=True)) if node.origin else node
        for node in graph.nodes
    ]
    return replace(graph, nodes=tuple(nodes))


def largest(graph: Graph) -> int:
    """Elements of the largest product."""
    return max(node.aval.size for node in graph.nodes if node.op == "contract")


@pytest.mark.parametrize("name", FORMS)
def test_no_product_of_matrices_is_left(name: str) -> None:
    before = graph_of(FORMS[name])
    after = verify(simplify(before))
    (found,), (expected,) = (evaluate(graph, *given()) for graph in (after, before))
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    if name != "with a factor that is not":
        assert largest(after) < largest(before)
        assert largest(after) <= 12
    assert str(simplify(after)) == str(after)


@pytest.mark.parametrize("name", KEPT)
def test_others_are_kept(name: str) -> None:
    before = graph_of(KEPT[name])
    assert largest(simplify(before)) == largest(before)


@pytest.mark.parametrize("name", FORMS)
def test_a_sum_that_somebody_wrote_keeps_its_order(name: str) -> None:
    before = traced(FORMS[name])
    assert largest(simplify(before)) == largest(before)


def test_terms_that_cancel_within_rows() -> None:
    rows, ones = np.array([[1e20, -1e20], [1.0, 3.0]]), np.ones(2)
    assert graphjit.jit(lambda a: np.sum(a @ ones))(rows) == 4
    large, small = np.array([[1e308, 1.0], [1e308, 2.0]]), np.array([1e-300, 1.0])
    assert graphjit.jit(lambda a, w: np.sum(a @ w))(large, small) == np.sum(large @ small)


@COMPILED
@pytest.mark.parametrize("name", FORMS)
def test_compiled_programs_agree(name: str, jit: str) -> None:
    graph = graph_of(FORMS[name])
    (got,) = ran(graph, given(), jit=jit)
    np.testing.assert_allclose(got, evaluate(graph, *given())[0], rtol=1e-12)


def test_the_sum_of_nothing_is_zero() -> None:
    args = np.full((2, 3), np.inf), np.zeros((0, 2))
    graph = simplify(graph_of(lambda a, u: np.sum(u @ a, axis=0), *args))
    np.testing.assert_array_equal(evaluate(graph, *args)[0], 0)


def test_long_chains_are_left_as_they_are() -> None:
    def layers(w: Any, x: Any) -> Any:
        for _ in range(2000):
            x = x @ w
        return np.sum(x, axis=0)

    def terms(w: Any, x: Any) -> Any:
        total = x @ w
        for _ in range(2000):
            total = w[0] * (total + np.sin(x) @ w)
        return np.sum(total, axis=0)

    def many(w: Any, x: Any) -> Any:
        return np.sum(sum((np.sin(i * x) @ w for i in range(2 * TERMS)), x), axis=0)

    args = np.eye(2), np.ones((3, 2))
    for function in (layers, terms, many):
        graph = graph_of(function, *args)
        np.testing.assert_allclose(
            evaluate(simplify(graph), *args)[0], evaluate(graph, *args)[0], rtol=1e-9
        )
