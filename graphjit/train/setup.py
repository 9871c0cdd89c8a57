"""What a training loop is made for."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from graphjit.codegen.epoch import Epoch
from graphjit.ir.aval import DType
from graphjit.tracing.guards import Guards
from graphjit.tracing.trees import flatten
from graphjit.train.optimizers import Optimizer, is_float


@dataclass(frozen=True)
class Setup:
    """What a loop is compiled for.

    ``data`` are arrays with one example a row; ``epoch`` cuts them into batches; ``budget`` is how
    many bytes a step may keep for its backward pass, None as many as it likes.
    """

    loss: Callable[..., Any]
    optimizer: Optimizer
    params: Any
    state: Any
    data: tuple[Any, ...]
    epoch: Epoch
    budget: int | None = None

    @cached_property
    def flat(self) -> tuple[list[Any], Any]:
        """The leaves of parameters and state, and their containers."""
        return flatten((self.params, self.state))

    @property
    def gathers(self) -> bool:
        """Whether batches are picked from the data, rather than all used at once."""
        return self.epoch.batch != self.epoch.examples

    @property
    def title(self) -> str:
        """What the loop is called in its text."""
        return f"training loop of {getattr(self.loss, '__name__', 'loss')}"

    @property
    def functions(self) -> tuple[Callable[..., Any], ...]:
        """The user's functions in it: the loss, and a schedule of the optimizer."""
        schedules = [v for v in vars(self.optimizer).values() if callable(v)]
        return (self.loss, *schedules)

    def bare(self) -> Bare:
        """What makes the same form of setup, without holding the data."""
        fields = self.loss, self.optimizer, self.params, self.state, self.epoch, self.budget
        return Bare(*fields, tuple([(a.shape, a.dtype) for a in self.data]))


class Bare(NamedTuple):
    """A setup without its data, of which there are shapes and dtypes."""

    loss: Callable[..., Any]
    optimizer: Optimizer
    params: Any
    state: Any
    epoch: Epoch
    budget: int | None
    forms: tuple[tuple[tuple[int, ...], DType], ...]

    def setup(self) -> Setup:
        """The setup, on data that take no memory."""
        data = tuple(np.broadcast_to(np.zeros((), dtype), shape) for shape, dtype in self.forms)
        return Setup(*self[:4], data, *self[4:6])


def hyperparameters(optimizer: Optimizer) -> dict[str, float]:
    """The optimizer's float fields: arguments of the compiled step."""
    fields = dataclasses.fields(optimizer)  # type: ignore[arg-type]
    values = {f.name: getattr(optimizer, f.name) for f in fields}
    return {name: v for name, v in values.items() if isinstance(v, float)}


def carried(setup: Setup) -> list[Any]:
    """The leaves that a step reads and replaces: trained parameters, optimizer state."""
    return [leaf for leaf in setup.flat[0] if is_float(leaf) or isinstance(leaf, np.ndarray)]


def guards_of(setup: Setup, exposed: Iterable[Any]) -> list[Guards]:
    """Guards of what the user's functions read, and of the contents of some arrays among that."""
    found = [Guards(function) for function in setup.functions]
    places = set(map(id, exposed))
    for guard in found:
        guard.hold([name for name, array in guard.arrays.items() if id(array) in places])
    return found
