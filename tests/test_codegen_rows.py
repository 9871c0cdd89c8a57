"""Generated code for every row of the table: what it computes is what ``evaluate`` computes.

As plain Python for every row, dtype and shape; compiled for many rows at a time.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from graphjit.errors import IndexRangeError
from graphjit.ir import TABLE, Aval, Builder, Graph, Primitive, aval_of, evaluate
from running import COMPILED, WAYS, Array, Way, assert_near, built, conforming, ran
from samples import FLOATS, SAMPLES, SHAPES, Sample

DTYPES = [np.dtype(c) for c in ("f8", "f4", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1", "?")]
MAPS = [row for row in TABLE.values() if row.kind == "map"]
NEITHER = {"input", "item"}  # have a value from elsewhere; a call has that of its body
BY_DTYPE = pytest.mark.parametrize("dtype", DTYPES, ids=str)
# In ULPs. SciPy's erfc is 1 - erf below 1, and loses the last digits there; so does its gammaln
# below 13; and where digamma is reflected, both differ from the exact value.
LOOSE = {"erf": 4, "erfc": 16, "power": 4, "gammaln": 16, "digamma": 64, "polygamma": 16}
# The larger operand plus a logarithm may cancel: these are right to the ULPs of that operand.
# SciPy's gammaln is so around its zeros at 1 and 2.
CANCELS = {"logaddexp", "logaddexp2", "gammaln"}
# Of two zeros either may be the larger: NumPy's own answer depends on the vector instructions.
EITHER_ZERO = {"maximum", "minimum", "fmax", "fmin"}
PARTIAL = {"power", "reciprocal"}  # not defined for every pair of whole numbers
EVERYDAY = [0.0, 0.5, 1.0, 2.0, 3.7, 1.5, 2.5, 3.0, 0.3, 0.64, 1e-5, 6.0, 20.0, 26.5, 40.5, 1e10]
LIMITS: dict[str, list[float]] = {
    "f": [np.inf, np.nan, 709.0, 750.0, 1e16, 1e300, 1e-300, 1e308, 1e-310, 5e-324, 1 + 1e-7],
    "i": [0, 1, 2, 3, 5, 7, 8, 31, 32, 63, 64, 100, -1, -2, -3, -7],
}


def points(dtype: Any) -> Array:
    """Numbers of a dtype, among them all that are special."""
    if dtype.kind == "b":
        return np.array([False, True])
    if dtype.kind == "f":
        tiny, huge = np.finfo(dtype).smallest_subnormal, np.finfo(dtype).max
        with np.errstate(over="ignore", under="ignore"):
            positive = np.array([*EVERYDAY, *LIMITS["f"], tiny, huge, 88.0, 104.0, 1e-40], dtype)
        bits = np.concatenate([positive, -positive]).view(f"u{dtype.itemsize}")
        return np.unique(bits).view(dtype)
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    wanted: list[int] = [*map(int, LIMITS["i"]), low, low + 1, high - 1, high]
    return np.array([x for x in dict.fromkeys(wanted) if low <= x <= high], dtype)


def operands_for(row: Primitive, dtype: Any) -> tuple[Array, ...] | None:
    """All pairs of special numbers, if NumPy computes the row in this dtype."""
    if row.name == "strong_multiply":
        return crossed(points(dtype), 2) if dtype.kind == "f" else None
    if row.ufunc is None or not computes(row, dtype):
        return None
    args = crossed(points(dtype), row.ufunc.nin)
    if row.name == "power" and dtype.kind in "iu":  # NumPy refuses negative exponents
        args = (args[0], abs(args[1] % 9))
    if row.name == "reciprocal" and dtype.kind in "iu":  # undefined in C at 0
        args = (args[0][args[0] != 0],)
    return args


def computes(row: Primitive, dtype: Any) -> bool:
    """Whether NumPy's loop for this dtype casts nothing, and gives what the graph holds."""
    try:
        *inputs, result = row.ufunc.resolve_dtypes((dtype,) * row.ufunc.nin + (None,))
    except TypeError:
        return False
    expected = row.aval(*[Aval((1,), dtype)] * row.ufunc.nin).dtype
    return all(d == dtype for d in inputs) and bool(result == expected)


