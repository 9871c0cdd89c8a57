"""Small matrix products in LLVM IR: tiles of the result in registers, with static shapes.

The method is that of K. Goto and R. van de Geijn, "Anatomy of high-performance matrix
multiplication" (ACM TOMS 34, 2008), without what large matrices need: a product whose operands
fit into the first caches is one loop over the depth for each tile of the result.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from graphjit.codegen.llvm_instructions import binary
from graphjit.codegen.llvm_text import I64, Body, Module, Operand, constant, lane, suffix
from graphjit.codegen.native import host
from graphjit.ir.aval import DType
from graphjit.records import NamedTuple
from graphjit.tuning import Tiles, tuning


class Steps(NamedTuple):
    """How many elements apart the neighbours of a matrix are, down a column and along a row."""

    row: int
    column: int


class MatrixProduct(NamedTuple):
    """C = A B of an (m, k) and a (k, n) matrix; a vector is a matrix of one row."""

    dtype: DType
    m: int
    n: int
    k: int
    a: Steps
    b: Steps
    c: Steps

    @property
    def name(self) -> str:
        """A name that no other product has."""
        steps = (*self.a, *self.b, *self.c)
        shape = f"{self.m}x{self.n}x{self.k}"
        return "_".join([suffix(self.dtype, 1), shape, *map(str, steps)])


class Tile(NamedTuple):
    """What is computed at once.

    Attributes:
        rows: Rows of the result.
        vectors: Vectors of each.
        lanes: Columns in a vector, or terms of a sum.
        turns: Sums for each, which are added up in the end.
    """

    rows: int
    vectors: int
    lanes: int
    turns: int


class MatrixBody(Body):
    """The lines of a function that multiplies."""

    title: ClassVar = "product"

    def __init__(self, module: Module, dtype: DType) -> None:
        super().__init__(module)
        self.dtype = dtype

    def at(self, pointer: str, *terms: tuple[Operand | int, int]) -> str:
        """A pointer moved on by multiples of steps."""
        fixed = 0
        for index, step in terms:
            if isinstance(index, int) or index.text.isdigit():
                fixed += (index if isinstance(index, int) else int(index.text)) * step
            elif step:
                whole = binary(self, "mul", index, constant(step, I64)) if step != 1 else index
                pointer = self.let(f"getelementptr {lane(self.dtype)}, ptr {pointer}, {whole}")
        if not fixed:
            return pointer
        return self.let(f"getelementptr {lane(self.dtype)}, ptr {pointer}, i64 {fixed}")

    def zero(self, lanes: int) -> Operand:
        """Zeros."""
        return constant(0, self.dtype, lanes)

    def read(self, pointer: str, lanes: int) -> Operand:
        """Neighbours in memory."""
        held = self.zero(lanes).kind
        text = f"load {held}, ptr {pointer}, align {self.dtype.itemsize}"
        return self.value(text, self.dtype, lanes)

    def write(self, value: Operand, pointer: str) -> None:
        """Neighbours to memory."""
        self.put(f"store {value}, ptr {pointer}, align {self.dtype.itemsize}")

    def added(self, total: Operand, a: Operand, b: Operand) -> Operand:
        """A sum and a product, in one rounding where the processor can."""
        if host().fma:
            return self.intrinsic("fma", a, b, total)
        return binary(self, "fadd", total, binary(self, "fmul", a, b))

    def tiles(self, extent: int, size: int, turn: Callable[[Operand], None]) -> None:
        """``turn`` at 0, size, 2 size, ...; the last begins early enough to be a whole one.

        What two of them compute is the same, and written twice.
        """

        def whole(index: Operand, _: list[Operand]) -> list[Operand]:
            if extent % size:
                index = self.intrinsic("umin", index, constant(extent - size, I64))
            turn(index)
            return []

        self.repeat(-(-extent // size) * size, [], whole, size)

    def deep(
        self, depth: int, state: list[Operand], turns: int, step: int,
        turn: Callable[[Operand, list[Operand], int], list[Operand]],
    ) -> list[Operand]:  # fmt: skip
        """``turn(start, state, count)`` over a depth, so many steps in each, then the rest."""
        whole = depth // (turns * step) * turns * step
        if whole:
            state = self.repeat(whole, state, lambda i, old: turn(i, old, turns), turns * step)
        rest = (depth - whole) // step
        return turn(constant(whole, I64), state, rest) if rest else state

    def function(self, name: str) -> str:
        """All of it: a function of three pointers."""
        head = f"define internal void @{name}(ptr noalias %a, ptr noalias %b, ptr noalias %c) #0 {{"
        return "\n".join([head, "entry:", *self.text_lines(), "  ret void", "}"])


def powers(limit: int) -> list[int]:
    """1, 2, 4, ... up to a limit."""
    return [1 << i for i in range(limit.bit_length())]


def full_lanes(dtype: DType) -> int:
    """The lanes of a vector register."""
    return host().vector_bytes // dtype.itemsize


def tuned() -> Tiles:
    """The numbers by which tiles are cut, for the processor that code is made for."""
    return tuning(host().vector_bytes).tiles
