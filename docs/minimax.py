"""The coefficients of the vector mathematics: minimax polynomials, by Remez's exchange.

    python docs/minimax.py erf_near 12

prints the coefficients of a fit of so many terms and the largest weighed error. The weight turns
the error of the polynomial into that of the function's result.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import mpmath as mp

mp.mp.dps = 60
Number = Any


class Fit(NamedTuple):
    """What is approximated on [low, high], and how much an error counts at each point."""

    function: Callable[[Number], Number]
    low: Number
    high: Number
    weight: Callable[[Number], Number] = lambda x: mp.mpf(1)


def even(function: Callable[[Number], Number], *series: Number) -> Callable[[Number], Number]:
    """A function of x^2 from one of x; its series where that cancels."""

    def of_square(z: Number) -> Number:
        if abs(z) < mp.mpf(10) ** -20:
            return series[0] + series[1] * z
        return function(mp.sqrt(z))

    return of_square


def from_zero(d: Number, at_zero: Number, otherwise: Callable[[], Number]) -> Number:
    """A value, but where it is 0/0 its limit."""
    return at_zero if abs(d) < mp.mpf(10) ** -25 else otherwise()


def tail(centre: Number) -> Callable[[Number], Number]:
    """(x + 4) exp(x^2) erfc(x) at (x - 4)/(x + 4) = v + centre."""

    def of(v: Number) -> Number:
        x = 4 * (1 + v + centre) / (1 - v - centre)
        return (x + 4) * mp.exp(x * x) * mp.erfc(x)

    return of


def stirling(x: Number) -> Number:
    """What Stirling's formula lacks, times x."""
    return x * (mp.loggamma(x) - (x - 0.5) * mp.log(x) + x - mp.log(2 * mp.pi) / 2)


def slope(x: Number) -> Number:
    """What digamma lacks, times -x^2."""
    return x * x * (mp.log(x) - 1 / (2 * x) - mp.digamma(x))


def relative(function: Callable[[Number], Number]) -> Callable[[Number], Number]:
    """The weight that makes errors relative."""
    return lambda x: 1 / function(x)


def place(x: Number, centre: Number) -> Number:
    """Where x lies on the axis of ``tail``."""
    return (x - 4) / (x + 4) - centre


ROOT = mp.findroot(mp.digamma, 1.46)
EIGHTH, CENTRE, CENTRE_32 = (mp.pi / 4 * mp.mpf("1.0001")) ** 2, mp.mpf("0.34375"), mp.mpf("0.375")
HALF_LOG2 = mp.log(2) / 2 * mp.mpf("1.001")
ERF = even(lambda x: mp.erf(x) / x - 1, 2 / mp.sqrt(mp.pi) - 1, -2 / mp.sqrt(mp.pi) / 3)
LOG_ERFC = Fit(lambda s: mp.log(mp.erfc(s + 1)), 0, 5, lambda s: mp.erfc(s + 1) + mp.mpf(10) ** -18)


def near_two(d: Number) -> Number:
    """Log gamma(2 + d)/(d (d + 1))."""
    return from_zero(d, 1 - mp.euler, lambda: mp.loggamma(2 + d) / d / (d + 1))


def rooted(d: Number) -> Number:
    """Digamma over the distance from its zero."""
    return from_zero(d, mp.psi(1, ROOT), lambda: mp.digamma(ROOT + d) / d)


