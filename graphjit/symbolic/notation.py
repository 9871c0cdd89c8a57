"""How formulas are written: as Python, which evaluates to them, and as LaTeX."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from graphjit.ir.primitive import TABLE
from graphjit.ir.table.layout import slices
from graphjit.symbolic.expression import Call, Shape, whole
from graphjit.symbolic.numbers import Number, split

# How tightly a text holds together, from a comparison to a name.
LOGIC, SUM, PRODUCT, BIG, UNARY, POWER, ATOM = range(7)

PLACE = re.compile(r"\{(\d)\}")
GREEK = frozenset(
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi pi rho sigma tau "
    "upsilon phi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega".split()
)
SQUARED = ("sin", "cos", "tan", "sinh", "cosh", "tanh")  # whose powers are written sin² x
REDUCTIONS = ("sum", "prod", "max", "min", "any", "all")


class Piece(NamedTuple):
    """The text of an expression, how tightly it holds together, and its shape."""

    text: str
    level: int
    shape: Shape = ()


class Written(NamedTuple):
    """An operation to write: its row's name and parameters, its operands' texts, its shape."""

    op: str
    params: dict[str, Any]
    operands: tuple[Piece, ...]
    shape: Shape

    @property
    def first(self) -> Piece:
        """The only operand, or the first."""
        return self.operands[0]


class Notation:
    """What the two ways of writing have in common."""

    brackets: tuple[str, str]

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
        return Piece(f"{self.wrapped(base, ATOM)}**{self.wrapped(self.number(exponent), ATOM)}", POWER)

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
        return Piece(text, UNARY if exponent else ATOM)

    def name(self, name: str) -> str:
        """A name in italics, with indices below: ``w_1`` and ``params[0]['w']`` have some."""
        parts = [part for part in re.split(r"\W+|_", name) if part]
        root = parts[0] if parts else name
        if root in GREEK:
            root = rf"\{root}"
        elif len(root) > 1:
            found = re.fullmatch(r"([a-zA-Z])(\d+)", root)
            root, parts = (found[1], [root, found[2], *parts[1:]]) if found else (
                rf"\mathrm{{{root}}}", parts
            )
        below = ",".join(p if len(p) == 1 or p.isdigit() else rf"\mathrm{{{p}}}" for p in parts[1:])
        return f"{root}_{{{below}}}" if below else root

    def product(self, pieces: Sequence[Piece]) -> Piece:
        """Factors side by side, arrays with the sign of the elementwise product."""
        if len(pieces) == 1:
            return pieces[0]
        arrays = sum(bool(p.shape) for p in pieces)
        text, before = "", False
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


# -- templates: the columns ``text`` and ``latex`` of the table -----------------------------------


@cache
def enclosed(template: str, place: int) -> bool:
    """Whether an operand stands in brackets of its own, or alone between commas."""
    bare = template.replace("{{", "<").replace("}}", ">")
    at = bare.index(f"{{{place}}}")
    before, after = bare[:at], bare[at + 3 :]
    starts = before.endswith(("<", "(", "|", "[", ", ", "lfloor ", "lceil "))
    return starts and after.startswith((">", ")", "|", "]", ",", r"\right"))


@cache
def text_level(template: str) -> int:
    """How tightly a row's Python holds together."""
    bare = re.sub(r"\(.*\)", "", template)
    if re.search(r"[<>=]", bare):
        return LOGIC
    return POWER if "**" in bare else ATOM


@cache
def latex_level(template: str) -> int:
    """How tightly a row's LaTeX holds together."""
    bare = template.replace("{{", "<").replace("}}", ">")
    bare = re.sub(r"\\left.*\\right.|<.*>", "", bare)
    if re.search(r"[=<>]|\\(le|ge|ne|land|lor|oplus|lnot|bmod)\b", bare):
        return LOGIC
    if re.search(r" [+-] ", bare):
        return SUM
    if "^" in bare or r"\sqrt" in bare:
        return POWER
    return UNARY if PLACE.search(bare) else ATOM


def options(written: Written) -> list[str]:
    """The parameters of an operation as keywords."""
    plain = {k: v for k, v in written.params.items() if np.isscalar(v) or isinstance(v, tuple)}
    shown = {**written.params, **plain}
    return [f"{k}={readable(v)}" for k, v in shown.items()]


def readable(value: Any) -> str:
    """A parameter's value: dtypes by name, and graphs as three dots."""
    if isinstance(value, np.dtype):
        return repr(value.name)
    simple = isinstance(value, str | int | float | tuple | None) and "Graph(" not in str(value)
    return repr(value) if simple else "..."


