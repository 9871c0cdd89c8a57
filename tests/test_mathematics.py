"""The vector mathematics against mpmath, over the whole range; ``exact.FUNCTIONS`` has the rows."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from exact import F32, F64, FUNCTIONS, count_of, points, worst
from graphjit.codegen.llvm_text import Module
from graphjit.codegen.mathematics.describe import PLACES, scalar_function
from graphjit.codegen.mathematics.text import python_function
from graphjit.codegen.mathematics.vector import loop_text, over_arrays
from graphjit.codegen.native import Host, made_for

EVERY = pytest.mark.parametrize("name", FUNCTIONS)
BOTH = pytest.mark.parametrize("dtype", [F32, F64], ids=str)
# With all that this processor has, as on one without AVX-512, and as on one without fma too.
FORMS = pytest.mark.parametrize(
    "form", [{}, {"scaling": False}, {"fused": False}], ids=["host", "no_scaling", "no_fma"]
)
Form = dict[str, bool]
LANES = (0, 1, 2, 4, 8, 32)  # in one register, in part of one, or in some


@EVERY
@BOTH
@FORMS
def test_the_error_is_within_the_limit(name: str, dtype: np.dtype[Any], form: Form) -> None:
    operands = points(dtype, count_of(name), FUNCTIONS[name].usual)
    error, what = worst(over_arrays(name, dtype, **form)(*operands), name)
    assert error <= FUNCTIONS[name].limit, what


@EVERY
@BOTH
@FORMS
def test_scalars_and_vectors_are_the_same(name: str, dtype: np.dtype[Any], form: Form) -> None:
    operands = points(dtype, count_of(name), FUNCTIONS[name].usual)
    results = [over_arrays(name, dtype, lanes, **form)(*operands) for lanes in LANES]
    first, *others = (np.where(np.isnan(r), dtype.type(np.nan), r).tobytes() for r in results)
    assert all(other == first for other in others)


@pytest.mark.parametrize("name", sorted(FUNCTIONS.keys() & PLACES))
@BOTH
def test_the_python_text_is_the_same_without_fma(name: str, dtype: np.dtype[Any]) -> None:
    every = points(dtype, count_of(name), FUNCTIONS[name].usual)
    operands = [x[:: len(x) // 100] for x in every]
    with np.errstate(all="ignore"):
        text = [python_function(name)(*row) for row in zip(*operands, strict=True)]
    found = np.array(text, dtype)
    native = over_arrays(name, dtype, fused=False)(*operands)
    np.testing.assert_array_equal(found, native)
    numbers = ~np.isnan(found)
    np.testing.assert_array_equal(np.signbit(found[numbers]), np.signbit(native[numbers]))


@BOTH
@FORMS
def test_powers_of_two_are_exact(dtype: np.dtype[Any], form: Form) -> None:
    info = np.finfo(dtype)
    n = np.arange(info.minexp - info.nmant, info.maxexp)
    powers = np.ldexp(dtype.type(1), n).astype(dtype)
    np.testing.assert_array_equal(over_arrays("exp2", dtype, **form)(n.astype(dtype)), powers)
    np.testing.assert_array_equal(over_arrays("log2", dtype, **form)(powers), n.astype(dtype))
    two = np.full(len(n), 2, dtype)
    np.testing.assert_array_equal(over_arrays("power", dtype, **form)(two, n.astype(dtype)), powers)


@BOTH
@FORMS
def test_whole_results_are_exact(dtype: np.dtype[Any], form: Form) -> None:
    n = np.arange(-37, 38).astype(dtype) if dtype == F32 else np.arange(-300.0, 300.0)
    tens = np.array([float(f"1e{int(i)}") for i in n]).astype(dtype)
    np.testing.assert_array_equal(over_arrays("log10", dtype, **form)(tens), n)
    small = np.arange(-200, 201).astype(dtype)
    np.testing.assert_array_equal(over_arrays("cbrt", dtype, **form)(small**3), small)
    power = over_arrays("power", dtype, **form)
    np.testing.assert_array_equal(power(small, np.full_like(small, 3)), small**3)
    np.testing.assert_array_equal(power(small**2, np.full_like(small, 0.5)), abs(small))


@BOTH
def test_powers_of_negative_numbers_know_odd_from_even(dtype: np.dtype[Any]) -> None:
    largest = 2.0 ** (np.finfo(dtype).nmant + 1)
    y = np.array([1, 2, largest - 1, largest, 2 * largest, np.inf, 0.5, largest / 4 + 0.5], dtype)
    ours = over_arrays("power", dtype)
    np.testing.assert_array_equal(
        ours(np.full_like(y, -1), y),
        np.array([-1, 1, -1, 1, 1, 1, np.nan, np.nan], dtype),
    )
    zeros = ours(np.full_like(y, -0.0), -y)
    np.testing.assert_array_equal(zeros, [-np.inf, np.inf, -np.inf, *[np.inf] * 5])


def loop_in_numba(name: str, dtype: np.dtype[Any]) -> Any:
    """A plain loop around the runtime's scalar function."""
    numba = pytest.importorskip("numba")
    from graphjit.codegen import runtime_numba

    call = getattr(runtime_numba, name)

    def over_one(x: Any, out: Any) -> None:
        for i in range(x.shape[0]):
            out[i] = call(x[i])

    def over_two(x: Any, y: Any, out: Any) -> None:
        for i in range(x.shape[0]):
            out[i] = call(x[i], y[i])

    array = numba.from_dtype(dtype)[::1]
    signature = numba.void(*[array] * (count_of(name) + 1))
    form = (over_one, over_two)[count_of(name) - 1]
    return numba.njit(signature, error_model="numpy")(form)


@pytest.mark.parametrize("name", ["exp", "log", "power", "sin"])
@BOTH
def test_numbas_loops_are_the_same_and_vectorised(name: str, dtype: np.dtype[Any]) -> None:
    compiled = loop_in_numba(name, dtype)
    x = np.linspace(0.1, 9, 1001).astype(dtype)
    out, operands = np.empty_like(x), [x] * count_of(name)
    compiled(*operands, out)
    np.testing.assert_array_equal(out, over_arrays(name, dtype, scaling=False)(*operands))
    text = compiled.inspect_llvm(compiled.signatures[0])
    lane = "double" if dtype == F64 else "float"
    assert len(re.findall(rf"<\d+ x {lane}>", text)) > 20


def test_a_description_is_straight_and_needs_all_its_lines() -> None:
    for name in FUNCTIONS.keys() & PLACES:
        function = scalar_function(name, F64)
        used = {o for s in function.body for o in s.operands} | {function.result}
        assert all(s.value in used for s in function.body)
        assert len({s.value for s in function.body}) == len(function.body)


def test_only_a_processor_that_has_them_is_given_avx512s_instructions() -> None:
    wide = Host("", "+avx512f,+avx512dq,+avx512vl", 64, fma=True)
    others = (
        wide._replace(features="+avx512f,-avx512dq,+avx512vl"), wide._replace(vector_bytes=32),
        wide._replace(fma=False), wide._replace(features=""),
    )  # fmt: skip
    for name in ("exp", "log"):
        for processor in (wide, *others):
            with made_for(processor):
                text = loop_text(Module(), name, F64, 8)
            assert ("llvm.x86.avx512" in text) == (processor is wide)


def test_no_fma_is_in_the_text_without_it() -> None:
    for name in PLACES:
        assert all(s.op != "fma" for s in scalar_function(name, F64, fused=False).body), name
