"""How formulas are written: as Python, which evaluates to them, and as LaTeX."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from fractions import Fraction
from functools import cache
from string import Formatter

from graphjit.ir.primitive import TABLE
from graphjit.symbolic.numbers import Number, split
from graphjit.symbolic.operations import LATEX, TEXT
from graphjit.symbolic.pieces import (
    ATOM,
    BIG,
    LOGIC,
    POWER,
    PRODUCT,
    SUM,
    UNARY,
    Piece,
    Written,
    latex_call,
    plain_call,
)
from graphjit.symbolic.pool import whole

GREEK = frozenset(
    (
        *("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa"),
        *("lambda", "mu", "nu", "xi", "pi", "rho", "sigma", "tau", "upsilon", "phi", "chi", "psi"),
        *("omega", "Gamma", "Delta", "Theta", "Lambda", "Xi", "Pi", "Sigma", "Upsilon", "Phi"),
        *("Psi", "Omega"),
    )
)
OPENING = ("{", "(", "|", "[", ", ", "lfloor ", "lceil ", "cases} ", "& ", "\\\\ ")
CLOSING = ("}", ")", "|", "]", ",", " &", " \\", r"\right")
SQUARED = ("sin", "cos", "tan", "sinh", "cosh", "tanh")  # whose powers are written sin² x


class Notation(ABC):
    """What the two ways of writing have in common."""

    brackets: tuple[str, str]

    @abstractmethod
    def number(self, value: Number) -> Piece:
        """A positive number."""

    @abstractmethod
    def name(self, name: str) -> str:
        """A variable."""

    @abstractmethod
    def product(self, pieces: Sequence[Piece]) -> Piece:
        """Factors."""

    @abstractmethod
    def fraction(self, above: Sequence[Piece], below: Sequence[Piece]) -> Piece:
        """Factors over factors."""

    @abstractmethod
    def power(self, base: Piece, exponent: Number) -> Piece:
        """A power with a positive number as exponent."""

    @abstractmethod
    def call(self, written: Written) -> Piece:
        """An operation."""

    def wrapped(self, piece: Piece, level: int) -> str:
        """The text, in brackets unless it holds together tightly enough."""
        return piece.text if piece.level >= level else piece.text.join(self.brackets)

    def sum(self, signed: Sequence[tuple[bool, Piece]]) -> Piece:
        """A sum of terms, of which some are negative."""
        text = ""
        for negative, piece in signed:
            sign = ("-" if negative else "") if not text else (" - " if negative else " + ")
            text += sign + self.wrapped(piece, PRODUCT)
        return Piece(text, SUM if len(signed) > 1 or signed[0][0] else signed[0][1].level)

    def template(self, template: str, operands: Sequence[Piece]) -> str:
        """A row's format string filled in; operands that nothing encloses are in brackets."""
        texts = [
            p.text if enclosed(template, i) else self.wrapped(p, ATOM)
            for i, p in enumerate(operands)
        ]
        return template.format(*texts)


class Text(Notation):
    """Python, with the names of NumPy and of the table's rows."""

    brackets = ("(", ")")

    def number(self, value: Number) -> Piece:
        """A positive number."""
        top, bottom = split(value)
        return Piece(f"{top or 1}/{bottom}", PRODUCT) if bottom else Piece(top or "1", ATOM)

    def name(self, name: str) -> str:
        """A variable's name is Python already."""
        return name

    def product(self, pieces: Sequence[Piece]) -> Piece:
        """Factors."""
        if len(pieces) == 1:
            return pieces[0]
        return Piece("*".join(self.wrapped(p, BIG) for p in pieces), PRODUCT)

    def fraction(self, above: Sequence[Piece], below: Sequence[Piece]) -> Piece:
        """Factors over factors."""
        top = self.wrapped(self.product(above), PRODUCT) if above else "1"
        return Piece(f"{top}/{self.wrapped(self.product(below), BIG)}", PRODUCT)

    def power(self, base: Piece, exponent: Number) -> Piece:
        """A power with a positive number as exponent."""
        if exponent == Fraction(1, 2):
            return Piece(f"sqrt({base.text})", ATOM)
        raised = self.wrapped(self.number(exponent), ATOM)
        return Piece(f"{self.wrapped(base, ATOM)}**{raised}", POWER)

    def call(self, written: Written) -> Piece:
        """An operation."""
        if written.op in TEXT:
            return Piece(*TEXT[written.op](self, written))
        template = TABLE[written.op].text if written.op in TABLE else ""
        if template:
            return Piece(self.template(template, written.operands), text_level(template))
        return Piece(plain_call(written), ATOM)