def crossed(values: Array, count: int) -> tuple[Array, ...]:
    return tuple(np.ravel(a) for a in np.meshgrid(*([values] * count)))


def graph_of(ops: list[tuple[str, dict[str, Any]]], operands: tuple[Array, ...]) -> Graph:
    """Several operations on the same inputs."""
    builder = Builder()
    inputs = [builder.input(aval_of(x)) for x in operands]
    return builder.graph([builder.emit(op, *inputs, **params) for op, params in ops])


def compared(
    ops: list[tuple[str, dict[str, Any]]], operands: tuple[Array, ...], *, jit: Way
) -> None:
    """Demand of the operations' program what ``evaluate`` gives."""
    graph = graph_of(ops, operands)
    results = zip(evaluate(graph, *operands), ran(graph, operands, jit=jit), ops, strict=True)
    for old, new, (op, _) in results:
        expected, found = np.asarray(old), np.asarray(new)
        if op in EITHER_ZERO:
            expected, found = expected + expected.dtype.type(0), found + found.dtype.type(0)
        if op == "gammaln":  # SciPy's is infinite already where the number is subnormal
            small = subnormal(operands[0])
            expected = np.where(small, -np.log(abs(np.where(small, operands[0], 1))), expected)
        if op in CANCELS:
            expected = np.where(to_the_ulps_of(operands, expected, found), found, expected)
        assert_near(expected, found, LOOSE.get(op, 2), f"{op} {expected.dtype}")


def subnormal(x: Array) -> Array:
    """Where a number is not 0 and has lost digits."""
    return np.asarray((x != 0) & (abs(x) < np.finfo(x.dtype).tiny))


def to_the_ulps_of(operands: tuple[Array, ...], expected: Array, found: Array) -> Array:
    """Where two results differ by at most 2 ULPs of the largest finite operand."""
    with np.errstate(all="ignore"):
        room = 2 * np.spacing(np.max(np.abs(operands), axis=0))
        near: Array = abs(expected - found) <= room
    return near


# -- maps -----------------------------------------------------------------------------------------


def test_every_row_is_run_here() -> None:
    tried = {row.name for row in MAPS for d in DTYPES if operands_for(row, d) is not None}
    assert {row.name for row in MAPS if row.ufunc} <= tried  # the others have samples
    rows = {name for name, row in TABLE.items() if row.kind not in {"call", "control"}}
    assert {sample.op for sample in SAMPLES} == rows - NEITHER


@WAYS
@BY_DTYPE
@pytest.mark.parametrize("count", [1, 2])
def test_maps_at_special_numbers(dtype: Any, count: int, jit: Way) -> None:
    rows = [(row, operands_for(row, dtype)) for row in MAPS]
    ours = [(row, args) for row, args in rows if args is not None and len(args) == count]
    if not jit:
        for row, args in ours:
            compared([(row.name, {})], args, jit=False)
        return
    shared = [row for row, args in ours if row.name not in PARTIAL]
    compared([(row.name, {}) for row in shared], crossed(points(dtype), count), jit=jit)
    for row, args in ours:
        if row not in shared:
            compared([(row.name, {})], args, jit=jit)


@WAYS
@pytest.mark.parametrize("dtype", [d for d in DTYPES if d.kind != "f"], ids=str)
def test_whole_numbers_stay_whole_for_what_reads_them(dtype: Any, jit: Way) -> None:
    """A result that was a float in between would show in the bits, or not compile."""
    for count in (1, 2):
        builder, args = Builder(), crossed(points(dtype)[-9:], count)
        inputs = [builder.input(aval_of(x)) for x in args]
        rows = [r for r in MAPS if operands_for(r, dtype) and r.ufunc.nin == count]
        results = [builder.emit(r.name, *inputs) for r in rows if r.name not in PARTIAL]
        same = [i for i in results if builder.nodes[i].aval.dtype == dtype]
        graph = builder.graph([builder.emit("bitwise_xor", i, inputs[0]) for i in same])
        for old, new in zip(evaluate(graph, *args), ran(graph, args, jit=jit), strict=True):
            assert_near(old, new, 0)


