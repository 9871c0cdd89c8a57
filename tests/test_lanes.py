"""How many turns a loop takes at once, and that what is left over is right too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.special import erf, expit

from graphjit.codegen.llvm_chain import LARGE, Form, chain, waits, widened
from graphjit.codegen.llvm_loops import Inner, Shape, innermost, itemsize, shape_of
from graphjit.codegen.loops import Address, Buffer, For, Let, Load, Statement, Value
from graphjit.codegen.native import host
from graphjit.flags import override
from graphjit.ir import evaluate
from graphjit.passes.adjoint import adjoint
from graphjit.tracing.trace import trace
from graphjit.tuning import override as tuned
from graphjit.tuning import tuning
from running import built, conforming

Array = np.ndarray[Any, Any]
F32, F64, I32, I64 = (np.dtype(d) for d in ("f4", "f8", "i4", "i8"))


def values(dtype: Any, *ops: str) -> list[Inner]:
    """Operations of a dtype, each on the result before."""
    names = [Value(f"{dtype}{i}", np.dtype(dtype)) for i in range(len(ops) + 1)]
    return [Let(b, op, (a,)) for a, b, op in zip(names, names[1:], ops, strict=False)]


def load(dtype: Any) -> Load:
    return Load(Value("loaded", dtype), Address(Buffer("x", 8, dtype, "input", (8,)), 0))


@pytest.mark.parametrize(
    ("body", "size"),
    [
        (values(F32, "negative", "sqrt") + values(F64, "negative"), 4),
        (values(F32, "negative", "exp") + values(F64, *["negative"] * 9), 4),
        ([*values(F64, "negative", "sqrt"), load(F32)], 8),
        (values(F32, *["negative"] * 9) + values(F64, "exp"), 8),
        (values(F32, "negative") + values(F64, "negative"), 4),
        (values(F32, "negative") + values(I64, *["negative"] * 9), 4),
        (values(I32, "negative", "negative") + values(I64, "negative"), 8),
    ],
    ids=["f32", "f32 function", "f64", "f64 function", "even", "with integers", "integers"],
)
def test_a_register_holds_the_float_that_most_is_computed_in(body: list[Inner], size: int) -> None:
    assert itemsize(body) == size


FORMS = pytest.mark.parametrize("form", [(False, False), (True, False), (True, True)])


@FORMS
def test_a_function_counts_with_all_of_its_operations(form: Form) -> None:
    one, two = chain(values(F64, "exp"), form), chain(values(F64, "exp", "exp"), form)
    assert two == (2 * one.operations, 2 * one.steps)
    assert one.operations > 10 < one.steps
    assert chain(values(F64, "divide"), form).steps > chain(values(F64, "add"), form).steps == 1


@FORMS
def test_a_long_chain_waits_and_a_short_or_a_broad_one_does_not(form: Form) -> None:
    many = ["exp", "sin", "tanh", "log"] * 2
    assert waits(values(F64, *many), 100, 0.15, form)
    assert not waits(values(F64, *many), 100, 1.0, form)
    assert not waits(values(F64, "exp"), 100, 0.15, form)
    same = [Let(Value(op, F64), op, (Value("x", F64),)) for op in many]
    assert not waits(same, 100, 0.15, form)


# -- whole programs --------------------------------------------------------------------------------


def deep(x: Array, y: Array) -> Any:
    """Each function of the one before, and a division."""
    inside: Any = np.sin(np.exp(-np.tanh(np.sin(x) / (2 + y * y))))
    return np.mean(np.log(1 + inside * inside) * erf(inside))


def broad(x: Array, y: Array) -> Any:
    """More functions than are written out in one loop, none of another."""
    return np.sum(np.sin(x) * np.exp(y) * np.tanh(x) * np.cos(y) * np.log1p(x * x) * np.sinh(y))


def narrow(x: Array, y: Array) -> Any:
    """Single precision, but for its sums."""
    return np.mean(expit(x) * y) + np.sum(np.maximum(x, y)) / 64


def mixed(x: Array, y: Array) -> Any:
    """Both precisions about evenly."""
    wide: Any = (x * y).astype(np.float64)
    return np.sum(np.sqrt(wide * wide + 1.0) * x)


def kernels(statements: list[Statement]) -> list[For]:
    """The innermost loops."""
    loops = [s for s in statements if isinstance(s, For)]
    inner = [s for loop in loops for s in kernels(loop.body)]
    return inner + [s for s in loops if innermost(s) is not None]


def shapes(function: Callable[..., Any], count: int, dtype: Any) -> list[Shape]:
    """How the loops of a gradient run with vectors of 64 bytes."""
    x = np.ones(count, dtype)
    graph = adjoint(trace(function, (x, x)).graph, range(2))
    with override(jit=False):
        program = built(graph).loops
    found = []
    for kernel in program.kernels:
        for loop in kernels(kernel.statements):
            body = innermost(loop)
            assert body is not None
            changed = {s.value.name for s in body if isinstance(s, Let) and s.value in s.operands}
            shape = shape_of(body, loop, changed, program.aliases, 64)
            found.append(widened(shape, body, loop.extent, 64, (True, True)))
    return found


@pytest.mark.parametrize(
    ("function", "count", "dtype", "lanes"),
    [
        (deep, 256, F64, 16), (deep, 249, F64, 16), (deep, 248, F64, 8), (deep, 14, F64, 16),
        (deep, 8, F64, 8), (deep, 512, F32, 32), (deep, LARGE, F64, 32), (broad, LARGE, F32, 64),
        (broad, 256, F64, 16), (narrow, 300, F32, 16),
        (narrow, 300, F64, 8), (mixed, 300, F32, 8),
    ],
)  # fmt: skip
def test_lanes_of_gradients(
    function: Callable[..., Any], count: int, dtype: Any, lanes: int
) -> None:
    table = tuning(64)._replace(vectors=4, long=100, unrolled=4)
    with tuned(table):
        assert max(s.lanes * s.vectors for s in shapes(function, count, dtype)) == lanes


@pytest.mark.parametrize("dtype", [F64, F32], ids=str)
@pytest.mark.parametrize("function", [deep, broad, narrow, mixed])
@pytest.mark.parametrize("vectors", [1, 4])
def test_gradients_of_every_length(function: Callable[..., Any], dtype: Any, vectors: int) -> None:
    """Whole vectors, several at a time, and all that can be left over."""
    lanes = 2 * host().vector_bytes // dtype.itemsize
    rng = np.random.default_rng(lanes)
    some = 16 * lanes + np.array([-1, 0, 1, lanes // 2, lanes - 1, lanes + 1])
    many = LARGE + np.array([0, lanes + 1])
    for count in (*range(1, 20), *some, *many):
        x, y = (rng.uniform(-2, 2, count).astype(dtype) for _ in range(2))
        graph = adjoint(trace(function, (x, y)).graph, range(2))
        with tuned(tuning(host().vector_bytes)._replace(vectors=vectors)), override(tier="best"):
            found = built(graph, jit="llvm")(*conforming([x, y]))
        limit = 100 * np.finfo(dtype).eps
        for expected, result in zip(evaluate(graph, x, y), found, strict=True):
            np.testing.assert_allclose(result, expected, limit, limit)


@pytest.mark.parametrize("dtype", [F64, F32], ids=str)
@pytest.mark.parametrize("function", [deep, broad, narrow])
@pytest.mark.parametrize("count", [300, LARGE + 17])
def test_the_first_code_sums_in_the_same_order(
    function: Callable[..., Any], dtype: Any, count: int
) -> None:
    """It takes one vector after the other, and no bit changes when better code is there."""
    rng = np.random.default_rng(count)
    x, y = (rng.uniform(-2, 2, count).astype(dtype) for _ in range(2))
    graph = adjoint(trace(function, (x, y)).graph, range(2))
    table = tuning(host().vector_bytes)._replace(vectors=4, long=24)
    with tuned(table), override(cache="off", tier="auto"):
        program = built(graph, jit="llvm")
        first = program(*conforming([x, y]))
        assert program.improvement is not None
        program.improvement.wait()
    for early, late in zip(first, program(*conforming([x, y])), strict=True):
        np.testing.assert_array_equal(early, late)
