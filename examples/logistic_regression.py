"""Breast cancer by logistic regression, with the lecture's three forms of gradient descent.

`python logistic_regression.py [folder]` writes a picture of the three losses to the folder.
"""

import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split

from graphjit import train


def score(theta, x):
    return x @ theta["w"] + theta["b"]


def loss(theta, x, y):
    """The mean of -log p(y | x), where p(1 | x) is the sigmoid of the score."""
    s = score(theta, x)
    return np.mean(np.logaddexp(0, s) - y * s)


x, y = load_breast_cancer(return_X_y=True)
x, x_test, y, y_test = train_test_split(x, y.astype(float), test_size=0.25, random_state=0)
mean, deviation = x.mean(axis=0), x.std(axis=0)
x, x_test = (x - mean) / deviation, (x_test - mean) / deviation
theta = {"w": np.zeros(x.shape[1]), "b": 0.0}

runs = {
    "gradient descent: all 426 examples": train.gradient_descent(
        loss, theta, (x, y), 0.1, steps=5000, tolerance=1e-5
    ),
    "SGD: one example": train.stochastic_gradient_descent(
        loss, theta, (x, y), 0.01, epochs=20, seed=0
    ),
    "mini-batch SGD: 32 examples": train.minibatch_sgd(
        loss, theta, (x, y), 0.1, batch_size=32, epochs=20, seed=0
    ),
}
figure = Figure(figsize=(12, 3.5), layout="constrained")
for axes, (title, run) in zip(figure.subplots(1, 3, sharey=True), runs.items(), strict=True):
    accuracy = np.mean((score(run.params, x_test) > 0) == y_test)
    print(f"{title:<35} {run.reason:>9} after {run.steps:>4,} steps, {accuracy:.1%} held-out")
    assert accuracy > 0.95
    axes.plot(np.arange(run.steps) / run.steps_per_epoch, run.losses, "c.", markersize=1)
    axes.plot(np.arange(len(run.epoch_losses)) + 0.5, run.epoch_losses, "k")
    axes.set(title=title, xlabel="passes over the data", ylabel="loss", ylim=(0, 0.7))
axes.legend(["each step", "mean of each pass"], loc="upper right", markerscale=8)
folder = Path(sys.argv[1] if len(sys.argv) > 1 else "demo-output")
folder.mkdir(parents=True, exist_ok=True)
figure.savefig(folder / "logistic-regression.png", dpi=150)
