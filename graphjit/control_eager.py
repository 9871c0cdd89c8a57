"""Control flow outside a trace: NumPy runs it, until a native program would have paid off.

Most loops that are called by themselves are over before they could be compiled. So NumPy runs
them; once it has spent on a function about what compiling costs, or would spend it on one call, the
program is compiled and kept. So the price is never much more than twice that of the better choice.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphjit.ir.evaluate import evaluate
from graphjit.ir.graph import Graph, Node
from graphjit.tracing.trace import Traced, trace_call
from graphjit.tracing.trees import Arguments
from graphjit.transforms.decorators import jit
from graphjit.transforms.known import known
from graphjit.transforms.specialise import conform

PATIENCE = 0.05  # seconds: about what compiling a small loop takes
STEP = 3e-6  # seconds for one operation of NumPy on little data


def at_once(
    make: Callable[..., Callable[..., Any]],
    functions: tuple[Callable[..., Any], ...],
    options: Any,
    *args: Any,
) -> Any:
    """Call ``make(functions, options)`` on the arguments, by NumPy or as a native program.

    What was learnt and compiled is kept for the functions that were used last.
    """
    return known(eager, functions, (make, options))(*args)


def eager(functions: tuple[Callable[..., Any], ...], options: tuple[Any, Any]) -> Eager:
    """For ``known``, which is given one thing to make something of."""
    make, rest = options
    return Eager(make(functions, rest))


class SlowError(Exception):
    """NumPy has taken as long as compiling would have."""


class Eager:
    """A function that NumPy runs until compiling it pays off.

    Attributes:
        spent: The seconds that NumPy took so far.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function, self.spent = function, 0.0
        self.compiled = jit(function)

    def __call__(self, *args: Any) -> Any:
        """What the function returns."""
        started = time.perf_counter()
        if self.spent < PATIENCE:
            try:
                return interpreted(self.function, args, started + PATIENCE)
            except (SlowError, IndexError):
                pass  # an index out of range: the program's own error names the line
            finally:
                self.spent += time.perf_counter() - started
        return self.compiled(*args)


def interpreted(function: Callable[..., Any], args: tuple[Any, ...], deadline: float) -> Any:
    """Trace the function, and run its graph by NumPy.

    Raises:
        SlowError: it takes longer than until the deadline, or is sure to.
    """
    traced = trace_call(Arguments(function, args, {}))
    graph = traced.graph
    if time.perf_counter() + STEP * operations(graph) > deadline:
        raise SlowError
    loops = [node for node in graph.nodes if node.op == "while"]
    values = entering(traced)
    found = rounds(graph, loops[0], values, deadline) if loops else evaluate(graph, *values)
    return traced.outputs.rebuilt([np.array(value)[()] for value in found])


def entering(traced: Traced) -> list[Any]:
    """The values of the graph's inputs."""
    arguments = traced.arguments
    values = [*(arguments.leaves[i] for i in arguments.traced), *traced.captured]
    avals = traced.graph.avals(traced.graph.inputs)
    return [conform(value, a.shape, a.dtype) for value, a in zip(values, avals, strict=True)]


def operations(graph: Graph) -> int:
    """How many operations run, where each loop without a known length makes one round."""
    inner = (
        node.params.get("length", 1) * sum(map(operations, node.bodies)) for node in graph.nodes
    )
    return int(len(graph) + sum(inner))


def rounds(graph: Graph, loop: Node, values: Sequence[Any], deadline: float) -> list[Any]:
    """The outputs of a graph that ends in a while loop, each round looking at the clock.

    Raises:
        SlowError: the deadline is over.
    """
    params = loop.params
    start = Graph(graph.nodes[: loop.id], graph.inputs, loop.inputs)
    operands = evaluate(start, *values)
    tests, first = params["tests"], params["tests"] + params["consts"]
    state = operands[first:]
    while bool(evaluate(params["test"], *operands[:tests], *state)[0]):
        state = evaluate(params["step"], *operands[tests:first], *state)
        if time.perf_counter() > deadline:
            raise SlowError
    return [state[graph.nodes[i].params["index"]] for i in graph.outputs]
