"""What several shared loops read is computed in each, where that is cheaper than to keep it.

``x - mean`` is an operand of a product in the forward loop and of another in the backward loop.
Both take one turn's part of it at a time; made anew in the second, from the small arrays that it
comes of, it needs memory for one turn only, and goes through none but the cache. What is cheaper
is said by ``passes/costs``.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, MutableSequence, Sequence

from graphjit.codegen.loops import (
    Address,
    Buffer,
    For,
    Kernel,
    Let,
    Load,
    LoopProgram,
    Statement,
    Store,
    Value,
)
from graphjit.codegen.reach import moved, names, reaches
from graphjit.codegen.renaming import anew, operands
from graphjit.codegen.walks import reads, touched, walk, writes
from graphjit.passes.costs import operation, rereading, storing
from graphjit.records import NamedTuple
from graphjit.tuning import caches

# Times the second cache, from which on a buffer is worth it: with one of 1 MB, of a mixture of 2 MB
# that takes 1.08 of the time, since what is made anew goes through that cache too; of 8 MB 0.82.
LARGE = 4


class Outer(NamedTuple):
    """A kernel, and its one outer loop if it has one that may be shared."""

    kernel: Kernel
    loop: For | None


class Nest(NamedTuple):
    """Loops that make one turn's part of a buffer from other buffers, and nothing else."""

    loops: For
    outer: str
    buffer: Buffer
    sources: dict[str, Buffer]
    extent: int

    @property
    def step(self) -> int:
        """The elements of a turn's part."""
        return self.buffer.size // self.extent


def again(program: LoopProgram, parts: MutableSequence[Outer], kept: Collection[str]) -> set[int]:
    """Compute what one kernel makes again in the loops of later ones.

    Args:
        program: Its count of names goes on.
        parts: All kernels in order, which are replaced where something is computed again.
        kept: Names of buffers that are stored in any case.

    Returns:
        The positions of the kernels that were replaced.
    """
    changed = set[int]()
    for at, part in enumerate(parts):
        for nest in nests(part):
            readers = {i for i, p in enumerate(parts) if i != at and touches(p, nest.buffer)}
            if nest.buffer.name not in kept and suits(parts, at, nest, readers):
                for i in readers:
                    kernel, loop = parts[i]
                    if loop is not None:
                        parts[i] = with_nest(program, kernel, loop, nest)
                changed |= readers
    return changed


def nests(part: Outer) -> list[Nest]:
    """The nests of a loop that can be run elsewhere, of what is large and read there as well."""
    if part.loop is None:
        return []
    loop = part.loop
    found = [nest_of(loop, s, b) for s in loop.body if isinstance(s, For) for b in large(s)]
    return [nest for nest in found if nest]


def large(nest: For) -> list[Buffer]:
    """What a nest stores and the caches do not hold."""
    least = LARGE * caches().second
    stored = {s.address.buffer.name: s.address.buffer for s in walk([nest]) if isinstance(s, Store)}
    return [b for b in stored.values() if b.role == "work" and b.size * b.dtype.itemsize > least]


def nest_of(loop: For, nest: For, buffer: Buffer) -> Nest | None:
    """The part of a nest that stores every element of a turn's part of a buffer once."""
    if not all(isinstance(s, For | Load | Let | Store) for s in walk([nest])):
        return None
    pruned = needed([nest], buffer.name, set())
    inside, chain = list(walk(pruned)), [s for s in walk(pruned) if isinstance(s, For)]
    stores = [s for s in inside if isinstance(s, Store)]
    if len(stores) != 1 or stores[0] not in chain[-1].body or not closed(inside):
        return None
    (reach,) = (r for r in reaches(pruned, loop.index, {}) if r.write)
    sources = {b.name: b for s in inside for b in reads(s)}
    parted = reach.step * loop.extent == buffer.size and not buffer.start
    whole = (reach.low, reach.high + 1) == (0, reach.step)
    once = math.prod(s.extent for s in chain) == reach.step and not stores[0].op
    if not (parted and whole and once) or buffer.name in sources:
        return None
    return Nest(chain[0], loop.index, buffer, sources, loop.extent)


