"""The sums that all turns of a loop add to: places in memory, and scalars."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

import numpy as np

from graphjit.codegen.llvm_loops import FLOATS, SHORT, innermost, resolved, terms
from graphjit.codegen.loops import Address, Buffer, For, Let, Statement, Store
from graphjit.codegen.renaming import defined, named
from graphjit.codegen.walks import ends, walk
from graphjit.records import NamedTuple

WIDE = np.dtype(np.float64)


class Sum(NamedTuple):
    """What all turns of a loop add to: a place in memory in each turn of inner loops, or a scalar.

    Attributes:
        address: Of the place; of a scalar one that moves along the short rows it sums up.
        extents: Of the loops inside that move it, by their indices.
        often: How many times one turn adds to one place.
        update: Where a scalar is added to; None for memory.
        exact: Whether the total loses nothing, since what is added is less exact.
    """

    address: Address
    extents: Mapping[str, int]
    often: int
    update: Let | None = None
    exact: bool = False

    @property
    def name(self) -> str:
        """Of what is added to."""
        return self.update.value.name if self.update else self.address.buffer.name


def sums_in_memory(loop: For, aliases: Mapping[str, str], done: Collection[str]) -> Iterator[Sum]:
    """The places that a loop adds to, and does nothing else with; those of ``done`` left out."""
    only = only_added_to(loop, aliases)
    for s, around in added(loop.body, ()):
        if not isinstance(s, Store) or s.address.buffer.start or s.address.buffer.name in done:
            continue
        if only(s):
            moves = {name for name, step in terms(s.address) if step}
            own = {f.index: f.extent for f in around if f.index in moves}
            rest = math.prod(f.extent for f in around if f.index not in moves)
            yield Sum(s.address, own, rest)


def only_added_to(loop: For, aliases: Mapping[str, str]) -> Callable[[Store], bool]:
    """Which stores add up floats in what nothing else touches, at the same places in each turn."""
    times = Counter(resolved(b.name, aliases) for s in walk(loop.body) for b in ends(s))
    moving = {loop.index, *defined(loop.body)}

    def only(s: Store) -> bool:
        buffer = s.address.buffer
        once = times[resolved(buffer.name, aliases)] == 2  # read and written
        fixed = moving.isdisjoint(name for name, step in terms(s.address) if step)
        return s.op == "add" and buffer.dtype in FLOATS and once and fixed

    return only


def sums_in_scalars(loop: For, done: Collection[str]) -> Iterator[Sum]:
    """The scalars of float64 that short rows of a loop are added to, or single values."""
    times = Counter(name for s in walk(loop.body) if not isinstance(s, For)
                    for name in (*named([s]), *defined([s])))  # fmt: skip
    singles = single(loop.body)
    for s, around in added(loop.body, ()):
        if not isinstance(s, Let) or s.value.dtype != WIDE or s.value.name in done:
            continue
        rows = {f.index: f.extent for f in around[-1:] if innermost(f) is not None}
        if times[s.value.name] == 2 and all(n < SHORT for n in rows.values()):
            place = Address(Buffer("", 0, WIDE, "work"), 0, tuple((n, 1) for n in rows))
            rest = math.prod(f.extent for f in around if f.index not in rows)
            yield Sum(place, rows, rest, s, bool(singles & named([s])))


def added(
    statements: Iterable[Statement], around: tuple[For, ...]
) -> Iterator[tuple[Store | Let, tuple[For, ...]]]:
    """The statements that add to something, and the loops around them."""
    for s in statements:
        if isinstance(s, For):
            yield from added(s.body, (*around, s))
        elif isinstance(s, Store | Let) and s.op == "add" and adds(s):
            yield s, around


def adds(s: Store | Let) -> bool:
    """Whether what is added to is what is written."""
    return isinstance(s, Store) or s.operands.count(s.value) == 1


def single(statements: Iterable[Statement]) -> set[str]:
    """The values that come from float32."""
    lets = (s for s in walk(list(statements)) if isinstance(s, Let) and s.op == "cast")
    return {s.value.name for s in lets if s.operands[0].dtype == np.float32}
