"""HIPS autograd: NumPy operation by operation, traced at every call."""

from __future__ import annotations

from typing import Any

import autograd
import autograd.numpy as anp
import numpy as np
from peers.formulas import written_for
from peers.interface import Unsupported, mapped, numpy_leaves
from peers.problems import Problem


class Gradient:
    """``value_and_grad``; there is nothing to compile."""

    def __init__(self, function: Any, argnums: tuple[int, ...], args: tuple[Any, ...]) -> None:
        single = argnums[0] if len(argnums) == 1 else argnums
        self.function, self.inputs = autograd.value_and_grad(function, argnum=single), args

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
        """A scan does not exist."""
        if problem.function.endswith("scan"):
            raise Unsupported("autograd has no scan")
        function = written_for(anp)[problem.function]
        return Gradient(function, problem.argnums, args)


PEERS = {"": Autograd}
