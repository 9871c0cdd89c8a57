"""The memory plan: which work buffers share memory, and which outputs may overwrite inputs."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from graphjit.codegen.in_place import Span, overwrites, placed, reuse, visited
from graphjit.codegen.llvm_loops import resolved
from graphjit.codegen.loops import (
    Address,
    Buffer,
    For,
    Kernel,
    Load,
    LoopProgram,
    Statement,
    Store,
    Value,
)
from graphjit.codegen.pack import Held, Life, packed
from graphjit.codegen.touch import touch
from graphjit.codegen.walks import SCALAR, ends, reads, walk, writes
from graphjit.ir.aval import dtype_name
from graphjit.records import NamedTuple

ALIGNMENT = 64  # bytes: a cache line, and the widest vector register


def plan(
    program: LoopProgram,
    donated: dict[int, int],
    foreign: Collection[str] = (),
    *,
    copied: bool = True,
    last: Sequence[Kernel] = (),
) -> None:
    """Give every work buffer an offset in the one piece of memory that all work arrays begin at.

    Two buffers may overlap only if the last kernel that touches one comes before the first that
    touches the other, or if an elementwise loop replaces one by the other. ``foreign`` names
    buffers that have their place elsewhere, ``last`` kernels that come after all others.
    """
    donate(program, donated, copied=copied)
    program.kernels += last
    inner = {name for _, places in program.blocks for name in places}
    found = lifetimes(program.kernels)
    held = side_by_side(program, found)
    skipped = {*foreign, *program.aliases, *inner, *held}
    reuse(program, {n: span for n, span in found.items() if n not in skipped}, foreign)
    spans = {n: span for n, span in found.items() if n not in {*foreign, *inner, *held}}
    lives = together(spans, program.aliases)
    names = sorted(lives, key=lambda n: (lives[n].first, n))
    packing = packed([lives[n] for n in names], [*held.values()])
    places = dict(zip(names, packing.offsets, strict=True))
    places.update({name: place for name, (place, _) in held.items()})
    for block, parts in program.blocks:
        places.update({name: places[block.name] + at for name, at in parts.items()})
    settle(program, {name: (found[name][0], place) for name, place in places.items()})


def settle(program: LoopProgram, places: Mapping[str, tuple[Buffer, int]]) -> None:
    """Note at which bytes buffers begin, and how long the work arrays are."""
    for name, (buffer, place) in places.items():
        step = buffer.dtype.itemsize
        program.offsets[name] = place // step
        end = (place + padded(buffer)) // step
        program.work[buffer.dtype] = max(program.work.get(buffer.dtype, 0), end)


def side_by_side(program: LoopProgram, found: Mapping[str, Span]) -> dict[str, Held]:
    """Where work buffers are that have to lie side by side, and what holds them.

    They wait for what reads all of them; until one is written, others may be in its place.
    """
    held, start = dict[str, Held](), 0
    for whole, parts in program.joined:
        if whole.role == "work":
            end = found[whole.name][2]
            held[whole.name] = Held(start, Life(padded(whole), end, end))
            for name, at in parts.items():
                buffer, first, _ = found[name]
                place = start + at * buffer.dtype.itemsize
                size = lines(place + buffer.size * buffer.dtype.itemsize) - place
                held[name] = Held(place, Life(size, first, end))
            start += padded(whole)
    return held


def together(
    spans: Mapping[str, tuple[Buffer, int, int]], aliases: Mapping[str, str]
) -> dict[str, Life]:
    """When each work buffer's memory is in use, by it or by what is written over it."""
    lives: dict[str, Life] = {}
    for name, (buffer, first, last) in spans.items():
        root = resolved(name, aliases)
        if root in spans:
            known = lives.get(root, Life(padded(buffer), first, last))
            lives[root] = Life(known.size, min(known.first, first), max(known.last, last))
    return lives


def padded(buffer: Buffer) -> int:
    """The buffer's size in bytes, rounded up to whole cache lines."""
    return lines(max(buffer.size, 1) * buffer.dtype.itemsize)