@WAYS
@BY_DTYPE
def test_casts_to_every_dtype(dtype: Any, jit: Way) -> None:
    x = points(dtype)
    with np.errstate(all="ignore"):
        fits = [d for d in DTYPES if d.kind == "f" or dtype.kind != "f"]
    compared([("cast", {"dtype": d}) for d in fits], (x,), jit=jit)


@WAYS
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_floats_are_cut_to_whole_numbers(dtype: Any, jit: Way) -> None:
    x = np.array([0.0, -0.0, 1.9, -1.9, 100.5, 0.5, -0.5, 3.0], dtype)
    integers = [d for d in DTYPES if d.kind == "i"]
    compared([("cast", {"dtype": d}) for d in (*integers, np.dtype(bool))], (x,), jit=jit)
    positive = abs(x)
    compared([("cast", {"dtype": d}) for d in DTYPES if d.kind == "u"], (positive,), jit=jit)


@WAYS
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_what_no_integer_can_hold_is_cut_as_numpy_cuts_it(dtype: Any, jit: Way) -> None:
    x = np.array([np.nan, np.inf, -np.inf, 1e30, -1e30], dtype)
    compared([("cast", {"dtype": np.dtype(c)}) for c in ("i8", "i4", "?")], (x,), jit=jit)


@WAYS
def test_where_takes_any_dtype_and_any_bits(jit: Way) -> None:
    condition = np.array([True, False] * 3)
    for dtype in DTYPES:
        x = np.resize(points(dtype)[::-1], 6)
        compared(
            [("where", {})], (condition, x, x[::-1].copy()), jit=jit if dtype.kind == "f" else False
        )


@WAYS
def test_indices_are_wrapped_and_checked(jit: Way) -> None:
    good, bad = np.array([0, 1, 2, -1, -3, 0]), np.array([0, 3, 0, 0, 0, 0])
    graph = graph_of([("wrap_index", {"size": 3})], (good,))
    program = built(graph, jit=jit)
    np.testing.assert_array_equal(program(good)[0], evaluate(graph, good)[0])
    for wrong in (bad, -bad - 1):
        with pytest.raises(IndexRangeError, match="out of bounds for an axis of size 3"):
            program(wrong)
    np.testing.assert_array_equal(program(good)[0], [0, 1, 2, 2, 0, 0])


# -- every row on every shape ----------------------------------------------------------------------


def sample_graph(sample: Sample, operands: tuple[Array, ...]) -> Graph:
    return graph_of([(sample.op, dict(sample.params))], operands)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("sample", SAMPLES, ids=str)
def test_every_sample_as_python(sample: Sample, dtype: Any) -> None:
    operands = sample.operands(dtype)
    graph = sample_graph(sample, operands)
    close(evaluate(graph, *operands), ran(graph, operands), sample)


def close(expected: Any, found: Any, what: object) -> None:
    """Equal but for the order of sums."""
    for old, new in zip(expected, found, strict=True):
        assert aval_of(old) == aval_of(new), what
        rtol = {"f8": 1e-14, "f4": 2e-6}.get(old.dtype.str[1:], 0)
        np.testing.assert_allclose(new, old, rtol=rtol, atol=rtol, err_msg=str(what))


@COMPILED
def test_every_sample_that_moves_elements_compiled(jit: Way) -> None:
    """One program of them all: shapes, empty ones too, side by side."""
    samples = [s for s in SAMPLES if s.row.kind in {"layout", "index", "contract", "source"}]
    builder, outputs = Builder(), []
    values: list[Array] = []
    for sample in samples:
        operands = sample.operands(np.float64)
        inputs = [builder.input(aval_of(x)) for x in operands]
        outputs.append(builder.emit(sample.op, *inputs, **sample.params))
        values += operands
    graph = builder.graph(outputs)
    results = zip(evaluate(graph, *values), ran(graph, values, jit=jit), samples, strict=True)
    for expected, found, sample in results:
        close([expected], [found], sample)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_float_map_on_every_shape_compiled(shape: Any) -> None:
    names = [row.name for row in MAPS if row.ufunc and computes(row, np.dtype(float))]
    unary = [n for n in names if TABLE[n].ufunc.nin == 1]
    x = np.random.default_rng(1).uniform(0.3, 0.9, shape)
    compared([(n, {}) for n in unary], (x,), jit=shape in {(), (0, 3), (2, 3)})


