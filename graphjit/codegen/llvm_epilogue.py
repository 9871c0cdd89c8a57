"""Small products with what is done to each element while it is in a register.

The tiles are those of ``llvm_product``. After its sums a tile has the values of its elements, some
rows by some vectors; the body of the loop that would read them is written out for each vector.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from graphjit.codegen.epilogues import Around, Epilogue, behind, down, steps
from graphjit.codegen.llvm_epilogue_choice import pays, tiling_of
from graphjit.codegen.llvm_library import way_for
from graphjit.codegen.llvm_mathematics import computed
from graphjit.codegen.llvm_matrix import tuned
from graphjit.codegen.llvm_matrix_rows import turned
from graphjit.codegen.llvm_product import Tiles
from graphjit.codegen.llvm_scalars import operation, total
from graphjit.codegen.llvm_text import I64, Operand, constant, kind, memory
from graphjit.codegen.loops import (
    Address,
    Gemm,
    Kernel,
    Let,
    Load,
    Product,
    Scalar,
    Statement,
    Store,
    Value,
)

if TYPE_CHECKING:
    from graphjit.codegen.llvm_kernel import KernelWriter as Writer
    from graphjit.codegen.llvm_memory import Memory

TURN = 8  # multiplications of vectors in a turn of the loop over the sums, for short text


def product_of(s: Gemm) -> Product:
    """The product, with the steps of its operands as they are."""
    a = (1, s.lda) if s.transpose_a else (s.lda, 1)
    rows, depth = ((s.m, a[0], s.ldc),), ((s.k, a[1], s.n if s.transpose_b else s.ldb),)
    return Product("", s.a, s.b, s.c, s.n, rows, depth, add=False, origin=s.origin)


def varying(e: Epilogue) -> dict[str, tuple[bool, bool]]:
    """Whether each value is another in every row, and whether it is in every column."""
    found: dict[str, tuple[bool, bool]] = {}
    for s in (*e.once, *e.body):
        if isinstance(s, Load):
            row, column = steps(e, s.address)
            found[s.value.name] = row != 0, column != 0
        elif isinstance(s, Let):
            ways = [found[o.name] for o in s.operands if isinstance(o, Value) and o.name in found]
            found[s.value.name] = any(w[0] for w in ways), any(w[1] for w in ways)
    return found


class Finished(Tiles):
    """Writes a product and its epilogue.

    Attributes:
        active: The lanes of each vector of the tile.
        places: For each load and store where it is at the first element of the tile, and its steps.
        down: The stores that add up columns.
        known: The values of the tile, by their name, row and vector; 0 where they are all alike.
        sums: What goes to the sums of columns.
    """

    def __init__(self, w: Writer, e: Epilogue) -> None:
        super().__init__(w, product_of(e.product), tiling_of(e))
        self.e, self.varying = e, varying(e)
        self.active: list[int] = []
        self.places: dict[Address, tuple[str, int, int]] = {}
        self.down = {s for s in e.body if isinstance(s, Store) and down(e, s)}
        self.known: dict[tuple[str, int, int], Operand] = {}
        self.sums: dict[tuple[Store, int], list[Operand]] = {}
        if e.product.transpose_b:
            self.b = self.packed()

    def packed(self) -> str:
        """B by rows, on the stack."""
        s, place = self.e.product, self.w.fresh()
        self.w.head.append(f"  {place} = alloca [{s.k * s.n} x {kind(self.dtype, 1)}], align 64")
        name = turned(self.w.module, self.dtype, s.n, s.k, s.ldb)
        self.w.put(f"call void @{name}(ptr {self.b}, ptr {place}, ptr null)")
        return place

    def panel(self, column: Operand, width: int) -> None:
        """All rows of some columns."""
        m, part = self.e.product.m, self.tiling.part
        whole = m // part * part
        for start, count, size in ((0, whole, part), (whole, m - whole, m - whole)):
            if count:
                self.repeat(count, size, lambda i, start=start, size=size: self.whole(  # type: ignore[misc]
                    self.w.plus(i, constant(start, I64)), column, size, width
                ))  # fmt: skip

    def whole(self, row: Operand, column: Operand, rows: int, width: int) -> None:
        """One tile: its sums, then what is done with them."""
        lanes, (_, a_step, _) = self.tiling.lanes, self.s.rows[0]
        active = [min(lanes, width - at) for at in range(0, width, lanes)]
        zeros = [constant(0, self.dtype, lanes)] * (rows * len(active))
        a, b = self.further(self.a, row, a_step), self.further(self.b, column, 1)
        sums = self.depth(a, b, 0, zeros, [r * a_step for r in range(rows)], active)
        self.begin(row, column)
        self.active = active
        together = tuned().together
        for first in range(0, len(sums), together):
            self.elements(sums[first : first + together], first)
        self.added()
        self.w.vector = ("", 1, 0)

    def unroll(self, extent: int, sums: int) -> int:
        """How many turns of the loop over the sums are written one after the other."""
        return max(n for n in range(1, TURN + 1) if extent % n == 0 and n * sums <= max(TURN, sums))

    def masked(self, v: int) -> None:
        """From here on the lanes of a vector that are there."""
        lanes, active = self.tiling.lanes, self.active[v]
        self.w.vector = ("", lanes, active if active < lanes else 0)

    def begin(self, row: Operand, column: Operand) -> None:
        """Where a tile begins, in all that is read and written."""
        e, w = self.e, self.w
        if e.row:
            w.known[e.row], w.known[e.column] = row, column
        else:
            w.known[e.column] = w.plus(w.times(row, e.product.n), column)
        inside = (s.address for s in (*e.once, *e.body) if isinstance(s, Load | Store))
        self.places = {a: (w.first(a), *steps(e, a)) for a in dict.fromkeys(inside)}
        self.known, self.sums = {}, {}

    def elements(self, values: Sequence[Operand], first: int) -> None:
        """All that is done with some vectors, statement by statement: each waits for its own."""
        for s in (*self.e.once, *self.e.body):
            for at, value in enumerate(values, first):
                r, v = divmod(at, len(self.active))
                self.masked(v)
                if isinstance(s, Store):
                    self.stored(s, r, v)
                elif (key := self.key(s.value.name, r, v)) not in self.known:
                    self.known[key] = self.computed(s, r, v, value)

    def key(self, name: str, r: int, v: int) -> tuple[str, int, int]:
        """What a value is known by."""
        row, column = self.varying[name]
        return name, r if row else 0, v if column else 0

    def computed(self, s: Load | Let, r: int, v: int, value: Operand) -> Operand:
        """A value for one vector."""
        if isinstance(s, Let):
            return computed(self.w, s, [self.operand(x, r, v) for x in s.operands])
        if s.address.buffer != self.e.product.c.buffer:
            return self.taken(s.address, r, v)
        if self.e.kept:
            self.put(s.address, value, r, v)
        return value

    def operand(self, x: Scalar, r: int, v: int) -> Operand:
        """What is computed with: of the tile, or of what is around it."""
        if isinstance(x, Value) and x.name in self.varying:
            return self.known[self.key(x.name, r, v)]
        return self.w.read(x)

    def at(self, address: Address, r: int, v: int) -> str:
        """The pointer to the first lane of a vector."""
        pointer, row, column = self.places[address]
        offset = r * row + v * self.tiling.lanes * column
        return (
            self.w.let(f"getelementptr {memory(address.buffer.dtype)}, ptr {pointer}, i64 {offset}")
            if offset
            else pointer
        )

    def taken(self, address: Address, r: int, v: int) -> Operand:
        """What is in memory for a vector; one element where all columns read the same."""
        w, dtype, pointer = self.w, address.buffer.dtype, self.at(address, r, v)
        if self.places[address][2]:
            lanes = self.tiling.lanes
            return w.truth(w.let(w.loaded(pointer, dtype, lanes)), dtype, lanes)
        text = f"load {memory(dtype)}, ptr {pointer}, align {dtype.itemsize}"
        return w.truth(w.let(text), dtype, 1)

    def put(self, address: Address, value: Operand, r: int, v: int) -> None:
        """A vector to memory."""
        w, lanes = self.w, self.tiling.lanes
        held = w.byte(w.spread(value, lanes))
        w.stored(held, self.at(address, r, v), address.buffer.dtype, lanes)

    def stored(self, s: Store, r: int, v: int) -> None:
        """A vector, or its part of the sums of columns."""
        value = self.operand(s.value, r, v)
        if s in self.down:
            self.sums.setdefault((s, v), []).append(self.w.spread(value, self.tiling.lanes))
        elif s.op:
            old = self.taken(s.address, r, v)
            self.put(s.address, operation(self.w, s.op, [old, value], old.dtype), r, v)
        else:
            self.put(s.address, value, r, v)

    def added(self) -> None:
        """What was summed goes to memory."""
        for (s, v), parts in self.sums.items():
            self.masked(v)
            whole = total(self.w, [self.taken(s.address, 0, v), total(self.w, parts)])
            self.put(s.address, whole, 0, v)


def paired(kernels: Sequence[Kernel], w: Memory) -> list[Kernel]:
    """The kernels, those of products with those of their epilogues."""
    w.module.around = Around(w.program, [kernel.statements for kernel in kernels])
    done: list[Kernel] = []
    for kernel in kernels:
        last = done[-1].statements if done else []
        if last and isinstance(last[-1], Gemm) and found(w, [last[-1], *kernel.statements], 0):
            title = f"{done[-1].title}; {kernel.title}"
            done[-1] = Kernel(title, [*last, *kernel.statements], done[-1].origin)
        else:
            done.append(kernel)
    return done


def finished(w: Writer, statements: Sequence[Statement], at: int) -> int:
    """Write the product that stands somewhere, with its epilogue if it has one; where to go on."""
    known = found(w, statements, at)
    if known is None:
        w.statement(statements[at])
        return at + 1
    e, last = known
    for between in statements[at + 1 : last]:
        w.statement(between)
    Finished(w, e).write()
    return last + 1


def found(w: Memory, statements: Sequence[Statement], at: int) -> tuple[Epilogue, int] | None:
    """The epilogue of the product that stands somewhere, and where its loop is, if it pays."""
    around = w.module.around
    known = behind(statements, at, around) if around else None
    way = way_for(w, known[0].product) if known else None
    return known if known and way and pays(known[0], way.cost) else None
