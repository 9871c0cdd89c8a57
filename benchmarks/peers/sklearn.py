"""scikit-learn: the loss and gradient that its logistic regression hands to its solver."""

from __future__ import annotations

from typing import Any

import numpy as np
from peers.interface import Unsupported
from peers.problems import Problem
from sklearn._loss import HalfBinomialLoss
from sklearn.linear_model._linear_loss import LinearModelLoss


class Gradient:
    """``LinearModelLoss.loss_gradient``, as ``LogisticRegression.fit`` calls it."""

    def __init__(self, args: tuple[Any, ...]) -> None:
        (w, b), self.x, labels = args
        self.coefficients = np.append(w, b)
        self.labels = (labels > 0).astype(float)
        self.model = LinearModelLoss(base_loss=HalfBinomialLoss(), fit_intercept=True)

    def compile(self) -> dict[str, float]:
        """There is nothing to compile."""
        return {}

    def run(self) -> Any:
        """Loss and gradient."""
        return self.model.loss_gradient(self.coefficients, self.x, self.labels, n_threads=1)

    def arrays(self, result: Any) -> list[np.ndarray]:
        """The intercept is the last coefficient."""
        value, slopes = result
        return [np.asarray(value), slopes[:-1], slopes[-1]]


class Sklearn:
    """It has the models, and shows losses and gradients of none."""

    name = "scikit-learn"

    def warm_up(self) -> None:
        """There is nothing to load."""

    def build(self, problem: Problem, args: tuple[Any, ...]) -> Gradient:
        """Its solvers take other steps than ours, so that no loop or step can be compared."""
        if problem.function != "logistic":
            raise Unsupported("no such model, or no access to its gradient")
        return Gradient(args)


PEERS = {"": Sklearn}
