"""``graphjit bench --calibrate``: measure, say what changes, and keep it."""

from __future__ import annotations

from collections.abc import Iterator

from graphjit.calibrate.measures import measured
from graphjit.codegen.native import host
from graphjit.tuning import file, key, numbers, tuning, write

NEAR = 0.1  # the share by which a number differs when a busy machine measures it twice


def calibrate(*, dry: bool) -> Iterator[str]:
    """Measure the numbers in force again, and write the file unless ``dry``; lines that say so."""
    width = host().vector_bytes
    table = tuning(width)
    before, found = numbers(table), dict[str, float]()
    yield key(width)
    for name, value in measured(table):
        near = abs(value - before[name]) <= NEAR * before[name]
        found[name] = before[name] if near else value
        yield f"  {name:<12} {value:<12g} {'as it was' if near else f'was {before[name]:g}'}"
    path = file()
    if dry:
        yield "nothing is kept"
    elif path is None:
        yield "nothing is kept: GRAPHJIT_TUNING is off, or there is no home"
    else:
        write(path, width, found)
        yield f"written to {path}; processes that start from now on use it"
