"""Matrix products that the LLVM renderer writes out: each way, on each width of vectors."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest

from graphjit.codegen import llvm_matrix_choice
from graphjit.codegen.blas import find
from graphjit.codegen.code import Code
from graphjit.codegen.llvm_kernel import KernelWriter
from graphjit.codegen.llvm_library import own_call, product_of
from graphjit.codegen.llvm_matrix import MatrixProduct, Steps
from graphjit.codegen.llvm_matrix_choice import SKINNY, Way, choice, further, ways
from graphjit.codegen.llvm_matrix_rows import packs
from graphjit.codegen.llvm_text import Module
from graphjit.codegen.loops import Address, Buffer, Gemm, Gemv, LoopProgram
from graphjit.codegen.native import compiled, host, made_for, this_one
from graphjit.codegen.render_llvm import module_text
from graphjit.tuning import TABLE
from running import Array

BEFORE, AFTER = 3, 5  # elements around each matrix, and
GAP = 2  # between its rows
WIDTHS = [w for w in (64, 32, 16) if w <= this_one().vector_bytes]
DTYPES = [np.dtype(np.float32), np.dtype(np.float64)]
FORMS = ["AB", "AtB", "ABt", "AtBt", "Ax", "Atx"]
SHAPES = [
    (1, 1, 1), (2, 2, 2), (3, 5, 7), (7, 3, 2), (4, 16, 1), (1, 9, 4), (16, 1, 9), (10, 16, 32),
    (9, 17, 33), (32, 10, 16), (5, 50, 19), (23, 4, 3), (2, 19, 70),
]  # fmt: skip
widths = pytest.mark.parametrize("width", WIDTHS)
dtypes = pytest.mark.parametrize("dtype", DTYPES, ids=str)
forms = pytest.mark.parametrize("form", FORMS)


class Stored(NamedTuple):
    """A matrix in memory, with NaNs where there is nothing of it."""

    memory: Array
    rows: Array
    step: int

    @classmethod
    def of(cls, values: Array, gap: int = GAP) -> Stored:
        """A copy with room around it and between its rows."""
        count, size = values.shape
        step = size + gap
        memory = np.full(BEFORE + count * step + AFTER, np.nan, values.dtype)
        rows = memory[BEFORE : BEFORE + count * step].reshape(count, step)[:, :size]
        rows[:] = values
        return cls(memory, rows, step)

    def address(self, name: str) -> Address:
        """Of its first element."""
        buffer = Buffer(name, self.memory.size, self.memory.dtype, "input")
        return Address(buffer, BEFORE, ())


class Case(NamedTuple):
    """A product of two matrices, or of a matrix and a vector, in memory."""

    statement: Gemm | Gemv
    operands: list[Stored]
    wanted: Array

    def got(self, way: Way) -> Array:
        """What one way gives, once it is checked that nothing else was written."""
        before = [x.memory.copy() for x in self.operands]
        function(self.statement, way)(*(x.memory.ctypes.data for x in self.operands))
        result = self.operands[2].rows.copy()
        self.operands[2].rows[:] = before[2][BEFORE] if result.size else 0
        for old, stored in zip(before, self.operands, strict=True):
            np.testing.assert_array_equal(old, stored.memory)
        return result


def stored(form: str, a: Array, b: Array, gap: int = GAP) -> Case:
    """The statement for op(A) op(B), with A and B as they are in memory."""
    with np.errstate(all="ignore"):
        wanted = (a.T if "At" in form else a) @ (b.T if "Bt" in form else b)
    operands = [Stored.of(a), Stored.of(b, gap), Stored.of(np.full_like(wanted, 7.0), gap)]
    left, right, out = (x.address(n) for x, n in zip(operands, "abc", strict=True))
    if form[-1] == "x":
        steps = [x.step for x in operands]
        statement: Gemm | Gemv = Gemv(
            len(a), a.shape[1], left, steps[0], form == "Atx", right, steps[1], out, steps[2]
        )
    else:
        (m, n), k = wanted.shape, a.shape["At" not in form]
        first, second = (left, operands[0].step, "At" in form), (right, operands[1].step)
        statement = Gemm(m, n, k, *first, *second, "Bt" in form, out, operands[2].step)
    return Case(statement, operands, wanted)


def random_case(
    form: str, shape: tuple[int, int, int], dtype: np.dtype[Any], gap: int = GAP
) -> Case:
    """Small whole numbers: all sums are exact, in whatever order they are taken."""
    m, n, k = shape if form[-1] != "x" else (shape[0], 1, shape[2])
    seed = np.random.default_rng([m, n, k])
    a = seed.integers(-9, 10, (k, m) if "At" in form else (m, k)).astype(dtype)
    b = seed.integers(-9, 10, (n, k) if "Bt" in form else (k, n)).astype(dtype)
    return stored(form, a, b, gap)


def function(statement: Gemm | Gemv, way: Way) -> Callable[..., None]:
    """One way to compute a statement, on the addresses of its operands."""
    module, s = Module(), statement
    w = KernelWriter(module, LoopProgram([], [], []))
    places = (s.a, s.b, s.c) if isinstance(s, Gemm) else (s.a, s.x, s.y)
    for place in places:
        w.base(place)
    first, second, third = places
    operands = (first, second) if isinstance(s, Gemm) else (second, first)
    own_call(w, way, *operands, third)
    size = first.buffer.dtype.itemsize
    head = ["define void @f(ptr %o0, ptr %o1, ptr %o2) #0 {", "entry:"]
    moved = [f"  %p{i} = getelementptr i8, ptr %o{i}, i64 {BEFORE * size}" for i in range(3)]
    text = "\n".join([*head, *moved, *w.text_lines(), "  ret void", "}"])
    code = Code(compiled(module_text(module, [text], "a product")), module.symbols)
    return code.function("f", *[ctypes.c_void_p] * 3)


@pytest.fixture
def processor(width: int) -> Iterator[None]:
    """This processor, with vectors of so many bytes."""
    with made_for(host()._replace(vector_bytes=width, fma=host().fma and width > 16)):
        yield


@widths
@dtypes
@forms
@pytest.mark.usefixtures("processor")
def test_every_way_gives_the_product_and_touches_nothing_else(
    form: str, dtype: np.dtype[Any]
) -> None:
    for shape in SHAPES:
        case = random_case(form, shape, dtype)
        found = ways(product_of(case.statement))
        assert found
        for way in found:
            message = f"{way.title} {shape}"
            np.testing.assert_array_equal(case.got(way), case.wanted, err_msg=message)


@widths
@dtypes
@pytest.mark.usefixtures("processor")
def test_rows_that_are_far_apart_are_put_together(dtype: np.dtype[Any]) -> None:
    case = random_case("AB", (50, 19, 17), dtype, gap=1029)
    product = product_of(case.statement)
    assert packs(product)
    assert not packs(product._replace(m=2))
    for way in ways(product):
        np.testing.assert_array_equal(case.got(way), case.wanted, err_msg=way.title)


@dtypes
@forms
def test_rounding_is_that_of_a_sum(form: str, dtype: np.dtype[Any]) -> None:
    seed = np.random.default_rng(5)
    n = 1 if form[-1] == "x" else 19
    a = seed.standard_normal((70, 13) if "At" in form else (13, 70)).astype(dtype)
    b = seed.standard_normal((n, 70) if "Bt" in form else (70, n)).astype(dtype)
    case = stored(form, a, b)
    exact = stored(form, a.astype(np.longdouble), b.astype(np.longdouble)).wanted
    size = stored(form, abs(a), abs(b)).wanted
    for way in ways(product_of(case.statement)):
        assert np.all(abs(case.got(way) - exact) <= 70 * np.finfo(dtype).eps * size), way.title


@widths
@dtypes
@forms
@pytest.mark.usefixtures("processor")
def test_what_is_not_finite_reaches_its_own_row_and_column_alone(
    form: str, dtype: np.dtype[Any]
) -> None:
    n = 1 if form[-1] == "x" else 11
    a = np.ones((21, 9) if "At" in form else (9, 21), dtype)
    b = np.ones((n, 21) if "Bt" in form else (21, n), dtype)
    a.flat[[0, 40, 100]] = np.nan, np.inf, -np.inf
    b.flat[20] = np.inf
    case = stored(form, a, b)
    assert not np.isfinite(case.wanted).all()
    for way in ways(product_of(case.statement)):
        np.testing.assert_array_equal(case.got(way), case.wanted, err_msg=way.title)


@dtypes
def test_a_product_that_one_way_does_not_suit_has_another(dtype: np.dtype[Any]) -> None:
    def titles(m: int, n: int, k: int, *, across: bool) -> set[str]:
        b = Steps(1, k) if across else Steps(n, 1)
        return {w.title for w in ways(MatrixProduct(dtype, m, n, k, Steps(k, 1), b, Steps(n, 1)))}

    assert titles(8, 8, 8, across=True) == {"rows", "columns", "dots"}
    assert titles(8, 8, 8, across=False) == {"rows", "columns"}
    assert titles(1, 8, 1 << 20, across=True) == {"dots"}  # too much to transpose on the stack


@pytest.mark.parametrize("width", [16, 32, 64])
@dtypes
@pytest.mark.usefixtures("processor")
def test_the_limits_are_those_of_the_width_and_the_dtype(
    width: int, dtype: np.dtype[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = TABLE[width].products[dtype.itemsize]
    monkeypatch.setattr(llvm_matrix_choice, "threads", lambda: 2)

    def product(m: int, n: int, k: int) -> MatrixProduct:
        return MatrixProduct(dtype, m, n, k, Steps(k, 1), Steps(n, 1), Steps(n, 1))

    assert choice(product(32, 16, 16)) is not None
    assert choice(product(1, limits.vector, 1)) is not None
    assert choice(product(1, limits.vector + 1, 1)) is None
    assert choice(product(64, 64, limits.matrix // 64**2)) is not None
    assert choice(product(64, 64, limits.matrix // 64**2 + 1)) is None
    assert choice(product(4, 0, 4)) is None
    assert (choice(product(96, 96, 96), held=True) is None) == (width == 32)
    monkeypatch.setattr(llvm_matrix_choice, "threads", lambda: 1)
    assert choice(product(64, 64, limits.alone // 64**2 + 1)) is None
    assert (choice(product(96, 96, 96)) is None) == (width == 32)
    assert choice(product(64, 2048, 2048)) is None  # larger than the second cache
    most = further() // (1000 * dtype.itemsize)
    assert (choice(product(most - 4, 4, 1000)) is not None) == (width == 64)
    assert choice(product(most, 4, 1000)) is None
    assert choice(product(most - SKINNY - 1, SKINNY + 1, 1000)) is None


def test_the_threads_of_the_library_are_known() -> None:
    blas = find()
    assert blas is not None
    assert 1 <= blas.threads() <= (os.cpu_count() or 1)
