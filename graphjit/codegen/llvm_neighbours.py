"""What a turn of a loop computes for its neighbour and the neighbour once more for itself.

Differences of neighbours, and gradients through them, look at ``x[i]`` and at ``x[i - 1]``; what a
turn makes of the one, the turn before it made of the other::

    a = x[i + 1] - x[i] ** 2                    a = x[i + 1] - x[i] ** 2
    b = x[i] - x[i - 1] ** 2                    b = the a of the turn before
    y[i] = f(a, b)                              y[i] = f(a, b)

In vectors that is the last lane of the vector before and all but the last of this one: one
instruction. It is the same numbers, computed once.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence

from graphjit.codegen.llvm_loops import Inner, resolved, terms, used, weight
from graphjit.codegen.loops import Address, Check, Index, Let, Load, Scalar, Store, Value
from graphjit.records import NamedTuple

Made = Let | Load | Index | Check
Form = tuple[int, int | None]  # its number, and the turn

LEAST = 2  # operations that are to be saved for one that moves lanes
MOST = 4  # values that are handed on: each has a register


class Neighbours(NamedTuple):
    """A body in which values are handed on from turn to turn.

    Attributes:
        body: Without what is computed no longer, each statement after what it needs. Where a value
            is handed on it is written as a copy of the one that it is a turn later.
        earlier: The values that are handed on, by name, and which they are a turn later.
        first: What computes them for the first turn.
    """

    body: Sequence[Inner]
    earlier: Mapping[str, Value]
    first: Sequence[Inner]


def neighbours(
    body: Sequence[Inner], index: str, carried: Collection[str], aliases: Mapping[str, str]
) -> Neighbours:
    """What the turns of a loop hand on, if there is something that pays.

    Args:
        body: The loop's statements; no turn reads what another one writes.
        index: The loop's.
        carried: Names that are given more than once.
        aliases: Which buffers are others.
    """
    if not sliding(body, index, aliases):
        return Neighbours(body, {}, ())
    made = {s.value.name: s for s in body if not isinstance(s, Store)}
    made = {name: s for name, s in made.items() if name not in carried}
    later = Forms(made, index).later()
    sizes = {v: weight(list(cone([v], made, set()))) for v in later}
    worth = sorted((v for v in later if sizes[v] >= LEAST), key=lambda v: -sizes[v])
    earlier = {v: later[v] for v in outermost(worth, made)[:MOST]}
    first = list(cone(earlier, made, set()))
    values = {s.value.name: s.value for s in first if isinstance(s, Let)}
    copies = {v: Let(values[v], "copy", (u,)) for v, u in earlier.items()}
    return Neighbours(list(in_order(body, {**made, **copies}, carried)), earlier, first)


def sliding(body: Sequence[Inner], index: str, aliases: Mapping[str, str]) -> bool:
    """Whether turns read what their neighbours read, and nothing that is written."""
    read = [s.address for s in body if isinstance(s, Load)]
    written = {resolved(s.address.buffer.name, aliases) for s in body if isinstance(s, Store)}
    if any(resolved(a.buffer.name, aliases) in written for a in read):
        return False
    found = {(a.buffer.name, a.offset, terms(a)) for a in read}
    steps = {a: step_of(a, index) for a in read}
    return any(s and (a.buffer.name, a.offset + s, terms(a)) in found for a, s in steps.items())


def step_of(address: Address, index: str) -> int:
    """How far an address moves from turn to turn."""
    return sum(step for name, step in terms(address) if name == index)


class Forms:
    """The form of each value, and the turn that it is of: equal forms differ in the turn alone."""

    def __init__(self, made: Mapping[str, Made], index: str) -> None:
        self.made, self.index = made, index
        self.numbers: dict[Hashable, int] = {}
        self.known: dict[str, Form] = {}

    def later(self) -> dict[str, Value]:
        """For each operation on floats the value that is the same a turn later, if there is one."""
        for name, s in self.made.items():
            self.known[name] = self.form(s)
        lets = [s.value for s in self.made.values() if isinstance(s, Let)]
        places = {self.known[v.name]: v for v in reversed(lets)}
        found = {}
        for v in lets:
            form, turn = self.known[v.name]
            if turn is not None and v.dtype.kind == "f" and (form, turn + 1) in places:
                found[v.name] = places[form, turn + 1]
        return found

    def form(self, s: Made) -> Form:
        """That of what a statement gives; of no turn is what is the same in all of them."""
        if isinstance(s, Load) and not any(name in self.made for name in used(s)):
            step, offset = step_of(s.address, self.index), s.address.offset
            turn, rest = divmod(offset, step) if step else (None, offset)
            return self.number((s.address.buffer.name, terms(s.address), rest)), turn
        if not isinstance(s, Let):
            return self.number(id(s)), None
        parts = [self.operand(o) for o in s.operands]
        first = min((turn for _, turn in parts if turn is not None), default=None)
        apart = tuple((form, None if turn is None else turn - (first or 0)) for form, turn in parts)
        return self.number((s.op, s.params, s.value.dtype, apart)), first

    def operand(self, o: Scalar) -> Form:
        """That of an operand: of a value from outside its name."""
        if isinstance(o, Value):
            return self.known.get(o.name) or (self.number(o.name), None)
        return self.number((repr(o.value), o.dtype)), None

    def number(self, form: Hashable) -> int:
        """What stands for a form."""
        return self.numbers.setdefault(form, len(self.numbers))


def cone(names: Iterable[str], made: Mapping[str, Made], done: set[str]) -> Iterator[Made]:
    """What computes some values and is not done, each statement after what it needs."""
    waiting = list(reversed([*names]))
    while waiting:
        name = waiting[-1]
        before = [n for n in used(made[name]) if n not in done] if name in made else []
        before = [n for n in before if n in made]
        if name in made and name not in done and not before:
            done.add(name)
            yield made[name]
        if name in done or not before:
            waiting.pop()
        else:
            waiting += reversed(before)


def outermost(names: Iterable[str], made: Mapping[str, Made]) -> list[str]:
    """Those that are in the computation of no other, the largest first."""
    inside: set[str] = set()
    kept = []
    for name in names:
        if name not in inside:
            kept.append(name)
            inside.update(s.value.name for s in cone([name], made, set()))
    return kept


def in_order(
    body: Iterable[Inner], made: Mapping[str, Made], carried: Collection[str]
) -> Iterator[Inner]:
    """What is stored, checked or goes on to other turns, each after what it needs now."""
    done: set[str] = set()
    for s in body:
        if isinstance(s, Store) or s.value.name in carried:
            yield from cone(used(s), made, done)
            yield s
        elif isinstance(s, Check):
            yield from cone([s.value.name], made, done)
