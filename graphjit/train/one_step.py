"""One step of training as a plain function, to be compiled or exported by itself."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

from graphjit.train.checks import check_optimizer
from graphjit.train.optimizers import Optimizer, apply_updates
from graphjit.transforms.decorators import value_and_grad


class Step(NamedTuple):
    """What one step gives: the loss before the update, and the next parameters and state."""

    loss: Any
    params: Any
    state: Any


def train_step(loss: Callable[..., Any], optimizer: Optimizer) -> Callable[..., Step]:
    """The function ``step(params, state, *batch) -> (loss, params, state)``.

    It is plain NumPy: call it under ``graphjit.jit``, or write it to files with
    ``graphjit.export``. ``optimizer.init(params)`` is the first state. Numbers of the optimizer,
    as its learning rate, are constants of the step; a schedule is computed in it.

    Args:
        loss: ``loss(params, *batch) -> float scalar`` in NumPy, decorated or not.
        optimizer: Such as ``sgd(0.1, momentum=0.9)`` or ``adam(1e-3)``.

    Raises:
        DTypeError: the optimizer is none.
    """
    check_optimizer(optimizer)
    loss = getattr(loss, "__wrapped__", loss)
    both = value_and_grad(loss)

    def step(params: Any, state: Any, *batch: Any) -> Step:
        value, gradients = both(params, *batch)
        updates, after = optimizer.update(gradients, state, params)
        return Step(value, apply_updates(params, updates), after)

    step.__signature__ = signature(loss)  # type: ignore[attr-defined]
    step.__name__ = f"step_of_{getattr(loss, '__name__', 'loss')}"
    return step


def signature(loss: Callable[..., Any]) -> inspect.Signature:
    """The parameters of a step: those of the loss, with the state after the first."""
    kind = inspect.Parameter.POSITIONAL_ONLY
    names = list(inspect.signature(loss).parameters.values())
    taken = [p.name for p in names[1:] if p.kind <= p.POSITIONAL_OR_KEYWORD]
    parameters = [inspect.Parameter(name, kind) for name in ("params", "state", *taken)]
    return inspect.Signature(parameters)
