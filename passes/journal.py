"""A journal of the passes that ran, for who wants to know what they cost."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from graphjit.records import NamedTuple


class Record(NamedTuple):
    """What a pass cost and did; ``nodes`` before and after."""

    step: str
    seconds: float
    nodes: tuple[int, int]

    def __str__(self) -> str:
        before, after = self.nodes
        return f"{self.step}: {before} -> {after} nodes, {self.seconds * 1e3:.2f} ms"


_journal: ContextVar[list[Record] | None] = ContextVar("graphjit_journal", default=None)


def note(record: Record) -> None:
    """Write into the journal, if one is kept."""
    journal = _journal.get()
    if journal is not None:
        journal.append(record)


@contextmanager
def journal() -> Iterator[list[Record]]:
    """What passes do within the block."""
    records: list[Record] = []
    token = _journal.set(records)
    try:
        yield records
    finally:
        _journal.reset(token)
