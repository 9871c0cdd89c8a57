"""Loops that threads share, in LLVM IR: a function of a block of turns, and the call of the pool.

The function that has the loop puts what the blocks need into a table on its stack, its *context*:
pointers, scalars from outside, and room for what each block adds up. The function of a block takes
the context and the number of the block.
"""

from __future__ import annotations

from dataclasses import replace

from graphjit.codegen.blas import SYMBOL
from graphjit.codegen.llvm_inner import InnerLoop
from graphjit.codegen.llvm_instructions import compare, select
from graphjit.codegen.llvm_kernel import KernelWriter
from graphjit.codegen.llvm_library import way_for
from graphjit.codegen.llvm_loops import innermost
from graphjit.codegen.llvm_scalars import operation
from graphjit.codegen.llvm_text import I64, Module, Operand, constant
from graphjit.codegen.llvm_threads_task import BLOCK, LINE, STACK, Rooms, Task
from graphjit.codegen.loops import (
    Address,
    Buffer,
    For,
    Gemm,
    Gemv,
    Load,
    Product,
    Statement,
    Store,
    Value,
)
from graphjit.codegen.parallel import FEWEST, Cut, cut
from graphjit.codegen.parallel_products import split
from graphjit.codegen.parallel_rows import Scope
from graphjit.codegen.workers import ENTRY
from graphjit.ir.aval import DType

CALLS = 1 << 32  # to the pool: the task calls the BLAS
SERIAL = f"""define internal void @{ENTRY}(ptr %task, ptr %context, i64 %blocks, i64 %threads) {{
entry:
  br label %turn
turn:
  %i = phi i64 [ 0, %entry ], [ %following, %turn ]
  call void %task(ptr %context, i64 %i)
  %following = add i64 %i, 1
  %more = icmp ult i64 %following, %blocks
  br i1 %more, label %turn, label %end
end:
  ret void
}}"""


def shared_loop(w: KernelWriter, s: For, fewest: int = FEWEST) -> bool:
    """Write a loop so that threads share it, if that is possible and worth it."""
    scope = Scope(w.program, w.whole, w.module.kernels)
    found = cut(s, scope, w.module.worth, fewest)
    if found is not None:
        share(w, s, found)
    return found is not None


def shared_product(w: KernelWriter, s: Gemm | Gemv | Product) -> bool:
    """Write a product so that threads share its rows, if it is large.

    What is left to the BLAS otherwise is a task of one block, so that it uses no threads of its
    own: they would wait for more in a busy loop, beside ours.
    """
    if not w.may_share or not shared_parts(w, s):
        if isinstance(s, Product) or way_for(w, s) is not None:
            return False
        share(w, For("part_only", 1, [s]), Cut(1, {}, {}, {}, status=False))
    return True


def shared_parts(w: KernelWriter, s: Gemm | Gemv | Product) -> bool:
    """Write a large product so that threads share its rows."""
    pieces = split(s, f"part_{w.fresh()[1:]}", w.module.worth)
    if pieces is None or not shared_loop(w, pieces[0], 2):
        return False
    if pieces[1] is not None:
        quietly(w, pieces[1])
    return True


def share(w: KernelWriter, s: For, cut: Cut) -> None:
    """A loop whose turns threads share."""
    body = innermost(s)
    count, rest = divmod(s.extent, cut.blocks) if body is not None else (s.extent, 0)
    own = replace(s, extent=count, reverse=False)
    sharing = Sharing(w, cut)
    sharing.call(Task(w, sharing.rooms, cut, own))
    if body is not None and rest:
        last = replace(s, extent=rest, reverse=False)
        InnerLoop(w, last, body).write(constant(s.extent - rest, I64))
    sharing.release()


def quietly(w: KernelWriter, s: Statement) -> None:
    """A statement that threads do not share."""
    before = w.pooled, w.may_share
    w.pooled = w.may_share = False
    w.statement(s)
    w.pooled, w.may_share = before


