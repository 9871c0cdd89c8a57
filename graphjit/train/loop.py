"""A training loop that can be run, built just now or from the disk."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
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
        joined: The arrays that hold others, and at which elements these begin.
    """

    order: Sequence[Piece]
    constants: Mapping[str, Array]
    checks: Sequence[tuple[Origin | None, int]]
    joined: Mapping[str, Mapping[str, int]] = MappingProxyType({})


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
        self.joined = {name: sorted(at, key=at.__getitem__) for name, at in memory.joined.items()}
        self.parts = {part for parts in self.joined.values() for part in parts}
        names = [*(piece.name for piece in work), *self.joined, *self.parts]
        self.own = [self.places[name] for name in names]
        self.sizes = [(piece.shape[0], piece.dtype) for piece in work]
        self._free: list[list[Array]] = []

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

    def take_scratch(self) -> list[Array]:
        """Memory for one run, so that runs do not meet in it."""
        try:
            return self._free.pop()
        except IndexError:  # the first run, or another thread has it
            return self.laid_out()

    def laid_out(self) -> list[Array]:
        """Work memory, what lies side by side, and the arrays in that."""
        order, homes, parts = self.memory.order, dict[str, Array](), dict[str, Array]()
        for name, inside in self.memory.joined.items():
            _, shape, dtype = order[self.places[name]]
            homes[name] = work_memory([(shape[0], dtype)])[0]
            for part, start in inside.items():
                shape = order[self.places[part]].shape
                parts[part] = homes[name][start : start + math.prod(shape)].reshape(shape)
        return [*work_memory(self.sizes), *homes.values(), *(parts[part] for part in self.parts)]

    def give_back(self, pack: list[Any]) -> None:
        """Keep the memory of a run for the next."""
        self._free.append([pack[place] for place in self.own])

    def arguments(self, values: dict[str, Any]) -> list[Any]:
        """What ``call`` takes: given arrays by name, constants, memory for the rest.

        Arrays that have to lie side by side are copied.
        """
        pack: list[Any] = [None] * len(self.places)
        for place, memory in zip(self.own, self.take_scratch(), strict=True):
            pack[place] = memory
        for name, array in self.memory.constants.items():
            pack[self.places[name]] = array
        for name, parts in self.joined.items():
            flat = [values.pop(part).reshape(-1) for part in parts]
            np.concatenate(flat, out=pack[self.places[name]])
        for name, array in values.items():
            pack[self.places[name]] = array
        for place, array in enumerate(pack):
            if array is None:
                _, shape, dtype = self.memory.order[place]
                pack[place] = np.zeros(shape or (1,), dtype)
        return pack
