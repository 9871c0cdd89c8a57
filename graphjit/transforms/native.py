"""Native calls of compiled functions: when a kind of call gets one, and what it is made from."""

from __future__ import annotations

from typing import Any

from graphjit.errors import CompileError
from graphjit.launch.trees import Unexpected
from graphjit.launch.vectorcall import native_offset
from graphjit.tracing.static import Static
from graphjit.tracing.trace import traces_address
from graphjit.tracing.trees import Leaf
from graphjit.transforms.specialise import Specialisation
from graphjit.transforms.stats import Stats

WARM = 16  # calls through Python that cost together less than writing an entry
NEW = 1 << 26  # bytes of new memory for large results that cost as much; an entry fills it again


def worn(program: Specialisation) -> bool:
    """Whether calls through Python have cost about as much as an entry does."""
    return program.runs >= WARM or program.runs * program.large >= NEW


class NativeCalls:
    """The kinds of calls of one compiled function that go past Python."""

    def __init__(self, compiled: Any, stats: Stats) -> None:
        self._stats = stats
        self._offset = native_offset(compiled)
        self._launcher: Any = None

    def installed(self, compiled: Any, specialisation: Specialisation) -> None:
        """Call a specialisation natively from now on, if it can be."""
        self._stats.launch = "Python: " + (why := self._install(compiled, specialisation))
        if not why:
            self._stats.launch = "native"

    def _install(self, compiled: Any, specialisation: Specialisation) -> str:
        """Why there is no native call, or an empty string."""
        if self._offset is None:
            return "this interpreter is not known"
        from graphjit.launch.entry import Entry, Launcher  # loads LLVM
        from graphjit.launch.kernel import kernel_of

        program: Any = specialisation.program
        kernel = kernel_of(program)
        if kernel is None:
            return "the program is no machine code"
        try:
            call = native_call(specialisation)
            counts = self._stats.native_address, traces_address()
            entry = Entry(call, kernel, self._offset, *counts)
        except (Unexpected, CompileError, OSError, RuntimeError) as error:
            return str(error) or "a result of its own kind"  # calls go on through Python
        if self._launcher is None:
            self._launcher = Launcher(compiled, type(compiled).__call__)
        self._launcher.install(specialisation, entry)
        return ""

    def discard(self, specialisation: Specialisation) -> None:
        """Forget a specialisation that no longer holds."""
        if self._launcher is not None:
            self._launcher.discard([specialisation])


def native_call(specialisation: Specialisation) -> Any:
    """What a native call of a specialisation has to check and to return.

    Raises:
        Unexpected: it is not called natively.
    """
    from graphjit.launch.arguments import Traced
    from graphjit.launch.guards import Conditions
    from graphjit.launch.render import Call
    from graphjit.launch.trees import Fixed

    arguments, guards = specialisation.arguments, specialisation.guards
    if specialisation.donated:
        raise Unexpected("a donated argument")
    if specialisation.changed != guards.changed:
        raise Unexpected("a condition of its own")
    kinds = [
        Traced(kind.aval.shape, kind.aval.dtype, kind.weak) if isinstance(kind, Leaf) else None
        for kind in arguments.kinds
    ]
    conditions = Conditions(*guards.conditions())._replace(captured=specialisation.hidden)
    args = tuple(Fixed(a.value) if type(a) is Static else a for a in arguments.args)
    kwargs = {
        name: Fixed(a.value) if type(a) is Static else a for name, a in arguments.kwargs.items()
    }
    return Call(args, kwargs, kinds, conditions, specialisation.result)
