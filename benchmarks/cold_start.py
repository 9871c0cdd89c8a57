"""From nothing to the first gradient: whole processes, against every peer that is installed.

python benchmarks/cold_start.py [--rounds 5] [--only quiz] [--peers jax] [--clock cpu] [--limit 120]
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import harness
import numpy as np
from peers import calls, report
from peers.problems import PROBLEMS, Problem
from peers.process import run
from peers.registry import COMPETITORS, Competitor
from peers.telling import reason, taking_part, tell

MODES = {"compile": ("compile", False), "cold": ("first", False), "warm": ("first", True)}
Sample = dict[str, Any]


class Race:
    """All processes of one workload.

    Attributes:
        samples: For each competitor and mode the answers, one for each round.
        failed: Why a competitor has none.
    """

    def __init__(self, problem: Problem, folder: Path, options: argparse.Namespace) -> None:
        self.problem, self.folder, self.options = problem, folder, options
        self.samples: dict[tuple[str, str], list[Sample]] = {}
        self.failed: dict[str, Sample] = {}
        self.rounds: dict[str, int] = {}

    def kept(self, competitor: Competitor) -> Path:
        """Where a competitor's cache for this workload stays."""
        return self.folder / f"{competitor.name}-{self.problem.name}".replace(" ", "_")

    def process(self, competitor: Competitor, mode: str, save: str = "") -> Sample:
        """One process; a cold one gets an empty folder."""
        kind, cache = MODES[mode]
        order = {"problem": self.problem.name, "mode": kind, "save": save}
        limit = self.options.limit
        if cache:
            return run(competitor, order, self.kept(competitor), cache=True, limit=limit)
        with tempfile.TemporaryDirectory(dir=self.folder) as empty:
            return run(competitor, order, Path(empty), cache=False, limit=limit)

    def check(self, competitors: list[Competitor]) -> None:
        """Everyone computes once, which fills the caches, and all must agree."""
        results = {}
        for competitor in competitors:
            path = self.folder / "result.npz"
            answer = self.process(competitor, "warm", save=str(path))
            if "seconds" not in answer:
                self.failed[competitor.name] = answer
                tell(f"{self.problem.name}, {competitor.name}: {reason(answer)}")
                continue
            wanted = dict(competitor.variables).get("GRAPHJIT_RENDERER")
            assert answer.get("renderer") == wanted, answer
            with np.load(path) as saved:
                results[competitor.name] = [saved[name] for name in saved.files]
            affordable = int(self.options.budget / answer["process"])
            self.rounds[competitor.name] = max(1, min(self.options.rounds, affordable))
        if results:
            harness.agree(results, self.problem.tolerance)

    def measure(self) -> None:
        """Round after round; each begins with another competitor, and slow ones drop out."""
        for turn in range(self.options.rounds):
            names = [name for name, count in self.rounds.items() if turn < count]
            for name in harness.rotated(names, turn) if names else ():
                for mode in MODES:
                    answer = self.process(COMPETITORS[name], mode)
                    if "seconds" not in answer:
                        tell(f"{self.problem.name}, {name}, {mode}: {reason(answer)}")
                        self.failed[name] = answer
                        continue
                    self.samples.setdefault((name, mode), []).append(answer)
            tell(f"{self.problem.name}: round {turn + 1}")

    def rows(self) -> Iterator[dict[str, Any]]:
        """What is kept: a row for each competitor and mode."""
        for (name, mode), answers in self.samples.items():
            yield {
                "problem": self.problem.name,
                "competitor": name,
                "mode": mode,
                **report.summary(mode, answers),
            }
        for name, answer in self.failed.items():
            yield {"problem": self.problem.name, "competitor": name, **answer}


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="processes of each kind")
    parser.add_argument("--only", default="", help="workloads with this in their name")
    parser.add_argument("--peers", default="", help="packages besides graphjit: jax,casadi")
    parser.add_argument("--limit", type=float, default=120, help="seconds of one process")
    parser.add_argument("--budget", type=float, default=25, help="seconds of each kind's rounds")
    parser.add_argument("--clock", choices=("seconds", "cpu"), default="seconds")
    return parser.parse_args()


def main() -> None:
    given = options()
    competitors = taking_part(COMPETITORS.values(), given.peers)
    problems = [problem for problem in PROBLEMS.values() if given.only in problem.name]
    with tempfile.TemporaryDirectory() as folder:
        races = [Race(problem, Path(folder), given) for problem in problems]
        for race in races:
            race.check(competitors)
        for race in races:
            race.measure()
        latency = calls.measured(competitors, Path(folder), given)
    rows = [row for race in races for row in race.rows()]
    versions = {c.package: c.version() for c in competitors}
    rows += [*latency, {"versions": versions, "clock": given.clock}]
    print(report.text(rows, given.clock))
    if not (given.only or given.peers) and any(c.package == "jax" for c in competitors):
        harness.save("cold_start", rows)
        report.plot(rows, given.clock)


if __name__ == "__main__":
    main()
