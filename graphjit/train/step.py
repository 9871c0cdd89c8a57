"""The training step as a graph, and the native loop compiled around it."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import optree

from graphjit.codegen.build import launcher, native, runtime
from graphjit.codegen.loops import Ahead, Buffer, LoopProgram
from graphjit.codegen.lower import lower
from graphjit.codegen.picked import following
from graphjit.codegen.program import Kept, on_pack
from graphjit.codegen.render_llvm_loop import render_loop as render_llvm_loop
from graphjit.codegen.render_loop import loop_arguments, merged, render_loop
from graphjit.errors import DTypeError
from graphjit.flags import current
from graphjit.ir.dispatch import emit
from graphjit.ir.graph import Graph
from graphjit.ir.symbol import Symbol
from graphjit.passes.pipeline import PROGRAM, run
from graphjit.tracing.guards import Guards
from graphjit.tracing.substitute import substituted
from graphjit.tracing.trace import Traced, trace
from graphjit.tracing.trees import flatten
from graphjit.train.loop import Memory, NativeLoop, Piece
from graphjit.train.optimizers import apply_updates, is_float
from graphjit.train.setup import Setup, carried, guards_of, hyperparameters
from graphjit.transforms.decorators import value_and_grad


def step_function(setup: Setup) -> Callable[..., Any]:
    """One step as a NumPy function: batch, loss and gradient, update."""

    def step(params: Any, state: Any, hyper: dict[str, Any], data: Any, index: Any) -> Any:
        batch = data if index is None else tuple(pick(a, index) for a in data)
        loss = LossOfFloats(setup.loss, params)
        value, slopes = value_and_grad(loss, budget=setup.budget)(loss.trained, *batch)
        gradients = loss.tree(slopes)
        optimizer = dataclasses.replace(setup.optimizer, **hyper)  # type: ignore[type-var]
        updates, after = optimizer.update(gradients, state, params)
        return value, apply_updates(params, updates), after

    return step


class LossOfFloats:
    """The loss as a function of the leaves that are trained; the others stay as they are."""

    def __init__(self, loss: Callable[..., Any], params: Any) -> None:
        self.__wrapped__, self.loss = loss, substituted(loss)
        self.leaves, self.spec = flatten(params)
        self.trained = [leaf for leaf in self.leaves if is_float(leaf)]

    def __call__(self, trained: Any, *batch: Any) -> Any:
        """The loss of the batch."""
        return self.loss(self.tree(trained), *batch)

    def tree(self, trained: Any) -> Any:
        """The parameters' container with these in place of the trained leaves."""
        values = iter(trained)
        leaves = [next(values) if is_float(leaf) else leaf for leaf in self.leaves]
        return optree.tree_unflatten(self.spec, leaves)


def pick(array: Any, index: Symbol) -> Any:
    """The rows of a batch; the index is known to be in range."""
    return emit("gather", array, index, axes=(0,)) if isinstance(array, Symbol) else array


class Steps:
    """The programs of one step: on a full batch, and on the last, smaller one.

    Attributes:
        captured: The arrays behind the hidden inputs.
        exposed: Arrays whose elements the trace may have read in Python.
        graphs: The optimised graphs.
        programs: Their loop programs.
        program: One program's worth of buffers for both.
    """

    def __init__(self, setup: Setup) -> None:
        self.epoch, self.title, self.jit = setup.epoch, setup.title, current().jit
        sizes = [setup.epoch.batch, *([setup.epoch.rest] if setup.epoch.rest else [])]
        traces = [traced_step(setup, size) for size in sizes]
        self.captured = traces[0].captured
        self.exposed = exposed(setup, self.captured)
        self.graphs = [run(t.graph, PROGRAM) for t in traces]
        self.programs: list[LoopProgram] = []
        for graph, traced in zip(self.graphs, traces, strict=True):
            after = self.programs[-1] if self.programs else None
            self.programs.append(lower_step(graph, traced, setup, after))
        self.full, self.rest = self.programs[0], self.programs[1] if setup.epoch.rest else None
        self.program = merged(self.full, self.rest)

    @cached_property
    def source(self) -> str:
        """The loop as readable Python text, whatever its machine code is made from."""
        text = runtime(jit=self.jit)
        return render_loop(self.full, self.rest, self.epoch, self.title, text)

    def compiled(self) -> tuple[Callable[[tuple[Any, ...]], None], Kept | None]:
        """What runs the loop, and where its object code is kept."""
        if self.jit and current().renderer == "llvm":
            code, kept = native(render_llvm_loop(self.full, self.rest, self.epoch, self.title))
            return on_pack(code), kept
        from graphjit.codegen.texts import compiled  # which only programs of Python text need

        return launcher(compiled(self.source, self.title), jit=self.jit), None


