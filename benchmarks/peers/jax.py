"""JAX: ``jit`` of ``value_and_grad``, with float64 enabled."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from peers.formulas import written_for
from peers.interface import Stopwatch, leaves
from peers.problems import Problem

jax.config.update("jax_enable_x64", True)


class Gradient:
    """Compiled by the first call, or ahead of it, in JAX's own three phases."""

    def __init__(self, function: Any, args: tuple[Any, ...]) -> None:
        self.function = jax.jit(function)
        self.inputs = args

    def compile(self) -> dict[str, float]:
        """Trace, lower and compile, without running."""
        watch = Stopwatch()
        traced = self.function.trace(*self.inputs)
        watch.lap("trace")
        lowered = traced.lower()
        watch.lap("lower")
        self.function = lowered.compile()
        watch.lap("compile")
        return watch.seconds

    def on_device(self) -> None:
        """Keep the inputs in JAX's own arrays: for timing of steps."""
        self.inputs = jax.block_until_ready(jax.tree.map(jnp.asarray, self.inputs))

    def run(self) -> Any:
        """Call the function and wait."""
        return jax.block_until_ready(self.function(*self.inputs))

    def arrays(self, result: Any) -> list[np.ndarray]:
        """Copies in NumPy."""
        return [np.asarray(leaf) for leaf in leaves(result)]


def conv2d(x: Any, w: Any) -> Any:
    return jax.lax.conv_general_dilated(
        x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def max_pool2d(x: Any, size: int) -> Any:
    window = (1, size, size, 1)
    return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, window, window, "VALID")


def hvp(function: Any, primals: Any, tangents: Any) -> Any:
    """Forward over reverse, as JAX's documentation has it."""
    return jax.jvp(jax.grad(function), primals, tangents)[1]


OTHERS = {
    "value_and_grad": jax.value_and_grad, "hvp": hvp, "hessian": jax.hessian,
    "jacobian": jax.jacrev, "conv2d": conv2d, "max_pool2d": max_pool2d, "erf": jax.lax.erf,
}  # fmt: skip


class Jax:
    """Jit of the workloads written with ``jax.numpy`` and ``jax.lax.scan``."""

    name = "JAX"

    def warm_up(self) -> None:
        """One trivial program brings the backend up."""
        args = (np.ones(3),)
        jax.jit(jax.value_and_grad(lambda x: jnp.sum(x * x))).lower(*args).compile()

    def build(self, problem: Problem, args: tuple[Any, ...]) -> Gradient:
        """Every workload is supported, though not all in time."""
        functions = written_for(jnp, jax.lax.scan, problem.module, **OTHERS)
        function = functions[problem.function]
        if problem.kind == "gradient":
            function = jax.value_and_grad(function, problem.argnums)
        return Gradient(function, args)


PEERS = {"": Jax}
