"""What the comparison found: numbers, a table and a JSON file."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from graphjit.errors import GradientError
from graphjit.ir.graph import Origin


@dataclass(frozen=True)
class Comparison:
    """One method on one argument.

    Attributes:
        argument: The argument's name.
        method: How the derivative was found.
        entries: How many of its entries were compared.
        ulps: How far the worst of them is from the reference, in units in the last place of the
            argument's largest derivative. None where the method does not apply.
        worst: That entry's name, with its derivative and the reference.
        allowed: As ``ulps``, what counts as agreement.
        agrees: Whether it does; None where the method does not apply.
        reason: Why it does not apply.
    """

    argument: str
    method: str
    entries: int = 0
    ulps: float | None = None
    worst: str = ""
    value: float | None = None
    reference: float | None = None
    allowed: float | None = None
    agrees: bool | None = None
    reason: str = ""

    @property
    def line(self) -> str:
        """A line of the table."""
        start = f"{self.argument:<12} {self.method:<13}"
        if self.agrees is None or self.ulps is None:
            return f"{start} not used: {self.reason}"
        verdict = "ok" if self.agrees else "WRONG"
        line = f"{start} {self.entries:>7} {self.ulps:>12.3g}  {verdict:<6}{self.worst}"
        return line if self.agrees else f"{line}: {self.value!r}, not {self.reference!r}"


@dataclass(frozen=True)
class Certificate:
    """How well several ways of differentiating agree. Prints as a table.

    Attributes:
        function: The function's name, and where it is defined.
        reference: For each argument the method that the others are measured against.
        comparisons: All methods on all arguments.
    """

    function: str
    origin: Origin | None
    dtype: str
    reference: dict[str, str]
    comparisons: tuple[Comparison, ...]

    @property
    def passed(self) -> bool:
        """Whether all methods that apply agree."""
        return all(c.agrees is not False for c in self.comparisons)

    @property
    def report(self) -> str:
        """The table."""
        place = f" ({self.origin.file}:{self.origin.line})" if self.origin else ""
        head = f"{'argument':<12} {'method':<13} {'entries':>7} {'ULPs':>12}  worst at"
        told = ", ".join(f"{name} by {method}" for name, method in self.reference.items())
        lines = [
            f"derivatives of {self.function}{place}, {self.dtype}",
            f"reference: {told}",
            head,
            *(c.line for c in self.comparisons),
            "all agree" if self.passed else "THEY DISAGREE",
        ]
        return "\n".join(line.rstrip() for line in lines)

    def __str__(self) -> str:
        return self.report

    def as_dict(self) -> dict[str, Any]:
        """All of it as plain Python."""
        comparisons = [asdict(c) for c in self.comparisons]
        return {
            "function": self.function,
            "dtype": self.dtype,
            "passed": self.passed,
            "reference": self.reference,
            "comparisons": comparisons,
        }

    def to_json(self, path: str | Path) -> None:
        """Write it to a file; NaN and infinities as Python's json writes them."""
        text = json.dumps(self.as_dict(), indent=1)
        Path(path).write_text(text + "\n", encoding="utf-8")

    def check(self) -> None:
        """Raise if the methods disagree.

        Raises:
            GradientError: naming the worst entry, with the whole table.
        """
        wrong = [c for c in self.comparisons if c.agrees is False]
        if wrong:
            worst = max(wrong, key=lambda c: c.ulps or 0.0)
            fact = f"{worst.method} disagrees at {worst.worst}: {worst.value}, not"
            raise GradientError(f"{fact} {worst.reference}", origin=self.origin, hint=self.report)
