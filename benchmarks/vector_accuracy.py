"""The largest error of each function of the vector mathematics, in units in the last place (ULP).

python benchmarks/vector_accuracy.py [names of functions]

Against long doubles of 64 digits, and mpmath where NumPy has no such function; with all that the
processor has, without AVX-512's ways to split and scale numbers, and without fma; at random numbers
where the function is mostly used, and of all exponents. Numbers beyond the LIMIT of
``turns`` are left out: there the C library is asked.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import harness
import mpmath as mp
import numpy as np

from graphjit.codegen.mathematics.describe import APART, PLACES, scalar_function
from graphjit.codegen.mathematics.turns import LIMIT
from graphjit.codegen.mathematics.vector import over_arrays

LONG = np.longdouble
COUNT, FEW = 200_000, 20_000  # numbers of an interval, and where mpmath is asked
INTERVALS = {
    "exp": ((-745, 709), (-104, 88)), "exp2": ((-1074, 1023), (-149, 128)),
    "expm1": ((-40, 10), (-3, 3)), "log1p": ((-1, 3), (-0.5, 1)), "arccosh": ((1, 3), (1, 1.1)),
    "sinh": ((-700, 700), (-88, 88), (-3, 3)), "cosh": ((-700, 700), (-88, 88), (-3, 3)),
    "sin": ((-4, 4), (-LIMIT, LIMIT)), "cos": ((-4, 4), (-LIMIT, LIMIT)),
    "tan": ((-4, 4), (-LIMIT, LIMIT)), "arcsin": ((-1, 1), (0.4, 0.6)), "expit": ((-700, 40),),
    "arccos": ((-1, 1), (0.4, 0.6)), "arctanh": ((-1, 1),), "logit": ((0, 1), (0.4, 0.6)),
    **dict.fromkeys(("log", "log2", "log10"), ((0, 3), (0.7, 0.8), (1.4, 1.5))),
    "power": ((0, 30), (-3, 3)), "erf": ((-6, 6), (0.9, 1.2)), "erfc": ((-6, 27), (0.9, 2)),
    "gammaln": ((0, 3), (0.9, 2.1), (2, 200), (-40, 0)), "digamma": ((0.1, 1), (1, 2), (2, 200)),
}  # fmt: skip


def expit(x: Any) -> Any:
    tail = np.exp(-abs(x))
    return np.where(x < 0, tail, 1) / (1 + tail)


def logit(x: Any) -> Any:
    """Next to 1/2 by the function that is small there."""
    near = np.arctanh(np.clip(2 * x - 1, -0.5, 1)) * 2
    return np.where((x > 0.25) & (x <= 1), near, np.log(x) - np.log1p(-x))


def by_mpmath(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A function of an array, in 40 digits."""

    def one(x: float) -> Any:
        with mp.workdps(40):
            value = mp.re(function(mp.mpf(x)))
            high = float(value)
            return LONG(high) + LONG(float(value - high) if np.isfinite(high) else 0)

    return lambda x: np.array([one(float(v)) for v in x], LONG)


EXACT = {
    "expit": expit, "logit": logit, "erf": by_mpmath(mp.erf), "erfc": by_mpmath(mp.erfc),
    "gammaln": by_mpmath(mp.loggamma), "digamma": by_mpmath(mp.digamma),
}  # fmt: skip
FORMS: tuple[dict[str, bool], ...] = ({}, {"scaling": False}, {"fused": False})
BY_MPMATH = ("erf", "erfc", "gammaln", "digamma")


def operands(name: str, dtype: Any) -> list[Any]:
    """One array for each argument."""
    seed = np.random.default_rng(5)
    count, most = FEW if name in BY_MPMATH else COUNT, np.finfo(dtype).maxexp - 2
    arrays = []
    for _ in scalar_function(name, dtype).parameters:
        wide = 2.0 ** np.concatenate([seed.uniform(-b, b, count // 2) for b in (most, 6)])
        wide = wide[(name != "digamma") & (wide < (30 if name in BY_MPMATH else np.inf))]
        intervals = INTERVALS.get(name, ((-30, 30), (-3, 3)))
        drawn = [seed.uniform(low, high, count) for low, high in intervals]
        x = np.concatenate([*drawn, wide, wide if name == "gammaln" else -wide])
        arrays.append(seed.permutation(x[abs(x) < LIMIT] if name in ("sin", "cos", "tan") else x))
    return [a.astype(dtype) for a in arrays]


def errors(found: Any, exact: Any) -> Any:
    """In ULP; an infinity beside a number near the largest counts as the number after it."""
    with np.errstate(all="ignore"):
        rounded = exact.astype(found.dtype)
        wrong = abs(found.astype(LONG) - exact) / np.spacing(abs(rounded))
    return wrong[np.isfinite(rounded)]


def largest(name: str, dtype: Any) -> tuple[str, ...]:
    """A row: the error of each form."""
    arrays = operands(name, np.dtype(dtype))
    with np.errstate(all="ignore"):
        exact = EXACT.get(name, getattr(np, name, None))(*(a.astype(LONG) for a in arrays))
    runs = [over_arrays(name, dtype, **form)(*arrays) for form in FORMS]
    return name, np.dtype(dtype).name, *(f"{errors(r, exact).max():.2f}" for r in runs)


def main(names: list[str]) -> None:
    """Print a table."""
    if np.finfo(LONG).nmant < 63:
        sys.exit("this needs long doubles of 64 digits, which x86 has")
    chosen = names or [n for n in PLACES if n not in APART]
    rows = [largest(n, d) for n in chosen for d in (np.float64, np.float32)]
    head = ("function, ULP", "dtype", "all", "no scaling", "no fma")
    sys.stdout.write(harness.table(head, rows) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
