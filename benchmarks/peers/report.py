"""Tables of cold starts: times and ratios to JAX beside the targets, phases, calls, a plot."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import harness
from peers import calls
from peers.problems import PROBLEMS

Row = Mapping[str, Any]
MODES = {
    "compile": "Trace and compile alone, all loaded before",
    "cold": "Import to first gradient, nothing kept on disk",
    "warm": "Import to first gradient, caches on disk filled",
}
TARGETS = {"compile": 1 / 4, "cold": 1 / 3, "warm": 1 / 4}
AIMS = {"compile": 1 / 8}
OWN = ("GraphJIT", "GraphJIT, Numba")
JAX = ("JAX", "JAX, all cores")
NOTHING = "–"
LOOPS = {"LSTM, Python loop": "LSTM, scan", "formula, Python loop": "formula, scan"}
PASSES_LIMIT = 150  # µs a node


# -- what is kept of a row of processes ------------------------------------------------------------


def summary(mode: str, answers: list[Row]) -> dict[str, Any]:
    """Samples, medians and minima on both clocks, and the medians of all phases."""
    kept: dict[str, Any] = {}
    for clock in ("seconds", "cpu"):
        samples = [counted(mode, answer[clock]) for answer in answers]
        kept[clock] = {"median": statistics.median(samples), "minimum": min(samples)}
        kept[clock]["samples"] = [round(sample, 6) for sample in samples]
        spans = [answer[clock] for answer in answers]
        kept[clock]["spans"] = {k: statistics.median(s[k] for s in spans) for k in spans[0]}
    phases = {name for answer in answers for name in answer["phases"]}
    kept["phases"] = {
        name: statistics.median(a["phases"].get(name, 0.0) for a in answers)
        for name in sorted(phases)
    }
    middle = ("megabytes", "process")
    kept.update({name: statistics.median(a[name] for a in answers) for name in middle})
    told = ("nodes", "cache", "renderer")
    return {**kept, **{name: answers[-1][name] for name in told if name in answers[-1]}}


def counted(mode: str, spans: Mapping[str, float]) -> float:
    """Seconds that a mode is about."""
    if mode == "compile":
        return spans["compile"]
    return sum(taken for name, taken in spans.items() if name != "not counted")


class Results:
    """Rows by workload, competitor and mode, read on one clock."""

    def __init__(self, rows: Iterable[Row], clock: str) -> None:
        self.rows, self.clock = list(rows), clock
        self.timed = {
            (r["problem"], r["competitor"], r["mode"]): r for r in self.rows if "mode" in r
        }
        self.failed = {(r["problem"], r["competitor"]): r for r in self.rows if is_failure(r)}
        seen = {key[0] for key in [*self.timed, *self.failed]}
        self.problems = [name for name in PROBLEMS if name in seen]
        self.names = list(dict.fromkeys(key[1] for key in [*self.timed, *self.failed]))

    def timing(self, problem: str, name: str, mode: str) -> harness.Timing | None:
        """All samples, if there are any."""
        row = self.timed.get((problem, name, mode))
        return harness.Timing(tuple(row[self.clock]["samples"])) if row else None

    def jax(self, problem: str, mode: str) -> harness.Timing | None:
        """JAX's better figure: on one core, or with all of them."""
        found = [t for name in JAX if (t := self.timing(problem, name, mode))]
        return min(found, key=lambda t: t.median, default=None)

    def limit(self, problem: str) -> float | None:
        """The seconds that JAX did not finish within."""
        found = (self.failed.get((problem, name), {}).get("limit") for name in JAX)
        return next(filter(None, found), None)

    def cell(self, problem: str, name: str, mode: str) -> str:
        """A time, or why there is none."""
        timing = self.timing(problem, name, mode)
        if timing:
            return harness.duration(timing.median)
        failure = self.failed.get((problem, name), {})
        return NOTHING if "unsupported" in failure else failure.get("failed", NOTHING)[:24]


def is_failure(row: Row) -> bool:
    return "problem" in row and "mode" not in row


def shown(timing: harness.Timing | None) -> str:
    """The median, and the best."""
    if timing is None:
        return NOTHING
    return f"{harness.duration(timing.median)} ({harness.duration(timing.minimum)})"


# -- ratios to JAX ---------------------------------------------------------------------------------


class Ratio(NamedTuple):
    """Ours over JAX's: the median within rounds, and of the minima; or an upper bound."""

    middle: float
    best: float
    bound: bool = False

    def __str__(self) -> str:
        return f"{'<' if self.bound else ''}{self.middle:.3g}"


def ratio(results: Results, problem: str, name: str, mode: str, against: str) -> Ratio | None:
    own, jax = results.timing(problem, name, mode), results.jax(against, mode)
    if own is None:
        return None
    if jax is None:
        limit = results.limit(against)
        return Ratio(own.median / limit, own.minimum / limit, bound=True) if limit else None
    pairs = zip(own.samples, jax.samples, strict=False)  # a slow one has fewer rounds
    middle = statistics.median(a / b for a, b in pairs)
    return Ratio(middle, own.minimum / jax.minimum)


def verdict(found: Ratio | None, mode: str) -> str:
    if found is None:
        return ""
    if found.middle <= AIMS.get(mode, 0):
        return "aim met"
    if found.middle <= TARGETS[mode]:
        return "met"
    return "open" if found.bound else "MISSED"


