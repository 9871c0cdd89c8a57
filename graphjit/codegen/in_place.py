"""Arrays written over others: a result over what dies as it is made, an output over an input."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping

from graphjit.codegen.llvm_loops import resolved
from graphjit.codegen.loops import (
    Buffer,
    For,
    If,
    Load,
    LoopProgram,
    Statement,
    Store,
    While,
)
from graphjit.codegen.walks import reads, touched, writes
from graphjit.records import NamedTuple

Span = tuple[Buffer, int, int]  # a work buffer, and the first and the last kernel that touches it


class Site(NamedTuple):
    """A statement, and the loops around it."""

    statement: Statement
    loops: tuple[For, ...]


def reuse(program: LoopProgram, spans: Mapping[str, Span], taken: Collection[str]) -> None:
    """Let a kernel write an array over one that nothing needs after it, where it can be.

    A work buffer takes the place of one that dies in the kernel that first writes it. What dies
    where an output is made lies in the output from its beginning.

    Args:
        program: Its ``aliases`` are added to.
        spans: For each work buffer of the program itself when it is in use.
        taken: Names of buffers whose place is not the program's to choose.
    """
    dying: dict[int, list[Buffer]] = {}
    for buffer, first, last in spans.values():
        if first < last and buffer.size > 1:
            dying.setdefault(last, []).append(buffer)
    outputs = {b.name for b in program.outputs if b.role == "output"}
    fresh = outputs - {*taken, *program.aliases}
    for index, kernel in enumerate(program.kernels):
        if index in dying and kernel.loops:
            sites = list(visited(kernel.statements))
            results = made(sites)
            born = [b for b in results if b.name in spans and spans[b.name][1] == index]
            pair(program, sites, born, [b for b in results if b.name in fresh], dying[index])
        fresh -= {b.name for b in touched(kernel.statements)}


def pair(
    program: LoopProgram,
    sites: list[Site],
    born: list[Buffer],
    outputs: list[Buffer],
    dying: list[Buffer],
) -> None:
    """Find for each of a kernel's results, work buffers and outputs, what it can overwrite."""
    if any(isinstance(s, While | If) or getattr(s, "uses", ()) for s, _ in sites):
        return
    free, where = list(dying), placed(sites)
    for out in (*outputs, *born):
        old = next((b for b in free if alike(out, b) and overwrites(where, out, b)), None)
        if old is not None:
            free.remove(old)
            over, under = (old, out) if out in outputs else (out, old)
            program.aliases[resolved(over.name, program.aliases)] = under.name


def alike(a: Buffer, b: Buffer) -> bool:
    """Whether the elements of one can be those of the other."""
    return a.size == b.size and a.dtype == b.dtype and not a.start and not b.start


def visited(statements: list[Statement], loops: tuple[For, ...] = ()) -> Iterator[Site]:
    """All statements in order, those of loop bodies included."""
    for statement in statements:
        yield Site(statement, loops)
        if isinstance(statement, For):
            yield from visited(statement.body, (*loops, statement))


def made(sites: list[Site]) -> list[Buffer]:
    """What is written."""
    return list(dict.fromkeys(b for s, _ in sites for b in writes(s)))


def placed(sites: list[Site]) -> dict[str, list[tuple[int, Site]]]:
    """For each buffer the statements that read or write it, and which of all they are."""
    found: dict[str, list[tuple[int, Site]]] = {}
    for place, site in enumerate(sites):
        for name in {b.name for b in (*reads(site.statement), *writes(site.statement))}:
            found.setdefault(name, []).append((place, site))
    return found


def overwrites(where: Mapping[str, list[tuple[int, Site]]], out: Buffer, into: Buffer) -> bool:
    """Whether ``out`` can be where ``into`` is.

    It can if one store writes each element of ``out`` once, and every read of ``into`` comes
    before it in the text, at the same element.
    """
    touching = where.get(out.name, [])
    if len(touching) != 1:
        return False
    last, (store, loops) = touching[0]
    return (
        isinstance(store, Store)
        and not store.op
        and once(store, loops, out)
        and all(harmless(site, store, into, at < last) for at, site in where.get(into.name, []))
    )


def once(store: Store, loops: tuple[For, ...], out: Buffer) -> bool:
    """Whether a store in loops writes each element once."""
    moved = {name for name, step in store.address.terms if step}
    whole = math.prod(loop.extent for loop in loops) == out.size
    return whole and store.address.buffer == out and moved == {loop.index for loop in loops}


def harmless(site: Site, store: Store, into: Buffer, before: bool) -> bool:
    """Whether a statement leaves ``into`` alone, or reads it where and before it is overwritten."""
    statement = site.statement
    if any(b.name == into.name for b in writes(statement)):
        return False
    if all(b.name != into.name for b in reads(statement)):
        return True
    if not (before and isinstance(statement, Load) and statement.address.buffer == into):
        return False
    here, there = statement.address, store.address
    return (here.offset, here.terms) == (there.offset, there.terms)
