"""Compiled arithmetic is IEEE's: bit for bit NumPy's own, and sums as exact as the dtype allows."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from graphjit import jit
from graphjit.errors import PowerError
from graphjit.flags import override

NAN, INF = np.nan, np.inf
DTYPES = pytest.mark.parametrize("dtype", [np.float64, np.float32], ids=lambda t: t.__name__)


def exact(a: Any, b: Any) -> dict[str, Any]:
    """What IEEE 754 defines to the last bit, and what fast-math would change."""
    return {
        "add": a + b, "subtract": a - b, "multiply": a * b, "divide": a / b,
        "sqrt": np.sqrt(a), "negative": -a, "absolute": abs(a), "square": np.square(a),
        "maximum": np.maximum(a, b), "minimum": np.minimum(a, b), "copysign": np.copysign(a, b),
        "floor": np.floor(a), "ceil": np.ceil(a), "trunc": np.trunc(a), "rint": np.rint(a),
        "less": a < b, "equal": a == b, "not equal to itself": a != a, "isnan": np.isnan(a),
        "signbit": np.signbit(a), "a - b + b": a - b + b, "a + b - a": a + b - a,
        "(a b) / b": (a * b) / b, "a - a": a - a, "a / a": a / a, "0 a": 0 * a, "a + 0": a + 0.0,
        "a b + a": a * b + a, "where": np.where(a < b, a, b), "heaviside": np.heaviside(a, b),
    }  # fmt: skip


@DTYPES
def test_elementwise_arithmetic_has_numpys_bits(dtype: Any) -> None:
    limits = np.finfo(dtype)
    values = [0.0, -0.0, 1.0, -1.5, 0.1, 3.0, 2.5, INF, -INF, NAN, limits.max, limits.min]
    values += [limits.tiny, limits.smallest_subnormal, -3 * limits.smallest_subnormal]
    grid = np.meshgrid(np.array(values, dtype), np.array(values, dtype))
    # More elements than a vector has, so that both the vector and the rest of the loop are met.
    a, b = (np.concatenate([part.ravel()] * 3) for part in grid)
    with np.errstate(all="ignore"):
        expected = exact(a, b)
    found = jit(exact)(a, b)
    for name, array in expected.items():
        signs = np.signbit(array) == np.signbit(found[name])
        # Which zero of 0.0 and -0.0 is the larger depends on the vector width in NumPy itself.
        same = (array == found[name]) & (signs | (name in {"maximum", "minimum"}))
        assert np.all(same | (np.isnan(array) & np.isnan(found[name]))), name
        assert found[name].dtype == array.dtype, name


def test_numbers_too_small_to_be_normal_survive_a_call() -> None:
    tiny = np.full(5, np.finfo(float).tiny)
    assert (jit(lambda x: x * 0.5)(tiny) > 0).all()
    assert (tiny * 0.5 > 0).all()


@pytest.mark.parametrize("kind", ["uniform", "normal", "wide", "equal"])
def test_a_sum_of_a_million_floats_is_as_exact_as_numpys(kind: str) -> None:
    random = np.random.default_rng(0)
    x: np.ndarray[Any, Any] = {
        "uniform": random.random(10**6),
        "normal": random.normal(size=10**6),
        "wide": np.exp(3 * random.normal(size=10**6)),
        "equal": np.full(10**6, 0.1),
    }[kind].astype(np.float32)
    right, size = math.fsum(x.tolist()), math.fsum(abs(x).tolist())
    found = jit(total)(x)
    assert found.dtype == np.float32
    off = abs(float(found) - right)
    # No worse than NumPy's pairwise sum, or than the rounding of the result itself.
    numpys = abs(float(np.sum(x)) - right)
    assert off <= max(numpys, float(np.finfo(np.float32).eps) * abs(right))
    assert off <= np.finfo(np.float32).eps * size


def total(x: Any) -> Any:
    return np.sum(x)


def test_float32_stays_float32_beside_python_numbers() -> None:
    x = np.array([0.5, 2.0], np.float32)

    def program(x: Any) -> Any:
        return [2 * x, x + 0.1, x**2, x**0.5, np.maximum(x, 0), np.where(x > 1, x, 0.0), x / 3,
                np.mean(x) * 2.0, np.exp(x) - 1, 1 / (1 + np.exp(-x)), np.sum(x) / 2]  # fmt: skip

    for expected, found in zip(program(x), jit(program)(x), strict=True):
        assert found.dtype == np.asarray(expected).dtype == np.float32
        np.testing.assert_allclose(found, expected, rtol=3e-7)


@pytest.mark.parametrize("native", [False, True])
def test_an_integer_has_no_negative_integer_power(native: bool) -> None:
    with override(jit=native):
        power = jit(lambda a, b: a**b)
        a, b = np.array([2, 3, -4]), np.array([3, 0, 2])
        for _ in range(2):  # the second call is launched another way
            np.testing.assert_array_equal(power(a, b), [8, 1, 16])
        for _ in range(2):
            with pytest.raises((PowerError, ValueError), match="negative integer power"):
                power(a, np.array([1, -1, 1]))
        np.testing.assert_array_equal(power(a.astype(float), -b), [0.125, 1, 1 / 16])
        with pytest.raises(ValueError, match="negative integer power"):
            jit(lambda a: a**-2)(a)


def test_the_error_of_a_negative_power_names_the_line() -> None:
    power = jit(lambda a, b: np.sum(a**b))
    with pytest.raises(PowerError, match=r"test_ieee.py(.|\n)*one of them a float"):
        power(np.array([2, 3]), np.array([1, -1]))


@pytest.mark.parametrize("renderer", ["llvm", "numba"])
@pytest.mark.parametrize("count", [1, 40])
def test_signed_and_unsigned_numbers_of_64_bits_are_compared_exactly(
    renderer: str, count: int
) -> None:
    values = [0, 1, 5, -1, -126, 2**63 - 1, -(2**63), 2**53 + 1]
    signed = np.resize(np.array(values), 8 * count)
    unsigned = np.repeat(np.array([0, 5, 2**63 - 1, 2**63, 2**64 - 1, 2**53], "u8"), 8 * count)
    signed = np.resize(signed, len(unsigned))

    def tests(a: Any, b: Any) -> Any:
        return a < b, a <= b, a > b, a >= b, a == b, a != b

    for a, b in ((signed, unsigned), (unsigned, signed), (signed.astype("i4"), unsigned)):
        with override(renderer=renderer):
            found = jit(tests)(a, b)
        for expected, result in zip(tests(a, b), found, strict=True):
            np.testing.assert_array_equal(result, expected)


def test_powers_of_booleans_have_numpys_dtype() -> None:
    truth = np.array([True, False])

    def powers(x: Any) -> Any:
        return x**2, x**3, x**2.0, np.power(x, 2), x[0] ** 2

    for expected, found in zip(powers(truth), jit(powers)(truth), strict=True):
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)
