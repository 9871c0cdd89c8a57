"""HIPS autograd: NumPy operation by operation, traced at every call."""

from __future__ import annotations

from typing import Any

import autograd
import autograd.numpy as anp
import numpy as np
from peers.formulas import written_for
from peers.interface import Unsupported, looped, mapped, numpy_leaves
from peers.problems import Problem


def hvp(function: Any, primals: Any, tangents: Any) -> Any:
    return autograd.hessian_vector_product(function)(*primals, *tangents)


OTHERS = {
    "value_and_grad": autograd.value_and_grad, "hvp": hvp, "hessian": autograd.hessian,
    "jacobian": autograd.jacobian,
}  # fmt: skip


def others(name: str) -> dict[str, Any]:
    """With what only some workloads use, and takes long to import."""
    if name != "black_scholes":
        return OTHERS
    from autograd.scipy.special import erf

    return {**OTHERS, "erf": erf}


class Gradient:
    """There is nothing to compile."""

    def __init__(self, function: Any, args: tuple[Any, ...]) -> None:
        self.function, self.inputs = function, args

    def compile(self) -> dict[str, float]:
        """There is no way but to run it."""
        self.run()
        return {}

    def run(self) -> Any:
        """Forward and backward."""
        return self.function(*self.inputs)

    def arrays(self, result: Any) -> list[np.ndarray]:
        """They are NumPy's."""
        return numpy_leaves(mapped(np.asarray, result))


class Autograd:
    """The workloads written with ``autograd.numpy``."""

    name = "autograd"

    def warm_up(self) -> None:
        """One trivial gradient."""
        autograd.value_and_grad(lambda x: anp.sum(x * x))(np.ones(3))

    def build(self, problem: Problem, args: tuple[Any, ...]) -> Gradient:
        """A scan does not exist: where there is a Python loop to do the same, that."""
        name = problem.otherwise or problem.function
        if name.endswith("scan"):
            raise Unsupported("autograd has no scan")
        if name in MISSING:
            raise Unsupported(MISSING[name])
        function = written_for(anp, looped, problem.module, **others(name))[name]
        if problem.kind == "gradient":
            single = problem.argnums[0] if len(problem.argnums) == 1 else problem.argnums
            function = autograd.value_and_grad(function, argnum=single)
        return Gradient(function, args)


MISSING = {
    "convolutional": "no convolution of a batch of images",
    "descent_loop": "no loop of its own: as many calls of a step",
}
PEERS = {"": Autograd}