def plain_call(written: Written) -> str:
    """An operation by its name."""
    return f"{written.op}({', '.join([*(p.text for p in written.operands), *options(written)])})"


def latex_call(written: Written) -> str:
    """An operation by its name, upright."""
    name = written.op.replace("_", r"\_")
    inside = ", ".join([*(p.text for p in written.operands), *map(verbatim, options(written))])
    return rf"\operatorname{{{name}}}\left({inside}\right)"


def verbatim(text: str) -> str:
    """Python inside a formula."""
    return rf"\mathrm{{{text.replace('_', chr(92) + '_')}}}"


# -- operations whose parameters are part of the notation ------------------------------------------


def axis_of(written: Written) -> str:
    """``axis=0`` where a reduction leaves axes, and nothing where it takes them all."""
    axes = written.params["axes"]
    if len(axes) == len(written.first.shape) and not written.op.startswith("arg"):
        return ""
    return f"axis={axes[0] if len(axes) == 1 else axes}"


def text_reduce(_: Text, written: Written) -> tuple[str, int]:
    """``sum(x, axis=0)``."""
    return f"{written.op}({', '.join(filter(None, (written.first.text, axis_of(written))))})", ATOM


def latex_reduce(latex: Latex, written: Written) -> tuple[str, int]:
    """Σ with the axis below where it leaves others."""
    big = written.op in ("sum", "prod")
    sign = rf"\{written.op}" if written.op in ("sum", "prod", "max", "min") else ""
    sign = sign or rf"\operatorname{{{written.op}}}"
    below = axis_of(written).removeprefix("axis=")
    head = f"{sign}_{{{below}}}" if below else sign
    return f"{head} {latex.wrapped(written.first, PRODUCT if big else ATOM)}", BIG


def text_matmul(text: Text, written: Written) -> tuple[str, int]:
    """``A @ B``."""
    return " @ ".join(text.wrapped(p, BIG) for p in written.operands), PRODUCT


def latex_matmul(latex: Latex, written: Written) -> tuple[str, int]:
    """Matrices side by side; a vector in front of another is a row."""
    first, second = written.operands
    texts = [
        p.text if p.level == BIG and not p.text.startswith("\\") else latex.wrapped(p, UNARY)
        for p in written.operands
    ]
    if len(first.shape) == len(second.shape) == 1:
        texts[0] = f"{latex.wrapped(first, ATOM)}^{{T}}"
    return " ".join(texts), BIG


def latex_outer(latex: Latex, written: Written) -> tuple[str, int]:
    """A column times a row."""
    first, second = (latex.wrapped(p, ATOM) for p in written.operands)
    return f"{first} {second}^{{T}}", BIG


def turned(written: Written) -> bool:
    """Whether a transpose reverses the axes."""
    axes = written.params["axes"]
    return tuple(axes) == tuple(reversed(range(len(axes))))


def text_transpose(text: Text, written: Written) -> tuple[str, int]:
    """``A.T``."""
    if turned(written):
        return f"{text.wrapped(written.first, ATOM)}.T", ATOM
    return plain_call(written), ATOM


def latex_transpose(latex: Latex, written: Written) -> tuple[str, int] | None:
    """Aᵀ."""
    if turned(written):
        return f"{latex.wrapped(written.first, ATOM)}^{{T}}", POWER
    return latex_call(written), ATOM


def text_reshape(text: Text, written: Written) -> tuple[str, int]:
    """``x[:, None]`` where axes of length 1 are added, else ``reshape(x, shape)``."""
    places = widened(written.first.shape, written.params["shape"])
    if places is None:
        return f"reshape({written.first.text}, {written.params['shape']})", ATOM
    return f"{text.wrapped(written.first, ATOM)}[{', '.join(places)}]", ATOM


def latex_reshape(_: Latex, written: Written) -> tuple[str, int]:
    """Nothing where axes of length 1 come or go."""
    if [n for n in written.first.shape if n != 1] == [n for n in written.shape if n != 1]:
        return written.first.text, written.first.level
    return latex_call(written), ATOM


def widened(old: Shape, new: Shape) -> list[str] | None:
    """The index that adds axes of length 1; None where more is to be done."""
    left, places = list(old), []
    for size in new:
        if left and size == left[0]:
            places.append(":")
            left.pop(0)
        elif size == 1:
            places.append("None")
        else:
            return None
    return places if not left and len(new) > len(old) else None


def index_text(written: Written) -> str:
    """``1:, ::2`` for the slices of a node."""
    start, step, sizes = (written.params[k] for k in ("start", "step", "sizes"))
    found = zip(slices(start, step, sizes), written.first.shape, strict=True)
    parts = [slice_text(s, n) for s, n in found]
    while len(parts) > 1 and parts[-1] == ":":
        parts.pop()
    return ", ".join(parts)