FITS = {
    "sine": Fit(
        even(lambda x: (mp.sin(x) / x - 1) / x**2, -mp.mpf(1) / 6, mp.mpf(1) / 120),
        0, EIGHTH, lambda z: z + mp.mpf(10) ** -9,
    ),
    "cosine": Fit(
        even(lambda x: (mp.cos(x) - 1 + x * x / 2) / x**4, mp.mpf(1) / 24, -mp.mpf(1) / 720),
        0, EIGHTH, lambda z: z * z + mp.mpf(10) ** -9,
    ),
    "arcsine": Fit(
        even(lambda x: (mp.asin(x) / x - 1) / x**2, mp.mpf(1) / 6, mp.mpf(3) / 40),
        0, mp.mpf("0.2501"), lambda z: z + mp.mpf(10) ** -9,
    ),
    "arctangent": Fit(
        even(lambda x: (mp.atan(x) / x - 1) / x**2, -mp.mpf(1) / 3, mp.mpf(1) / 5),
        0, 1, lambda z: z + mp.mpf(10) ** -9,
    ),
    "erf_near": Fit(ERF, 0, 1, lambda z: 1 / (1 + ERF(z))),
    "erf_far": LOG_ERFC,
    "erf_far_32": LOG_ERFC._replace(high=3),
    "erfc_tail": Fit(
        tail(CENTRE), place(mp.mpf("0.9999"), CENTRE), place(mp.mpf(28), CENTRE),
        relative(tail(CENTRE)),
    ),
    "erfc_tail_32": Fit(
        tail(CENTRE_32), place(mp.mpf("0.9999"), CENTRE_32), place(mp.mpf("10.5"), CENTRE_32),
        relative(tail(CENTRE_32)),
    ),
    "power": Fit(
        lambda r: from_zero(r, mp.mpf(1) / 2, lambda: (mp.exp(r) - 1 - r) / r**2),
        -HALF_LOG2, HALF_LOG2, lambda r: r * r + mp.mpf(10) ** -9,
    ),
    "gammaln_near": Fit(near_two, mp.mpf("-0.8126"), mp.mpf("0.5001"), relative(near_two)),
    "gammaln_far": Fit(
        even(lambda y: stirling(1 / y), mp.mpf(1) / 12, -mp.mpf(1) / 360), 0, mp.mpf("7.499") ** -2
    ),
    "digamma_far": Fit(
        even(lambda y: slope(1 / y), mp.mpf(1) / 12, -mp.mpf(1) / 120), 0, mp.mpf("7.999") ** -2
    ),
    "digamma_near": Fit(
        rooted, mp.mpf("0.9999") - ROOT, mp.mpf("2.0001") - ROOT, relative(rooted)
    ),
}  # fmt: skip


def minimax(fit: Fit, terms: int, rounds: int = 12) -> tuple[list[Number], Number]:
    """The polynomial whose largest weighed error is least, and that error.

    The error alternates in sign at ``terms + 1`` points; they move to where it is largest.
    """
    low, high = mp.mpf(fit.low), mp.mpf(fit.high)
    count = 16 * (terms + 1)
    nodes = [mp.cos(mp.pi * i / count) for i in range(count, -1, -1)]
    grid = [(low + high) / 2 + (high - low) / 2 * t for t in nodes]
    values, weights = [fit.function(x) for x in grid], [fit.weight(x) for x in grid]
    basis = [[mp.chebyt(j, t) for j in range(terms)] for t in nodes]
    chosen = [round(count * i / terms) for i in range(terms + 1)]
    for _ in range(rounds):
        solution = alternating(chosen, basis, values, weights)
        errors = [
            weights[i] * (mp.fdot(solution[:terms], basis[i]) - values[i]) for i in range(count + 1)
        ]
        peaks = extrema(errors, terms + 1)
        if len(peaks) <= terms or peaks == chosen:
            break
        chosen = peaks
    return in_powers(solution[:terms], low, high), max(map(abs, errors))


def alternating(chosen: list[int], basis: Any, values: Any, weights: Any) -> list[Number]:
    """Chebyshev coefficients and the error, which has alternate signs at the chosen points."""
    rows = [[*basis[i], (-1) ** n / weights[i]] for n, i in enumerate(chosen)]
    return list(mp.lu_solve(mp.matrix(rows), mp.matrix([values[i] for i in chosen])))


def extrema(errors: list[Number], wanted: int) -> list[int]:
    """Where the error is largest between changes of its sign; the largest neighbours."""
    found = [0]
    for i, error in enumerate(errors):
        if (error > 0) != (errors[found[-1]] > 0):
            found.append(i)
        elif abs(error) > abs(errors[found[-1]]):
            found[-1] = i
    while len(found) > wanted:
        found.pop(0 if abs(errors[found[0]]) < abs(errors[found[-1]]) else -1)
    return found


def in_powers(coefficients: list[Number], low: Number, high: Number) -> list[Number]:
    """A sum of Chebyshev polynomials on [low, high] as one of powers."""
    slope, start = 2 / (high - low), -(low + high) / (high - low)
    total = [mp.mpf(0)] * len(coefficients)
    for degree, factor in enumerate(coefficients):
        inner = [mp.mpf(c) for c in mp.taylor(lambda t, n=degree: mp.chebyt(n, t), 0, degree)]
        shifted = [mp.mpf(0)]
        for c in reversed(inner):
            lifted = [a * start for a in shifted] + [mp.mpf(0)]
            shifted = [a + slope * b for a, b in zip(lifted, [mp.mpf(0), *shifted], strict=True)]
            shifted[0] += c
        for i, c in enumerate(shifted[: len(total)]):
            total[i] += factor * c
    return total


if __name__ == "__main__":
    found, error = minimax(FITS[sys.argv[1]], int(sys.argv[2]))
    print(f"error 2**{float(mp.log(error, 2)):.2f}")  # noqa: T201 - a script prints
    print("\n".join(repr(float(c)) for c in found))  # noqa: T201 - a script prints
