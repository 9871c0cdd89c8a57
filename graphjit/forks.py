"""Processes that are forked: a child has none of its parent's threads, but all of their locks.

Imports take locks of Python's, and code generation takes some inside LLVM, that nobody can open in
a child. So a fork waits while another thread builds a program.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING
from weakref import WeakSet

if TYPE_CHECKING:
    from typing import Protocol

    class Holder(Protocol):
        """What holds something of threads."""

        def forked(self) -> None:
            """Forget all other threads: this is a child, and they are not there."""
            ...


LONGEST = 1.0  # seconds that a fork waits: most of such locks are taken early


_holders: WeakSet[Holder] = WeakSet()
_busy: set[int] = set()  # threads that build or compile
_gate = threading.Condition()


def told(holder: Holder) -> None:
    """Tell the holder in each child that is forked as long as it lives."""
    _holders.add(holder)


class Lock:
    """A lock that is open in a child, whoever held it in the parent.

    The thread that holds it may take it again: a signal's handler may come between any two steps.
    """

    def __init__(self) -> None:
        self.forked()
        told(self)

    def forked(self) -> None:
        """Be open."""
        self._lock = threading.RLock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(RuntimeError):  # this thread forked within the block
            self._lock.release()


@contextlib.contextmanager
def unforked() -> Iterator[None]:
    """No other thread forks the process within the block, unless it takes very long."""
    own = threading.get_ident()
    outer = own in _busy
    try:
        with _gate:
            _busy.add(own)
        yield
    finally:
        if not outer:
            with _gate:
                _busy.discard(own)
                _gate.notify_all()


def started(thread: threading.Thread) -> bool:
    """Start a thread that the process waits for at its end; False where it ends, or has no room."""
    if not threading.main_thread().is_alive():
        return False
    try:
        thread.start()
    except RuntimeError:
        return False
    return True


def _before() -> None:
    """Wait for other threads, and let none begin."""
    _gate.acquire()
    end, own = time.monotonic() + LONGEST, {threading.get_ident()}
    while _busy - own and (left := end - time.monotonic()) > 0:
        _gate.wait(left)


def _in_child() -> None:
    """Nobody else is there."""
    global _gate  # noqa: PLW0603 - others may wait for the parent's
    _gate = threading.Condition()
    _busy.intersection_update({threading.get_ident()})
    for holder in list(_holders):
        holder.forked()


def _in_parent() -> None:
    _gate.release()


def _at_exit() -> None:
    """Wait for daemon threads: Python ends them in the middle of C++, which aborts the process."""
    _before()
    _gate.release()


atexit.register(_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
