"""Lower convolutions: for each image one product whose rows are windows, read where they lie.

What windows reach beyond an image is there as zeros: in a copy of this one image, never of a
batch, and never of a window. Channels are columns; where there is but one in a group (depthwise),
plain loops take the place of the product.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from graphjit.codegen.blocks import Block, Owner
from graphjit.codegen.loops import (
    Address,
    Buffer,
    Constant,
    Fill,
    Let,
    Load,
    Product,
    Statement,
    Store,
    Value,
)
from graphjit.codegen.products import merged, moved, nested
from graphjit.codegen.windows import Windows
from graphjit.ir.graph import Node
from graphjit.ir.table.convolve import OPERANDS
from graphjit.ir.view import View

# Windows gathered over zeros may be this many times those scattered, which read and write the
# image once for each place of the kernel (measured at 5 x 5 places of 8 to 64 channels).
SPARE = 1.4
# A kernel of more bytes than LARGE, with rows of more than a PANEL of columns, is read from a copy
# by panels: rows 2 KiB apart share few sets of a cache. At 512 channels: 1.6 times as fast.
LARGE, PANEL = 1 << 18, 64
PANELS = "#"  # the letter of the axis that counts panels
WRITTEN = 32  # places of a kernel that are written out, so that their sum stays in a register


def convolution(
    node: Node, operands: Sequence[tuple[Buffer, View]], out: Buffer, owner: Owner
) -> list[Statement]:
    """The statements of one convolution, or of one of its cotangents."""
    if not node.aval.size:
        return []
    if 0 in (*operands[0][1].shape, *operands[1][1].shape):
        return [Fill(out, Constant(0, out.dtype))]
    products = Products(node, operands, out, owner)
    return products.run() if products.width > 1 else Loops(node, operands, out, owner).run()


class Products(Windows):
    """By products: channels are columns, windows are rows."""

    def run(self) -> list[Statement]:
        """Loops over groups and images around a product; results that lie otherwise are copied."""
        before: list[Statement] = []
        self.lay_flat("y" if self.of == "w" else "w", before)
        result, scratch = self.blocks[self.of], None
        if not result.flat(self.columns):
            images = "" if self.of == "w" else self.images + self.groups
            rest = "".join(c for c in result.sizes if c not in images + self.columns)
            scratch = self.new({c: result.sizes[c] for c in rest + self.columns}, self.dtype)
            self.blocks[self.of] = scratch
        if self.of == "w":
            before.append(Fill(self.blocks["w"].buffer, Constant(0, self.dtype)))
        self.outer = self.groups + self.images
        names, extents = self.loops(self.outer)
        self.blocks = {r: b.at(names) for r, b in self.blocks.items()}
        body = {"y": self.forward, "x": self.backward, "w": self.weights}[self.of](before)
        after = self.copied(scratch, result.at(names)) if scratch and self.of != "w" else []
        body = nested(list(names.values()), extents, [*body, *after])
        last = self.copied(scratch, result) if scratch and self.of == "w" else []
        return [*before, *body, *last]

    def forward(self, before: list[Statement]) -> list[Statement]:
        """Windows of x times w."""
        make, x = self.padded("x", {c: p for c, (_, _, p) in self.window.items()}, before)
        w, y = self.blocks["w"], self.blocks["y"]
        rows = [(y.sizes[c], s * x.step(c), y.step(c)) for c, (s, _, _) in self.window.items()]
        depth = [(w.sizes[c], d * x.step(c), w.step(c)) for c, (_, d, _) in self.window.items()]
        depth += [(x.sizes[c], x.step(c), w.step(c)) for c in self.inside]
        return [*make, *self.call(x, w, y, rows, depth, add=False)]

    def weights(self, before: list[Statement]) -> list[Statement]:
        """Places of the kernel by channels, summed over the windows of one image."""
        make, x = self.padded("x", {c: p for c, (_, _, p) in self.window.items()}, before)
        w, y = self.blocks["w"], self.blocks["y"]
        rows = [(w.sizes[c], d * x.step(c), w.step(c)) for c, (_, d, _) in self.window.items()]
        rows += [(x.sizes[c], x.step(c), w.step(c)) for c in self.inside]
        depth = [(y.sizes[c], s * x.step(c), y.step(c)) for c, (s, _, _) in self.window.items()]
        return [*make, *self.call(x, y, w, rows, depth, add=True)]

    def backward(self, before: list[Statement]) -> list[Statement]:
        """The cotangent of an image: gathered where windows are neighbours, else scattered."""
        x, w, y = (self.blocks[r] for r in "xwy")
        gathered, scattered = (math.prod(b.sizes[c] for c in self.axes) for b in (x, y))
        strided = any(stride != 1 for stride, _, _ in self.window.values())
        if strided or gathered > SPARE * scattered:
            return self.scattered()
        spans = {c: d * (w.sizes[c] - 1) for c, (_, d, _) in self.window.items()}
        shifts = {c: spans[c] - p for c, (_, _, p) in self.window.items()}
        make, y = self.padded("y", shifts, before)
        rows = [(x.sizes[c], y.step(c), x.step(c)) for c in self.axes]
        depth = [(w.sizes[c], -d * y.step(c), w.step(c)) for c, (_, d, _) in self.window.items()]
        depth += [(y.sizes[c], y.step(c), w.step(c)) for c in self.outside]
        for c in self.axes:
            y = y.further(c, spans[c])
        return [*make, *self.call(y, w, x, rows, depth, add=False)]

    def scattered(self) -> list[Statement]:
        """For each place of the kernel add to what its windows see there."""
        y, w, x = (self.blocks[r] for r in "ywx")
        room, make, after = self.room(x, self.inside)
        names = {c: self.owner.fresh() for c in self.axes}
        places = tuple((n, self.window[c][1] * room.step(c)) for c, n in names.items())
        target = replace(room, terms=room.terms + places)
        rows = [(y.sizes[c], y.step(c), s * room.step(c)) for c, (s, _, _) in self.window.items()]
        depth = [(self.size(c), y.step(c), w.step(c)) for c in self.outside]
        call = self.call(y, w.at(names), target, rows, depth, add=True)
        return [*make, *nested(list(names.values()), [w.sizes[c] for c in names], call), *after]

    def lay_flat(self, role: str, statements: list[Statement]) -> None:
        """Copy what is not as a product reads it: columns side by side, large kernels by panels."""
        block, columns = self.blocks[role], self.columns
        rest = {c: n for c, n in block.sizes.items() if c not in columns}
        if role == "w" and self.width % PANEL == 0 and self.large(block):
            c = columns[0]
            step, count = block.strides[c], self.width // PANEL
            copy = self.new({PANELS: count, **rest, c: PANEL}, self.dtype)
            block = replace(block, sizes={**block.sizes, c: PANEL, PANELS: count},
                            strides={**block.strides, PANELS: PANEL * step})  # fmt: skip
        elif not block.flat(columns):
            copy = self.new({**rest, **{c: block.sizes[c] for c in columns}}, self.dtype)
        else:
            return
        statements += self.copied(block, copy)
        self.blocks[role] = copy

    def large(self, block: Block) -> bool:
        """Whether rows of a kernel lie so far apart that they crowd each other out of caches."""
        size = math.prod(block.sizes.values()) * self.dtype.itemsize
        return len(self.columns) == 1 and self.width > PANEL and size > LARGE

    def call(
        self, a: Block, b: Block, c: Block, rows: list[tuple[int, int, int]],
        depth: list[tuple[int, int, int]], *, add: bool,
    ) -> list[Statement]:  # fmt: skip
        """One product, or one for each panel of the kernel."""
        count, names = b.sizes.get(PANELS, 1), [self.owner.fresh()]
        width, name = self.width // count, self.owner.fresh()
        right = moved(b.address, names, [b.step(PANELS)])
        result = moved(c.address, names, [width if count > 1 else 0])
        product = Product(name, a.address, right, result, width, merged(rows), merged(depth),
                          add, self.node.origin)  # fmt: skip
        return nested(names, [count], [product]) if count > 1 else [product]


class Loops(Windows):
    """By plain loops: one channel in a group, or one result."""

    def run(self) -> list[Statement]:
        """Loops over images around those over everything else."""
        before: list[Statement] = []
        names, extents = self.loops(self.images)
        whole = self.blocks[self.of]
        self.blocks = {r: b.at(names) for r, b in self.blocks.items()}
        body = self.gathered(before) or self.added(before, whole)
        return [*before, *nested(list(names.values()), extents, body)]

    def gathered(self, before: list[Statement]) -> list[Statement] | None:
        """Each result as one sum over the kernel, in a register; None where there is more to it."""
        places = math.prod(self.blocks["w"].sizes[c] for c in self.axes)
        summed = self.inside if self.of == "y" else self.outside
        strided = any(stride != 1 for stride, _, _ in self.window.values())
        many = places > WRITTEN or math.prod(self.size(c) for c in summed) > 1
        if self.of == "w" or many or (self.of == "x" and strided):
            return None
        make, source, steps = self.source(before)
        w, target, kept = self.blocks["w"], self.blocks[self.of], self.groups + self.columns
        strides = {c: s if self.of == "y" else 1 for c, (s, _, _) in self.window.items()}
        loops = [(target.sizes[c], strides[c] * source.step(c), 0, target.step(c))
                 for c in self.axes]  # fmt: skip
        loops += [(self.size(c), source.step(c), w.step(c), target.step(c)) for c in kept]
        names, turns, moves = self.ordered_loops(loops, 3)
        a, b, c = (moved(block.address, names, [m[i] for m in moves])
                   for i, block in enumerate((source, w, target)))  # fmt: skip
        ends = [(a.offset, b.offset)]
        for axis in self.axes:
            ends = [(p + i * steps[axis], q + i * w.step(axis))
                    for p, q in ends for i in range(w.sizes[axis])]  # fmt: skip
        pairs = [(a._replace(offset=p), b._replace(offset=q)) for p, q in ends]
        return [*make, *nested(names, turns, [*self.chain(pairs, c)])]

    def source(self, before: list[Statement]) -> tuple[list[Statement], Block, dict[str, int]]:
        """What is gathered from, and the step from one place of the kernel to the next."""
        if self.of == "y":
            starts = {c: p for c, (_, _, p) in self.window.items()}
            make, block = self.padded("x", starts, before)
            return make, block, {c: d * block.step(c) for c, (_, d, _) in self.window.items()}
        spans = {c: d * (self.blocks["w"].sizes[c] - 1) for c, (_, d, _) in self.window.items()}
        shifts = {c: spans[c] - p for c, (_, _, p) in self.window.items()}
        make, block = self.padded("y", shifts, before)
        for c in self.axes:
            block = block.further(c, spans[c])
        return make, block, {c: -d * block.step(c) for c, (_, d, _) in self.window.items()}

    def chain(self, pairs: Sequence[tuple[Address, Address]], target: Address) -> list[Statement]:
        """The sum of products, stored once."""
        body: list[Statement] = []
        total: Value | None = None
        for a, b in pairs:
            left, right, both, more = (Value(self.owner.fresh(), self.dtype) for _ in range(4))
            origin = self.node.origin
            body += [Load(left, a, origin), Load(right, b, origin)]
            body.append(Let(both, "multiply", (left, right), origin=origin))
            if total is not None:
                body.append(Let(more, "add", (total, both), origin=origin))
            total = both if total is None else more
        return [*body, Store(target, total)] if total is not None else []

    def added(self, before: list[Statement], whole: Block) -> list[Statement]:
        """Each product added to what is there."""
        if self.of == "x":
            room, make, after = self.room(self.blocks["x"], self.groups + self.inside)
            self.blocks["x"] = room
            return [*make, *self.sums(), *after]
        before.append(Fill(whole.buffer, Constant(0, self.dtype)))
        starts = {c: p for c, (_, _, p) in self.window.items()}
        make, self.blocks["x"] = self.padded("x", starts, before)
        return [*make, *self.sums()]

    def ordered_loops(
        self, loops: list[tuple[int, int, int, int]], result: int
    ) -> tuple[list[str], list[int], list[tuple[int, ...]]]:
        """Names, turns and steps; the loop that goes along memory comes last."""
        even = [loop for loop in loops if max(loop[1:]) <= 1]
        last = max(even or loops, key=lambda loop: (loop[0] > 1, loop[result] == 1, loop[0]))
        loops.remove(last)
        loops.append(last)
        return [self.owner.fresh() for _ in loops], [n for n, *_ in loops], [s[1:] for s in loops]

    def sums(self) -> list[Statement]:
        """The loops over windows, places of the kernel and channels."""
        x, w, y = (self.blocks[r] for r in "xwy")
        steps = {"xwy"[i]: i for i in range(3)}
        loops = [(y.sizes[c], s * x.step(c), 0, y.step(c)) for c, (s, _, _) in self.window.items()]
        loops += [(w.sizes[c], d * x.step(c), w.step(c), 0)
                  for c, (_, d, _) in self.window.items()]  # fmt: skip
        loops += [(self.size(c), x.step(c), w.step(c), y.step(c))
                  for c in self.groups + self.inside + self.outside]  # fmt: skip
        index = steps[self.of]
        names, turns, moves = self.ordered_loops(loops, 1 + index)
        places = {r: moved(self.blocks[r].address, names, [m[i] for m in moves])
                  for r, i in steps.items()}  # fmt: skip
        return nested(
            names[:-1], turns[:-1], self.turn(places, names[-1], turns[-1], moves[-1][index])
        )

    def turn(
        self, places: dict[str, Address], name: str, extent: int, step: int
    ) -> list[Statement]:
        """The innermost loop: into one sum where the result stays, else along the result."""
        origin, dtype = self.node.origin, self.dtype
        left, right, both, total = (Value(self.owner.fresh(), dtype) for _ in range(4))
        first, second = (places[r] for r in OPERANDS[self.of])
        body: list[Statement] = [
            Load(left, first, origin),
            Load(right, second, origin),
            Let(both, "multiply", (left, right), origin=origin),
        ]
        store = Store(places[self.of], both if step else total, "add", origin)
        if step:
            return nested([name], [extent], [*body, store])
        start = Let(total, "copy", (Constant(0, dtype),))
        body.append(Let(total, "add", (total, both), origin=origin))
        return [start, *nested([name], [extent], body), store]
