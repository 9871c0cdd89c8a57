"""What training gives back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Reason = Literal["finished", "converged", "interrupted", "not finite"]


class LazyText:
    """A text that is made when it is first read."""

    def __init__(self, make: Callable[[], str]) -> None:
        self._make: Callable[[], str] | None = make
        self._text = ""

    def __str__(self) -> str:
        make = self._make
        if make is not None:
            self._text, self._make = make(), None
        return self._text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LazyText) and str(self) == str(other)

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> Any:
        return text_of, (str(self),)


def text_of(text: str) -> LazyText:
    """A text that is there already."""
    return LazyText(lambda: text)


@dataclass(frozen=True)
class TrainResult:
    """The outcome of a training loop.

    Attributes:
        params: The trained parameters, in the container they came in.
        losses: The loss of every step's batch, before that step's update; float64, shape (steps,).
        reason: Why it stopped: ``finished`` all steps, ``converged`` by the tolerance,
            ``interrupted`` by Ctrl-C, or the loss was ``not finite``.
        state: The optimizer's state after the last step.
        steps_per_epoch: How many steps visit every example once.
        seconds: Wall time of the native loop, without compilation.
        compile_seconds: Time to trace and compile; 0 where an earlier call's program served.
        text: The generated program, rendered when it is asked for.
        cache: What the cache on disk had of the program: ``hit``, ``miss`` or ``not kept`` and
            why; empty where an earlier call's program served, or the cache is off.
    """

    params: Any
    losses: NDArray[np.float64] = field(repr=False)
    reason: Reason
    state: Any = field(repr=False)
    steps_per_epoch: int
    seconds: float
    compile_seconds: float
    text: LazyText = field(repr=False)
    cache: str = field(default="", repr=False)

    @property
    def source(self) -> str:
        """The generated program."""
        return str(self.text)

    @property
    def steps(self) -> int:
        """How many updates were made."""
        return len(self.losses)

    @property
    def epochs(self) -> float:
        """How many times the data were visited."""
        return self.steps / self.steps_per_epoch

    @property
    def converged(self) -> bool:
        """Whether the loss settled within the tolerance."""
        return self.reason == "converged"

    @property
    def epoch_losses(self) -> NDArray[np.float64]:
        """The mean over the steps of each whole epoch; shape (epochs,)."""
        whole, length = self.steps // self.steps_per_epoch, self.steps_per_epoch
        means: NDArray[np.float64] = (
            self.losses[: whole * length].reshape(whole, length).mean(axis=1)
        )
        return means
