"""Log gamma and its derivatives against mpmath, in ULPs: at all exponents, zeros and poles."""

from __future__ import annotations

import itertools
from functools import cache
from typing import Any

import mpmath
import numpy as np
import pytest

from graphjit.codegen.mathematics.gamma import polygamma_of
from graphjit.codegen.mathematics.text import python_function
from graphjit.codegen.mathematics.vector import over_arrays
from ulps import (
    DTYPE,
    FUSED,
    INF,
    NAN,
    Array,
    Case,
    assert_close,
    assert_same,
    drawn,
    everywhere,
)


def gammaln(x: Any) -> Any:
    """The logarithm of |gamma(x)|, which has no digits of its own to lose near 1 and 2."""
    with mpmath.extraprec(80):
        return mpmath.re(mpmath.loggamma(x))


def below_zero(x: Any) -> Any:
    """The same by reflection, which mpmath computes fast, and infinite at the poles."""
    with mpmath.extraprec(80):
        if x == mpmath.floor(x):
            return mpmath.inf
        return mpmath.log(mpmath.pi / abs(mpmath.sinpi(x))) - mpmath.loggamma(1 - x)


LOG_GAMMA = Case("gammaln", gammaln, 4, ((0, 3), (0.9, 2.1), (2, 8), (7, 200)))
BELOW_ZERO = Case("gammaln", below_zero, 4, ((-3, 0), (-20, -2), (-40, -15), (-300, -30)))


@cache
def zeros() -> tuple[Any, ...]:
    """Those of log gamma below 0 that are not next to a pole for every float."""
    with mpmath.workprec(300):
        sides = [(2, -1), *itertools.product(range(3, 19), (-1, 1))]
        found = []
        for n, side in sides:
            gap = {(2, -1): -0.457, (3, 1): 0.252}.get((n, side), side / mpmath.factorial(n))
            for _ in range(30):
                gap -= gammaln(gap - n) / mpmath.digamma(gap - n)
            found.append(gap - n)
        return tuple(found)


def test_the_zeros_are_zeros_and_all_differ() -> None:
    with mpmath.workprec(240):
        assert all(abs(gammaln(z) / mpmath.digamma(z)) < mpmath.mpf(2) ** -200 for z in zeros())
    assert len({mpmath.nstr(z, 40) for z in zeros()}) == 33
    assert mpmath.nstr(zeros()[0], 16) == "-2.457024738220801"


def beside_zeros_and_poles(dtype: Any) -> Array:
    """The nearest floats, and others ever further away."""
    seed = np.random.default_rng(16)
    gaps = [abs(float(z) - round(float(z))) or 1e-15 for z in zeros()]
    centres = [*map(float, zeros()), *range(-40, 0), *range(-200, -40, 13), -(2.0**20)]
    widths = [*gaps, *[0.5] * (len(centres) - len(gaps))]
    parts = []
    for centre, width in zip(np.array(centres, dtype), widths, strict=True):
        steps = [*range(-8, 9), *seed.integers(-(2**12), 2**12, 8)]
        parts.append(centre + np.spacing(abs(centre)) * np.array(steps, dtype))
        shares = seed.choice([-1, 1], 24) * 2.0 ** -seed.uniform(0.2, 45, 24)
        parts += [(centre + shares).astype(dtype), (centre + width * shares).astype(dtype)]
    x: Array = np.concatenate(parts).astype(dtype)
    return x[x < 0]


@DTYPE
@FUSED
def test_gammaln_where_it_is_mostly_used(dtype: Any, fused: bool) -> None:
    assert_close(LOG_GAMMA, (drawn(LOG_GAMMA, dtype),), fused=fused)


@DTYPE
@FUSED
def test_gammaln_next_to_its_zeros_and_poles(dtype: Any, fused: bool) -> None:
    assert_close(BELOW_ZERO, (beside_zeros_and_poles(dtype),), fused=fused)


@DTYPE
@FUSED
def test_gammaln_between_its_poles(dtype: Any, fused: bool) -> None:
    assert_close(BELOW_ZERO, (drawn(BELOW_ZERO, dtype),), fused=fused)


@DTYPE
@FUSED
def test_gammaln_at_all_exponents(dtype: Any, fused: bool) -> None:
    bits = np.random.default_rng(17).integers(0, 2**62, 3000)
    random = bits.view(np.float64) if dtype == np.float64 else (bits >> 32).astype("i4").view("f4")
    random = random[np.isfinite(random)]
    x = np.concatenate([everywhere(dtype), random, -random])
    assert_close(LOG_GAMMA, (x[(x > 0) & (x < 1e30)],), fused=fused)
    assert_close(BELOW_ZERO, (x[x < 0],), fused=fused)


