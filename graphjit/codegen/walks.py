"""What statements of loop programs hold, read and write."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from graphjit.codegen.loops import (
    Buffer,
    Check,
    Fill,
    For,
    Gemm,
    Gemv,
    If,
    Index,
    Let,
    Load,
    PickedGemv,
    Product,
    Statement,
    Store,
    While,
)

SCALAR = (Let, Index, Check)  # most statements, and none of memory


def bodies(statement: Statement) -> tuple[list[Statement], ...]:
    """The lists of statements that a statement runs."""
    match statement:
        case For():
            return (statement.body,)
        case While():
            return (statement.test, statement.body)
        case If():
            return (statement.then, statement.otherwise)
    return ()


def walk(statements: list[Statement]) -> Iterator[Statement]:
    """All statements, those of loop bodies included."""
    for statement in statements:
        yield statement
        for body in bodies(statement):
            yield from walk(body)


def blocks(statements: list[Statement]) -> Iterator[list[Statement]]:
    """The lists that statements stand in."""
    yield statements
    for statement in statements:
        for body in bodies(statement):
            yield from blocks(body)


def touched(statements: Iterable[Statement]) -> Iterator[Buffer]:
    """The buffers that statements have to do with, those of loop bodies included."""
    for statement in walk(list(statements)):
        yield from ends(statement)


def ends(statement: Statement) -> list[Buffer]:
    """The buffers that one statement reads, writes or needs by itself."""
    uses = statement.uses if isinstance(statement, For | While | If) else ()
    return [*reads(statement), *writes(statement), *uses]


def reads(statement: Statement) -> list[Buffer]:
    """The buffers a statement reads."""
    match statement:
        case Load():
            return [statement.address.buffer]
        case Store() if statement.op:
            return [statement.address.buffer]
        case Gemm() | Product():
            add = isinstance(statement, Product) and statement.add
            more = [statement.c.buffer] if add else []
            return [statement.a.buffer, statement.b.buffer, *more]
        case Gemv():
            return [statement.a.buffer, statement.x.buffer]
        case PickedGemv():
            found = statement.a, statement.picked, statement.x, statement.read
            return [address.buffer for address in found if address]
        case While():
            return [statement.answer.buffer]
        case If():
            return [statement.which.buffer]
    return []


def writes(statement: Statement) -> list[Buffer]:
    """The buffers a statement writes."""
    match statement:
        case Store():
            return [statement.address.buffer]
        case Fill():
            return [statement.buffer]
        case Gemm():
            return [statement.c.buffer]
        case Gemv() | PickedGemv():
            return [statement.y.buffer]
        case Product():
            return [statement.c.buffer]
    return []
