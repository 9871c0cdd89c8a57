"""GraphJIT itself; the environment says which renderer."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np
from peers import formulas
from peers.interface import Unsupported, numpy_leaves
from peers.problems import Problem

import graphjit
from graphjit.flags import current


class Gradient:
    """One compiled function; compiling is part of its first call."""

    def __init__(self, function: Any, args: tuple[Any, ...]) -> None:
        self.function, self.inputs = function, args

    def compile(self) -> dict[str, float]:
        """The first call; phases as the function's own statistics have them."""
        self.run()
        return dict(self.function.stats.seconds)

    def run(self) -> Any:
        """Call the function."""
        return self.function(*self.inputs)

    def call(self) -> Callable[[], Any]:
        """The call without a method around it."""
        return partial(self.function, *self.inputs)

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


class Training:
    """A run of ``graphjit.train``; its first call compiles."""

    def __init__(self, run: Callable[[], Any]) -> None:
        self.run = run

    def compile(self) -> dict[str, float]:
        """The first run."""
        return {"compile": self.run().compile_seconds}

    def arrays(self, result: Any) -> list[np.ndarray]:
        """The last loss and the parameters."""
        return numpy_leaves((result.losses[-1], result.params))


class GraphJIT:
    """The plain NumPy functions; loops of training by ``graphjit.train``."""

    name = "GraphJIT"

    def warm_up(self) -> None:
        """One trivial program, and its second tier, which would take part in what is timed."""
        graphjit.value_and_grad(lambda x: np.sum(x * x))(np.ones(3))
        self.settle()

    def settle(self) -> None:
        """Wait for what is still being compiled."""
        for thread in threading.enumerate():
            if thread is not threading.current_thread():
                thread.join()

    def build(self, problem: Problem, args: tuple[Any, ...]) -> Any:
        """Every workload is supported."""
        if problem.kind == "loop":
            return self.loop(problem, args)
        function = prepared(problem)
        if problem.kind == "whole":
            return Gradient(graphjit.jit(function), args)
        single = problem.argnums[0] if len(problem.argnums) == 1 else problem.argnums
        return Gradient(graphjit.value_and_grad(function, argnums=single), args)

    def loop(self, problem: Problem, args: tuple[Any, ...]) -> Any:
        """As ``graphjit.train`` writes it: the order of an epoch is its own, drawn anew."""
        from peers import models

        if problem.function == "logistic_epoch":
            params, *data, _ = args
            return Training(partial(
                graphjit.train.minibatch_sgd, models.logistic, params, tuple(data), models.RATE,
                batch_size=models.BATCH, epochs=1,
            ))  # fmt: skip
        params, *data = args
        return Training(partial(
            graphjit.train.gradient_descent, models.squared_error, params, tuple(data),
            models.RATE, steps=models.STEPS,
        ))  # fmt: skip


class Scan(GraphJIT):
    """Loops of training as ``graphjit.scan`` of a step, in one program."""

    name = "GraphJIT, scan"

    def build(self, problem: Problem, args: tuple[Any, ...]) -> Any:
        """What is not a loop is the other way's."""
        if problem.kind != "loop":
            raise Unsupported("no loop of training")
        return super().build(problem, args)

    def loop(self, problem: Problem, args: tuple[Any, ...]) -> Gradient:
        """The same text as JAX's."""
        return Gradient(graphjit.jit(prepared(problem)), args)


def prepared(problem: Problem) -> Callable[..., Any]:
    """The function where it stands, with GraphJIT's own in the place of what NumPy has not."""
    if problem.function.endswith("scan"):
        formulas.scan = graphjit.scan
    module = import_module(f"peers.{problem.module}")
    if problem.module != "formulas":
        names = ("value_and_grad", "hvp", "hessian", "jacobian", "scan")
        vars(module).update({name: getattr(graphjit, name) for name in names})
        vars(module).update(others(problem))
    return getattr(module, problem.function)


def others(problem: Problem) -> dict[str, Any]:
    """What only some workloads use, and takes long to import."""
    if problem.function == "convolutional":
        return {name: getattr(graphjit.nn, name) for name in ("conv2d", "max_pool2d")}
    if problem.function == "black_scholes":
        from scipy.special import erf

        return {"erf": erf}
    return {}


PEERS = {"": GraphJIT, "scan": Scan}