def lines(size: int) -> int:
    """Bytes rounded up to whole cache lines."""
    return -(-size // ALIGNMENT) * ALIGNMENT


def arena(program: LoopProgram) -> int:
    """The bytes of all work memory: the work arrays of all dtypes begin at the same place."""
    return max((n * dtype.itemsize for dtype, n in program.work.items()), default=0)


def block_of(program: LoopProgram) -> dict[str, int]:
    """For each work buffer of a program at which byte of its work memory it begins."""
    found = lifetimes(program.kernels)
    return {n: o * found[n][0].dtype.itemsize for n, o in program.offsets.items()}


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
            for buffer in ends(statement):
                if buffer.role == "work":
                    known = live.get(buffer.name, (buffer, index, index))
                    whole = known[0] if known[0].size >= buffer.size else buffer  # no slice of it
                    live[buffer.name] = whole, known[1], index
    return live


def donate(program: LoopProgram, donated: dict[int, int], *, copied: bool) -> None:
    """Let outputs overwrite inputs.

    The kernel that writes such an output moves to the end of the program, where everything else
    has read the input; what it reads of the input itself it must read before it writes, at the
    very place it writes. Where this cannot be, a last kernel copies the output over; or, if not
    ``copied``, the output has its own place.
    """
    pairs = {program.outputs[p]: program.inputs[s] for p, s in donated.items()}
    pairs = {out: into for out, into in pairs.items() if out.name not in program.aliases}
    ends = {kernel: Ends.of(kernel) for kernel in program.kernels if pairs}
    writers = {}
    for out, into in pairs.items():
        writer = sole_writer(ends, out)
        if writer is None or out.start != into.start:  # a name for another place says no place
            continue
        fits = overwrites(placed([*visited(writer.statements)]), out, into)
        if fits and movable(program.kernels, ends, writer):
            program.kernels.remove(writer)
            program.kernels.append(writer)
            writers[out] = writer
    kernels = program.kernels
    while late := [o for o, w in writers.items() if read_after(kernels, ends, w, pairs[o])]:
        for out in late:
            del writers[out]
    program.aliases.update({out.name: pairs[out].name for out in writers})
    for out, writer in writers.items():
        touch(program, out, pairs[out], writer)
    copies = [s for out, into in pairs.items() if out not in writers for s in copying(out, into)]
    if copies and copied:
        program.kernels.append(Kernel("update", copies))


class Ends(NamedTuple):
    """The names of the buffers that a kernel reads, and of those that it writes."""

    read: frozenset[str]
    written: frozenset[str]

    @classmethod
    def of(cls, kernel: Kernel) -> Ends:
        """Those of a kernel."""
        inside = [s for s in walk(kernel.statements) if not isinstance(s, SCALAR)]
        read, written = ({b.name for s in inside for b in ends(s)} for ends in (reads, writes))
        return cls(frozenset(read), frozenset(written))


def read_after(
    kernels: list[Kernel], ends: Mapping[Kernel, Ends], writer: Kernel, buffer: Buffer
) -> bool:
    """Whether a kernel after the writer reads the buffer, or a slice of it."""
    later = kernels[kernels.index(writer) + 1 :]
    return any(buffer.name in ends[k].read for k in later)


def sole_writer(ends: Mapping[Kernel, Ends], out: Buffer) -> Kernel | None:
    """The kernel that writes a buffer, if it is one and no other reads it."""
    writers = [k for k, at in ends.items() if out.name in at.written]
    readers = [k for k, at in ends.items() if out.name in at.read]
    return writers[0] if len(writers) == 1 and readers in ([], writers) else None


def movable(kernels: list[Kernel], ends: Mapping[Kernel, Ends], kernel: Kernel) -> bool:
    """Whether no later kernel touches what this one writes."""
    made = ends[kernel].written
    later = kernels[kernels.index(kernel) + 1 :]
    return not any(made & (ends[k].read | ends[k].written) for k in later)


def copying(out: Buffer, into: Buffer) -> list[Statement]:
    """Copy a whole buffer over another."""
    value = Value(f"{out.name}_element", out.dtype)
    terms = (("i", 1),) if out.size != 1 else ()
    copy: list[Statement] = [
        Load(value, Address(out, 0, terms)),
        Store(Address(into, 0, terms), value),
    ]
    return [For("i", out.size, copy)] if terms else copy
