"""PyTensor with its default linker, or with Numba's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
from peers.formulas import written_for
from peers.interface import Stopwatch, Unsupported, leaves, mapped, rebuilt
from peers.problems import Problem


def scan(step: Any, init: Any, xs: Any, length: int | None = None) -> Any:
    """PyTensor's scan in the form of JAX's, with one output or none at each step."""
    carry = leaves(init)
    given = [] if xs is None else [xs]

    def inner(*values: Any) -> Any:
        x, state = (values[0], values[1:]) if given else (None, values)
        new, out = step(rebuilt(init, state), x)
        return [*leaves(new), *([] if out is None else [out])]

    # Whether a step gives something beside the state is known when it was called.
    _, beside = step(init, xs[0] if given else None)
    traces = pytensor.scan(
        inner, sequences=given, outputs_info=[*carry, *([] if beside is None else [None])],
        n_steps=length, return_updates=False,
    )  # fmt: skip
    traces = leaves(traces) if isinstance(traces, list | tuple) else [traces]
    last = rebuilt(init, [trace[-1] for trace in traces[: len(carry)]])
    return last, (None if beside is None else traces[-1])


def value_and_grad(loss: Any) -> Any:
    def both(params: Any, *rest: Any) -> Any:
        value, places = loss(params, *rest), leaves(params)
        slopes = pytensor.grad(value, places)  # in double precision where a size divides
        return value, rebuilt(params, map(in_dtype, slopes, places))

    return both


def in_dtype(value: Any, like: Any) -> Any:
    return value.astype(like.dtype)


def hvp(function: Any, primals: Any, tangents: Any) -> Any:
    """The gradient of the gradient along the vector."""
    slope = pytensor.grad(function(*primals), primals[0])
    return pytensor.grad(pt.sum(slope * tangents[0]), primals[0])


def hessian(function: Any) -> Any:
    return lambda w: pytensor.gradient.hessian(function(w), w)


def jacobian(function: Any) -> Any:
    return lambda x: pytensor.gradient.jacobian(function(x), x)


OTHERS = {
    "value_and_grad": value_and_grad, "hvp": hvp, "hessian": hessian, "jacobian": jacobian,
    "erf": pt.erf, "sizes": lambda x: x.type.shape,
}  # fmt: skip


def symbol(value: Any) -> Any:
    """An input of the value's form."""
    array = np.asarray(value)
    return pt.tensor(dtype=array.dtype, shape=array.shape)


class Gradient:
    """A graph and ``pytensor.function`` of it."""

    def __init__(
        self, function: Any, argnums: tuple[int, ...], args: tuple[Any, ...], mode: str | None
    ) -> None:
        self.loss, self.argnums, self.compiled = function, argnums, None
        self.args, self.mode = args, mode
        self.inputs = [np.asarray(leaf) for leaf in leaves(args)]

    def compile(self) -> dict[str, float]:
        """Build the graph, then compile it."""
        watch = Stopwatch()
        symbols = mapped(symbol, self.args)
        single = any(array.dtype == np.float32 for array in self.inputs)
        # A number such as 0.1 is in double precision, and makes all so, unless it is told.
        with pytensor.config.change_flags(floatX="float32" if single else "float64"):
            outputs = self.outputs(symbols)
        watch.lap("trace")
        self.compiled = pytensor.function(
            leaves(symbols), outputs, on_unused_input="ignore", mode=self.mode
        )
        watch.lap("compile")
        return watch.seconds

    def outputs(self, symbols: Any) -> list[Any]:
        """The loss and its gradients."""
        wanted = [leaf for i in self.argnums for leaf in leaves(symbols[i])]
        loss = self.loss(*symbols)
        return [loss, *pytensor.grad(loss, wanted)]

    def run(self) -> Any:
        """Call the function."""
        if self.compiled is None:
            self.compile()
        return self.compiled(*self.inputs)

    def arrays(self, result: Any) -> list[np.ndarray]:
        """They are NumPy's."""
        return [np.asarray(leaf) for leaf in result]


class Whole(Gradient):
    """A function that differentiates inside."""

    def outputs(self, symbols: Any) -> list[Any]:
        """What it returns."""
        return leaves(self.loss(*symbols))


class PyTensor:
    """The workloads written with ``pytensor.tensor``."""

    name = "PyTensor"
    mode: str | None = None

    def warm_up(self) -> None:
        """One trivial function."""
        Gradient(lambda x: pt.sum(x * x), (0,), (np.ones(3),), self.mode).run()

    def build(self, problem: Problem, args: tuple[Any, ...]) -> Gradient:
        """Nearly every workload is supported, though not all in time."""
        if problem.function == "convolutional":
            raise Unsupported("no convolution of a batch of images")
        function = written_for(pt, scan, problem.module, **OTHERS)[problem.function]
        kind = Gradient if problem.kind == "gradient" else Whole
        return kind(function, problem.argnums, args, self.mode)


class Numba(PyTensor):
    """The same by its Numba linker, which finds a BLAS where the default does not."""

    name = "PyTensor, Numba"
    mode = "NUMBA"


PEERS = {"": PyTensor, "numba": Numba}
