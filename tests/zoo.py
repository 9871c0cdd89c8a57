"""The zoo: plain NumPy functions as a user would write them.

A function added here is tested everywhere: by every pass, by every way of differentiating and by
every renderer. All return a scalar float, so that each has a gradient with respect to its float
arguments.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import optree
from scipy import special

from graphjit.ir import Builder, Graph, Symbol, aval_of
from graphjit.ir.dispatch import lift


@dataclass(frozen=True)
class Animal:
    """A function with example arguments, made afresh each time from a fixed seed."""

    name: str
    function: Callable[..., Any]
    make: Callable[[np.random.Generator], tuple[Any, ...]]

    def args(self) -> tuple[Any, ...]:
        return self.make(np.random.default_rng(len(self.name)))

    def trace(self) -> tuple[Graph, list[Any]]:
        """The graph, and the values of its inputs: arguments flattened, then captured arrays."""
        return trace(self.function, self.args())


def trace(function: Callable[..., Any], args: Any) -> tuple[Graph, list[Any]]:
    """Trace a function as the library does, but for source lines and static arguments."""
    builder = Builder()
    values, tree = optree.tree_flatten(args)
    symbols = [
        Symbol(builder, builder.input(aval_of(v)), weak=isinstance(v, float)) for v in values
    ]
    result = lift(builder, function(*optree.tree_unflatten(tree, symbols)))
    return builder.graph([result.id]), [*values, *builder.captured]


ZOO: list[Animal] = []


def animal(make):
    """Put a function into the zoo; ``make(rng)`` gives its arguments."""

    def register(function):
        ZOO.append(Animal(function.__name__, function, make))
        return function

    return register


def normal(*shapes):
    return lambda rng: tuple(rng.normal(size=shape) for shape in shapes)


def positive(*shapes):
    return lambda rng: tuple(rng.uniform(0.5, 2.0, size=shape) for shape in shapes)


def layers(rng, *sizes, dtype=float):
    """Weights and biases of a dense net."""
    return [
        ((rng.normal(size=(m, n)) / np.sqrt(m)).astype(dtype), np.zeros(n, dtype))
        for m, n in pairwise(sizes)
    ]


# -- formulas ------------------------------------------------------------------------------------


@animal(lambda rng: (2.0, 3.0))
def quiz(x, z):
    return np.exp(x * z) + x * z / np.log(x) + np.sin(np.log(x)) / (x * z)


@animal(normal(10))
def rosenbrock(x):
    return np.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


@animal(lambda rng: (1.5, -0.5))
def himmelblau(x, y):
    return (x**2 + y - 11) ** 2 + (x + y**2 - 7) ** 2


@animal(lambda rng: (rng.uniform(80, 120, 6), 100.0, rng.uniform(0.2, 1.0, 6), 0.03, 0.2))
def black_scholes(spot, strike, years, rate, volatility):
    root = volatility * np.sqrt(years)
    d1 = (np.log(spot / strike) + (rate + volatility**2 / 2) * years) / root
    cdf = lambda x: 0.5 * (1 + special.erf(x / np.sqrt(2)))
    return np.sum(spot * cdf(d1) - strike * np.exp(-rate * years) * cdf(d1 - root))


@animal(normal(8))
def polynomial(x):
    result = 0.0
    for coefficient in (3, -2, 0, 1, 0.5):
        result = result * x + coefficient
    return np.sum(result)


@animal(positive(7))
def powers(x):
    return np.sum(x**0 + x**1 + x**2 + x**3 + x**4 + x**-1 + x**0.5 + x**2.7 + 2**x + x**x)


@animal(normal(50))
def one_loop(x):
    return np.sum(np.tanh(x) * np.exp(-(x**2)) + np.log1p(np.exp(x)) * np.sin(x))


@animal(normal(6, 6))
def elementary(x, y):
    a = np.arctan2(x, y) + np.hypot(x, y) + np.sinh(x) * np.cosh(y) - np.arcsinh(x)
    return np.mean(a + np.arctan(x) - np.expm1(y) + np.cbrt(x + 5) + np.tan(x / 10))


@animal(positive(5, 5))
def logarithms(x, y):
    return np.sum(np.log(x) + np.log2(y) + np.log10(x) - np.log1p(y) + special.xlogy(x, y))


# -- models --------------------------------------------------------------------------------------


def data(rng, n, k, classes=2):
    return rng.normal(size=(n, k)), rng.integers(0, classes, n)


def with_data(n, k, *sizes, classes=2):
    def make(rng):
        return (layers(rng, k, *sizes), *data(rng, n, k, classes))

    return make


@animal(lambda rng: (rng.normal(size=5), 0.1, *data(rng, 12, 5)))
def logistic_regression(w, b, x, y):
    p = 1 / (1 + np.exp(-(x @ w + b)))
    return -np.mean(y * np.log(p) + (1 - y) * np.log(1 - p))


@animal(lambda rng: (rng.normal(size=5), *data(rng, 12, 5)))
def logistic_stable(w, x, y):
    z = x @ w
    return np.mean(np.logaddexp(0, z) - y * z) + 0.01 * np.sum(w**2)


@animal(normal((9, 4), 4, 9))
def mean_squared_error(x, w, y):
    return np.mean((np.tanh(x @ w) - y) ** 2)


@animal(with_data(8, 10, 16, 1))
def sigmoid_net(params, x, y):
    for w, b in params:
        x = 1 / (1 + np.exp(-(x @ w + b)))
    return np.mean((x[:, 0] - y) ** 2)


@animal(with_data(8, 10, 16, 16, 1))
def tanh_net(params, x, y):
    for w, b in params[:-1]:
        x = np.tanh(x @ w + b)
    w, b = params[-1]
    return np.sum(((x @ w + b)[:, 0] - y) ** 2) / len(y)


@animal(with_data(8, 6, 12, 8, 3, classes=3))
def relu_classifier(params, x, y):
    for w, b in params[:-1]:
        x = np.maximum(x @ w + b, 0)
    w, b = params[-1]
    logits = x @ w + b
    logp = logits - np.log(np.sum(np.exp(logits), axis=1, keepdims=True))
    return -np.mean(logp[np.arange(len(y)), y])


@animal(lambda rng: (rng.normal(size=(7, 4)), rng.integers(0, 4, 7)))
def softmax_cross_entropy(logits, y):
    shifted = logits - np.max(logits, axis=1, keepdims=True)
    p = np.exp(shifted) / np.sum(np.exp(shifted), axis=1, keepdims=True)
    return -np.sum(np.log(p[np.arange(len(y)), y]))


@animal(lambda rng: (*normal((20, 2), (3, 2), 3)(rng), np.full(3, 0.3)))
def gaussian_mixture(x, means, scales, weights):
    distance = np.sum((x[:, None, :] - means[None]) ** 2, axis=2) * np.exp(-2 * scales)
    logp = np.log(weights) - 2 * scales - distance / 2
    top = np.max(logp, axis=1, keepdims=True)
    return np.sum(np.log(np.sum(np.exp(logp - top), axis=1)) + top[:, 0])


@animal(normal((6, 5), 5, 5))
def layer_norm(x, scale, shift):
    mean, var = x.mean(axis=-1, keepdims=True), x.var(axis=-1, keepdims=True)
    return np.sum(np.tanh((x - mean) / np.sqrt(var + 1e-5) * scale + shift))


@animal(normal((4, 6), (6, 6), (6, 6), (6, 6)))
def attention(x, wq, wk, wv):
    q, k, v = x @ wq, x @ wk, x @ wv
    scores = q @ k.T / np.sqrt(q.shape[-1])
    e = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return np.sum((e / e.sum(axis=-1, keepdims=True) @ v) ** 2)


@animal(normal((5, 3, 2), (2, 4), (4, 4), 4))
def recurrent(xs, wx, wh, b):
    h = np.zeros((3, 4))
    for t in range(5):
        h = np.tanh(xs[t] @ wx + h @ wh + b)
    return np.sum(h**2)


@animal(lambda rng: (rng.normal(size=(6, 3)), rng.integers(0, 6, (4, 2)), rng.normal(size=3)))
def embedding(table, tokens, w):
    return np.sum(np.tanh(table[tokens].mean(axis=1) @ w))


@animal(normal((8, 8), (3, 3)))
def convolution(image, kernel):
    out = 0
    for i in range(3):
        for j in range(3):
            out = out + kernel[i, j] * image[i : i + 6, j : j + 6]
    return np.sum(np.maximum(out, 0.1 * out))


# -- contractions, reductions, layout, indexing ----------------------------------------------------


@animal(normal((3, 4), (4, 5), (5, 3)))
def einsums(a, b, c):
    return (
        np.einsum("ij,jk,ki->", a, b, c) + np.sum(np.einsum("ij->ji", a) @ a) + np.trace(a @ b @ c)
    )


@animal(normal(4, 4, (2, 4, 3), (2, 3, 2)))
def products(u, v, a, b):
    return (
        np.dot(u, v) * np.sum(np.outer(u, v) ** 2)
        + np.sum(a @ b)
        + np.tensordot(a, b, ([0, 2], [0, 1])).sum()
    )


@animal(normal(9))
def running(x):
    return np.sum(np.cumsum(x) ** 2) + np.sum(np.cumprod(1 + x / 10)) + np.prod(x / 2)


@animal(normal((4, 5)))
def moments(x):
    return np.std(x) + np.sum(np.var(x, axis=0, ddof=1)) + np.sum(np.mean(x, axis=1) ** 2)


@animal(normal((3, 4)))
def norms(x):
    return np.linalg.norm(x[0]) + np.sqrt(np.sum(x**2)) + np.sum(np.abs(x)) + np.max(np.abs(x))


@animal(normal((4, 6)))
def log_sum_exp(x):
    top = np.max(x, axis=1, keepdims=True)
    return np.sum(top[:, 0] + np.log(np.sum(np.exp(x - top), axis=1)) + np.logaddexp(x[:, 0], 1))


@animal(normal((3, 4), (3, 4)))
def piecewise(x, y):
    a = np.where(x > 0, np.sqrt(np.where(x > 0, x, 1)), x * y)
    return np.sum(np.clip(a, -0.5, 1.5) + np.minimum(x, y) * np.maximum(x, 0) + np.abs(y))


@animal(normal(5, (2, 5)))
def joins(x, y):
    a = (
        np.concatenate([x, x[::-1], y[1]])
        * np.pad(np.stack([x, y[0]]), ((0, 0), (5, 0)))[:, 6].sum()
    )
    b = np.tile(x, 3) + np.repeat(y[0], 3) - np.roll(np.ravel(np.stack([x, x, x])), 2)
    return np.sum(a * b) + np.sum(np.flip(y, 1) @ np.expand_dims(x, 1))


@animal(normal((2, 3, 4)))
def layouts(x):
    a = np.moveaxis(x, 0, 2).reshape(3, 8).T
    return np.sum(np.swapaxes(x, 1, 2)[:, ::2, None] ** 2) + np.sum(np.sin(a[1:7:2] * a[:3]))


@animal(lambda rng: (rng.normal(size=6), np.array([0, 2, 2, -1, 0])))
def repeated_indices(x, i):
    return np.sum(x[i] ** 3) + np.sum(np.take(x, [1, 1, 3])) * x[-2]


@animal(normal((4, 4)))
def triangles(x):
    return np.sum(np.tril(x) @ np.triu(x, 1)) + np.sum(np.diag(x) ** 2) + np.sum(np.diff(x, axis=0))


# -- shapes of programs ----------------------------------------------------------------------------


@animal(normal(4))
def deep_chain(x):
    for _ in range(100):
        x = np.sin(x) * 1.01
    return np.sum(x)


@animal(normal(4))
def wide_fan_out(x):
    return sum(np.sum(np.sin(k * x)) for k in range(1, 40))


@animal(lambda rng: ({"a": rng.normal(size=3), "b": (1.5, rng.normal(size=(2, 3)))}, 0.5))
def tree(params, scale):
    scalar, matrix = params["b"]
    return np.sum(params["a"] * matrix) * scalar + scale


@animal(lambda rng: (np.array(0.7), rng.normal(size=1), rng.normal(size=(1, 1))))
def small_shapes(a, b, c):
    return np.sum(a * b + c) * np.exp(a) + b[0]


@animal(lambda rng: (rng.normal(size=(0, 3)), rng.normal(size=3)))
def empty(x, w):
    return np.sum(x @ w) + np.sum(w) + np.sum(x, axis=0) @ w


@animal(normal(3, 3))
def unused_argument(x, y):
    return np.sum(x**2)


@animal(normal(3))
def constant_output(x):
    return np.sum(np.ones_like(x)) * 2.0


@animal(normal((3, 1), (1, 4), 4))
def broadcasts(a, b, c):
    return np.mean(a * b + c) + np.sum(np.broadcast_to(a, (3, 4)) / (1 + b**2)) + np.sum(c - a)


@animal(lambda rng: (layers(rng, 5, 4, 1, dtype=np.float32), rng.normal(size=(6, 5)).astype("f")))
def float32_net(params, x):
    for w, b in params:
        x = 1 / (1 + np.exp(-(x @ w + b)))
    return np.mean((x - 0.5) ** 2) * 2


@animal(lambda rng: (rng.normal(size=7).astype("f"), rng.normal(size=7)))
def mixed_precision(x, y):
    return np.sum(x * 2.0 + y.astype(np.float32)) + np.mean(x.astype(float) * y)


@animal(normal(5))
def second_thoughts(x):
    """What cleaning up is for: the same value again, ones, zeros and double negation."""
    a, b = np.sin(x) * np.cos(x), np.cos(x) * np.sin(x)
    return np.sum((a + b) * 1 - -(a / 2) + 0 * len(x)) + np.sum(np.exp(x) - np.exp(x) / 4)
