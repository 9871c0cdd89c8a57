"""Updates that are alike become one loop, over arrays that lie side by side in memory.

``for i in 64: p[i] += r * g[i]; for i in 8: q[i] += r * h[i]`` is ``for i in 72: pq[i] += r *
gh[i]`` where ``pq`` begins with ``p`` and goes on with ``q``, and ``gh`` with ``g`` and ``h``. To
all else the arrays are what they were. No element is computed otherwise, so the results are equal
to the last bit; there is less to compile, and fewer loops begin and end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from math import inf

from graphjit.codegen.alike import Update, updates_of
from graphjit.codegen.elementwise import Body
from graphjit.codegen.loops import Buffer, Fill, Kernel, LoopProgram, Statement
from graphjit.codegen.plan import Ends
from graphjit.codegen.touch import scatters

# The same on every processor, since it is for the program to say what lies side by side.
LARGE = 16384  # bytes of an array whose loop is so long that it may begin and end by itself
LINE = 64  # numbers: what follows a multiple of so many begins where a cache line does

Role = Sequence[Buffer]  # the arrays that have one part in several updates


def together(
    program: LoopProgram, donated: Mapping[int, int], before: LoopProgram | None
) -> list[Kernel]:
    """Take updates that are alike out of their kernels.

    Args:
        program: Before its memory is planned. Its ``joined`` then says which inputs have to lie
            side by side, its ``aliases`` which outputs overwrite them.
        donated: Outputs, by position, that are to be written over inputs, by position.
        before: A program on the same inputs, which lie as it has said.

    Returns:
        What is to come last in the program: it overwrites what others may read.
    """
    pairs = {program.outputs[p].name: program.inputs[i] for p, i in donated.items()}
    merging = Merging(program, pairs, before)
    found: dict[object, list[Update]] = {}
    updates = updates_of(merging.bodies, pairs, merging.hidden)
    for update in filter(merging.right, updates):
        found.setdefault(update.form, []).append(update)
    last = [merging.merged(updates) for updates in found.values()]
    program.kernels = [kernel for kernel in program.kernels if kernel.statements]
    return [kernel for kernel in last if kernel is not None]


class Merging:
    """What is known of a program, and the merging of its updates.

    Attributes:
        pairs: By the name of an output the input that it is written over.
        order: Which of these outputs each is.
        bodies: The kernels in which updates may be.
        places: Which kernel each is.
        readers: The kernels that read each array.
        writers: The kernels that write it.
        fixed: Inputs that are overwritten, and outputs.
    """

    def __init__(
        self, program: LoopProgram, pairs: Mapping[str, Buffer], before: LoopProgram | None
    ) -> None:
        self.program, self.pairs, self.before = program, pairs, before
        ends = {kernel: Ends.of(kernel) for kernel in program.kernels}
        kernels = [k for k, found in ends.items() if found.written & pairs.keys()]
        self.bodies = Body.all(kernels)
        self.order = {name: at for at, name in enumerate(pairs)}
        self.places = {kernel: at for at, kernel in enumerate(ends)}
        self.readers: dict[str, list[Kernel]] = {}
        self.writers: dict[str, list[Kernel]] = {}
        for kernel, found in ends.items():
            for name in found.read:
                self.readers.setdefault(name, []).append(kernel)
            for name in found.written:
                self.writers.setdefault(name, []).append(kernel)
        self.fixed = {b.name for b in (*pairs.values(), *program.outputs)}

    def right(self, update: Update) -> bool:
        """Whether an update may be the last thing that happens, and its arrays be anywhere."""
        own = {self.pairs[out].name for out in update.outputs}
        now = max(self.places[kernel] for kernel in update.body.kernels)
        return (
            not self.fixed & {*update.numbers}
            and all(self.last(name) <= now for name in update.numbers)
            and all(b.size == update.body.extent and not b.start for b in update.roles)
            and all(b.size * b.dtype.itemsize <= LARGE for b in update.roles)
            and all(b.name in own or self.whole(b) < now for b in update.roles)
        )

    def hidden(self, name: str, body: Body) -> bool:
        """Whether nothing reads an array but what has its elements from where they are made."""
        elsewhere = [k for k in self.readers.get(name, ()) if k not in body.kernels]
        return not elsewhere and len(self.writers[name]) == 1 and body.own(name)

    def last(self, name: str) -> int:
        """The place of the last kernel that writes an array, or -1."""
        return max((self.places[k] for k in self.writers.get(name, ())), default=-1)

    def whole(self, buffer: Buffer) -> float:
        """The same of a work buffer that is written all over; after all where it is none."""
        writers = self.writers[buffer.name] if buffer.role == "work" else []
        cleared = [k for k in writers if any(fills(s, buffer) for s in k.statements)]
        if not writers or any(scatters(k, buffer) for k in cleared):
            return inf
        return self.last(buffer.name)

    def merged(self, updates: list[Update]) -> Kernel | None:
        """One kernel for several updates, if that pays."""
        long = next((u for u in updates if u.body.extent > 1), None)
        if long is None or len(updates) < 2:
            return None
        updates.sort(
            key=lambda u: (-min(u.body.extent & -u.body.extent, LINE), self.order[u.outputs[0]])
        )
        roles = list(zip(*(u.roles for u in updates), strict=True))
        homes = self.homes(roles)
        if homes is None:
            return None
        for body in dict.fromkeys(u.body for u in updates):
            body.drop([s for u in updates if u.body is body for s in (*u.stores, *u.between)])
        outputs = [out for u in updates for out in u.outputs]
        self.program.aliases.update({out: self.pairs[out].name for out in outputs})
        extent = sum(u.body.extent for u in updates)
        return long.over(extent, dict(zip((b.name for b in long.roles), homes, strict=True)))

    def homes(self, roles: Sequence[Role]) -> list[Buffer] | None:
        """An array for each role that holds all others; None if a program before has none."""
        starts = [0, *accumulate(b.size for b in roles[0])]
        laid = [{b.name: at for b, at in zip(r, starts[:-1], strict=True)} for r in roles]
        if self.before is None:
            return [self.home(role, places) for role, places in zip(roles, laid, strict=True)]
        known = [
            next((b for b, places in self.before.joined if places == wanted), None)
            for wanted in laid
        ]
        if any(b is None and r[0].role == "input" for b, r in zip(known, roles, strict=True)):
            return None
        found = zip(known, roles, laid, strict=True)
        return [buffer or self.home(role, places) for buffer, role, places in found]

    def home(self, role: Role, places: dict[str, int]) -> Buffer:
        """An array that holds some arrays."""
        program, dtype, size = self.program, role[0].dtype, sum(b.size for b in role)
        if role[0].role == "work":
            program.names += 1
            buffer = Buffer(f"t{program.names}", size, dtype, "work", (size,))
            program.joined.append((buffer, places))
            return buffer
        label = f"{role[0].label} and {len(role) - 1} more"
        name = f"joined{sum(b.role == 'input' for b, _ in program.joined)}"
        buffer = Buffer(name, size, dtype, "input", (size,), label=label)
        program.joined.append((buffer, places))
        program.inputs.append(buffer)
        return buffer


def fills(s: Statement, buffer: Buffer) -> bool:
    """Whether a statement sets a buffer to one value."""
    return isinstance(s, Fill) and s.buffer.name == buffer.name
