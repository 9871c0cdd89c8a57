# ruff: noqa: E402 - variables are set before NumPy is imported
"""Timing of competitors side by side, tables of the results, and files that keep them.

Imported before NumPy, so that its BLAS runs on one thread. Run as a script it prints the machine.
"""

from __future__ import annotations

import os
import sys

THREADS = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS", "NUMBA_NUM_THREADS")
if "numpy" not in sys.modules:  # BLAS reads the variables once, when it is loaded
    os.environ.update(dict.fromkeys(THREADS, "1"))

import itertools
import json
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

RESULTS = Path(__file__).parent / "results"
Thunk = Callable[[], Any]


@dataclass(frozen=True)
class Timing:
    """Seconds a call, one for each round."""

    samples: tuple[float, ...]

    @property
    def median(self) -> float:
        """Of all rounds."""
        return statistics.median(self.samples)

    @property
    def minimum(self) -> float:
        """The best round."""
        return min(self.samples)

    def over(self, reference: Timing) -> float:
        """The ratio to another one: the median of the quotients within a round that both ran.

        Where the machine is slow for a while, both are, so this moves less than either time.
        """
        pairs = zip(self.samples, reference.samples, strict=False)
        return statistics.median(a / b for a, b in pairs)


def race(
    competitors: Mapping[str, Thunk],
    *,
    rounds: int = 25,
    seconds: float = 0.004,
    tolerance: float = 1e-8,
) -> dict[str, Timing]:
    """Time competitors in turn, round after round, in this process.

    Each is called once to compile it, and the results must agree.

    Args:
        competitors: Functions of no argument by name, that return numbers, arrays, or nested
            tuples and lists of them.
        rounds: How often each is timed.
        seconds: The least time of one timing; a fast function is called many times.
        tolerance: Relative, on the agreement of the results.

    Raises:
        AssertionError: two results differ.
    """
    agree({name: call() for name, call in competitors.items()}, tolerance)
    counts = {name: calls_within(call, seconds) for name, call in competitors.items()}
    taken: dict[str, list[float]] = {name: [] for name in competitors}
    for turn in range(rounds):
        for name in rotated(list(competitors), turn):
            taken[name].append(timed(competitors[name], counts[name]))
    return {name: Timing(tuple(samples)) for name, samples in taken.items()}


def rotated(names: list[str], turn: int) -> list[str]:
    """Each round begins with another competitor: what ran before it differs."""
    start = turn % len(names)
    return names[start:] + names[:start]


def timed(call: Thunk, count: int) -> float:
    """Seconds a call."""
    repeats = itertools.repeat(None, count)
    start = time.perf_counter()
    for _ in repeats:
        call()
    return (time.perf_counter() - start) / count


def calls_within(call: Thunk, seconds: float) -> int:
    """How many calls take that long, after warming up."""
    count = 1
    while (taken := timed(call, count) * count) < seconds / 2:
        count = min(count * 8, max(count + 1, int(count * seconds / max(taken, 1e-9))))
    return max(1, round(count * seconds / taken))


def agree(results: Mapping[str, Any], tolerance: float) -> None:
    """Check that all results are the first one's."""
    names = iter(results)
    first = next(names)
    wanted = flat(results[first])
    for name in names:
        got = flat(results[name])
        assert len(got) == len(wanted), f"{name} returned {len(got)} arrays, {first} {len(wanted)}"
        for a, b in zip(got, wanted, strict=True):
            np.testing.assert_allclose(
                a, b, rtol=tolerance, atol=tolerance * np.max(np.abs(b)), err_msg=f"{name}, {first}"
            )


def flat(value: Any) -> list[Any]:
    """The numbers and arrays of nested tuples and lists, in order."""
    if isinstance(value, tuple | list):
        return [leaf for item in value for leaf in flat(item)]
    return [np.array(value, np.float64)]


# -- what is shown and kept ------------------------------------------------------------------------


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns under a head; the first is flush left, numbers flush right."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        rest = (cell.rjust(w) for cell, w in zip(cells[1:], widths[1:], strict=True))
        return "  ".join([cells[0].ljust(widths[0]), *rest]).rstrip()

    return "\n".join([line(head), "  ".join("-" * w for w in widths), *map(line, rows)])


def duration(seconds: float) -> str:
    """Three digits and a unit."""
    for unit, scale in (("s", 1), ("ms", 1e3), ("µs", 1e6)):
        if seconds * scale >= 1:
            return f"{seconds * scale:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"


def machine() -> dict[str, str]:
    """What the numbers depend on."""
    packages = {name: version(name) for name in ("numpy", "numba", "llvmlite")}
    return {
        "processor": processor(),
        "cores": str(os.cpu_count()),
        "load": f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown",
        "system": platform.system(),
        "python": platform.python_version(),
        **packages,
    }


def processor() -> str:
    """The processor's name as the system tells it."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def save(name: str, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Write results/NAME.json: the machine, then the rows, a line each."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    lines = ",\n".join(json.dumps(rounded(row), ensure_ascii=False) for row in rows)
    head = json.dumps(machine(), ensure_ascii=False)
    path.write_text(f'{{"machine": {head},\n"rows": [\n{lines}\n]}}\n', encoding="utf-8")
    return path


def rounded(value: Any) -> Any:
    """Floats to four digits: more is noise."""
    if isinstance(value, Mapping):
        return {name: rounded(item) for name, item in value.items()}
    return float(f"{value:.4g}") if isinstance(value, float) else value


if __name__ == "__main__":
    print(table(("machine", ""), list(machine().items())))
