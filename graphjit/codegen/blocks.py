"""Parts of buffers with a letter for each axis, and copies from one to another."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Protocol

from graphjit.codegen.loops import Address, Buffer, Constant, Load, Statement, Store, Value
from graphjit.codegen.products import merged, moved, nested
from graphjit.ir.aval import DType
from graphjit.ir.view import View, contiguous


class Owner(Protocol):
    """What the lowering of a graph does for that of one node."""

    def scratch(self, size: int, dtype: DType, shape: tuple[int, ...] = ()) -> Buffer:
        """A new work buffer."""

    def fresh(self) -> str:
        """A name that is not taken."""


@dataclass(frozen=True)
class Block:
    """A buffer with a size and a stride for each letter, seen from ``offset`` and ``terms`` on."""

    buffer: Buffer
    sizes: dict[str, int]
    strides: dict[str, int]
    offset: int = 0
    terms: tuple[tuple[str, int], ...] = ()

    @classmethod
    def of(cls, buffer: Buffer, view: View, letters: str) -> Block:
        """A view whose axes have these letters."""
        sizes, strides = (
            dict(zip(letters, numbers, strict=True)) for numbers in (view.shape, view.strides)
        )
        return cls(buffer, sizes, strides, view.offset)

    def at(self, names: dict[str, str]) -> Block:
        """The part where some letters are at the index of a loop."""
        more = tuple((n, self.strides[c]) for c, n in names.items() if self.strides.get(c))
        return replace(self, terms=self.terms + more)

    def further(self, letter: str, count: int) -> Block:
        """Seen from so many elements further along an axis."""
        return replace(self, offset=self.offset + count * self.strides[letter])

    @property
    def address(self) -> Address:
        """Its first element."""
        return Address(self.buffer, self.offset, self.terms)

    def step(self, letter: str) -> int:
        """The stride of a letter; of one that it has not, 0."""
        return self.strides.get(letter, 0)

    def flat(self, letters: str) -> bool:
        """Whether these letters, the last one fastest, lie side by side."""
        real = [c for c in letters if self.sizes[c] != 1]
        follows = all(self.strides[a] == self.strides[b] * self.sizes[b] for a, b in pairwise(real))
        return not real or (follows and self.strides[real[-1]] == 1)


class Copies:
    """Makes blocks, and the statements that fill them."""

    def __init__(self, owner: Owner) -> None:
        self.owner = owner

    def new(self, sizes: dict[str, int], dtype: DType) -> Block:
        """A work buffer with these axes."""
        shape = tuple(sizes.values())
        buffer = self.owner.scratch(math.prod(shape), dtype, shape)
        return Block.of(buffer, contiguous(shape), "".join(sizes))

    def copied(
        self, source: Block, target: Block, sizes: dict[str, int] | None = None
    ) -> list[Statement]:
        """Copy element by element, the target's last axis innermost."""
        common = [c for c in target.sizes if c in source.sizes]
        if sizes is None:
            sizes = {c: min(source.sizes[c], target.sizes[c]) for c in common}
        order = sorted((c for c in common if c in sizes), key=lambda c: -target.strides[c])
        walk = merged([(sizes[c], source.strides[c], target.strides[c]) for c in order])
        if any(not sizes[c] for c in order):
            return []
        names, value = (
            [self.owner.fresh() for _ in walk],
            Value(self.owner.fresh(), source.buffer.dtype),
        )
        body: list[Statement] = [
            Load(value, moved(source.address, names, [s for _, s, _ in walk])),
            Store(moved(target.address, names, [t for _, _, t in walk]), value),
        ]
        return nested(names, [n for n, _, _ in walk], body)

    def cleared(self, block: Block, letters: str) -> list[Statement]:
        """Zeros in a part of a buffer."""
        names = [self.owner.fresh() for _ in letters]
        place = moved(block.address, names, [block.strides[c] for c in letters])
        zero: list[Statement] = [Store(place, Constant(0, block.buffer.dtype))]
        return nested(names, [block.sizes[c] for c in letters], zero)
