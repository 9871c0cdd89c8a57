"""Which results are large: native entries keep their memory, since new memory costs time."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

LARGE = 1 << 20  # bytes of an array whose memory is worth keeping: the system clears new pages
HUGE = 1 << 27  # and of one that is too much to keep


def is_large(shape: tuple[int, ...], dtype: np.dtype[Any]) -> bool:
    """Whether the memory of an output is kept."""
    return LARGE <= size(shape, dtype) <= HUGE


def large_bytes(outputs: Iterable[tuple[tuple[int, ...], np.dtype[Any]]]) -> int:
    """How many bytes of a program's outputs are kept."""
    return sum(size(*form) for form in outputs if is_large(*form))


def size(shape: tuple[int, ...], dtype: np.dtype[Any]) -> int:
    """Bytes of an array."""
    return dtype.itemsize * math.prod(shape)
