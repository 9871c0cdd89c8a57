"""Kernels that walk the same outer axis walk it together, so that what they hand on stays small.

A product of 25 pairs of matrices is a loop over 25 calls; the loops that make its operands and
read its results often run over the same 25 first. As one loop, each turn makes an operand, takes
the product and reads it while all of that lies in the cache; and an array that is touched in this
loop alone needs memory for one turn only.

That is right where each turn touches its own part of whatever the kernels hand on: all addresses
move by the same step with the outer index, and reach no further than that step. It is done where
a product is among the kernels and what they hand on is ``WORTH`` bytes at least: less stays in
the cache anyway. Large products of many rows are cut for it (``panels``).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from graphjit.codegen.again import Outer, again
from graphjit.codegen.loops import (
    Address,
    Buffer,
    For,
    Gemm,
    Gemv,
    Kernel,
    LoopProgram,
    Statement,
)
from graphjit.codegen.nest import NAMES
from graphjit.codegen.panels import cut as cut_in_panels
from graphjit.codegen.panels import target, worthless
from graphjit.codegen.reach import NOWHERE, PLAIN, Reach, moved, names, reaches
from graphjit.codegen.walks import reads, touched, walk, writes
from graphjit.records import NamedTuple

WORTH = 32 * 1024  # bytes that two kernels hand on: the first level of most caches
WINDOW = 12  # kernels looked back at
LEAST = 256  # elements of each turn's part where a loop is cut in two


class Part(NamedTuple):
    """A kernel and what it touches; ``loop`` is where its one outer loop stands, if it has one."""

    kernel: Kernel
    read: frozenset[str]
    written: frozenset[str]
    loop: int | None

    @classmethod
    def of(cls, kernel: Kernel) -> Part:
        """What there is to know of a kernel."""
        inside = list(walk(kernel.statements))
        loops = [at for at, s in enumerate(kernel.statements) if isinstance(s, For)]
        single = len(loops) == 1 and all(isinstance(s, PLAIN) for s in inside)
        single = single and not any(isinstance(s, For) and (s.reverse or s.uses) for s in inside)
        read = frozenset(b.name for s in inside for b in reads(s))
        written = frozenset(b.name for s in inside for b in writes(s))
        return cls(kernel, read, written, loops[0] if single else None)

    @property
    def outer(self) -> For | None:
        """The outer loop."""
        s = self.kernel.statements[self.loop] if self.loop is not None else None
        return s if isinstance(s, For) else None

    @property
    def product(self) -> bool:
        """Whether there are library calls in the loop."""
        loop = self.outer
        return loop is not None and any(isinstance(s, Gemm | Gemv) for s in walk([loop]))

    def before(self) -> list[Statement]:
        """What runs before the loop."""
        return self.kernel.statements[: self.loop]

    def after(self) -> list[Statement]:
        """What runs after the loop."""
        return self.kernel.statements[(self.loop or 0) + 1 :]

    def apart(self, other: Part) -> bool:
        """Whether the two may change places."""
        crossing = self.written & (other.read | other.written) or other.written & self.read
        return not crossing


def share(program: LoopProgram, foreign: Collection[str] = ()) -> None:
    """Let kernels walk their outer axis together, where that keeps arrays in the cache.

    Args:
        program: Before its memory is planned; its kernels are changed.
        foreign: Names of buffers that others use as well.
    """
    if not any(kernel.title == "contract" and handles(kernel) for kernel in program.kernels):
        return
    held = {name for _, places in program.blocks for name in places}.union(foreign)
    panels = cut_in_panels(program.kernels)
    done = shared(program.kernels, panels)
    while bad := {name for part in done for name in better_whole(part, done, panels, held)}:
        panels = {name: kernel for name, kernel in panels.items() if name not in bad}
        done = shared(program.kernels, panels)
    if len(done) < len(program.kernels):
        outers = [Outer(part.kernel, part.outer) for part in done]
        for at in again(program, outers, held):
            done[at] = Part.of(outers[at].kernel)
        narrow(done, held)
        program.kernels[:] = [part.kernel for part in done]


def handles(kernel: Kernel) -> bool:
    """Whether a product takes and gives enough for a loop to be shared around it."""
    found = {b.name: b for b in touched(kernel.statements)}
    return sum(b.size * b.dtype.itemsize for b in found.values()) >= WORTH


def shared(kernels: Iterable[Kernel], panels: Mapping[str, Kernel]) -> list[Part]:
    """Kernels joined where they can be; some products are to be taken in panels."""
    done: list[Part] = []
    for kernel in kernels:
        part = Part.of(panels.get(target(kernel), kernel))
        if not joined(done, part):
            done.append(part)
    return done


def better_whole(
    part: Part, parts: Sequence[Part], panels: Mapping[str, Kernel], held: Collection[str]
) -> set[str]:
    """The products of a loop that are in panels and should not be."""
    if part.outer is None or panels.keys().isdisjoint(part.written):
        return set()
    return worthless(part.outer, panels, elsewhere(part, parts, held))


def elsewhere(part: Part, parts: Sequence[Part], held: Collection[str]) -> set[str]:
    """The buffers that are needed outside of a part's loop."""
    others = {n for p in parts if p is not part for n in (*p.read, *p.written)}
    around = {b.name for b in touched([*part.before(), *part.after()])}
    return others | around | set(held)


