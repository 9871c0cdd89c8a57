"""Functions of what a row begins with are computed for all rows at once, in a loop that vectorises.

``for i: s = expit(x[i]); for j: y[i, j] = s * z[i, j]`` takes one exponential by itself, row after
row. What waits for nothing in the row is computed in a loop before, and read back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from graphjit.codegen.loops import (
    Check,
    For,
    Index,
    Let,
    Load,
    LoopProgram,
    Statement,
    Store,
    Value,
)
from graphjit.codegen.mathematics import described
from graphjit.codegen.reach import PLAIN
from graphjit.codegen.renaming import defined, named, renamed
from graphjit.codegen.tails import ROWS, divide, each_turn
from graphjit.codegen.walks import walk, writes


def heads(program: LoopProgram) -> None:
    """Give functions of what rows begin with loops of their own.

    Args:
        program: Before its memory is planned; its kernels are changed.
    """
    divide(program, parted)


def parted(program: LoopProgram, loop: Statement) -> Sequence[Statement]:
    """A loop over rows, and the one before it if there is anything for it."""
    if not isinstance(loop, For) or loop.extent < ROWS or loop.reverse or loop.uses:
        return [loop]
    first = next((at for at, s in enumerate(loop.body) if isinstance(s, For)), None)
    if first is None or not all(isinstance(s, (Check, *PLAIN)) for s in walk(loop.body)):
        return [loop]
    head = Head(loop, first)
    return head.split(program) if head.dear else [loop]


class Head:
    """What stands in a loop before the first loop inside.

    Attributes:
        counts: How often each value is defined, in all of the loop.
        written: The buffers that the loop writes.
        places: The statements that may come earlier, by what they define.
        values: What that is.
        closures: For each of them those that it needs, and itself.
        dear: Those that compute functions, and those that go on with the results.
    """

    def __init__(self, loop: For, first: int) -> None:
        self.loop, self.statements = loop, loop.body[:first]
        inside = list(walk(loop.body))
        self.counts = Counter(
            name for s in inside if not isinstance(s, For) for name in defined([s])
        )
        self.written = {b.name for s in inside for b in writes(s)}
        self.places: dict[str, int] = {}
        self.values: dict[str, Value] = {}
        self.closures: dict[int, set[int]] = {}
        self.dear: dict[str, int] = {}
        for at, s in enumerate(self.statements):
            self.look(at, s)

    def look(self, at: int, s: Statement) -> None:
        """See whether a statement may come earlier, and whether it is worth it."""
        if not isinstance(s, Let | Load | Index) or self.counts[s.value.name] > 1:
            return
        if isinstance(s, Load) and s.address.buffer.name in self.written:
            return
        needed = {name for name in named([s]) if self.counts[name]}
        if not needed <= self.places.keys():
            return
        self.places[s.value.name], self.values[s.value.name] = at, s.value
        self.closures[at] = {at}.union(*(self.closures[self.places[n]] for n in needed))
        known = isinstance(s, Let) and described(s.op, s.value.dtype)
        if known or needed & self.dear.keys():
            self.dear[s.value.name] = at

    def split(self, program: LoopProgram) -> list[For]:
        """The loop of what comes earlier, and the loop of the rest."""
        moved = set[int]().union(*(self.closures[at] for at in self.dear.values()))
        rest = self.rest(moved)
        wanted = {name: self.values[name] for name in self.dear if name in named(rest)}
        known = {
            name: self.values[name]._replace(name=f"v{program.names + i}")
            for i, name in enumerate(self.places, 1)
        }
        program.names += len(known)
        places = {
            name: each_turn(program, self.loop, value.dtype) for name, value in wanted.items()
        }
        loads = [Load(value, places[name]) for name, value in wanted.items()]
        before = [renamed(self.statements[at], known) for at in sorted(moved)]
        before += [Store(places[n], known[n]) for n in wanted]
        index, extent = self.loop.index, self.loop.extent
        return [For(index, extent, before), For(index, extent, [*loads, *rest])]

    def rest(self, moved: set[int]) -> list[Statement]:
        """What is left of the loop; what came earlier is there again where it is needed."""
        late, found = set(self.dear.values()), list[Statement]()
        wanted = named(self.loop.body[len(self.statements) :])
        for at, s in reversed(list(enumerate(self.statements))):
            if at not in late and (at not in moved or defined([s]) & wanted):
                found.append(s)
                wanted |= named([s])
        return [*reversed(found), *self.loop.body[len(self.statements) :]]
