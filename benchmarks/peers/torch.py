"""PyTorch on the CPU: eager, and ``torch.compile``."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from peers.formulas import written_for
from peers.interface import Unsupported, leaves, mapped
from peers.problems import Problem

# What PyTorch spells in another way than NumPy.
NAMES = SimpleNamespace(
    arange=torch.arange, exp=torch.exp, log=torch.log, max=torch.amax, mean=torch.mean,
    sin=torch.sin, sum=torch.sum, tanh=torch.tanh,
    logaddexp=lambda a, b: torch.logaddexp(torch.full_like(b, a), b),
    maximum=lambda x, low: torch.clamp(x, min=low),
)  # fmt: skip


class Gradient:
    """A loss and ``torch.autograd.grad``."""

    def __init__(self, function: Any, argnums: tuple[int, ...], args: tuple[Any, ...]) -> None:
        self.function = function
        self.inputs = mapped(lambda leaf: torch.as_tensor(np.asarray(leaf)), args)
        self.wanted = [leaf for i in argnums for leaf in leaves(self.inputs[i])]
        for tensor in self.wanted:
            tensor.requires_grad_()

    def compile(self) -> dict[str, float]:
        """There is no way but to run it."""
        self.run()
        return {}

    def run(self) -> Any:
        """Forward and backward."""
        loss = self.function(*self.inputs)
        return [loss, *torch.autograd.grad(loss, self.wanted)]

    def arrays(self, result: Any) -> list[np.ndarray]:
        """Views in NumPy."""
        return [leaf.detach().numpy() for leaf in result]


class Eager:
    """Operation by operation."""

    name = "PyTorch"

    def warm_up(self) -> None:
        """One trivial gradient."""
        Gradient(self.prepared(lambda x: torch.sum(x * x)), (0,), (np.ones(3),)).run()

    def prepared(self, function: Any) -> Any:
        """The function as it is called."""
        return function

    def build(self, problem: Problem, args: tuple[Any, ...]) -> Gradient:
        """A scan does not exist."""
        if problem.function.endswith("scan"):
            raise Unsupported("PyTorch has no scan")
        function = written_for(NAMES)[problem.function]
        return Gradient(self.prepared(function), problem.argnums, args)


class Compiled(Eager):
    """``torch.compile`` of the loss; its gradient is compiled by the first backward pass."""

    name = "torch.compile"

    def prepared(self, function: Any) -> Any:
        """Compiled when it is called."""
        return torch.compile(function)


PEERS = {"": Eager, "compile": Compiled}