class Sharing:
    """The side of the function that has the loop."""

    def __init__(self, w: KernelWriter, cut: Cut) -> None:
        self.w, self.cut = w, cut
        self.heap: list[str] = []
        self.rooms = Rooms(
            {v: self.part(v.name, 1, v.dtype) for v in cut.folds},
            {r: self.part(r, b.size, b.dtype) for r, (b, _) in cut.sums.items()},
            self.part("status", 1, I64) if cut.status else None,
            {},
        )
        self.rooms.places.update({b.name: self.room(b) for b in self.rooms.buffers()})

    def part(self, name: str, size: int, dtype: DType) -> Buffer:
        """A buffer with room of whole cache lines for each block."""
        step = -(-size * dtype.itemsize // LINE) * LINE // dtype.itemsize
        return Buffer(f"parts {name}", step * self.cut.blocks, dtype, "work", (step,))

    def room(self, b: Buffer) -> str:
        """Memory: on the stack, unless it is large."""
        size = self.w.bytes_of(b)
        if size <= STACK:
            place = self.w.fresh()
            self.w.head.append(f"  {place} = alloca [{size} x i8], align {LINE}")
        else:
            place = self.w.memory_call("malloc", f"i64 {size}")
            self.heap.append(place)
        self.w.private[b.name] = place
        return place

    def call(self, task: Task) -> None:
        """Run all blocks, and add up what they leave."""
        w = self.w
        name = w.module.task(text := task.text())
        context = w.fresh()
        w.head.append(f"  {context} = alloca [{max(len(task.imported), 1)} x i64], align 8")
        for place, operand in enumerate(task.imported.values()):
            slot = w.let(f"getelementptr i64, ptr {context}, i64 {place}")
            w.put(f"store {operand}, ptr {slot}")
        declare(w.module)
        calls = CALLS if f"@{SYMBOL}" in text else 0
        w.put(
            f"call void @{ENTRY}(ptr @{name}, ptr {context}, i64 {self.cut.blocks}, "
            f"i64 {w.module.threads + calls})"
        )
        w.module.shared += 1
        self.combine()

    def combine(self) -> None:
        """What the blocks leave, in their order."""
        if self.rooms.parts or self.rooms.status:
            self.w.repeat(self.cut.blocks, [], lambda i, _: self.one(i))
        for root, (b, op) in self.cut.sums.items():
            part, value = self.rooms.copies[root], Value("part", b.dtype)
            here = Address(part, 0, (("part_block", part.shape[0]), ("part_place", 1)))
            body: list[Statement] = [
                Load(value, here), Store(Address(b, 0, (("part_place", 1),)), value, op)
            ]  # fmt: skip
            inner: list[Statement] = [For("part_place", b.size, body)] if b.size > 1 else body
            if b.size == 1:
                body[0] = Load(value, Address(part, 0, here.terms[:1]))
                body[1] = Store(Address(b, 0), value, op)
            quietly(self.w, For("part_block", self.cut.blocks, inner))

    def one(self, block: Operand) -> list[Operand]:
        """What one block leaves in its scalars."""
        w = self.w
        w.known[BLOCK] = block
        for value, op in self.cut.folds.items():
            room = self.rooms.parts[value]
            part = w.load(Address(room, 0, ((BLOCK, room.shape[0]),)))
            if value.name in w.lost:
                w.add_exactly(value, part)
            else:
                w.assign(value, operation(w, op, [w.held(value), part], value.dtype))
        if self.rooms.status:
            code = w.load(Address(self.rooms.status, 0, ((BLOCK, self.rooms.status.shape[0]),)))
            whole = w.pointer_to("status")
            before = w.value(f"load i64, ptr {whole}", I64)
            failed = compare(w, "ne", code, constant(0, I64))
            w.put(f"store {select(w, failed, code, before)}, ptr {whole}")
        return []

    def release(self) -> None:
        """Give the heap back what is its."""
        for place in self.heap:
            self.w.module.declare("free", "void", ["ptr"])
            self.w.put(f"call void @free(ptr {place})")


def declare(module: Module) -> None:
    """Say what the pool takes, or be it: all blocks, one after the other."""
    if module.pool is None:
        module.helpers[ENTRY] = SERIAL
    else:
        module.declare(ENTRY, "void", ["ptr", "ptr", "i64", "i64"])
        module.symbols[ENTRY] = module.pool()
