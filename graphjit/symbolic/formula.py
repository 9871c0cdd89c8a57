"""Formulas that are written together, with the names of what they share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

from graphjit.symbolic.expression import operands
from graphjit.symbolic.notation import Latex, Text
from graphjit.symbolic.pieces import Piece
from graphjit.symbolic.pool import Pool
from graphjit.symbolic.render import Shown, Writer, fresh_names


class Label(NamedTuple):
    """What stands on the left of a formula."""

    text: str
    latex: str


class Line(NamedTuple):
    """A formula's two sides."""

    left: str
    right: str


@dataclass(frozen=True)
class Sheet:
    """Some formulas of one pool.

    Attributes:
        pool: The expressions.
        entries: What is written, each with its label.
        taken: Names that shared parts must not have.
        value: The expression that is called by its label wherever it is used again.
    """

    pool: Pool
    entries: tuple[tuple[Label, int], ...]
    taken: frozenset[str]
    value: tuple[Label, int]

    @cached_property
    def shown(self) -> Shown:
        """What is written, in order."""
        return Shown(self.pool, [i for _, i in self.entries], self.value[1])

    @cached_property
    def names(self) -> dict[int, str]:
        """The names of the shared parts."""
        label, value = self.value
        parts = [i for i in self.shown.definitions if i != value]
        names = dict(zip(parts, fresh_names({*self.taken, label.text}, len(parts)), strict=False))
        return {i: names.get(i, label.text) for i in self.shown.definitions}

    @cached_property
    def text(self) -> list[Line]:
        """The lines as Python."""
        written = Writer(self.shown, Text(), self.names).pieces
        return self._lines(written, {label.text: label.text for label, _ in self.entries})

    @cached_property
    def latex(self) -> list[Line]:
        """The lines as LaTeX."""
        written = Writer(self.shown, Latex(), self.names).pieces
        return self._lines(written, {label.text: label.latex for label, _ in self.entries})

    def _lines(self, written: dict[int, Piece], texts: dict[str, str]) -> list[Line]:
        """Each formula after the definitions that it is the first to need."""
        lines, waiting = list[Line](), list(self.shown.definitions)
        for label, ident in self.entries:
            end = self.shown.order.index(ident)
            while waiting and self.shown.order.index(waiting[0]) <= end:
                lines.append(self._definition(written, waiting.pop(0)))
            if self.names.get(ident) != label.text:
                lines.append(Line(texts[label.text], written[ident].text))
        return lines

    def _definition(self, written: dict[int, Piece], ident: int) -> Line:
        (value,) = operands(self.pool.items[ident])
        return Line(written[ident].text, written[value].text)


class Formula:
    """One formula, with the definitions of the names in it.

    Attributes:
        label: What stands on its left.
        sheet: What it is written on, alone.
    """

    def __init__(self, sheet: Sheet, label: Label, place: int) -> None:
        self.label = label
        self.sheet = replace(sheet, entries=(sheet.entries[place],))

    @property
    def text(self) -> str:
        """The right side as Python; names of shared parts are those of ``str``."""
        return self.sheet.text[-1].right

    def latex(self) -> str:
        """The formula as LaTeX, below the definitions of the names in it."""
        return aligned(self.sheet.latex)

    def sympy(self) -> Any:
        """The right side as a SymPy expression, see ``to_sympy``."""
        from graphjit.symbolic.convert import to_sympy  # SymPy is an optional extra

        return to_sympy(self.sheet.pool, [self.sheet.entries[0][1]])[0]

    def __str__(self) -> str:
        return "\n".join(f"{line.left} = {line.right}" for line in self.sheet.text)

    def __repr__(self) -> str:
        return f"<Formula {str(self).splitlines()[-1]}>"

    def _repr_latex_(self) -> str:
        return f"$${self.latex()}$$"


def aligned(lines: Sequence[Line]) -> str:
    """Formulas below one another, for MathJax and LaTeX."""
    if len(lines) == 1:
        return f"{lines[0].left} = {lines[0].right}"
    rows = " \\\\\n".join(f"{line.left} &= {line.right}" for line in lines)
    return f"\\begin{{aligned}}\n{rows}\n\\end{{aligned}}"
