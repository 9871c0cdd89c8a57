"""Tables of the steady-state benchmark: times, ratios to JAX, the best peer and C, the targets."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import harness

Row = Mapping[str, Any]
NOTHING = "–"
OWN = ("GraphJIT", "GraphJIT, scan")
HAND = ("C, hand", "Numba, hand", "BLAS calls")
FLOORS = ("C, hand", "BLAS calls")
SPEED_UP = 1.7  # of two cores, at least
JAX = ("JAX", "JAX, second core")


class Targets(NamedTuple):
    """Our time at most, as a part of JAX's, the best peer's and hand-written C's."""

    jax: float
    best: float
    c: float | None = None


TARGETS = {
    "quiz": Targets(1 / 100, 1.0),
    "logistic 1000x50": Targets(1 / 3, 0.4, 1.1),
    "logistic, epoch": Targets(1 / 4.5, 1 / 4.5, 1.1),
    "small net f32, step": Targets(1 / 8, 0.35, 1.2),
    "small net f64, step": Targets(1 / 4, 0.6, 0.9),
    "small net f32, 10000 steps": Targets(1 / 1.8, 1 / 1.8, 1.0),
    "small net f64, 10000 steps": Targets(0.7, 0.7, 0.55),
    "large net, momentum": Targets(0.9, 0.9, 1.1),
    "large net, Adam": Targets(0.9, 0.9, 1.1),
    "chain f64": Targets(1 / 5.5, 0.55, 1.0),
    "chain f32": Targets(1 / 7, 0.35, 0.7),
    "Rosenbrock": Targets(1 / 8, 1 / 6, 0.8),
    "mixture d10 k25": Targets(1 / 4, 1 / 4, 1.2),
    "mixture d20 k50": Targets(1 / 4, 1 / 4, 1.2),
    "LSTM": Targets(1 / 2.5, 0.7),
    "conv net": Targets(0.6, 0.8),
    "attention block": Targets(0.8, 0.8),
    "Black-Scholes": Targets(1 / 8, 0.5, 1.0),
    "logistic, hvp": Targets(1 / 3, 1 / 3),
    "logistic, Hessian": Targets(1 / 3, 1 / 3),
    "Jacobian 100x100": Targets(1 / 4, 1 / 4),
}


class Results:
    """Samples by workload and competitor of one setting; rounds are in step."""

    def __init__(self, rows: Iterable[Row]) -> None:
        rows = [row for row in rows if "problem" in row]
        self.rows = {(row["problem"], row["competitor"]): row for row in rows}
        self.problems = list(dict.fromkeys(row["problem"] for row in rows))
        self.names = list(dict.fromkeys(row["competitor"] for row in rows))

    def timing(self, problem: str, name: str) -> harness.Timing | None:
        """All rounds, if there are any."""
        row = self.rows.get((problem, name), {})
        return harness.Timing(tuple(row["samples"])) if row.get("samples") else None

    def best(self, problem: str, names: Iterable[str]) -> str | None:
        """Who of them has the least median."""
        found = {name: t.median for name in names if (t := self.timing(problem, name))}
        return min(found, key=found.__getitem__, default=None)

    def peers(self) -> list[str]:
        """All but ours and what is written by hand."""
        return [name for name in self.names if name not in (*OWN, *HAND)]

    def ratio(self, problem: str, against: str | None) -> float | None:
        """Our time in theirs: the median of the quotients within rounds."""
        own = self.best(problem, OWN)
        if own is None or against is None:
            return None
        pairs = (self.timing(problem, name) for name in (own, against))
        samples = zip(*(t.samples for t in pairs if t), strict=False)
        return statistics.median(a / b for a, b in samples)

    def ratios(self, problem: str) -> dict[str, float | None]:
        """To JAX's better figure, to the best peer, to C."""
        return {name: self.ratio(problem, who) for name, who in self.against(problem).items()}

    def against(self, problem: str) -> dict[str, str | None]:
        """With whom we are compared, by column."""
        groups = {"jax": JAX, "best": self.peers(), "c": FLOORS}
        return {column: self.best(problem, names) for column, names in groups.items()}


