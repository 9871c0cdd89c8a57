"""np.einsum: operands of any number, contracted in pairs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import reduce
from typing import Any

import numpy as np

from graphjit.errors import ShapeError
from graphjit.ir.builder import Builder
from graphjit.ir.dispatch import builder_of, cast, emit, joint
from graphjit.ir.numpy.einsum_order import order
from graphjit.ir.registry import implements, refuse
from graphjit.records import NamedTuple

LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
KNOWN = frozenset(LETTERS)


class Term(NamedTuple):
    """An operand and the letter of each of its axes."""

    value: Any
    letters: str


@implements(np.einsum)
def einsum(*operands: Any, out: Any = None, optimize: Any = False, **options: Any) -> Any:
    """Contract the operands pair by pair, in the order that takes the fewest multiplications."""
    builder = builder_of(*operands)
    dtype = options.pop("dtype", None)
    refuse(builder, np.einsum, out=out, **options)
    subscripts, values = in_words(builder, operands)
    symbols = joint(builder, *values)
    if dtype is not None:
        symbols = [cast(s, dtype) for s in symbols]
    return contracted(*spelled_out(builder, subscripts, symbols))


def contracted(terms: Sequence[Term], output: str) -> Any:
    """The sum of products of the terms, with the axes of ``output``."""
    sizes = {c: n for term in terms for c, n in axis_sizes(term) if n != 1}
    work = [without_ones(diagonal(term), sizes) for term in terms]
    lengths = {c: n for term in work for c, n in axis_sizes(term)}
    for step in order([term.letters for term in work], output, lengths):
        chosen = [work.pop(i) for i in sorted(step, reverse=True)]
        work.append(joined(list(reversed(chosen)), work, output))
    return lined_up(summed(work[0], output), output)


def axis_sizes(term: Term) -> Iterable[tuple[str, int]]:
    return zip(term.letters, term.value.shape, strict=True)


def joined(chosen: list[Term], rest: list[Term], output: str) -> Term:
    """The product of the chosen terms; what nobody needs later is summed."""

    def step(pair: Term, place: tuple[int, Term]) -> Term:
        others = [*chosen[place[0] + 1 :], *rest]
        if not others:
            return product(pair, place[1], output)
        later = set(output).union(*(term.letters for term in others))
        both = dict.fromkeys(pair.letters + place[1].letters)
        return product(pair, place[1], "".join(c for c in both if c in later))

    return reduce(step, list(enumerate(chosen))[1:], chosen[0])


def product(first: Term, second: Term, result: str) -> Term:
    """Two terms into one with the axes ``result``, of those that the two have."""
    first, second = summed(first, result + second.letters), summed(second, result + first.letters)
    result = "".join(c for c in result if c in first.letters + second.letters)
    if set(first.letters + second.letters) == set(result):
        return Term(lined_up(first, result) * lined_up(second, result), result)
    spec = f"{first.letters},{second.letters}->{result}"
    return Term(emit("contract", first.value, second.value, spec=spec), result)


def summed(term: Term, keep: str) -> Term:
    """Sum the axes whose letter is not to be kept, in the term's own dtype."""
    axes = tuple(i for i, c in enumerate(term.letters) if c not in keep)
    if not axes:
        return term
    letters = "".join(c for c in term.letters if c in keep)
    return Term(emit("sum", term.value, axes=axes), letters)


def lined_up(term: Term, target: str) -> Any:
    """The value transposed, with axes of length 1 where it lacks a letter of ``target``."""
    if term.letters == target:
        return term.value
    ordered = [c for c in target if c in term.letters]
    value = np.transpose(term.value, [term.letters.index(c) for c in ordered])
    sizes = dict(zip(ordered, value.shape, strict=True))
    return np.reshape(value, tuple(sizes.get(c, 1) for c in target))


def without_ones(term: Term, sizes: dict[str, int]) -> Term:
    """Drop the axes of length 1 that another operand has at full length: they broadcast."""
    kept = [(c, n) for c, n in axis_sizes(term) if n != 1 or c not in sizes]
    if len(kept) == len(term.letters):
        return term
    value = np.reshape(term.value, tuple(n for _, n in kept))
    return Term(value, "".join(c for c, _ in kept))


def diagonal(term: Term) -> Term:
    """A letter that occurs twice in one operand picks the diagonal of its two axes."""
    value, letters = term
    for letter in sorted(set(letters)):
        while letters.count(letter) > 1:
            first = letters.index(letter)
            second = letters.index(letter, first + 1)
            value = np.diagonal(value, 0, first, second)
            letters = letters[:first] + letters[first + 1 : second] + letters[second + 1 :] + letter
    return Term(value, letters)