def against_jax(results: Results, mode: str) -> str:
    """One table: JAX, ours by both renderers, ratios, the target."""
    own = [name for name in OWN if name in results.names]
    head = [MODES[mode], "JAX, best core count"]
    for name in own:
        head += [name, "ratio", "of minima", f"target {TARGETS[mode]:.3g}"]
    pairs = [(p, p) for p in results.problems]
    pairs += [(p, LOOPS[p]) for p in results.problems if LOOPS.get(p) in results.problems]
    rows = []
    for problem, other in pairs:
        jax = results.jax(other, mode)
        bound = results.limit(other)
        label = problem if problem == other else f"{problem}, to JAX's scan"
        cells = [label, f"> {bound:g} s" if bound and not jax else shown(jax)]
        for name in own:
            found = ratio(results, problem, name, mode, other)
            time = results.timing(problem, name, mode)
            cells += [shown(time) if time else results.cell(problem, name, mode)]
            cells += [str(found or NOTHING), f"{found.best:.3g}" if found else NOTHING]
            cells += [verdict(found, mode) if problem == other else ""]
        rows.append(cells)
    return harness.table(head, rows)


def everyone(results: Results, mode: str) -> str:
    """The medians of all peers."""
    rows = [(p, *(results.cell(p, name, mode) for name in results.names)) for p in results.problems]
    return harness.table((f"Medians: {MODES[mode].lower()}", *results.names), rows)


def first_calls(results: Results) -> str:
    """First call without imports: nothing kept, and caches filled."""
    rows = []
    for problem in results.problems:
        cells = [problem]
        for name in results.names:
            found = (results.timed.get((problem, name, mode)) for mode in ("cold", "warm"))
            spans = [row[results.clock]["spans"] for row in found if row]
            times = [harness.duration(s["compile"] + s["run"]) for s in spans]
            cells.append(" / ".join(times) or results.cell(problem, name, "cold"))
        rows.append(cells)
    return harness.table(("First call without imports: cold / warm", *results.names), rows)


# -- where the time goes ---------------------------------------------------------------------------


def imports(results: Results) -> str:
    """Import alone, over all cold processes."""
    rows = []
    for name in results.names:
        spans = [
            r[results.clock]["spans"] for k, r in results.timed.items() if k[1:] == (name, "cold")
        ]
        if spans:
            parts = [[s[span] for s in spans] for span in ("import NumPy", "import")]
            both = [sum(pair) for pair in zip(*parts, strict=True)]
            middle = [harness.duration(statistics.median(part)) for part in (*parts, both)]
            rows.append((name, *middle, harness.duration(min(both))))
    return harness.table(("Import", "NumPy", "the rest", "in all", "minimum"), rows)


def phases(results: Results, mode: str) -> str:
    """Milliseconds by phase of GraphJIT and JAX, and the passes' time for each node."""
    found = [(k, r) for k, r in results.timed.items() if k[2] == mode and r["phases"]]
    names = list(dict.fromkeys(phase for _, r in found for phase in r["phases"]))
    head = (f"By phase, ms: {MODES[mode].lower()}", *names, "rest", "nodes", "µs a node", "cache")
    return harness.table(head, [phase_row(key, row, names) for key, row in sorted(found)])


def phase_row(key: tuple[str, str, str], row: Row, names: list[str]) -> tuple[str, ...]:
    parts = row["phases"]
    rest = spent(row, key[2]) - sum(parts.values())
    times = [f"{1e3 * parts[n]:.1f}" if n in parts else "" for n in names]
    nodes = row.get("nodes", {}).get("adjoint")
    each = ""
    if nodes:
        each = f"{1e6 * (parts.get('adjoint', 0) + parts.get('passes', 0)) / nodes:.0f}"
    label = f"{key[0]}, {key[1]}"
    return label, *times, f"{1e3 * rest:.1f}", str(nodes or ""), each, row.get("cache", "")


def spent(row: Row, mode: str) -> float:
    """Wall seconds of the call that the phases divide."""
    spans = row["seconds"]["spans"]
    return spans["compile"] + (0 if mode == "compile" else spans["run"])


# -- all together ----------------------------------------------------------------------------------


def text(rows: list[Any], clock: str) -> str:
    """Every table."""
    results = Results(rows, clock)
    parts = [against_jax(results, mode) for mode in MODES]
    parts += [everyone(results, mode) for mode in MODES]
    parts += [first_calls(results), imports(results)]
    parts += [*(phases(results, mode) for mode in MODES), *calls.tables(rows)]
    word = {"seconds": "Wall time", "cpu": "Processor time"}[clock]
    note = f"passes at most {PASSES_LIMIT} µs a node: adjoint and passes over the adjoint's nodes"
    return "\n\n".join([f"{word}, median (minimum); {note}.", *parts])


def plot(rows: list[Any], clock: str) -> None:
    """The ratio to JAX of each workload, with the targets."""
    try:
        import matplotlib as mpl
    except ImportError:
        print("no plot: matplotlib is not installed")
        return
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    results = Results(rows, clock)
    figure, panels = plt.subplots(1, 3, figsize=(13, 4.5), sharey=True, layout="constrained")
    for panel, mode in zip(panels, MODES, strict=True):
        for name in filter(results.names.__contains__, OWN):
            found = {p: ratio(results, p, name, mode, p) for p in results.problems}
            points = {p: r.middle for p, r in found.items() if r}
            panel.semilogx(list(points.values()), list(points), "o", label=name)
        panel.axvline(TARGETS[mode], color="k", ls="--", label="target")
        panel.axvline(1, color="0.6")
        panel.set_title(MODES[mode], fontsize="medium")
        panel.set_xlabel("ratio to JAX")
        panel.grid(which="both", alpha=0.2)
    panels[0].legend()
    figure.savefig(harness.RESULTS / "cold_start.png", dpi=110)
