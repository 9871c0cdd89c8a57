"""The values that statements define and need, and statements on other values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from graphjit.codegen.loops import (
    Address,
    Check,
    For,
    Index,
    Let,
    Load,
    LoopProgram,
    Scalar,
    Statement,
    Store,
    Value,
)
from graphjit.codegen.walks import walk

Values = Mapping[str, Value]


def defined(statements: Iterable[Statement]) -> set[str]:
    """The values that statements define or update."""
    inside = walk(list(statements))
    return {s.value.name for s in inside if isinstance(s, Let | Load | Index | Check)}


def used(statements: Iterable[Statement]) -> dict[str, Value]:
    """The values that statements compute with."""
    return {v.name: v for s in walk(list(statements)) for v in operands(s) if isinstance(v, Value)}


def named(statements: Iterable[Statement]) -> set[str]:
    """The values and loops that statements compute with, or find their way by."""
    found = set[str]()
    for s in walk(list(statements)):
        found.update(v.name for v in operands(s) if isinstance(v, Value))
        if isinstance(s, Load | Store):
            found.update(name for name, _ in s.address.terms)
        elif isinstance(s, Index):
            found.update(name for name, _ in s.terms)
    return found


def operands(s: Statement) -> tuple[Scalar, ...]:
    """What a statement computes with."""
    match s:
        case Let():
            return s.operands
        case Store():
            return (s.value,)
        case Check():
            return (s.index,)
    return ()


def anew(program: LoopProgram, statements: Sequence[Statement]) -> list[Statement]:
    """Statements with new names for the values that they make before they compute with them."""
    known: dict[str, Value] = {}
    carried = set[str]()
    for s in walk([*statements]):
        if not isinstance(s, For):
            carried |= named([s]) - known.keys()
        if isinstance(s, Let | Load | Index | Check) and s.value.name not in {*carried, *known}:
            program.names += 1
            known[s.value.name] = s.value._replace(name=f"v{program.names}")
    return [renamed(s, known) for s in statements]


def renamed(s: Statement, known: Values) -> Statement:
    """A plain statement that computes with other values, and defines others; loops with it."""
    match s:
        case For():
            return For(s.index, s.extent, [renamed(inner, known) for inner in s.body])
        case Let():
            changed = tuple(other(x, known) for x in s.operands)
            return s._replace(operands=changed, value=known.get(s.value.name, s.value))
        case Index():
            return s._replace(value=known.get(s.value.name, s.value), terms=moved(s.terms, known))
        case Load():
            made = known.get(s.value.name, s.value)
            return s._replace(address=elsewhere(s.address, known), value=made)
        case Check():
            made = known.get(s.value.name, s.value)
            return replace(s, value=made, index=other(s.index, known))
        case Store():
            stored = other(s.value, known)
            return s._replace(address=elsewhere(s.address, known), value=stored)
    return s


def other(x: Scalar, known: Values) -> Scalar:
    """The value in the place of another; constants are themselves."""
    return known.get(x.name, x) if isinstance(x, Value) else x


def elsewhere(address: Address, known: Values) -> Address:
    """The address by the other values."""
    return address._replace(terms=moved(address.terms, known))


def moved(terms: tuple[tuple[str, int], ...], known: Values) -> tuple[tuple[str, int], ...]:
    """Steps by the other values."""
    return tuple((known[n].name if n in known else n, step) for n, step in terms)