def joined(done: list[Part], part: Part) -> bool:
    """Put a kernel into the loop of an earlier one, the latest that takes it, and so on."""
    for at in range(len(done) - 1, max(len(done) - WINDOW, 0) - 1, -1):
        one, between = done[at], done[at + 1 :]
        up = all(part.apart(p) for p in between)
        if not up and not all(one.apart(p) for p in between):
            continue
        kernel = together(one, part)
        if kernel is not None:
            merged = Part.of(kernel)
            del done[at:]
            early, late = ([], between) if up else (between, [])
            done += early
            if not joined(done, merged):
                done.append(merged)
            done += late
            return True
    return False


def together(one: Part, two: Part) -> Kernel | None:
    """One kernel of both, where their outer loops can be one and it is worth it."""
    common = one.written & (two.read | two.written) or one.read & two.written
    if not common or not (one.product or two.product) or one.outer is None or two.outer is None:
        return None
    extent = min(one.outer.extent, two.outer.extent)
    if extent < 2:
        return None
    first, second = cut(one.outer, extent), cut(two.outer, extent)
    if first is None or second is None:
        return None
    second = renamed(second, first.index)
    if (
        second.index != first.index
        or not worth(first, common)
        or not parallel(first, second, common)
    ):
        return None
    early = {b.name for b in touched(two.before())}
    late = {b.name for b in touched(one.after())}
    if early & (one.read | one.written) or late & (two.read | two.written):
        return None
    loop = For(first.index, extent, [*first.body, *second.body])
    title = f"{one.kernel.title}; {two.kernel.title}"
    statements = [*one.before(), *two.before(), loop, *one.after(), *two.after()]
    return Kernel(title, statements, one.kernel.origin)


def worth(loop: For, common: Collection[str]) -> bool:
    """Whether enough is handed on."""
    handed = {b.name: b for b in touched(loop.body)}
    sizes = (b.size * b.dtype.itemsize for n, b in handed.items() if n in common)
    return sum(sizes) >= WORTH


def parallel(first: For, second: For, common: Collection[str]) -> bool:
    """Whether each turn of both touches a part of its own of what one writes for the other."""
    found: dict[str, list[Reach]] = {}
    for reach in reaches([*first.body, *second.body], first.index, {}):
        if reach.buffer.name in common:
            found.setdefault(reach.buffer.name, []).append(reach)
    return all(own_part(reached) for reached in found.values())


def own_part(reached: Sequence[Reach]) -> bool:
    """Whether turns stay apart."""
    steps = {(r.step, r.buffer.start) for r in reached}
    step = reached[0].step
    width = max(r.high for r in reached) - min(r.low for r in reached)
    return len(steps) == 1 and step != NOWHERE and width < step


def cut(loop: For, extent: int) -> For | None:
    """The loop with so many turns, each of several of its own; None where that cannot be."""
    if loop.extent == extent:
        return loop
    turns, rest = divmod(loop.extent, extent)
    free = [n for n in NAMES if n != loop.index and n not in set(names(loop.body))]
    if rest or not free or turns * inner(loop.body) < LEAST:
        return None

    def place(address: Address) -> Address:
        terms = [
            piece
            for name, step in address.terms
            for piece in (((name, step * turns), (free[0], step)) if name == loop.index
                          else ((name, step),))
        ]  # fmt: skip
        return address._replace(terms=tuple(terms))

    return For(loop.index, extent, [For(free[0], turns, moved(loop.body, place))])


def inner(statements: Iterable[Statement]) -> int:
    """How many turns the longest nest of loops has."""
    return max((s.extent * inner(s.body) for s in statements if isinstance(s, For)), default=1)


def renamed(loop: For, index: str) -> For:
    """The loop with another name of its index."""
    if loop.index == index:
        return loop
    if index in set(names(loop.body)):
        return loop

    def place(address: Address) -> Address:
        terms = tuple((index if n == loop.index else n, s) for n, s in address.terms)
        return address._replace(terms=terms)

    return For(index, loop.extent, moved(loop.body, place))


def narrow(parts: list[Part], kept: Collection[str]) -> None:
    """Give what is touched in one shared loop alone memory for one turn."""
    for at, part in enumerate(parts):
        loop = part.outer
        if loop is None or ";" not in part.kernel.title:
            continue
        others = elsewhere(part, parts, kept)
        found: dict[str, list[Reach]] = {}
        for reach in reaches(loop.body, loop.index, {}):
            if reach.buffer.role == "work" and reach.buffer.name not in others:
                found.setdefault(reach.buffer.name, []).append(reach)
        places = {name: part_of_turn(reached) for name, reached in found.items()}
        parts[at] = narrowed(part, loop, {n: b for n, b in places.items() if b is not None})


def part_of_turn(reached: Sequence[Reach]) -> tuple[Buffer, int] | None:
    """A buffer for a turn's part, and where that begins; None where turns share the buffer."""
    if not own_part(reached):
        return None
    low, high = min(r.low for r in reached), max(r.high for r in reached)
    size = high - low + 1
    return reached[0].buffer._replace(size=size, shape=(size,)), low


def narrowed(part: Part, loop: For, places: dict[str, tuple[Buffer, int]]) -> Part:
    """The kernel with some buffers narrowed."""

    def place(address: Address) -> Address:
        if address.buffer.name not in places:
            return address
        buffer, low = places[address.buffer.name]
        terms = tuple((n, s) for n, s in address.terms if n != loop.index)
        return Address(buffer, address.offset - low, terms)

    body = For(loop.index, loop.extent, moved(loop.body, place))
    kernel = part.kernel
    return Part.of(Kernel(kernel.title, [*part.before(), body, *part.after()], kernel.origin))
