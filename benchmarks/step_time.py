"""How long a step takes, against NumPy by hand and against fused Numba kernels by hand.

python benchmarks/step_time.py [words of the cases' names]
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from typing import Any

import harness
from workloads import elementwise, logistic, networks, quiz
from workloads.case import Case

TARGET = 1.2
KINDS = {
    "call": "One call from Python, through the public API",
    "program": "The program alone, without the launch from Python",
    "loop": "A training loop in one native call, the time of a step",
}


def measure(case: Case) -> dict[str, Any]:
    """Time all competitors; the reference is the fastest hand-written kernel."""
    timings = harness.race(case.prepare(), tolerance=case.tolerance)
    by_hand = {n: t for n, t in timings.items() if n.startswith("Numba")}
    best = min(by_hand, key=lambda name: by_hand[name].median)
    seconds = {
        name: {"median": t.median / case.steps, "minimum": t.minimum / case.steps}
        for name, t in timings.items()
    }
    ratio = timings["GraphJIT"].over(timings[best])
    return {"case": case.name, "kind": case.kind, "best": best, "ratio": ratio, "seconds": seconds}


def show(kind: str, results: list[dict[str, Any]]) -> str:
    rows = [row(result) for result in results if result["kind"] == kind]
    head = (KINDS[kind], "NumPy", "Numba", "by", "GraphJIT", "ratio", "")
    return harness.table(head, rows)


def row(result: dict[str, Any]) -> tuple[str, ...]:
    seconds, best = result["seconds"], result["best"]
    names = ("NumPy", best, "GraphJIT")
    times = [harness.duration(seconds[n]["median"]) if n in seconds else "" for n in names]
    by = best.removeprefix("Numba").strip(", ")
    late = "slower" if result["ratio"] > TARGET else ""
    return result["case"], *times[:2], by, times[2], f"{result['ratio']:.2f}", late


def cases() -> Iterator[Case]:
    for workload in (quiz, logistic, networks, elementwise):
        yield from workload.cases()


def chosen(words: list[str]) -> list[Case]:
    return [case for case in cases() if all(word in f"{case.name} {case.kind}" for word in words)]


def main(words: list[str]) -> None:
    results = []
    for case in chosen(words):
        gc.collect()
        results.append(measure(case))
        print("  ".join(row(results[-1])), file=sys.stderr, flush=True)
    measured = {result["kind"] for result in results}
    for kind in filter(measured.__contains__, KINDS):
        print(show(kind, results) + "\n")
    if not words:
        harness.save("step_time", results)


if __name__ == "__main__":
    main(sys.argv[1:])
