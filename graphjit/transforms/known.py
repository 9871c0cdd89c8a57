"""Programs of functions that are passed to a call, such as ``jvp(f, ...)``, kept for the next."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import lru_cache
from typing import Any

from graphjit.tracing.trace import active

KEPT = 128  # functions whose programs are kept; each keeps what its closure holds


@lru_cache(maxsize=KEPT)
def _made(make: Callable[..., Any], f: Callable[..., Any], *options: Hashable) -> Any:
    return make(f, *options)


def known(make: Callable[..., Any], f: Any, *options: Hashable) -> Any:
    """``make(f, *options)``, the one made before for the same function, or tuple of functions.

    Inside a trace nothing is compiled, and the function often holds traced values: nothing is
    kept there, nor for what has no hash.
    """
    if active() is not None:
        return make(f, *options)
    try:
        hash(f)
    except TypeError:
        return make(f, *options)
    return _made(make, f, *options)
