"""What training is given, checked before it is used: data, a batch size, an optimizer."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphjit.errors import DTypeError, ShapeError
from graphjit.tracing.origin import user_line


def checked_data(data: Any) -> tuple[NDArray[Any], ...]:
    """The data as contiguous arrays of one length.

    Raises:
        ShapeError: there are none, or they differ in length.
    """
    arrays = tuple(native(a) for a in (data if isinstance(data, tuple) else (data,)))
    shapes = tuple(a.shape for a in arrays)
    if not arrays or any(not a.ndim for a in arrays) or len({len(a) for a in arrays}) != 1:
        raise ShapeError(
            "the data must be arrays with the same number of examples",
            origin=user_line(),
            operands=shapes,
            hint="Put one example along the first axis of each array.",
        )
    if not len(arrays[0]):
        raise ShapeError(
            "there are no examples to train on",
            origin=user_line(),
            operands=shapes,
            hint="Pass arrays with at least one row.",
        )
    return arrays


def check_optimizer(optimizer: Any) -> None:
    """Refuse what has no ``init`` and ``update``.

    Raises:
        DTypeError: a learning rate was passed as the optimizer, say.
    """
    if not all(callable(getattr(optimizer, name, None)) for name in ("init", "update")):
        raise DTypeError(
            f"{optimizer!r} is no optimizer",
            origin=user_line(),
            hint="Pass train.sgd(0.1) or train.adam(), or a dataclass with init and update.",
        )


def native(value: Any) -> NDArray[Any]:
    """The array as programs read it: in C order, aligned, in native byte order."""
    array: NDArray[Any] = np.asanyarray(value)
    flags = array.flags
    if flags.c_contiguous and flags.aligned and array.dtype.isnative:
        return array
    return np.require(array, array.dtype.newbyteorder("="), ["C", "A"])


def checked_batch(batch_size: int | None, arrays: tuple[NDArray[Any], ...]) -> int:
    """The examples in a batch.

    Raises:
        ShapeError: the batch is empty, or larger than the data.
        DTypeError: it is no int.
    """
    examples = len(arrays[0])
    if batch_size is None:
        return examples
    if not whole(batch_size):
        raise DTypeError(
            f"batch_size must be an int or None, not {batch_size!r}", origin=user_line()
        )
    if not 1 <= batch_size <= examples:
        raise ShapeError(
            f"a batch of {batch_size} cannot be taken from {examples} examples",
            origin=user_line(),
            operands=tuple(a.shape for a in arrays),
            hint=f"Choose batch_size between 1 and {examples}, or None for all at once.",
        )
    return int(batch_size)


def checked_epochs(epochs: int) -> int:
    """How often to visit all examples, or how many steps of gradient descent to take.

    Raises:
        ShapeError: it is negative.
        DTypeError: it is no int.
    """
    if not whole(epochs):
        raise DTypeError(f"epochs, or steps, must be an int, not {epochs!r}", origin=user_line())
    if epochs < 0:
        raise ShapeError(f"epochs, or steps, must be 0 or more, not {epochs}", origin=user_line())
    return int(epochs)


def whole(value: object) -> bool:
    """Whether a value is an integer, and no truth value."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)