def in_words(builder: Builder, operands: tuple[Any, ...]) -> tuple[str, tuple[Any, ...]]:
    """The subscripts as a string, and the operands; lists of axis numbers become letters."""
    if isinstance(operands[0], str):
        return operands[0].replace(" ", ""), operands[1:]
    values, lists = operands[0::2], operands[1::2]
    if len(operands) % 2:
        values, lists = operands[:-1:2], (*operands[1:-1:2], operands[-1])
    try:
        words = ["".join("..." if i is Ellipsis else LETTERS[i] for i in axes) for axes in lists]
    except (TypeError, IndexError):
        raise ShapeError(
            "np.einsum takes its subscripts as a string, or a list after each operand",
            origin=builder.origin(),
            hint='Write np.einsum("ij,jk->ik", a, b).',
        ) from None
    arrow = "->" + words[-1] if len(words) > len(values) else ""
    return ",".join(words[: len(values)]) + arrow, values


def spelled_out(
    builder: Builder, subscripts: str, symbols: Sequence[Any]
) -> tuple[list[Term], str]:
    """The terms, and the letters of the result, with every ellipsis written as letters.

    Raises:
        ShapeError: subscripts that do not fit the operands.
    """
    left, arrow, output = subscripts.partition("->")
    inputs = left.split(",")
    if len(inputs) != len(symbols):
        fact = f"np.einsum: {subscripts!r} names {len(inputs)} operands, not {len(symbols)}"
        raise ShapeError(fact, origin=builder.origin(), operands=avals(symbols))
    extra = [s.ndim - len(t.replace("...", "")) for s, t in zip(symbols, inputs, strict=True)]
    free = [c for c in LETTERS if c not in subscripts]
    dots = "".join(
        free[: max([n for n, t in zip(extra, inputs, strict=True) if "..." in t] or [0])]
    )
    words = [
        t.replace("...", dots[len(dots) - n :] if n > 0 else "")
        for t, n in zip(inputs, extra, strict=True)
    ]
    if not arrow:
        output = implicit(words, dots)
    terms = [Term(s, t) for s, t in zip(symbols, words, strict=True)]
    check(builder, subscripts, terms, output := output.replace("...", dots))
    return terms, output


def implicit(words: Sequence[str], dots: str) -> str:
    """The result's letters where none are given: those that occur once, in alphabetical order."""
    letters = "".join(words)
    return dots + "".join(sorted(c for c in letters if letters.count(c) == 1 and c not in dots))


def check(builder: Builder, subscripts: str, terms: Sequence[Term], output: str) -> None:
    """Refuse subscripts that do not fit the operands.

    Raises:
        ShapeError: naming the subscripts and the operands.
    """
    operands = avals([term.value for term in terms])
    origin = builder.origin()
    if any(len(t) != s.ndim or not KNOWN.issuperset(t) for s, t in terms):
        fact = f"np.einsum: {subscripts!r} does not name the axes of the operands"
        hint = "Each operand takes one letter an axis, or ... for the rest."
        raise ShapeError(fact, origin=origin, operands=operands, hint=hint)
    known = {c for term in terms for c in term.letters}
    if not set(output) <= known or len(set(output)) != len(output):
        fact = f"np.einsum: the result of {subscripts!r} must name letters of the operands, once"
        raise ShapeError(fact, origin=origin, operands=operands)
    wrong = unequal(terms)
    if wrong:
        fact = f"np.einsum: the axes named {wrong} in {subscripts!r} differ in length"
        hint = "Transpose or reshape an operand so that they match."
        raise ShapeError(fact, origin=origin, operands=operands, hint=hint)


def unequal(terms: Sequence[Term]) -> str:
    """The letters whose axes differ in length; between operands, a length of 1 fits all."""
    sizes: dict[str, set[int]] = {}
    wrong = set()
    for term in terms:
        own: dict[str, int] = {}
        for letter, size in axis_sizes(term):
            sizes.setdefault(letter, set()).add(size)
            if own.setdefault(letter, size) != size:
                wrong.add(letter)
    wrong |= {letter for letter, found in sizes.items() if len(found - {1}) > 1}
    return "".join(sorted(wrong))


def avals(symbols: Sequence[Any]) -> tuple[Any, ...]:
    return tuple(s.aval for s in symbols)
