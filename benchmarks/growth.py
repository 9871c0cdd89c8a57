"""Time of a step as the work grows: a chain's length, a net's width and depth, an LSTM's time.

python benchmarks/growth.py [--only net] [--rounds 9]
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import os
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import harness
import numpy as np
from peers import graphjit, problems
from peers.problems import Problem
from peers.process import last_core

SUPERLINEAR = 1.3  # growth of the time over that of the work, from one size to the next
BATCH, WIDTH = 32, 64


class Axis(NamedTuple):
    """What grows.

    Attributes:
        label: Of the plot's axis.
        sizes: From small to large.
        problem: The workload of a size.
        work: In proportion to the operations of a size.
    """

    label: str
    sizes: tuple[int, ...]
    problem: Callable[[int], Problem]
    work: Callable[[int], float]


def chain(size: int) -> Problem:
    args = (np.random.default_rng(0).standard_normal(size),)
    return Problem("chain", "chain", lambda: args, module="models")


def net(width: int, depth: int) -> Problem:
    """Layers of sigmoids, with a squared error."""
    rng = np.random.default_rng(0)
    params = problems.layers(rng, *[width] * (depth + 1))
    args = params, rng.standard_normal((BATCH, width)), rng.random((BATCH, width))
    return Problem("net", "squared_error", lambda: args)


def lstm(length: int) -> Problem:
    params, state, _ = problems.lstm()
    cells = problems.CELLS
    sequence = np.eye(cells)[np.random.default_rng(0).integers(0, cells, length)]
    return Problem("LSTM", "lstm_scan", lambda: (params, state, sequence))


def powers(first: int, last: int, step: int = 1) -> tuple[int, ...]:
    return tuple(2**k for k in range(first, last + 1, step))


AXES = {
    "chain": Axis("elements", powers(6, 20, 2), chain, float),
    "net, width": Axis("width", powers(3, 9), lambda n: net(n, 3), lambda n: float(n**2)),
    # Three products a layer, but two for the first: nobody asks for the gradient of the data.
    "net, depth": Axis("layers", powers(0, 5), lambda n: net(WIDTH, n), lambda n: float(3 * n - 1)),
    "LSTM": Axis("steps of time", powers(4, 11), lstm, float),
}


def competitors(problem: Problem) -> dict[str, Callable[[], Any]]:
    """Ours and JAX's, on the same arguments."""
    args = problem.arguments()
    peers = {"GraphJIT": graphjit.GraphJIT()}
    if importlib.util.find_spec("jax"):
        from peers import jax

        peers["JAX"] = jax.Jax()
    return {name: ready(peer.build(problem, args)) for name, peer in peers.items()}


def ready(built: Any) -> Callable[[], Any]:
    """Compiled, its arguments where it wants them."""
    built.compile()
    if hasattr(built, "on_device"):
        built.on_device()
    call: Callable[[], Any] = built.call() if hasattr(built, "call") else built.run
    return call


def rows_of(name: str, axis: Axis, rounds: int) -> list[dict[str, Any]]:
    rows = []
    for size in axis.sizes:
        timings = harness.race(competitors(axis.problem(size)), rounds=rounds)
        for who, timing in timings.items():
            times = {"median": timing.median, "minimum": timing.minimum}
            rows.append({"axis": name, "size": size, "competitor": who, **times})
        print(f"{name}, {size}", file=sys.stderr, flush=True)
    return rows


def growths(rows: list[dict[str, Any]], axis: Axis) -> list[float]:
    """The time's growth over the work's, from each size to the next: 1 is in proportion."""
    pairs = itertools.pairwise(rows)
    return [
        b["minimum"] / a["minimum"] / (axis.work(b["size"]) / axis.work(a["size"]))
        for a, b in pairs
    ]


def shown(rows: list[dict[str, Any]]) -> str:
    """A line for each axis and competitor: times, and where they grow faster than the work."""
    lines = []
    for name, own in itertools.groupby(rows, lambda row: row["axis"]):
        found, axis = list(own), AXES[name]
        for who in dict.fromkeys(row["competitor"] for row in found):
            those = [row for row in found if row["competitor"] == who]
            times = "  ".join(f"{row['size']}: {harness.duration(row['minimum'])}" for row in those)
            steps = growths(those, axis)
            most, at = max(zip(steps, axis.sizes[1:], strict=True))
            word = "superlinear" if most > SUPERLINEAR else "no more than linear"
            lines.append((f"{name}, {who}", f"{most:.2f} to {at}", word, times))
    head = ("Time of a step as the work grows", "fastest growth", "", "times, best of the rounds")
    return harness.table(head, lines)


def plot(rows: list[dict[str, Any]]) -> None:
    """Time against size, with a dotted line in proportion to the work."""
    try:
        import matplotlib as mpl
    except ImportError:
        print("no plot: matplotlib is not installed")
        return
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(1, len(AXES), figsize=(15, 4), layout="constrained")
    for panel, (name, axis) in zip(panels, AXES.items(), strict=True):
        own = [row for row in rows if row["axis"] == name]
        for who in dict.fromkeys(row["competitor"] for row in own):
            those = [row for row in own if row["competitor"] == who]
            times = [row["minimum"] for row in those]
            (line,) = panel.loglog([row["size"] for row in those], times, "o-", label=who)
            work = [axis.work(row["size"]) for row in those]
            scale = times[-1] / work[-1]
            panel.loglog(axis.sizes, [scale * w for w in work], ":", color=line.get_color())
        panel.set(title=name, xlabel=axis.label)
        panel.grid(which="major", alpha=0.25)
    panels[0].set_ylabel("seconds a step (dotted: as the work)")
    panels[0].legend()
    figure.savefig(harness.RESULTS / "growth.png", dpi=110)
    plt.close(figure)


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", default="", help="axes with this in their name")
    parser.add_argument("--rounds", type=int, default=9)
    return parser.parse_args()


def main() -> None:
    given = options()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {last_core()})
    rows: list[dict[str, Any]] = []
    for name, axis in AXES.items():
        if given.only in name:
            rows += rows_of(name, axis, given.rounds)
    print(shown(rows))
    if not given.only:
        harness.save("growth", rows)
        if any(row["competitor"] == "JAX" for row in rows):
            plot(rows)


if __name__ == "__main__":
    os.environ.setdefault("GRAPHJIT_TIER", "best")
    main()