class Loop(NativeLoop):
    """A training loop that was compiled just now.

    Attributes:
        kept: Where its object code is on disk, and what that calls; None where it is not.
    """

    def __init__(self, setup: Setup) -> None:
        start = time.perf_counter()
        self.steps = steps = Steps(setup)
        call, self.kept = steps.compiled()
        guards = guards_of(setup, steps.exposed)
        super().__init__(memory_of(steps.program), steps.captured, guards, call)
        self.seconds = time.perf_counter() - start

    def text(self, setup: Setup) -> str:  # noqa: ARG002 - it was rendered for this one
        """The generated text."""
        return self.steps.source


def memory_of(program: LoopProgram) -> Memory:
    """What a loop takes."""
    order = [Piece(b.name, b.shape, b.dtype) for b in loop_arguments(program)]
    constants = {b.name: np.ascontiguousarray(v) for b, v in program.constants}
    joined = {b.name: places for b, places in program.joined if b.role == "input"}
    return Memory(order, constants, tuple(program.checks), joined)


def exposed(setup: Setup, captured: Sequence[Any]) -> list[Any]:
    """The arrays whose elements the trace may have read in Python."""
    found = [Guards(function) for function in setup.functions]
    known = {id(a) for g in found for a in g.arrays.values()}
    computed = any(id(a) not in known for a in captured)
    return [g.arrays[name] for g in found for name in g.exposed(list(captured), computed=computed)]


def traced_step(setup: Setup, size: int) -> Traced:
    """Trace one step on a batch of ``size`` examples."""
    index = np.zeros(size, np.int64) if setup.gathers else None
    hyper = hyperparameters(setup.optimizer)
    traced = trace(step_function(setup), (setup.params, setup.state, hyper, setup.data, index))
    check_kept(traced, setup)
    return traced


def check_kept(traced: Traced, setup: Setup) -> None:
    """The step must give parameters and state back in the dtypes and shapes they came in.

    Raises:
        DTypeError: naming the aval that changed, a float32 that became float64 say.
    """
    kept = carried(setup)
    before = traced.graph.avals(traced.graph.inputs[: len(kept)])
    after = traced.graph.avals(traced.graph.outputs[1:])
    if before != after:
        wrong = next((a, b) for a, b in zip(before, after, strict=True) if a != b)
        raise DTypeError(
            "the training step changes the form of a parameter or of the optimizer's state",
            operands=wrong,
            hint="Let the optimizer's update keep each leaf's shape and dtype.",
        )


def lower_step(
    graph: Graph, traced: Traced, setup: Setup, after: LoopProgram | None
) -> LoopProgram:
    """Lower a step with named buffers: parameters and state are overwritten in place."""
    inputs = input_buffers(graph, traced, setup)
    aval = graph.nodes[graph.outputs[0]].aval
    losses = Buffer("losses", 1, aval.dtype, "output", (1,), start=(("row", 1),))
    donated = {1 + i: i for i in range(len(carried(setup)))}
    labels = [traced.arguments.names[i] for i in traced.arguments.traced]
    joined = "together" not in current().skip
    program = lower(graph, inputs, {0: losses}, donated, after, labels, joined=joined)
    for kernel in program.kernels:
        following(kernel.statements, Ahead("at", setup.epoch.batch))
    return program


def input_buffers(graph: Graph, traced: Traced, setup: Setup) -> Sequence[Buffer]:
    """One buffer an input, named for what it is; scalars are arrays of one element."""
    captured = len(graph.inputs) - len(traced.captured)
    names = [f"arg{i}" for i in range(captured)]
    names += [f"captured{i}" for i in range(len(traced.captured))]
    if setup.gathers:
        names[captured - 1] = "order"
    avals = graph.avals(graph.inputs)
    starts = [(("at", 1),) if name == "order" else () for name in names]
    return [
        Buffer(name, a.size, a.dtype, "input", a.shape or (1,), start)
        for name, a, start in zip(names, avals, starts, strict=True)
    ]
