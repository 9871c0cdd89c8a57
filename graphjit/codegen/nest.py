"""Assembles a loop nest: statements find their depth, loops their order and their names."""

from __future__ import annotations

from dataclasses import field

from graphjit.codegen.loops import Address, Buffer, For, Statement
from graphjit.ir.view import View, merge_axes, run_length
from graphjit.records import dataclass

NAMES = "ijklmnopqrstuvw"


@dataclass(eq=False, repr=False)
class Axes:
    """The loops of a space: runs of axes walked as one, outer ones (rows) first.

    Attributes:
        space: Extents without axes of length 1.
        runs: For each loop the axes it walks.
        rows: How many of the loops are row loops.
    """

    space: tuple[int, ...]
    runs: list[list[int]]
    rows: int

    @classmethod
    def of(cls, space: tuple[int, ...], rows: int | None, maps: list[tuple[int, ...]]) -> Axes:
        """Merge what every stride map allows, rows and inner axes apart."""
        cut = rows or 0
        outer = merge_axes(space[:cut], [m[:cut] for m in maps])
        inner = merge_axes(space[cut:], [m[cut:] for m in maps])
        return cls(space, outer + [[a + cut for a in run] for run in inner], len(outer))

    @property
    def extents(self) -> list[int]:
        """How often each loop runs."""
        return [run_length(self.space, run) for run in self.runs]

    def terms(self, strides: tuple[int, ...]) -> tuple[tuple[str, int], ...]:
        """The stride of each loop for an array whose strides over the space are given."""
        steps = (strides[run[-1]] for run in self.runs)
        return tuple((NAMES[d], s) for d, s in enumerate(steps) if s)

    def depth(self, terms: tuple[tuple[str, int], ...]) -> int:
        """How many loops must be open for an address with these terms."""
        return max((NAMES.index(name) + 1 for name, _ in terms if name in NAMES), default=0)


def strides_over(view: View, space: tuple[int, ...], rows: int | None) -> tuple[int, ...]:
    """A squeezed view's strides over the whole space; a row's do not move along inner axes."""
    flat = view.squeezed()
    if flat.shape == space:
        return flat.strides
    if rows and flat.shape == space[:rows]:
        return flat.strides + (0,) * (len(space) - rows)
    return (0,) * len(space)


def address(buffer: Buffer, view: View, axes: Axes, rows: int | None) -> Address:
    """Where a view's element of the current loop indices lies."""
    strides = strides_over(view, axes.space, rows)
    return Address(buffer, view.squeezed().offset, axes.terms(strides))


@dataclass(eq=False, repr=False)
class Nest:
    """Statements by phase and depth, and how they fold into loops.

    A phase is one run of the inner loops within a row; statements at row depth that come before
    phase ``p`` are in ``before[p]``; what comes after the loops inside of its own is in ``after``.
    """

    axes: Axes
    phases: int
    prologue: list[Statement] = field(default_factory=list)
    epilogue: list[Statement] = field(default_factory=list)
    outer: dict[int, list[Statement]] = field(default_factory=dict)
    before: dict[int, list[Statement]] = field(default_factory=dict)
    inner: dict[tuple[int, int], list[Statement]] = field(default_factory=dict)
    after: dict[tuple[int, int], list[Statement]] = field(default_factory=dict)

    def put(self, statement: Statement, depth: int, phase: int) -> None:
        """Place a statement in the outermost loop where its operands are known."""
        rows = self.axes.rows
        if depth > rows:
            self.inner.setdefault((phase, depth), []).append(statement)
        elif depth == rows and rows:
            self.before.setdefault(phase, []).append(statement)
        elif depth:
            self.outer.setdefault(depth, []).append(statement)
        else:
            self.prologue.append(statement)

    def follow(self, statement: Statement, depth: int, phase: int) -> None:
        """Place a statement after the loops inside of a depth, which is a row's or deeper."""
        self.after.setdefault((phase, depth), []).append(statement)

    def statements(self) -> list[Statement]:
        """The finished nest."""
        body: list[Statement] = []
        for phase in range(self.phases + 1):
            body += self.before.get(phase, [])
            body += self._loops(phase) + self.after.get((phase, self.axes.rows), [])
        for depth in reversed(range(self.axes.rows)):
            head = self.outer.get(depth + 1, [])
            body = [For(NAMES[depth], self.axes.extents[depth], head + body)]
        return self.prologue + body + self.epilogue

    def _loops(self, phase: int) -> list[Statement]:
        depths = [d for p, d in self.inner if p == phase]
        if not depths:
            return []
        body: list[Statement] = []
        for depth in range(max(depths), self.axes.rows, -1):
            after = self.after.get((phase, depth), [])
            body = [*self.inner.get((phase, depth), []), *body, *after]
            body = [For(NAMES[depth - 1], self.axes.extents[depth - 1], body)]
        return body
