"""Which loops threads may share: their turns run in any order, or differ only in what they sum.

A loop is cut into blocks of turns. How many depends on the program alone, never on how many threads
there are, and sums of blocks are added in order: results are the same for any number of threads.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from graphjit.codegen.accesses import Access, accesses, disjoint, sizes
from graphjit.codegen.duration import cost
from graphjit.codegen.llvm_loops import FOLDS, innermost, names, resolved, terms
from graphjit.codegen.loops import (
    Address,
    Buffer,
    Check,
    Fill,
    For,
    Index,
    Let,
    Load,
    LoopProgram,
    Product,
    Statement,
    Store,
    Value,
)
from graphjit.codegen.parallel_rows import Row, Scope, private_buffers
from graphjit.codegen.walks import walk
from graphjit.records import NamedTuple

GRAIN = 50_000.0  # of a block, as ``duration`` counts: those who are done early find more to do
MOST = 64  # blocks
FEWEST = 4  # turns of a loop that is shared
SPARE = 0.1  # the share of a loop's time that adding up copies of its sums may take


class Cut(NamedTuple):
    """How the turns of a loop are shared.

    Attributes:
        blocks: Into how many parts.
        folds: The accumulators, and their operations.
        sums: The buffers to which each block adds on its own, and the operations.
        private: The buffers of which each block has its own.
        status: Whether a check may fail.
    """

    blocks: int
    folds: Mapping[Value, str]
    sums: Mapping[str, tuple[Buffer, str]]
    private: Mapping[str, Row]
    status: bool


def cut(loop: For, scope: Scope, worth: float, fewest: int = FEWEST) -> Cut | None:
    """How to share a loop, or None where it is too short or its turns depend on each other.

    Args:
        loop: The loop.
        scope: What is around it.
        worth: How long it must be; 0 shares whatever can be, for tests.
        fewest: How many turns it must have.
    """
    taken = cost(loop)
    if loop.extent < (fewest if worth else 2) or taken < worth or math.isinf(taken):
        return None
    folds = folded(loop, scope.kernel)
    whole = sizes(scope.kernels, scope.program.aliases)
    found = None if folds is None else accesses(loop, scope.program, whole)
    if folds is None or found is None:
        return None
    private = private_buffers(loop, found, scope)
    shared = [a for a in found if a.root not in private]
    sums = summed(loop, shared, scope.program)
    rest = [a for a in shared if a.root not in sums]
    if not all(disjoint(w, a) for w in rest if w.write for a in rest):
        return None
    blocks = number_of_blocks(loop, taken, sum(b.size for b, _ in sums.values()), worth)
    checks = any(isinstance(s, Check) for s in walk(loop.body))
    return Cut(blocks, folds, sums, private, checks) if blocks > 1 else None


def number_of_blocks(loop: For, taken: float, summed: int, worth: float) -> int:
    """Few enough that each is worth it, and that copies of sums cost little; even if possible."""
    most = min(MOST, loop.extent)
    if worth:
        most = min(most, max(2, int(taken / GRAIN)))
    if summed and worth:
        most = min(most, int(SPARE * taken / summed))
    tried = range(most, most // 2, -1)
    if innermost(loop) is not None:
        tried_evenly = [n for n in tried if loop.extent % n == 0]
        return min(tried_evenly or tried, key=lambda n: -(-n // 2) / n, default=most)
    return min(tried, key=lambda n: longest(loop.extent, n), default=most)


def longest(turns: int, blocks: int) -> int:
    """The turns of the busier of two threads that take one block after the other."""
    busy = [0, 0]
    for block in range(blocks):
        size = (block + 1) * turns // blocks - block * turns // blocks
        busy[busy[0] > busy[1]] += size
    return max(busy)


# -- scalars ---------------------------------------------------------------------------------------


def folded(loop: For, kernel: Sequence[Statement]) -> dict[Value, str] | None:
    """The accumulators of a loop; None where something else goes from turn to turn, or out."""
    body = list(walk(loop.body))
    made = {s.value.name for s in body if isinstance(s, Let | Load | Index | Check)}
    carried: dict[str, None] = {}
    seen: set[str] = set()
    for s in body:
        carried.update(dict.fromkeys(n for n in named(s) if n in made and n not in seen))
        if isinstance(s, Let | Load | Index | Check):
            seen.add(s.value.name)
    inside = Counter(n for s in body for n in named(s))
    outside = Counter(n for s in walk(list(kernel)) for n in named(s))
    outside.subtract(inside)
    if any(outside[n] > 0 for n in made if n not in carried):
        return None
    folds = {n: fold_of(n, body) for n in carried}
    if not all(folds.values()):
        return None
    return {f.value: f.op for f in folds.values() if f}


def fold_of(name: str, body: Iterable[Statement]) -> Let | None:
    """The update of an accumulator, if all that concerns it is updates of one kind."""
    found: list[Let] = []
    for s in body:
        mine = isinstance(s, Let | Load | Index | Check) and s.value.name == name
        if not mine and name not in named(s):
            continue
        if not (mine and isinstance(s, Let) and s.op in FOLDS and named(s).count(name) == 1):
            return None
        found.append(s)
    return found[0] if len({s.op for s in found}) == 1 else None


def named(s: Statement) -> list[str]:
    """The names of values and loop indices that a statement reads."""
    match s:
        case Let():
            return names(*s.operands)
        case Check():
            return names(s.index)
        case Index():
            return [name for name, _ in s.terms]
        case Store():
            return names(s.value) + [name for name, _ in terms(s.address)]
        case Fill():
            return [name for name, _ in s.buffer.start]
    fields = s if isinstance(s, tuple) else ()
    return [name for a in fields if isinstance(a, Address) for name, _ in terms(a)]


# -- buffers ---------------------------------------------------------------------------------------


def summed(
    loop: For, found: Sequence[Access], program: LoopProgram
) -> dict[str, tuple[Buffer, str]]:
    """Buffers that are only added to, at places that several turns share."""
    stores: dict[str, list[tuple[Buffer, str]]] = {}
    for s in walk(loop.body):
        pair = added(s)
        if pair is not None:
            stores.setdefault(resolved(pair[0].name, program.aliases), []).append(pair)
    result = {}
    for root, adding in stores.items():
        mine = [a for a in found if a.root == root]
        rivals = [a for a in found if a.root != root and a.place == mine[0].place] if mine else []
        buffers, ops = {b for b, _ in adding}, {op for _, op in adding}
        alike = len(buffers) == len(ops) == 1 and not any(b.start for b in buffers)
        only = len(mine) == len(adding) and alike and ops <= FOLDS
        needed = any(not disjoint(w, a) for w in mine for a in mine)
        if only and needed and not any(overlaps(a, b) for a in mine for b in rivals):
            result[root] = buffers.pop(), ops.pop()
    return result


def added(s: Statement) -> tuple[Buffer, str] | None:
    """What a statement writes into, and how what is there goes into that."""
    match s:
        case Store():
            return s.address.buffer, s.op
        case Product():
            return s.c.buffer, "add" if s.add else ""
    return None


def overlaps(a: Access, b: Access) -> bool:
    """Whether two accesses may meet in memory, whatever the turns."""
    return a.start < b.finish and b.start < a.finish
