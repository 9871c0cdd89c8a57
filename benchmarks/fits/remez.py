"""Minimax polynomials by Remez's exchange, their coefficients rounded to a dtype.

Each is the best in the weighted maximum norm (Remez 1934; J.-M. Muller, Elementary Functions, 3rd
edition, section 3.4), found in 60 digits. The coefficients are rounded from the lowest on, the
others being fitted anew to what each rounding leaves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import mpmath as mp
import numpy as np

mp.mp.dps = 60
Function = Callable[[Any], Any]
ROUNDS, DENSITY = 20, 32


@dataclass(frozen=True)
class Fit:
    """A polynomial to find: of ``target`` on an interval, where an error weighs ``weight``.

    Attributes:
        size: Of the dtype that holds the coefficients, in bytes.
        terms: How many coefficients.
    """

    target: Function
    weight: Function
    low: Any
    high: Any
    size: int
    terms: int


def fits(
    target: Function, low: Any, high: Any, weight: Function | None = None, **terms: int
) -> dict[int, Fit]:
    """One by the size of each dtype: ``f8=6, f4=3`` are the numbers of terms.

    Errors are relative to the target unless there is a weight.
    """
    weight = weight or (lambda x: 1 / target(x))
    sizes = {int(name[1:]): count for name, count in terms.items()}
    return {size: Fit(target, weight, low, high, size, count) for size, count in sizes.items()}


def of_square(function: Function, high: Any, power: int, **terms: int) -> dict[int, Fit]:
    """For a function of x up to ``high``, in z = x**2, where an error weighs z to a power."""
    return fits(lambda z: function(mp.sqrt(z)), 0, high**2, lambda z: z**power, **terms)


@dataclass(frozen=True)
class Listed:
    """Numbers to round to a dtype of so many bytes: a table that is no polynomial."""

    size: int
    values: tuple[Any, ...]

    @property
    def terms(self) -> int:
        """How many numbers."""
        return len(self.values)


def nearest(listed: Listed) -> tuple[list[float], Any]:
    """The rounded numbers, and the largest relative error."""
    dtype = np.dtype(f"f{listed.size}").type
    found = [float(dtype(mp.nstr(v, 40))) for v in listed.values]
    return found, max(abs(f / v - 1) for f, v in zip(found, listed.values, strict=True) if v)


@dataclass(frozen=True)
class Ratio(Fit):
    """A quotient of polynomials: ``above`` terms, then those below but for the highest, a 1."""

    above: int


def ratio_of_square(function: Function, high: Any, **terms: tuple[int, int]) -> dict[int, Fit]:
    """The same as ``of_square``, where an error weighs z, with terms above and below."""
    return {
        int(name[1:]): Ratio(
            lambda z: function(mp.sqrt(z)), lambda z: z, 0, high**2, int(name[1:]), a + b, a
        )
        for name, (a, b) in terms.items()
    }


def interpolated(fit: Ratio) -> tuple[list[float], Any]:
    """The quotient that is right at the zeros of a Chebyshev polynomial: close to the best."""
    above, below, dtype = fit.above, fit.terms - fit.above, np.dtype(f"f{fit.size}").type
    rows, right = [], []
    for x in chebyshev(fit.low, fit.high, fit.terms):
        y = fit.target(x)
        rows.append([x**i for i in range(above)] + [-y * x**i for i in range(below)])
        right.append(y * x**below)
    solved = mp.lu_solve(mp.matrix(rows), mp.matrix(right))
    found = [float(dtype(mp.nstr(c, 40))) for c in solved]

    def error(x: Any) -> Any:
        quotient = mp.polyval(found[above - 1 :: -1], x) / mp.polyval(
            [1, *found[: above - 1 : -1]], x
        )
        return abs(fit.weight(x) * (quotient - fit.target(x)))

    return found, max(map(error, chebyshev(fit.low, fit.high, DENSITY * fit.terms)))


@dataclass(frozen=True)
class UnitRatio(Fit):
    """A quotient of polynomials that both begin with 1: ``above`` more terms, then those below."""

    above: int


def unit_quotient(fit: UnitRatio) -> tuple[list[float], Any]:
    """The same for this form; what the rounding of a coefficient loses goes to the later ones."""
    dtype, nodes = np.dtype(f"f{fit.size}").type, chebyshev(fit.low, fit.high, fit.terms)
    columns = [[x ** (i + 1) for x in nodes] for i in range(fit.above)]
    columns += [
        [-fit.target(x) * x ** (i + 1) for x in nodes] for i in range(fit.terms - fit.above)
    ]
    found, left = [mp.mpf(0)] * fit.terms, [fit.target(x) - 1 for x in nodes]
    for i in sorted(range(fit.terms), key=lambda i: i - fit.above * (i >= fit.above)):
        free = [j for j in range(fit.terms) if found[j] == 0]
        rows = mp.matrix([[columns[j][n] for j in free] for n in range(len(nodes))])
        best = mp.qr_solve(rows, mp.matrix(left))[0][free.index(i)]
        found[i] = mp.mpf(float(dtype(mp.nstr(best, 40))))
        left = [rest - found[i] * c for rest, c in zip(left, columns[i], strict=True)]

    def error(x: Any) -> Any:
        above = 1 + x * mp.polyval(found[: fit.above][::-1], x)
        below = 1 + x * mp.polyval(found[fit.above :][::-1], x)
        return abs(fit.weight(x) * (above / below - fit.target(x)))

    return [float(c) for c in found], max(map(error, chebyshev(fit.low, fit.high, 8 * DENSITY)))


@dataclass(frozen=True)
class Steps(Fit):
    """Polynomials around 0, ``high``, 2 ``high``, ...: term by term, each for all ``steps``.

    They are of the distance r from there, and r is taken off the target. The constant has two
    terms: what the first lacks is the second. The first polynomial is only for numbers that are
    not negative, and has no constant.
    """

    steps: int


def stepwise(fit: Steps) -> tuple[list[float], Any]:
    """The polynomials that are right at the zeros of Chebyshev polynomials."""
    dtype, rows, worst = np.dtype(f"f{fit.size}").type, [], mp.mpf(0)
    for i in range(fit.steps):
        exact, error = step_of(fit, i)
        first = float(dtype(mp.nstr(exact[0], 40)))
        rows.append([float(dtype(mp.nstr(c, 40))) for c in [first, exact[0] - first, *exact[1:]]])
        worst = max(worst, error)
    return [term for terms in zip(*rows, strict=True) for term in terms], worst


def step_of(fit: Steps, i: int) -> tuple[list[Any], Any]:
    """The coefficients of a step, and the largest weighted error."""
    count, centre, half = fit.terms // fit.steps - 1, i * fit.high, fit.high / 2
    first, low = (1, 0) if i == 0 else (0, -half)
    nodes = chebyshev(low, half, count - first)
    values = mp.matrix([fit.target(centre + r) - r for r in nodes])
    powers = mp.matrix([[r**j for j in range(first, count)] for r in nodes])
    exact = [mp.mpf(0)] * first + list(mp.lu_solve(powers, values))
    points = [(r, fit.target(centre + r)) for r in chebyshev(low, half, DENSITY)]
    return exact, max(abs(fit.weight(y) * (mp.polyval(exact[::-1], r) + r - y)) for r, y in points)


def minimax(fit: Fit | Listed) -> tuple[list[float], Any]:
    """The rounded coefficients, lowest first, and the largest weighted error."""
    if isinstance(fit, Listed):
        return nearest(fit)
    if isinstance(fit, Ratio):
        return interpolated(fit)
    if isinstance(fit, UnitRatio):
        return unit_quotient(fit)
    if isinstance(fit, Steps):
        return stepwise(fit)
    grid = chebyshev(fit.low, fit.high, DENSITY * (fit.terms + 1))
    values = [(fit.target(x), fit.weight(x)) for x in grid]
    chosen = list(range(DENSITY // 2, len(grid), DENSITY))
    for _ in range(ROUNDS):
        free = levelled([(grid[i], *values[i]) for i in chosen])
        peaks = extrema(errors(free, grid, values), len(chosen))
        if peaks == chosen:
            break
        chosen = peaks
    found = rounded(free, fit, list(zip(grid, values, strict=True))[:: DENSITY // 4])
    return [float(c) for c in found], max(map(abs, errors(found, grid, values)))


def chebyshev(low: Any, high: Any, count: int) -> list[Any]:
    """The zeros of a Chebyshev polynomial on an interval: never its middle, nor its ends."""
    middle, half = (mp.mpf(high) + low) / 2, (mp.mpf(high) - low) / 2
    return [middle - half * mp.cos(mp.pi * (2 * i + 1) / (2 * count)) for i in range(count)]


def levelled(points: list[tuple[Any, Any, Any]]) -> list[Any]:
    """The coefficients whose weighted error alternates at points, given with value and weight."""
    count = len(points) - 1
    rows = [[w * x**j for j in range(count)] + [(-1) ** i] for i, (x, _, w) in enumerate(points)]
    return list(mp.lu_solve(mp.matrix(rows), mp.matrix([w * y for _, y, w in points])))[:count]


def errors(coefficients: list[Any], grid: list[Any], values: list[tuple[Any, Any]]) -> list[Any]:
    """The weighted errors."""
    highest_first = coefficients[::-1]
    rows = zip(grid, values, strict=True)
    return [w * (mp.polyval(highest_first, x) - y) for x, (y, w) in rows]


def extrema(found: list[Any], wanted: int) -> list[int]:
    """Where the error is largest between changes of its sign; the largest neighbours."""
    places = [0]
    for i, error in enumerate(found):
        if (error > 0) != (found[places[-1]] > 0):
            places.append(i)
        elif abs(error) > abs(found[places[-1]]):
            places[-1] = i
    while len(places) > wanted:
        places.pop(0 if abs(found[places[0]]) < abs(found[places[-1]]) else -1)
    return places


def rounded(free: list[Any], fit: Fit, points: list[Any]) -> list[Any]:
    """The coefficients in the dtype; the later ones make up for what the earlier ones lose."""
    found, dtype = list(free), np.dtype(f"f{fit.size}").type
    for i in range(len(free)):
        wanted, found[i] = found[i], mp.mpf(float(dtype(mp.nstr(found[i], 40))))
        later = range(i + 1, len(free))
        if later:
            columns = mp.matrix([[w * x**j for j in later] for x, (_, w) in points])
            lost = mp.matrix([w * (wanted - found[i]) * x**i for x, (_, w) in points])
            for j, change in zip(later, mp.lu_solve(columns, lost), strict=True):
                found[j] += change
    return found
