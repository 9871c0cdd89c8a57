"""CasADi: scalar graphs, run by its virtual machine, or as C through a C compiler."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import casadi as ca
import numpy as np
from peers.formulas import CHARACTERS, lstm_step, written_for
from peers.interface import Stopwatch, Unsupported, leaves, mapped
from peers.problems import Problem

VIRTUAL: dict[str, Any] = {}
GCC = {"jit": True, "compiler": "shell", "jit_options": {"flags": ["-O3", "-march=native"]}}
QUICK = {**GCC, "jit_options": {"flags": ["-O1", "-march=native"]}}
SUPPORTED = ("quiz", "squared_error", "lstm_loop", "formula_loop", "rosenbrock", "descent_step")
LARGEST = 10_000  # elements: each is a node of its own


def mean(x: Any) -> Any:
    return ca.sum(ca.vec(x)) / x.numel()


# CasADi's vectors are columns, and so is what NumPy's functions of the workloads see.
NAMES = SimpleNamespace(
    exp=ca.exp, log=ca.log, mean=mean, sin=ca.sin, sum=lambda x: ca.sum(ca.vec(x)), tanh=ca.tanh
)
FUNCTIONS = written_for(NAMES)


def squared_error(params: Any, x: Any, y: Any) -> Any:
    """As in ``formulas``, with the bias repeated by hand: CasADi does not broadcast rows."""
    for w, b in params:
        x = FUNCTIONS["sigmoid"](x @ w + ca.repmat(b.T, x.shape[0], 1))
    return mean((x - y) ** 2)


def lstm_loop(params: Any, state: Any, sequence: Any) -> Any:
    """As in ``formulas``, with rows of matrices turned into columns."""
    *ends, w, b = params
    rows = [tuple(tuple(m[i, :].T for i in range(4)) for m in pair) for pair in (w, b)]
    total = 0
    for t in range(CHARACTERS - 1):
        state, logp = FUNCTIONS[lstm_step.__name__]((*ends, *rows), state, sequence[t, :].T)
        total += NAMES.sum(sequence[t + 1, :].T * logp)
    return -total / (CHARACTERS - 1)


def rosenbrock(x: Any) -> Any:
    return NAMES.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


OWN = {
    "rosenbrock": rosenbrock,
    "descent_step": squared_error,
    "squared_error": squared_error,
    "lstm_loop": lstm_loop,
}


def symbol(value: Any) -> Any:
    array = np.asarray(value)
    return ca.SX.sym("x", *(array.shape or (1,)))


class Gradient:
    """A ``casadi.Function`` of all arguments."""

    def __init__(
        self, function: Any, argnums: tuple[int, ...], args: tuple[Any, ...], options: Any
    ) -> None:
        self.loss, self.argnums, self.args, self.options = function, argnums, args, options
        self.inputs = [np.asarray(leaf, np.float64) for leaf in leaves(args)]
        self.compiled = None

    def compile(self) -> dict[str, float]:
        """Build the graph with its gradient, then make the function."""
        watch = Stopwatch()
        symbols = mapped(symbol, self.args)
        wanted = [leaf for i in self.argnums for leaf in leaves(symbols[i])]
        loss = self.loss(*symbols)
        slopes = self.told([ca.gradient(loss, leaf) for leaf in wanted], wanted)
        watch.lap("trace")
        self.compiled = ca.Function("workload", leaves(symbols), [loss, *slopes], self.options)
        watch.lap("compile")
        return watch.seconds

    def told(self, slopes: list[Any], wanted: list[Any]) -> list[Any]:  # noqa: ARG002 - of a step
        """What is returned beside the loss."""
        return slopes

    def run(self) -> Any:
        """Call the function with NumPy arrays."""
        if self.compiled is None:
            self.compile()
        return self.compiled(*self.inputs)

    def arrays(self, result: Any) -> list[np.ndarray]:
        """In NumPy's shapes."""
        wanted = [leaf for i in self.argnums for leaf in leaves(self.args[i])]
        shapes = [(), *(np.shape(leaf) for leaf in wanted)]
        pairs = zip(result, shapes, strict=True)
        return [np.asarray(leaf.full()).reshape(shape) for leaf, shape in pairs]

    def on_buffers(self) -> Any:
        """A function of no argument that runs on fixed memory: the quickest call there is."""
        if self.compiled is None:
            self.compile()
        buffer, run = self.compiled.buffer()
        self.results = [np.zeros(self.compiled.size_out(i)) for i in range(self.compiled.n_out())]
        for i, array in enumerate(self.inputs):
            buffer.set_arg(i, memoryview(np.atleast_1d(array)))
        for i, array in enumerate(self.results):
            buffer.set_res(i, memoryview(array))
        self.buffer = buffer
        return run

    call = on_buffers


class Step(Gradient):
    """A step of gradient descent."""

    def told(self, slopes: list[Any], wanted: list[Any]) -> list[Any]:
        """The parameters after it."""
        return [leaf - 0.1 * slope for leaf, slope in zip(wanted, slopes, strict=True)]


class Machine:
    """CasADi's virtual machine."""

    name = "CasADi"
    options = VIRTUAL

    def warm_up(self) -> None:
        """One trivial function."""
        Gradient(ca.sumsqr, (0,), (np.ones(3),), self.options).run()

    def build(self, problem: Problem, args: tuple[Any, ...]) -> Gradient:
        """What works on scalars."""
        name = problem.otherwise or problem.function
        if name not in SUPPORTED:
            raise Unsupported(f"{name} is not written for CasADi")
        arrays = [np.asarray(leaf) for leaf in leaves(args)]
        if max(array.size for array in arrays) > LARGEST:
            raise Unsupported("a node for each element would be too many")
        if any(array.dtype == np.float32 for array in arrays):
            raise Unsupported("CasADi computes in double precision")
        function = OWN.get(name) or FUNCTIONS[name]
        kind = Step if problem.kind == "whole" else Gradient
        return kind(function, problem.argnums, args, self.options)


class Native(Machine):
    """The same as C, compiled with gcc."""

    name = "CasADi, C"
    options = GCC

    def build(self, problem: Problem, args: tuple[Any, ...]) -> Gradient:
        """Where gcc finishes in time."""
        if problem.otherwise:
            raise Unsupported("gcc takes minutes for the unrolled loop")
        built = super().build(problem, args)
        if problem.kind == "whole":  # a step of a net takes minutes with -O2 or -O3
            built.options = QUICK
        return built


PEERS = {"": Machine, "c": Native}
