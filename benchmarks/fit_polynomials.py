"""Minimax polynomials for the vector mathematics: prints the coefficients in its tables.

Each is the best in the weighted maximum norm, found by Remez's exchange (Remez 1934; Muller,
*Elementary Functions*, 3rd edition, section 3.4) in 60 digits. The coefficients are rounded to
the dtype from the lowest on, the others being fitted anew to what each rounding leaves.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import mpmath as mp
import numpy as np

mp.mp.dps = 60
Function = Callable[[Any], Any]
ROUNDS = 12


@dataclass(frozen=True)
class Fit:
    """A polynomial to find: of ``target`` on an interval, where an error weighs ``weight``."""

    target: Function
    weight: Function
    low: Any
    high: Any
    degree: int
    dtype: Any


def chebyshev(fit: Fit, count: int) -> list[Any]:
    """The extrema of a Chebyshev polynomial, moved to the interval, which they do not touch."""
    middle, half = (fit.high + fit.low) / 2, (fit.high - fit.low) / 2
    return [middle - half * mp.cos(mp.pi * (2 * i + 1) / (2 * count)) for i in range(count)]


def levelled(target: Function, weight: Function, points: list[Any]) -> list[Any]:
    """The coefficients whose weighted error alternates at the points."""
    count = len(points) - 1
    matrix, values = mp.matrix(count + 1, count + 1), mp.matrix(count + 1, 1)
    for row, x in enumerate(points):
        for column in range(count):
            matrix[row, column] = x**column * weight(x)
        matrix[row, count] = (-1) ** row
        values[row] = target(x) * weight(x)
    return list(mp.lu_solve(matrix, values))[:count]


def value(coefficients: list[Any], x: Any) -> Any:
    """The polynomial at x."""
    return mp.polyval(coefficients[::-1], x)


def exchanged(grid: list[Any], errors: list[Any], count: int) -> list[Any]:
    """The places of the largest errors of alternating sign."""
    best: list[int] = []
    for i, error in enumerate(errors):
        if best and (errors[best[-1]] > 0) == (error > 0):
            best[-1] = max(best[-1], i, key=lambda j: abs(errors[j]))
        else:
            best.append(i)
    while len(best) > count:
        best.pop(0 if abs(errors[best[0]]) < abs(errors[best[-1]]) else -1)
    return [grid[i] for i in best]


def minimax(fit: Fit) -> tuple[list[float], Any]:
    """The rounded coefficients, lowest first, and the largest weighted error."""
    count = fit.degree + 2
    grid = chebyshev(fit, 40 * count)
    targets, weights = [fit.target(x) for x in grid], [fit.weight(x) for x in grid]

    def errors(coefficients: list[Any]) -> list[Any]:
        rows = zip(targets, grid, weights, strict=True)
        return [(t - value(coefficients, x)) * w for t, x, w in rows]

    points, free = chebyshev(fit, count), [mp.mpf(0)]
    for _ in range(ROUNDS):
        free = levelled(fit.target, fit.weight, points)
        moved = exchanged(grid, errors(free), count)
        if moved == points or len(moved) < count:
            break
        points = moved
    fixed = rounded(free, fit, grid[::8])
    return [float(c) for c in fixed], max(map(abs, errors(fixed)))


def rounded(free: list[Any], fit: Fit, grid: list[Any]) -> list[Any]:
    """The coefficients in the dtype; the later ones make up for what the earlier ones lose."""
    free = list(free)
    for i in range(len(free)):
        exact, free[i] = free[i], mp.mpf(float(fit.dtype(mp.nstr(free[i], 40))))
        if i + 1 < len(free):
            columns = [[fit.weight(x) * x**j for j in range(i + 1, len(free))] for x in grid]
            lost = [fit.weight(x) * (exact - free[i]) * x**i for x in grid]
            for j, change in enumerate(mp.lu_solve(mp.matrix(columns), mp.matrix(lost))):
                free[i + 1 + j] += change
    return free


F64, F32 = np.float64, np.float32
HALF = mp.log(2) / 2
# No point of a grid falls on 0, where a weight vanishes; each interval is a little too long.
LOW, HIGH = -HALF * mp.mpf("1.0004"), HALF * mp.mpf("1.0005")
LEAST = mp.mpf("1e-30")
QUOTIENT = (3 - 2 * mp.sqrt(2)) ** 2 * mp.mpf("1.001")  # of (f / (2 + f))**2 for the logarithm


def exponentials(dtype: Any, degree: int) -> dict[str, Fit]:
    """For exp, expm1 and exp2."""
    half = mp.mpf("0.50025")

    def rest(r: Any) -> Any:
        return (mp.exp(r) - 1 - r) / r**2

    def binary(r: Any) -> Any:
        return (mp.mpf(2) ** r - 1) / r

    def share(r: Any) -> Any:
        return abs(r) / mp.mpf(2) ** r

    return {
        "exp": Fit(rest, lambda r: r**2 / mp.exp(r), LOW, HIGH, degree, dtype),
        "expm1": Fit(rest, abs, LOW, HIGH, degree + 1, dtype),
        "exp2": Fit(binary, share, -half * mp.mpf("0.9999"), half, degree + 1, dtype),
    }


def hyperbolics(dtype: Any, degree: int) -> dict[str, Fit]:
    """For sinh and cosh, in the square."""

    def sinh(z: Any) -> Any:
        return (mp.sinh(mp.sqrt(z)) / mp.sqrt(z) - 1) / z

    def cosh(z: Any) -> Any:
        return (mp.cosh(mp.sqrt(z)) - 1) / z

    return {
        "sinh": Fit(sinh, lambda z: z, LEAST, HIGH**2, degree, dtype),
        "cosh": Fit(cosh, lambda z: z, LEAST, HIGH**2, degree, dtype),
    }


def artanh(z: Any) -> Any:
    """``(artanh(s) / s - 1) / z`` for z = s**2."""
    return (mp.atanh(mp.sqrt(z)) / mp.sqrt(z) - 1) / z


def logarithms(dtype: Any, degree: int) -> dict[str, Fit]:
    """For the logarithms."""
    return {"log": Fit(lambda z: 2 * artanh(z), lambda z: z, LEAST, QUOTIENT, degree, dtype)}


def direct() -> dict[str, Fit]:
    """For float32's logarithms, which do without a division."""
    low, high = mp.sqrt(0.5) - 1, (mp.sqrt(2) - 1) * mp.mpf("1.0001")

    def rest(f: Any) -> Any:
        return (mp.log(1 + f) - f + f**2 / 2) / f**3

    return {"log short": Fit(rest, lambda f: f**3 / mp.log(1 + f), low, high, 7, F32)}


