"""Whole programs: what they compute, and what they promise about arrays, threads and errors."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import pytest

from graphjit.codegen import objects
from graphjit.errors import CompileError, IndexRangeError
from graphjit.ir import Aval, Builder, Graph, Origin, Symbol, aval_of, evaluate
from graphjit.passes.adjoint import adjoint
from graphjit.passes.compare import agree, outcome, room
from random_graphs import random_arguments, random_graph
from running import COMPILED, WAYS, Way, built, conforming, ran
from zoo import ZOO, Animal, trace

animals = pytest.mark.parametrize("animal", ZOO, ids=lambda animal: animal.name)
EXACT, SINGLE = 1e-11, 2e-5
VECTOR = aval_of(np.zeros(4))


def differentiated(animal: Animal) -> tuple[Graph, list[Any]]:
    """The value and the gradient with respect to every float input."""
    graph, values = animal.trace()
    floats = [i for i, ident in enumerate(graph.inputs) if graph.nodes[ident].aval.inexact]
    return adjoint(graph, floats), values


def joined(parts: Sequence[tuple[Graph, list[Any]]]) -> tuple[Graph, list[Any]]:
    """One graph that does what several do, so that they compile at once."""
    builder, values, outputs = Builder(), [], []
    for graph, own in parts:
        inputs = [builder.input(graph.nodes[i].aval) for i in graph.inputs]
        place = builder.inline(graph, inputs)
        outputs += [place[i] for i in graph.outputs]
        values += own
    return builder.graph(outputs), values


def precision(graph: Graph) -> float:
    """What may be lost where the graph computes in float32."""
    return SINGLE if any(node.aval.dtype == np.float32 for node in graph.nodes) else EXACT


def assert_same(
    expected: Iterable[Any], found: Iterable[Any], name: str, rtol: float = EXACT
) -> None:
    for old, new in zip(expected, found, strict=True):
        assert aval_of(old) == aval_of(new), name
        scale = np.abs(old).max(initial=0)
        np.testing.assert_allclose(new, old, rtol=rtol, atol=rtol * scale, err_msg=name)


# -- the zoo -------------------------------------------------------------------------------------


# Compiling what is slow to compile shows nothing that the others do not.
QUICK = [animal for animal in ZOO if animal.name not in {"recurrent", "einsums"}]


@pytest.mark.parametrize(
    ("animal", "jit"),
    [
        *((animal, False) for animal in ZOO),
        *((animal, "llvm") for animal in ZOO),
        *((animal, "numba") for animal in QUICK),
    ],
    ids=lambda x: x.name if isinstance(x, Animal) else x or "python",
)
def test_the_program_of_a_gradient_is_the_gradient(animal: Animal, jit: Way) -> None:
    graph, values = differentiated(animal)
    found = ran(graph, values, jit=jit)
    assert_same(evaluate(graph, *values), found, animal.name, precision(graph))
    value = np.asarray(animal.function(*animal.args()), found[0].dtype)
    assert_same([value], found[:1], animal.name, precision(graph))


# -- random graphs ---------------------------------------------------------------------------------


@pytest.mark.parametrize("block", range(20))
def test_random_graphs(block: int) -> None:
    for seed in range(12 * block, 12 * block + 12):
        graph = random_graph(seed, 10 + seed % 50)
        check_random(graph, random_arguments(graph, seed), seed)


def check_random(graph: Graph, values: list[Any], seed: int) -> None:
    expected = outcome(graph, values)
    assert not isinstance(expected, str), (seed, expected)
    for jit in (False, "llvm"):
        for old, new in zip(expected, ran(graph, values, jit=jit), strict=True):
            assert agree(old, np.asarray(new), room(graph)), (seed, jit, old, new)


@pytest.mark.parametrize("block", range(10))
def test_gradients_of_random_graphs(block: int) -> None:
    for seed in range(1000 + 4 * block, 1004 + 4 * block):
        graph = random_graph(seed, 30, smooth=True)
        wrt = [i for i, ident in enumerate(graph.inputs) if graph.nodes[ident].aval.inexact]
        check_random(adjoint(graph, wrt), random_arguments(graph, seed), seed)


@pytest.mark.parametrize("block", range(3))
def test_random_graphs_through_numba(block: int) -> None:
    parts = []
    for seed in range(2000 + 6 * block, 2006 + 6 * block):
        graph = random_graph(seed, 25)
        parts.append((graph, random_arguments(graph, seed)))
    graph, values = joined(parts)
    for old, new in zip(evaluate(graph, *values), ran(graph, values, jit="numba"), strict=True):
        assert agree(old, np.asarray(new), room(graph)), block


# -- indices -------------------------------------------------------------------------------------


def picking(size: int) -> Graph:
    """Sums of the table's rows at an index that is an input."""
    builder = Builder()
    table = builder.input(Aval((size, 2), np.dtype(float)))
    index = builder.input(Aval((3,), np.dtype(np.int64)))
    place = builder.emit("wrap_index", index, size=size, origin=Origin("lookup.py", 17))
    picked = builder.emit("gather", table, place, axes=(0,))
    total = builder.emit("sum", builder.emit("exp", picked), axes=(0, 1))
    return adjoint(builder.graph([total]), [0])