def slice_text(found: slice, size: int) -> str:
    """One slice as Python writes it."""
    step = found.step
    whole_start = found.start == (size - 1 if step < 0 else 0)
    start = "" if whole_start else str(found.start)
    stop = "" if found.stop is None or found.stop >= size else str(found.stop)
    return f"{start}:{stop}" + ("" if step == 1 else f":{step}")


def text_slice(text: Text, written: Written) -> tuple[str, int]:
    """``x[1:]``."""
    return f"{text.wrapped(written.first, ATOM)}[{index_text(written)}]", ATOM


def latex_slice(latex: Latex, written: Written) -> tuple[str, int]:
    """The slice as an index below."""
    return f"{latex.wrapped(written.first, ATOM)}_{{{index_text(written)}}}", POWER


def text_gather(text: Text, written: Written) -> tuple[str, int]:
    """``x[i]`` where the first axes are indexed."""
    if written.params["axes"] != tuple(range(len(written.operands) - 1)):
        return plain_call(written), ATOM
    inside = ", ".join(p.text for p in written.operands[1:])
    return f"{text.wrapped(written.first, ATOM)}[{inside}]", ATOM


def latex_gather(latex: Latex, written: Written) -> tuple[str, int]:
    """The index below."""
    if written.params["axes"] != tuple(range(len(written.operands) - 1)):
        return latex_call(written), ATOM
    inside = ", ".join(p.text for p in written.operands[1:])
    return f"{latex.wrapped(written.first, ATOM)}_{{{inside}}}", POWER


def text_concatenate(_: Text, written: Written) -> tuple[str, int]:
    """``concatenate([x, y], axis=0)``."""
    inside = ", ".join(p.text for p in written.operands)
    return f"concatenate([{inside}], axis={written.params['axis']})", ATOM


def text_einsum(_: Text, written: Written) -> tuple[str, int]:
    """``einsum('ij,jk->ik', a, b)``."""
    inside = ", ".join(p.text for p in written.operands)
    return f"einsum({written.params['spec']!r}, {inside})", ATOM


def text_item(text: Text, written: Written) -> tuple[str, int]:
    """``scan(...)[0]``."""
    return f"{text.wrapped(written.first, ATOM)}[{written.params['index']}]", ATOM


def text_iota(_: Text, written: Written) -> tuple[str, int]:
    """``arange(n)`` along one axis."""
    if len(written.params["shape"]) == 1:
        return f"arange({written.params['shape'][0]})", ATOM
    return plain_call(written), ATOM


def latex_where(_: Latex, written: Written) -> tuple[str, int] | None:
    """[c] for a choice of 1 and 0."""
    condition, a, b = (p.text for p in written.operands)
    return (rf"\left[{condition}\right]", ATOM) if (a, b) == ("1", "0") else None


def latex_heaviside(_: Latex, written: Written) -> tuple[str, int] | None:
    """H(x), whose value at 0 is a half."""
    half = written.operands[1].text == r"\frac{1}{2}"
    return (rf"H\left({written.first.text}\right)", ATOM) if half else None


def latex_logaddexp(_: Latex, written: Written) -> tuple[str, int]:
    """log(1 + eˣ) where one operand is 0."""
    terms = ["1" if p.text == "0" else f"e^{{{p.text}}}" for p in written.operands]
    return rf"\log\left({' + '.join(terms)}\right)", ATOM


TEXT: dict[str, Any] = {
    **dict.fromkeys((*REDUCTIONS, "argmax", "argmin"), text_reduce),
    "matmul": text_matmul,
    "einsum": text_einsum,
    "transpose": text_transpose,
    "reshape": text_reshape,
    "slice": text_slice,
    "gather": text_gather,
    "concatenate": text_concatenate,
    "item": text_item,
    "iota": text_iota,
}
LATEX: dict[str, Any] = {
    **dict.fromkeys((*REDUCTIONS, "argmax", "argmin"), latex_reduce),
    "matmul": latex_matmul,
    "outer": latex_outer,
    "transpose": latex_transpose,
    "reshape": latex_reshape,
    "slice": latex_slice,
    "gather": latex_gather,
    "where": latex_where,
    "heaviside": latex_heaviside,
    "logaddexp": latex_logaddexp,
}


def written(call: Call, operands: Sequence[Piece], shape: Shape) -> Written:
    """An operation with its operands written."""
    return Written(call.op, dict(call.params), tuple(operands), shape)
