"""Time of a step, compiled already, against every peer that is installed.

python benchmarks/steady_state.py [--only net] [--peers jax,c] [--rounds 15] [--limit 60]
    [--threads one] [--clock cpu]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import harness
import numpy as np
from peers import steady_plot, steady_report
from peers.live import Answer, Live
from peers.problems import Problem
from peers.registry import STEADY as COMPETITORS
from peers.registry import THREADED, Competitor
from peers.steady import LARGE, STEADY
from peers.telling import reason, taking_part, tell

SPENT = 1.5  # seconds of the rounds of one competitor, about: a slow one has fewer


class Race:
    """One workload: a live process for each competitor, timed in turn."""

    def __init__(self, problem: Problem, folder: Path, options: argparse.Namespace) -> None:
        self.problem, self.folder, self.options = problem, folder, options
        self.rows: dict[str, Answer] = {}
        self.live: dict[str, Live] = {}
        self.first: list[np.ndarray] = []

    def start(self, competitors: list[Competitor]) -> None:
        """One after the other, since compile times are taken; who disagrees is not timed."""
        for competitor in competitors:
            one = Live(competitor, self.problem.name, self.folder)
            self.live[competitor.name] = one
            answer = one.ready(self.options.limit)
            self.rows[competitor.name] = {**answer, "samples": []}
            if "count" not in answer:
                self.drop(competitor.name, answer)
            elif not self.agrees(one.arrays()):
                self.drop(competitor.name, {"failed": "disagrees"})

    def agrees(self, arrays: list[np.ndarray]) -> bool:
        """Whether they are those of the first competitor; none, of what computes no result, are."""
        self.first = self.first or arrays
        try:
            harness.agree(
                {"first": self.first, "this": arrays or self.first}, self.problem.tolerance
            )
        except AssertionError as error:
            tell(str(error))
            return False
        return True

    def drop(self, name: str, answer: Answer) -> None:
        """It takes no further part, and this is why."""
        tell(f"{self.problem.name}, {name}: {reason(answer)}")
        self.rows[name].update(answer)
        self.live.pop(name).close()

    def measure(self) -> None:
        """Round after round; each begins with another competitor, and slow ones drop out."""
        for turn in range(self.options.rounds):
            names = [name for name in self.live if turn < max(3, SPENT / self.expected(name))]
            for name in harness.rotated(names, turn) if names else ():
                self.turn(name)

    def expected(self, name: str) -> float:
        """Seconds of a round of it, which has one call to warm up; an interrupted one is longer."""
        row = self.rows[name]
        return 2 * row["count"] * min(row["samples"], default=0.0) or 1e-9

    def turn(self, name: str) -> None:
        """One timing."""
        row = self.rows[name]
        answer = self.live[name].time(row["count"], self.options.limit)
        if "seconds" in answer:
            row["samples"].append(answer[self.options.clock])
            return
        self.drop(name, answer)

    def end(self) -> None:
        """End all processes."""
        for one in self.live.values():
            one.close()

    def told(self, setting: str) -> Iterator[Answer]:
        """The rows that are kept."""
        for name, row in self.rows.items():
            samples = row.get("samples", [])
            kept = {key: row[key] for key in KEPT if key in row}
            head = {"setting": setting, "problem": self.problem.name, "competitor": name}
            yield {**head, **kept, "samples": [float(f"{s:.4g}") for s in samples]}


KEPT = ("compile", "megabytes", "unsupported", "failed", "limit")


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=15, help="timings of each")
    parser.add_argument("--only", default="", help="workloads with this in their name")
    parser.add_argument("--peers", default="", help="packages besides graphjit: jax,c")
    parser.add_argument("--limit", type=float, default=60, help="seconds until it has compiled")
    parser.add_argument("--clock", choices=("seconds", "cpu"), default="seconds")
    parser.add_argument("--threads", choices=("one", "all", "both"), default="both")
    return parser.parse_args()


def with_all_cores(competitors: list[Competitor]) -> list[Competitor]:
    """Those that use more than one core, and ours on one."""
    chosen = [c for c in competitors if c.name in THREADED]
    one = [c._replace(name="GraphJIT, one core") for c in chosen if c.package == "graphjit"]
    return [*one, *(c.on_all_cores() for c in chosen)]


def raced(
    problem: Problem, setting: str, competitors: list[Competitor], folder: Path,
    given: argparse.Namespace,
) -> list[Answer]:  # fmt: skip
    """All rows of one workload in one setting."""
    start = time.perf_counter()
    race = Race(problem, folder, given)
    try:
        race.start(competitors)
        race.measure()
    finally:
        race.end()
    tell(f"{problem.name}, {setting}: {time.perf_counter() - start:.0f} s")
    return list(race.told(setting))


def measured(given: argparse.Namespace, competitors: list[Competitor]) -> Iterator[Answer]:
    """All rows."""
    settings = {"one": competitors, "all": with_all_cores(competitors)}
    with tempfile.TemporaryDirectory() as folder:
        for problem in STEADY.values():
            for setting, those in settings.items():
                if given.only not in problem.name or given.threads not in (setting, "both"):
                    continue
                if setting == "one" or problem.name in LARGE:
                    yield from raced(problem, setting, those, Path(folder), given)


def main() -> None:
    given = options()
    competitors = taking_part(COMPETITORS.values(), given.peers)
    rows: list[Any] = []
    whole = not (given.only or given.peers) and given.threads == "both"
    try:
        rows.extend(measured(given, competitors))
    except KeyboardInterrupt:
        whole = False
        tell("interrupted: what there is")
    rows.append({"versions": {c.package: c.version() for c in competitors}, "clock": given.clock})
    whole = whole and any(c.package == "jax" for c in competitors)
    if whole:
        harness.save("steady_state", rows)
    print(steady_report.text(rows))
    if whole:
        steady_plot.plot(rows)


if __name__ == "__main__":
    main()
