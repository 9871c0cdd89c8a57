"""The training of digits.py in plain NumPy, the backward pass by hand: what it is compared with."""

import time

import numpy as np


def forward(params, x):
    """The values of all layers: the pixels, layers of sigmoids, the logits."""
    layers = [x]
    for w, b in params[:-1]:
        layers.append(1 / (1 + np.exp(-(layers[-1] @ w + b))))
    return [*layers, layers[-1] @ params[-1][0] + params[-1][1]]


def step(params, x, y, rate):
    """One update, in place, from the last layer to the first."""
    *layers, logits = forward(params, x)
    g = np.exp(logits)
    g /= np.sum(g, axis=1, keepdims=True)
    g[np.arange(len(y)), y] -= 1
    g /= len(y)
    for layer, (w, b) in zip(reversed(layers), reversed(params), strict=True):
        below = g @ w.T * layer * (1 - layer)
        np.subtract(w, rate * (layer.T @ g), out=w)
        np.subtract(b, rate * g.sum(axis=0), out=b)
        g = below


def train(params, x, y, rate, batch_size, epochs):
    """Mini-batch SGD over the batches of graphjit.train, in its order; and the seconds it took."""
    params, rng = [(w.copy(), b.copy()) for w, b in params], np.random.default_rng(0)
    start = time.perf_counter()
    for _ in range(epochs):
        for batch in np.split(rng.permutation(len(x)), range(batch_size, len(x), batch_size)):
            step(params, x[batch], y[batch], rate)
    return params, time.perf_counter() - start


def gap(params, others):
    """The largest difference between two sets of parameters."""
    pairs = zip(params, others, strict=True)
    return max(np.abs(a - b).max() for layers in pairs for a, b in zip(*layers, strict=True))
