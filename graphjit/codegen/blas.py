"""Where BLAS is: NumPy's own bundled OpenBLAS if it has one, else SciPy's."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

ROUTINES = ("dgemm", "sgemm", "dgemv", "sgemv")
SPELLINGS = (
    ("scipy_cblas_", "64_", 64),
    ("cblas_", "64_", 64),
    ("scipy_cblas_", "", 32),
    ("cblas_", "", 32),
)


@dataclass(frozen=True)
class Blas:
    """Addresses of the cblas routines, and the width of their integers in bits."""

    addresses: dict[str, int]
    integer: int


@cache
def find() -> Blas | None:
    """The cblas of the OpenBLAS in NumPy's or SciPy's wheel; None where there is neither."""
    base = Path(np.__file__).parent
    site = base.parent
    for folder in (
        site / "numpy.libs",
        base / ".dylibs",
        site / "scipy.libs",
        site / "scipy" / ".dylibs",
    ):
        for path in sorted(folder.glob("*openblas*")):
            blas = _read(path)
            if blas is not None:
                return blas
    return None


def _read(path: Path) -> Blas | None:
    try:
        library = ctypes.CDLL(str(path))
    except OSError:
        return None
    for prefix, suffix, width in SPELLINGS:
        symbols = {r: getattr(library, f"{prefix}{r}{suffix}", None) for r in ROUTINES}
        if all(symbols.values()):
            found = {r: ctypes.cast(s, ctypes.c_void_p).value or 0 for r, s in symbols.items()}  # type: ignore[arg-type]
            return Blas(found, width)
    return None
