"""Lower a contraction: to BLAS where it is worth a call, to loops where it is small."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import TYPE_CHECKING

from graphjit.codegen.blas import find
from graphjit.codegen.loops import (
    Address,
    Buffer,
    Constant,
    For,
    Gemm,
    Gemv,
    Let,
    Load,
    Statement,
    Store,
    Value,
)
from graphjit.codegen.nest import NAMES
from graphjit.codegen.product_blocks import batched, halves, scattered
from graphjit.flags import current
from graphjit.ir.graph import Node
from graphjit.ir.table.contract import terms
from graphjit.ir.view import View, contiguous
from graphjit.records import NamedTuple

if TYPE_CHECKING:
    from graphjit.codegen.triangles import Dimension, Scratch

# Up to this many multiplications loops are used. A BLAS call of 4x4x4 takes 40 ns, Numba's loops
# 15 ns, at 6x6x6 the call wins; the LLVM renderer has functions of its own: 5 ns for 4x4x4, where
# loops, vectorised along the sum, take 12 to 55 ns. Only what is no sum, or one sum, is as fast.
SMALL = 64


def native() -> bool:
    """Whether products are machine code of our own."""
    return current().jit and current().renderer == "llvm"


class Operand(NamedTuple):
    """A buffer with a stride for each letter of the specification."""

    buffer: Buffer
    offset: int
    strides: dict[str, int]

    @classmethod
    def of(cls, buffer: Buffer, view: View, letters: str) -> Operand:
        """A view whose axes have these letters."""
        return cls(buffer, view.offset, dict(zip(letters, view.strides, strict=True)))

    def address(self, loops: dict[str, str]) -> Address:
        """Its element where the letters' loop indices are, and all other letters at 0."""
        pairs = ((name, self.strides.get(letter, 0)) for letter, name in loops.items())
        return Address(self.buffer, self.offset, tuple((n, s) for n, s in pairs if s))

    def run(self, letters: str, sizes: dict[str, int]) -> int | None:
        """The stride that walks these letters as one axis, if there is one."""
        real = [c for c in letters if sizes[c] != 1]
        for outer, inner in pairwise(real):
            if self.strides[outer] != self.strides[inner] * sizes[inner]:
                return None
        return self.strides[real[-1]] if real else 1


class ContractLowering:
    """One contraction. ``copy`` makes a contiguous copy of an operand in a given letter order."""

    def __init__(
        self, node: Node, a: tuple[Buffer, View], b: tuple[Buffer, View], out: Buffer,
        copy: Callable[[tuple[Buffer, View], list[int]], Buffer], fresh: Callable[[], str],
        scratch: Scratch,
    ) -> None:  # fmt: skip
        self.node, self.copy, self.fresh, self.scratch = node, copy, fresh, scratch
        self.first, self.second, self.result = terms(node.params["spec"])
        self.views = a, b
        self.sizes = dict(zip(self.first + self.second, a[1].shape + b[1].shape, strict=True))
        self.a, self.b = Operand.of(*a, self.first), Operand.of(*b, self.second)
        self.c = Operand.of(out, contiguous(node.aval.shape), self.result)
        self.dtype = node.aval.dtype
        shared = [c for c in self.result if c in self.first and c in self.second]
        self.batch = "".join(shared)
        self.m = "".join(c for c in self.result if c in self.first and c not in shared)
        self.n = "".join(c for c in self.result if c in self.second and c not in shared)
        self.k = "".join(c for c in self.first if c not in self.result)

    def run(self) -> list[Statement]:
        """The statements of the kernel."""
        if self._small() or self.dtype.kind != "f" or find() is None:
            return self._loops()
        return self._library() or self._copied()

    def _small(self) -> bool:
        """Whether loops are at least as fast as a product."""
        rows, depth = self.volume(self.m + self.n), self.volume(self.k)
        if native() and rows > 1 and depth > 1:
            return False
        return rows * depth <= SMALL

    def volume(self, letters: str) -> int:
        """How many combinations the letters' indices have."""
        return math.prod(self.sizes[c] for c in letters)

    def _loops(self) -> list[Statement]:
        """Nested loops with one accumulator; float32 accumulates as BLAS does, in float32."""
        letters = self.batch + self.m + self.n
        loops = {c: NAMES[d] for d, c in enumerate(letters + self.k)}
        origin = self.node.origin
        total, left, right, product = (Value(self.fresh(), self.dtype) for _ in range(4))
        body: list[Statement] = [
            Load(left, self.a.address(loops), origin),
            Load(right, self.b.address(loops), origin),
            Let(product, "multiply", (left, right), origin=origin),
            Let(total, "add", (total, product), origin=origin),
        ]
        body = self._nested(self.k, loops, body)
        zero = Constant(0, self.dtype)
        body = [Let(total, "copy", (zero,)), *body, Store(self.c.address(loops), total, "", origin)]
        return self._nested(letters, loops, body)

    def _nested(
        self, letters: str, loops: dict[str, str], body: list[Statement]
    ) -> list[Statement]:
        for c in reversed(letters):
            body = [For(loops[c], self.sizes[c], body)]
        return body

    def _library(self) -> list[Statement] | None:
        """A BLAS call inside loops over the batch, if the operands' strides allow one.

        Rows or columns that do not walk evenly become batch loops too.
        """
        m, loose_m = self._tail(self.m, (self.a, self.c))
        n, loose_n = self._tail(self.n, (self.b, self.c))
        if self.a.run(self.k, self.sizes) is None or self.b.run(self.k, self.sizes) is None:
            return None
        outer = self.batch + loose_m + loose_n
        loops = {c: NAMES[d] for d, c in enumerate(outer)}
        call = self._call(m, n, loops)
        if not isinstance(call, Gemm):
            return self._nested(outer, loops, [call]) if call is not None else None
        if self.node.params.get("symmetric"):
            return halves(call, self.fresh, own=native())
        if not outer and not self.node.params.keys().isdisjoint(("zeros", "wanted")):
            return self._triangular(call, m, n) or [call]
        batch = [(loops[c], self.sizes[c]) for c in outer]
        if native() and "wanted" in self.node.params and not scattered(call, batch):
            found = self._triangular(call, m, n, own=True)
            if found:
                return self._nested(outer, loops, found)
        return batched(call, batch, self.fresh, sums=native())

    def _triangular(
        self, call: Gemm, m: str, n: str, *, own: bool = False
    ) -> list[Statement] | None:
        """The product without what is zero, or not wanted."""
        from graphjit.codegen.triangles import triangular  # for those who need it

        if Matrix.of(self.c, m, n, self.sizes, {}).column_step != 1:
            m, n = n, m
        letters: dict[Dimension, str] = {"m": m, "n": n, "k": self.k}
        return triangular(call, self.node, letters, self.fresh, self.scratch, own=own)

    def _tail(self, letters: str, operands: tuple[Operand, Operand]) -> tuple[str, str]:
        """The longest tail of the letters that walks evenly in both operands, and the rest."""
        start = 0
        while any(o.run(letters[start:], self.sizes) is None for o in operands):
            start += 1
        return letters[start:], letters[:start]

    def _call(self, m: str, n: str, loops: dict[str, str]) -> Statement | None:
        rows, columns, depth = self.volume(m), self.volume(n), self.volume(self.k)
        a = Matrix.of(self.a, m, self.k, self.sizes, loops)
        b = Matrix.of(self.b, self.k, n, self.sizes, loops)
        c = Matrix.of(self.c, m, n, self.sizes, loops)
        if columns == 1:
            return gemv(rows, depth, a, b.flat(depth), c.flat(rows), self.node)
        if rows == 1:
            return gemv(columns, depth, b.transposed(), a.flat(depth), c.flat(columns), self.node)
        if c.column_step != 1:
            rows, columns, a, b, c = columns, rows, b.transposed(), a.transposed(), c.transposed()
        return gemm(rows, columns, depth, a, b, c, self.node)

    def _copied(self) -> list[Statement]:
        """Contiguous copies of operands first, of as little as will do, for strides in the way."""
        views = {"a": (self.views[0], self.first), "b": (self.views[1], self.second)}
        orders = {"a": self.batch + self.m + self.k, "b": self.batch + self.k + self.n}
        given = self.a, self.b
        for names in (*sorted("ab", key=lambda name: self.volume(orders[name])), "ab"):
            self.a, self.b = given
            for name in names:
                self._put(name, getattr(self, name).buffer, orders[name])
            if self._library():
                break
        for name in names:
            view, letters = views[name]
            copy = self.copy(view, [letters.index(c) for c in orders[name]])
            self._put(name, copy, orders[name])
        return self._library() or self._loops()

    def _put(self, name: str, buffer: Buffer, order: str) -> None:
        """Let an operand lie in a buffer, with the axes in order and no gaps."""
        shape = tuple(self.sizes[c] for c in order)
        setattr(self, name, Operand.of(buffer, contiguous(shape), order))


