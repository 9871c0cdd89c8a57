"""Which loops threads may share, on loops written by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from graphjit.codegen.duration import AWAKE, SHARED, cost, least
from graphjit.codegen.loops import (
    Address,
    Buffer,
    Check,
    Constant,
    For,
    Gemm,
    Gemv,
    Kernel,
    Let,
    Load,
    LoopProgram,
    Product,
    Statement,
    Store,
    Value,
)
from graphjit.codegen.parallel import Cut, cut, longest, number_of_blocks
from graphjit.codegen.parallel_products import split
from graphjit.codegen.parallel_rows import Row, Scope

F64, I64 = np.dtype(np.float64), np.dtype(np.int64)
X = Buffer("x", 4096, F64, "input", (64, 64))
WHERE = Buffer("where", 64, I64, "input", (64,))
OUT = Buffer("out", 4096, F64, "output", (64, 64))
ROW = Buffer("row", 64, F64, "work", (64,))
V, W, TOTAL = Value("v", F64), Value("w", F64), Value("total", F64)


def found(
    body: Sequence[Statement],
    before: Sequence[Statement] = (),
    after: Sequence[Statement] = (),
    more: Sequence[Statement] = (),
) -> Cut | None:
    """How ``for i in range(64): body`` is shared; ``more`` is another kernel's."""
    loop = For("i", 64, list(body))
    kernel: list[Statement] = [*before, loop, *after]
    program = LoopProgram([Kernel("k", kernel)], [X, WHERE], [OUT], offsets={"row": 0})
    return cut(loop, Scope(program, kernel, [kernel, list(more)]), 0.0)


def inner(*body: Statement, extent: int = 64) -> For:
    return For("j", extent, list(body))


def x(*terms: tuple[str, int], offset: int = 0) -> Load:
    return Load(V, Address(X, offset, terms))


def out(*terms: tuple[str, int], offset: int = 0, op: str = "") -> Store:
    return Store(Address(OUT, offset, terms), V, op)


def to_row(*terms: tuple[str, int], offset: int = 0) -> Store:
    return Store(Address(ROW, offset, terms), V)


def of_row(*terms: tuple[str, int], offset: int = 0) -> Load:
    return Load(V, Address(ROW, offset, terms))


def test_rows_and_columns_of_a_result_are_apart() -> None:
    for steps in ((("i", 64), ("j", 1)), (("i", 1), ("j", 64))):
        result = found([inner(x(*steps), out(*steps))])
        assert result == Cut(64, {}, {}, {}, status=False)


@pytest.mark.parametrize(
    "body",
    [
        [inner(x(("j", 1)), out(("j", 1)))],
        [inner(x(("j", 1)), out(("i", 63), ("j", 1)))],
        [x(("i", 1)), out(("i", 1)), out(("i", 1), offset=1)],
        [Load(V, Address(OUT, 0, (("i", 1),))), out(("i", 1), offset=1)],
        [inner(x(("j", 1)), out(("i", 32), ("j", 32)))],
    ],
    ids=["all write the same", "rows overlap", "neighbours", "reads the next", "diagonals"],
)
def test_what_turns_write_in_common_is_not_shared(body: list[Statement]) -> None:
    assert found(body) is None


def test_what_is_only_added_to_is_summed_by_blocks() -> None:
    result = found([inner(x(("i", 64), ("j", 1)), out(("j", 1), op="add"))])
    assert result is not None
    assert dict(result.sums) == {"out": (OUT, "add")}
    read_too = [inner(x(("j", 1)), out(("j", 1), op="add"), Load(W, Address(OUT, 0)))]
    assert found(read_too) is None


def test_computed_addresses_may_meet() -> None:
    index, place = Value("index", I64), Value("place", I64)
    begin: list[Statement] = [
        Load(index, Address(WHERE, 0, (("i", 1),))),
        Check(place, index, 64, 1),
        x(("i", 1)),
    ]
    assert found([*begin, out(("place", 1))]) is None
    result = found([*begin, out(("place", 1), op="add")])
    assert result is not None
    assert list(result.sums) == ["out"]
    assert result.status


def test_a_row_that_is_written_first_is_each_blocks_own() -> None:
    result = found(
        [inner(x(("i", 64), ("j", 1)), to_row(("j", 1))),
         inner(of_row(("j", -1), offset=63), out(("i", 64), ("j", 1)))]
    )  # fmt: skip
    assert result is not None
    assert dict(result.private) == {"row": Row(512)}


@pytest.mark.parametrize(
    "body",
    [
        [inner(of_row(("j", 1)), out(("i", 64), ("j", 1))), inner(x(("j", 1)), to_row(("j", 1)))],
        [inner(x(("j", 1)), to_row(("j", 1)), of_row(("j", -1), offset=63),
               out(("i", 64), ("j", 1)))],
        [inner(x(("j", 1)), Store(Address(ROW, 0, (("j", 1),)), V, "add")),
         inner(of_row(("j", 1)), out(("i", 64), ("j", 1)))],
    ],
    ids=["read first", "not yet", "added to"],
)  # fmt: skip
def test_a_row_that_is_read_as_an_earlier_turn_left_it_is_not(body: list[Statement]) -> None:
    assert found(body) is None


