"""The function of one block of turns of a loop that threads share, in LLVM IR.

It takes the context, which holds what it needs from outside, and the number of the block.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from graphjit.codegen.llvm_inner import InnerLoop, neutral
from graphjit.codegen.llvm_instructions import binary
from graphjit.codegen.llvm_kernel import KernelWriter
from graphjit.codegen.llvm_loops import innermost
from graphjit.codegen.llvm_memory import Parameter
from graphjit.codegen.llvm_text import I64, Operand, constant
from graphjit.codegen.loops import (
    Address,
    Buffer,
    Constant,
    Fill,
    For,
    Let,
    Scalar,
    Statement,
    Store,
    Value,
)
from graphjit.codegen.parallel import Cut
from graphjit.codegen.parallel_rows import Row
from graphjit.records import NamedTuple

BLOCK = "block"  # the name of the number of a block
LINE = 64  # bytes of a cache line: no two blocks write into one
STACK = 1 << 16  # bytes; more than that comes from the heap


class Rooms(NamedTuple):
    """Where blocks leave what they add up: a buffer each, with room of its own for each block.

    Attributes:
        parts: For each accumulator.
        copies: For each buffer that is summed into, by its name.
        status: For the codes of checks that fail.
        places: The pointers to these buffers, by their names.
    """

    parts: Mapping[Value, Buffer]
    copies: Mapping[str, Buffer]
    status: Buffer | None
    places: dict[str, str]

    def buffers(self) -> list[Buffer]:
        """All of them."""
        status = [self.status] if self.status else []
        return [*self.parts.values(), *self.copies.values(), *status]


class Task(KernelWriter):
    """The function of one block.

    Attributes:
        imported: What it takes out of the context, by its name here: operands of the other side.
    """

    def __init__(self, outer: KernelWriter, rooms: Rooms, cut: Cut, loop: For) -> None:
        super().__init__(outer.module, outer.program)
        self.outer, self.rooms, self.cut, self.shared = outer, rooms, cut, loop
        self.tapes, self.turns = outer.tapes, outer.turns
        self.imported: dict[str, str] = {}
        self.known[BLOCK] = Operand("%block", I64)
        self.pooled = self.may_share = False

    def text(self) -> str:
        """The function without its name."""
        heap = self.rows()
        for b in self.rooms.buffers():
            self.private[b.name] = self.bring(f"ptr {self.rooms.places[b.name]}")
        for root, copy in self.rooms.copies.items():
            self.private[root] = self.own(copy)
        if self.rooms.status:
            self.put(f"store i64 0, ptr {self.own(self.rooms.status)}")
        self.statements(self.around())
        if heap:
            self.module.declare("free", "void", ["ptr"])
            self.put(f"call void @free(ptr {heap})")
        lines = ["(ptr %context, i64 %block) #0 {", "entry:", *self.head, *self.text_lines()]
        return "\n".join([*lines, "  ret void", "}"])

    def rows(self) -> str:
        """Make room for what turns write before they read it; what is to be freed of it."""
        sizes = {r: -(-row.size // LINE) * LINE for r, row in self.cut.private.items()}
        total, heap = sum(sizes.values()), ""
        place = self.fresh()
        if total <= STACK:
            self.head.append(f"  {place} = alloca [{max(total, 1)} x i8], align {LINE}")
        else:
            heap = self.memory_call("malloc", f"i64 {total + LINE}")
            start = self.let(f"ptrtoint ptr {heap} to i64")
            line = self.let(f"and i64 {self.let(f'add i64 {start}, {LINE - 1}')}, {-LINE}")
            self.put(f"{place} = inttoptr i64 {line} to ptr")
        at = 0
        for root, size in sizes.items():
            own = self.let(f"getelementptr i8, ptr {place}, i64 {at}")
            self.copy(self.cut.private[root], own)
            self.private[root] = own
            at += size
        return heap

    def copy(self, row: Row, own: str) -> None:
        """Begin with what is in the buffer before the loop."""
        if row.source is not None:
            name = "llvm.memcpy.p0.p0.i64"
            self.module.declare(name, "void", ["ptr", "ptr", "i64", "i1"])
            there = self.pointer(Address(row.source, 0))
            self.put(f"call void @{name}(ptr {own}, ptr {there}, i64 {row.size}, i1 false)")

    def own(self, b: Buffer) -> str:
        """Where the room of this block begins."""
        offset = binary(self, "mul", self.known[BLOCK], constant(b.shape[0], I64))
        size = b.dtype.itemsize
        return self.let(f"getelementptr [{size} x i8], ptr {self.private[b.name]}, {offset}")

    def around(self) -> list[Statement]:
        """Accumulators set to nothing, the loop, and the accumulators written."""
        before: list[Statement] = []
        after: list[Statement] = []
        for value, op in self.cut.folds.items():
            before.append(Let(value, "copy", (Constant(neutral(op, value.dtype), value.dtype),)))
            part = self.rooms.parts[value]
            after.append(Store(Address(part, 0, ((BLOCK, part.shape[0]),)), value))
        for b, op in self.cut.sums.values():
            before.append(Fill(b, Constant(neutral(op, b.dtype), b.dtype)))
        return [*before, self.shared, *after]

    def loop(self, s: For) -> None:
        """A counted loop; of the one that is shared, this block's turns."""
        if s is not self.shared:
            return super().loop(s)
        body, blocks = innermost(s), self.cut.blocks
        if body is not None:
            start = binary(self, "mul", self.known[BLOCK], constant(s.extent, I64))
            return InnerLoop(self, s, body).write(start)
        self.turns *= max(1, s.extent // blocks)
        begin, end = (self.bound(s.extent, blocks, more) for more in (0, 1))
        self.stretch(begin, end, lambda i: self.turn(s, i))
        return None

    def bound(self, extent: int, blocks: int, more: int) -> Operand:
        """The first turn of this block, or of the one after it."""
        block = binary(self, "add", self.known[BLOCK], constant(more, I64))
        product = binary(self, "mul", block, constant(extent, I64))
        return binary(self, "udiv", product, constant(blocks, I64))

    def stretch(
        self, begin: Operand, end: Operand, turn: Callable[[Operand], Sequence[Operand]]
    ) -> None:
        """``turn`` from one number to another, which is larger."""
        before, top, after = self.block, self.label(), self.label()
        self.put(f"br label %{top}")
        self.begin(top)
        index, following = self.fresh(), self.fresh()
        phi: list[str] = []
        self.lines.append(phi)
        turn(Operand(index, I64))
        ways = f"[ {begin.text}, %{before} ], [ {following}, %{self.block} ]"
        phi.append(f"  {index} = phi i64 {ways}")
        self.put(f"{following} = add nuw nsw i64 {index}, 1")
        more = self.let(f"icmp ult i64 {following}, {end.text}")
        self.put(f"br i1 {more}, label %{top}, label %{after}")
        self.begin(after)

    # -- what comes from outside ------------------------------------------------------------------

    def bring(self, operand: str) -> str:
        """The name here of a value of the other side, given with its type."""
        known = {there: here for here, there in self.imported.items()}
        if operand in known:
            return known[operand]
        place = len(self.imported)
        name, slot = f"%c{place}", f"%s{place}"
        self.imported[name] = operand
        kind = operand.rpartition(" ")[0]
        self.head += [
            f"  {slot} = getelementptr i64, ptr %context, i64 {place}",
            f"  {name} = load {kind}, ptr {slot}",
        ]
        return name

    def pointer_to(self, name: str, offset: int = 0) -> str:
        """The pointer to an argument of the other side, from a byte on."""
        if name == "status" and self.rooms.status:
            return self.own(self.rooms.status)
        self.parameters.setdefault(Parameter(name, offset), "")
        return self.bring(f"ptr {self.outer.pointer_to(name, offset)}")

    def counter(self, name: str) -> Operand:
        """The count of a loop outside of all functions."""
        return Operand(self.bring(str(self.outer.counter(name))), I64)

    def named(self, name: str) -> Operand:
        """A loop index, of this side or of the other."""
        if name not in self.known and name not in self.slots and name in self.outer.known:
            there = self.outer.known[name]
            self.known[name] = Operand(self.bring(str(there)), there.dtype)
        return super().named(name)

    def read(self, x: Scalar) -> Operand:
        """A scalar of this side, or of the other."""
        if isinstance(x, Value) and x.name not in self.known and x.name not in self.slots:
            there = self.outer.read(x)
            if not there.text.startswith("%"):
                return there
            self.known[x.name] = Operand(self.bring(str(there)), there.dtype)
        return super().read(x)
