"""Which bytes of which buffer each turn of a loop reads and writes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from graphjit.codegen.llvm_loops import resolved, terms
from graphjit.codegen.loops import (
    Address,
    Check,
    Fill,
    For,
    Gemm,
    Gemv,
    Index,
    Let,
    Load,
    LoopProgram,
    Product,
    Statement,
    Store,
)
from graphjit.codegen.walks import touched, walk
from graphjit.records import NamedTuple

Run = tuple[object, int, int]  # a loop inside: which, the bytes of a step, and how many steps


class Access(NamedTuple):
    """A read or a write of one statement, in all turns of a loop.

    Attributes:
        root: The buffer behind the names that it goes by.
        place: The memory that this is part of: buffers of one place may overlap.
        write: Whether it is written; with ``update`` it is read first.
        update: Whether what is there goes into what is written.
        low: The first byte of the first turn, loops around being at their beginning.
        width: Bytes of one element.
        step: Bytes from one turn to the next.
        turns: How many there are.
        inner: The loops inside that move it.
        outer: What else moves it, the same in all turns.
        wild: Whether it is anywhere in the buffer: the address was computed.
        begin: Where in its place the buffer begins.
        size: The bytes of the buffer.
        path: The loops inside that are around the statement.
    """

    root: str
    place: str
    write: bool
    update: bool
    low: int
    width: int
    step: int
    turns: int
    inner: tuple[Run, ...]
    outer: tuple[tuple[str, int], ...]
    wild: bool
    begin: int
    size: int
    path: tuple[int, ...]

    def span(self, without: frozenset[object] = frozenset()) -> tuple[int, int]:
        """The bytes of the first turn, from and to; loops in ``without`` stand still."""
        low, high = self.low, self.low + self.width
        for loop, step, count in self.inner:
            if loop not in without:
                low += min(step, 0) * (count - 1)
                high += max(step, 0) * (count - 1)
        return low, high

    @property
    def start(self) -> int:
        """The first byte of all turns."""
        if self.wild or self.outer:
            return self.begin
        return self.span()[0] + min(self.step, 0) * (self.turns - 1)

    @property
    def finish(self) -> int:
        """The byte after all turns."""
        if self.wild or self.outer:
            return self.begin + self.size
        return self.span()[1] + max(self.step, 0) * (self.turns - 1)

    @property
    def end(self) -> int:
        """The bytes from the beginning of the buffer to the last one that is touched."""
        return self.finish - self.begin

    def dense(self, without: frozenset[object]) -> bool:
        """Whether the loops touch every byte of the span."""
        reach = self.width
        for _, step, count in sorted((r for r in self.inner if r[0] not in without), key=stride):
            if abs(step) > reach:
                return False
            reach += abs(step) * (count - 1)
        return True

    def injective(self) -> bool:
        """Whether no two turns, of this loop and those inside, touch the same byte."""
        reach = self.width
        for _, step, count in sorted((*self.inner, ("", self.step, self.turns)), key=stride):
            if abs(step) < reach:
                return False
            reach += abs(step) * (count - 1)
        return True


def stride(run: Run) -> int:
    """How far apart the steps of a loop are."""
    return abs(run[1])


def disjoint(a: Access, b: Access) -> bool:
    """Whether no turn of the loop touches by ``a`` what another turn touches by ``b``."""
    if a.place != b.place or a.finish <= b.start or b.finish <= a.start:
        return True
    if a.wild or b.wild or a.outer != b.outer or a.step != b.step or not a.step:
        return False
    (low, high), (start, finish) = a.span(), b.span()
    if max(high, finish) - min(low, start) <= abs(a.step):
        return True
    same = (a.low, a.width, shape(a)) == (b.low, b.width, shape(b))
    return same and a.injective()


def shape(a: Access) -> list[tuple[int, int]]:
    """How far the loops inside reach, whatever they are."""
    return sorted((step, count) for _, step, count in a.inner)


# -- what statements touch -------------------------------------------------------------------------

Touch = tuple[Address, str, tuple[tuple[int, int], ...]]  # address, r w or u, more steps and counts


def sizes(kernels: Iterable[Sequence[Statement]], aliases: Mapping[str, str]) -> dict[str, int]:
    """The bytes of each buffer, by its name; of one that is seen in slices, of the whole."""
    found: dict[str, int] = {}
    for b in (b for statements in kernels for b in touched(statements)):
        root = resolved(b.name, aliases)
        found[root] = max(found.get(root, 0), b.size * b.dtype.itemsize)
    return found


def accesses(loop: For, program: LoopProgram, whole: Mapping[str, int]) -> list[Access] | None:
    """All that a loop touches, in order; None where it has statements of unknown effect.

    Args:
        loop: The loop.
        program: Says where buffers lie.
        whole: What ``sizes`` gives.
    """
    made = frozenset(
        s.value.name for s in walk(loop.body) if isinstance(s, Let | Load | Index | Check)
    )
    finder = Finder(loop, program, whole, made)
    return finder.found if finder.visit(loop.body, {}) else None


class Finder:
    """Walks through a loop."""

    def __init__(
        self, loop: For, program: LoopProgram, whole: Mapping[str, int], made: frozenset[str]
    ) -> None:
        self.loop, self.program, self.whole, self.made = loop, program, whole, made
        self.found: list[Access] = []

    def visit(self, statements: Sequence[Statement], inside: dict[str, tuple[int, int]]) -> bool:
        """Find what statements touch; false where that is unknown."""
        for s in statements:
            if isinstance(s, For):
                if s.index in inside or s.index == self.loop.index:
                    return False
                if not self.visit(s.body, {**inside, s.index: (id(s), s.extent)}):
                    return False
            elif not isinstance(
                s, Let | Index | Check | Load | Store | Fill | Gemm | Gemv | Product
            ):
                return False
            else:
                self.found += [self.access(*touch, inside) for touch in touches(s)]
        return all(a.place != "tape" for a in self.found)

    def access(
        self, address: Address, how: str, more: tuple[tuple[int, int], ...],
        inside: dict[str, tuple[int, int]],
    ) -> Access:  # fmt: skip
        """One access."""
        buffer, size = address.buffer, address.buffer.dtype.itemsize
        root = resolved(buffer.name, self.program.aliases)
        offset = self.program.offsets.get(root)
        begin = (offset or 0) * size
        moved: dict[str, int] = {}
        for name, step in terms(address):
            moved[name] = moved.get(name, 0) + step * size
        turn = moved.pop(self.loop.index, 0)
        inner: list[Run] = [
            (inside[n][0], s, inside[n][1]) for n, s in moved.items() if n in inside and s
        ]
        inner += [(f"own{i}", s * size, n) for i, (s, n) in enumerate(more) if n > 1]
        outer = tuple(sorted((n, s) for n, s in moved.items() if n not in inside and s))
        place = "tape" if buffer.role == "tape" else root if offset is None else "work"
        path = tuple(key for key, _ in inside.values())
        return Access(
            root, place, how != "r", how == "u", begin + address.offset * size, size, turn,
            self.loop.extent, tuple(inner), outer, any(n in self.made for n, _ in outer),
            begin, max(self.whole.get(root, 0), buffer.size * size), path,
        )  # fmt: skip


def touches(s: Statement) -> Iterator[Touch]:
    """The elements that a statement reads and then writes."""
    match s:
        case Load():
            yield s.address, "r", ()
        case Store():
            yield s.address, "u" if s.op else "w", ()
        case Fill():
            yield Address(s.buffer, 0), "w", ((1, s.buffer.size),)
        case Gemm():
            a = ((1, s.m), (s.lda, s.k)) if s.transpose_a else ((s.lda, s.m), (1, s.k))
            b = ((1, s.k), (s.ldb, s.n)) if s.transpose_b else ((s.ldb, s.k), (1, s.n))
            yield s.a, "r", a
            yield s.b, "r", b
            yield s.c, "w", ((s.ldc, s.m), (1, s.n))
        case Gemv():
            n, k = (s.columns, s.rows) if s.transpose else (s.rows, s.columns)
            yield s.a, "r", ((s.lda, s.rows), (1, s.columns))
            yield s.x, "r", ((s.incx, k),)
            yield s.y, "w", ((s.incy, n),)
        case Product():
            rows, depth = s.rows, s.depth
            yield s.a, "r", (*((st, n) for n, st, _ in rows), *((st, n) for n, st, _ in depth))
            yield s.b, "r", (*((st, n) for n, _, st in depth), (1, s.columns))
            own = (*((st, n) for n, _, st in rows), (1, s.columns))
            yield s.c, "u" if s.add else "w", own
