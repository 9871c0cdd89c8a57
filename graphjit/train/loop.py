"""A training loop that can be run, built just now or from the disk."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from graphjit.codegen.program import work_memory
from graphjit.ir.aval import DType
from graphjit.ir.graph import Origin
from graphjit.tracing.guards import Guards
from graphjit.train.setup import Setup

Array = np.ndarray[Any, Any]


class Piece(NamedTuple):
    """An array that a loop takes."""

    name: str
    shape: tuple[int, ...]
    dtype: DType


class Memory(NamedTuple):
    """What a loop takes, and what its errors say.

    Attributes:
        order: All that it takes, in order.
        constants: The arrays of its own, by name.
        checks: The line and the axis behind each status.
    """

    order: Sequence[Piece]
    constants: Mapping[str, Array]
    checks: Sequence[tuple[Origin | None, int]]


class NativeLoop:
    """A compiled training loop for one setup.

    Attributes:
        captured: The arrays behind the hidden inputs of a step.
        seconds: What tracing and compiling took, or loading.
        cache: What the cache on disk had of it.
    """

    seconds, cache = 0.0, ""

    def __init__(
        self, memory: Memory, captured: Sequence[Any], guards: Sequence[Guards],
        call: Callable[[tuple[Any, ...]], None],
    ) -> None:  # fmt: skip
        self.memory, self.captured, self.guards, self.call = memory, captured, guards, call
        self.checks = memory.checks
        self.places = {piece.name: place for place, piece in enumerate(memory.order)}

    def text(self, setup: Setup) -> str:
        """The loop as readable text, for the setup that it was made for."""
        raise NotImplementedError

    @property
    def losses(self) -> DType:
        """The dtype of the losses."""
        return self.memory.order[self.places["losses"]].dtype

    def changed(self) -> str:
        """What the trace relied on and is no longer so, or an empty string."""
        return next(filter(None, (g.changed() for g in self.guards)), "")

    def arguments(self, values: dict[str, Any]) -> tuple[Any, ...]:
        """The tuple for ``call``: given arrays by name, constants, fresh scratch for the rest."""
        work = [p for p in self.memory.order if p.name.startswith("work_")]
        memory = work_memory([(p.shape[0], p.dtype) for p in work])
        shared = {p.name: array for p, array in zip(work, memory, strict=True)}
        known = {**self.memory.constants, **shared, **values}
        return tuple(
            known[name] if name in known else np.zeros(shape or (1,), dtype)
            for name, shape, dtype in self.memory.order
        )