@WAYS
def test_an_index_out_of_range_is_an_error_with_the_users_line(jit: Way) -> None:
    program, table = built(picking(5), jit=jit), np.arange(10.0).reshape(5, 2)
    good = np.array([0, -5, 4])
    before = program(table, good)
    for bad in ([5, 0, 0], [0, 0, -6], [0, 2**62, 0], [0, -(2**63), 0]):
        with pytest.raises(IndexRangeError, match="out of bounds for an axis of size 5") as caught:
            program(table, np.array(bad))
        assert "lookup.py:17" in str(caught.value)
        assert "-5 to 4" in str(caught.value)
        assert isinstance(caught.value, IndexError)
    for old, new in zip(before, program(table, good), strict=True):
        np.testing.assert_array_equal(old, new)


@WAYS
def test_an_empty_table_has_no_valid_index(jit: Way) -> None:
    with pytest.raises(IndexRangeError, match="axis of size 0") as caught:
        built(picking(0), jit=jit)(np.zeros((0, 2)), np.array([0, 0, 0]))
    assert "lookup.py:17" in str(caught.value)


def test_no_index_into_an_empty_axis_is_no_element() -> None:
    empty, none = np.zeros((0, 3)), np.zeros(0, np.int64)
    for function in (lambda t, i: (t[i],), lambda t, i: (t.T[:, i].T,)):
        graph, values = trace(function, (empty, none))
        for jit in (False, "numba", "llvm"):
            assert ran(graph, values, jit=jit)[0][0].shape == (0, 3)


# -- arrays --------------------------------------------------------------------------------------


def graph_of(function: Callable[..., Any], *args: Any) -> tuple[Graph, list[Any]]:
    """A graph with every result of a function as an output."""
    builder = Builder()
    symbols = [Symbol(builder, builder.input(aval_of(x))) for x in args]
    return builder.graph([y.id for y in function(*symbols)]), list(args)


@WAYS
def test_outputs_are_fresh_and_share_nothing(jit: Way) -> None:
    x = np.arange(6.0).reshape(2, 3)
    graph, values = graph_of(
        lambda a: (
            a,
            a,
            a.T,
            np.sin(a),
            np.sin(a),
            np.reshape(np.sin(a), 6),
            a[0],
            np.ones_like(a),
        ),
        x,
    )
    program = built(graph, jit=jit)
    first, second = program(*values), program(*values)
    arrays = [x, *first, *second]
    for i, a in enumerate(arrays):
        for b in arrays[:i]:
            assert not np.shares_memory(a, b)
    for out in (*first, *second):
        assert out.flags.writeable
        assert out.flags.c_contiguous
    assert_same(evaluate(graph, *values), first, "first")
    for out in first:
        out[...] = -7
    assert_same(evaluate(graph, *values), second, "second")
    assert_same(evaluate(graph, *values), program(*values), "third")


