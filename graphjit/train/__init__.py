"""Training loops that run natively: gradient descent, SGD and mini-batch SGD.

>>> import numpy as np
>>> from graphjit import train
>>> x, y = np.arange(4.0)[:, None], np.array([1.0, 3.0, 5.0, 7.0])
>>> loss = lambda w, x, y: np.mean((x @ w[:1] + w[1] - y) ** 2)
>>> result = train.gradient_descent(loss, np.zeros(2), (x, y), 0.1, steps=2000)
>>> result.params.round(6)
array([2., 1.])
"""

from graphjit.train.fit import (
    gradient_descent,
    minibatch_sgd,
    minimize,
    stochastic_gradient_descent,
)
from graphjit.train.one_step import train_step
from graphjit.train.optimizers import SGD, Adam, Optimizer, adam, apply_updates, sgd
from graphjit.train.result import TrainResult

__all__ = [
    "SGD",
    "Adam",
    "Optimizer",
    "TrainResult",
    "adam",
    "apply_updates",
    "gradient_descent",
    "minibatch_sgd",
    "minimize",
    "sgd",
    "stochastic_gradient_descent",
    "train_step",
]
