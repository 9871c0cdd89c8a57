"""Several vectors of each value, where the body of a loop waits for its own results.

A processor looks some hundred operations ahead. The turns of a short body overlap by themselves; in
a long one that is a single chain of operations, each waits for the one before. Two chains at once
then take hardly longer than one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache

from graphjit.codegen.llvm_loops import INLINED, Inner, Shape, calls
from graphjit.codegen.loops import Let, Statement, Value
from graphjit.codegen.mathematics import described, scalar_function
from graphjit.ir.aval import DType
from graphjit.records import NamedTuple
from graphjit.tuning import tuning

LONG = 100  # operations of a body that is worth more code where there are few turns
MANY = 16  # turns: with fewer, a vector that is left empty counts
LARGE = 1 << 13  # turns: with fewer, more than two vectors are not worth the time to compile
# That one operation waits, about, on any processor; others are one.
STEPS = {"divide": 3, "reciprocal": 3, "sqrt": 4}
AT_ONCE = frozenset({"copy", "positive", "bits", "from_bits", "negative", "absolute", "fabs"})

Form = tuple[bool, bool]  # of described functions, as ``llvm_mathematics`` says it


class Chain(NamedTuple):
    """How many operations there are, and how many steps the longest chain of them has."""

    operations: int
    steps: int


def widened(
    shape: Shape, body: Sequence[Inner], extent: int, vector_bytes: int, form: Form
) -> Shape:
    """The shape with as many vectors of each value as pay.

    So they do where functions of mathematics are called, too: each has all registers to itself.
    """
    tuned = tuning(vector_bytes)
    vectors = tuned.vectors if extent >= LARGE else min(2, tuned.vectors)
    if shape.lanes == 1 or shape.unroll > 1 or vectors == 1:
        return shape
    lanes = shape.lanes * vectors
    few = extent < MANY * lanes
    if few and -extent % lanes >= shape.lanes:
        return shape
    long = LONG if few else tuned.long
    pays = calls(body) > INLINED or waits(body, long, tuned.chained, form)
    return shape._replace(vectors=vectors) if pays else shape


def waits(body: Iterable[Statement], long: int, share: float, form: Form) -> bool:
    """Whether a body has so many operations, and such a share of them is one chain."""
    operations, steps = chain(body, form)
    return operations >= long and steps > share * operations


def chain(body: Iterable[Statement], form: Form) -> Chain:
    """Of straight-line statements, the functions of mathematics among them written out."""
    ends: dict[str, int] = {}
    count = 0
    for s in body:
        if isinstance(s, Let):
            own = operation(s.op, s.value.dtype, form)
            starts = [ends.get(o.name, 0) for o in s.operands if isinstance(o, Value)]
            ends[s.value.name] = max(starts, default=0) + own.steps
            count += own.operations
    return Chain(count, max(ends.values(), default=0))


@cache
def operation(op: str, dtype: DType, form: Form) -> Chain:
    """Of one operation."""
    if described(op, dtype):
        fused, scaling = form
        return chain(scalar_function(op, dtype, fused=fused, scaling=scaling).body, form)
    return Chain(1, 0 if op in AT_ONCE else STEPS.get(op, 1))