@WAYS
def test_inputs_and_constants_are_never_written(jit: Way) -> None:
    graph, values = joined(
        [differentiated(a) for a in ZOO if a.name in {"softmax_cross_entropy", "layouts"}]
    )
    program, args = built(graph, jit=jit), conforming(values)
    before = [np.copy(a) for a in args]
    for a in args:
        if isinstance(a, np.ndarray):
            a.flags.writeable = False
    first = program(*args)
    for a, b in zip(before, args, strict=True):
        np.testing.assert_array_equal(a, b)
    assert_same(first, program(*args), "again")


@WAYS
def test_scalars_of_every_dtype_go_in_and_come_out(jit: Way) -> None:
    dtypes = [
        np.dtype(c) for c in ("f8", "f4", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1", "?")
    ]
    builder = Builder()
    inputs = [builder.input(Aval((), d)) for d in dtypes]
    doubled = [builder.emit("maximum", i, i) for i in inputs]
    program = built(builder.graph([*inputs, *doubled]), jit=jit)
    values = [d.type(1.5 if d.kind == "f" else 1) for d in dtypes]
    found = program(*values)
    assert [type(v) for v in found] == [d.type for d in dtypes] * 2
    assert found == values * 2
    assert program(2.5, *values[1:])[0] == 2.5
    assert type(program(2.5, *values[1:])[0]) is np.float64


@WAYS
def test_truth_values_are_bytes_of_zero_and_one(jit: Way) -> None:
    x = np.array([0.0, 1.0, np.nan, -2.0])

    def function(a: Any) -> Any:
        wrong = np.isnan(a)
        return a > 0, wrong, ~wrong, np.any(wrong), np.all(wrong), np.logical_xor(a > 0, wrong)

    graph, values = graph_of(function, x)
    found = ran(graph, values, jit=jit)
    for old, new in zip(evaluate(graph, *values), found, strict=True):
        assert np.asarray(new).dtype == bool
        assert set(np.atleast_1d(new).view(np.uint8).tolist()) <= {0, 1}
        np.testing.assert_array_equal(new, old)


@WAYS
def test_empty_arrays_go_through(jit: Way) -> None:
    x, y = np.zeros((0, 3)), np.zeros((3, 0))

    def function(a: Any, b: Any) -> Any:
        whole = np.sum(np.exp(a) * 2, axis=0), np.prod(a), a @ b, b @ a, np.any(a > 0, axis=1)
        return *whole, a.T, np.cumsum(b, axis=1), np.concatenate([a, a]), np.sum(b @ a), np.sin(a)

    graph, values = graph_of(function, x, y)
    assert_same(evaluate(graph, *values), ran(graph, values, jit=jit), "empty")


@WAYS
def test_a_program_may_have_no_inputs_and_outputs_may_be_constants(jit: Way) -> None:
    builder = Builder()
    value = builder.constant(np.arange(6.0).reshape(2, 3))
    outputs = [value, builder.emit("transpose", value, axes=(1, 0)), builder.constant(True),
               builder.emit("iota", shape=(2, 2), axis=0, dtype=np.dtype(np.int32)),
               builder.broadcast_to(builder.constant(-0.0), (3,)),
               builder.constant(np.nan)]  # fmt: skip
    graph = builder.graph(outputs)
    assert_same(evaluate(graph), built(graph, jit=jit)(), "constants")


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan, -0.0, 5e-324, 1.7976931348623157e308])
def test_constants_keep_their_bits(value: float) -> None:
    for dtype in (np.float64, np.float32):
        with np.errstate(over="ignore"):
            number = dtype(value)
        builder = Builder()
        x = builder.input(Aval((2,), np.dtype(dtype)))
        kept = builder.emit("copysign", x, builder.constant(number))
        chosen = builder.emit("where", builder.emit("isnan", x), builder.constant(number), x)
        graph = builder.graph([kept, chosen])
        args = [np.array([np.nan, 1.0], dtype)]
        for old, new in zip(evaluate(graph, *args), ran(graph, args, jit=False), strict=True):
            np.testing.assert_array_equal(new, old)
            np.testing.assert_array_equal(np.signbit(new), np.signbit(old))


