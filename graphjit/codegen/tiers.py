"""Two tiers: code that is quick to make answers while better code is made in a thread."""

from __future__ import annotations

import threading
from collections.abc import Callable

from graphjit.codegen.code import Code

QUICK = 0  # the level at which code is made five to ten times faster, and runs slower


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
        self._thread = threading.Thread(target=self._run, name="graphjit compiles")
        self._thread.start()

    def _run(self) -> None:
        try:
            self._done(self._make())
        except Exception as error:  # noqa: BLE001 - raised again where the program is called
            self._failed(error)

    @property
    def pending(self) -> bool:
        """Whether it is still being made."""
        return self._thread.is_alive()

    def wait(self) -> None:
        """Return when it is made."""
        self._thread.join()
