"""SciPy's special functions: which rows they are traced to, or compositions of which.

Imported when the first of them is traced, since ``scipy.special`` takes 0.15 s to import.

SciPy's own ``logsumexp``, ``softmax`` and ``log_softmax`` go through neither of NumPy's
protocols; ``graphjit.special`` exports these, for arrays and traced values alike.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import special

from graphjit.ir.dispatch import builder_of, lift, promoted, unify
from graphjit.ir.primitive import BY_UFUNC, TABLE, SciPyUfunc
from graphjit.ir.registry import DEFAULT, implements, refuse

BY_UFUNC |= {row.ufunc.ufunc: row for row in TABLE.values() if isinstance(row.ufunc, SciPyUfunc)}
HALF_ROOT = float(np.sqrt(0.5))


def floats(x: Any) -> Any:
    """The operand as an array of floats."""
    return promoted(np.sqrt, x)[0]


def finite_peak(x: Any, axis: Any) -> Any:
    """The largest element along the axis, and 0 where it is infinite."""
    peak = np.max(x, axis=axis, keepdims=True, initial=-np.inf)
    return np.where(np.isfinite(peak), peak, 0)


@implements(special.logsumexp)
def logsumexp(
    a: Any, axis: Any = None, b: Any = None, keepdims: bool = False, return_sign: bool = False
) -> Any:
    """log(sum(b exp(a))), shifted by the largest element so that nothing overflows."""
    builder = builder_of(a, b)
    refuse(builder, special.logsumexp, return_sign=return_sign or DEFAULT)
    x, weights = weighted(lift(builder, a), b)
    peak = finite_peak(x, axis)
    powers = np.exp(x - peak) if b is None else weights * np.exp(x - peak)
    total = np.log(np.sum(powers, axis=axis, keepdims=True)) + peak
    return total if keepdims else np.squeeze(total, axis=axis)


def weighted(a: Any, b: Any) -> tuple[Any, Any]:
    """The exponents and the weights as floats; a weight of 0 takes its element out."""
    if b is None:
        return floats(a), None
    x, weights = unify(a.builder, floats(a), b)
    x, weights = np.broadcast_arrays(x, floats(weights))
    return np.where(weights == 0, -np.inf, x), weights


@implements(special.softmax)
def softmax(x: Any, axis: Any = None) -> Any:
    """exp(x) / sum(exp(x)), shifted by the largest element."""
    v = floats(x)
    powers = np.exp(v - np.max(v, axis=axis, keepdims=True))
    return powers / np.sum(powers, axis=axis, keepdims=True)


@implements(special.log_softmax)
def log_softmax(x: Any, axis: Any = None) -> Any:
    """X - logsumexp(x), in the shifted form."""
    v = floats(x)
    shifted = v - finite_peak(v, axis)
    return shifted - np.log(np.sum(np.exp(shifted), axis=axis, keepdims=True))


@implements(special.expm1)
def expm1(x: Any) -> Any:
    return np.expm1(floats(x))


@implements(special.log1p)
def log1p(x: Any) -> Any:
    return np.log1p(floats(x))


@implements(special.xlog1py)
def xlog1py(x: Any, y: Any) -> Any:
    a, b = promoted(special.xlog1py, x, y)
    return np.where((a == 0) & ~np.isnan(b), 0, a * np.log1p(b))


@implements(special.entr)
def entr(x: Any) -> Any:
    """-x log(x), and -inf below 0."""
    (v,) = promoted(special.entr, x)
    return np.where(v < 0, -np.inf, -special.xlogy(v, v))


@implements(special.rel_entr)
def rel_entr(x: Any, y: Any) -> Any:
    """X log(x / y), 0 where x is 0, and inf outside the domain."""
    a, b = promoted(special.rel_entr, x, y)
    inside = (a > 0) & (b > 0)
    ratio = np.where(inside, a, 1) / np.where(inside, b, 1)
    outside = np.where((a == 0) & (b >= 0), np.zeros_like(a), np.inf)
    outside = np.where(np.isnan(a) | np.isnan(b), np.nan, outside)
    return np.where(inside, a * np.log(ratio), outside)


@implements(special.kl_div)
def kl_div(x: Any, y: Any) -> Any:
    """X log(x / y) - x + y."""
    a, b = promoted(special.kl_div, x, y)
    return special.rel_entr(a, b) - a + b


@implements(special.ndtr)
def ndtr(x: Any) -> Any:
    """The distribution function of the standard normal."""
    (v,) = promoted(special.ndtr, x)
    return 0.5 * special.erfc(-HALF_ROOT * v)


@implements(special.huber)
def huber(delta: Any, r: Any) -> Any:
    d, v = promoted(special.huber, delta, r)
    inside = abs(v) <= d
    return np.where(d < 0, np.inf, np.where(inside, 0.5 * v * v, d * (abs(v) - 0.5 * d)))


@implements(special.pseudo_huber)
def pseudo_huber(delta: Any, r: Any) -> Any:
    d, v = promoted(special.pseudo_huber, delta, r)
    ratio = np.where(d == 0, 0, v / np.where(d == 0, 1, d))
    root = np.sqrt(1 + ratio * ratio)
    return np.where(d < 0, np.inf, d * d * (ratio * ratio / (root + 1)))
