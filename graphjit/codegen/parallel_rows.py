"""Work memory that turns of a loop use again and again: each thread can have its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from graphjit.codegen.accesses import Access
from graphjit.codegen.llvm_loops import resolved
from graphjit.codegen.loops import (
    Buffer,
    For,
    LoopProgram,
    Statement,
)
from graphjit.codegen.walks import reads, walk, writes
from graphjit.records import NamedTuple

ROOM = 1 << 22  # bytes that a block may take for what a turn writes


class Row(NamedTuple):
    """Memory that each block has of its own for what its turns write.

    Attributes:
        size: Its bytes.
        source: The buffer that it begins as a copy of; None where turns write all they read.
    """

    size: int
    source: Buffer | None = None


class Scope(NamedTuple):
    """What is around a loop: its program, the statements of its kernel, and all kernels."""

    program: LoopProgram
    kernel: Sequence[Statement]
    kernels: Sequence[Sequence[Statement]]


def buffers_of(
    statements: Iterable[Statement],
    kind: Callable[[Statement], Sequence[Buffer]] = lambda s: (*reads(s), *writes(s)),
) -> Iterable[Buffer]:
    """The buffers that are read or written, as often as they are."""
    return (b for s in walk(list(statements)) for b in kind(s))


def touched(
    statements: Iterable[Statement],
    aliases: Mapping[str, str],
    kind: Callable[[Statement], Sequence[Buffer]] = lambda s: (*reads(s), *writes(s)),
) -> Counter[str]:
    """How often each buffer is read or written, or only the one."""
    return Counter(resolved(b.name, aliases) for b in buffers_of(statements, kind))


def private_buffers(loop: For, found: Sequence[Access], scope: Scope) -> dict[str, Row]:
    """Work buffers that each turn writes before it reads them, and nobody reads afterwards."""
    fixed = {a.root for a in found if a.write and not a.step and not a.wild and a.place == "work"}
    if not fixed:
        return {}
    aliases = scope.program.aliases
    inside, known = touched(loop.body, aliases), touched(loop.body, aliases, reads)
    outside, seen = Counter[str](), Counter[str]()
    for statements in scope.kernels:
        outside += touched(statements, aliases)
        seen += touched(statements, aliases, reads)
    rows: dict[str, Row] = {}
    for root in sorted(fixed):
        mine = Apart([a for a in found if a.root == root])
        size = max(a.end for a in mine.found)
        if outside[root] <= inside[root] and mine.fresh():
            rows[root] = Row(size)
        elif seen[root] <= known[root] and mine.first_written():
            source = next(b for b in buffers_of(loop.body) if resolved(b.name, aliases) == root)
            rows[root] = Row(size, source)
    return rows if sum(row.size for row in rows.values()) <= ROOM else {}


class Apart:
    """All accesses of one buffer, in the order of the statements."""

    def __init__(self, found: Sequence[Access]) -> None:
        self.found = found

    def fresh(self) -> bool:
        """Whether each turn writes what it reads before it does so, at places of no turn."""
        if not self.fixed():
            return False
        written: list[Access] = []
        for access in self.found:
            reads = access.update or not access.write
            if reads and not covered(access, written):
                return False
            if access.write:
                written.append(access)
        return True

    def fixed(self) -> bool:
        """Whether all turns touch the same places."""
        return not any(a.step or a.wild or a.outer or a.low < a.begin for a in self.found)

    def first_written(self) -> bool:
        """Whether each turn has written all that it writes before it reads anything.

        Then what it reads is what it wrote, or what was there before the loop.
        """
        writes = [place for place, a in enumerate(self.found) if a.write]
        early = {loop for place in writes for loop in self.found[place].path}
        return self.fixed() and not any(
            (a.update or not a.write) and (a.update or place < max(writes) or early & {*a.path})
            for place, a in enumerate(self.found)
        )


def covered(read: Access, written: Sequence[Access]) -> bool:
    """Whether earlier writes have filled all that is read.

    Loops around both are at the same turn: a write has happened at theirs, not yet at later ones.
    """
    stretches: list[tuple[int, int]] = []
    for write in written:
        both = frozenset(read.path) & frozenset(write.path)
        moves = [sorted((r[:2] for r in x.inner if r[0] in both), key=repr) for x in (read, write)]
        if moves[0] != moves[1] or not write.dense(both):
            continue
        if moves[0]:
            low, high = read.span(both)
            start, finish = write.span(both)
            if start <= low and high <= finish:
                return True
        else:
            stretches.append(write.span())
    low, high = read.span()
    for start, finish in sorted(stretches):
        if start <= low:
            low = max(low, finish)
    return low >= high
