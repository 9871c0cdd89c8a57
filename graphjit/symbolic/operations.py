"""Operations whose parameters are part of how they are written: axes, slices, matrices."""

from __future__ import annotations

from fractions import Fraction
from typing import Any, Protocol

from graphjit.ir.table.layout import slices
from graphjit.symbolic.expression import Shape
from graphjit.symbolic.pieces import (
    ATOM,
    BIG,
    POWER,
    PRODUCT,
    UNARY,
    Piece,
    Written,
    latex_call,
    plain_call,
)

REDUCTIONS = ("sum", "prod", "max", "min", "any", "all")


class Brackets(Protocol):
    """All that is needed here of a notation."""

    def wrapped(self, piece: Piece, level: int) -> str:
        """The text, in brackets unless it holds together tightly enough."""
        ...


def axis_of(written: Written) -> str:
    """``axis=0`` where a reduction leaves axes, and nothing where it takes them all."""
    axes = written.params["axes"]
    if len(axes) == len(written.first.shape) and not written.op.startswith("arg"):
        return ""
    return f"axis={axes[0] if len(axes) == 1 else axes}"


def text_reduce(_: Brackets, written: Written) -> tuple[str, int]:
    """``sum(x, axis=0)``."""
    return f"{written.op}({', '.join(filter(None, (written.first.text, axis_of(written))))})", ATOM


def latex_reduce(latex: Brackets, written: Written) -> tuple[str, int]:
    """Σ with the axis below where it leaves others."""
    big = written.op in ("sum", "prod")
    sign = rf"\{written.op}" if written.op in ("sum", "prod", "max", "min") else ""
    sign = sign or rf"\operatorname{{{written.op}}}"
    axis = axis_of(written).removeprefix("axis=")
    head = f"{sign}_{{{axis}}}" if axis else sign
    return f"{head} {latex.wrapped(written.first, PRODUCT if big else ATOM)}", BIG


def text_matmul(text: Brackets, written: Written) -> tuple[str, int]:
    """``A @ B``."""
    return " @ ".join(text.wrapped(p, BIG) for p in written.operands), PRODUCT


def latex_matmul(latex: Brackets, written: Written) -> tuple[str, int]:
    """Matrices side by side; a vector in front of another is a row."""
    first, second = written.operands
    texts = [
        p.text if p.level == BIG and not p.text.startswith("\\") else latex.wrapped(p, UNARY)
        for p in written.operands
    ]
    if len(first.shape) == len(second.shape) == 1:
        texts[0] = f"{latex.wrapped(first, ATOM)}^{{T}}"
    return " ".join(texts), BIG


def latex_outer(latex: Brackets, written: Written) -> tuple[str, int]:
    """A column times a row."""
    first, second = (latex.wrapped(p, ATOM) for p in written.operands)
    return f"{first} {second}^{{T}}", BIG


def turned(written: Written) -> bool:
    """Whether a transpose reverses the axes."""
    axes = written.params["axes"]
    return tuple(axes) == tuple(reversed(range(len(axes))))


def text_transpose(text: Brackets, written: Written) -> tuple[str, int]:
    """``A.T``."""
    if turned(written):
        return f"{text.wrapped(written.first, ATOM)}.T", ATOM
    return plain_call(written), ATOM


def latex_transpose(latex: Brackets, written: Written) -> tuple[str, int] | None:
    """Aᵀ."""
    if turned(written):
        return f"{latex.wrapped(written.first, ATOM)}^{{T}}", POWER
    return latex_call(written), ATOM


def text_reshape(text: Brackets, written: Written) -> tuple[str, int]:
    """``x[:, None]`` where axes of length 1 are added, else ``reshape(x, shape)``."""
    places = widened(written.first.shape, written.params["shape"])
    if places is None:
        return f"reshape({written.first.text}, {written.params['shape']})", ATOM
    return f"{text.wrapped(written.first, ATOM)}[{', '.join(places)}]", ATOM


def latex_reshape(_: Brackets, written: Written) -> tuple[str, int]:
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
    stop = "-1" if stop and step == 1 and found.stop == size - 1 else stop
    return f"{start}:{stop}" + ("" if step == 1 else f":{step}")


def below(latex: Brackets, piece: Piece, index: str) -> tuple[str, int]:
    """An index below; a name that has one already is in brackets."""
    text = latex.wrapped(piece, ATOM if "_" not in piece.text else ATOM + 1)
    return f"{text}_{{{index}}}", POWER


def text_slice(text: Brackets, written: Written) -> tuple[str, int]:
    """``x[1:]``."""
    return f"{text.wrapped(written.first, ATOM)}[{index_text(written)}]", ATOM


def latex_slice(latex: Brackets, written: Written) -> tuple[str, int]:
    """The slice as an index below."""
    return below(latex, written.first, index_text(written))


