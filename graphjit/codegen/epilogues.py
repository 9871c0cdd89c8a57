"""Loops that read a small product element by element, found right behind it.

Bias, activation and their adjoints then need not wait until the whole product is in memory: they
are applied to each tile of it while that is in registers (``llvm_epilogue``). What the loop sums
down the columns, as the gradient of a bias is, is summed tile by tile.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cached_property

from graphjit.codegen.duration import AMONG_OTHERS, CALLED, SHARED, cost
from graphjit.codegen.llvm_loops import innermost, place, resolved, terms
from graphjit.codegen.loops import (
    Address,
    Buffer,
    Fill,
    For,
    Gemm,
    Let,
    Load,
    LoopProgram,
    Statement,
    Store,
)
from graphjit.codegen.walks import SCALAR, reads, walk, writes
from graphjit.records import NamedTuple

Simple = Let | Load | Store


class Epilogue(NamedTuple):
    """A product and the loop that reads it.

    Attributes:
        product: The product.
        loop: The loop.
        row: The index of its rows; empty where one loop walks all elements.
        column: The index of its columns, or of all elements.
        once: What is done once a row.
        body: What is done with each element.
        kept: Whether anybody else reads the product.
    """

    product: Gemm
    loop: For
    row: str
    column: str
    once: Sequence[Let | Load]
    body: Sequence[Simple]
    kept: bool

    def whole(self, address: Address) -> bool:
        """Whether an address is that of the product's own element."""
        s = self.product
        own = ((self.row, s.ldc), (self.column, 1)) if self.row else ((self.column, 1),)
        element = s.c._replace(terms=s.c.terms + own)
        return place(address, {})[1:] == place(element, {})[1:]


class Around:
    """What there is to know of the kernels of a program before two statements become one."""

    def __init__(self, program: LoopProgram, kernels: Iterable[Sequence[Statement]]) -> None:
        self.program, self.kernels = program, [list(statements) for statements in kernels]
        self._epilogues: dict[tuple[int, int], tuple[Gemm, For, Epilogue | None]] = {}

    @cached_property
    def found(self) -> tuple[Counter[str], dict[str, int]]:
        """How many statements read each buffer, and the bytes of each."""
        readers, bytes_of = Counter[str](), dict[str, int]()
        for s in (s for k in self.kernels for s in walk(k) if not isinstance(s, SCALAR)):
            read = reads(s)
            readers.update(map(self.root, read))
            for b in (*read, *writes(s)):
                root = self.root(b)
                bytes_of[root] = max(bytes_of.get(root, 0), b.size * b.dtype.itemsize)
        return readers, bytes_of

    def epilogue(self, s: Gemm, loop: For) -> Epilogue | None:
        """The loop as the epilogue of a product, which is asked for twice."""
        key = id(s), id(loop)
        if key not in self._epilogues:
            self._epilogues[key] = s, loop, epilogue(s, loop, self)
        return self._epilogues[key][2]

    def root(self, b: Buffer) -> str:
        """The buffer behind the names that one goes by."""
        return resolved(b.name, self.program.aliases)

    def span(self, b: Buffer) -> tuple[str, int, int]:
        """The memory that a buffer is part of, and where it begins and ends in it."""
        root = self.root(b)
        offset = self.program.offsets.get(root)
        size = max(self.found[1].get(root, 0), b.size * b.dtype.itemsize)
        begin = (offset or 0) * b.dtype.itemsize
        return root if offset is None else "", begin, begin + size

    def apart(self, one: Buffer, others: Iterable[Buffer]) -> bool:
        """Whether a buffer has no memory in common with others."""
        home, begin, end = self.span(one)
        spans = map(self.span, others)
        return all(home != h or end <= b or e <= begin for h, b, e in spans)


def behind(statements: Sequence[Statement], at: int, around: Around) -> tuple[Epilogue, int] | None:
    """The epilogue of the product that stands somewhere, and where its loop stands.

    Between them buffers may be filled, of which the product needs none.
    """
    s = statements[at]
    if not isinstance(s, Gemm) or not small(s):
        return None
    used = s.a.buffer, s.b.buffer, s.c.buffer
    for then in range(at + 1, len(statements)):
        other = statements[then]
        if isinstance(other, For):
            found = around.epilogue(s, other)
            return (found, then) if found else None
        if not isinstance(other, Fill) or not around.apart(other.buffer, used):
            return None
    return None