def needed(statements: Sequence[Statement], name: str, used: set[str]) -> list[Statement]:
    """What of plain statements is needed for what they store in one buffer, and which values."""
    kept: list[Statement] = []
    for s in reversed(statements):
        match s:
            case For():
                body = needed(s.body, name, used)
                kept += [For(s.index, s.extent, body)] if body else []
            case Store() if s.address.buffer.name == name:
                used.update(v.name for v in (s.value,) if isinstance(v, Value))
                kept.append(s)
            case Let() if s.value.name in used:
                used.update(v.name for v in s.operands if isinstance(v, Value))
                kept.append(s)
            case Load() if s.value.name in used:
                kept.append(s)
    return kept[::-1]


def closed(statements: Iterable[Statement]) -> bool:
    """Whether statements use no values but their own, each of which has one definition."""
    known = set[str]()
    for s in statements:
        if any(isinstance(v, Value) and v.name not in known for v in operands(s)):
            return False
        if isinstance(s, Let | Load):
            if s.value.name in known:
                return False
            known.add(s.value.name)
    return True


def touches(part: Outer, buffer: Buffer) -> bool:
    """Whether a kernel reads or writes a buffer."""
    return any(b.name == buffer.name for b in touched(part.kernel.statements))


def reading(statements: Iterable[Statement], buffer: Buffer) -> bool:
    """Whether statements read a buffer."""
    return any(b.name == buffer.name for s in walk(list(statements)) for b in reads(s))


def suits(parts: MutableSequence[Outer], at: int, nest: Nest, readers: set[int]) -> bool:
    """Whether all that read a buffer can compute it themselves, and sooner."""
    own = reading(parts[at].kernel.statements, nest.buffer)
    if not own or not readers or min(readers) < at:
        return False
    between = parts[at : max(readers) + 1]
    written = {b.name for p in between for s in walk(p.kernel.statements) for b in writes(s)}
    if written & nest.sources.keys() or not all(takes(parts[i], nest) for i in readers):
        return False
    lets = [s for s in walk([nest.loops]) if isinstance(s, Let)]
    work = sum(operation(s.op, s.value.dtype) for s in lets)
    cost = sum(work + rereading(nest.buffer, fresh(parts[i], nest)) for i in readers)
    return cost < storing(nest.buffer, len(readers))


def fresh(part: Outer, nest: Nest) -> list[Buffer]:
    """What a kernel does not read already."""
    return [buffer for buffer in nest.sources.values() if not touches(part, buffer)]


def takes(part: Outer, nest: Nest) -> bool:
    """Whether each turn of a loop reads that turn's part, and nothing else of the buffer."""
    loop, name = part.loop, nest.buffer.name
    if loop is None or loop.extent != nest.extent or loop.index in set(names([nest.loops])):
        return False
    apart = [s for s in part.kernel.statements if s is not loop]
    if any(b.name == name for b in touched(apart)):
        return False
    found = [r for r in reaches(loop.body, loop.index, {}) if r.buffer.name == name]
    return all(
        not r.write and r.step == nest.step and r.low >= 0 and r.high < r.step for r in found
    )


def with_nest(program: LoopProgram, kernel: Kernel, loop: For, nest: Nest) -> Outer:
    """A kernel that computes a buffer of its own, in place of what it reads."""
    program.names += 1
    own = nest.buffer._replace(name=f"t{program.names}")

    def place(address: Address) -> Address:
        return address._replace(buffer=own) if address.buffer.name == nest.buffer.name else address

    def there(address: Address) -> Address:
        terms = tuple((loop.index if n == nest.outer else n, s) for n, s in address.terms)
        return place(address._replace(terms=terms))

    copy = anew(program, moved([nest.loops], there))
    first = next(i for i, s in enumerate(loop.body) if reading([s], nest.buffer))
    body = moved(loop.body, place)
    whole = For(loop.index, loop.extent, [*body[:first], *copy, *body[first:]])
    statements = [whole if s is loop else s for s in kernel.statements]
    title = f"fused {ops(nest.loops)}; {kernel.title}"
    return Outer(Kernel(title, statements, kernel.origin), whole)


def ops(nest: For) -> str:
    """What a nest does."""
    return ", ".join(dict.fromkeys(s.op for s in walk([nest]) if isinstance(s, Let))) or "positive"
