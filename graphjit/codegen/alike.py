"""Which updates of arrays a program makes, and which of them are alike but for the arrays."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from graphjit.codegen.elementwise import Body, Made, Place, live, place
from graphjit.codegen.loops import (
    Buffer,
    Constant,
    For,
    Index,
    Kernel,
    Let,
    Load,
    Scalar,
    Statement,
    Store,
    Value,
)
from graphjit.codegen.renaming import renamed
from graphjit.records import NamedTuple

OUTSIDE = "outside"  # what no update may have to do with


class Update(NamedTuple):
    """How some arrays are replaced, all in one loop.

    Attributes:
        body: Where.
        stores: What replaces them, in the order of the program's outputs.
        between: What else is stored: values that other kernels of the body go on with.
        form: Equal in updates that are alike.
        roles: The arrays that are replaced or read, in the order in which ``form`` counts them.
        numbers: The names of the arrays of the numbers that go into it.
        into: By the name of an output the input that it is written over.
    """

    body: Body
    stores: list[Store]
    between: list[Store]
    form: tuple[object, ...]
    roles: list[Buffer]
    numbers: list[str]
    into: Mapping[str, Buffer]

    @property
    def outputs(self) -> list[str]:
        """The names of what is written."""
        return [s.address.buffer.name for s in self.stores]

    def over(self, extent: int, homes: Mapping[str, Buffer]) -> Kernel:
        """The same on other arrays, which are written at the end of each turn."""
        body, outside = self.body, set(map(id, self.body.before))
        makers = [
            s for s in body.statements if isinstance(s, Made) and s.value.name not in body.same
        ]
        before = [s for s in makers if id(s) in outside]
        inside = [s for s in (*makers, *self.stores) if id(s) not in outside]
        turn = live([renamed(s, body.same) for s in inside], ())
        loop = For(body.index, extent, [self.moved(s, homes) for s in turn])
        kept = live([*before, loop], ())
        kernel = body.kernels[-1]
        return Kernel(kernel.title, kept, kernel.origin)

    def moved(self, s: Statement, homes: Mapping[str, Buffer]) -> Statement:
        """A statement of the loop on other arrays."""
        if not isinstance(s, Load | Store) or not self.body.is_element(s.address):
            return s
        old = s.address.buffer
        home = homes[self.into.get(old.name, old).name]
        return s._replace(address=s.address._replace(buffer=home))


def updates_of(
    bodies: Sequence[Body], into: Mapping[str, Buffer], hidden: Callable[[str, Body], bool]
) -> Iterator[Update]:
    """The updates that kernels make, each of arrays that no other update in its body needs.

    Args:
        bodies: The kernels.
        into: By the names of outputs what they are written over, in the order of the outputs.
        hidden: Whether nothing reads an array but what has its elements from where they are made.
    """
    numbers = {number for body in bodies for number in body.numbers()}
    order = {name: at for at, name in enumerate(into)}
    for body in bodies:
        body.tell(numbers)
        for stores in parts(body, into, hidden):
            own = [s for s in stores if s.address.buffer.name in order]
            between = [s for s in stores if s.address.buffer.name not in order]
            if own:
                own.sort(key=lambda s: order[s.address.buffer.name])
                yield Writer(body, into).update(own, between)


# -- which stores belong together ------------------------------------------------------------------


class Sets:
    """Names in sets that are joined two by two; names in no set are of numbers."""

    def __init__(self) -> None:
        self.above = {OUTSIDE: OUTSIDE}

    def root(self, name: str) -> str:
        """The same for all of a set."""
        while self.above[name] != name:
            self.above[name] = name = self.above[self.above[name]]
        return name

    def join(self, a: str, b: str) -> None:
        """Make one set of two; a name that is new comes to the other's."""
        self.above[self.root(self.above.setdefault(a, a))] = self.root(self.above.setdefault(b, b))