@pytest.mark.parametrize(("count", "step"), [(63, 1), (32, 2)], ids=["one missing", "gaps"])
def test_a_row_that_turns_write_in_part_begins_as_a_copy(count: int, step: int) -> None:
    fill = inner(x(("j", 1)), to_row(("j", step)), extent=count)
    result = found([fill, inner(of_row(("j", 1)), out(("i", 64), ("j", 1)))])
    assert result is not None
    assert dict(result.private) == {"row": Row(512, ROW)}


def test_a_row_that_somebody_reads_afterwards_is_not() -> None:
    body: list[Statement] = [
        inner(x(("i", 64), ("j", 1)), to_row(("j", 1))),
        inner(of_row(("j", 1)), out(("i", 64), ("j", 1))),
    ]
    assert found(body) is not None
    assert found(body, after=[of_row()]) is None
    assert found(body, more=[of_row()]) is None


BORDERS = [
    inner(x(("i", 64), ("j", 1)), to_row(("j", 1), offset=1), extent=62),
    inner(of_row(("j", 1)), out(("i", 64), ("j", 1))),
]


def test_a_row_with_borders_from_before_the_loop_begins_as_a_copy() -> None:
    zero = inner(Store(Address(ROW, 0, (("j", 1),)), Constant(0, F64)))
    result = found(BORDERS, before=[zero])
    assert result is not None
    assert dict(result.private) == {"row": Row(512, ROW)}
    assert found(BORDERS, before=[zero], after=[of_row()]) is None
    assert found(BORDERS[::-1], before=[zero]) is None
    assert found([*BORDERS, to_row(offset=63)], before=[zero]) is None
    assert found([inner(*BORDERS[0].body, *BORDERS[1].body)], before=[zero]) is None


def test_a_product_that_adds_is_a_sum() -> None:
    steps = ((8, 8, 64),)
    sides = Address(X, 0, (("i", 64),)), Address(X, 0), Address(OUT, 0)
    result = found([Product("p", *sides, 8, steps, ((8, 1, 8),), add=True)])
    assert result is not None
    assert dict(result.sums) == {"out": (OUT, "add")}
    assert found([Product("p", *sides, 8, steps, ((8, 1, 8),), add=False)]) is None


def test_sums_are_folded_and_other_carries_are_not() -> None:
    start = Let(TOTAL, "copy", (Constant(0, F64),))
    add = Let(TOTAL, "add", (TOTAL, V))
    result = found([x(("i", 1)), add], [start])
    assert result is not None
    assert dict(result.folds) == {TOTAL: "add"}
    assert found([x(("i", 1)), add, Store(Address(OUT, 0, (("i", 1),)), TOTAL)], [start]) is None
    assert found([x(("i", 1)), Let(TOTAL, "multiply", (V, TOTAL)), add], [start]) is None
    assert found([x(("i", 1)), Let(TOTAL, "subtract", (TOTAL, V))], [start]) is None


def test_the_last_turns_values_do_not_get_out() -> None:
    body: list[Statement] = [x(("i", 1)), out(("i", 1))]
    assert found(body) is not None
    assert found(body, after=[Store(Address(OUT, 0), V)]) is None


# -- products --------------------------------------------------------------------------------------

A, B = Buffer("a", 70 * 90, F64, "input"), Buffer("b", 90 * 80, F64, "input")
C = Buffer("c", 70 * 80, F64, "output")


def elements(
    address: Address, steps: Sequence[tuple[int, int]], at: dict[str, int]
) -> np.ndarray[Any, Any]:
    """The addresses that a nest of steps and counts reaches."""
    start = address.offset + sum(at[n] * s for n, s in address.terms)
    grid = np.indices([n for _, n in steps])
    moved = [np.asarray(s * g) for (s, _), g in zip(steps, grid, strict=True)]
    return np.asarray(start + sum(moved))


def value(s: Statement, memory: dict[str, np.ndarray[Any, Any]], at: dict[str, int]) -> None:
    """Compute a product, by its definition."""
    match s:
        case For():
            for i in range(s.extent):
                for inside in s.body:
                    value(inside, memory, {**at, s.index: i})
        case Gemm():
            a = ((1, s.m), (s.lda, s.k)) if s.transpose_a else ((s.lda, s.m), (1, s.k))
            b = ((1, s.k), (s.ldb, s.n)) if s.transpose_b else ((s.ldb, s.k), (1, s.n))
            left, right = memory["a"][elements(s.a, a, at)], memory["b"][elements(s.b, b, at)]
            memory["c"][elements(s.c, ((s.ldc, s.m), (1, s.n)), at)] = left @ right
        case Gemv():
            matrix = memory["a"][elements(s.a, ((s.lda, s.rows), (1, s.columns)), at)]
            matrix = matrix.T if s.transpose else matrix
            x = memory["b"][elements(s.x, ((s.incx, matrix.shape[1]),), at)]
            memory["c"][elements(s.y, ((s.incy, matrix.shape[0]),), at)] = matrix @ x
        case Product():
            rows, depth = s.rows, s.depth
            shape = [(n, st) for n, st, _ in (*rows, *depth)]
            a = memory["a"][elements(s.a, [(st, n) for n, st in shape], at)]
            b = memory["b"][elements(s.b, [*((st, n) for n, _, st in depth), (1, s.columns)], at)]
            c = elements(s.c, [*((st, n) for n, _, st in rows), (1, s.columns)], at)
            memory["c"][c] = np.tensordot(a, b, len(depth))