# -- views ---------------------------------------------------------------------------------------

VIEWS: dict[str, Callable[[Builder, int], int]] = {  # of an array of shape (4, 6), to (2, 3)
    "steps": lambda b, x: b.emit("slice", x, start=(0, 1), step=(2, 2), sizes=(2, 3)),
    "flip": lambda b, x: b.emit("slice", x, start=(3, 5), step=(-1, -2), sizes=(2, 3)),
    "transpose": lambda b, x: b.emit(
        "transpose", b.emit("slice", x, start=(1, 2), step=(1, 1), sizes=(3, 2)), axes=(1, 0)
    ),
    "row": lambda b, x: b.emit(
        "broadcast", b.emit("slice", x, start=(2, 0), step=(1, 2), sizes=(1, 3)), shape=(2, 3)
    ),
    "column": lambda b, x: b.emit(
        "broadcast", b.emit("slice", x, start=(1, 4), step=(2, 1), sizes=(2, 1)), shape=(2, 3)
    ),
    "reshape": lambda b, x: b.emit(
        "slice", b.emit("reshape", x, shape=(8, 3)), start=(1, 0), step=(3, 1), sizes=(2, 3)
    ),
    "mixed": lambda b, x: b.emit(
        "slice",
        b.emit("reshape", b.emit("transpose", x, axes=(1, 0)), shape=(8, 3)),
        start=(6, 2), step=(-5, -1), sizes=(2, 3),
    ),
    "scalar": lambda b, x: b.emit(
        "broadcast", b.emit("slice", x, start=(3, 4), step=(1, 1), sizes=(1, 1)), shape=(2, 3)
    ),
}  # fmt: skip


def viewed(op: str, names: list[tuple[str, ...]], dtype: Any) -> tuple[Graph, list[Array]]:
    """An operation on several combinations of views of its operands."""
    builder, rng = Builder(), np.random.default_rng(7)
    count = len(names[0])
    values = [np.asarray(rng.uniform(0.2, 0.9, (4, 6)), dtype) for _ in range(count)]
    inputs = [builder.input(aval_of(v)) for v in values]
    outputs = []
    for combination in names:
        views = [VIEWS[v](builder, i) for v, i in zip(combination, inputs, strict=True)]
        outputs.append(builder.emit(op, *views))
    return builder.graph(outputs), values


@pytest.mark.parametrize("row", [r for r in MAPS if r.ufunc], ids=lambda r: r.name)
def test_maps_of_views(row: Primitive) -> None:
    dtype = next((d for d in DTYPES if computes(row, d)), DTYPES[0])
    names = list(itertools.product(VIEWS, repeat=row.ufunc.nin))
    graph, values = viewed(row.name, names, dtype)
    for expected, found in zip(evaluate(graph, *values), ran(graph, values), strict=True):
        assert_near(expected, found, LOOSE.get(row.name, 2), row.name)


@COMPILED
def test_views_of_views_compiled(jit: Way) -> None:
    graph, values = viewed("arctan2", list(itertools.product(VIEWS, VIEWS)), np.dtype(float))
    for expected, found in zip(evaluate(graph, *values), ran(graph, values, jit=jit), strict=True):
        assert_near(expected, found, 2)


# -- reductions, scans -----------------------------------------------------------------------------

AXES = [a for n in range(4) for a in itertools.combinations(range(3), n)]
REDUCTIONS = ("sum", "prod", "max", "min")


def reductions(dtype: Any) -> list[tuple[str, dict[str, Any]]]:
    names = ("any", "all", "max", "min") if dtype.kind == "b" else REDUCTIONS
    return [(name, {"axes": axes}) for name in names for axes in AXES]


def numbers(dtype: Any, shape: tuple[int, ...]) -> Array:
    rng = np.random.default_rng(3)
    return np.asarray(rng.uniform(0.5, 2.5, shape) if dtype.kind == "f" else
                      rng.integers(0, 4 if dtype.kind != "b" else 2, shape), dtype)  # fmt: skip


