"""Checks of a memory plan, by lifetimes found anew."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator
from itertools import combinations, pairwise
from typing import Any

from graphjit.codegen.loops import (
    Buffer,
    Fill,
    For,
    Gemm,
    Gemv,
    If,
    LoopProgram,
    Product,
    Store,
    While,
)
from graphjit.codegen.plan import ALIGNMENT

Live = dict[Buffer, tuple[int, int]]


def flat(statements: list[Any]) -> Iterator[Any]:
    for statement in statements:
        yield statement
        match statement:
            case For():
                yield from flat(statement.body)
            case While():
                yield from flat([*statement.test, *statement.body])
            case If():
                yield from flat([*statement.then, *statement.otherwise])


def buffers_in(value: Any) -> Iterator[Buffer]:
    """Every buffer that a statement mentions, whatever kind of statement it is."""
    if isinstance(value, Buffer):
        yield value
    elif isinstance(value, For):
        yield from value.uses
    elif isinstance(value, tuple):
        for item in value:
            yield from buffers_in(item)
    elif dataclasses.is_dataclass(value):
        for item in dataclasses.fields(value):
            yield from buffers_in(getattr(value, item.name))


def ranges(program: LoopProgram) -> Live:
    """For each work buffer the first and last kernel that mentions it, or a slice of it."""
    found: dict[str, tuple[int, int]] = {}
    wholes: dict[str, Buffer] = {}
    for index, kernel in enumerate(program.kernels):
        for statement in flat(kernel.statements):
            for buffer in buffers_in(statement):
                if buffer.role == "work":
                    found[buffer.name] = (found.get(buffer.name, (index, index))[0], index)
                    known = wholes.get(buffer.name, buffer)
                    wholes[buffer.name] = max(known, buffer, key=lambda b: b.size)
    return {wholes[name]: span for name, span in found.items()}


def merged(program: LoopProgram, live: Live) -> Live:
    """Buffers that lie where another does count as that: each begins where the one before ends."""
    groups: dict[str, list[Buffer]] = {}
    for buffer in live:
        root = buffer.name
        while root in program.aliases:
            root = program.aliases[root]
        groups.setdefault(root, []).append(buffer)
    united = {}
    for root, buffers in groups.items():
        assert len({(b.size, b.dtype) for b in buffers}) == 1 or len(buffers) == 1
        spans = sorted(live[b] for b in buffers)
        assert all(first[1] == second[0] for first, second in pairwise(spans))
        for buffer in buffers:
            if buffer.name == root:
                united[buffer] = spans[0][0], max(last for _, last in spans)
    return united


def written(statement: Any) -> Buffer | None:
    match statement:
        case Store():
            return statement.address.buffer
        case Fill():
            return statement.buffer
        case Gemm() | Product():
            return statement.c.buffer
        case Gemv():
            return statement.y.buffer
    return None


def own(program: LoopProgram, foreign: Collection[str] = ()) -> Live:
    """When the buffers are in use that the plan of the program itself places: not those inside."""
    inner = {name for _, places in program.blocks for name in places}
    live = {b: span for b, span in ranges(program).items() if b.name not in {*foreign, *inner}}
    for whole, places in program.joined:
        if whole.role == "work":
            _, end = live.pop(whole)
            live.update({b: (live[b][0], end) for b in live if b.name in places})
    return merged(program, live)


def parts(program: LoopProgram) -> dict[str, tuple[str, int]]:
    """For each buffer that lies in another that, and the element at which it begins there."""
    return {name: (b.name, at) for b, places in program.joined for name, at in places.items()}


def least(program: LoopProgram, foreign: Collection[str] = ()) -> int:
    """The most bytes that are in use in one kernel."""
    live = own(program, foreign)
    sizes = {b: max(b.size * b.dtype.itemsize, 1) for b in live}
    inside = parts(program)
    sizes.update(
        {b: -(-n // ALIGNMENT) * ALIGNMENT for b, n in sizes.items() if b.name not in inside}
    )
    used = [0] * (len(program.kernels) + 1)
    for buffer, (first, last) in live.items():
        for step in range(first, last + 1):
            used[step] += sizes[buffer]
    return max(used)


def check_plan(program: LoopProgram, foreign: Collection[str] = ()) -> None:
    """No two work buffers that are alive at once overlap, and all lie in their work array."""
    live = own(program, foreign)
    assert {b.name for b in live} <= set(program.offsets)
    inside = parts(program)
    for buffer in live:
        offset = program.offsets[buffer.name]
        whole, start = inside.get(buffer.name, (buffer.name, 0))
        assert offset == program.offsets[whole] + start
        assert program.offsets[whole] * buffer.dtype.itemsize % ALIGNMENT == 0
        assert 0 <= offset <= offset + buffer.size <= program.work[buffer.dtype]
    starts = {b: program.offsets[b.name] * b.dtype.itemsize for b in live}
    ends = {b: starts[b] + b.size * b.dtype.itemsize for b in live}
    for a, b in combinations(live, 2):
        if live[a][0] <= live[b][1] and live[b][0] <= live[a][1]:
            assert ends[a] <= starts[b] or ends[b] <= starts[a], (a, b)


def check_written_first(program: LoopProgram) -> None:
    """What is read of a work buffer or an output has been written: by this kernel or before."""
    ready: set[str] = set()
    for kernel in program.kernels:
        statements = list(flat(kernel.statements))
        ready |= {b.name for b in map(written, statements) if b is not None}
        for statement in statements:
            for buffer in buffers_in(statement):
                if buffer.role in {"work", "output"}:
                    assert buffer.name in ready, (kernel.title, buffer)