def shown(found: float | None, target: float | None) -> tuple[str, str]:
    """A ratio, and the target beside it."""
    if found is None:
        return NOTHING, "" if target is None else spelled(target)
    if target is None:
        return spelled(found), ""
    word = "met" if found <= target else "MISSED"
    return spelled(found), f"{spelled(target)} {word}"


def spelled(ratio: float) -> str:
    """As the targets are: 1/8, or 0.7."""
    return f"1/{1 / ratio:.3g}" if ratio < 0.5 else f"{ratio:.2f}"


def against_targets(results: Results) -> str:
    """Ours, the three ratios, each with its target."""
    head = ("One thread, our time to theirs", "ours", "to JAX", "target", "to the best peer",
            "target", "who", "to C", "target")  # fmt: skip
    rows = []
    for problem in results.problems:
        own = results.best(problem, OWN)
        timing = results.timing(problem, own) if own else None
        cells = [problem, harness.duration(timing.median) if timing else NOTHING]
        ratios, goal = results.ratios(problem), TARGETS.get(problem)
        for column in ("jax", "best", "c"):
            cells += shown(ratios[column], getattr(goal, column, None))
            if column == "best":
                cells.append(results.against(problem)["best"] or NOTHING)
        rows.append(cells)
    return harness.table(head, rows)


def everyone(results: Results, title: str) -> str:
    """The medians of all."""
    rows = [[p, *(cell(results, p, name) for name in results.names)] for p in results.problems]
    return harness.table((title, *results.names), rows)


def cell(results: Results, problem: str, name: str) -> str:
    """A time, or why there is none."""
    timing = results.timing(problem, name)
    if timing:
        return harness.duration(timing.median)
    return str(results.rows.get((problem, name), {}).get("failed", NOTHING))[:20]


def column(results: Results, title: str, key: str, unit: str) -> str:
    """One more number of each process."""
    rows = []
    for problem in results.problems:
        found = [results.rows.get((problem, name), {}).get(key) for name in results.names]
        rows.append([problem, *(NOTHING if f is None else f"{f:.{unit}}" for f in found)])
    return harness.table((title, *results.names), rows)


def on_all_cores(results: Results) -> str:
    """Ours on one core and on all, and the peers on all."""
    others = [name for name in results.names if not name.startswith("GraphJIT")]
    head = ("All cores", "ours, one core", "ours", "speed-up", f"target {SPEED_UP}", *others,
            "to the best")  # fmt: skip
    rows = []
    for problem in results.problems:
        pair = [results.timing(problem, name) for name in ("GraphJIT, one core", "GraphJIT")]
        cells = [problem, *(harness.duration(t.median) if t else NOTHING for t in pair)]
        one, own = pair
        gain = one.over(own) if one and own else None
        cells += [f"{gain:.2f}", "met" if gain >= SPEED_UP else "MISSED"] if gain else [NOTHING, ""]
        cells += [cell(results, problem, name) for name in others]
        found = results.ratio(problem, results.best(problem, others))
        rows.append([*cells, spelled(found) if found else NOTHING])
    return harness.table(head, rows)


def of_setting(rows: Iterable[Row], setting: str) -> Results:
    return Results(row for row in rows if row.get("setting") == setting)


def text(rows: list[Any]) -> str:
    """Every table."""
    results, every = of_setting(rows, "one"), of_setting(rows, "all")
    parts = []
    if results.rows:
        parts.append(against_targets(results))
        parts.append(everyone(results, "Medians, one thread"))
        parts.append(column(results, "Compiled and run once, s", "compile", "2f"))
        parts.append(column(results, "Peak memory, MB", "megabytes", "0f"))
    if every.rows:
        parts.append(on_all_cores(every))
    return "\n\n".join(parts)