@WAYS
@pytest.mark.parametrize("dtype", [np.dtype(c) for c in ("f8", "f4", "i8", "u1", "?")], ids=str)
def test_reductions_over_every_combination_of_axes(dtype: Any, jit: Way) -> None:
    x = numbers(dtype, (2, 3, 4))
    ops = reductions(dtype)
    graph = graph_of(ops, (x,))
    close(evaluate(graph, x), ran(graph, (x,), jit=jit), ops)


@pytest.mark.parametrize("shape", [(1, 3, 1), (2, 1, 3), (1, 1, 1), (0, 2, 3), (2, 3, 0)], ids=str)
def test_reductions_of_thin_and_empty_arrays(shape: tuple[int, ...]) -> None:
    x = numbers(np.dtype(float), shape)
    for op, params in reductions(x.dtype):
        kept = [n for a, n in enumerate(shape) if a not in params["axes"]]
        if op in {"sum", "prod"} or x.size or 0 in kept:
            graph = graph_of([(op, params)], (x,))
            close(evaluate(graph, x), ran(graph, (x,)), (op, params))


@WAYS
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_reductions_of_special_numbers(dtype: Any, jit: Way) -> None:
    rows = [[1, np.nan, 2], [np.inf, 1, -np.inf], [np.inf, 2, 3], [-np.inf, 0, 1], [0, -0.0, 0]]
    x = np.array([*rows, [np.nan, np.inf, -np.inf], [-np.inf] * 3, [np.inf] * 3], dtype)
    names = [*REDUCTIONS, "argmax", "argmin"]
    compared([(name, {"axes": (1,)}) for name in names], (x,), jit=jit)
    compared([(name, {"axes": (0,)}) for name in names], (x,), jit=jit)


@WAYS
def test_the_first_of_equal_extremes_is_located(jit: Way) -> None:
    x = np.array([[2, 5, 5, 1, 1], [0, 0, 0, 0, 0], [5, 4, 3, 4, 5]])
    for dtype in ("f8", "i4", "?"):
        ops = [(op, {"axes": (a,)}) for op in ("argmax", "argmin") for a in (0, 1)]
        compared(ops, (x.astype(dtype),), jit=jit)


@WAYS
def test_scans_along_every_axis_and_dtype(jit: Way) -> None:
    for dtype in ("f8", "i8") if jit else ("f8", "f4", "i8"):
        x = numbers(np.dtype(dtype), (3, 4, 2))
        params = [{"axis": a, "reverse": r} for a in range(3) for r in (False, True)]
        ops = [("cumsum", p) for p in params]
        close(evaluate(graph_of(ops, (x,)), x), ran(graph_of(ops, (x,)), (x,), jit=jit), dtype)
        if dtype != "i8":
            ops = [("recurrence", p) for p in params]
            graph = graph_of(ops, (x, x))
            close(evaluate(graph, x, x), ran(graph, (x, x), jit=jit), dtype)


# -- products ------------------------------------------------------------------------------------

SPECS = (
    "ij,jk->ik", "ij,kj->ik", "ji,jk->ik", "ji,kj->ik", "ij,jk->ki", "ij,j->i", "ji,j->i",
    "j,jk->k", "i,j->ij", "i,i->", "ij,ij->", "ij,ij->i", "ij,ij->j", "bij,bjk->bik",
    "bij,bkj->kbi", "ijk,kl->ijl",
    "ijk,jkl->il", "ijk,ljk->il", "aij,jb->iab", "abij,abjk->abik", "bij,jk->bik", "ij,bjk->bik",
)  # fmt: skip


