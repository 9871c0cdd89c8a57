"""PyTorch on the CPU: eager, and ``torch.compile``."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from peers.formulas import written_for
from peers.interface import Unsupported, leaves, looped, mapped, rebuilt
from peers.problems import Problem

# What PyTorch spells in another way than NumPy.
NAMES = SimpleNamespace(
    arange=torch.arange, einsum=torch.einsum, exp=torch.exp, log=torch.log, log1p=torch.log1p,
    max=torch.amax, mean=torch.mean, sin=torch.sin, sqrt=torch.sqrt, sum=torch.sum,
    swapaxes=torch.swapaxes, tanh=torch.tanh,
    logaddexp=lambda a, b: torch.logaddexp(torch.full_like(b, a), b),
    maximum=lambda x, low: torch.clamp(x, min=low),
)  # fmt: skip


def conv2d(x: Any, w: Any) -> Any:
    """With channels last in memory, as the data are."""
    x, w = x.permute(0, 3, 1, 2), w.permute(3, 2, 0, 1)
    return torch.nn.functional.conv2d(x, w, padding="same").permute(0, 2, 3, 1)


def max_pool2d(x: Any, size: int) -> Any:
    return torch.nn.functional.max_pool2d(x.permute(0, 3, 1, 2), size).permute(0, 2, 3, 1)


def triangles(q: Any, below: Any) -> Any:
    """As in ``models``, with its constants as tensors."""
    d = q.shape[1]
    place = torch.zeros((d, d), dtype=torch.long)
    rows, columns = torch.tril_indices(d, d, -1)
    place[rows, columns] = torch.arange(d * (d - 1) // 2)
    inside = torch.ones((d, d), dtype=q.dtype).tril(-1)
    return inside * below[:, place] + torch.diag_embed(torch.exp(q))


def value_and_grad(loss: Any) -> Any:
    """The eager way: leaves that require a gradient."""

    def both(params: Any, *rest: Any) -> Any:
        params = mapped(lambda leaf: leaf.detach().requires_grad_(), params)
        value = loss(params, *rest)
        slopes = torch.autograd.grad(value, leaves(params))
        return value.detach(), rebuilt(params, slopes)

    return both


def functional(loss: Any) -> Any:
    """The way that ``torch.compile`` sees through."""

    def both(params: Any, *rest: Any) -> Any:
        slopes, value = torch.func.grad_and_value(loss)(params, *rest)
        return value, slopes

    return both


def hvp(function: Any, primals: Any, tangents: Any) -> Any:
    return torch.func.jvp(torch.func.grad(function), primals, tangents)[1]


OTHERS = {
    "triangles": triangles, "conv2d": conv2d, "max_pool2d": max_pool2d, "erf": torch.special.erf,
    "hvp": hvp, "hessian": torch.func.hessian, "jacobian": torch.func.jacrev,
}  # fmt: skip


class Whole:
    """A function that differentiates inside."""

    def __init__(self, function: Any, args: tuple[Any, ...]) -> None:
        self.function = function
        self.inputs = mapped(lambda leaf: torch.as_tensor(np.asarray(leaf)), args)

    def compile(self) -> dict[str, float]:
        """There is no way but to run it."""
        self.run()
        return {}

    def run(self) -> Any:
        """Call the function."""
        return leaves(self.function(*self.inputs))

    def arrays(self, result: Any) -> list[np.ndarray]:
        """Views in NumPy."""
        return [leaf.detach().numpy() for leaf in result]


class Gradient(Whole):
    """A loss and ``torch.autograd.grad``."""

    def __init__(self, function: Any, argnums: tuple[int, ...], args: tuple[Any, ...]) -> None:
        super().__init__(function, args)
        self.wanted = [leaf for i in argnums for leaf in leaves(self.inputs[i])]
        for tensor in self.wanted:
            tensor.requires_grad_()

    def run(self) -> Any:
        """Forward and backward."""
        loss = self.function(*self.inputs)
        return [loss, *torch.autograd.grad(loss, self.wanted)]


class Eager:
    """Operation by operation."""

    name = "PyTorch"
    differentiate = staticmethod(value_and_grad)

    def warm_up(self) -> None:
        """One trivial gradient."""
        Gradient(self.prepared(lambda x: torch.sum(x * x)), (0,), (np.ones(3),)).run()

    def prepared(self, function: Any) -> Any:
        """The function as it is called."""
        return function

    def check(self, problem: Problem) -> None:
        """Python runs a loop of training, which takes long."""
        if problem.function == "descent_loop":
            raise Unsupported("no loop of its own: as many calls of a step")

    def build(self, problem: Problem, args: tuple[Any, ...]) -> Whole:
        """A scan does not exist: where there is a Python loop to do the same, that."""
        self.check(problem)
        name = problem.otherwise or problem.function
        if name.endswith("scan"):
            raise Unsupported("PyTorch has no scan")
        others = {**OTHERS, "value_and_grad": self.differentiate}
        function = written_for(NAMES, looped, problem.module, **others)[name]
        if problem.kind == "gradient":
            return Gradient(self.prepared(function), problem.argnums, args)
        return Whole(self.prepared(function), args)


class Compiled(Eager):
    """``torch.compile`` of the loss; its gradient is compiled by the first backward pass."""

    name = "torch.compile"
    differentiate = staticmethod(functional)

    def prepared(self, function: Any) -> Any:
        """Compiled when it is called."""
        return torch.compile(function)

    def check(self, problem: Problem) -> None:
        """It unrolls all loops."""
        if problem.kind == "loop" or problem.otherwise:
            raise Unsupported("unrolls the loop, and does not finish")


PEERS = {"": Eager, "compile": Compiled}
