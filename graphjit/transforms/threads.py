"""How many threads may share the loops of one function."""

from __future__ import annotations

import contextlib
from contextlib import AbstractContextManager
from typing import Any

from graphjit.errors import TraceError
from graphjit.flags import override
from graphjit.tracing.origin import user_line

MOST = 256


def checked_threads(threads: Any) -> int | None:
    """``threads`` as a number, or None for as many as usual.

    Raises:
        TraceError: it is no number of threads.
    """
    if threads is None or (type(threads) is int and 0 < threads <= MOST):
        return threads
    raise TraceError(
        f"threads cannot be {threads!r}",
        origin=user_line(),
        hint=f"It takes a number from 1 to {MOST}, or None for all cores of the process.",
    )


def compiled_for(threads: int | None) -> AbstractContextManager[Any]:
    """What is compiled within uses so many threads; None leaves it to the flag."""
    return contextlib.nullcontext() if threads is None else override(threads=threads)