def roots(dtype: Any, degree: int) -> dict[str, Fit]:
    """For the cube root: an inverse one."""
    third, low, high = mp.mpf(1) / 3, mp.sqrt(0.5) - 1, mp.sqrt(2) - 1

    def inverse(f: Any) -> Any:
        return (1 + f) ** -third

    return {"cbrt": Fit(inverse, lambda f: 1 / inverse(f), low, high, degree, dtype)}


def powers() -> dict[str, Fit]:
    """For float64's powers, and for float32's."""
    least = mp.mpf("1e-12")

    def beyond(z: Any) -> Any:
        return (artanh(z) - mp.mpf(1) / 3) / z

    def short(z: Any) -> Any:
        return 2 / mp.log(2) * artanh(z)

    return {
        "power long": Fit(beyond, lambda z: z**2, least, QUOTIENT, 7, F64),
        "power short": Fit(short, lambda z: z, least, QUOTIENT, 4, F64),
    }


GROUPS = ((exponentials, 9, 4), (hyperbolics, 4, 2), (logarithms, 6, 3), (roots, 11, 5))


def fits() -> dict[str, Fit]:
    """What the tables hold, by name."""
    found = powers() | direct()
    for group, double, single in GROUPS:
        for dtype, degree in ((F64, double), (F32, single)):
            for name, fit in group(dtype, degree).items():
                found[f"{name} {dtype.__name__}"] = fit
    return found


def main(names: list[str]) -> None:
    """Print the fits whose names begin so."""
    for name, fit in fits().items():
        if not names or any(name.startswith(n) for n in names):
            coefficients, error = minimax(fit)
            print(f"{name}: degree {fit.degree}, error 2**{float(mp.log(error, 2)):.2f}")
            for c in coefficients:
                print(f"    {c!r},")


if __name__ == "__main__":
    main(sys.argv[1:])
