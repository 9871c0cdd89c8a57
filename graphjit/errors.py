"""The exceptions a user can meet: a fact, the user's own line, the operands, the way out."""

from __future__ import annotations

import linecache
from typing import Protocol


class SourceLine(Protocol):
    """What an error needs to know of a place in the user's source."""

    @property
    def file(self) -> str:
        """The path of the file."""
        ...

    @property
    def line(self) -> int:
        """The number of the line, from 1."""
        ...


class GraphJITError(Exception):
    """Base of all errors raised on purpose by this library.

    Args:
        fact: What is wrong, in one sentence.
        origin: The user's file and line, shown with its source text.
        operands: Descriptions of the values involved, such as ``f64[3,4]``.
        hint: What to write instead.
    """

    def __init__(
        self,
        fact: str,
        *,
        origin: SourceLine | None = None,
        operands: tuple[object, ...] = (),
        hint: str = "",
    ) -> None:
        self.fact, self.origin, self.operands, self.hint = fact, origin, operands, hint
        super().__init__(self._message())

    def _message(self) -> str:
        lines = [self.fact]
        if self.operands:
            lines.append("  operands: " + ", ".join(map(str, self.operands)))
        if self.origin is not None:
            lines.append(f"  at {self.origin.file}:{self.origin.line}")
            source = linecache.getline(self.origin.file, self.origin.line).strip()
            if source:
                lines.append(f"      {source}")
        if self.hint:
            lines.append(f"  {self.hint}")
        return "\n".join(lines)


class TraceError(GraphJITError, TypeError):
    """The Python of a traced function did something that a graph cannot hold."""


class ShapeError(GraphJITError, ValueError):
    """Shapes that do not fit together."""


class DTypeError(GraphJITError, TypeError):
    """An array or argument whose dtype or type has no meaning here."""


class IndexRangeError(GraphJITError, IndexError):
    """An index outside its axis."""


class PowerError(GraphJITError, ValueError):
    """An integer raised to a negative integer power, as NumPy refuses it."""


class OutputError(GraphJITError, ValueError):
    """An array given as ``out`` that cannot hold its part of the result."""


class VerifyError(GraphJITError, AssertionError):
    """A graph that breaks the rules of the IR: a defect of a pass."""


class ParseError(GraphJITError, ValueError):
    """A text that is no graph."""


class MissingRule(GraphJITError, NotImplementedError):  # noqa: N818 - the field's name for it
    """A function or option that has no primitive, or a primitive that has no such rule."""


class CompileError(GraphJITError, RuntimeError):
    """The generated program could not be built."""


class TrainingError(GraphJITError, ArithmeticError):
    """Training stopped because the loss was no longer a number."""


class GradientError(GraphJITError, AssertionError):
    """A gradient that does not agree with finite differences."""


class RecompileWarning(UserWarning):
    """A function is compiled again and again for a value that changes from call to call."""


class TuningWarning(UserWarning):
    """The file of measured numbers is damaged; those of the table are used."""


class CacheWarning(UserWarning):
    """The cache on disk cannot be used, or an entry in it was damaged; the program runs on."""
