"""What compiling a function cost, phase by phase and pass by pass."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from graphjit.passes.journal import Record
from graphjit.records import NamedTuple, dataclass

# What each phase does, for the table.
MEANINGS = {
    "fingerprint": "what the function reads, for the cache",
    "trace": "the function ran on symbols",
    "adjoint": "derivatives, and passes before them",
    "passes": "passes on the whole graph",
    "lower": "loops and memory plan",
    "render": "text of the program",
    "compile": "machine code",
    "load": "a look into the cache, and what was there",
    "keep": "the program put into the cache",
}


@dataclass(frozen=True)
class CompileReport:
    """Where the time of one compilation went, and how much work there was.

    Attributes:
        name: The function's.
        seconds: Time by phase, in the order in which they ran.
        passes: Each pass that ran, with the nodes before and after, and its time.
        work: Counts: ``nodes traced``, ``nodes with derivatives``, ``nodes fused``, ``kernels``,
            ``loops``, ``statements``, ``bytes of work memory``.
    """

    name: str
    seconds: Mapping[str, float]
    passes: Sequence[Record]
    work: Mapping[str, int]

    @property
    def total(self) -> float:
        """Seconds from the call to the native program."""
        return sum(self.seconds.values())

    def __str__(self) -> str:
        lines = [f"{self.name}: {1e3 * self.total:.1f} ms"]
        for phase, taken in self.seconds.items():
            lines.append(f"  {phase:<10}{1e3 * taken:8.2f} ms  {MEANINGS.get(phase, '')}".rstrip())
            if phase == "passes":
                lines += self._by_pass()
        lines += [f"  {count:>12,} {what}" for what, count in self.work.items()]
        return "\n".join(lines)

    __repr__ = __str__

    def _by_pass(self) -> list[str]:
        """A line for each pass, all its runs together, the dearest first."""
        taken, runs = Counter[str](), Counter[str]()
        for record in self.passes:
            taken[record.step] += record.seconds  # type: ignore[assignment]
            runs[record.step] += 1
        return [
            f"    {name:<10}{1e3 * seconds:6.2f} ms  {runs[name]} runs"
            for name, seconds in taken.most_common()
        ]


class Cost(NamedTuple):
    """What building one program took: seconds by phase, and the passes that ran."""

    seconds: Mapping[str, float]
    passes: Sequence[Record]


def report(name: str, specialisation: Any) -> CompileReport:
    """The report of a specialisation; one that came from the cache did no work."""
    cost, program = specialisation.cost, specialisation.program
    work = counted(specialisation.derived, program) if hasattr(program, "loops") else {}
    return CompileReport(name, cost.seconds, cost.passes, work)


def counted(derived: Any, program: Any) -> dict[str, int]:
    """How much there was to do."""
    from graphjit.codegen.plan import arena
    from graphjit.codegen.walks import walk

    kernels = program.loops.kernels
    return {
        "nodes traced": len(derived.traced.graph),
        "nodes with derivatives": len(derived.graph),
        "nodes fused": len(program.graph),
        "kernels": len(kernels),
        "loops": sum(kernel.loops for kernel in kernels),
        "statements": sum(1 for kernel in kernels for _ in walk(kernel.statements)),
        "loops that threads share": program.shared,
        "bytes of work memory": arena(program.loops),
    }
