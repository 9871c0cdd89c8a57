"""What a gradient costs by each way of differentiating, as the number of variables grows.

python benchmarks/four_ways.py [largest n]

The lecture's statement: reverse mode gives all n slopes for at most 4 times the cost of the
function, whatever n (Baur and Strassen, 1983); forward mode costs at most 2.5 times the function a
direction, so n directions grow with n; so do finite differences, which are inexact as well; a
symbolic derivative is exact but has to be derived, and evaluated as a formula.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import pairwise
from typing import Any

import harness
import numpy as np

import graphjit

SIZES = (10, 100, 1_000, 10_000, 100_000, 1_000_000)
MEASURED = {"forward": 1_000, "differences": 10_000, "symbolic": 100}  # beyond, time is n times one
LIMITS = {"reverse": 4.0, "forward": 2.5}
RATIOS = {"reverse": "reverse", "forward": "direction"}
WAYS = ("reverse", "forward", "differences", "symbolic")


@dataclass(frozen=True)
class Function:
    """A function with its gradient by hand, for any kind of float, and as a formula."""

    name: str
    numpy: Callable[[Any], Any]
    gradient: Callable[[Any], Any]
    formula: Callable[[Any, Any], Any]


def rosenbrock(x: Any) -> Any:
    return np.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def rosenbrock_gradient(x: Any) -> Any:
    gap, result = x[1:] - x[:-1] ** 2, np.zeros_like(x)
    result[:-1] = -400 * x[:-1] * gap - 2 * (1 - x[:-1])
    result[1:] += 200 * gap
    return result


def waves(x: Any) -> Any:
    return np.sum(np.sin(x[:-1]) * np.exp(-(x[1:] ** 2)) + np.log1p(x[:-1] ** 2) * np.tanh(x[1:]))


def waves_gradient(x: Any) -> Any:
    a, b, result = x[:-1], x[1:], np.zeros_like(x)
    bell, t = np.exp(-(b**2)), np.tanh(b)
    result[:-1] = np.cos(a) * bell + 2 * a / (1 + a**2) * t
    result[1:] += -2 * b * bell * np.sin(a) + np.log1p(a**2) * (1 - t**2)
    return result


def waves_formula(s: Any, x: Any) -> Any:
    both = pairwise(x)
    return sum(s.sin(a) * s.exp(-(b**2)) + s.log(1 + a**2) * s.tanh(b) for a, b in both)


def rosenbrock_formula(_: Any, x: Any) -> Any:
    return sum(100 * (b - a**2) ** 2 + (1 - a) ** 2 for a, b in pairwise(x))


FUNCTIONS = (
    Function("Rosenbrock", rosenbrock, rosenbrock_gradient, rosenbrock_formula),
    Function("waves", waves, waves_gradient, waves_formula),
)


# -- the four ways ---------------------------------------------------------------------------------


def differences(f: Callable[[Any], Any], x: Any) -> Any:
    """Centred differences, two calls a variable, each with the step that loses least."""
    step, result, moved = np.finfo(float).eps ** (1 / 3), np.empty_like(x), x.copy()
    for i, value in enumerate(x):
        moved[i] = value + step
        ahead = f(moved)
        moved[i] = value - step
        result[i] = (ahead - f(moved)) / (2 * step)
        moved[i] = value
    return result


def symbolic(function: Function, n: int) -> tuple[Callable[[Any], Any], float]:
    """The gradient as formulas that share their common parts, and the time to derive them."""
    import sympy

    start = time.perf_counter()
    x = sympy.symbols(f"x:{n}")
    value = function.formula(sympy, x)
    slopes = [sympy.diff(value, each) for each in x]
    evaluate = sympy.lambdify([x], slopes, "math", cse=True)
    return lambda point: np.array(evaluate(point.tolist())), time.perf_counter() - start


def measure(function: Function, n: int) -> dict[str, Any]:
    """Time and error of each way at n variables; the time of one direction, where it is one."""
    x = np.random.default_rng(n).uniform(-1, 1, n)
    direction = np.ones(n)
    numpy = function.numpy
    compiled, gradient = graphjit.jit(numpy), graphjit.grad(numpy)
    # Compiled as the others are: jvp itself finds its program anew at each call, in 2 microseconds.
    along = graphjit.jit(lambda x, v: graphjit.jvp(numpy, (x,), (v,)))
    calls = {
        "f": lambda: compiled(x),
        "reverse": lambda: gradient(x),
        "direction": lambda: along(x, direction),
    }
    seconds = raced(calls)
    # The best of many rounds: these are ratios of the same work every time, and a busy machine
    # can only add to it.
    times = {name: timing.minimum for name, timing in seconds.items()}
    ratios = {way: times[w] / times["f"] for way, w in RATIOS.items()}
    row: dict[str, Any] = {"function": function.name, "n": n, "ratios": ratios}
    ways: dict[str, Callable[[], Any]] = {"reverse": calls["reverse"]}
    if n <= MEASURED["forward"]:
        jacobian = graphjit.jacfwd(function.numpy)
        ways["forward"] = lambda: jacobian(x)
    if n <= MEASURED["differences"]:
        ways["differences"] = lambda: differences(compiled, x)
    if n <= MEASURED["symbolic"] and find_spec("sympy"):  # it is no dependency of GraphJIT
        evaluate, row["deriving"] = symbolic(function, n)
        ways["symbolic"] = lambda: evaluate(x)
    exact = function.gradient(x.astype(np.longdouble))
    row["errors"] = {name: error(call(), exact) for name, call in ways.items()}
    times |= {name: timed(call) for name, call in ways.items() if name != "reverse"}
    row["estimated"] = [way for way in ("forward", "differences") if way not in ways]
    times.setdefault("forward", n * times["direction"])
    times.setdefault("differences", 2 * n * times["f"])
    return {**row, "seconds": times}


def raced(calls: dict[str, Callable[[], Any]]) -> dict[str, harness.Timing]:
    """Timings in turn; they do not compute the same, so nothing is compared."""
    for call in calls.values():
        call()
    counts = {name: harness.calls_within(call, 0.004) for name, call in calls.items()}
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(40):
        for name in harness.rotated(list(calls), turn):
            taken[name].append(harness.timed(calls[name], counts[name]))
    return {name: harness.Timing(tuple(samples)) for name, samples in taken.items()}


def timed(call: Callable[[], Any]) -> float:
    """The best of a few."""
    count = harness.calls_within(call, 0.004)
    return min(harness.timed(call, count) for _ in range(3))


def error(found: Any, exact: Any) -> float:
    """The largest error, relative to the largest slope."""
    return float(np.max(np.abs(found - exact)) / np.max(np.abs(exact)))


# -- what is shown ---------------------------------------------------------------------------------


def cost_table(results: list[dict[str, Any]]) -> str:
    rows = []
    for r in results:
        marked = {w: "≈" if w in r["estimated"] else "" for w in WAYS}
        cells = [
            marked[w] + harness.duration(r["seconds"][w]) if w in r["seconds"] else "" for w in WAYS
        ]
        f = harness.duration(r["seconds"]["f"])
        ratios = [f"{r['ratios'][w]:.2f}" for w in LIMITS]
        rows.append((f"{r['function']}, n = {r['n']:,}", f, *cells, *ratios))
    head = ("gradient of", "f", *WAYS, "reverse / f", "direction / f")
    return harness.table(head, rows)


def error_table(results: list[dict[str, Any]]) -> str:
    rows = [
        (
            f"{r['function']}, n = {r['n']:,}",
            *(f"{r['errors'][w]:.0e}" if w in r["errors"] else "" for w in WAYS),
        )
        for r in results
    ]
    return harness.table(("relative error", *WAYS), rows)


def growth_table(results: list[dict[str, Any]]) -> str:
    """The power of n with which time grows between the largest sizes measured."""
    rows = []
    for name in dict.fromkeys(r["function"] for r in results):
        own = [r for r in results if r["function"] == name]
        cells = []
        for way in ("f", *WAYS):
            points = [
                (r["n"], r["seconds"][way])
                for r in own
                if way in r["seconds"] and way not in r["estimated"]
            ]
            cells.append(growth(points[-2:]))
        rows.append((name, *cells))
    return harness.table(("time grows as n to the", "f", *WAYS), rows)


def growth(points: list[tuple[int, float]]) -> str:
    if len(points) < 2:
        return ""
    (n, before), (more, after) = points
    return f"{np.log(after / before) / np.log(more / n):.1f}"


def plot(results: list[dict[str, Any]]) -> None:
    import matplotlib as mpl  # the only function that needs it

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    names = list(dict.fromkeys(r["function"] for r in results))
    figure, panels = plt.subplots(2, 2, figsize=(11, 8), sharex=True, layout="constrained")
    for column, name in enumerate(names):
        own = [r for r in results if r["function"] == name]
        plot_times(panels[0][column], own)
        plot_ratios(panels[1][column], own)
        panels[0][column].set_title(name)
        panels[1][column].set_xlabel("variables")
    panels[0][0].set_ylabel("seconds for a whole gradient")
    panels[1][0].set_ylabel("times the cost of the function")
    panels[0][0].legend(loc="upper left")
    panels[1][0].legend(loc="upper right")
    figure.suptitle("Four ways to a gradient (dashed: one direction, times n)")
    figure.savefig(harness.RESULTS / "four_ways.png", dpi=110)


def plot_times(panel: Any, own: list[dict[str, Any]]) -> None:
    for color, way in zip(("C0", "C1", "C2", "C3"), WAYS, strict=True):
        known = [(r["n"], r["seconds"][way]) for r in own if way in r["seconds"]]
        real = [
            (r["n"], r["seconds"][way])
            for r in own
            if way in r["seconds"] and way not in r["estimated"]
        ]
        panel.loglog(*zip(*known, strict=True), "--", color=color, alpha=0.5)
        panel.loglog(*zip(*real, strict=True), "o-", color=color, label=way)
    panel.loglog([r["n"] for r in own], [r["seconds"]["f"] for r in own], "k.-", label="f itself")
    panel.grid(which="major", alpha=0.2)


def plot_ratios(panel: Any, own: list[dict[str, Any]]) -> None:
    labels = {"reverse": "reverse mode, all slopes", "forward": "forward mode, one direction"}
    for color, (way, limit) in zip(("C0", "C1"), LIMITS.items(), strict=True):
        ratios = [r["ratios"][way] for r in own]
        panel.semilogx([r["n"] for r in own], ratios, "o-", color=color, label=labels[way])
        panel.axhline(limit, color=color, linestyle=":", label=f"the lecture's {limit:g}")
    panel.set_ylim(0, 6)  # room for the legend
    panel.grid(which="major", alpha=0.2)


def main(largest: int) -> None:
    results = []
    for function in FUNCTIONS:
        for n in (n for n in SIZES if n <= largest):
            results.append(measure(function, n))
            print(f"{function.name}, n = {n:,}", file=sys.stderr, flush=True)
    tables = cost_table(results), error_table(results), growth_table(results)
    print("\n\n".join(tables))
    over = [
        f"{r['function']}, n = {r['n']:,}: {way} {r['ratios'][way]:.2f}"
        for r in results
        for way, limit in LIMITS.items()
        if r["ratios"][way] > limit
    ]
    print(f"\nabove the lecture's bounds (reverse 4, forward 2.5): {', '.join(over) or 'none'}")
    if largest == SIZES[-1]:
        plot(results)
        print(f"written to {harness.save('four_ways', results)}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else SIZES[-1])
