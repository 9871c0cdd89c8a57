"""Products with picked rows: read where they are, and right whatever is picked."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphjit
from graphjit import train
from graphjit.codegen.build import build
from graphjit.codegen.epoch import Epoch
from graphjit.codegen.llvm_matrix_picked import lines
from graphjit.codegen.loops import (
    Address,
    Buffer,
    Constant,
    Fill,
    For,
    Gemv,
    Kernel,
    Load,
    LoopProgram,
    PickedGemv,
    Statement,
    Store,
    Value,
)
from graphjit.codegen.native import host, made_for
from graphjit.codegen.picked import pick
from graphjit.codegen.render_llvm import render
from graphjit.codegen.walks import reads, walk
from graphjit.errors import IndexRangeError
from graphjit.flags import override
from graphjit.ir import Graph
from graphjit.passes.pipeline import PRIMAL, run
from graphjit.tracing.trace import trace
from graphjit.train.setup import Setup
from graphjit.train.step import Steps
from graphjit.tuning import LINE
from running import WAYS, built, ran, ulps, way

EXAMPLES = 40
FLOAT, WHOLE = np.dtype(float), np.dtype(np.int64)
RNG = np.random.default_rng(5)
SHAPES = [(1, 9), (2, 1), (3, 2), (5, 3), (8, 4), (9, 7), (16, 8), (17, 50), (32, 33), (33, 130)]


def both(x: Any, rows: Any, w: Any, g: Any) -> Any:
    """A product with the rows, and one with the rows as columns."""
    batch = x[rows]
    return batch @ w, g @ batch


def given(count: int, width: int, dtype: Any = float) -> list[Any]:
    """Examples, rows from both ends, a vector for each product."""
    x, w, g = (RNG.standard_normal(s).astype(dtype) for s in ((EXAMPLES, width), width, count))
    return [x, RNG.integers(-EXAMPLES, EXAMPLES, count), w, g]


def graph_of(function: Callable[..., Any], arguments: list[Any]) -> Graph:
    """The function as a graph of its arrays."""
    return run(trace(function, tuple(arguments)).graph, PRIMAL)


def loops(function: Callable[..., Any], arguments: list[Any]) -> LoopProgram:
    """The loop program of a function."""
    return build(graph_of(function, arguments), "f").loops


def products(program: LoopProgram) -> tuple[int, int]:
    """How many products with a vector read picked rows, and how many do not."""
    found = [s for k in program.kernels for s in walk(k.statements)]
    return sum(isinstance(s, PickedGemv) for s in found), sum(isinstance(s, Gemv) for s in found)


def close(expected: Any, found: Any, dtype: Any = float) -> None:
    """Equal to rounding of sums."""
    scale = 1e-5 if dtype == np.float32 else 1e-12
    np.testing.assert_allclose(found, expected, rtol=scale, atol=scale)


@WAYS
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(("count", "width"), SHAPES)
def test_both_products_are_numpy_s(count: int, width: int, dtype: Any, jit: Any) -> None:
    arguments = given(count, width, dtype)
    graph = graph_of(both, arguments)
    for expected, found in zip(both(*arguments), ran(graph, arguments, jit=jit), strict=True):
        assert found.dtype == expected.dtype
        close(expected, found, dtype)


@pytest.mark.parametrize("vector", [16, 32])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_on_narrower_vectors(vector: int, dtype: Any) -> None:
    narrow = host()._replace(vector_bytes=min(vector, host().vector_bytes))
    for shape in SHAPES:
        arguments = given(*shape, dtype)
        with made_for(narrow):
            found = ran(graph_of(both, arguments), arguments, jit="llvm")
        for expected, value in zip(both(*arguments), found, strict=True):
            close(expected, value, dtype)


@pytest.mark.parametrize(("count", "width"), [(9, 7), (33, 130)])
def test_no_copy_is_made(count: int, width: int) -> None:
    program = loops(both, given(count, width))
    assert products(program) == (2, 0)
    assert sum(program.work.values()) < count * width


@WAYS
def test_an_infinity_stays_in_its_row(jit: Any) -> None:
    x, rows, w, g = given(9, 11)
    x[rows[4]] = np.inf
    w[:] = np.abs(w)
    x[rows[4], 3], x[rows[5], 10] = np.nan, -np.inf
    with np.errstate(invalid="ignore"):
        expected = both(x, rows, w, g)
    for left, right in zip(expected, ran(graph_of(both, [x, rows, w, g]), [x, rows, w, g], jit=jit),
                           strict=True):  # fmt: skip
        np.testing.assert_array_equal(np.isnan(left), np.isnan(right))
        np.testing.assert_array_equal(np.isinf(left), np.isinf(right))


OTHERWISE: dict[str, Callable[..., Any]] = {
    "shown": lambda x, rows, w, g: (x[rows] @ w, x[rows]),
    "used by itself": lambda x, rows, w, g: x[rows] @ w + np.sum(np.tanh(x[rows]), axis=1),
    "a part": lambda x, rows, w, g: x[rows][2:] @ w,
    "columns": lambda x, rows, w, g: x[:, 1:][rows] @ w[1:],
    "every other element": lambda x, rows, w, g: x[:, ::2][rows] @ w[::2],
    "scaled before": lambda x, rows, w, g: (2 * x)[rows] @ w,
    "scaled after": lambda x, rows, w, g: (2 * x[rows]) @ w,
    "two tables": lambda x, rows, w, g: (x[rows] @ w, g @ x[rows][::-1], (x * x)[rows] @ w),
    "a computed index": lambda x, rows, w, g: x[(3 * rows) % len(x)] @ w,
    "in a product of matrices, too": lambda x, rows, w, g: (x[rows] @ w, x[rows] @ np.outer(w, w)),
    "twice": lambda x, rows, w, g: x[rows][rows % 9] @ w,
}


@WAYS
@pytest.mark.parametrize("function", OTHERWISE.values(), ids=OTHERWISE)
def test_whatever_else_is_done(function: Callable[..., Any], jit: Any) -> None:
    arguments = given(9, 7)
    expected = function(*arguments)
    expected = expected if isinstance(expected, tuple) else (expected,)
    for left, right in zip(
        expected, ran(graph_of(function, arguments), arguments, jit=jit), strict=True
    ):
        close(left, right)


COPIED = ["shown", "used by itself", "scaled after", "in a product of matrices, too"]


@pytest.mark.parametrize("name", COPIED)
def test_a_copy_that_others_read_stays(name: str) -> None:
    assert products(loops(OTHERWISE[name], given(9, 7)))[0] == 0


def test_rows_of_columns_are_read_in_place() -> None:
    assert products(loops(OTHERWISE["columns"], given(9, 7))) == (1, 0)


@WAYS
def test_a_row_that_is_not_there_is_an_error(jit: Any) -> None:
    x, rows, w, g = given(9, 7)
    rows[3] = EXAMPLES
    with pytest.raises(IndexRangeError, match="out of bounds"):
        ran(graph_of(both, [x, rows, w, g]), [x, rows, w, g], jit=jit)


def loss(w: Any, x: Any, y: Any) -> Any:
    """Logistic regression."""
    return np.mean(np.logaddexp(0, -y * (x @ w)))


def slope(w: Any, x: Any, y: Any) -> Any:
    """Its gradient."""
    return graphjit.grad(loss)(w, x, y)


def epoch(w: Any, x: Any, y: Any, order: Any) -> Any:
    """Steps on batches in order."""

    def step(w: Any, rows: Any) -> Any:
        return w - 0.5 * slope(w, x[rows], y[rows]), None

    return graphjit.scan(step, w, order)[0]


def epochs(w: Any, x: Any, y: Any, orders: Any) -> Any:
    """Epochs one after the other, the batches of each."""
    return graphjit.scan(lambda w, order: (epoch(w, x, y, order), None), w, orders)[0]


def backwards(w: Any, x: Any, y: Any, order: Any) -> Any:
    """The batches from the last to the first."""

    def step(w: Any, rows: Any) -> Any:
        return w - 0.5 * slope(w, x[rows], y[rows]), None

    return graphjit.scan(step, w, order, reverse=True)[0]


def by_hand(w: Any, x: Any, y: Any, order: Any) -> Any:
    """The same by NumPy."""
    for rows in order:
        z = y[rows] * (x[rows] @ w)
        w = w + 0.5 * (y[rows] / (1 + np.exp(z))) @ x[rows] / len(rows)
    return w


def batches(*shape: int) -> list[Any]:
    """Weights, examples, labels and the rows of batches."""
    x = RNG.standard_normal((EXAMPLES, 11))
    order = RNG.integers(-EXAMPLES, EXAMPLES, shape)
    return [RNG.standard_normal(11), x, np.sign(RNG.standard_normal(EXAMPLES)), order]


@WAYS
@pytest.mark.parametrize("turns", [1, 2, 7])
def test_mini_batches_of_a_scan(turns: int, jit: Any) -> None:
    arguments = batches(turns, 9)
    with override(**way(jit)):
        close(by_hand(*arguments), graphjit.jit(epoch)(*arguments))
        w, x, y, order = arguments
        close(by_hand(w, x, y, order[::-1]), graphjit.jit(backwards)(*arguments))


@WAYS
def test_scans_of_scans(jit: Any) -> None:
    w, x, y, orders = batches(3, 4, 9)
    with override(**way(jit)):
        found = graphjit.jit(epochs)(w, x, y, orders)
    close(by_hand(w, x, y, orders.reshape(-1, 9)), found)


@WAYS
def test_the_beginning_of_an_order_is_no_copy_of_it(jit: Any) -> None:
    w, x, y, order = batches(30)
    with override(**way(jit)):
        first = graphjit.jit(lambda w, x, y, o: epoch(w, x, y, o[:27].reshape(3, 9)))
        later = graphjit.jit(lambda w, x, y, o: epoch(w, x, y, o[2:29].reshape(3, 9)))
        close(by_hand(w, x, y, order[:27].reshape(3, 9)), first(w, x, y, order))
        close(by_hand(w, x, y, order[2:29].reshape(3, 9)), later(w, x, y, order))


@pytest.mark.parametrize("step", [8, 16, 24, 64, 100, 400, 512, 1000])
@pytest.mark.parametrize("width", [1, 8, 63, 64, 65, 128, 400, 449])
def test_every_line_of_a_row_is_asked_for(width: int, step: int) -> None:
    asked = lines(width, step)
    for start in range(0, LINE * step, step):
        needed = {(start + byte) // LINE for byte in range(width)}
        assert {(start + byte) // LINE for byte in asked} == needed


def test_rows_to_come_are_fetched_in_a_scan_alone() -> None:
    arguments = batches(5, 9)
    text = render(loops(epoch, arguments), "f").text
    assert text.count("define internal void @picked_") == 2
    assert "call void @llvm.prefetch" in text
    w, x, y, order = arguments
    single = loops(lambda w, x, y, rows: slope(w, x[rows], y[rows]), [w, x, y, order[0]])
    assert products(single) == (2, 0)
    assert "prefetch" not in render(single, "f").text


@WAYS
def test_examples_that_a_scan_changes_are_read_as_they_are(jit: Any) -> None:
    """Each turn multiplies with rows of what the turn before left."""

    def function(x: Any, w: Any, order: Any) -> Any:
        def step(x: Any, rows: Any) -> Any:
            batch = x[rows]
            scores = batch @ w
            return x * 0.5 + np.sum(scores) * 0.1, scores + scores @ batch @ w

        return graphjit.scan(step, x, order)

    def expected(x: Any, w: Any, order: Any) -> Any:
        found = []
        for rows in order:
            batch = x[rows]
            scores = batch @ w
            found.append(scores + scores @ batch @ w)
            x = x * 0.5 + np.sum(scores) * 0.1
        return x, np.array(found)

    w, x, _, order = batches(4, 9)
    with override(**way(jit)):
        for left, right in zip(expected(x, w, order), graphjit.jit(function)(x, w, order),
                               strict=True):  # fmt: skip
            close(left, right)


@WAYS
def test_a_batch_that_the_next_turn_reads_is_a_copy(jit: Any) -> None:
    def function(x: Any, w: Any, order: Any) -> Any:
        def step(before: Any, rows: Any) -> Any:
            batch = x[rows]
            return batch, batch @ w + np.sum(np.cos(before), axis=1)

        return graphjit.scan(step, np.ones((9, 11)), order)

    w, x, _, order = batches(4, 9)
    whole = np.concatenate([np.ones((1, 9, 11)), x[order]])
    with override(**way(jit)):
        last, found = graphjit.jit(function)(x, w, order)
    close(whole[-1], last)
    close(whole[1:] @ w + np.sum(np.cos(whole[:-1]), axis=2), found)


TABLES: dict[str, Callable[..., Any]] = {
    "labels": lambda y, z, k: y,
    "a column": lambda y, z, k: z[:, 1],
    "whole numbers": lambda y, z, k: k / 7,
    "twice": lambda y, z, k: y * y + np.sin(y),
    "three tables": lambda y, z, k: y * z[:, 0] + (k > 1) * z[:, 2],
    "rows, too": lambda y, z, k: np.sum(np.tanh(z), axis=1) * y,
}


def setup_of(target: Callable[..., Any]) -> Setup:
    """Training on batches of 9 rows, then 4."""
    x, y, z = (RNG.standard_normal(s) for s in ((EXAMPLES, 7), EXAMPLES, (EXAMPLES, 3)))
    data = x, y, z, RNG.integers(0, 5, EXAMPLES)

    def loss(w: Any, x: Any, *tables: Any) -> Any:
        return np.mean((x @ w - target(*tables)) ** 2)

    w = np.zeros(7)
    return Setup(loss, train.sgd(0.05), w, {}, data, Epoch(EXAMPLES, 9))


@WAYS
@pytest.mark.parametrize("target", TABLES.values(), ids=TABLES)
def test_training_reads_all_that_a_number_picks(target: Callable[..., Any], jit: Any) -> None:
    setup = setup_of(target)
    x, *tables = setup.data
    w, numbers = np.zeros(7), np.random.default_rng(3)
    for _ in range(4):
        order = numbers.permutation(EXAMPLES)
        for rows in (order[i : i + 9] for i in range(0, EXAMPLES, 9)):
            error = x[rows] @ w - target(*(t[rows] for t in tables))
            w = w - 0.05 * 2 * error @ x[rows] / len(rows)
    with override(**way(jit)):
        ours = train.minimize(
            setup.loss, setup.params, setup.data, setup.optimizer, batch_size=9, epochs=4, seed=3
        ).params
    close(w, ours)


@pytest.mark.parametrize("name", TABLES)
def test_labels_are_read_before_the_products_that_wait(name: str) -> None:
    """But for whole rows of them, which are read where they are needed."""
    for program in Steps(setup_of(TABLES[name])).programs:
        found = [s for k in program.kernels for s in walk(k.statements)]
        first = next(at for at, s in enumerate(found) if isinstance(s, PickedGemv))
        late = {b.name for s in found[first:] if isinstance(s, Load) for b in reads(s)}
        late &= {"order", "arg2", "arg3", "arg4", "arg5"}
        assert late == ({"order", "arg4"} if name in ("rows, too", "three tables") else set())
        early = {b.name for s in found[:first] for b in reads(s)}
        assert len(early) > 1


def test_what_is_written_meanwhile_is_read_where_it_was() -> None:
    """A table that a kernel overwrites between the numbers and the loop that reads it."""
    for meanwhile in (False, True):
        program = one_product()
        rows = program.inputs[1]
        table = Buffer("in3", 2 * EXAMPLES + 2, FLOAT, "input")
        program.inputs.append(table)
        number, value = Value("v2", WHOLE), Value("v3", FLOAT)
        out = Address(program.outputs[0], 0, (("i", 1),))
        body: list[Statement] = [
            Load(number, Address(rows, 0, (("i", 1),))),
            Load(value, Address(table, 3, ((number.name, 2),))),
            Store(out, value, "add"),
        ]
        program.names = 3
        if meanwhile:
            program.kernels.append(Kernel("fill", [Fill(table, Constant(0, FLOAT))]))
        program.kernels.append(Kernel("labels", [For("i", 9, body)]))
        pick(program)
        assert products(program) == (1, 0)
        late = {b.name for s in walk(program.kernels[-1].statements) for b in reads(s)}
        assert (table.name in late) == meanwhile
        early = [s.address for s in walk(program.kernels[0].statements) if isinstance(s, Load)]
        found = [a for a in early if a.buffer == table]
        assert found == ([] if meanwhile else [Address(table, 3, (("v0", 2),))])


def one_product() -> LoopProgram:
    """A program by hand: rows are copied, then multiplied with a vector."""
    count, width = 9, 7
    x = Buffer("in0", EXAMPLES * width, FLOAT, "input", (EXAMPLES, width))
    rows = Buffer("in1", count, WHOLE, "input", (count,))
    w, out = Buffer("in2", width, FLOAT, "input"), Buffer("out0", count, FLOAT, "output")
    copy = Buffer("t0", count * width, FLOAT, "work", (count, width))
    row, value = Value("v0", WHOLE), Value("v1", FLOAT)
    inner: list[Statement] = [
        Load(value, Address(x, 0, ((row.name, width), ("j", 1)))),
        Store(Address(copy, 0, (("i", width), ("j", 1))), value),
    ]
    body: list[Statement] = [Load(row, Address(rows, 0, (("i", 1),))), For("j", width, inner)]
    whole = (count, width, Address(copy, 0), width, False, Address(w, 0), 1, Address(out, 0), 1)
    kernels = [Kernel("copy", [For("i", count, body)]), Kernel("product", [Gemv(*whole)])]
    return LoopProgram(kernels, [x, rows, w], [out], names=2)


def test_a_program_by_hand_reads_rows_in_place() -> None:
    program = one_product()
    pick(program)
    assert products(program) == (1, 0)


def test_a_copy_of_what_is_written_meanwhile_stays() -> None:
    program = one_product()
    zero = Constant(0, FLOAT)
    program.kernels.insert(1, Kernel("fill", [Fill(program.inputs[0], zero)]))
    pick(program)
    assert products(program) == (0, 1)


def test_a_copy_that_others_have_stays() -> None:
    program = one_product()
    pick(program, foreign=["t0"])
    assert products(program) == (0, 1)


@WAYS
@pytest.mark.parametrize("sign", [1, -1])
def test_the_exponential_of_a_logistic_loss_serves_its_slope(sign: int, jit: Any) -> None:
    """Within two units in the last place, and right at both ends."""
    x = np.array([0.0, 1e-300, 3.0, -3.0, 40.0, -40.0, 708.0, -708.0, np.inf, -np.inf, np.nan])
    x = np.concatenate([x, RNG.uniform(-30, 30, 500)])

    def function(x: Any) -> Any:
        return np.sum(np.logaddexp(0, x)), graphjit.grad(slopes)(x)

    def slopes(x: Any) -> Any:
        return np.sum(np.logaddexp(0, x) + np.logaddexp(0, sign * x) * 0.5)

    graph = graph_of(function, [x])
    source = built(graph).source
    assert source.count("exp(") == 1
    assert "expit(" not in source
    with np.errstate(over="ignore"):
        wide = x.astype(np.longdouble)
        expected = 1 / (1 + np.exp(-wide)) + sign * 0.5 / (1 + np.exp(-sign * wide))
    found = ran(graph, [x], jit=jit)[1]
    close(expected.astype(float), found)
    if sign > 0:
        assert np.max(ulps(expected.astype(float), found)) <= 3
