"""The training step as a graph, and the native loop compiled around it."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import optree

from graphjit.codegen.build import compiled, launcher, runtime
from graphjit.codegen.loops import Buffer, LoopProgram
from graphjit.codegen.lower import lower
from graphjit.codegen.render_loop import Epoch, loop_arguments, merged, render_loop
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
from graphjit.train.optimizers import Optimizer, apply_updates, is_float
from graphjit.transforms.decorators import value_and_grad


@dataclass(frozen=True)
class Setup:
    """What a loop is compiled for.

    ``data`` are arrays with one example a row; ``epoch`` cuts them into batches.
    """

    loss: Callable[..., Any]
    optimizer: Optimizer
    params: Any
    state: Any
    data: tuple[Any, ...]
    epoch: Epoch

    @property
    def gathers(self) -> bool:
        """Whether batches are picked from the data, rather than all used at once."""
        return self.epoch.batch != self.epoch.examples


def hyperparameters(optimizer: Optimizer) -> dict[str, float]:
    """The optimizer's float fields: arguments of the compiled step."""
    fields = dataclasses.fields(optimizer)  # type: ignore[arg-type]
    values = {f.name: getattr(optimizer, f.name) for f in fields}
    return {name: v for name, v in values.items() if isinstance(v, float)}


def step_function(setup: Setup) -> Callable[..., Any]:
    """One step as a NumPy function: batch, loss and gradient, update."""

    def step(params: Any, state: Any, hyper: dict[str, Any], data: Any, index: Any) -> Any:
        batch = data if index is None else tuple(pick(a, index) for a in data)
        loss = LossOfFloats(setup.loss, params)
        value, slopes = value_and_grad(loss)(loss.trained, *batch)
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


class Loop:
    """A compiled training loop for one setup.

    Attributes:
        source: The generated text.
        seconds: What tracing and compiling took.
        graphs: The optimised graphs of a full batch's step, and of the last, smaller one's.
    """

    def __init__(self, setup: Setup) -> None:
        start = time.perf_counter()
        self.epoch, self.jit = setup.epoch, current().jit
        sizes = [setup.epoch.batch, *([setup.epoch.rest] if setup.epoch.rest else [])]
        traces = [traced_step(setup, size) for size in sizes]
        self.captured = traces[0].captured
        self.guards = guards(setup, self.captured)
        self.graphs = [run(t.graph, PROGRAM) for t in traces]
        programs: list[LoopProgram] = []
        for graph, traced in zip(self.graphs, traces, strict=True):
            after = programs[-1] if programs else None
            programs.append(lower_step(graph, traced, setup, after))
        self.program = merged(programs[0], programs[1] if len(programs) > 1 else None)
        self.programs = programs
        title = f"training loop of {getattr(setup.loss, '__name__', 'loss')}"
        rest = programs[1] if len(programs) > 1 else None
        self.source = render_loop(programs[0], rest, self.epoch, title, runtime(jit=self.jit))
        self.call = launcher(compiled(self.source, title), jit=self.jit)
        self.order = loop_arguments(self.program)
        self.seconds = time.perf_counter() - start

    def changed(self) -> str:
        """What the trace relied on and is no longer so, or an empty string."""
        return next(filter(None, (g.changed() for g in self.guards)), "")

    def arguments(self, values: dict[str, Any]) -> tuple[Any, ...]:
        """The tuple for ``entry``: given arrays by name, constants, fresh scratch for the rest."""
        constants = {b.name: np.ascontiguousarray(v) for b, v in self.program.constants}
        known = {**constants, **values}
        return tuple(
            known[b.name] if b.name in known else np.zeros(b.shape or (1,), b.dtype)
            for b in self.order
        )


def guards(setup: Setup, captured: Sequence[Any]) -> list[Guards]:
    """Guards of what the loss, and a schedule of the optimizer, read beside their arguments."""
    schedules = [v for v in vars(setup.optimizer).values() if callable(v)]
    found = [Guards(function) for function in (setup.loss, *schedules)]
    known = {id(a) for g in found for a in g.arrays.values()}
    for guard in found:
        guard.freeze(list(captured), computed=any(id(a) not in known for a in captured))
    return found


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


def carried(setup: Setup) -> list[Any]:
    """The leaves that a step reads and replaces: trained parameters, optimizer state."""
    leaves, _ = flatten((setup.params, setup.state))
    return [leaf for leaf in leaves if is_float(leaf) or isinstance(leaf, np.ndarray)]


def lower_step(
    graph: Graph, traced: Traced, setup: Setup, after: LoopProgram | None
) -> LoopProgram:
    """Lower a step with named buffers: parameters and state are overwritten in place."""
    inputs = input_buffers(graph, traced, setup)
    aval = graph.nodes[graph.outputs[0]].aval
    losses = Buffer("losses", 1, aval.dtype, "output", (1,), start="row")
    donated = {1 + i: i for i in range(len(carried(setup)))}
    labels = [traced.arguments.names[i] for i in traced.arguments.traced]
    return lower(graph, inputs, {0: losses}, donated, after, labels)


def input_buffers(graph: Graph, traced: Traced, setup: Setup) -> Sequence[Buffer]:
    """One buffer an input, named for what it is; scalars are arrays of one element."""
    captured = len(graph.inputs) - len(traced.captured)
    names = [f"arg{i}" for i in range(captured)]
    names += [f"captured{i}" for i in range(len(traced.captured))]
    if setup.gathers:
        names[captured - 1] = "order"
    avals = graph.avals(graph.inputs)
    starts = ["at" if name == "order" else "" for name in names]
    return [
        Buffer(name, a.size, a.dtype, "input", a.shape or (1,), start)
        for name, a, start in zip(names, avals, starts, strict=True)
    ]
