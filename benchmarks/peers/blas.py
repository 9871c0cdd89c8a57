"""What a network must at least do: its matrix products, by NumPy's BLAS, and nothing between."""

from __future__ import annotations

from typing import Any

import numpy as np
from peers.interface import Unsupported
from peers.problems import Problem

LARGE = ("momentum_step", "adam_step")


class Products:
    """Forward X W, backward Xᵀ G and G Wᵀ of each layer, but for the gradient of the data."""

    def __init__(self, args: tuple[Any, ...]) -> None:
        params, x = args[0], args[-2]
        self.calls = []
        for place, (w, b) in enumerate(params):
            out = np.ones((len(x), b.size), x.dtype)
            self.calls += [(x, w, out), (x.T, out, np.empty_like(w))]
            if place:
                self.calls.append((out, w.T, np.empty_like(x)))
            x = out

    def compile(self) -> dict[str, float]:
        """There is nothing to compile."""
        return {}

    def run(self) -> Any:
        """All of them."""
        for a, b, out in self.calls:
            np.matmul(a, b, out=out)

    def arrays(self, result: Any) -> list[np.ndarray]:  # noqa: ARG002 - as the others
        """It computes no result to be compared."""
        return []


class Blas:
    """A floor for the large net, and no peer."""

    name = "BLAS calls"

    def warm_up(self) -> None:
        """There is nothing to load."""

    def build(self, problem: Problem, args: tuple[Any, ...]) -> Products:
        """Of the large net."""
        if problem.function not in LARGE:
            raise Unsupported("only of the large net")
        return Products(args)


PEERS = {"": Blas}
