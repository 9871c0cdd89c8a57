"""Lower a fused graph to a loop program."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

from graphjit.codegen.buffers import Buffers, Inlined
from graphjit.codegen.heads import heads
from graphjit.codegen.loops import (
    Buffer,
    Constant,
    Fill,
    Index,
    Kernel,
    Load,
    LoopProgram,
    Statement,
    Store,
    Value,
)
from graphjit.codegen.lower_contract import ContractLowering
from graphjit.codegen.lower_fused import FusedLowering
from graphjit.codegen.nest import Axes, Nest, address
from graphjit.codegen.plan import arena, block_of, plan
from graphjit.codegen.stages import stages
from graphjit.codegen.tails import tails
from graphjit.errors import CompileError
from graphjit.ir.aval import Aval
from graphjit.ir.graph import Graph, Node
from graphjit.ir.primitive import TABLE
from graphjit.ir.view import View, contiguous

Read = tuple[Buffer, View]
CONTROL = frozenset({"scan", "while", "cond", "unwind", "checkpoint"})


def lower(
    graph: Graph,
    inputs: Sequence[Buffer] = (),
    outputs: dict[int, Buffer] | None = None,
    donated: dict[int, int] | None = None,
    after: LoopProgram | None = None,
    labels: Sequence[str] = (),
    foreign: Collection[str] = (),
    *,
    copied: bool = True,
    joined: bool = False,
) -> LoopProgram:
    """The loop program of a graph whose maps and reductions are in ``fused`` nodes.

    Args:
        graph: As the fuse pass leaves it.
        inputs: Buffers of the inputs, by position; others are named ``in0``, ``in1``, ...
        outputs: Buffers of some outputs, by position.
        donated: Outputs (by position) that are to be written over inputs (by position). The
            program stays right: where the input is still read later, the output is copied.
        after: A program that will stand in one text with this one: names go on from its own.
        foreign: Names of given buffers that have their place in another program.
        copied: Whether outputs that cannot be written over their input in place are copied there.
        joined: Whether inputs that are overwritten may have to lie side by side: those of this
            program, or of ``after`` if that is given.
        labels: What the user calls the inputs, by position, for the comments.

    Returns:
        Kernels, buffers and a memory plan.
    """
    lowering = Lowering(graph, inputs, outputs or {}, after or LoopProgram([], [], []))
    lowering.label(labels)
    program = lowering.run()
    if any(kernel.title == "contract" for kernel in program.kernels):
        from graphjit.codegen.picked import pick
        from graphjit.codegen.share import share  # whose parts take 2 ms to load

        share(program, foreign)
        pick(program, foreign)
    heads(program)
    tails(program)
    stages(program)
    last: list[Kernel] = []
    if joined and donated:
        from graphjit.codegen.together import together  # for training

        last = together(program, donated, after)
    plan(program, donated or {}, foreign, copied=copied, last=last)
    return program


class Lowering(Buffers):
    """Walks the graph once; every node that is no view becomes a kernel writing buffers."""

    def run(self) -> LoopProgram:
        """The program, but for its memory plan."""
        for node in self.graph.nodes:
            if node.op == "item" or self._is_view(node):
                continue
            if node.op == "fused":
                self._fused(node)
            elif node.op in CONTROL:
                self._control(node)
            elif node.op != "input":
                self.target(node.id)
                if statements := self._single(node):
                    self._kernel(node, statements)
        self._copy_outputs()
        self.program.names = self.count
        return self.program

    # -- values -------------------------------------------------------------------------------

    def _is_view(self, node: Node) -> bool:
        return self.views[node.id][0] != node.id or node.op in ("constant", "iota")

    def read(self, ident: int) -> Read:
        """The buffer and view that a node's value is read from."""
        base, view = self.views[ident]
        node = self.graph.nodes[base]
        if node.op == "constant":
            return self.constant(node.params["value"]), view
        if node.op == "iota":
            return self._iota(node, view), contiguous(view.shape)
        return self.buffers[base], view

    def _iota(self, node: Node, view: View) -> Buffer:
        """An index written out, where something other than a loop reads it."""
        buffer = self._work(Aval(view.shape, node.aval.dtype))
        self._kernel(node, self._walk(view.shape, view, buffer))
        return buffer

    # -- kernels ------------------------------------------------------------------------------

    def _kernel(self, node: Node, statements: list[Statement], title: str = "") -> None:
        self.program.kernels.append(Kernel(title or node.op, statements, node.origin))

    def _fused(self, node: Node) -> None:
        body: Graph = node.params["body"]
        writes = self.targets(node)
        reads = [self.read(i)[0] for i in node.inputs]
        lowering = FusedLowering(node, reads, writes, self)
        ops = [n.op for n in body.nodes if TABLE[n.op].kind not in ("source", "layout")]
        self._kernel(node, lowering.run(), "fused " + ", ".join(dict.fromkeys(ops)))

    def _control(self, node: Node) -> None:
        from graphjit.codegen.lower_unwind import CONTROL as RULES  # for those who need them

        self._kernel(node, RULES[node.op](self, node))

    def whole(self, ident: int) -> Buffer:
        """A node's value in C order, copied if it is a view of something else.

        The beginning of an input is one itself: nothing is written over a part of it.
        """
        buffer, view = self.read(ident)
        size = math.prod(view.shape)
        if view.contiguous and size == buffer.size:
            return buffer
        if view.contiguous and buffer.role == "input":
            return buffer._replace(size=size, shape=view.shape)
        return self._contiguous((buffer, view), list(range(len(view.shape))))

    def copied(self, source: Buffer, target: Buffer) -> list[Statement]:
        """A copy of a whole buffer."""
        flat = contiguous((source.size,))
        return self._walk(flat.shape, flat, target, source)

    def inlined(
        self,
        graph: Graph,
        inputs: Sequence[Buffer],
        outputs: dict[int, Buffer],
        carried: dict[int, int],
    ) -> Inlined:
        """A graph that a node carries, on buffers of this program.

        Args:
            graph: Fused already.
            inputs: One buffer an input.
            outputs: Where outputs go, by position.
            carried: Outputs that overwrite inputs, by position.
        """
        results = {p: self._work(graph.nodes[i].aval) for p, i in enumerate(graph.outputs)}
        results.update(outputs)
        own, program = {b.name for b in (*inputs, *outputs.values())}, self.program
        before = LoopProgram(
            [],
            [],
            [],
            [*self.after.constants, *program.constants],
            checks=list(program.checks),
            names=self.count,
        )
        sub = lower(graph, inputs, results, carried, before, foreign=own)
        self.count, program.checks = sub.names, sub.checks
        self.constant_count += len(sub.constants)
        program.constants += sub.constants
        program.aliases.update(sub.aliases)
        uses = []
        if sub.work:
            dtype = next(iter(sub.work))
            uses.append(self.scratch(arena(sub) // dtype.itemsize, dtype))
            program.blocks.append((uses[0], block_of(sub)))
        return Inlined([s for k in sub.kernels for s in k.statements], tuple(uses))

    def _single(self, node: Node) -> list[Statement]:
        """The statements of a node that is no loop group."""
        out = self.buffers[node.id]
        if node.op == "contract":
            a, b = (self.read(i) for i in node.inputs)
            helpers = self._contiguous, self.fresh, self.scratch
            return ContractLowering(node, a, b, out, *helpers).run()
        if node.op == "concatenate":
            return self._concatenate(node)
        if node.op == "convolve":
            from graphjit.codegen.lower_convolve import convolution  # for those who need it

            return convolution(node, [self.read(i) for i in node.inputs], out, self)
        if node.op in ("cumsum", "recurrence"):
            from graphjit.codegen.lower_scan import scan  # for those who need it

            return scan(node, [self.read(i) for i in node.inputs], out, self.fresh)
        if node.op in ("argmax", "argmin"):
            from graphjit.codegen.lower_scan import locate  # for those who need it

            return locate(node, self.read(node.inputs[0]), out, self.fresh)
        if node.op in ("reshape", "broadcast", "transpose", "slice"):
            buffer, view = self.read(node.inputs[0])
            return self._walk(view.shape, view, out, buffer)
        raise CompileError(
            f"{node.op} cannot be compiled", origin=node.origin, operands=(node.aval,)
        )

    def _walk(
        self,
        shape: tuple[int, ...],
        view: View,
        out: Buffer,
        source: Buffer | None = None,
        target: View | None = None,
    ) -> list[Statement]:
        """Copy a view of ``source`` element by element; without one, write the view's addresses."""
        space = tuple(n for n in shape if n != 1)
        flat, whole = view.squeezed(), (target or contiguous(shape)).squeezed()
        axes = Axes.of(space, None, [flat.strides, whole.strides])
        nest, value = Nest(axes, 0), Value(self.fresh(), out.dtype)
        place = address(out, whole, axes, None)
        if source is None:
            nest.put(Index(value, flat.offset, axes.terms(flat.strides)), len(axes.runs), 0)
        else:
            nest.put(Load(value, address(source, flat, axes, None)), len(axes.runs), 0)
        nest.put(Store(place, value), len(axes.runs), 0)
        return nest.statements()

    def _contiguous(self, read: Read, axes: list[int]) -> Buffer:
        """A copy of an operand with its axes in another order."""
        buffer, view = read
        turned = View(
            tuple(view.shape[a] for a in axes), tuple(view.strides[a] for a in axes), view.offset
        )
        out = self.scratch(math.prod(turned.shape), buffer.dtype, turned.shape)
        self.program.kernels.append(Kernel("copy", self._walk(turned.shape, turned, out, buffer)))
        return out

    def _concatenate(self, node: Node) -> list[Statement]:
        """Copy each operand that is not there yet to its stretch of the result."""
        (out, whole), axis, start = self.target(node.id), node.params["axis"], 0
        statements: list[Statement] = []
        for operand in node.inputs:
            buffer, view = self.read(operand)
            if operand not in self.parts:
                place = whole.offset + start * whole.strides[axis]
                target = View(view.shape, whole.strides, place)
                statements += self._walk(view.shape, view, out, buffer, target)
            start += view.shape[axis]
        return statements

    def _copy_outputs(self) -> None:
        """Outputs that are views, inputs, constants, or the same value a second time."""
        for position, ident in enumerate(self.graph.outputs):
            base, view = self.views[ident]
            if self.homes.get(base) == position and view.contiguous:
                continue
            node, out = self.graph.nodes[base], self.outputs[position]
            if node.op == "constant" and node.aval.size == 1:
                value = Constant(node.params["value"].reshape(-1)[0].item(), out.dtype)
                self._kernel(self.graph.nodes[ident], [Fill(out, value)], "fill")
            else:
                buffer, view = self.read(ident)
                self._kernel(
                    self.graph.nodes[ident], self._walk(view.shape, view, out, buffer), "copy"
                )
