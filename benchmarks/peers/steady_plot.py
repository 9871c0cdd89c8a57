"""Plot of the steady-state benchmark: our time as a part of theirs, beside the targets."""

from __future__ import annotations

from typing import Any

import harness
from peers.steady_report import TARGETS, of_setting

TITLES = {"jax": "to JAX jit", "best": "to the best peer", "c": "to hand-written C or BLAS"}


def plot(rows: list[Any]) -> None:
    """One panel for each comparison."""
    try:
        import matplotlib as mpl
    except ImportError:
        print("no plot: matplotlib is not installed")
        return
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    results = of_setting(rows, "one")
    names = results.problems[::-1]
    ratios = {name: results.ratios(name) for name in names}
    figure, panels = plt.subplots(1, 3, figsize=(13, 6.5), sharey=True, layout="constrained")
    for panel, (column, title) in zip(panels, TITLES.items(), strict=True):
        for y, name in enumerate(names):
            mark(panel, y, ratios[name][column], getattr(TARGETS.get(name), column, None))
        panel.axvline(1, color="0.6")
        panel.set(xscale="log", title=f"our time {title}", xlabel="ratio, smaller is better")
        panel.set_yticks(range(len(names)), names)
        panel.grid(which="major", alpha=0.25)
    figure.savefig(harness.RESULTS / "steady_state.png", dpi=110)
    plt.close(figure)


def mark(panel: Any, y: int, found: float | None, target: float | None) -> None:
    """A dot for the ratio, green where it meets the target, which is a bar; grey without one."""
    if target is not None:
        panel.plot([target], [y], "|", color="k", markersize=13, markeredgewidth=2)
    if found is not None:
        verdict = "tab:green" if found <= (target or 0) else "tab:red"
        panel.plot([found], [y], "o", color="0.5" if target is None else verdict)
