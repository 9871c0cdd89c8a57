"""The memory plan: which work buffers share memory, and which outputs may overwrite inputs."""

from __future__ import annotations

import bisect
import heapq
import itertools
from collections.abc import Collection

import numpy as np

from graphjit.codegen.loops import (
    Address,
    Buffer,
    Check,
    For,
    Index,
    Kernel,
    Let,
    Load,
    LoopProgram,
    Statement,
    Store,
    Value,
    reads,
    walk,
    writes,
)
from graphjit.ir.aval import DType, dtype_name

SCALAR = (Let, Index, Check)  # most statements, and none of memory
ALIGNMENT = 64  # bytes: a cache line, and the widest vector register


def plan(program: LoopProgram, donated: dict[int, int], foreign: Collection[str] = ()) -> None:
    """Give every work buffer an offset in the work array of its dtype.

    Two buffers may overlap only if the last kernel that touches one comes before the first that
    touches the other. First fit, the buffer that is used first goes first. ``foreign`` names
    buffers that have their place elsewhere.
    """
    donate(program, donated)
    inner = {name for _, places in program.blocks for name in places}
    skipped = {*foreign, *program.aliases, *inner}
    live = {n: found for n, found in lifetimes(program.kernels).items() if n not in skipped}
    arenas: dict[DType, Arena] = {}
    dying: list[tuple[int, int, int, int, Arena]] = []
    count = itertools.count()  # breaks ties, so that arenas are never compared
    for name in sorted(live, key=lambda n: (live[n][1], n)):
        buffer, first, last = live[name]
        while dying and dying[0][0] < first:
            _, _, offset, size, arena = heapq.heappop(dying)
            arena.release(offset, size)
        arena = arenas.setdefault(buffer.dtype, Arena())
        size = padded(buffer)
        offset = program.offsets[name] = arena.take(size)
        heapq.heappush(dying, (last, next(count), offset, size, arena))
    for block, places in program.blocks:
        start = program.offsets[block.name]
        program.offsets.update({name: start + place for name, place in places.items()})
    program.work.update({dtype: arena.size for dtype, arena in arenas.items()})


class Arena:
    """Memory that grows at its end; what is released is taken again, first fit."""

    def __init__(self) -> None:
        self.size = 0
        self.free: list[tuple[int, int]] = []  # offset and size, by offset, never adjacent

    def take(self, size: int) -> int:
        """The offset of ``size`` free elements."""
        for place, (offset, room) in enumerate(self.free):
            if room >= size:
                rest = [(offset + size, room - size)] if room > size else []
                self.free[place : place + 1] = rest
                return offset
        offset = self.size
        if self.free and sum(self.free[-1]) == self.size:  # the end is free but too short
            offset = self.free.pop()[0]
        self.size = offset + size
        return offset

    def release(self, offset: int, size: int) -> None:
        """Give elements back, joined with what is free on either side."""
        place = bisect.bisect(self.free, (offset, size))
        if place < len(self.free) and self.free[place][0] == offset + size:
            size += self.free.pop(place)[1]
        if place and sum(self.free[place - 1]) == offset:
            offset, before = self.free.pop(place - 1)
            size, place = size + before, place - 1
        self.free.insert(place, (offset, size))


