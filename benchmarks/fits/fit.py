"""The coefficients of the vector mathematics, found anew.

    python benchmarks/fits/fit.py                     prints the names of the tables
    python benchmarks/fits/fit.py sine error.near     prints these, of any module or of one
    python benchmarks/fits/fit.py --check [names]     compares these, or all, with the source

Each file beside this one says what the tables of one module of the mathematics fit.
"""

from __future__ import annotations

import importlib
import sys
import textwrap
from pathlib import Path
from typing import Any

from remez import Fit, Listed, minimax, mp

HERE = Path(__file__).parent
MODULES = sorted(p.stem for p in HERE.glob("*.py") if p.stem not in ("fit", "remez"))


def known() -> dict[str, dict[int, Fit | Listed]]:
    """The fits of each table, by the size of their dtype; a table is named ``error.near``."""
    modules = {name: importlib.import_module(name) for name in MODULES}
    return {f"{m}.{t.lower()}": fits for m, v in modules.items() for t, fits in v.TABLES.items()}


def held(name: str) -> Any:
    """The table that the mathematics has."""
    module, table = name.split(".")
    return getattr(importlib.import_module(f"graphjit.codegen.mathematics.{module}"), table.upper())


def text(coefficients: tuple[float, ...]) -> str:
    """As they stand in the source."""
    inner = ", ".join(map(repr, coefficients)) + ","
    return textwrap.fill(inner, 100, initial_indent=" " * 8, subsequent_indent=" " * 8)


def shown(name: str, fit: Fit | Listed, *, check: bool) -> bool:
    """Print a fit, or where it is compared whether it is what is held; False if it is not."""
    coefficients, error = minimax(fit)
    same = check and held(name)[fit.size] == tuple(coefficients)
    verdict = f", {'the same' if same else 'ANOTHER'}" if check else ""
    print(f"{name} f{fit.size}: {fit.terms} terms, error 2**{float(mp.log(error, 2)):.2f}{verdict}")
    if not (check and same):
        print(text(tuple(coefficients)))
    return same or not check


def main(arguments: list[str]) -> int:
    """Print, or compare: then 1 where a table is another one."""
    check, names = "--check" in arguments, {a for a in arguments if a != "--check"}
    tables = {n: f for n, f in known().items() if not names or {n, n.split(".")[1]} & names}
    if not names and not check:
        print("\n".join(tables))
        return 0
    every = [shown(n, fit, check=check) for n, f in tables.items() for fit in f.values()]
    return 0 if every and all(every) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
