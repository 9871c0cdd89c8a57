# ruff: noqa: E402 - imports are part of what is measured
"""Where the time of a first call goes as the function grows.

python benchmarks/compile_time.py            all, with the plot
python benchmarks/compile_time.py chain 100  one, in this process, as JSON
"""

from __future__ import annotations

import sys
import time

START = time.perf_counter()

import harness

import graphjit

IMPORTED = time.perf_counter() - START

import json
import os
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable
from typing import Any

from workloads.growing import KINDS

SIZES = {"chain": (1, 10, 100, 1000), "net": (1, 2, 5, 10, 20)}
LONG = 2000  # nodes or more, of the graph that is traced, differentiated and printed
PASSES = ("prune", "fold", "simplify", "merge", "order", "stitch", "fuse")
PHASES = ("trace", "adjoint", *PASSES, "lower", "render", "compile", "rest")
Seconds = Counter[str]


# -- in the process that is measured ---------------------------------------------------------------


def first_call(kind: str, size: int) -> dict[str, Any]:
    """Compile and run a new function; seconds by phase, and in all."""
    function, args = KINDS[kind](size)
    own = graphjit.value_and_grad(function)
    start = time.perf_counter()
    own(*args)
    total = time.perf_counter() - start
    report = own.explain_compile(*args)
    seconds: Seconds = Counter(report.seconds)
    for record in report.passes:
        seconds[record.step] += record.seconds
    inside = sum(record.seconds for record in report.passes)
    seconds["adjoint"] += seconds.pop("passes", 0.0) - inside  # nothing, if it was on disk
    seconds["rest"] = total - sum(seconds.values())
    nodes = {stage: len(own.graph(*args, stage=stage)) for stage in ("traced", "adjoint")}
    return {"nodes": nodes, "total": total, "phases": dict(seconds)}


def child(kind: str, size: int) -> dict[str, Any]:
    """The first call of this process, and the same again for a new function."""
    cold = first_call(kind, size)
    return {"import": IMPORTED, "cold": cold, "warm": first_call(kind, size)}


def printing(least: int) -> dict[str, Any]:
    """Trace, differentiate and print a graph of at least so many nodes."""
    from graphjit.passes.adjoint import adjoint
    from graphjit.tracing.trace import trace

    function, args = KINDS["chain"](least * 2 // 3)  # a function is 1.5 nodes: some have a constant
    seconds: dict[str, float] = {}

    def step(name: str, work: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        result = work()
        seconds[name] = time.perf_counter() - start
        return result

    graph = step("trace", lambda: trace(function, args)).graph
    step("print", lambda: str(graph))
    both = step("differentiate", lambda: adjoint(graph, [0]))
    step("print with the adjoint", lambda: str(both))
    assert least <= len(graph) < len(both)
    return {"nodes": [len(graph), len(both)], "seconds": seconds}


# -- in the process that measures ------------------------------------------------------------------


def measured(kind: str, size: int) -> dict[str, Any]:
    """Two processes, one after the other: the second could find what the first has kept."""
    with tempfile.TemporaryDirectory() as cache:
        first, second = (in_process(kind, size, cache) for _ in range(2))
    return {"kind": kind, "size": size, "first": first, "second": second}


def in_process(kind: str, size: int, cache: str) -> Any:
    command = [sys.executable, __file__, kind, str(size)]
    environment = {**os.environ, "GRAPHJIT_CACHE_DIR": cache}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return json.loads(done.stdout)


def totals(results: list[dict[str, Any]]) -> str:
    head = ("value and gradient of", "traced", "with adjoint", "import")
    head += ("first call", "second process", "again, warm")
    rows = []
    for r in results:
        cold, nodes = r["first"]["cold"], r["first"]["cold"]["nodes"]
        times = (r["first"]["import"], cold["total"], r["second"]["cold"]["total"])
        shown = [harness.duration(t) for t in (*times, r["first"]["warm"]["total"])]
        rows.append((name(r), str(nodes["traced"]), str(nodes["adjoint"]), *shown))
    return harness.table(head, rows)


def phases(results: list[dict[str, Any]]) -> str:
    used = [p for p in PHASES if any(r["first"]["warm"]["phases"].get(p) for r in results)]
    rows = [
        (name(r), *(f"{1e3 * r['first']['warm']['phases'].get(p, 0):.1f}" for p in used))
        for r in results
    ]
    return harness.table(("warm, by phase, ms", *used), rows)


def name(result: dict[str, Any]) -> str:
    unit = {"chain": "elementwise functions", "net": "layers"}[result["kind"]]
    return f"{result['size']} {unit}"


GROUPS = {
    "trace": ("trace",),
    "adjoint, passes": ("adjoint", *PASSES),
    "lower, render": ("lower", "render"),
    "machine code": ("compile",),
}


def plot(results: list[dict[str, Any]]) -> None:
    """One panel a kind; both axes logarithmic, so that a slope of 1 is linear growth."""
    import matplotlib as mpl  # the only function that needs it

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(1, 2, figsize=(10, 4), sharey=True, layout="constrained")
    for panel, kind in zip(panels, SIZES, strict=True):
        own = [r for r in results if r["kind"] == kind]
        sizes = [r["size"] for r in own]
        for label, parts in GROUPS.items():
            taken = [sum(r["first"]["warm"]["phases"].get(p, 0) for p in parts) for r in own]
            panel.loglog(sizes, taken, "o-", label=label)
        cold = [r["first"]["cold"]["total"] for r in own]
        panel.loglog(sizes, cold, "k--", label="first call of a process")
        panel.set_xlabel({"chain": "elementwise functions", "net": "layers"}[kind])
        panel.grid(which="both", alpha=0.2)
    panels[0].set_ylabel("seconds")
    panels[0].legend(loc="lower right")
    figure.suptitle("Compile time of a value and its gradient")
    figure.savefig(harness.RESULTS / "compile_time.png", dpi=110)


def main() -> None:
    results = [measured(kind, size) for kind, sizes in SIZES.items() for size in sizes]
    long = printing(LONG)
    print(totals(results), phases(results), sep="\n\n", end="\n\n")
    rows = [(k, harness.duration(v)) for k, v in long["seconds"].items()]
    print(harness.table((f"{long['nodes'][0]} nodes, {long['nodes'][1]} with adjoint", ""), rows))
    harness.save("compile_time", [*results, {"kind": "long", **long}])
    plot(results)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(child(sys.argv[1], int(sys.argv[2]))))
    else:
        main()