@DTYPE
def test_the_text_gives_the_same_bits(dtype: Any) -> None:
    beside = beside_zeros_and_poles(dtype)
    x = np.concatenate([drawn(LOG_GAMMA, dtype, 40), beside[:: len(beside) // 60]])
    with np.errstate(all="ignore"):
        text = [python_function("gammaln")(v) for v in x]
    code = over_arrays("gammaln", dtype, fused=False)(x)
    np.testing.assert_array_equal(np.array(text, dtype), code)


SPECIAL = {
    "gammaln": (
        (1.0, 0.0), (2.0, 0.0), (0.0, INF), (-0.0, INF), (-1.0, INF), (-2.0, INF), (-18.0, INF),
        (-1e30, INF), (INF, INF), (-INF, -INF), (NAN, NAN),
    ),
    "digamma": (
        (0.0, -INF), (-0.0, INF), (-1.0, NAN), (-7.0, NAN), (INF, INF), (-INF, NAN), (NAN, NAN),
    ),
}  # fmt: skip


@pytest.mark.parametrize("op", SPECIAL)
@DTYPE
@FUSED
def test_special_values(op: str, dtype: Any, fused: bool) -> None:
    x, expected = (np.array(column, dtype) for column in zip(*SPECIAL[op], strict=True))
    assert_same(over_arrays(op, dtype, fused=fused)(x), expected)


@DTYPE
def test_a_loop_in_numba_gives_the_same(dtype: Any) -> None:
    numba = pytest.importorskip("numba")
    from graphjit.codegen import runtime_numba

    call = runtime_numba.gammaln

    @numba.njit(error_model="numpy")  # type: ignore[untyped-decorator]
    def over_one(x: Any, out: Any) -> None:
        for i in range(x.shape[0]):
            out[i] = call(x[i])

    x = beside_zeros_and_poles(dtype)[:4001]
    x[::3] *= -1
    found = np.empty_like(x)
    over_one(x, found)
    assert_same(found, over_arrays("gammaln", dtype)(x))


@DTYPE
def test_a_number_below_zero_changes_no_other_lane(dtype: Any) -> None:
    x = np.array([2.5, -2.5, 30, -0.5, NAN, -1, 0.25, INF] * 4, dtype)
    alone = np.concatenate([over_arrays("gammaln", dtype, 1)(x[i : i + 1]) for i in range(len(x))])
    assert_same(over_arrays("gammaln", dtype)(x), alone)


# -- the derivatives of gammaln -------------------------------------------------------------------


@DTYPE
@FUSED
def test_digamma(dtype: Any, fused: bool) -> None:
    generator = np.random.default_rng(14)
    x = np.concatenate([generator.uniform(-9, 9, 300), 10.0 ** generator.uniform(-30, 30, 100)])
    x = x.astype(dtype)
    found = over_arrays("digamma", dtype, fused=fused)(x)
    exact = np.array([float(mpmath.digamma(float(v))) for v in x])
    np.testing.assert_allclose(
        found, exact, rtol=8 * np.finfo(dtype).eps, atol=8 * np.finfo(dtype).eps
    )


@DTYPE
def test_digamma_keeps_its_digits_at_its_zero_and_elsewhere(dtype: Any) -> None:
    x = np.concatenate([np.linspace(1.0001, 1.9999, 200), np.linspace(0.01, 20, 300)]).astype(dtype)
    case = Case("digamma", mpmath.digamma, 6, ())
    assert_close(case, (x,), fused=True)
    assert_close(case, (x,), fused=False)


@pytest.mark.parametrize("order", [1, 2, 3, 6])
@DTYPE
def test_polygamma(order: int, dtype: Any) -> None:
    generator = np.random.default_rng(15)
    x = np.concatenate([generator.uniform(-4.9, 9, 150), 10.0 ** generator.uniform(-3, 3, 50)])
    x = x.astype(dtype)
    found = over_arrays(polygamma_of(order), dtype)(x)
    with mpmath.workprec(120):
        exact = np.array([float(mpmath.polygamma(order, mpmath.mpf(float(v)))) for v in x])
    np.testing.assert_allclose(
        found, exact, rtol=32 * np.finfo(dtype).eps, atol=32 * np.finfo(dtype).eps
    )


@pytest.mark.parametrize("order", [1, 2])
def test_polygamma_at_its_poles(order: int) -> None:
    sign = (-1.0) ** (order + 1)
    x = np.array([0.0, -0.0, -1.0, -3.0, INF, NAN])
    expected = np.array([sign * INF] * 4 + [sign * 0.0, NAN])
    assert_same(over_arrays(polygamma_of(order))(x), expected)
