"""Rows that are added up stay in registers while the rows are short, in LLVM IR.

``for i: for j: y[j] += x[i, j]`` reads and writes ``y`` once a row, and each row waits for the one
before it to be written. If all of ``y`` fits into a few vectors, they go from turn to turn instead.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from graphjit.codegen.llvm_inner import InnerLoop
from graphjit.codegen.llvm_loops import calls, innermost, terms
from graphjit.codegen.llvm_text import I64, Operand, constant
from graphjit.codegen.loops import For, Gemm, Store
from graphjit.codegen.native import host
from graphjit.codegen.sums import only_added_to
from graphjit.tuning import tuning

if TYPE_CHECKING:
    from graphjit.codegen.llvm_kernel import KernelWriter as Writer

LINES = 64  # statements that a row may be written out as, for the sake of short text


class RowSums:
    """The sums of one loop over rows that stay in registers.

    Attributes:
        stores: What adds to them, and the loop over a row that it is in.
        inner: How those loops are written.
    """

    def __init__(self, writer: Writer, loop: For) -> None:
        self.writer = writer
        self.stores: list[tuple[Store, For]] = []
        self.inner: dict[int, InnerLoop] = {}
        for store, row in candidates(writer, loop):
            self.take(store, row)

    def take(self, store: Store, row: For) -> None:
        """Keep a sum, if its row is short and there is room."""
        inner = self.inner.get(id(row)) or InnerLoop(self.writer, row, innermost(row) or [])
        pieces = -(-row.extent // inner.shape.lanes)
        tuned = tuning(host().vector_bytes)
        room = min(tuned.pieces, tuned.kept - sum(1 for _ in self.places()))
        if inner.shape.lanes == 1 or pieces > room:
            return
        light = not calls(inner.body) and len(inner.body) * pieces <= LINES
        if light and not inner.carried:
            unroll = max(1, row.extent // inner.shape.lanes)
            inner.shape = inner.shape._replace(unroll=unroll, vectors=1)
            self.inner[id(row)] = inner
            self.stores.append((store, row))

    def pieces(self, row: For) -> Iterator[tuple[int, int]]:
        """Where the vectors of a row begin, and how many lanes of each are used; 0 is all."""
        lanes = self.inner[id(row)].shape.lanes
        for start in range(0, row.extent, lanes):
            used = min(lanes, row.extent - start)
            yield start, used if used < lanes else 0

    def places(self) -> Iterator[tuple[Store, For, int, int]]:
        """All vectors of all sums."""
        for store, row in self.stores:
            for start, active in self.pieces(row):
                yield store, row, start, active

    def write(self, loop: For) -> None:
        """The loop over the rows."""
        w = self.writer
        w.ready.update(self.inner)
        before = [self.at(*place) for place in self.places()]

        def turn(i: Operand, state: list[Operand]) -> list[Operand]:
            vectors = iter(state)
            kept = {s.address.buffer.name: [next(vectors) for _ in self.pieces(row)]
                    for s, row in self.stores}  # fmt: skip
            w.sums.update({name: iter(parts) for name, parts in kept.items()})
            w.summed.update({name: [] for name in kept})
            w.turn(loop, i)
            return [x for name in kept for x in w.summed.pop(name)]

        ends = w.repeat(loop.extent, before, turn)
        for name in [s.address.buffer.name for s, _ in self.stores]:
            del w.sums[name]
        for place, end in zip(self.places(), ends, strict=True):
            self.at(*place, end)

    def at(
        self, store: Store, row: For, start: int, active: int, value: Operand | None = None
    ) -> Operand:
        """A vector of a sum in memory; with a value, it is written."""
        w, lanes = self.writer, self.inner[id(row)].shape.lanes
        w.known[row.index] = constant(start, I64)
        w.vector = (row.index, lanes, active)
        if value is None:
            value = w.load(store.address)
        else:
            w.stored(str(value), w.first(store.address), value.dtype, lanes)
        w.vector = ("", 1, 0)
        return value


def candidates(w: Writer, loop: For) -> Iterator[tuple[Store, For]]:
    """Stores that add to neighbours, the same in each turn of a loop, and the rows they are in."""
    if w.module.around and any(isinstance(s, Gemm) for s in loop.body):
        return  # a product takes the loop that reads it, sums included
    rows = [s for s in loop.body if isinstance(s, For) and innermost(s) is not None]
    only = only_added_to(loop, w.program.aliases)
    for row in rows:
        for s in row.body:
            neighbours = isinstance(s, Store) and dict(terms(s.address)).get(row.index) == 1
            if isinstance(s, Store) and neighbours and not row.reverse and only(s):
                yield s, row
