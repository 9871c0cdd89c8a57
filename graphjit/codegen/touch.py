"""Update in place only what is touched: a scatter into zeros that is added is a scatter."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from graphjit.codegen.in_place import Site, visited
from graphjit.codegen.llvm_loops import resolved
from graphjit.codegen.loops import (
    Buffer,
    Constant,
    Fill,
    For,
    Kernel,
    Let,
    Load,
    LoopProgram,
    Scalar,
    Statement,
    Store,
    Value,
)
from graphjit.codegen.updates import Part, Update, needed, update_of
from graphjit.codegen.walks import ends, reads, touched, walk, writes
from graphjit.records import NamedTuple


class Source(NamedTuple):
    """A kernel that scatters into zeros; ``late`` where it can wait for the update."""

    kernel: Kernel
    late: bool


def touch(program: LoopProgram, out: Buffer, into: Buffer, kernel: Kernel) -> None:
    """Let a scatter write where its result would be added, if all else there stays as it is.

    ``zeros = 0; zeros[i] += u; w = w - rate zeros`` becomes ``w[i] += -(rate u)``: the same but for
    rounding, and of an array of many rows only those are touched that a step has read. So are
    cotangents that a scan collects in an array. Otherwise nothing changes.

    Args:
        program: Its kernels are changed.
        out: The output that is written over ``into``.
        into: What it overwrites.
        kernel: The one that writes it.
    """
    nest = next((s for s in kernel.statements if isinstance(s, For) and wrote(s, out)), None)
    update = None if nest is None else update_of(kernel, nest, out, into)
    if update is None:
        return
    found = [source(program, kernel, part, update, into) for part in update.parts]
    sources = [s for s in found if s is not None]
    if len(sources) < len(found):
        return
    for part, (scatter, late) in zip(update.parts, sources, strict=True):
        program.names += 1
        names = Names(f"v{program.names}")
        before = [names.renamed(s) for s in needed(update.before, part.steps)]
        body = [s for s in scatter.statements if s != cleared(part.zeros)]
        scatter.statements[:] = [*before, *redirected(body, part, out, names, 0)]
        if late:
            program.kernels.remove(scatter)
            program.kernels.insert(program.kernels.index(kernel), scatter)
    kernel.statements[:] = [s for s in kernel.statements if s is not nest]
    if not any(writes(s) for s in walk(kernel.statements)):
        program.kernels.remove(kernel)


def wrote(nest: For, out: Buffer) -> bool:
    """Whether a nest of loops writes a buffer."""
    return any(b.name == out.name for s in walk([nest]) for b in writes(s))


def cleared(buffer: Buffer) -> Fill:
    """What makes zeros."""
    return Fill(buffer, Constant(0, buffer.dtype))


# -- where it comes from ---------------------------------------------------------------------------


def source(
    program: LoopProgram, last: Kernel, part: Part, update: Update, into: Buffer
) -> Source | None:
    """The kernel that scatters into the zeros, if it may write elsewhere and they are not needed.

    Either it waits until the update, or nothing after it reads what is overwritten.
    """
    kernels, zeros = program.kernels, part.zeros.name
    uses = [k for k in kernels if zeros in names_of(k)]
    if len(uses) != 2 or uses[1] is not last or not scatters(uses[0], part.zeros):
        return None
    scatter = uses[0]
    start, end = kernels.index(scatter), kernels.index(last)
    if any(into.name in names_of(k) for k in (scatter, *kernels[end + 1 :])):
        return None
    between = kernels[start + 1 : end]
    if waits(program, scatter, update, between):
        return Source(scatter, late=True)
    later = {name for k in between for name in names_of(k)}
    made = {b.name for k in (scatter, *between) for s in walk(k.statements) for b in writes(s)}
    scalars = {b.name for s in needed(update.before, part.steps) for b in reads(s)}
    return None if into.name in later or made & scalars else Source(scatter, late=False)


def waits(program: LoopProgram, scatter: Kernel, update: Update, between: Iterable[Kernel]) -> bool:
    """Whether a kernel makes nothing but what is added, of what is still there later."""

    def roots(kernel: Kernel, ends: Callable[[Statement], list[Buffer]]) -> set[str]:
        found = (b for s in walk(kernel.statements) for b in ends(s))
        return {resolved(b.name, program.aliases) for b in found}

    read = roots(scatter, reads)
    return roots(scatter, writes) <= {p.zeros.name for p in update.parts} and not any(
        read & roots(k, writes) for k in between
    )


def scatters(kernel: Kernel, zeros: Buffer) -> bool:
    """Whether a kernel makes zeros and adds to them at one place, less often than there are."""
    visits = visited(kernel.statements)
    sites = [s for s in visits if any(b.name == zeros.name for b in ends(s.statement))]
    if len(sites) != 2 or sites[0] != Site(cleared(zeros), ()):
        return False
    store, loops = sites[1]
    if not isinstance(store, Store) or store.op != "add" or store.address.buffer != zeros:
        return False
    return math.prod(loop.extent for loop in loops) <= zeros.size


def names_of(kernel: Kernel) -> set[str]:
    """The buffers that a kernel has to do with."""
    return {b.name for b in touched(kernel.statements)}


# -- written anew ----------------------------------------------------------------------------------


class Names:
    """Fresh names for copies of statements."""

    def __init__(self, prefix: str) -> None:
        self.prefix, self.count = prefix, 0
        self.known: dict[str, Scalar] = {}

    def fresh(self, value: Value, depth: int) -> Value:
        """A value of its own for one that is computed again."""
        self.count += 1
        made = Value(f"{self.prefix}_{self.count}", value.dtype, depth)
        self.known[value.name] = made
        return made

    def of(self, x: Scalar) -> Scalar:
        """The copy of a value; a constant is itself."""
        return self.known[x.name] if isinstance(x, Value) else x

    def renamed(self, s: Load | Let) -> Statement:
        """A statement outside of all loops, again."""
        if isinstance(s, Load):
            return s._replace(value=self.fresh(s.value, 0))
        return self.computed(s, 0)

    def computed(self, s: Let, depth: int) -> Let:
        """A computation again, of copies."""
        operands = tuple(map(self.of, s.operands))
        return s._replace(value=self.fresh(s.value, depth), operands=operands)


def redirected(
    body: list[Statement], part: Part, out: Buffer, names: Names, depth: int
) -> Iterator[Statement]:
    """Statements with what they would add to zeros added to the output."""
    for s in body:
        if isinstance(s, For):
            yield replace(s, body=[*redirected(s.body, part, out, names, depth + 1)])
        elif isinstance(s, Store) and s.address.buffer == part.zeros:
            steps = stepped(part.steps, s.value, names, depth)
            yield from steps
            value = steps[-1].value if steps else s.value
            yield s._replace(address=s.address._replace(buffer=out), value=value)
        else:
            yield s


def stepped(steps: list[Let], value: Scalar, names: Names, depth: int) -> list[Let]:
    """The steps on an update in the place of an element of the sum."""
    made = list[Let]()
    for step in steps:
        known = {x.name for x in step.operands if isinstance(x, Value)} & set(names.known)
        operands = tuple(
            names.known[x.name] if isinstance(x, Value) and x.name in known
            else x if isinstance(x, Constant) else value
            for x in step.operands
        )  # fmt: skip
        names.count += 1
        target = Value(f"{names.prefix}_{names.count}", step.value.dtype, depth)
        made.append(step._replace(value=target, operands=operands))
        value = target
    return made
