"""What a training loop is told, and what it tells: how batches are cut, where it stands."""

from __future__ import annotations

from dataclasses import dataclass

# What the array ``control`` holds, by position.
FIRST, LAST, ORIGIN, DONE, REASON = range(5)
RUNNING, NOT_FINITE, CONVERGED = range(3)


@dataclass(frozen=True)
class Epoch:
    """How an epoch is cut: ``full`` batches of ``batch`` examples, then ``rest`` examples."""

    examples: int
    batch: int

    @property
    def full(self) -> int:
        """How many batches are whole."""
        return self.examples // self.batch

    @property
    def rest(self) -> int:
        """The examples in the last, smaller batch; 0 where there is none."""
        return self.examples % self.batch

    @property
    def steps(self) -> int:
        """How many batches an epoch has."""
        return self.full + (self.rest > 0)
