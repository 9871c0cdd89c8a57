"""Two tiers: code that is quick to make answers while better code is made in a thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from graphjit.codegen.code import Code
from graphjit.forks import Lock, started, told

QUICK = 0  # the level at which code is made five to ten times faster, and runs slower
PAUSE = 0.05  # seconds in which no program was built, before better code is made


class Turns:
    """Who is served by LLVM, which serves one thread at a time: first what a call waits for."""

    def __init__(self) -> None:
        self._turn, self._counting = Lock(), Lock()
        self.forked()
        told(self)

    def forked(self) -> None:
        """Nobody is at anything."""
        self._building, self._built = 0, 0.0
        self._awaited = threading.Event()

    @contextmanager
    def first(self) -> Iterator[None]:
        """A program is built in a ``with`` block, and maybe another one soon after."""
        self._count(1)
        try:
            yield
        finally:
            self._count(-1)

    def _count(self, more: int) -> None:
        with self._counting:
            self._building = max(0, self._building + more)  # a child begins with none
            self._built = time.monotonic()

    def take(self, make: Callable[[], Code]) -> Code:
        """Make better code when nobody else is at it, nor builds a program."""
        with self._turn:
            while (left := self._until_quiet()) > 0:
                if self._awaited.wait(left):
                    break
            return make()

    def _until_quiet(self) -> float:
        """How many seconds at least."""
        return PAUSE if self._building else self._built + PAUSE - time.monotonic()

    def wait(self, thread: threading.Thread) -> None:
        """Return when a thread ends; until then nobody waits for quiet."""
        self._awaited.set()
        thread.join()
        self._awaited.clear()


turns = Turns()


class Improvement:
    """Better code on its way.

    Args:
        make: Makes it.
        done: Is given it.
        failed: Is given what went wrong instead.
    """

    def __init__(
        self,
        make: Callable[[], Code],
        done: Callable[[Code], None],
        failed: Callable[[Exception], None],
    ) -> None:
        self._make, self._done, self._failed = make, done, failed
        # Not a daemon: the process must not end while LLVM is at work.
        self._begin()

    def _begin(self) -> None:
        self._thread = threading.Thread(target=self._run, name="graphjit compiles")
        self._ended = False
        if not started(self._thread):
            self._ended = True

    def _run(self) -> None:
        try:
            self._done(turns.take(self._make))
        except Exception as error:  # noqa: BLE001 - raised again where the program is called
            self._failed(error)
        finally:
            self._ended = True

    @property
    def pending(self) -> bool:
        """Whether it is still being made; begun again in a child, whose parent was at it."""
        if not self._thread.is_alive() and not self._ended:
            self._begin()
        return not self._ended

    def wait(self) -> None:
        """Return when it is made."""
        if self.pending:
            turns.wait(self._thread)
