"""How a loop is run in LLVM IR: how many of its turns at once, and what it carries along."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType

import numpy as np

from graphjit.codegen.llvm_text import BOOL
from graphjit.codegen.loops import (
    Address,
    Check,
    For,
    Index,
    Let,
    Load,
    Scalar,
    Statement,
    Store,
    Value,
)
from graphjit.codegen.mathematics import described
from graphjit.ir.aval import DType
from graphjit.records import NamedTuple
from graphjit.tuning import tuning

Inner = Let | Load | Index | Check | Store
Terms = tuple[tuple[str, int], ...]
NO_FOLDS: Mapping[str, str] = MappingProxyType({})
FLOATS = (np.float64, np.float32)
PRODUCTS = frozenset({"multiply", "square"})
FOLDS = frozenset({"add", "multiply", "maximum", "minimum", "logical_or", "logical_and"})
LIGHT = 12  # operations: a body of no more waits for its own sums, unless it has several of each
INLINED = 8  # functions of mathematics that are written out in one loop; others are called
SHORT = 64  # turns of an inner loop: the sum of fewer is added without further care
BLOCK = 4096  # turns that are added up before their sum is added to the whole


class Shape(NamedTuple):
    """How an innermost loop is run.

    Attributes:
        lanes: Turns at once; 1 is one after the other.
        folds: The operation of each accumulator, by its name.
        unroll: How many accumulators of each there are, so that they need not wait.
        block: Turns after which the accumulators are emptied into their totals; 0 is never.
        vectors: Of each value, so that one need not wait for the other.
    """

    lanes: int = 1
    folds: Mapping[str, str] = NO_FOLDS
    unroll: int = 1
    block: int = 0
    vectors: int = 1


def innermost(loop: For) -> list[Inner] | None:
    """The body of a loop with only scalar statements in it."""
    body = [s for s in loop.body if isinstance(s, Inner)]
    return body if len(body) == len(loop.body) else None


def shape_of(
    body: Sequence[Inner],
    loop: For,
    carried: Iterable[str],
    aliases: Mapping[str, str],
    vector_bytes: int,
) -> Shape:
    """The best way to run an innermost loop that keeps its meaning.

    Several turns at once are the same as one after the other where no turn reads what another
    writes, but for sums and the like, which are taken in another order.
    """
    folds = accumulators(body, set(carried))
    if folds is None or loop.extent < 2 or loop.reverse:
        return Shape()
    lanes = min(vector_bytes // itemsize(body), power_of_two(loop.extent))
    if lanes == 1 or not separate(body, loop.index, aliases):
        return Shape()
    turns, unrolled = loop.extent // lanes, tuning(vector_bytes).unrolled
    light = folds and weight(body) <= LIGHT and turns >= 2 * unrolled
    summed = any(op == "add" for op in folds.values()) and loop.extent >= 2 * BLOCK
    return Shape(lanes, folds, unrolled if light else 1, BLOCK if summed else 0)


def long_sums(
    statements: Iterable[Statement], slots: Container[str], *, nested: bool = False
) -> Iterator[Value]:
    """The sums that are added to again and again: once a block, or once an inner loop."""
    for s in statements:
        body = innermost(s) if isinstance(s, For) else None
        if isinstance(s, For) and body is not None:
            if s.extent >= (SHORT if nested else 2 * BLOCK):
                yield from (v for v in sums(body) if v.name in slots and v.dtype.kind == "f")
        else:
            for inside in (getattr(s, "body", ()), getattr(s, "then", ())):
                yield from long_sums(inside, slots, nested=True)


def sums(body: Sequence[Inner]) -> Iterator[Value]:
    """What a body adds to."""
    for s in body:
        if isinstance(s, Let) and s.op == "add" and s.value in s.operands:
            yield s.value


def power_of_two(extent: int) -> int:
    """The least one that is no less."""
    return 1 << (extent - 1).bit_length()


def accumulators(body: Sequence[Inner], carried: set[str]) -> dict[str, str] | None:
    """The folds of a body by name; None where something else goes from turn to turn."""
    uses = Counter(name for s in body for name in used(s))
    folds: dict[str, str] = {}
    for s in body:
        if isinstance(s, Store) or s.value.name not in carried:
            continue
        name = s.value.name
        fold = isinstance(s, Let) and s.op in FOLDS and name in used(s) and uses[name] == 1
        if not fold or name in folds:
            return None
        folds[name] = s.op  # type: ignore[union-attr]
    return folds


def contracted(body: Sequence[Inner], folds: Mapping[str, str]) -> list[Inner]:
    """A body in which products that are only added up join their sums in one operation.

    As in the BLAS. Elsewhere an fma could leave a rest where a difference of products is zero.
    """
    uses = Counter(name for s in body for name in used(s))
    once = [s for s in body if isinstance(s, Let) and uses[s.value.name] == 1]
    products = {s.value.name: s for s in once if s.op in PRODUCTS and s.value.name not in folds}
    found: list[Inner] = []
    for s in body:
        term = products.get(added(s, folds))
        if term and isinstance(s, Let) and s.value.dtype == term.value.dtype:
            found.remove(term)
            factors = term.operands if term.op == "multiply" else 2 * term.operands
            found.append(s._replace(op="fma", operands=(*factors, s.value)))
        else:
            found.append(s)
    return found


def added(s: Inner, folds: Mapping[str, str]) -> str:
    """What a statement adds to a sum of floats; empty for other statements."""
    if not isinstance(s, Let) or folds.get(s.value.name) != "add" or s.value.dtype not in FLOATS:
        return ""
    return next((name for name in used(s) if name != s.value.name), "")


def used(s: Inner) -> list[str]:
    """The names that a scalar statement reads."""
    match s:
        case Let():
            return names(*s.operands)
        case Load():
            return [name for name, _ in terms(s.address)]
        case Store():
            return names(s.value) + [name for name, _ in terms(s.address)]
        case Check():
            return names(s.index)
    return []


def names(*operands: Scalar) -> list[str]:
    """The names among operands, which may be constants."""
    return [o.name for o in operands if isinstance(o, Value)]


def terms(address: Address) -> tuple[tuple[str, int], ...]:
    """All terms of an address, those of its buffer first."""
    return address.buffer.start + address.terms


def separate(body: Sequence[Inner], index: str, aliases: Mapping[str, str]) -> bool:
    """Whether no turn reads or writes what another turn writes."""
    moved = {s.value.name for s in body if not isinstance(s, Store)}
    places = [(s, place(s.address, aliases)) for s in body if isinstance(s, Load | Store)]
    for store, (home, offset, steps) in places:
        if not isinstance(store, Store):
            continue
        scattered = any(name in moved for name, _ in steps)
        if (scattered and store.op) or not (scattered or dict(steps).get(index)):
            return False
        others = [p for s, p in places if s is not store and p[0] == home]
        if others and (scattered or any(p != (home, offset, steps) for p in others)):
            return False
    return True


def place(address: Address, aliases: Mapping[str, str]) -> tuple[str, int, Terms]:
    """The buffer behind an address, and where in it: equal for equal places."""
    steps: Counter[str] = Counter()
    for name, step in terms(address):
        steps[name] += step
    return resolved(address.buffer.name, aliases), address.offset, tuple(sorted(steps.items()))


def resolved(name: str, aliases: Mapping[str, str]) -> str:
    """The buffer behind the names it goes by."""
    while name in aliases:
        name = aliases[name]
    return name


def itemsize(body: Sequence[Inner]) -> int:
    """The size of the numbers of which a register is to hold one a lane.

    That is the float most of the work is done in: with the lanes of a wider one, registers of the
    narrower are half empty; with those of a narrower one, the wider takes two registers for each
    value. Loops without floats go by their widest integer.
    """
    work: Counter[DType] = Counter()
    for s in body:
        if not isinstance(s, Check):
            work[dtype_of(s)] += effort(s)
    floats = {d: count for d, count in work.items() if d.kind == "f"}
    if floats:
        return max(floats, key=lambda d: (floats[d], -d.itemsize)).itemsize
    return max((d.itemsize for d in work if d != BOOL), default=1)


def dtype_of(s: Let | Load | Index | Store) -> DType:
    """What a statement computes, reads or writes."""
    return s.address.buffer.dtype if isinstance(s, Store) else s.value.dtype


def effort(s: Inner) -> int:
    """How much there is to do; a function of mathematics counts for many operations."""
    return 1 + LIGHT * (isinstance(s, Let) and described(s.op, s.value.dtype))


def weight(body: Sequence[Inner]) -> int:
    """How much there is to compute in a turn."""
    return sum(effort(s) for s in body if isinstance(s, Let))


def calls(body: Sequence[Inner]) -> int:
    """How many functions of mathematics a turn calls."""
    lets = (s for s in body if isinstance(s, Let))
    return sum(described(s.op, s.value.dtype) for s in lets)
