"""The pool of worker threads of this process: made when code that needs it is loaded.

Its threads are started by the first call that shares a loop. After a fork the child has a pool
without threads, and starts its own. At exit they are stopped.
"""

from __future__ import annotations

import atexit
import ctypes
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from graphjit.codegen.blas import find
from graphjit.forks import Lock

LINE = 64
LEVEL = 0  # of code generation: the pool waits and counts; a higher one takes four times as long
ENTRY = "graphjit_parallel"  # what code calls
_lock = Lock()


def cores() -> int:
    """The processors that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def blas_threads() -> tuple[int, int]:
    """The addresses of the functions of the BLAS that tell, and set, how many threads it uses."""
    blas = find()
    pair = None if blas is None else blas.counting()
    return pair or (0, 0)


class Workers:
    """The pool: its memory, and its code.

    Attributes:
        entry: The address of what runs the blocks of a task.
    """

    def __init__(self) -> None:
        # The text of the pool is needed only by programs with loops to share.
        from graphjit.cache.objects import object_code
        from graphjit.codegen import llvm_threads_pool as pool
        from graphjit.codegen.code import Code

        self._pool = pool
        self._memory = (ctypes.c_char * (pool.SIZE + LINE))()
        self._start = -(-ctypes.addressof(self._memory) // LINE) * LINE
        text = pool.text()
        content, _ = object_code(text, lambda: made(text), LEVEL)
        self._code = Code(content, {pool.STATE: self._start})
        self.entry = self._code.address(pool.ENTRY)
        self._limit = 0
        self.reset()
        os.register_at_fork(after_in_child=self.reset)
        atexit.register(self.stop)

    def reset(self) -> None:
        """A pool without threads, as a new process has it."""
        ctypes.memset(self._start, 0, self._pool.SIZE)
        self._word("usual").value = cores()
        self.limit(self._limit)
        self._word("get").value, self._word("set").value = blas_threads()
        self._function("graphjit_workers_ready")()

    def limit(self, count: int) -> None:
        """Let no call use more threads, itself counted; 0 is no limit."""
        self._limit = self._word("limit").value = count

    def stop(self) -> None:
        """End all threads; calls run alone from now on."""
        self._function("graphjit_workers_stop")()

    @property
    def started(self) -> int:
        """How many threads there are beside those that call."""
        return int(self._word("started").value)

    def _word(self, name: str) -> Any:
        return ctypes.c_int64.from_address(self._start + self._pool.PLACES[name])

    def _function(self, name: str) -> Callable[[], None]:
        return ctypes.CFUNCTYPE(None)(self._code.address(name))


def made(text: str) -> bytes:
    """The machine code of the pool."""
    from graphjit.codegen.native import compiled  # loads LLVM: not where it is kept on disk

    return compiled(text, LEVEL)


@cache
def _made() -> Workers:
    workers = Workers()
    workers.limit(_limit[0])
    return workers


_limit = [0]


def workers() -> Workers:
    """The pool of this process, made now if it was not."""
    with _lock:
        return _made()


def entry() -> int:
    """The address of what runs the blocks of a task."""
    return workers().entry


def supported() -> bool:
    """Whether there can be a pool: it needs POSIX threads."""
    return os.name == "posix"


def started() -> int:
    """How many worker threads run now."""
    return _made().started if _made.cache_info().currsize else 0


@contextmanager
def threads(most: int) -> Iterator[None]:
    """Let compiled functions use so many threads at most within a ``with`` block.

    It holds for the whole process, whichever thread of Python calls. A function's own ``threads=``
    and ``GRAPHJIT_THREADS`` go no further than this.

    Args:
        most: How many, the calling thread counted; 0 is no limit.
    """
    before = _limit[0]
    _set_limit(most)
    try:
        yield
    finally:
        _set_limit(before)


def _set_limit(most: int) -> None:
    _limit[0] = most
    if _made.cache_info().currsize:
        _made().limit(most)
