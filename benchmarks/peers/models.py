"""Workloads of the steady-state benchmark, as plain NumPy functions; see ``formulas``.

What a library has under a name of its own stands here as NumPy's or GraphJIT's: ``written_for``
puts the peer's in its place. ``numpy`` is never replaced: it makes constants.
"""

from __future__ import annotations

import math
from typing import Any

import numpy  # noqa: ICN001 - a name that is not replaced
import numpy as np
from peers.formulas import cross_entropy, logistic, scan, squared_error

RATE = 0.1
BATCH = 32
STEPS = 10_000
MOMENTUM = 0.9
BETAS = 0.9, 0.999


def absent(*_: Any, **__: Any) -> Any:
    """Stands for the peer's own."""
    raise NotImplementedError


def sizes(x: Any) -> tuple[int, ...]:
    """The shape, in numbers."""
    return tuple(x.shape)


value_and_grad = hvp = hessian = jacobian = conv2d = max_pool2d = erf = absent


# -- steps and loops of training -------------------------------------------------------------------


def descended(loss, rate, params, x, y):
    """One step of gradient descent: the value before it, the next parameters."""
    value, slopes = value_and_grad(loss)(params, x, y)
    return value, paired(lambda p, g: p - rate * g, params, slopes)


def paired(function, *trees):
    """A function of the leaves of equal trees, of tuples and lists."""
    if isinstance(trees[0], tuple | list):
        return tuple(paired(function, *items) for items in zip(*trees, strict=True))
    return function(*trees)


def descent_step(params, x, y):
    return descended(squared_error, RATE, params, x, y)


def descent_loop(params, x, y):
    """Many steps on the same batch: the last value, the last parameters."""

    def step(params, _):
        value, params = descent_step(params, x, y)
        return params, value

    params, values = scan(step, params, None, length=STEPS)
    return values[-1], params


def logistic_epoch(params, x, labels, order):
    """Mini-batches in the given order; the last one is smaller."""

    def step(params, rows):
        value, params = descended(logistic, RATE, params, x[rows], labels[rows])
        return params, value

    whole = sizes(order)[0] // BATCH * BATCH
    params, _ = scan(step, params, order[:whole].reshape((-1, BATCH)))
    params, value = step(params, order[whole:])
    return value, params


def momentum_step(params, velocity, x, y):
    value, slopes = value_and_grad(cross_entropy)(params, x, y)
    velocity = paired(lambda v, g: MOMENTUM * v + g, velocity, slopes)
    return value, paired(lambda p, v: p - RATE * v, params, velocity), velocity


def adam_step(params, mean, square, count, x, y):
    """Kingma & Ba 2015, algorithm 1."""
    first, second = BETAS
    value, slopes = value_and_grad(cross_entropy)(params, x, y)
    count = count + 1
    mean = paired(lambda m, g: first * m + (1 - first) * g, mean, slopes)
    square = paired(lambda s, g: second * s + (1 - second) * g * g, square, slopes)
    root = np.sqrt(1 - second**count)
    rate = 1e-3 * root / (1 - first**count)
    params = paired(lambda p, m, s: p - rate * m / (np.sqrt(s) + 1e-8 * root), params, mean, square)
    return value, params, mean, square, count


# -- long arrays -----------------------------------------------------------------------------------


def chain(x):
    return np.sum(np.tanh(x) * np.exp(-(x**2)) + np.log1p(np.exp(x)) * np.sin(x))


def rosenbrock(x):
    return np.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def cumulative(x):
    """Of the normal distribution."""
    return 0.5 + 0.5 * erf(x * math.sqrt(0.5))


def black_scholes(spot, strike, time, rate, volatility):
    """The sum of the prices of European calls (Black & Scholes 1973)."""
    spread = volatility * np.sqrt(time)
    first = (np.log(spot / strike) + (rate + volatility**2 / 2) * time) / spread
    paid = strike * np.exp(-rate * time)
    return np.sum(spot * cumulative(first) - paid * cumulative(first - spread))


# -- a Gaussian mixture ----------------------------------------------------------------------------


def triangles(q, below):
    """Lower triangular matrices: exp(q) on the diagonal, the other elements row by row."""
    d = sizes(q)[1]
    place = numpy.zeros((d, d), int)
    place[numpy.tril_indices(d, -1)] = numpy.arange(d * (d - 1) // 2)
    return numpy.tri(d, k=-1) * below[:, place] + numpy.eye(d) * np.exp(q)[:, None, :]


def mixture(alphas, means, q, below, x):
    """ADBench's objective (Šrajer et al. 2018) with the Wishart prior of γ = 1 and m = 0."""
    (n, d), k = sizes(x), sizes(alphas)[0]
    scaled = np.einsum("kij,nkj->nki", triangles(q, below), x[:, None, :] - means)
    each = alphas + np.sum(q, axis=1) - 0.5 * np.sum(scaled**2, axis=2)
    likelihood = np.sum(logsumexp(each, 1)) - n * logsumexp(alphas, 0)
    prior = 0.5 * (np.sum(np.exp(2 * q)) + np.sum(below**2))
    return likelihood + prior + mixture_constant(n, k, d)


def logsumexp(x, axis):
    largest = np.max(x, axis=axis, keepdims=True)
    total = np.sum(np.exp(x - largest), axis=axis)
    return np.sum(largest, axis=axis) + np.log(total)


def mixture_constant(n, k, d):
    """Of the normal distributions, and the logarithm of the Wishart prior's normalising factor."""
    free = d + 1
    gamma = sum(math.lgamma(0.5 * (free - j)) for j in range(d))
    wishart = -free * d * 0.5 * math.log(2) - gamma - d * (d - 1) / 4 * math.log(math.pi)
    return -n * d * 0.5 * math.log(2 * math.pi) - k * wishart


# -- networks --------------------------------------------------------------------------------------


def convolutional(params, x, y):
    first, b1, second, b2, dense, b3 = params
    x = max_pool2d(np.maximum(conv2d(x, first) + b1, 0), 2)
    x = max_pool2d(np.maximum(conv2d(x, second) + b2, 0), 2)
    return cross_entropy(((dense, b3),), x.reshape((sizes(x)[0], -1)), y)


def normalised(x, gain, shift):
    """Layer norm."""
    x = x - np.mean(x, axis=-1, keepdims=True)
    variance = np.mean(x**2, axis=-1, keepdims=True)
    return x / np.sqrt(variance + 1e-5) * gain + shift


def gelu(x):
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def attention(params, x):
    """A block of one head before a network of two layers, each normalised and added."""
    query, key, value, out, g1, s1, g2, s2, w1, b1, w2, b2 = params
    z = normalised(x, g1, s1)
    scores = (z @ query) @ np.swapaxes(z @ key, 1, 2) * (1 / math.sqrt(sizes(query)[1]))
    weights = np.exp(scores - np.max(scores, axis=-1, keepdims=True))
    weights = weights / np.sum(weights, axis=-1, keepdims=True)
    x = x + weights @ (z @ value) @ out
    x = x + gelu(normalised(x, g2, s2) @ w1 + b1) @ w2 + b2
    return np.mean(x**2)


# -- second derivatives and Jacobians --------------------------------------------------------------


def logistic_of(w, x, labels):
    return np.mean(np.logaddexp(0, -labels * (x @ w)))


def logistic_hvp(w, v, x, labels):
    return hvp(lambda w: logistic_of(w, x, labels), (w,), (v,))


def logistic_hessian(w, x, labels):
    return hessian(lambda w: logistic_of(w, x, labels))(w)


def layer_jacobian(x, w):
    return jacobian(lambda x: np.tanh(w @ x))(x)
