"""Which part of each buffer the statements of a loop touch, turn by turn, and how to change it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from graphjit.codegen.accesses import touches
from graphjit.codegen.loops import (
    Address,
    Buffer,
    Fill,
    For,
    Gemm,
    Gemv,
    Index,
    Let,
    Load,
    Statement,
    Store,
)
from graphjit.records import NamedTuple

Span = tuple[int, int]  # a step in elements, and how often it is taken
Place = Callable[[Address], Address]
NOWHERE = -1  # the step of what moves in a way nobody knows


class Reach(NamedTuple):
    """Elements ``low`` to ``high`` of a buffer, each turn of a loop ``step`` further on."""

    buffer: Buffer
    write: bool
    step: int
    low: int
    high: int


def reaches(
    statements: Iterable[Statement], index: str, extents: Mapping[str, int]
) -> Iterator[Reach]:
    """What plain statements touch while the loop of an index runs.

    Args:
        statements: The body, or a part of it.
        index: That of the loop.
        extents: Those of the loops inside that are open.
    """
    for s in statements:
        match s:
            case For():
                yield from reaches(s.body, index, {**extents, s.index: s.extent})
            case Load() | Store() | Fill() | Gemm() | Gemv():
                for address, how, spans in touches(s):
                    yield reach(address, how != "r", index, extents, spans)


def reach(
    address: Address,
    write: bool,
    index: str,
    extents: Mapping[str, int],
    spans: Iterable[Span] = (),
) -> Reach:
    """What an address comes to in a turn."""
    step, low, high = 0, address.offset, address.offset
    walked = list(spans)
    for name, stride in address.terms:
        if name == index:
            step += stride
        elif name in extents:
            walked.append((stride, extents[name]))
        else:
            return Reach(address.buffer, write, NOWHERE, 0, address.buffer.size - 1)
    for stride, count in walked:
        low += min(0, stride * (count - 1))
        high += max(0, stride * (count - 1))
    return Reach(address.buffer, write, step, low, high)


def moved(statements: Iterable[Statement], place: Place) -> list[Statement]:
    """Plain statements with every address changed; an index is changed as its own address is."""
    return [_moved(s, place) for s in statements]


def _moved(s: Statement, place: Place) -> Statement:
    match s:
        case For():
            return For(s.index, s.extent, moved(s.body, place), s.reverse, s.uses)
        case Load() | Store():
            return s._replace(address=place(s.address))
        case Gemm():
            return s._replace(a=place(s.a), b=place(s.b), c=place(s.c))
        case Gemv():
            return s._replace(a=place(s.a), x=place(s.x), y=place(s.y))
        case Index():
            at = place(Address(Buffer("", 0, s.value.dtype, "work"), s.offset, s.terms))
            return s._replace(offset=at.offset, terms=at.terms)
    return s


def names(statements: Iterable[Statement]) -> Iterator[str]:
    """The indices of all loops."""
    for s in statements:
        if isinstance(s, For):
            yield s.index
            yield from names(s.body)


PLAIN = (Let, Load, Index, Store, Fill, Gemm, Gemv, For)
