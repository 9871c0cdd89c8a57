"""PyTensor with its default linker."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
from peers.formulas import written_for
from peers.interface import Stopwatch, leaves, mapped
from peers.problems import Problem


def scan(step: Any, init: Any, xs: Any, length: int | None = None) -> Any:
    """PyTensor's scan in the form of JAX's, for a carry of arrays and one output or none."""
    carry = init if isinstance(init, tuple) else (init,)
    given = [] if xs is None else [xs]

    def inner(*values: Any) -> Any:
        x, state = (values[0], values[1:]) if given else (None, values)
        new, out = step(tuple(state) if isinstance(init, tuple) else state[0], x)
        return [*leaves(new), *([] if out is None else [out])]

    info = [*carry, *([] if xs is None else [None])]
    traces = pytensor.scan(
        inner, sequences=given, outputs_info=info, n_steps=length, return_updates=False
    )
    traces = leaves(traces) if isinstance(traces, list | tuple) else [traces]
    last = tuple(trace[-1] for trace in traces[: len(carry)])
    return (last if isinstance(init, tuple) else last[0]), (traces[-1] if given else None)


def symbol(value: Any) -> Any:
    """An input of the value's form."""
    array = np.asarray(value)
    return pt.tensor(dtype=array.dtype, shape=array.shape)


class Gradient:
    """A graph and ``pytensor.function`` of it."""

    def __init__(self, function: Any, argnums: tuple[int, ...], args: tuple[Any, ...]) -> None:
        self.loss, self.argnums, self.compiled = function, argnums, None
        self.args = args
        self.inputs = [np.asarray(leaf) for leaf in leaves(args)]

    def compile(self) -> dict[str, float]:
        """Build the graph, then compile it."""
        watch = Stopwatch()
        symbols = mapped(symbol, self.args)
        wanted = [leaf for i in self.argnums for leaf in leaves(symbols[i])]
        loss = self.loss(*symbols)
        outputs = [loss, *pytensor.grad(loss, wanted)]
        watch.lap("trace")
        self.compiled = pytensor.function(leaves(symbols), outputs, on_unused_input="ignore")
        watch.lap("compile")
        return watch.seconds

    def run(self) -> Any:
        """Call the function."""
        if self.compiled is None:
            self.compile()
        return self.compiled(*self.inputs)

    def arrays(self, result: Any) -> list[np.ndarray]:
        """They are NumPy's."""
        return [np.asarray(leaf) for leaf in result]


class PyTensor:
    """The workloads written with ``pytensor.tensor``."""

    name = "PyTensor"

    def warm_up(self) -> None:
        """One trivial function."""
        Gradient(lambda x: pt.sum(x * x), (0,), (np.ones(3),)).run()

    def build(self, problem: Problem, args: tuple[Any, ...]) -> Gradient:
        """Every workload is supported, though not all in time."""
        return Gradient(written_for(pt, scan)[problem.function], problem.argnums, args)


PEERS = {"": PyTensor}
