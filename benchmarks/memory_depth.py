"""How much memory a gradient needs as the function gets deeper: stored, checkpointed, recomputed.

python benchmarks/memory_depth.py
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import harness
import numpy as np

import graphjit
from graphjit.codegen.build import Program
from graphjit.codegen.plan import arena as work_bytes
from graphjit.ir.graph import Graph
from graphjit.passes.pipeline import parse_pipeline, run
from graphjit.passes.recompute import Plan, recompute

DEPTHS = {"chain": (16, 32, 64), "net": (4, 8, 16, 32, 64)}
SHARES = (2, 4, 8, 12, 16, 24, 32)  # budgets tried: what is stored, by these
CLEAN = parse_pipeline("prune,fold,simplify,merge,prune")
WAYS = ("stored", "nearly free", "checkpoints", "recomputed")


@dataclass(frozen=True)
class Deep:
    """A function of n equal layers: ``layer`` makes one, ``loss`` ends them."""

    name: str
    layer: Callable[[Any, Any], Any]
    loss: Callable[[Any], Any]
    make: Callable[[np.random.Generator, int], tuple[Any, list[Any]]]

    def plain(self, x: Any, weights: Any) -> Any:
        """All layers."""
        for w in weights:
            x = self.layer(x, w)
        return self.loss(x)

    def checkpointed(self, x: Any, weights: Any) -> Any:
        """Blocks of as many layers as there are blocks, each computed again in its turn."""
        block = graphjit.checkpoint(self.block)
        size = max(1, round(math.sqrt(len(weights))))
        for at in range(0, len(weights), size):
            x = block(x, weights[at : at + size])
        return self.loss(x)

    def block(self, x: Any, weights: Any) -> Any:
        """Some layers."""
        for w in weights:
            x = self.layer(x, w)
        return x


def swish(x: Any, w: Any) -> Any:
    z = x @ w
    return z / (1 + np.exp(-z)) + 0.1 * np.tanh(2 * z)


def vector(rng: np.random.Generator, depth: int, size: int = 20_000) -> tuple[Any, list[Any]]:
    return rng.normal(size=size), list(rng.uniform(0.9, 1.1, size=depth))


def layers(
    rng: np.random.Generator, depth: int, batch: int = 256, width: int = 64
) -> tuple[Any, list[Any]]:
    weights = [rng.normal(size=(width, width)) / math.sqrt(width) for _ in range(depth)]
    return rng.normal(size=(batch, width)), weights


DEEP = {
    "chain": Deep("chain", lambda x, w: np.sin(x * w + 0.1), np.sum, vector),
    "net": Deep("net", swish, lambda x: np.mean(x * x), layers),
}


def graph(function: Callable[..., Any], args: tuple[Any, list[Any]]) -> Graph:
    """The value and the gradients, simplified."""
    gradient = graphjit.value_and_grad(function, argnums=(0, 1))
    return run(gradient.graph(*args, stage="adjoint"), CLEAN)


def arena(program: Program) -> int:
    """Bytes of work memory: everything but inputs and outputs."""
    return work_bytes(program.loops)


def leanest(given: Graph) -> tuple[Graph, int]:
    """The graph with the budget whose program needs least memory, and that budget."""
    plan = Plan(given)
    stored = plan.bytes(plan.wanted)
    budgets = sorted({stored // share for share in SHARES})
    with graphjit.flags.override(jit=False):  # planned, not compiled
        sizes = {b: arena(Program(recompute(given, b), "tried")) for b in budgets}
    best = min(budgets, key=lambda b: (sizes[b], -b))
    return recompute(given, best), best


def measure(deep: Deep, depth: int, rounds: int = 9) -> dict[str, Any]:
    """The arena of each way, and its time beside that of storing everything."""
    x, weights = deep.make(np.random.default_rng(depth), depth)
    stored = graph(deep.plain, (x, weights))
    lean, budget = leanest(stored)
    graphs = {
        "stored": stored,
        "nearly free": recompute(stored),
        "checkpoints": graph(deep.checkpointed, (x, weights)),
        "recomputed": lean,
    }
    programs = {way: Program(g, "deep") for way, g in graphs.items()}
    args = [x, *weights]
    thunks = {way: lambda p=p: p(*args) for way, p in programs.items()}
    times = harness.race(thunks, rounds=rounds)
    return {
        "function": deep.name,
        "depth": depth,
        "layer": x.nbytes,
        "budget": budget,
        "bytes": {way: arena(p) for way, p in programs.items()},
        "time": {way: t.over(times["stored"]) for way, t in times.items()},
    }


def shown(results: list[dict[str, Any]], name: str) -> str:
    own = [r for r in results if r["function"] == name]
    head = (f"{name}: MB of work memory", *WAYS, "time", *WAYS[1:])
    rows = [
        (
            f"{r['depth']} layers of {r['layer'] / 1e6:.2f}",
            *(f"{r['bytes'][way] / 1e6:.2f}" for way in WAYS),
            "",
            *(f"{r['time'][way]:.2f}" for way in WAYS[1:]),
        )
        for r in own
    ]
    return harness.table(head, rows)


def plot(results: list[dict[str, Any]]) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(1, len(DEPTHS), figsize=(10, 4), layout="constrained")
    for panel, name in zip(panels, DEPTHS, strict=True):
        own = [r for r in results if r["function"] == name]
        for way in WAYS:
            sizes = [r["bytes"][way] / r["layer"] for r in own]
            panel.loglog([r["depth"] for r in own], sizes, "o-", label=way, base=2)
        panel.set_xlabel(f"layers of the {name}")
        panel.grid(which="both", alpha=0.2)
    panels[0].set_ylabel("work memory, in values of one layer")
    panels[0].legend()
    figure.suptitle("Memory of a value and its gradient against depth")
    figure.savefig(harness.RESULTS / "memory_depth.png", dpi=110)


def main() -> None:
    results = [measure(DEEP[name], depth) for name, depths in DEPTHS.items() for depth in depths]
    for name in DEPTHS:
        print(shown(results, name), end="\n\n")
    harness.save("memory_depth", results)
    plot(results)


if __name__ == "__main__":
    main()
