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
        pace: About how many steps a second it makes; 0 where it has made none.
    """

    seconds, cache, pace = 0.0, "", 0.0

    def __init__(
        self, memory: Memory, captured: Sequence[Any], guards: Sequence[Guards],
        call: Callable[[tuple[Any, ...]], None],
    ) -> None:  # fmt: skip
        self.memory, self.captured, self.guards, self.call = memory, captured, guards, call
        self.checks = memory.checks
        self.places = {piece.name: place for place, piece in enumerate(memory.order)}
        work = [piece for piece in memory.order if piece.name.startswith("work_")]
        self.work = [self.places[piece.name] for piece in work]
        self.sizes = [(piece.shape[0], piece.dtype) for piece in work]

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

    def arguments(self, values: dict[str, Any]) -> list[Any]:
        """What ``call`` takes: given arrays by name, constants, fresh scratch for the rest."""
        pack: list[Any] = [None] * len(self.places)
        for place, memory in zip(self.work, work_memory(self.sizes), strict=True):
            pack[place] = memory
        for name, array in self.memory.constants.items():
            pack[self.places[name]] = array
        for name, array in values.items():
            pack[self.places[name]] = array
        for place, array in enumerate(pack):
            if array is None:
                _, shape, dtype = self.memory.order[place]
                pack[place] = np.zeros(shape or (1,), dtype)
        return pack
