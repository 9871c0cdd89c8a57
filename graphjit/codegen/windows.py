"""One convolution to be lowered: its operands by letters, and images with the zeros around them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from graphjit.codegen.blocks import Block, Copies, Owner
from graphjit.codegen.loops import Buffer, Constant, Fill, Statement
from graphjit.ir.graph import Node
from graphjit.ir.table.convolve import OPERANDS, roles
from graphjit.ir.view import View, contiguous


class Windows(Copies):
    """One node. ``blocks`` are x, w and y by their role; ``axes`` the windowed letters."""

    def __init__(
        self, node: Node, operands: Sequence[tuple[Buffer, View]], out: Buffer, owner: Owner
    ) -> None:
        super().__init__(owner)
        self.node, self.out, self.dtype = node, out, out.dtype
        self.letters, self.of = roles(node.params["spec"]), node.params["of"]
        pairs = zip(OPERANDS[self.of], operands, strict=True)
        self.blocks = {r: Block.of(*read, self.letters[r]) for r, read in pairs}
        whole = contiguous(node.aval.shape)
        self.blocks[self.of] = Block.of(out, whole, self.letters[self.of])
        x, w, y = (set(self.letters[r]) for r in "xwy")
        self.axes = "".join(sorted(c for c in x if c.isupper()))
        self.window: dict[str, tuple[int, int, int]] = dict(
            zip(self.axes, node.params["window"], strict=True)
        )
        self.images = self.ordered("x", (x & y) - w - set(self.axes))
        self.groups = self.ordered("x", x & w & y - set(self.axes))
        self.inside = self.ordered("x", (x & w) - y)
        self.outside = self.ordered("w", (w & y) - x)
        self.columns = self.inside if self.of == "x" else self.outside
        self.outer = self.images
        self.width = math.prod(self.size(c) for c in self.columns)

    def ordered(self, role: str, letters: set[str]) -> str:
        """Letters in the order in which an operand has them."""
        return "".join(c for c in self.letters[role] if c in letters)

    def size(self, letter: str) -> int:
        """The length of an axis that no window moves along."""
        return next(b.sizes[letter] for b in self.blocks.values() if letter in b.sizes)

    def loops(self, letters: str) -> tuple[dict[str, str], list[int]]:
        """An index for each letter, and how far it goes."""
        return {c: self.owner.fresh() for c in letters}, [self.size(c) for c in letters]

    def need(self, role: str, c: str) -> int:
        """How many elements from the first place of the first window on are reached."""
        stride, dilation, _ = self.window[c]
        span = dilation * (self.blocks["w"].sizes[c] - 1)
        if role == "x":
            return stride * (self.blocks["y"].sizes[c] - 1) + span + 1
        return self.blocks["x"].sizes[c] + span

    def padded(
        self, role: str, before: dict[str, int], statements: list[Statement]
    ) -> tuple[list[Statement], Block]:
        """One image with the zeros around it that windows reach: as it is where there are none.

        The statements that make it; the zeros are written once, by what is added to ``statements``.
        """
        block, needs = self.blocks[role], {c: self.need(role, c) for c in self.axes}
        if all(before[c] <= 0 and needs[c] - before[c] <= block.sizes[c] for c in self.axes):
            for c in self.axes:
                block = block.further(c, -before[c])
            return [], block
        rest = "".join(c for c in block.sizes if c not in self.axes + self.outer)
        room = self.new({**needs, **{c: block.sizes[c] for c in rest}}, self.dtype)
        statements.append(Fill(room.buffer, Constant(0, self.dtype)))
        return self.cropped(block, room, before, back=False), room

    def cropped(
        self, source: Block, target: Block, before: dict[str, int], *, back: bool
    ) -> list[Statement]:
        """Copy where an image and its padded form overlap: the latter begins ``before`` it."""
        image, room = (target, source) if back else (source, target)
        sizes = dict(room.sizes)
        for c in self.axes:
            first = max(0, -before[c])
            end = min(image.sizes[c], room.sizes[c] - before[c])
            sizes[c] = max(0, end - first)
            image, room = image.further(c, first), room.further(c, first + before[c])
        pair = (room, image) if back else (image, room)
        return self.copied(*pair, sizes)

    def room(self, x: Block, letters: str) -> tuple[Block, list[Statement], list[Statement]]:
        """Zeros for all that windows reach, to add to; then what of it lies in the image."""
        sizes = {c: self.need("x", c) for c in self.axes}
        room = self.new({**sizes, **{c: x.sizes[c] for c in letters}}, self.dtype)
        before = {c: p for c, (_, _, p) in self.window.items()}
        zero = Constant(0, self.dtype)
        make: list[Statement] = [Fill(room.buffer, zero)]
        after = []
        if any(sizes[c] - before[c] < x.sizes[c] for c in self.axes):
            after += self.cleared(x, self.axes + letters)
        return room, make, after + self.cropped(room, x, before, back=True)
