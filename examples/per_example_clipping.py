"""Clip each example's gradient, as differentially private training does, without storing them.

Each is scaled down to a norm of at most LIMIT before the sum is taken. Written out, that keeps all
gradients. But the norms need none: the gradient of a dense layer is an outer product, which fuses
into the sum of its squares. And the clipped sum is the gradient of a weighted sum of losses.
"""

import numpy as np

import graphjit

LIMIT, BATCH = 4.0, 64


def loss(params, x, y):
    """The cross-entropy of one example."""
    for w, b in params[:-1]:
        x = np.tanh(x @ w + b)
    w, b = params[-1]
    logits = x @ w + b
    return graphjit.special.logsumexp(logits) - logits[y]


slopes = graphjit.grad(loss)
losses = graphjit.vmap(loss, in_axes=(None, 0, 0))


@graphjit.vmap(in_axes=(None, 0, 0))
def norms(params, x, y):
    """The norm of each example's gradient."""
    return np.sqrt(sum(np.sum(g**2) for layer in slopes(params, x, y) for g in layer))


@graphjit.jit
def stored(params, x, y):
    """The clipped sum, written out."""
    weights = np.minimum(1, LIMIT / norms(params, x, y))
    gradients = graphjit.vmap(slopes, in_axes=(None, 0, 0))(params, x, y)
    return [tuple(np.tensordot(weights, g, 1) for g in layer) for layer in gradients]


@graphjit.grad
def clipped(params, x, y):
    """The clipped sum, as the gradient of a weighted sum of losses."""
    weights = np.minimum(1, LIMIT / norms(params, x, y))
    return np.sum(graphjit.stop_gradient(weights) * losses(params, x, y))


if __name__ == "__main__":
    rng = np.random.default_rng(0)
    params = [(rng.normal(size=s) / np.sqrt(s[0]), np.zeros(s[1])) for s in [(20, 30), (30, 10)]]
    args = params, rng.normal(size=(BATCH, 20)), rng.integers(0, 10, BATCH)
    for f in (norms, clipped, stored):
        largest = max(node.aval.size for node in f.graph(*args).nodes)
        print(f"{f.__name__:8} largest array on the way: {largest / BATCH:.0f} numbers an example")
    sums = zip(sum(clipped(*args), ()), sum(stored(*args), ()), strict=True)
    gap = max(np.abs(a - b).max() for a, b in sums)
    print(f"clipped {np.mean(norms(*args) > LIMIT):.0%} of the examples; same sum, to {gap:.0e}")
    assert gap < 1e-12
