"""Train a network on handwritten digits: the main job of `make demo`.

`python examples/digits.py folder` writes its pictures to `folder`, by default to `demo-output`.
"""

import sys
import time
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import graphjit
from graphjit import train

SIZES, BATCH, EPOCHS, RATE = (64, 64, 32, 10), 32, 60, 1.0


def loss(params, x, y):
    """The mean cross-entropy of a batch: images x, one a row, and their digits y."""
    logits = forward(params, x)[-1]
    logp = logits - np.log(np.sum(np.exp(logits), axis=1, keepdims=True))
    return -np.mean(logp[np.arange(len(y)), y])


def forward(params, x):
    """The values of all layers: sigmoids, then the logits."""
    layers = [x]
    for w, b in params[:-1]:
        layers.append(1 / (1 + np.exp(-(layers[-1] @ w + b))))
    return [*layers, layers[-1] @ params[-1][0] + params[-1][1]]


def numpy_training(params, x, y):
    """The same training with the gradient by hand: what GraphJIT's loop replaces."""
    params, rng = [[w.copy(), b.copy()] for w, b in params], np.random.default_rng(0)
    for order in (rng.permutation(len(x)) for _ in range(EPOCHS)):
        for batch in np.split(order, range(BATCH, len(x), BATCH)):
            *layers, logits = forward(params, x[batch])
            g = np.exp(logits)
            g /= g.sum(axis=1, keepdims=True)
            g[np.arange(len(batch)), y[batch]] -= 1
            g /= len(batch)
            for layer, (w, b) in zip(reversed(layers), reversed(params), strict=True):
                gw, gb = layer.T @ g, g.sum(axis=0)
                g = g @ w.T * layer * (1 - layer)
                w -= RATE * gw
                b -= RATE * gb
    return params


digits = load_digits()
x, x_test, y, y_test = train_test_split(digits.data / 16, digits.target, random_state=0)
rng = np.random.default_rng(0)
shapes = list(zip(SIZES, SIZES[1:]))
params = [(rng.normal(0, n**-0.5, (n, m)), np.zeros(m)) for n, m in shapes]
result = train.minibatch_sgd(loss, params, (x, y), RATE, batch_size=BATCH, epochs=EPOCHS, progress=True)
start = time.perf_counter()
by_hand = numpy_training(params, x, y)
seconds = time.perf_counter() - start
diff = max(np.abs(a - b).max() for p, q in zip(result.params, by_hand) for a, b in zip(p, q))
acc = np.mean(forward(result.params, x_test)[-1].argmax(1) == y_test)
print(result.steps, result.compile_seconds, result.steps / result.seconds, result.steps / seconds, diff, acc, result.epoch_losses[[0,5,10,20,-1]])
