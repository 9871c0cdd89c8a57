"""Render a training loop: step programs inside one native loop over batches."""

from __future__ import annotations

import numpy as np

from graphjit.codegen.epoch import CONVERGED, NOT_FINITE, Epoch
from graphjit.codegen.loops import Buffer, LoopProgram
from graphjit.codegen.plan import argument_order
from graphjit.codegen.render_numba import Writer

CONTROL = Buffer("control", 5, np.dtype(np.int64), "output", (5,))
MONITOR = Buffer("monitor", 3, np.dtype(np.float64), "output", (3,))


def merged(full: LoopProgram, rest: LoopProgram | None) -> LoopProgram:
    """One program's worth of buffers for both; the kernels stay with their own."""
    if rest is None:
        return full
    own = {b.name for b in full.outputs}
    work = {d: max(full.work.get(d, 0), rest.work.get(d, 0)) for d in {**full.work, **rest.work}}
    return LoopProgram(
        full.kernels + rest.kernels,
        full.inputs,
        full.outputs + [b for b in rest.outputs if b.name not in own],
        full.constants + rest.constants,
        work,
        {**full.offsets, **rest.offsets},
        {**full.aliases, **rest.aliases},
        rest.checks,
        rest.names,
        joined=full.joined,
    )


def render_loop(
    full: LoopProgram, rest: LoopProgram | None, epoch: Epoch, title: str, runtime: str
) -> str:
    """The text of a module whose ``run(args)`` trains from one step to another.

    ``args`` are those of the merged program, then ``control`` and ``monitor``: the first step,
    the step to stop before, the epoch at which ``order`` begins, the steps done, the reason to
    stop; the sum of losses in this epoch, the last epoch's mean loss, the tolerance.
    """
    writer = LoopWriter(merged(full, rest))
    return writer.loop(full, rest, epoch, title, runtime)


def loop_arguments(program: LoopProgram) -> list[Buffer]:
    """The buffers in the order in which the loop takes them."""
    return [*argument_order(program), CONTROL, MONITOR]


class LoopWriter(Writer):
    """Writes the loop around the kernels of its step programs."""

    def buffers(self) -> list[Buffer]:
        """What the loop takes, in order."""
        return loop_arguments(self.program)

    def loop(
        self, full: LoopProgram, rest: LoopProgram | None, epoch: Epoch, title: str, runtime: str
    ) -> str:
        """The whole text."""
        self.header(title, runtime)
        self.lines.append("")
        self.put(1, "for step in range(control[0], control[1]):")
        self.put(2, "row = step - control[0]", "where this step's loss goes")
        self.put(2, f"turn = step % {epoch.steps}", "the step within its epoch")
        start = f"(step // {epoch.steps} - control[2]) * {epoch.examples}"
        self.put(2, f"at = {start} + turn * {epoch.batch}", "where its batch begins in order")
        if rest is None:
            self.kernels(full, 2)
            self.put(2, f"count = {epoch.batch}")
        else:
            self.put(2, f"if turn < {epoch.full}:")
            self.kernels(full, 3)
            self.put(3, f"count = {epoch.batch}")
            self.put(2, "else:", "the last, smaller batch")
            self.kernels(rest, 3)
            self.put(3, f"count = {epoch.rest}")
        self.monitor(epoch)
        return "\n".join(self.lines) + "\n"

    def kernels(self, program: LoopProgram, depth: int) -> None:
        """The kernels of one step."""
        for number, kernel in enumerate(program.kernels):
            self.kernel(number, kernel, depth)
        self.lines.append("")

    def monitor(self, epoch: Epoch) -> None:
        """Stop where the loss is no number, or where an epoch's mean has settled."""
        for depth, code in (
            (2, "loss = np.float64(losses[row])"),
            (2, "control[3] = step + 1"),
            (2, "if not loss - loss == 0.0:"),
            (3, f"control[4] = {NOT_FINITE}"),
            (3, "break"),
            (2, "monitor[0] = monitor[0] + loss * count"),
            (2, f"if turn == {epoch.steps - 1}:"),
            (3, f"mean = monitor[0] / {epoch.examples}"),
            (3, "settled = abs(monitor[1] - mean) <= monitor[2]"),
            (3, "monitor[0] = 0.0"),
            (3, "monitor[1] = mean"),
            (3, "if settled:"),
            (4, f"control[4] = {CONVERGED}"),
            (4, "break"),
        ):
            self.put(depth, code)
