"""Newton's method on a boundary value problem: u'' = exp(u) between two walls at 0.

The finite difference equations join each point to its two neighbours, so the Jacobian is
tridiagonal: three products with it, whatever the number of points, are all that is computed.
"""

import time

import numpy as np
from scipy.sparse.linalg import spsolve

from graphjit import sparse

POINTS = 100_000
STEP = 1 / (POINTS + 1)


def residual(u):
    wall = np.zeros(1)
    left, right = np.concatenate([wall, u[:-1]]), np.concatenate([u[1:], wall])
    return left - 2 * u + right - STEP**2 * np.exp(u)


def exact(t):
    """The solution log(c² / 2 cos²(c (t - 1/2) / 2)), where c makes it 0 at both walls."""
    low, high = 0.0, 2.0
    for _ in range(60):
        c = (low + high) / 2
        low, high = (c, high) if c / np.cos(c / 4) < np.sqrt(2) else (low, c)
    return np.log(c**2 / 2) - 2 * np.log(np.cos(c / 2 * (t - 0.5)))


jacobian = sparse.jacobian(residual)
u = np.zeros(POINTS)
started = time.perf_counter()
coloring = jacobian.coloring(u)
print(f"{coloring} found and compiled in {time.perf_counter() - started:.1f} s\n")

for iteration in range(20):
    f = residual(u)
    started = time.perf_counter()
    matrix = jacobian(u)
    taken = time.perf_counter() - started
    du = spsolve(matrix.tocsc(), -f)
    u = u + du
    change = np.abs(du).max()
    print(f"iteration {iteration + 1}: Jacobian in {1e3 * taken:.1f} ms, change {change:.1e}")
    if change < 1e-8:
        break

error = np.abs(u - exact(np.arange(1, POINTS + 1) * STEP)).max()
print(f"\nlargest difference from the closed form: {error:.1e}")
assert coloring.colors == 3
assert iteration < 6
assert error < 1e-6