def small(s: Gemm) -> bool:
    """Whether a product has columns to walk, and is never a matter for threads."""
    return s.n > 2 and s.m * s.k > 0 and cost(s) < CALLED and s.c.buffer.role != "tape"


def epilogue(s: Gemm, loop: For, around: Around) -> Epilogue | None:
    """The loop as the epilogue of a product, if it can be one."""
    found = shaped(s, loop)
    if found is None or cost(loop) >= AMONG_OTHERS * SHARED or not straight(found):
        return None
    if not safe(found, around):
        return None
    root = around.root(s.c.buffer)
    own = sum(isinstance(x, Load) and around.root(x.address.buffer) == root for x in found.body)
    over = any(isinstance(x, Store) and around.root(x.address.buffer) == root for x in found.body)
    lonely = s.c.buffer.role == "work" and around.found[0][root] == own
    return found._replace(kept=not (over or lonely))


def shaped(s: Gemm, loop: For) -> Epilogue | None:
    """A loop over the rows and columns of a product, or over all its elements."""
    if loop.reverse or loop.uses:
        return None
    body = innermost(loop)
    if body is not None and loop.extent == s.m * s.n and (s.ldc == s.n or s.m == 1):
        simple = [x for x in body if isinstance(x, Simple)]
        return Epilogue(s, loop, "", loop.index, (), simple, True) if simple == body else None
    *once, inner = loop.body
    if loop.extent != s.m or not isinstance(inner, For) or inner.reverse or inner.uses:
        return None
    body = innermost(inner)
    if body is None or inner.extent != s.n:
        return None
    first = [x for x in once if isinstance(x, Let | Load)]
    simple = [x for x in body if isinstance(x, Simple)]
    if first != once or simple != body:
        return None
    return Epilogue(s, loop, loop.index, inner.index, first, simple, True)


def straight(e: Epilogue) -> bool:
    """Whether every value is defined once, and read along the rows or once for all columns."""
    inside = [x for x in (*e.once, *e.body) if not isinstance(x, Store)]
    made = {x.value.name for x in inside}
    again = any(isinstance(x, Let) and x.value in x.operands for x in inside)
    plain = (
        steps(e, x.address)[1] in (0, 1) and made.isdisjoint(n for n, _ in terms(x.address))
        for x in (*e.once, *e.body)
        if not isinstance(x, Let)
    )
    return not again and len(made) == len(inside) and all(plain)


def safe(e: Epilogue, around: Around) -> bool:
    """Whether no element is needed, for the product or the loop, after another has been written."""
    inside = [x for x in (*e.once, *e.body) if isinstance(x, Load | Store)]
    product = around.root(e.product.c.buffer)
    raw = [x for x in inside if around.root(x.address.buffer) == product]
    first = [isinstance(x, Store) for x in raw]
    if first != sorted(first) or not all(e.whole(x.address) for x in raw):
        return False
    named = {x.address.buffer for x in raw if isinstance(x, Load)}
    stores = (x for x in inside if isinstance(x, Store))
    return named == {e.product.c.buffer} and all(alone(e, x, inside, around) for x in stores)


def alone(e: Epilogue, s: Store, inside: Sequence[Load | Store], around: Around) -> bool:
    """Whether a store writes what nothing else needs but, before, its own element."""
    factors = e.product.a.buffer, e.product.b.buffer
    if not (apart(e, s) or down(e, s)) or not around.apart(s.address.buffer, factors):
        return False
    where = place(s.address, around.program.aliases)
    for x in inside:
        same = (
            isinstance(x, Load) and not s.op and place(x.address, around.program.aliases) == where
        )
        if x is not s and not same and not around.apart(s.address.buffer, [x.address.buffer]):
            return False
    return True


def steps(e: Epilogue, address: Address) -> tuple[int, int]:
    """How far apart neighbours are, down a column and along a row."""
    found: Counter[str] = Counter()
    for name, step in terms(address):
        found[name] += step
    return found[e.row] if e.row else found[e.column] * e.product.n, found[e.column]


def apart(e: Epilogue, s: Store) -> bool:
    """Whether each element is written at a place of its own."""
    row, column = steps(e, s.address)
    return column == 1 and (row >= e.product.n or e.product.m == 1)


def down(e: Epilogue, s: Store) -> bool:
    """Whether a store adds up columns."""
    return s.op == "add" and bool(e.row) and steps(e, s.address) == (0, 1)
