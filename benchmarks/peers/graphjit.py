"""GraphJIT itself; the environment says which renderer."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
from peers import formulas
from peers.interface import numpy_leaves
from peers.problems import Problem

import graphjit
from graphjit.flags import current


class Gradient:
    """The value and gradients by one compiled function; compiling is part of its first call."""

    def __init__(self, function: Any, argnums: tuple[int, ...], args: tuple[Any, ...]) -> None:
        single = argnums[0] if len(argnums) == 1 else argnums
        self.function, self.inputs = graphjit.value_and_grad(function, argnums=single), args

    def compile(self) -> dict[str, float]:
        """The first call; phases as the function's own statistics have them."""
        self.run()
        return dict(self.function.stats.seconds)

    def run(self) -> Any:
        """Call the function."""
        return self.function(*self.inputs)

    def arrays(self, result: Any) -> list[np.ndarray]:
        """They are NumPy's."""
        return numpy_leaves(result)

    def account(self) -> dict[str, Any]:
        """Phases of the first call, nodes before and after differentiation, the cache's answer."""
        stats = self.function.stats
        graphs = {name: self.function.graph(*self.inputs, stage=name) for name in STAGES}
        return {
            "phases": dict(stats.seconds),
            "nodes": {name: len(graph) for name, graph in graphs.items()},
            "cache": "; ".join(row for row in repr(stats).splitlines() if "cache" in row),
            "renderer": getattr(current(), "renderer", "numba"),
        }


STAGES = ("traced", "adjoint", "fused")


class GraphJIT:
    """``value_and_grad`` of the plain NumPy functions."""

    name = "GraphJIT"

    def warm_up(self) -> None:
        """One trivial program, and its second tier, which would take part in what is timed."""
        graphjit.value_and_grad(lambda x: np.sum(x * x))(np.ones(3))
        for thread in threading.enumerate():
            if thread is not threading.current_thread():
                thread.join()

    def build(self, problem: Problem, args: tuple[Any, ...]) -> Gradient:
        """Every workload is supported."""
        if problem.function.endswith("scan"):
            formulas.scan = graphjit.scan
        return Gradient(getattr(formulas, problem.function), problem.argnums, args)


PEERS = {"": GraphJIT}
