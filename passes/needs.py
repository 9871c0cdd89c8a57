"""What depends on what among the units that ``fuse`` makes, while it makes them."""

from __future__ import annotations

from collections.abc import Iterable


class Needs:
    """Units by number; the edges between them come one by one, and two may become one.

    Whether one depends on another is asked for each node of a graph, so that is kept as a set of
    bits and brought up to date along the edges that a new one reaches.

    Attributes:
        before: For each unit those that it reads or waits for.
        after: The same the other way.
        ancestors: All that it depends on in the end, as bits.
    """

    def __init__(self) -> None:
        self.before: list[set[int]] = []
        self.after: list[set[int]] = []
        self.ancestors: list[int] = []

    def add(self, units: set[int]) -> None:
        """A new unit, which depends on these."""
        self.before.append(set())
        self.after.append(set())
        self.ancestors.append(0)
        self.link(len(self.before) - 1, units)

    def link(self, index: int, units: set[int]) -> None:
        """Record that a unit depends on these, for it and for all that depend on it."""
        fresh = units - self.before[index] - {index}
        if not fresh:
            return
        self.before[index] |= fresh
        for unit in fresh:
            self.after[unit].add(index)
            self.ancestors[index] |= self.ancestors[unit] | 1 << unit
        self.spread(index)

    def spread(self, index: int) -> None:
        """Tell all that depend on a unit what it depends on."""
        pending = [index]
        while pending:
            unit = pending.pop()
            known = self.ancestors[unit] | 1 << unit
            for later in self.after[unit]:
                if known & ~self.ancestors[later]:
                    self.ancestors[later] |= known
                    pending.append(later)

    def beyond(self, units: Iterable[int]) -> int:
        """What these units depend on in turn, as bits."""
        found = 0
        for unit in units:
            found |= self.ancestors[unit]
        return found

    def path(self, first: int, second: int) -> bool:
        """Whether the second unit depends on the first by way of another."""
        return bool(self.beyond(self.before[second]) >> first & 1)

    def absorb(self, first: int, second: int) -> None:
        """Give the first what the second depends on and what depends on the second.

        The second then depends on nothing; what came after it still does.
        """
        gone = {first, second}
        units = (self.before[first] | self.before[second]) - gone
        bits = (self.ancestors[first] | self.ancestors[second]) & ~(1 << first | 1 << second)
        for unit in self.before[second]:
            self.after[unit].discard(second)
        self.before[first], self.before[second] = units, set()
        self.ancestors[first], self.ancestors[second] = bits, 0
        self.after[second].discard(first)
        for unit in units:
            self.after[unit].add(first)
        for unit in self.after[second]:
            self.before[unit].add(first)
        self.after[first] = (self.after[first] | self.after[second]) - gone
        self.spread(first)