class Matrix(NamedTuple):
    """Rows and columns with a step each, in elements."""

    address: Address
    rows: int
    columns: int
    row_step: int
    column_step: int

    @classmethod
    def of(
        cls, x: Operand, rows: str, columns: str, sizes: dict[str, int], loops: dict[str, str]
    ) -> Matrix:
        """The operand with some letters as rows and others as columns."""
        count_rows, count_columns = (math.prod(sizes[c] for c in g) for g in (rows, columns))
        row_step, column_step = x.run(rows, sizes) or 0, x.run(columns, sizes) or 0
        # An axis of length 1 may have any step: choose the one that makes a plain matrix.
        if count_columns == 1 and count_rows != 1:
            column_step = 1 if row_step != 1 else count_rows
        if count_rows == 1:
            row_step = count_columns if column_step == 1 else 1
        return cls(x.address(loops), count_rows, count_columns, row_step, column_step)

    def transposed(self) -> Matrix:
        """The same memory with rows for columns."""
        return Matrix(self.address, self.columns, self.rows, self.column_step, self.row_step)

    def flat(self, length: int) -> tuple[Address, int]:
        """As a vector: its address and step."""
        return (
            self.address,
            self.row_step if self.rows == length and length != 1 else self.column_step,
        )

    def leading(self) -> tuple[int, bool] | None:
        """The leading dimension, and whether BLAS must transpose; None where neither step is 1."""
        if self.column_step == 1 and self.row_step >= self.columns:
            return self.row_step, False
        if self.row_step == 1 and self.column_step >= self.rows:
            return self.column_step, True
        return None


def gemm(m: int, n: int, k: int, a: Matrix, b: Matrix, c: Matrix, node: Node) -> Gemm | None:
    """The call for C = A B of an (m, k) and a (k, n) matrix, if BLAS can take their steps."""
    left, right, result = a.leading(), b.leading(), c.leading()
    if left is None or right is None or result is None or result[1]:
        return None
    return Gemm(m, n, k, a.address, *left, b.address, *right, c.address, result[0], node.origin)


def gemv(
    rows: int, columns: int, a: Matrix, x: tuple[Address, int], y: tuple[Address, int], node: Node
) -> Gemv | None:
    """The call for y = A x of vectors with a step each, if BLAS can take them."""
    leading = a.leading()
    if leading is None or x[1] < 1 or y[1] < 1:
        return None
    step, transpose = leading
    shape = (columns, rows) if transpose else (rows, columns)
    return Gemv(*shape, a.address, step, transpose, *x, *y, node.origin)
