"""Latency of a call from Python: a process for each renderer and for a free JAX, and tables."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import harness
from peers.process import run
from peers.registry import Competitor

ROUNDS = 25
Row = Mapping[str, Any]


def measured(competitors: list[Competitor], folder: Path, options: Namespace) -> list[Any]:
    """A row for each process: JAX has its own, for its threads disturb what shares the core."""
    beside = ["casadi"] if any(c.package == "casadi" for c in competitors) else []
    packages = {"graphjit": ["graphjit", *beside], "jax": ["jax"]}
    rows = []
    for competitor in competitors:
        if competitor.package not in packages:
            continue
        order = {"packages": packages[competitor.package], "rounds": ROUNDS}
        answer = run(
            competitor, order, folder / "calls", cache=False, limit=options.limit,
            module="peers.latency",
        )  # fmt: skip
        rows.append({"latency": competitor.name, **answer})
    return rows


def tables(rows: Iterable[Row]) -> Iterator[str]:
    """Latency of each process: the quiz against an empty function, the step taken apart."""
    for row in rows:
        if "latency" not in row:
            continue
        if "quiz" not in row:
            yield f"calls, {row['latency']}: {row['failed']}"
            continue
        timings = {name: harness.Timing(tuple(s)) for name, s in row["quiz"].items()}
        empty = timings["empty Python function"]
        head = (f"One call, {row['latency']}", "median", "minimum", "to empty", "of minima")
        yield harness.table(head, [call_row(n, t, empty) for n, t in timings.items()])
        if "step" in row:
            yield step_table(row)


def call_row(name: str, timing: harness.Timing, empty: harness.Timing) -> tuple[str, ...]:
    best = timing.minimum / empty.minimum
    times = harness.duration(timing.median), harness.duration(timing.minimum)
    target = " (target 3)" if name == "GraphJIT" else ""
    return name, *times, f"{timing.over(empty):.1f}{target}", f"{best:.1f}"


def step_table(row: Row) -> str:
    """The call, less its kernel and outputs; the kernel is the program less the least program."""
    step = {name: harness.Timing(tuple(s)) for name, s in row["step"].items()}
    rows = []
    for label, pick in (("median", "median"), ("minimum", "minimum")):
        call, outputs, program, least = (
            getattr(step[n], pick) for n in ("call", "new outputs", "program", "least program")
        )
        kernel = program - least
        parts = (call, kernel, outputs, call - kernel - outputs)
        rows.append((label, *(f"{1e6 * part:.2f}" for part in parts)))
    head = (f"Step, 8 arrays, {row['latency']}, µs", "call", "kernel", "new outputs")
    return harness.table((*head, "above them (target 0.5)"), rows)
