"""Bundle adjustment: the reprojection errors of points seen by cameras, and their Jacobian.

A camera has a rotation vector, a centre, a focal length, a principal point and two coefficients of
radial distortion. (Objective of the ADBench suite, Šrajer et al. 2018.) The first camera is not
rotated: its angle is a norm at 0, where the axis is 0/0, and the Jacobian is right all the same.
"""

import numpy as np

import graphjit


def rotated(r, x):
    """Rodrigues' formula, one rotation vector for each point."""
    angle = np.sqrt(np.sum(r**2, axis=1, keepdims=True))
    with np.errstate(invalid="ignore"):
        axis = r / angle
    along = axis * np.sum(axis * x, axis=1, keepdims=True) * (1 - np.cos(angle))
    turned = x * np.cos(angle) + np.cross(axis, x) * np.sin(angle) + along
    return np.where(angle > 0, turned, x + np.cross(r, x))


def projected(camera, x):
    seen = rotated(camera[:, :3], x - camera[:, 3:6])
    plane = seen[:, :2] / seen[:, 2:]
    square = np.sum(plane**2, axis=1, keepdims=True)
    distortion = 1 + camera[:, 9:10] * square + camera[:, 10:] * square**2
    return camera[:, 6:7] * distortion * plane + camera[:, 7:9]


def residuals(cameras, points, weights, which, features):
    camera, point = which.T
    return weights[:, None] * (projected(cameras[camera], points[point]) - features)


rng = np.random.default_rng(0)
cameras = np.concatenate([rng.normal(size=(3, 10)) * 0.1, np.full((3, 1), 0.01)], axis=1)
cameras[:, 6] += 1
cameras[0, :3] = 0
points = rng.normal(size=(4, 3)) + np.array([0, 0, 5])
which = np.stack(np.meshgrid(range(3), range(4)), axis=-1).reshape(-1, 2)
weights = rng.uniform(0.5, 1.5, len(which))
features = rng.normal(size=(len(which), 2))
args = (cameras, points, weights, which, features)

by_camera, by_point = graphjit.jacobian(residuals, argnums=(0, 1))(*args)
assert np.isfinite(by_camera).all()
jacobian = np.concatenate([by_camera.reshape(24, 33), by_point.reshape(24, 12)], axis=1)
print(f"Jacobian of shape {jacobian.shape}, {np.mean(jacobian != 0):.0%} of it not zero")

step = 1e-6 * rng.normal(size=cameras.shape)
ahead, behind = (residuals(cameras + s * step, *args[1:]) for s in (1, -1))
gap = np.abs((ahead - behind) / 2 - np.tensordot(by_camera, step, 2)).max() / 1e-6
print(f"largest difference from a difference quotient: {gap:.0e}")
assert gap < 1e-7
