"""What the workloads of the steady-state benchmark compute on."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from peers.problems import Problem, large_net, layers, logistic, lstm, quiz

Arguments = Callable[[], tuple[Any, ...]]


def random() -> np.random.Generator:
    return np.random.default_rng(0)


def cast(tree: Any, dtype: Any) -> Any:
    """Floats in another dtype."""
    if isinstance(tree, tuple | list):
        return tuple(cast(item, dtype) for item in tree)
    return tree.astype(dtype)


def epoch() -> tuple[Any, ...]:
    """As ``graphjit.train`` draws the order with its seed 0."""
    rng = random()
    x, labels = rng.standard_normal((10_000, 50)), np.sign(rng.standard_normal(10_000))
    return (rng.standard_normal(50), np.array(0.1)), x, labels, random().permutation(10_000)


def small_net(dtype: Any) -> tuple[Any, ...]:
    rng = random()
    args = layers(rng, 10, 16, 16, 1), rng.standard_normal((32, 10)), rng.random((32, 1))
    return cast(args, dtype)


def zeros(tree: Any) -> Any:
    if isinstance(tree, tuple | list):
        return tuple(zeros(item) for item in tree)
    return np.zeros_like(tree)


def momentum() -> tuple[Any, ...]:
    params, x, y = large_net()
    return params, zeros(params), x, y


def adam() -> tuple[Any, ...]:
    params, x, y = large_net()
    return params, zeros(params), zeros(params), np.float32(0), x, y


def normal(size: int, dtype: Any = np.float64) -> tuple[Any, ...]:
    return (random().standard_normal(size).astype(dtype),)


def options(size: int = 1_000_000) -> tuple[Any, ...]:
    """Spot, strike, time, rate, volatility."""
    rng = random()
    ends = ((80, 120), (80, 120), (0.2, 2), (0.01, 0.05), (0.1, 0.5))
    return tuple(rng.uniform(low, high, size) for low, high in ends)


def mixture(d: int, k: int, n: int = 1000) -> tuple[Any, ...]:
    rng = random()
    shapes = ((k,), (k, d), (k, d), (k, d * (d - 1) // 2), (n, d))
    return tuple(rng.standard_normal(shape) for shape in shapes)


def images() -> tuple[Any, ...]:
    rng = random()
    shapes = ((3, 3, 1, 8), (8,), (3, 3, 8, 16), (16,), (784, 10), (10,))
    params = [rng.standard_normal(s) / np.sqrt(max(1, np.prod(s[:-1]))) for s in shapes]
    x = rng.standard_normal((32, 28, 28, 1))
    return *cast((params, x), np.float32), rng.integers(0, 10, 32)


def attention() -> tuple[Any, ...]:
    rng = random()
    square, wide = (64, 64), 256
    products = [rng.standard_normal(square) / 8 for _ in range(4)]
    norms = [np.ones(64), np.zeros(64), np.ones(64), np.zeros(64)]
    mlp = [rng.standard_normal((64, wide)) / 8, np.zeros(wide)]
    mlp += [rng.standard_normal((wide, 64)) / 16, np.zeros(64)]
    return cast(((*products, *norms, *mlp), rng.standard_normal((8, 64, 64))), np.float32)


def direction() -> tuple[Any, ...]:
    (w, _), x, labels = logistic()
    return w, random().standard_normal(w.size), x, labels


def curvature() -> tuple[Any, ...]:
    (w, _), x, labels = logistic()
    return w, x, labels


def layer() -> tuple[Any, ...]:
    rng = random()
    return rng.standard_normal(100), rng.standard_normal((100, 100)) / 10


def model(
    name: str, function: str, arguments: Arguments, kind: str = "gradient", **more: Any
) -> Problem:
    return Problem(name, function, arguments, kind=kind, module="models", **more)


SINGLE, DOUBLE = np.float32, np.float64
STEADY = {
    problem.name: problem
    for problem in (
        Problem("quiz", "quiz", quiz, (0, 1)),
        Problem("logistic 1000x50", "logistic", logistic),
        model("logistic, epoch", "logistic_epoch", epoch, "loop"),
        model("small net f32, step", "descent_step", partial(small_net, SINGLE), "whole",
              tolerance=1e-4),
        model("small net f64, step", "descent_step", partial(small_net, DOUBLE), "whole"),
        model("small net f32, 10000 steps", "descent_loop", partial(small_net, SINGLE), "loop",
              tolerance=1e-2),
        model("small net f64, 10000 steps", "descent_loop", partial(small_net, DOUBLE), "loop",
              tolerance=1e-6),
        model("large net, momentum", "momentum_step", momentum, "whole", tolerance=1e-3),
        model("large net, Adam", "adam_step", adam, "whole", tolerance=1e-2),
        model("chain f64", "chain", partial(normal, 1_000_000)),
        model("chain f32", "chain", partial(normal, 1_000_000, SINGLE), tolerance=1e-4),
        model("Rosenbrock", "rosenbrock", partial(normal, 1_000_000)),
        model("Rosenbrock, N = 2", "rosenbrock", partial(normal, 2)),
        model("Rosenbrock, N = 10", "rosenbrock", partial(normal, 10)),
        model("Rosenbrock, N = 100", "rosenbrock", partial(normal, 100)),
        model("mixture d10 k25", "mixture", partial(mixture, 10, 25), argnums=(0, 1, 2, 3)),
        model("mixture d20 k50", "mixture", partial(mixture, 20, 50), argnums=(0, 1, 2, 3)),
        Problem("LSTM", "lstm_scan", lstm, otherwise="lstm_loop"),
        model("conv net", "convolutional", images, tolerance=1e-3),
        model("attention block", "attention", attention, tolerance=1e-3),
        model("Black-Scholes", "black_scholes", options, argnums=(0, 1, 2, 3, 4)),
        model("logistic, hvp", "logistic_hvp", direction, "whole"),
        model("logistic, Hessian", "logistic_hessian", curvature, "whole"),
        model("Jacobian 100x100", "layer_jacobian", layer, "whole"),
    )
}  # fmt: skip
# Where there is work for more than one core.
LARGE = (
    "large net, momentum", "large net, Adam", "chain f64", "chain f32", "Rosenbrock",
    "mixture d10 k25", "mixture d20 k50", "conv net", "attention block", "Black-Scholes",
)  # fmt: skip