# -- large programs --------------------------------------------------------------------------------


def test_a_long_chain_is_split_and_stays_right() -> None:
    builder = Builder()
    x = y = builder.input(VECTOR)
    for step in range(700):
        y = builder.emit(("sin", "multiply")[step % 2], *(y, x)[: 1 + step % 2])
    graph, args = builder.graph([y]), [np.linspace(0.5, 1.5, 4)]
    program = built(graph)
    sizes = [len(n.params["body"]) for n in program.graph.nodes if n.op == "fused"]
    assert len(sizes) >= 3
    assert max(sizes) <= 260
    np.testing.assert_allclose(program(*args)[0], evaluate(graph, *args)[0], rtol=1e-11)


@COMPILED
def test_a_program_of_two_thousand_nodes_compiles(jit: Way) -> None:
    builder = Builder()
    y = builder.input(VECTOR)
    for step in range(2000):
        y = builder.emit("sin" if step % 10 == 9 else "negative", y)
    graph, args = builder.graph([y]), [np.linspace(0.5, 1.5, 4)]
    found = ran(graph, args, jit=jit)
    np.testing.assert_allclose(found[0], evaluate(graph, *args)[0], rtol=1e-11)


# -- threads, and the other way to pass arguments --------------------------------------------------


@COMPILED
def test_threads_may_call_one_program_at_once(jit: Way) -> None:
    graph, values = differentiated(next(a for a in ZOO if a.name == "relu_classifier"))
    program = built(graph, jit=jit)
    rng = np.random.default_rng(0)
    calls = [
        [rng.normal(size=v.shape) if v.dtype.kind == "f" else v for v in values] for _ in range(8)
    ]
    expected = [[np.copy(out) for out in program(*args)] for args in calls]
    wrong: list[int] = []
    start = threading.Barrier(8)

    def call(number: int) -> None:
        start.wait()
        for _ in range(300):
            found = program(*calls[number])
            if any(
                a.tobytes() != b.tobytes() for a, b in zip(found, expected[number], strict=True)
            ):
                wrong.append(number)

    threads = [threading.Thread(target=call, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@COMPILED
def test_arguments_can_go_through_a_table_of_pointers(
    monkeypatch: pytest.MonkeyPatch, jit: Way
) -> None:
    """For a Python or NumPy whose objects lie otherwise in memory."""
    monkeypatch.setattr(objects, "direct", lambda: False)
    graph, values = joined(
        [differentiated(a) for a in ZOO if a.name in {"quiz", "float32_net", "embedding"}]
    )
    program = built(graph, jit=jit)
    found = program(*conforming(values))
    assert_same(evaluate(graph, *values), found, "table", precision(graph))
    bad = [v - 100 if v.dtype.kind == "i" else v for v in map(np.asarray, values)]
    with pytest.raises(IndexRangeError):
        program(*conforming(bad))


def test_a_text_that_does_not_compile_is_an_error_of_this_library(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from graphjit.codegen import render_numba as module

    def broken(*_: Any, **__: Any) -> str:
        start = "from graphjit.codegen.runtime_numba import kernel\n@kernel\n"
        return f"{start}def run(args):\n    return args.nothing\n"

    monkeypatch.setattr(module, "render", broken)
    with pytest.raises(CompileError, match="could not be compiled") as caught:
        built(graph_of(lambda x: (np.sin(x),), np.ones(3))[0], jit="numba", name="model")
    assert "model" in str(caught.value)


def test_the_ways_to_run_a_program_agree_to_rounding() -> None:
    graph, values = trace(lambda x: np.sum(np.exp(x) / (1 + x**2)), (np.linspace(-1, 1, 9),))
    python, numba, llvm = (ran(graph, values, jit=jit)[0] for jit in (False, "numba", "llvm"))
    np.testing.assert_allclose(numba, python, rtol=1e-15)
    np.testing.assert_allclose(llvm, python, rtol=1e-15)
