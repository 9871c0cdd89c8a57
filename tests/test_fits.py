"""The tables of the vector mathematics are what ``benchmarks/fits`` finds."""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import mpmath as mp
import numpy as np
import pytest

from graphjit.codegen.mathematics import (
    constants,
    exponential,
    gamma,
    gamma_negative,
    logarithm,
    power,
    trigonometric,
    turns,
)

ROOT = Path(__file__).resolve().parent.parent
FITS = ROOT / "benchmarks" / "fits"
MATHEMATICS = ROOT / "graphjit" / "codegen" / "mathematics"
BITS = {8: 53, 4: 24}


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The tool, whose files import each other by their bare names, as long as a test runs."""
    monkeypatch.syspath_prepend(str(FITS))
    precision = mp.mp.dps
    yield importlib.import_module("fit")
    mp.mp.dps = precision
    for path in FITS.glob("*.py"):
        sys.modules.pop(path.stem, None)


@pytest.mark.parametrize("name", ["trigonometric.sine", "hyperbolic.cosh", "power.long"])
def test_a_table_is_found_anew(tool: Any, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert tool.main(["--check", name]) == 0
    assert "the same" in capsys.readouterr().out


def test_another_table_is_told(
    tool: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    right = trigonometric.SINE[4]
    monkeypatch.setitem(trigonometric.SINE, 4, (*right[:-1], 2 * right[-1]))
    assert tool.main(["--check", "sine"]) == 1
    printed = capsys.readouterr().out
    assert "sine f4: 3 terms, error 2**-28.01, ANOTHER" in printed
    assert all(repr(c) in printed for c in right)


def test_every_table_has_a_fit_and_holds_numbers_of_its_dtype(tool: Any) -> None:
    known = tool.known()
    assert known.keys() == set().union(*map(tables_of, MATHEMATICS.glob("*.py")))
    for name, fits in known.items():
        for size, fit in fits.items():
            table = tool.held(name)[size]
            assert len(table) == fit.terms
            assert [float(np.dtype(f"f{size}").type(c)) for c in table] == list(table)


def tables_of(module: Path) -> set[str]:
    """The dictionaries of tuples in a module's source, but for constants in two parts."""
    return {
        f"{module.stem}.{ast.unparse(s.targets[0]).lower()}"
        for s in ast.parse(module.read_text("utf-8")).body
        if isinstance(s, ast.Assign)
        and isinstance(s.value, ast.Dict)
        and any(isinstance(v, ast.Tuple) and len(v.elts) > 2 for v in s.value.values)
    }


def split(value: Any, *bits: int) -> list[float]:
    """A number in parts of so many bits, the last rounded to its own."""
    parts = []
    for count in bits:
        with mp.workprec(count):
            parts.append(float(+value))
        value -= parts[-1]
    return parts


def test_constants_in_parts() -> None:
    with mp.workprec(300):
        exact = {"LOG_2": mp.log(2), "LOG10_2": mp.log10(2), "LOG2_E": 1 / mp.log(2),
                 "LOG10_E": 1 / mp.log(10), "PI": +mp.pi, "HALF_PI": mp.pi / 2}  # fmt: skip
        for name, value in exact.items():
            for size, (high, low) in getattr(constants, name).items():
                rest = value - high
                assert abs(rest - low) <= abs(rest) * mp.mpf(2) ** (1 - BITS[size]), name
                assert abs(rest) <= value * mp.mpf(2) ** -(15 if size == 4 else 40), name
        root = mp.findroot(mp.digamma, 1.46)
        for high, low in gamma.ROOT.values():
            assert abs(root - high - low) <= abs(low) * 1e-7
        assert list(power.THIRD) == split(mp.mpf(1) / 3, 53, 53)
        assert abs(mp.pi / 2 - mp.fsum(turns.QUARTER)) < mp.mpf(2) ** -140
        assert split(mp.pi / 2, 53, 53, 53) == list(turns.WHOLE_QUARTER)
        assert split(mp.pi / 2, 24, 24, 24) == list(turns.SHORT_QUARTER)
        most = 2**20 - 1  # quarter turns
        for part in turns.QUARTER[:3]:
            assert Fraction(part * most) == Fraction(part) * most
        assert split(1 / mp.log(2), 11) == [logarithm.LOG2_FACTOR]
        assert split(1 / mp.log(10), 11) == [logarithm.LOG10_FACTOR]


@pytest.mark.parametrize("size", [8, 4])
def test_roots_of_two(size: int) -> None:
    roots, lacks = exponential.step_roots(np.dtype(f"f{size}"))
    with mp.workprec(300):
        for i, (high, low) in enumerate(zip(roots, lacks, strict=True)):
            exact = mp.mpf(2) ** (mp.mpf(i) / len(roots))
            assert split(exact, BITS[size]) == [high]
            assert abs((exact - high) / exact - low) < mp.mpf(2) ** -75


def test_the_zeros_and_the_leading_terms_of_gamma(tool: Any) -> None:
    assert tool.known()
    with mp.workprec(300):
        terms = sys.modules["gamma_negative"].reciprocal(30)
        assert abs(mp.polyval(terms[::-1], 0.125) - mp.rgamma(1.125)) < mp.mpf(2) ** -160
        for exact, pair in zip(terms, gamma_negative.LEADING, strict=False):
            assert list(pair) == split(exact, 53, 53)
        for high, low, slope, half_curvature in gamma_negative.ZEROS:
            zero = mp.mpf(high) + low
            assert abs(mp.re(mp.loggamma(zero)) / mp.digamma(zero)) < mp.mpf(2) ** -105
            found = (mp.digamma(zero), mp.polygamma(1, zero) / 2)
            np.testing.assert_array_equal(list(map(float, found)), [slope, half_curvature])
