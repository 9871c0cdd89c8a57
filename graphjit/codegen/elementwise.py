"""Kernels of plain statements: loops that make each element of some arrays by itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from graphjit.codegen.loops import Address, For, Index, Kernel, Let, Load, Statement, Store, Value
from graphjit.codegen.renaming import named

Place = tuple[str, int]  # the name of a buffer, and an element
Made = Let | Load | Index


class Body:
    """Kernels of plain statements in one loop of equal length each, or in none.

    Attributes:
        kernels: The kernels.
        before: Their statements outside of the loops.
        inside: Those of the loops; where there is none, all.
        index: That of the loops, or an empty string.
        extent: That of the loops, or 1.
        made: The statement that makes each value.
        same: By the name of a value that is loaded from where one was stored, that one.
        loads: The values that are loaded from each array.
        known: Numbers that loops read.
        cuts: The values here that are stored as such numbers.
    """

    def __init__(self, kernels: Sequence[Kernel], index: str, extent: int) -> None:
        self.kernels, self.index, self.extent = kernels, index, extent
        _, outside, inside = taken_apart([s for kernel in kernels for s in kernel.statements])
        self.before = outside if index else []
        self.inside = inside if index else outside
        self.made = {s.value.name: s for s in self.statements if isinstance(s, Made)}
        self.same, self.loads = self.forwarded(), dict[str, set[str]]()
        for s in self.statements:
            if isinstance(s, Load):
                self.loads.setdefault(s.address.buffer.name, set()).add(s.value.name)
        self.known, self.cuts = set[Place](), dict[str, Place]()

    @classmethod
    def all(cls, kernels: Iterable[Kernel]) -> list[Body]:
        """Those of kernels that are so; each value is made once in them."""
        found: dict[tuple[str, int], list[Kernel]] = {}
        for kernel in kernels:
            loops = [s for s in kernel.statements if isinstance(s, For)]
            if len(loops) < 2 and plain(kernel.statements):
                key = [(loop.index, loop.extent) for loop in loops] or [("", 1)]
                found.setdefault(key[0], []).append(kernel)
        return [cls(kernels, *key) for key, kernels in found.items()]

    def forwarded(self) -> dict[str, Value]:
        """What is stored as an element and loaded again by a later kernel."""
        stored, same = dict[str, Value](), dict[str, Value]()
        for s in self.statements:
            if isinstance(s, Store) and isinstance(s.value, Value) and self.is_element(s.address):
                stored[s.address.buffer.name] = s.value
            elif isinstance(s, Load) and self.is_element(s.address):
                name = s.address.buffer.name
                if name in stored:
                    same[s.value.name] = same.get(stored[name].name, stored[name])
        return same

    def own(self, name: str) -> bool:
        """Whether all here that read an array have it from where it was stored."""
        return self.loads.get(name, set()) <= self.same.keys()

    @property
    def statements(self) -> list[Statement]:
        """All of them, but for the loop."""
        return [*self.before, *self.inside]

    def numbers(self) -> set[Place]:
        """Those that all turns of the loop read."""
        loads = (s.address for s in self.statements if self.index and isinstance(s, Load))
        return {place(a) for a in loads if fixed(a)}

    def tell(self, numbers: set[Place]) -> None:
        """Say which numbers loops read; outside of loops a value stored as one is taken for it."""
        self.known = numbers
        for s in () if self.index else self.inside:
            if isinstance(s, Store) and isinstance(s.value, Value) and self.is_number(s.address):
                self.cuts.setdefault(s.value.name, place(s.address))

    def is_number(self, address: Address) -> bool:
        """Whether an address is that of a number for all turns."""
        return fixed(address) and (bool(self.index) or place(address) in self.known)

    def is_element(self, address: Address) -> bool:
        """Whether an address is that of the element of each turn."""
        terms = ((self.index, 1),) if self.index else ()
        whole = address.buffer.size == self.extent and not address.buffer.start
        return whole and (address.offset, address.terms) == (0, terms)

    def drop(self, stores: Sequence[Store]) -> None:
        """Leave some stores out, and what nothing else needs."""
        for kernel in self.kernels:
            kernel.statements = live(kernel.statements, stores)


def place(address: Address) -> Place:
    """Where a number is."""
    return address.buffer.name, address.offset


def fixed(address: Address) -> bool:
    """Whether an address is the same in all turns of all loops."""
    return not address.terms and not address.buffer.start


def taken_apart(
    statements: Sequence[Statement],
) -> tuple[list[For], list[Statement], list[Statement]]:
    """Loops, what stands outside of them, and what inside."""
    loops = [s for s in statements if isinstance(s, For)]
    outside: list[Statement] = [s for s in statements if not isinstance(s, For)]
    inside: list[Statement] = [s for loop in loops for s in loop.body]
    return loops, outside, inside


def plain(statements: Sequence[Statement]) -> bool:
    """Whether these make values, each once, and store them."""
    loops, outside, inside = taken_apart(statements)
    whole = [*outside, *inside]
    if not all(isinstance(s, (Made, Store)) for s in whole):
        return False
    if any(loop.reverse or loop.uses or loop.extent < 2 for loop in loops):
        return False
    made = [s.value.name for s in whole if isinstance(s, Made)]
    return len(made) == len({*made})


def live(statements: Iterable[Statement], dropped: Sequence[Store]) -> list[Statement]:
    """What some stores need, and the stores, without those that are dropped."""
    wanted, gone = set[str](), set(map(id, dropped))

    def kept(these: Iterable[Statement]) -> Iterator[Statement]:
        for s in reversed([*these]):
            if isinstance(s, For):
                body = [*kept(s.body)][::-1]
                if body:
                    yield replace(s, body=body)
            elif s.value.name in wanted if isinstance(s, Made) else id(s) not in gone:
                wanted.update(named([s]))
                yield s

    return [*kept(statements)][::-1]
