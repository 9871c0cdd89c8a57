"""Products of a matrix with rows that an index picks read them where they are.

``x[rows] @ w`` would copy the rows of a mini-batch before it multiplies, and ``g @ x[rows]`` read
the copy once more. Where nothing but such products reads the copy, what is kept of it is the
numbers of its rows.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

import numpy as np

from graphjit.codegen.loops import (
    Address,
    Ahead,
    Buffer,
    Check,
    For,
    Gemv,
    Let,
    Load,
    LoopProgram,
    PickedGemv,
    Statement,
    Store,
    Value,
)
from graphjit.codegen.renaming import named
from graphjit.codegen.tails import each_turn
from graphjit.codegen.walks import blocks, reads, writes
from graphjit.records import NamedTuple
from graphjit.tuning import caches

COUNT = np.dtype(np.int64)


class Copy(NamedTuple):
    """A loop over rows that copies one to ``target`` each turn.

    Attributes:
        loop: The loop.
        place: Where in it the loop over the elements of a row stands.
        target: What is copied to.
        columns: The elements of a row.
        source: The first element of row 0 of what is copied from.
        row: The number of the row, a value of the loop.
        step: The elements between rows of it.
        numbers: What the numbers are read from, one after the other; None where they are computed.
    """

    loop: For
    place: int
    target: Buffer
    columns: int
    source: Address
    row: Value
    step: int
    numbers: Address | None


def pick(program: LoopProgram, foreign: Iterable[str] = ()) -> None:
    """Let products read picked rows in place of copies.

    That is right where the rows are not written meanwhile, and of use where they stay in the
    caches from one product to the next.

    Args:
        program: Before its memory is planned; its kernels are changed.
        foreign: The buffers that others read, too.
    """
    lists = [found for kernel in program.kernels for found in blocks(kernel.statements)]
    statements = [s for found in lists for s in found]
    if not any(isinstance(s, Gemv) for s in statements):
        return
    written = [b.name for s in statements for b in writes(s)]
    outside = {*foreign, *(b.name for b in program.outputs)}
    for found in [copy for s in statements for copy in copies(s)]:
        name = found.target.name
        alone = name not in outside and written.count(name) == 1
        users = [s for s in statements if name in {b.name for b in reads(s)}]
        if alone and found.source.buffer.name not in written and all(fits(s, found) for s in users):
            exchange(program, lists, found)
            advance(program, found, written)


def copies(loop: Statement) -> Iterator[Copy]:
    """The rows that a loop copies, one each turn."""
    if not isinstance(loop, For) or loop.reverse or loop.uses:
        return
    rows = {s.value.name: s.value for s in loop.body if isinstance(s, Let | Load | Check)}
    for place, inner in enumerate(loop.body):
        match inner:
            case For(index, columns, [Load(value, source), Store(target, stored, "")]) if (
                value == stored
                and (target.offset, target.terms) == (0, ((loop.index, columns), (index, 1)))
                and target.buffer.role == "work"
                and not target.buffer.start
                and target.buffer.size == loop.extent * columns
            ):
                steps = dict(source.terms)
                row = next((rows[name] for name in steps if name in rows), None)
                if len(steps) == 2 and steps.get(index) == 1 and row and row.dtype == COUNT:
                    begin = Address(source.buffer, source.offset)
                    yield Copy(
                        loop, place, target.buffer, columns, begin, row, steps[row.name],
                        read_from(loop, row),
                    )  # fmt: skip


def read_from(loop: For, row: Value) -> Address | None:
    """Where the number of the first row is read, if those of the others follow it there."""
    made = {s.value.name: s for s in loop.body if isinstance(s, Load | Check)}
    found = made.get(row.name)
    if isinstance(found, Check) and isinstance(found.index, Value):
        found = made.get(found.index.name)
    if not isinstance(found, Load) or found.address.terms != ((loop.index, 1),):
        return None
    buffer, offset, _ = found.address
    return Address(buffer, offset) if buffer.dtype == COUNT else None


def fits(s: Statement, copy: Copy) -> bool:
    """Whether a statement is a product with the whole copy, which stays near."""
    if not isinstance(s, Gemv) or s.a.buffer != copy.target or copy.target in (s.x[0], s.y[0]):
        return False
    whole = (s.a.offset, s.a.terms, s.lda) == (0, (), copy.columns)
    shape = (s.rows, s.columns) == (copy.loop.extent, copy.columns)
    near = copy.target.size * copy.target.dtype.itemsize <= caches().second // 2
    return whole and shape and near and s.incx == s.incy == 1


def exchange(program: LoopProgram, lists: Iterable[list[Statement]], copy: Copy) -> None:
    """Keep the numbers of the rows in place of the rows."""
    loop = copy.loop
    numbers = each_turn(program, loop, COUNT)
    loop.body[copy.place] = Store(numbers, copy.row)
    for statements in lists:
        for at, s in enumerate(statements):
            if isinstance(s, Gemv) and s.a.buffer == copy.target:
                program.names += 1
                statements[at] = PickedGemv(
                    f"p{program.names}", s.rows, s.columns, copy.source, copy.step, s.transpose,
                    Address(numbers.buffer, 0), s.x, s.y, copy.numbers, origin=s.origin,
                )  # fmt: skip


def advance(program: LoopProgram, copy: Copy, written: Collection[str]) -> None:
    """Read what the same numbers pick elsewhere where they are read, before the products.

    A processor does not look ahead as far as from one end of a product to the other: the labels of
    a batch were waited for after it, for a tenth of an epoch of logistic regression.
    """
    kernels = program.kernels
    place = next((at for at, k in enumerate(kernels) if copy.loop in k.statements), None)
    plain = any(isinstance(s, Load) and s.value == copy.row for s in copy.loop.body)
    if place is None or copy.numbers is None or not plain:
        return
    for loop in [s for kernel in kernels[place + 1 :] for s in kernel.statements]:
        if isinstance(loop, For) and loop.extent == copy.loop.extent and not loop.uses:
            fetch(program, copy, copy.numbers, loop, written)


def fetch(
    program: LoopProgram, copy: Copy, numbers: Address, loop: For, written: Collection[str]
) -> None:
    """Let a loop read what was picked for it from a table of its turns."""
    known = numbers._replace(terms=((loop.index, 1),))
    rows = {s.value.name for s in loop.body if isinstance(s, Load) and s.address == known}
    for at, s in enumerate(loop.body):
        match s:
            case Load(value, Address(buffer, offset, ((row, step),))) if (
                row in rows and buffer.name not in written
            ):
                program.names += 1
                early = Value(f"v{program.names}", value.dtype, copy.row.depth)
                table = each_turn(program, copy.loop, value.dtype)
                picked = Address(buffer, offset, ((copy.row.name, step),))
                copy.loop.body.extend([Load(early, picked, s.origin), Store(table, early)])
                loop.body[at] = Load(value, table._replace(terms=((loop.index, 1),)), s.origin)
    unused = rows - named(loop.body)
    loop.body[:] = [s for s in loop.body if not (isinstance(s, Load) and s.value.name in unused)]


def following(statements: list[Statement], ahead: Ahead) -> None:
    """Let products fetch the rows of the next turn meanwhile, where their numbers are known."""
    for found in blocks(statements):
        for at, s in enumerate(found):
            if isinstance(s, PickedGemv) and s.transpose and s.read and not s.ahead:
                steps = [step for name, step in s.read.buffer.start if name == ahead.loop]
                if steps:
                    found[at] = s._replace(ahead=ahead._replace(step=steps[0] * ahead.step))