def padded(buffer: Buffer) -> int:
    """The buffer's size in elements, rounded up to whole cache lines."""
    step = max(ALIGNMENT // buffer.dtype.itemsize, 1)
    return -(-max(buffer.size, 1) // step) * step


def argument_order(program: LoopProgram) -> list[Buffer]:
    """The buffers in the order in which ``run`` takes them."""
    work = [Buffer(f"work_{dtype_name(d)}", n, d, "work", (n,)) for d, n in program.work.items()]
    status = [Buffer("status", 1, np.dtype(np.int64), "output", (1,))] if program.checks else []
    outputs = [b for b in program.outputs if b.name not in program.aliases]
    return [*program.inputs, *(b for b, _ in program.constants), *outputs, *work, *status]


def lifetimes(kernels: list[Kernel]) -> dict[str, tuple[Buffer, int, int]]:
    """For each work buffer the first and the last kernel that touches it."""
    live: dict[str, tuple[Buffer, int, int]] = {}
    for index, kernel in enumerate(kernels):
        for statement in walk(kernel.statements):
            if isinstance(statement, SCALAR):
                continue
            uses = getattr(statement, "uses", ())
            for buffer in (*reads(statement), *writes(statement), *uses):
                if buffer.role == "work":
                    known = live.get(buffer.name, (buffer, index, index))
                    whole = known[0] if known[0].size >= buffer.size else buffer  # no slice of it
                    live[buffer.name] = whole, known[1], index
    return live


def donate(program: LoopProgram, donated: dict[int, int]) -> None:
    """Let outputs overwrite inputs.

    The kernel that writes such an output moves to the end of the program, where everything else
    has read the input; what it reads of the input itself it must read before it writes, at the
    very place it writes. Where this cannot be, a last kernel copies the output over.
    """
    pairs = {program.outputs[p]: program.inputs[s] for p, s in donated.items()}
    writers = {}
    for out, into in pairs.items():
        writer = sole_writer(program.kernels, out)
        if writer is not None and in_place(writer, out, into) and movable(program.kernels, writer):
            program.kernels.remove(writer)
            program.kernels.append(writer)
            writers[out] = writer
    while late := [o for o, w in writers.items() if read_after(program.kernels, w, pairs[o])]:
        for out in late:
            del writers[out]
    program.aliases.update({out.name: pairs[out].name for out in writers})
    copies = [s for out, into in pairs.items() if out not in writers for s in copying(out, into)]
    if copies:
        program.kernels.append(Kernel("update", copies))


def read_after(kernels: list[Kernel], writer: Kernel, buffer: Buffer) -> bool:
    """Whether a kernel after the writer reads the buffer."""
    later = kernels[kernels.index(writer) + 1 :]
    return any(buffer in reads(s) for k in later for s in walk(k.statements))


def sole_writer(kernels: list[Kernel], out: Buffer) -> Kernel | None:
    """The kernel that writes a buffer, if it is one and no other reads it."""
    writers = [k for k in kernels if any(out in writes(s) for s in walk(k.statements))]
    readers = [k for k in kernels if any(out in reads(s) for s in walk(k.statements))]
    return writers[0] if len(writers) == 1 and readers in ([], writers) else None


def movable(kernels: list[Kernel], kernel: Kernel) -> bool:
    """Whether no later kernel touches what this one writes."""
    made = {b.name for s in walk(kernel.statements) for b in writes(s)}
    later = kernels[kernels.index(kernel) + 1 :]
    touched = {b.name for k in later for s in walk(k.statements) for b in (*reads(s), *writes(s))}
    return not made & touched


def in_place(kernel: Kernel, out: Buffer, into: Buffer) -> bool:
    """Whether every read of ``into`` comes before the one store to ``out``, at its address."""
    statements = list(walk(kernel.statements))
    stores = [i for i, s in enumerate(statements) if out in writes(s)]
    loads = [i for i, s in enumerate(statements) if into in reads(s)]
    store = statements[stores[0]]
    if len(stores) != 1 or not isinstance(store, Store) or store.op:
        return False
    place = store.address.offset, store.address.terms
    return all(
        i < stores[0]
        and isinstance(s := statements[i], Load)
        and (s.address.offset, s.address.terms) == place
        for i in loads
    )


def copying(out: Buffer, into: Buffer) -> list[Statement]:
    """Copy a whole buffer over another."""
    value = Value(f"{out.name}_element", out.dtype)
    terms = (("i", 1),) if out.size != 1 else ()
    copy: list[Statement] = [
        Load(value, Address(out, 0, terms)),
        Store(Address(into, 0, terms), value),
    ]
    return [For("i", out.size, copy)] if terms else copy
