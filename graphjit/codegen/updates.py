"""What a loop adds to an array: sums in which all but the old element is scaled by scalars."""

from __future__ import annotations

from collections.abc import Iterable

from graphjit.codegen.in_place import once, visited
from graphjit.codegen.loops import (
    Address,
    Buffer,
    Constant,
    For,
    Kernel,
    Let,
    Load,
    Scalar,
    Statement,
    Store,
    Value,
)
from graphjit.records import NamedTuple

SCALES = frozenset({"multiply", "strong_multiply", "divide"})
Scalars = list[Load | Let]


class Part(NamedTuple):
    """What is added: ``steps`` of each element of ``zeros``, each an operation with a scalar."""

    zeros: Buffer
    steps: list[Let]


class Update(NamedTuple):
    """``out = into + parts``, element by element; ``before`` computes the scalars of the steps."""

    parts: list[Part]
    before: Scalars


def update_of(kernel: Kernel, nest: For, out: Buffer, into: Buffer) -> Update | None:
    """What a nest of loops adds to a buffer, if that is all it does."""
    *inner, last = [s for s in visited([nest]) if not isinstance(s.statement, For)]
    store = last.statement
    if not (isinstance(store, Store) and not store.op and once(store, last.loops, out)):
        return None
    total = Sum(store.address, into, [s for s in kernel.statements if isinstance(s, Load | Let)])
    for statement, _ in inner:
        if not total.takes(statement):
            return None
    complete = total.parts and not total.of and store.value == total.value
    return Update(total.parts, total.before) if complete else None


class Sum:
    """Follows one sum through a body.

    Attributes:
        value: The old element with what was added so far.
        parts: What was added so far.
        of: What is not added yet, by the name of its value.
        fixed: The names of scalars.
    """

    def __init__(self, place: Address, into: Buffer, before: Scalars) -> None:
        self.place, self.into, self.before = place, into, before
        self.value: Scalar | None = None
        self.parts: list[Part] = []
        self.of: dict[str, Part] = {}
        self.fixed = {s.value.name for s in before}

    def takes(self, s: Statement) -> bool:
        """Whether a statement has its part in the sum."""
        if not isinstance(s, Load | Let) or s.value.name in self.fixed or s.value.name in self.of:
            return False
        return self.load(s) if isinstance(s, Load) else self.let(s)

    def load(self, s: Load) -> bool:
        """Whether it reads the old element, or what is added, or a scalar."""
        buffer, place = s.address.buffer, self.place
        if (s.address.offset, s.address.terms) != (place.offset, place.terms):
            return not s.address.terms and buffer.role in ("input", "constant") and self.scalar(s)
        if buffer == self.into and self.value is None:
            self.value = s.value
            return True
        known = any(part.zeros == buffer for part in (*self.of.values(), *self.parts))
        self.of[s.value.name] = Part(buffer, [])
        return buffer.role == "work" and buffer.size == self.into.size and not known

    def scalar(self, s: Load | Let) -> bool:
        """Note what is the same for all elements."""
        self.before = [*self.before, s]
        self.fixed.add(s.value.name)
        return True

    def let(self, s: Let) -> bool:
        """Whether it scales what is added, adds it, or computes a scalar."""
        if all(self.is_fixed(x) for x in s.operands):
            return self.scalar(s)
        added = [x for x in s.operands if isinstance(x, Value) and x.name in self.of]
        if len(added) != 1:
            return False
        part = self.of.pop(added[0].name)
        rest = [x for x in s.operands if x != added[0]]
        if all(self.is_fixed(x) for x in rest):
            self.of[s.value.name] = part._replace(steps=[*part.steps, s])
            first = s.operands[0] == added[0]
            return s.op == "negative" or (s.op in SCALES and (first or s.op != "divide"))
        return rest == [self.value] and self.adds(s, part, added[0])

    def adds(self, s: Let, part: Part, added: Value) -> bool:
        """Whether it adds a part to the sum, or takes it away."""
        if s.op == "subtract" and s.operands[1] == added:
            negative = s._replace(value=added, op="negative", operands=(added,))
            part = part._replace(steps=[*part.steps, negative])
        elif s.op != "add":
            return False
        self.value = s.value
        self.parts = [*self.parts, part]
        return True

    def is_fixed(self, x: Scalar) -> bool:
        """Whether it is the same for all elements."""
        return isinstance(x, Constant) or x.name in self.fixed


def needed(before: Scalars, steps: Iterable[Let]) -> Scalars:
    """What computes the scalars of the steps."""
    wanted = {x.name for s in steps for x in s.operands if isinstance(x, Value)}
    found = Scalars()
    for s in reversed(before):
        if s.value.name in wanted:
            found.insert(0, s)
            operands = s.operands if isinstance(s, Let) else ()
            wanted |= {x.name for x in operands if isinstance(x, Value)}
    return found