class Latex(Notation):
    """LaTeX, of which matplotlib's mathtext understands all but choices between cases."""

    brackets = (r"\left(", r"\right)")

    def number(self, value: Number) -> Piece:
        """A positive number."""
        top, bottom = split(value)
        if bottom:
            return Piece(rf"\frac{{{top or 1}}}{{{bottom}}}", UNARY)
        digits, _, exponent = (top or "1").partition("e")
        text = rf"{digits} \cdot 10^{{{int(exponent)}}}" if exponent else digits
        return Piece(text, POWER if exponent else ATOM)

    def name(self, name: str) -> str:
        """A name in italics, with indices below: ``w_1`` and ``params[0]['w']`` have some."""
        parts = [part for part in re.split(r"\W+|_", name) if part]
        root = parts[0] if parts else name
        if root in GREEK:
            root = rf"\{root}"
        elif len(root) > 1:
            found = re.fullmatch(r"([a-zA-Z])(\d+)", root)
            root, parts = (
                (found[1], [root, found[2], *parts[1:]])
                if found
                else (rf"\mathrm{{{root}}}", parts)
            )
        below = ",".join(p if len(p) == 1 or p.isdigit() else rf"\mathrm{{{p}}}" for p in parts[1:])
        return f"{root}_{{{below}}}" if below else root

    def product(self, pieces: Sequence[Piece]) -> Piece:
        """Factors side by side, arrays with the sign of the elementwise product."""
        if len(pieces) == 1:
            return pieces[0]
        arrays = sum(bool(p.shape) for p in pieces)
        text, before = "", False
        pieces = sorted(pieces, key=lambda p: openness(p.level))
        for place, piece in enumerate(pieces):
            last = place == len(pieces) - 1 and arrays < 2
            factor = self.wrapped(piece, PRODUCT if last else UNARY)
            dot = r" \odot " if before and piece.shape else " "
            if text and factor[0].isdigit():
                dot = r" \cdot "
            text += (dot if text else "") + factor
            before = before or bool(piece.shape)
        return Piece(text, PRODUCT)

    def fraction(self, above: Sequence[Piece], below: Sequence[Piece]) -> Piece:
        """Factors over factors."""
        top = self.product(above).text if above else "1"
        return Piece(rf"\frac{{{top}}}{{{self.product(below).text}}}", UNARY)

    def power(self, base: Piece, exponent: Number) -> Piece:
        """A power with a positive number as exponent."""
        if exponent == Fraction(1, 2):
            return Piece(rf"\sqrt{{{base.text}}}", POWER)
        top, bottom = split(exponent)
        written = f"{top or 1}/{bottom}" if bottom else top
        function, _, rest = base.text.partition(" ")
        if base.level == UNARY and function[1:] in SQUARED and whole(exponent):
            return Piece(f"{function}^{{{written}}} {rest}", UNARY)
        return Piece(f"{self.wrapped(base, ATOM)}^{{{written}}}", POWER)

    def call(self, written: Written) -> Piece:
        """An operation."""
        if written.op in LATEX:
            found = LATEX[written.op](self, written)
            if found is not None:
                return Piece(*found)
        template = TABLE[written.op].latex if written.op in TABLE else ""
        if template:
            return Piece(self.template(template, written.operands), latex_level(template))
        return Piece(latex_call(written), ATOM)


def openness(level: int) -> int:
    """Where a factor stands, so that sin x does not seem to take in what follows it."""
    if level >= POWER or level < PRODUCT:  # ends by itself, or in brackets
        return 0
    return 1 if level == UNARY else 2


# -- templates: the columns ``text`` and ``latex`` of the table -----------------------------------


@cache
def bare(template: str) -> str:
    """A format string as it will look, with ``@0@`` in place of the first operand."""
    parts = Formatter().parse(template)
    return "".join(text + (f"@{field}@" if field else "") for text, field, _, _ in parts)


@cache
def enclosed(template: str, place: int) -> bool:
    """Whether an operand stands in brackets of its own, or alone between commas."""
    before, after = bare(template).split(f"@{place}@")[:2]
    return before.endswith(OPENING) and after.startswith(CLOSING)


@cache
def text_level(template: str) -> int:
    """How tightly a row's Python holds together."""
    outside = re.sub(r"\(.*\)", "", bare(template))
    if re.search(r"[<>=]", outside):
        return LOGIC
    return POWER if "**" in outside else ATOM


@cache
def latex_level(template: str) -> int:
    """How tightly a row's LaTeX holds together."""
    outside = re.sub(r"\\left.*\\right.|\{[^{}]*\}", "", bare(template))
    if re.search(r"[=<>]|\\(leq|geq|neq|wedge|vee|oplus|neg)\b", outside):
        return LOGIC
    if re.search(r" [+-] ", outside):
        return SUM
    if "^" in outside or r"\sqrt" in outside:
        return POWER
    return UNARY if "@" in outside else ATOM