def contraction(spec: str, scale: int, dtype: Any) -> tuple[Graph, list[Array]]:
    """A contraction of axes of 2 to 4 times ``scale``, as an array and as a view of one."""
    sizes = {c: (2 + n % 3) * scale for n, c in enumerate("ijkablb")}
    builder, direct, turned = Builder(), [], []
    values: list[Array] = []
    for term in spec.partition("->")[0].split(","):
        shape = tuple(sizes[c] for c in term)
        x = np.asarray(np.random.default_rng(len(values)).normal(size=shape), dtype)
        values.append(x)
        direct.append(builder.input(aval_of(x)))
        flipped = builder.input(aval_of(x.T))
        values.append(np.ascontiguousarray(x.T))
        turned.append(builder.emit("transpose", flipped, axes=tuple(reversed(range(x.ndim)))))
    outputs = [
        builder.emit("contract", *pair, spec=spec)
        for pair in itertools.product(*zip(direct, turned, strict=True))
    ]
    return builder.graph(outputs), values


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("scale", [1, 5])
@pytest.mark.parametrize("spec", SPECS)
def test_products_of_arrays_and_of_views(spec: str, scale: int, dtype: Any) -> None:
    graph, values = contraction(spec, scale, dtype)
    rtol = 1e-12 if dtype == np.float64 else 1e-4
    for expected, found in zip(evaluate(graph, *values), ran(graph, values), strict=True):
        np.testing.assert_allclose(found, expected, rtol=rtol, atol=rtol)


@COMPILED
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_products_compiled(dtype: Any, jit: Way) -> None:
    for spec in ("ij,jk->ik", "ji,kj->ik", "ij,j->i", "ij,ij->", "bij,bkj->kbi"):
        graph, values = contraction(spec, 5, dtype)
        rtol = 1e-12 if dtype == np.float64 else 1e-4
        for expected, found in zip(
            evaluate(graph, *values), ran(graph, values, jit=jit), strict=True
        ):
            np.testing.assert_allclose(found, expected, rtol=rtol, atol=rtol)


@WAYS
@pytest.mark.parametrize("dtype", ["i8", "i4", "f4"])
def test_products_of_columns_rows_and_flipped_views(dtype: str, jit: Way) -> None:
    a = np.arange(48).reshape(8, 6).astype(dtype)
    builder = Builder()
    x = builder.input(aval_of(a))
    flipped = builder.emit("slice", x, start=(7, 0), step=(-1, 1), sizes=(8, 6))
    every_other = builder.emit("slice", x, start=(0, 0), step=(1, 2), sizes=(8, 3))
    column = builder.emit("slice", x, start=(0, 2), step=(1, 1), sizes=(8, 1))
    pairs = [
        (flipped, x),
        (x, flipped),
        (every_other, x),
        (x, column),
        (column, x),
        (column, column),
    ]
    graph = builder.graph([builder.emit("contract", p, q, spec="ki,kj->ij") for p, q in pairs])
    for expected, found in zip(evaluate(graph, a), ran(graph, [a], jit=jit), strict=True):
        np.testing.assert_array_equal(found, expected)


# -- indices -------------------------------------------------------------------------------------


@WAYS
def test_gather_and_scatter_with_repeats_on_every_axis(jit: Way) -> None:
    x = np.random.default_rng(0).normal(size=(4, 3, 5))
    builder = Builder()
    source = builder.input(aval_of(x))
    values, outputs = [x], []
    for axis in range(3):
        index = np.array([[0, 2, 2], [1, 0, 2]])
        values.append(index)
        place = builder.input(aval_of(index))
        picked = builder.emit("gather", source, place, axes=(axis,))
        added = builder.emit("scatter_add", picked, place, axes=(axis,), shape=x.shape)
        outputs += [picked, added]
    graph = builder.graph(outputs)
    close(evaluate(graph, *values), ran(graph, values, jit=jit), "gather")


def test_arguments_conform_whatever_they_were() -> None:
    x = np.arange(6.0).reshape(2, 3).T[::-1]
    (found,) = conforming([x])
    assert found.flags.c_contiguous
    np.testing.assert_array_equal(found, x)


@WAYS
def test_tables_that_are_constants_or_counts_are_looked_up(jit: Way) -> None:
    index = np.array([2, 0, 1, 2])
    builder = Builder()
    place = builder.input(aval_of(index))
    table = builder.constant(np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]))
    count = builder.emit("iota", shape=(3, 2), axis=0, dtype=np.dtype(np.int32))
    other = builder.emit("slice", count, start=(2, 0), step=(-1, 1), sizes=(3, 2))
    picked = [builder.emit("gather", x, place, axes=(0,)) for x in (table, count, other)]
    graph = builder.graph([builder.emit("add", x, x) for x in picked])
    close(evaluate(graph, index), ran(graph, [index], jit=jit), "table")
