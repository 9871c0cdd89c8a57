"""Functions of one value a row are computed for all rows at once, in a loop that vectorises.

The sum of a row's exponentials is one number, and its logarithm would be taken by itself, row
after row. Where nothing else in the row's turn waits for it, what it comes of is stored, and a
loop over all rows follows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from graphjit.codegen.loops import (
    Address,
    Buffer,
    Check,
    For,
    Kernel,
    Let,
    Load,
    LoopProgram,
    Statement,
    Store,
    Value,
)
from graphjit.codegen.reach import PLAIN
from graphjit.codegen.renaming import defined, named, renamed, used
from graphjit.codegen.walks import touched, walk, writes
from graphjit.ir.aval import DType

ROWS = 256  # from which on a second loop is worth its text
FUNCTIONS = frozenset({"log", "log1p", "exp", "expm1", "tanh", "sin", "cos", "erf"})


def tails(program: LoopProgram) -> None:
    """Give functions of rows loops of their own.

    Args:
        program: Before its memory is planned; its kernels are changed.
    """
    divide(program, parted)


def divide(
    program: LoopProgram, parted: Callable[[LoopProgram, Statement], Sequence[Statement]]
) -> None:
    """Put the parts of each statement in its place, where there are more than one."""
    for at, kernel in enumerate(program.kernels):
        whole = [part for s in kernel.statements for part in parted(program, s)]
        if len(whole) > len(kernel.statements):
            program.kernels[at] = Kernel(kernel.title, whole, kernel.origin)


def parted(program: LoopProgram, loop: Statement) -> list[Statement]:
    """A loop over rows, and the one that follows it if there is anything for it."""
    if not isinstance(loop, For) or loop.extent < ROWS or loop.reverse or loop.uses:
        return [loop]
    if not all(isinstance(s, (Check, *PLAIN)) for s in walk(loop.body)):
        return [loop]
    seeds = [at for at, s in enumerate(loop.body) if isinstance(s, Let) and s.op in FUNCTIONS]
    if not seeds or not any(isinstance(s, For) for s in loop.body):
        return [loop]
    places = {at for seed in seeds for at in following(loop.body, seed)}
    found = needs(loop.body, places)
    if not places or found is None:
        return [loop]
    return split(program, loop, places, found)


def following(body: Sequence[Statement], seed: int) -> set[int]:
    """A statement with all that depends on it; nothing if that is in loops or touches others."""
    found, held = {seed}, set(defined([body[seed]]))
    fresh = True
    while fresh:
        more = {at for at, s in enumerate(body) if held & {*defined([s]), *named([s])}}
        fresh = bool(more - found)
        found |= more
        held.update(name for at in more for name in defined([body[at]]))
    inside = [body[at] for at in found]
    rest = [s for at, s in enumerate(body) if at not in found]
    stored = {b.name for s in inside for b in writes(s)}
    elsewhere = {b.name for b in touched(rest)}
    plain = all(isinstance(s, Let | Store) for s in inside)
    return found if plain and not stored & elsewhere else set()


def needs(body: Sequence[Statement], places: set[int]) -> list[tuple[int, Value]] | None:
    """What statements wait for of the others, and where it is ready; None if it changes later."""
    own = defined(body[at] for at in places)
    within = defined(body)
    found: dict[str, tuple[int, Value]] = {}
    for at in sorted(places):
        values = used([body[at]])
        if (named([body[at]]) - values.keys()) & within:
            return None
        for name, value in values.items():
            if name in within - own:
                found.setdefault(name, (at, value))
    late = (name in defined(body[at:]) for name, (at, _) in found.items())
    return None if any(late) else list(found.values())


def split(
    program: LoopProgram, loop: For, places: set[int], found: list[tuple[int, Value]]
) -> list[Statement]:
    """The loop without some statements, and a loop of these."""
    first, last, known = list[Statement](), list[Statement](), dict[str, Value]()
    stores: dict[int, list[Statement]] = {}
    for at, value in found:
        address = each_turn(program, loop, value.dtype)
        program.names += 1
        known[value.name] = Value(f"v{program.names}", value.dtype, value.depth)
        stores.setdefault(at, []).append(Store(address, value))
        last.append(Load(known[value.name], address))
    for at, s in enumerate(loop.body):
        first += stores.get(at, [])
        if at in places:
            last.append(renamed(s, known))
        else:
            first.append(s)
    return [For(loop.index, loop.extent, first), For(loop.index, loop.extent, last)]


def each_turn(program: LoopProgram, loop: For, dtype: DType) -> Address:
    """Memory for a value of each turn of a loop."""
    program.names += 1
    buffer = Buffer(f"t{program.names}", loop.extent, dtype, "work", (loop.extent,))
    return Address(buffer, 0, ((loop.index, 1),))