def text_gather(text: Brackets, written: Written) -> tuple[str, int]:
    """``x[i]`` where the first axes are indexed."""
    if written.params["axes"] != tuple(range(len(written.operands) - 1)):
        return plain_call(written), ATOM
    inside = ", ".join(p.text for p in written.operands[1:])
    return f"{text.wrapped(written.first, ATOM)}[{inside}]", ATOM


def latex_gather(latex: Brackets, written: Written) -> tuple[str, int]:
    """The index below."""
    if written.params["axes"] != tuple(range(len(written.operands) - 1)):
        return latex_call(written), ATOM
    inside = ", ".join(p.text for p in written.operands[1:])
    return below(latex, written.first, inside)


def text_concatenate(_: Brackets, written: Written) -> tuple[str, int]:
    """``concatenate([x, y], axis=0)``."""
    inside = ", ".join(p.text for p in written.operands)
    return f"concatenate([{inside}], axis={written.params['axis']})", ATOM


def text_einsum(_: Brackets, written: Written) -> tuple[str, int]:
    """``einsum('ij,jk->ik', a, b)``."""
    inside = ", ".join(p.text for p in written.operands)
    return f"einsum({written.params['spec']!r}, {inside})", ATOM


def text_item(text: Brackets, written: Written) -> tuple[str, int]:
    """``scan(...)[0]``."""
    return f"{text.wrapped(written.first, ATOM)}[{written.params['index']}]", ATOM


def latex_item(latex: Brackets, written: Written) -> tuple[str, int]:
    """The number of the result below."""
    return below(latex, written.first, str(written.params["index"]))


def text_iota(_: Brackets, written: Written) -> tuple[str, int]:
    """``arange(n)`` along one axis."""
    if len(written.params["shape"]) == 1:
        return f"arange({written.params['shape'][0]})", ATOM
    return plain_call(written), ATOM


def latex_iota(_: Brackets, written: Written) -> tuple[str, int]:
    """A range along one axis."""
    if len(written.params["shape"]) == 1:
        return rf"\operatorname{{arange}}\left({written.params['shape'][0]}\right)", ATOM
    return latex_call(written), ATOM


def latex_where(_: Brackets, written: Written) -> tuple[str, int] | None:
    """[c] for a choice of 1 and 0."""
    condition, *branches = (p.text for p in written.operands)
    if sorted(branches) != ["0", "1"]:
        return None
    truth = condition if branches[0] == "1" else rf"\neg \left({condition}\right)"
    return rf"\left[{truth}\right]", ATOM


def latex_heaviside(_: Brackets, written: Written) -> tuple[str, int] | None:
    """H(x), whose value at 0 is a half."""
    half = written.operands[1].text == r"\frac{1}{2}"
    return (rf"H\left({written.first.text}\right)", ATOM) if half else None


def latex_logaddexp(_: Brackets, written: Written) -> tuple[str, int]:
    """log(1 + eˣ) where one operand is 0."""
    terms = ["1" if p.text == "0" else f"e^{{{p.text}}}" for p in written.operands]
    return rf"\log\left({' + '.join(terms)}\right)", ATOM


def margins(written: Written) -> str:
    """How many zeros stand before and after along each axis; empty where they are between."""
    sizes = zip(written.params["start"], written.first.shape, written.shape, strict=True)
    pairs = [(a, n - a - m) for a, m, n in sizes]
    if any(step != 1 for step in written.params["step"]):
        return ""
    return str(pairs[0] if len(pairs) == 1 else tuple(pairs))


def text_embed(_: Brackets, written: Written) -> tuple[str, int]:
    """``pad(x, (1, 0))``."""
    found = margins(written)
    return (f"pad({written.first.text}, {found})" if found else plain_call(written)), ATOM


def latex_embed(_: Brackets, written: Written) -> tuple[str, int]:
    """The same, upright."""
    found = margins(written)
    inside = f"{written.first.text}, {found}"
    pad = rf"\operatorname{{pad}}\left({inside}\right)"
    return (pad if found else latex_call(written)), ATOM


def text_broadcast(_: Brackets, written: Written) -> tuple[str, int]:
    """``broadcast_to(x, shape)``; a number is written as a float, so that NumPy has it as one."""
    if written.first.text[:1].isdigit() or written.first.text[:1] == "-":
        return f"full({written.params['shape']}, {float(Fraction(written.first.text))})", ATOM
    return f"broadcast_to({written.first.text}, {written.params['shape']})", ATOM


TEXT: dict[str, Any] = {
    "broadcast": text_broadcast,
    "embed": text_embed,
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
    "embed": latex_embed,
    "transpose": latex_transpose,
    "reshape": latex_reshape,
    "slice": latex_slice,
    "gather": latex_gather,
    "iota": latex_iota,
    "item": latex_item,
    "where": latex_where,
    "heaviside": latex_heaviside,
    "logaddexp": latex_logaddexp,
}
