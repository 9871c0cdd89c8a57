"""Hand tracking: the distances of a skinned model from measured points, and a fit of its pose.

Bones turn about their parents' ends; every vertex follows several bones. (After the objective of
the ADBench suite, Taylor et al. 2014, with a small skeleton.)
"""

import numpy as np
from scipy.optimize import least_squares

import graphjit

PARENTS = (-1, 0, 1, 0, 3)  # two fingers of two bones at a palm
ENDS = np.array([[0, 0, 0], [0, 1, 0], [0, 0.8, 0], [0.5, 1, 0], [0, 0.7, 0]])


def turns(angles):
    """For each bone the rotation about x, then y, then z."""
    c, s = np.cos(angles).T, np.sin(angles).T
    zero, one = np.zeros_like(c[0]), np.ones_like(c[0])
    x = np.stack([one, zero, zero, zero, c[0], -s[0], zero, s[0], c[0]], axis=1)
    y = np.stack([c[1], zero, s[1], zero, one, zero, -s[1], zero, c[1]], axis=1)
    z = np.stack([c[2], -s[2], zero, s[2], c[2], zero, zero, zero, one], axis=1)
    return z.reshape(-1, 3, 3) @ y.reshape(-1, 3, 3) @ x.reshape(-1, 3, 3)


def posed(theta):
    """The rotation and the place of every bone."""
    own, rotations, places = turns(theta[1:]), [], []
    for bone, parent in enumerate(PARENTS):
        if parent < 0:
            rotations.append(own[bone])
            places.append(theta[0])
        else:
            rotations.append(rotations[parent] @ own[bone])
            places.append(places[parent] + rotations[parent] @ ENDS[bone])
    return np.stack(rotations), np.stack(places)


def residuals(theta, vertices, weights, measured):
    rotations, places = posed(theta)
    followed = np.einsum("bij,vj->vbi", rotations, vertices) + places
    return np.sum(weights[:, :, None] * followed, axis=1) - measured


rng = np.random.default_rng(0)
vertices = rng.normal(size=(30, 3)) * 0.3
weights = rng.dirichlet(np.full(len(PARENTS), 0.3), 30)
pose = rng.normal(size=(1 + len(PARENTS), 3)) * 0.4
measured = residuals(pose, vertices, weights, 0.0)

start = np.zeros_like(pose)
jacobian = graphjit.jacobian(residuals)
fit = least_squares(
    lambda t: residuals(t.reshape(6, 3), vertices, weights, measured).ravel(), start.ravel(),
    jac=lambda t: jacobian(t.reshape(6, 3), vertices, weights, measured).reshape(90, 18),
)  # fmt: skip
error = np.abs(fit.x - pose.ravel()).max()
print(f"pose found to {error:.0e} in {fit.nfev} evaluations")
assert error < 1e-12