def parts(
    body: Body, into: Mapping[str, Buffer], hidden: Callable[[str, Body], bool]
) -> list[list[Store]]:
    """The stores of elements that nothing else needs, those together that come of one element."""
    sets, found, changing = Sets(), dict[str, list[Store]](), list[tuple[str, Store]]()
    for s in body.statements:
        for a, b in links(s, body, sets.above):
            sets.join(a, b)
        if isinstance(s, Store) and isinstance(s.value, Value) and s.value.name in sets.above:
            changing.append((s.value.name, s))
    for value, s in changing:
        buffer, number = s.address.buffer, value in body.cuts
        whole = not s.op and not number and body.is_element(s.address)
        if whole and (buffer.name in into or buffer.role == "work") and hidden(buffer.name, body):
            found.setdefault(value, []).append(s)
        elif not number:
            sets.join(value, OUTSIDE)
    together: dict[str, list[Store]] = {}
    for value, stores in found.items():
        together.setdefault(sets.root(value), []).extend(stores)
    together.pop(sets.root(OUTSIDE), None)
    return [*together.values()]


def links(s: Statement, body: Body, changing: Collection[str]) -> Iterator[tuple[str, str]]:
    """Which names belong together because of a statement; ``changing`` are those of no number."""
    match s:
        case Let() if s.value.name not in body.cuts:
            names = [x.name for x in s.operands if isinstance(x, Value)]
            yield from ((s.value.name, name) for name in names if name in changing)
        case Load() if s.value.name in body.same:
            source = body.same[s.value.name].name
            yield from ((s.value.name, source) for _ in range(source in changing))
        case Load() if body.is_element(s.address) and not body.is_number(s.address):
            yield s.value.name, f"array {s.address.buffer.name}"
        case Load() if not body.is_number(s.address):
            yield s.value.name, OUTSIDE
        case Index():
            yield s.value.name, OUTSIDE


# -- what they look like ---------------------------------------------------------------------------


class Writer:
    """Writes down what is stored, with arrays and repeated values counted.

    Attributes:
        lines: What is written.
        roles: The arrays.
        seen: The values.
    """

    def __init__(self, body: Body, into: Mapping[str, Buffer]) -> None:
        self.body, self.into = body, into
        self.lines: list[object] = []
        self.roles: dict[str, Buffer] = {}
        self.seen: dict[object, int] = {}
        self.numbers: list[str] = []

    def update(self, stores: list[Store], between: list[Store]) -> Update:
        """The update that these are."""
        for s in stores:
            self.lines.append(("store", self.role(self.into[s.address.buffer.name])))
            waiting = [s.value]
            while waiting:
                waiting += self.write(waiting.pop())
        form, roles = tuple(self.lines), [*self.roles.values()]
        return Update(self.body, stores, between, form, roles, self.numbers, self.into)

    def role(self, buffer: Buffer) -> tuple[int, str]:
        """Which of the arrays it is, and its kind."""
        self.roles.setdefault(buffer.name, buffer)
        return list(self.roles).index(buffer.name), buffer.role + buffer.dtype.str

    def write(self, x: Scalar) -> Sequence[Scalar]:
        """Write a value; what it is computed from comes next, the last first."""
        if isinstance(x, Constant):
            self.lines.append((x.dtype.str, repr(x.value)))
            return ()
        x = self.body.same.get(x.name, x)
        s, number = self.body.made[x.name], self.number(x)
        key = number or (s.address.buffer.name if isinstance(s, Load) else x.name)
        if key in self.seen:
            self.lines.append(self.seen[key])
            return ()
        self.seen[key] = len(self.seen)
        if number:
            self.numbers.append(number[0])
            self.lines.append(number)
        elif isinstance(s, Load):
            self.lines.append(self.role(s.address.buffer))
        elif isinstance(s, Let):
            self.lines.append((s.op, x.dtype.str, repr(s.params), len(s.operands)))
            return s.operands[::-1]
        return ()

    def number(self, x: Value) -> Place | None:
        """The number that a value is for loops, if it is one."""
        s = self.body.made[x.name]
        if isinstance(s, Load) and self.body.is_number(s.address):
            return place(s.address)
        return self.body.cuts.get(x.name)
