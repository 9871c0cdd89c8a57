"""Where BLAS is: NumPy's own bundled OpenBLAS if it has one, else SciPy's."""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path

import numpy as np

from graphjit.records import NamedTuple

SYMBOL = "graphjit_"  # before the name of a routine: what code calls it
ROUTINES = ("dgemm", "sgemm", "dgemv", "sgemv")
SPELLINGS = (
    ("scipy_cblas_", "64_", 64),
    ("cblas_", "64_", 64),
    ("scipy_cblas_", "", 32),
    ("cblas_", "", 32),
)
COUNTS = tuple(
    tuple(f"{prefix}openblas_{verb}_num_threads{suffix}" for verb in ("get", "set"))
    for prefix in ("scipy_", "")
    for suffix in ("64_", "")
)


class Blas(NamedTuple):
    """Addresses of the cblas routines, the width of their integers in bits, and the library."""

    addresses: dict[str, int]
    integer: int
    library: ctypes.CDLL

    def threads(self) -> int:
        """How many threads it may use now: 1 where the environment says so."""
        for name, _ in COUNTS:
            count = getattr(self.library, name, None)
            if count is not None:
                return int(count())
        return 1

    def counting(self) -> tuple[int, int] | None:
        """Where the functions are that say, and set, how many threads it may use."""
        for names in COUNTS:
            found = [getattr(self.library, name, None) for name in names]
            if all(found):
                get, set_ = (ctypes.cast(f, ctypes.c_void_p).value or 0 for f in found if f)
                return get, set_
        return None


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
            return Blas(found, width, library)
    return None
