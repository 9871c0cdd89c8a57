"""The training functions: how the examples are cut into batches, and how often they are visited."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

from graphjit.codegen.epoch import Epoch
from graphjit.flags import current
from graphjit.forks import Lock, unforked
from graphjit.train.checks import check_optimizer, checked_batch, checked_data, checked_epochs
from graphjit.train.kept import loop_of
from graphjit.train.loop import NativeLoop
from graphjit.train.optimizers import Optimizer, Schedule, is_float, sgd
from graphjit.train.result import TrainResult
from graphjit.train.run import Training, bar, interruptible, not_finite
from graphjit.train.setup import Setup
from graphjit.train.shuffle import Draws, Order
from graphjit.transforms.gradient import checked_budget

Loss = Callable[..., Any]

_loops: weakref.WeakKeyDictionary[Any, dict[Any, NativeLoop]] = weakref.WeakKeyDictionary()
_lock = Lock()


def gradient_descent(
    loss: Loss, params: Any, data: Any, learning_rate: Schedule = 0.1, *, steps: int = 1000,
    optimizer: Optimizer | None = None, tolerance: float | None = None, progress: bool = False,
) -> TrainResult:  # fmt: skip
    """Gradient descent on all data: ``params <- params - learning_rate * g`` until it converges.

    Args and returns as ``minimize``; ``steps`` counts updates.
    """
    optimizer = optimizer or sgd(learning_rate)
    return minimize(
        loss, params, data, optimizer, epochs=steps, tolerance=tolerance, progress=progress
    )


def stochastic_gradient_descent(
    loss: Loss, params: Any, data: Any, learning_rate: Schedule = 0.1, *, epochs: int = 10,
    optimizer: Optimizer | None = None, seed: Any = 0, tolerance: float | None = None,
    progress: bool = False,
) -> TrainResult:  # fmt: skip
    """SGD: each update uses the gradient of one example, in random order.

    Args and returns as ``minimize``.
    """
    optimizer = optimizer or sgd(learning_rate)
    return minimize(
        loss, params, data, optimizer, batch_size=1, epochs=epochs, seed=seed,
        tolerance=tolerance, progress=progress,
    )  # fmt: skip


def minibatch_sgd(
    loss: Loss, params: Any, data: Any, learning_rate: Schedule = 0.1, *, batch_size: int = 32,
    epochs: int = 10, optimizer: Optimizer | None = None, seed: Any = 0,
    tolerance: float | None = None, progress: bool = False,
) -> TrainResult:  # fmt: skip
    """Mini-batch SGD: each update uses the gradient over ``batch_size`` random examples.

    Args and returns as ``minimize``.
    """
    optimizer = optimizer or sgd(learning_rate)
    return minimize(
        loss, params, data, optimizer, batch_size=batch_size, epochs=epochs, seed=seed,
        tolerance=tolerance, progress=progress,
    )  # fmt: skip


def minimize(
    loss: Loss, params: Any, data: Any, optimizer: Optimizer, *, batch_size: int | None = None,
    epochs: int = 1, shuffle: bool = True, seed: Any = 0, tolerance: float | None = None,
    progress: bool = False, state: Any = None, budget: int | None = None,
) -> TrainResult:  # fmt: skip
    """Train natively: gather a batch, compute the gradient, update, many steps in one call.

    The result is that of a plain NumPy loop over the same batches, to rounding: epoch ``e`` visits
    the examples in the order of the ``e``-th ``numpy.random.default_rng(seed).permutation(n)``, cut
    into batches; the last, smaller batch is used too.

    Args:
        loss: ``loss(params, *batch) -> float scalar`` in NumPy, decorated or not.
        params: A pytree of float arrays and floats; it is not modified. Ints stay as they are.
        data: An array or a tuple of arrays with one example along the first axis.
        optimizer: Such as ``sgd(0.1, momentum=0.9)`` or ``adam(1e-3)``.
        batch_size: Examples an update; None for all of them at once.
        epochs: How often to visit all examples.
        shuffle: Whether to visit them in a new random order each epoch.
        seed: For ``numpy.random.default_rng``; a Generator is used as it is, and moves on.
        tolerance: Stop once the mean loss of two successive epochs differs by at most this.
        progress: Show a progress bar (tqdm) with the loss.
        state: An optimizer state to go on from, as an earlier result has it.
        budget: How many bytes of intermediate values a step may keep for its backward pass, which
            computes the rest again, as for ``grad``; None keeps what is quickest.

    Returns:
        Parameters, losses, and why it stopped. Ctrl-C stops within about 0.2 s and returns the
        parameters of that moment; in a run of less than 0.01 s it raises KeyboardInterrupt as ever.

    Raises:
        ShapeError: data of different lengths, no data, a batch larger than the data, or fewer
            than 0 epochs.
        DTypeError: ``batch_size`` or ``epochs`` is no int.
        TrainingError: the loss was NaN or infinite; its ``result`` has the last parameters whose
            loss was finite, and the losses up to there.
        GraphJITError: the loss cannot be traced or differentiated.
    """
    loss = getattr(loss, "__wrapped__", loss)
    arrays = checked_data(data)
    check_optimizer(optimizer)
    epoch = Epoch(len(arrays[0]), checked_batch(batch_size, arrays))
    steps = checked_epochs(epochs) * epoch.steps
    state = optimizer.init(params) if state is None else state
    setup = Setup(loss, optimizer, params, state, arrays, epoch, checked_budget(budget))
    loop, fresh = loop_for(setup)
    order = Order(epoch, Draws(seed) if shuffle else None)
    training = Training(loop, setup, order, tolerance, steps)
    with interruptible(brief=training.brief) as interrupted, bar(progress, steps) as shown:
        reason = training.run(interrupted, shown)
    result = training.result(reason, fresh=fresh)
    if reason == "not finite":
        raise not_finite(result, training)
    return result


def loop_for(setup: Setup) -> tuple[NativeLoop, bool]:
    """The compiled loop for this setup, and whether it was compiled just now."""
    leaves, spec = setup.flat
    forms = tuple([form(leaf) for leaf in (*leaves, *setup.data)])
    fields = tuple(
        sorted((k, v) for k, v in vars(setup.optimizer).items() if not isinstance(v, float))
    )
    flags = current()
    ways = flags.jit, flags.renderer, flags.skip, flags.threads
    key = (spec, forms, setup.epoch, setup.budget, type(setup.optimizer), fields, ways)
    with _lock:
        known = _loops.setdefault(setup.loss, {})
        loop = known.get(key)
        if loop is not None and not loop.changed():
            return loop, False
        with unforked():
            known[key] = loop = loop_of(setup)
        return loop, True


def form(leaf: Any) -> Any:
    """What a loop depends on of a leaf: its kind if it is computed with, else all of it."""
    if type(leaf) is float:
        return float
    if isinstance(leaf, np.ndarray):
        return type(leaf), leaf.shape, leaf.dtype
    return (type(leaf), np.shape(leaf), np.asarray(leaf).dtype) if is_float(leaf) else leaf
