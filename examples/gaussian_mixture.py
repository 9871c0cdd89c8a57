"""Fit of a Gaussian mixture: the log-likelihood and its gradient, certified in five ways.

The covariances are given by inverse square roots: a triangle with exp(q) on its diagonal, and a
Wishart prior keeps them away from zero. (Objective of the ADBench suite, Šrajer et al. 2018.)
"""

import numpy as np

import graphjit
from graphjit.special import logsumexp

GAMMA, DEGREES = 1.0, 0  # of the prior


def triangles(q, below):
    """Lower triangular matrices: exp(q) on the diagonal, the other elements row by row."""
    d = q.shape[1]
    place = np.zeros((d, d), int)
    place[np.tril_indices(d, -1)] = np.arange(below.shape[1])
    inside = np.tri(d, k=-1)
    return inside * below[:, place] + np.eye(d) * np.exp(q)[:, None, :]


def log_likelihood(alphas, means, q, below, x):
    from_mean = x[:, None, :] - means
    scaled = np.einsum("kij,nkj->nki", triangles(q, below), from_mean)
    each = alphas + np.sum(q, axis=1) - 0.5 * np.sum(scaled**2, axis=2)
    n, d = x.shape
    likelihood = np.sum(logsumexp(each, axis=1)) - n * logsumexp(alphas)
    prior = 0.5 * GAMMA**2 * (np.sum(np.exp(2 * q)) + np.sum(below**2)) - DEGREES * np.sum(q)
    return likelihood - n * d * 0.5 * np.log(2 * np.pi) - prior


rng = np.random.default_rng(0)
n, k, d = 40, 3, 3
centres = rng.normal(size=(k, d)) * 3
x = centres[rng.integers(0, k, n)] + rng.normal(size=(n, d)) * 0.5
start = (np.zeros(k), rng.normal(size=(k, d)), np.zeros((k, d)), np.zeros((k, d * (d - 1) // 2)))

certificate = graphjit.certify(log_likelihood, (*start, x), argnums=(0, 1, 2, 3), entries=3)
print(certificate)
certificate.check()

slopes = graphjit.value_and_grad(log_likelihood, argnums=(0, 1, 2, 3))
params, values = start, []
for _ in range(300):
    value, gradients = slopes(*params, x)
    params = tuple(p + 0.01 * g for p, g in zip(params, gradients, strict=True))
    values.append(value)
print(f"log-likelihood {values[0]:.1f} -> {values[-1]:.1f}")
assert values[-1] > values[0] + 50
