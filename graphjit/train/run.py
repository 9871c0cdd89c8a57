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
from graphjit.train.setup import Setup, carried, hyperparameters

CHUNK_SECONDS = 0.2  # between two looks at Ctrl-C and the progress bar


class Order:
    """The order of the examples, epoch after epoch, from a seeded generator."""

    def __init__(self, epoch: Epoch, rng: np.random.Generator | None) -> None:
        self.epoch, self.rng = epoch, rng
        self.drawn: dict[int, NDArray[np.int64]] = {}
        self.count = 0

    def between(self, first: int, last: int) -> NDArray[np.int64]:
        """The indices of the epochs ``first`` to ``last - 1``, one after the other."""
        while self.count < last:
            self.drawn[self.count] = self.draw()
            self.count += 1
        return np.concatenate([self.drawn[e] for e in range(first, last)])

    def forget(self, before: int) -> None:
        """Drop the orders of epochs that will not be visited again."""
        self.drawn = {e: order for e, order in self.drawn.items() if e >= before}

    def draw(self) -> NDArray[np.int64]:
        """The next epoch's order."""
        n = self.epoch.examples
        return np.arange(n) if self.rng is None else self.rng.permutation(n)


class Training:
    """The state of a run: arrays that the native loop overwrites, and what was seen so far."""

    def __init__(
        self, loop: NativeLoop, setup: Setup, order: Order, tolerance: float | None, total: int
    ) -> None:
        self.loop, self.setup, self.order, self.total = loop, setup, order, total
        self.tolerance = -1.0 if tolerance is None else float(tolerance)
        self.monitor = np.array([0.0, np.inf, self.tolerance])
        self.carried = [np.atleast_1d(np.array(native(v))) for v in carried(setup)]
        hyper = [np.atleast_1d(v) for v in sorted_values(hyperparameters(setup.optimizer))]
        self.fixed = [*hyper, *setup.data]
        self.losses: list[NDArray[np.float64]] = []
        self.done = 0
        self.saved: list[tuple[int, list[NDArray[Any]], NDArray[np.float64]]] = []
        self.seconds = 0.0

    def run(self, interrupted: threading.Event, shown: Any) -> Reason:
        """Chunks of native steps until there is a reason to stop."""
        chunk = 1
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
            rate = (self.done - before) / max(elapsed, 1e-6)
            chunk = max(1, min(chunk * 8, int(rate * CHUNK_SECONDS)))
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
        control = np.array([first, last, origin, first, 0])
        values: dict[str, Any] = {"control": control, "monitor": self.monitor}
        values.update((f"arg{i}", a) for i, a in enumerate([*self.carried, *self.fixed]))
        values.update((f"captured{i}", native(a)) for i, a in enumerate(self.loop.captured))
        if self.setup.gathers:
            values["order"] = self.order.between(origin, -(-last // steps))
        losses = values["losses"] = np.zeros(last - first, self.loop.losses)
        pack = self.loop.arguments(values)
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
            LazyText(partial(self.loop.text, self.setup.empty())),
            self.loop.cache if fresh else "",
        )


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
    old = signal.getsignal(signal.SIGINT)

    def handle(signum: int, frame: Any) -> None:
        if event.is_set() and callable(old):
            old(signum, frame)
        event.set()

    signal.signal(signal.SIGINT, handle)
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
