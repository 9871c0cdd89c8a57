"""The run of a compiled loop: chunks of steps, progress, interruption, convergence."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import optree
from numpy.typing import NDArray

from graphjit.codegen.epoch import CONVERGED, DONE, NOT_FINITE, REASON, Epoch
from graphjit.codegen.program import out_of_range
from graphjit.errors import TrainingError
from graphjit.tracing.origin import user_line
from graphjit.tracing.trees import flatten
from graphjit.train.checks import native
from graphjit.train.loop import NativeLoop
from graphjit.train.optimizers import is_float
from graphjit.train.result import LazyText, Reason, TrainResult
from graphjit.train.setup import Bare, Setup, carried, hyperparameters
from graphjit.train.shuffle import Draws

CHUNK_SECONDS = 0.2  # between two looks at Ctrl-C and the progress bar
MORE = 8  # times as many steps as before, at most, while it is not known how long they take


class Order:
    """The order of the examples, epoch after epoch, drawn or as they come."""

    def __init__(self, epoch: Epoch, draws: Draws | None) -> None:
        self.epoch, self.draws = epoch, draws
        self.drawn: dict[int, NDArray[np.int64]] = {}
        self.count = 0

    def between(self, first: int, last: int) -> NDArray[np.int64]:
        """The indices of the epochs ``first`` to ``last - 1``, then as many as a batch has."""
        while self.count < last:
            self.drawn[self.count] = self.draw()
            self.count += 1
        if last - first == 1:
            return self.drawn[first]
        n = self.epoch.examples
        before = [self.drawn[e][:n] for e in range(first, last - 1)]
        return np.concatenate([*before, self.drawn[last - 1]])

    def forget(self, before: int) -> None:
        """Drop the orders of epochs that will not be visited again."""
        self.drawn = {e: order for e, order in self.drawn.items() if e >= before}

    def draw(self) -> NDArray[np.int64]:
        """The next epoch's order, and something for the last batch to look ahead at."""
        n, more = self.epoch.examples, self.epoch.batch
        return np.arange(n + more) if self.draws is None else self.draws.permutation(n, more)


class Training:
    """The state of a run: arrays that the native loop overwrites, and what was seen so far."""

    def __init__(
        self, loop: NativeLoop, setup: Setup, order: Order, tolerance: float | None, total: int
    ) -> None:
        self.loop, self.setup, self.order, self.total = loop, setup, order, total
        self.tolerance = -1.0 if tolerance is None else float(tolerance)
        self.monitor = np.array([0.0, np.inf, self.tolerance])
        self.carried = [own(v) for v in carried(setup)]
        hyper = [np.array([v]) for v in sorted_values(hyperparameters(setup.optimizer))]
        self.fixed = [*hyper, *setup.data]
        self.losses: list[NDArray[np.float64]] = []
        self.done = 0
        self.pack = self.arguments()
        self.saved: list[tuple[int, list[NDArray[Any]], NDArray[np.float64]]] = []
        self.seconds = 0.0

    def arguments(self) -> list[Any]:
        """What the native loop takes: the same arrays for all chunks, but for order and losses."""
        values: dict[str, Any] = {"control": np.zeros(5, np.int64), "monitor": self.monitor}
        for i, array in enumerate([*self.carried, *self.fixed]):
            values[f"arg{i}"] = array
        for i, array in enumerate(self.loop.captured):
            values[f"captured{i}"] = native(array)
        return self.loop.arguments(values)

    def run(self, interrupted: threading.Event, shown: Any) -> Reason:
        """Chunks of native steps until there is a reason to stop."""
        chunk = max(1, int(self.loop.pace * CHUNK_SECONDS / MORE))
        while self.done < self.total:
            last = min(self.done + chunk, self.total)
            start = time.perf_counter()
            before = self.done
            reason = self.chunk(last)
            elapsed = time.perf_counter() - start
            self.seconds += elapsed
            shown(self.done - before, self.losses[-1])
            if reason == NOT_FINITE:
                self.rewind()
                return "not finite"
            if reason == CONVERGED:
                return "converged"
            if interrupted.is_set():
                return "interrupted"
            pace = self.loop.pace = (self.done - before) / max(elapsed, 1e-6)
            chunk = max(1, min(chunk * MORE, int(pace * CHUNK_SECONDS)))
        return "finished"

    def chunk(self, last: int) -> int:
        """Steps ``done`` to ``last - 1`` in one native call; the loop's reason to stop."""
        self.saved = [
            *self.saved[-1:],
            (self.done, [a.copy() for a in self.carried], self.monitor.copy()),
        ]
        first, steps = self.done, self.setup.epoch.steps
        origin = first // steps
        self.order.forget(min(start for start, _, _ in self.saved) // steps)
        places, losses = self.loop.places, np.zeros(last - first, self.loop.losses)
        control = self.pack[places["control"]]
        control[:] = first, last, origin, first, 0
        self.pack[places["losses"]] = losses
        if self.setup.gathers:
            self.pack[places["order"]] = self.order.between(origin, -(-last // steps))
        pack = tuple(self.pack)
        self.loop.call(pack)
        self.check_status(pack)
        self.done = int(control[DONE])
        self.losses.append(losses[: self.done - first].astype(np.float64))
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
        start, arrays, monitor = next(s for s in reversed(self.saved) if s[0] <= good)
        for own, old in zip(self.carried, arrays, strict=True):
            own[...] = old
        self.monitor[...] = monitor
        self.monitor[2] = -1.0
        self.done = start
        if good > start:
            self.chunk(good)
        self.done, self.losses = bad, [losses]

    def result(self, reason: Reason, *, fresh: bool) -> TrainResult:
        """The parameters and the state in their containers again."""
        leaves, spec = flatten((self.setup.params, self.setup.state))
        arrays = iter(self.carried)
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
def interruptible() -> Iterator[threading.Event]:
    """An event that Ctrl-C sets; a second Ctrl-C raises KeyboardInterrupt as ever."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return

    def handle(signum: int, frame: Any) -> None:
        if event.is_set() and callable(old):
            old(signum, frame)
        event.set()

    old = signal.signal(signal.SIGINT, handle)
    try:
        yield event
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
                shown.set_postfix(loss=f"{losses[-1]:.4g}")
            shown.update(count)

        yield move
