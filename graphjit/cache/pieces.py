"""What programs have in common, in a manifest: arrays, captured arrays, checks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from graphjit.cache.fingerprint import LARGE, Fingerprint, contents_of
from graphjit.cache.libraries import Refused
from graphjit.cache.lookup import Missed
from graphjit.cache.trees import Json, array_form, array_from
from graphjit.ir.graph import Origin
from graphjit.ir.symbol import Symbol
from graphjit.tracing.guards import Guards

Array = np.ndarray[Any, Any]
Checks = Sequence[tuple[Origin | None, int]]


def arrays_written(arrays: Iterable[Array], letter: str, blobs: dict[str, bytes]) -> Json:
    """Arrays with all their elements, which go into blobs.

    Raises:
        Refused: one of them has no known form.
    """
    rows = []
    for number, array in enumerate(arrays):
        form, blobs[f"{letter}{number}"] = array_form(array)
        rows.append([form, f"{letter}{number}"])
    return rows


def arrays_read(rows: Json, blobs: Mapping[str, bytes]) -> tuple[Array, ...]:
    """The arrays that were written."""
    return tuple(array_from(form, blobs[name]) for form, name in rows)


# -- captured arrays -------------------------------------------------------------------------------


def captured_written(
    captured: Iterable[Any], fingerprint: Fingerprint, blobs: dict[str, bytes]
) -> Json:
    """Captured arrays by the names under which the function finds them.

    One that it does not find was made while tracing, and is kept with its elements.

    Raises:
        Refused: a traced value, or an array that has no known form.
    """
    names = {id(array): name for name, array in fingerprint.reads.arrays.items()}
    rows: list[Any] = []
    for number, value in enumerate(captured):
        if isinstance(value, Symbol):
            raise Refused("it uses a traced value of an outer function")
        if id(value) in names:
            rows.append(["read", names[id(value)]])
        else:
            form, blobs[f"h{number}"] = array_form(np.asarray(value))
            rows.append(["made", form, f"h{number}"])
    return rows


def captured_read(
    rows: Json, fingerprint: Fingerprint, blobs: Mapping[str, bytes]
) -> tuple[Array, ...]:
    """The captured arrays of this process."""
    found = fingerprint.reads.arrays
    return tuple(
        found[row[1]] if row[0] == "read" else array_from(row[1], blobs[row[2]]) for row in rows
    )


# -- contents that the trace may have read ---------------------------------------------------------


def exposed_written(guards: Iterable[Guards], fingerprint: Fingerprint) -> dict[str, str]:
    """The arrays whose elements the trace may have read, with digests of the larger ones.

    Raises:
        Refused: one of them was not there before the trace.
    """
    names = {id(array): name for name, array in fingerprint.reads.arrays.items()}
    found: dict[str, str] = {}
    for guard in guards:
        for own in guard.frozen:
            array = guard.arrays[own]
            if id(array) not in names:
                raise Refused(f"tracing it made {own}")
            found[names[id(array)]] = large_contents(array)
    return found


def large_contents(array: Array) -> str:
    """A digest of the elements where the fingerprint does not have them."""
    return contents_of(array) if array.nbytes > LARGE else ""


def check_exposed(exposed: Mapping[str, str], fingerprint: Fingerprint) -> None:
    """Compare what the trace may have read with what is there now.

    Raises:
        Missed: an array holds something else.
    """
    for name, digest in exposed.items():
        if large_contents(fingerprint.reads.arrays[name]) != digest:
            raise Missed(f"the contents of {name} changed while Python code depends on them")


# -- checks ----------------------------------------------------------------------------------------


def checks_written(checks: Checks, fingerprint: Fingerprint) -> Json:
    """The lines behind each status, relative to their functions.

    Raises:
        Refused: a line outside of all of them.
    """
    rows: list[Any] = []
    for origin, size in checks:
        place = None if origin is None else fingerprint.place_of(origin.file, origin.line)
        if origin is not None and place is None:
            raise Refused(f"the line {origin.place} is in no function that it calls")
        rows.append([place and [*place, origin.adjoint] if origin else None, int(size)])
    return rows


def checks_read(rows: Json, origins: str, fingerprint: Fingerprint) -> Checks:
    """The lines as they are now.

    Raises:
        Missed: lines moved within a function.
    """
    if any(place for place, _ in rows) and origins != fingerprint.origins:
        raise Missed("lines were moved within a function")
    return tuple((place and at(place, fingerprint), size) for place, size in rows)


def at(place: Sequence[Any], fingerprint: Fingerprint) -> Origin:
    """One line."""
    number, offset, adjoint = place
    return Origin(*fingerprint.line_at((number, offset)), adjoint)