PRODUCTS: list[Gemm | Gemv | Product] = [
    Gemm(70, 60, 90, Address(A, 0), 90, False, Address(B, 0), 80, False, Address(C, 0), 60),
    Gemm(61, 80, 90, Address(A, 0), 61, True, Address(B, 0), 90, True, Address(C, 3), 80),
    Gemm(80, 61, 70, Address(A, 5), 80, True, Address(B, 0), 70, True, Address(C, 0), 62),
    Gemv(70, 90, Address(A, 0), 90, False, Address(B, 1), 2, Address(C, 0), 3),
    Gemv(70, 89, Address(A, 1), 90, True, Address(B, 1), 1, Address(C, 0), 1),
    Product("p", Address(A, 0), Address(B, 0), Address(C, 0), 20, ((7, 90, 80), (3, 2, 20)),
            ((5, 3, 20),), add=False),
]  # fmt: skip


@pytest.mark.parametrize("product", PRODUCTS, ids=range(len(PRODUCTS)))
def test_the_parts_of_a_product_make_the_whole(product: Gemm | Gemv | Product) -> None:
    rng = np.random.default_rng(0)
    memory = {b.name: rng.standard_normal(b.size) for b in (A, B)}
    whole = {**memory, "c": np.zeros(C.size)}
    value(product, whole, {})
    pieces = split(product, "part", 0.0)
    assert pieces is not None
    parts = {**memory, "c": np.zeros(C.size)}
    for piece in pieces:
        if piece is not None:
            value(piece, parts, {})
    np.testing.assert_allclose(parts["c"], whole["c"], rtol=1e-12)
    assert whole["c"].any()
    program = LoopProgram([], [A, B], [C])
    shared = cut(pieces[0], Scope(program, [product], [[product]]), 0.0)
    assert shared is not None
    assert shared.blocks == pieces[0].extent


def test_small_products_stay_whole() -> None:
    assert split(PRODUCTS[0], "part", 1e9) is None


# -- how many blocks -------------------------------------------------------------------------------


def rows(extent: int, columns: int) -> For:
    store = Store(Address(OUT, 0, (("j", 1),)), V)
    return For("i", extent, [inner(x(("j", 1)), store, extent=columns)])


@pytest.mark.parametrize("extent", [5, 7, 8, 25, 31, 32, 50, 512])
@pytest.mark.parametrize("columns", [20_000, 60_000, 170_000])
def test_two_threads_have_as_much_to_do(extent: int, columns: int) -> None:
    loop = rows(extent, columns)
    blocks = number_of_blocks(loop, cost(loop), 0, 1.0)
    assert 1 < blocks <= extent
    assert longest(extent, blocks) <= max(-(-extent // 2), 0.54 * extent)


def test_a_loop_of_single_statements_is_cut_evenly() -> None:
    body: list[Statement] = [x(("i", 1)), Store(Address(OUT, 0, (("i", 1),)), V)]
    for extent, expected in ((25088 * 50, 8), (1 << 20, 8), (3**12, 9)):
        assert number_of_blocks(For("i", extent, body), 450_000.0, 0, 1.0) == expected


def test_copies_of_sums_cost_little() -> None:
    loop = rows(64, 60_000)
    taken = cost(loop)
    assert number_of_blocks(loop, taken, int(taken / 100), 1.0) == 8
    assert number_of_blocks(loop, taken, int(taken), 1.0) == 0


def test_the_busier_of_two_threads() -> None:
    assert longest(8, 2) == 4
    assert longest(25, 5) == 15
    assert longest(25, 25) == 13
    assert longest(3, 3) == 2


def test_short_loops_are_shared_in_long_programs() -> None:
    short = rows(4, int(SHARED / 4))
    assert least([[short]]) == SHARED
    count = int(AWAKE / cost(short)) + 1
    assert least([[short]] * count) < SHARED
    assert least([[short] * count]) < SHARED


def test_small_products_are_halved() -> None:
    there = Address(X, 0)
    gemm = Gemm(64, 64, 512, there, 64, True, there, 64, False, Address(OUT, 0), 64)
    pieces = split(gemm, "part", SHARED)
    assert pieces is not None
    assert (pieces[0].extent, pieces[0].body[0].m) == (2, 32)  # type: ignore[union-attr]
    assert split(gemm._replace(m=24, n=40), "part", 1.0) is None
