"""The lecture's second quiz: two hidden layers of sigmoids, and the slopes of both layers' weights.

u = sigmoid(alpha x), v = sigmoid(beta u), y = sigmoid(sum of v).
"""

import numpy as np

import graphjit


def sigmoid(t):
    return 1 / (1 + np.exp(-t))


def network(alpha, beta, x):
    u = sigmoid(alpha @ x)
    v = sigmoid(beta @ u)
    return sigmoid(np.sum(v))


def closed_form(alpha, beta, x):
    """The chain rule by hand, with sigmoid' = sigmoid (1 - sigmoid)."""
    u = sigmoid(alpha @ x)
    v = sigmoid(beta @ u)
    y = sigmoid(np.sum(v))
    dv = y * (1 - y) * v * (1 - v)  # with respect to beta u
    du = beta.T @ dv * u * (1 - u)  # with respect to alpha x
    return np.outer(du, x), np.outer(dv, u)


rng = np.random.default_rng(0)
x, alpha, beta = rng.normal(size=3), rng.normal(size=(4, 3)), rng.normal(size=(2, 4))
slopes = graphjit.value_and_grad(network, argnums=(0, 1))
y, (dalpha, dbeta) = slopes(alpha, beta, x)

np.set_printoptions(precision=10, suppress=True)
print(f"y = {y:.15f}\n\ndy/dbeta =\n{dbeta}\n\ndy/dalpha =\n{dalpha}\n")
by_hand = closed_form(alpha, beta, x)
gap = max(np.abs(dalpha - by_hand[0]).max(), np.abs(dbeta - by_hand[1]).max())
print(f"largest difference from the closed form: {gap:.1e}")
assert gap < 1e-15
graphjit.check_grads(network, (alpha, beta, x), argnums=(0, 1))
