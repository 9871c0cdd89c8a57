"""Where in one stretch of memory each of several buffers lies, given when each is in use."""

from __future__ import annotations

import bisect
import heapq
from collections.abc import Iterator, Sequence
from itertools import accumulate, cycle, islice

from graphjit.records import NamedTuple

TRIES = 96  # packings that are looked at
PAIRS = 1_000_000  # of buffers that all of them may compare
SLACK = 1.02  # of the bound; what is nearer is not worth another try


class Life(NamedTuple):
    """A buffer: its bytes, and the first and the last step at which it is in use."""

    size: int
    first: int
    last: int


class Packing(NamedTuple):
    """Where each buffer begins, and the bytes of the whole."""

    offsets: list[int]
    size: int


def bound(lives: Sequence[Life]) -> int:
    """The most bytes in use at one step: no packing is smaller."""
    events = [(life.first, life.size) for life in lives]
    events += [(life.last + 1, -life.size) for life in lives]
    return max(accumulate(size for _, size in sorted(events)), default=0)


class Held(NamedTuple):
    """A buffer that has its place already."""

    offset: int
    life: Life


def packed(lives: Sequence[Life], held: Sequence[Held] = ()) -> Packing:
    """No two buffers overlap that are in use at the same step; the whole is as small as found.

    The first packing goes through the steps in order, and is mostly as small as can be. Where it
    is not, buffers are placed in other orders, each as low as it can lie: large or long-lived ones
    first (Sekiyama, Imamichi, Imai, Raymond, "Profile-guided memory optimization for deep neural
    networks", 2018), then again and again with those first that stuck out.
    """
    least = bound([*lives, *(h.life for h in held)])
    best = stacked(lives, in_time(lives), held) if held else chronological(lives)
    if best.size <= least * SLACK:
        return best
    tries = min(TRIES, max(3, PAIRS // max(len(lives), 1) ** 2))
    for packing in islice(others(lives, held), tries):
        best = min(best, packing, key=lambda p: p.size)
        if best.size <= least * SLACK:
            break
    return best


def in_time(lives: Sequence[Life]) -> list[int]:
    """The order of the first use."""
    return sorted(range(len(lives)), key=lambda i: (lives[i].first, i))


def others(lives: Sequence[Life], held: Sequence[Held]) -> Iterator[Packing]:
    """Packings in other orders, without end."""
    places = range(len(lives))
    spans = [life.last + 1 - life.first for life in lives]
    orders = [
        sorted(places, key=lambda i: (-spans[i], -lives[i].size, i)),
        sorted(places, key=lambda i: (-spans[i] * lives[i].size, i)),
        sorted(places, key=lambda i: (-lives[i].size, -spans[i], i)),
    ]
    for order in cycle(orders):
        packing = stacked(lives, order, held)
        yield packing
        ends = [packing.offsets[i] + lives[i].size for i in places]
        order.sort(key=lambda i: ends[i] < packing.size)  # those that stuck out go first


def chronological(lives: Sequence[Life]) -> Packing:
    """In the order of the first use, each at the first place that is free."""
    arena, offsets = Arena(), [0] * len(lives)
    dying: list[tuple[int, int]] = []
    for i in in_time(lives):
        while dying and dying[0][0] < lives[i].first:
            _, done = heapq.heappop(dying)
            arena.release(offsets[done], lives[done].size)
        offsets[i] = arena.take(lives[i].size)
        heapq.heappush(dying, (lives[i].last, i))
    return Packing(offsets, arena.size)


def stacked(lives: Sequence[Life], order: Sequence[int], held: Sequence[Held]) -> Packing:
    """In any order, each as low as what is placed already lets it lie."""
    offsets = [0] * len(lives)
    # Offset, end, first, last; by offset.
    placed = sorted((h.offset, h.offset + h.life.size, *h.life[1:]) for h in held)
    whole = max((end for _, end, _, _ in placed), default=0)
    for i in order:
        size, first, last = lives[i]
        at = 0
        for start, end, begin, done in placed:
            if begin <= last and first <= done:
                if start - at >= size:
                    break
                at = max(at, end)
        offsets[i] = at
        bisect.insort(placed, (at, at + size, first, last))
        whole = max(whole, at + size)
    return Packing(offsets, whole)


class Arena:
    """Memory that grows at its end; what is released is taken again, first fit."""

    def __init__(self) -> None:
        self.size = 0
        self.free: list[tuple[int, int]] = []  # offset and size, by offset, never adjacent

    def take(self, size: int) -> int:
        """The offset of ``size`` free bytes."""
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
        """Give bytes back, joined with what is free on either side."""
        place = bisect.bisect(self.free, (offset, size))
        if place < len(self.free) and self.free[place][0] == offset + size:
            size += self.free.pop(place)[1]
        if place and sum(self.free[place - 1]) == offset:
            offset, before = self.free.pop(place - 1)
            size, place = size + before, place - 1
        self.free.insert(place, (offset, size))
