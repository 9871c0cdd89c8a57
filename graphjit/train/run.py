"""The run of a compiled loop: chunks of steps, progress, interruption, convergence."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import optree
from numpy.typing import NDArray

from graphjit.codegen.epoch import CONVERGED, DONE, NOT_FINITE, REASON
from graphjit.codegen.program import out_of_range
from graphjit.errors import TrainingError
from graphjit.records import NamedTuple
from graphjit.tracing.origin import user_line
from graphjit.train.checks import native
from graphjit.train.loop import NativeLoop
from graphjit.train.optimizers import is_float
from graphjit.train.result import LazyText, Reason, TrainResult
from graphjit.train.setup import Bare, Setup, carried, hyperparameters
from graphjit.train.shuffle import Drawn, Order

CHUNK_SECONDS = 0.2  # between two looks at Ctrl-C and the progress bar
AT_ONCE = 1 << 17  # examples in epochs that are drawn together: a native call has so many at most
BRIEF = 0.01  # seconds: a run that takes less is over before Ctrl-C could end it sooner
MORE = 8  # times as many steps as before, at most, while it is not known how long they take


class Saved(NamedTuple):
    """Where a chunk of steps began.

    Attributes:
        step: The first step of it.
        changing: Copies of parameters and state.
        monitor: A copy of the sum of losses and the like.
        order: The order of the examples in it; None where all are used at once.
    """

    step: int
    changing: list[NDArray[Any]]
    monitor: NDArray[np.float64]
    order: Drawn | None


class Training:
    """The state of a run: arrays that the native loop overwrites, and what was seen so far."""

    def __init__(
        self, loop: NativeLoop, setup: Setup, order: Order, tolerance: float | None, total: int
    ) -> None:
        self.loop, self.setup, self.order, self.total = loop, setup, order, total
        self.tolerance = -1.0 if tolerance is None else float(tolerance)
        self.monitor = np.array([0.0, np.inf, self.tolerance])
        hyper = [np.array([v]) for v in sorted_values(hyperparameters(setup.optimizer))]
        self.fixed = [*hyper, *setup.data]
        self.losses: list[NDArray[np.float64]] = []
        self.done = 0
        self.pack = self.arguments()
        changing = [f"arg{i}" for i in range(len(carried(setup)))]
        self.carried = [self.pack[loop.places[name]] for name in changing]
        whole = [*loop.joined, *(name for name in changing if name not in loop.parts)]
        self.changing = [self.pack[loop.places[name]] for name in whole]
        self.saved: list[Saved] = []
        self.seconds = 0.0

    @property
    def brief(self) -> bool:
        """Whether it is known to end at once."""
        return self.total < self.loop.pace * BRIEF

    def arguments(self) -> list[Any]:
        """What the native loop takes: the same arrays for all chunks, but for order and losses."""
        values: dict[str, Any] = {"control": np.zeros(5, np.int64), "monitor": self.monitor}
        leaves = carried(self.setup)
        for i, leaf in enumerate(leaves):
            name = f"arg{i}"
            values[name] = native(leaf) if name in self.loop.parts else own(leaf)
        for i, array in enumerate(self.fixed, len(leaves)):
            values[f"arg{i}"] = array
        for i, array in enumerate(self.loop.captured):
            values[f"captured{i}"] = native(array)
        return self.loop.arguments(values)

    def run(self, interrupted: Collection[int], shown: Any) -> Reason:
        """Chunks of native steps until there is a reason to stop."""
        chunk = max(1, int(self.loop.pace * CHUNK_SECONDS / MORE))
        while self.done < self.total:
            start = time.perf_counter()
            before = self.done
            reason = self.chunk(self.after(chunk))
            elapsed = time.perf_counter() - start
            self.seconds += elapsed
            shown(self.done - before, self.losses[-1])
            self.order.leave(-(-self.done // self.setup.epoch.steps))
            if reason == NOT_FINITE:
                self.rewind()
                return "not finite"
            if reason == CONVERGED:
                return "converged"
            if interrupted:
                return "interrupted"
            pace = self.loop.pace = (self.done - before) / max(elapsed, 1e-6)
            chunk = max(1, min(chunk * MORE, int(pace * CHUNK_SECONDS)))
        return "finished"

    def after(self, chunk: int) -> int:
        """So many steps further at most: within an epoch, or at the end of whole ones."""
        epoch, done = self.setup.epoch, self.done
        if not self.setup.gathers:
            return min(done + chunk, self.total)
        inside = done % epoch.steps
        if inside or chunk < epoch.steps:
            return min(done + chunk, done - inside + epoch.steps)
        epochs = min(chunk // epoch.steps, max(1, AT_ONCE // epoch.examples))
        return min(done + epochs * epoch.steps, self.total)

    def chunk(self, last: int) -> int:
        """Steps ``done`` to ``last - 1`` in one native call; the loop's reason to stop."""
        first, steps, order = self.done, self.setup.epoch.steps, None
        places, losses = self.loop.places, np.zeros(last - first, self.loop.losses)
        if self.setup.gathers:
            order = self.order.between(first // steps, -(-last // steps))
            self.pack[places["order"]] = order.numbers
        state = Saved(first, [a.copy() for a in self.changing], self.monitor.copy(), order)
        self.saved = [*self.saved[-1:], state]
        control = self.pack[places["control"]]
        control[:] = first, last, order.first if order else 0, first, 0
        self.pack[places["losses"]] = losses
        pack = tuple(self.pack)
        self.loop.call(pack)
        self.check_status(pack)
        self.done = int(control[DONE])
        self.losses.append(losses[: self.done - first].astype(np.float64, copy=False))
        return int(control[REASON])

    def check_status(self, pack: tuple[Any, ...]) -> None:
        """Raise for an index out of range in the loss."""
        if self.loop.checks:
            code = int(pack[self.loop.places["status"]][0])
            if code:
                raise out_of_range(self.loop, code)

    def rewind(self) -> None:
        """Go back to the last parameters whose loss was finite, by running the steps again."""
        bad = self.done - 1
        losses = np.concatenate(self.losses)[: max(bad, 0)]
        good = max(bad - 1, 0)  # updates after which the loss was still finite
        start = next(s for s in reversed(self.saved) if s.step <= good)
        for array, old in zip(self.changing, start.changing, strict=True):
            array[...] = old
        self.monitor[...] = start.monitor
        self.monitor[2] = -1.0
        self.done = start.step
        self.order.drawn = start.order or self.order.drawn
        if good > start.step:
            self.chunk(good)
        self.done, self.losses = bad, [losses]

    def result(self, reason: Reason, *, fresh: bool) -> TrainResult:
        """The parameters and the state in their containers again; no step can follow."""
        leaves, spec = self.setup.flat
        arrays = iter([a if a.base is None else a.copy() for a in self.carried])
        self.loop.give_back(self.pack)  # from here on another thread may write there
        trained = [
            restored(next(arrays), leaf) if is_float(leaf) or isinstance(leaf, np.ndarray) else leaf
            for leaf in leaves
        ]
        params, state = optree.tree_unflatten(spec, trained)
        losses = np.concatenate(self.losses) if self.losses else np.empty(0)
        return TrainResult(
            params,
            losses,
            reason,
            state,
            self.setup.epoch.steps,
            self.seconds,
            self.loop.seconds if fresh else 0.0,
            LazyText(partial(text_of, self.loop, self.setup.bare())),
            self.loop.cache if fresh else "",
        )


def own(value: Any) -> NDArray[Any]:
    """A copy as an array of one axis at least."""
    array = np.array(native(value))
    return array if array.ndim else array.reshape(1)


def text_of(loop: NativeLoop, bare: Bare) -> str:
    """The loop as readable text."""
    return loop.text(bare.setup())


def sorted_values(hyper: dict[str, float]) -> list[float]:
    """In the order in which pytrees flatten a dict."""
    return [hyper[name] for name in sorted(hyper)]


def restored(array: NDArray[Any], leaf: Any) -> Any:
    """The trained array in the leaf's shape; a float or a NumPy scalar comes back as one."""
    if isinstance(leaf, float) and not isinstance(leaf, np.generic):
        return float(array[0])
    whole = array.reshape(np.shape(leaf))
    return whole if isinstance(leaf, np.ndarray) else whole[()]


def not_finite(result: TrainResult, training: Training) -> TrainingError:
    """The error for a loss that is no number; it carries what was reached."""
    step = training.done
    error = TrainingError(
        f"the loss was not finite at step {step} (epoch {step // result.steps_per_epoch})",
        origin=user_line(),
        hint="Lower the learning rate, or scale the data. The error's `result` has the last "
        "parameters whose loss was finite, and all losses before.",
    )
    error.result = result  # type: ignore[attr-defined]
    return error


@contextmanager
def interruptible(*, brief: bool) -> Iterator[Collection[int]]:
    """What holds Ctrl-C's signal once it came; a second Ctrl-C raises KeyboardInterrupt as ever.

    So does the first in a brief run: whoever makes many of them wants to leave the loop around.
    """
    came = list[int]()
    if brief or threading.current_thread() is not threading.main_thread():
        yield came
        return

    def handle(signum: int, frame: Any) -> None:
        if came and callable(old):
            old(signum, frame)
        came.append(signum)

    old = signal.signal(signal.SIGINT, handle)
    try:
        yield came
    finally:
        signal.signal(signal.SIGINT, old)


@contextmanager
def bar(progress: bool, total: int) -> Iterator[Callable[[int, NDArray[np.float64]], None]]:
    """What to call after each chunk: moves a progress bar, or does nothing."""
    if not progress:
        yield lambda count, losses: None
        return
    from tqdm.auto import tqdm  # loaded only when a bar is shown

    with tqdm(total=total, unit="step") as shown:

        def move(count: int, losses: NDArray[np.float64]) -> None:
            if len(losses):
                shown.set_postfix(loss=f"{losses[-1]:.4g}", refresh=False)
            shown.update(count)

        yield move
