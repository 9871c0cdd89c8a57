"""Memory and time of clipping per-example gradients as the batch grows: stored or not.

python benchmarks/per_example_clipping.py [largest batch]
"""

from __future__ import annotations

import importlib.util
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import harness
import numpy as np

import graphjit
from graphjit.codegen.build import build
from graphjit.codegen.plan import arena
from graphjit.flags import override

EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "per_example_clipping.py"
SIZES = (100, 200, 10)  # 22,210 parameters
BATCHES = (1, 4, 16, 64, 256)


def example() -> Any:
    """The example's module."""
    spec = importlib.util.spec_from_file_location("clipping", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def arguments(batch: int, sizes: tuple[int, ...] = SIZES) -> tuple[Any, ...]:
    rng = np.random.default_rng(0)
    pairs = pairwise(sizes)
    params = [(rng.normal(size=s) / np.sqrt(s[0]), np.zeros(s[1])) for s in pairs]
    x, y = rng.normal(size=(batch, sizes[0])), rng.integers(0, sizes[-1], batch)
    return params, x, y


def functions() -> dict[str, Any]:
    """Both ways, and the gradient of the whole batch without clipping."""
    module = example()
    return {
        "one gradient": graphjit.grad(lambda p, x, y: np.sum(module.losses(p, x, y))),
        "clipped": module.clipped,
        "stored": module.stored,
    }


def work_bytes(function: Any, args: tuple[Any, ...]) -> int:
    """The memory that the program needs beside its inputs and outputs, by its plan."""
    with override(jit=False):  # the plan is the same, and nothing is compiled
        program = build(function.graph(*args, stage="adjoint"), "memory")
    return arena(program.loops)


def measure(batch: int) -> list[dict[str, Any]]:
    args, found = arguments(batch), functions()
    ways = ("clipped", "stored")  # these compute the same
    calls = {name: lambda f=found[name]: f(*args) for name in ways}
    timings = harness.race(calls, rounds=9)
    whole = {"one gradient": lambda: found["one gradient"](*args)}
    timings |= harness.race(whole, rounds=9)
    return [
        {"batch": batch, "way": name, "bytes": work_bytes(f, args), "seconds": timings[name].median}
        for name, f in found.items()
    ]


def shown(results: list[dict[str, Any]]) -> str:
    ways = list(dict.fromkeys(result["way"] for result in results))
    rows = []
    for batch in dict.fromkeys(result["batch"] for result in results):
        own = {result["way"]: result for result in results if result["batch"] == batch}
        memory = [f"{own[way]['bytes'] / 1e3:,.0f} KB" for way in ways]
        rows.append((str(batch), *memory, *(harness.duration(own[way]["seconds"]) for way in ways)))
    return harness.table(("examples", *ways, *ways), rows)


def main(largest: int) -> None:
    results = [row for batch in BATCHES if batch <= largest for row in measure(batch)]
    print(f"Work memory beside inputs and outputs, and time; layers {SIZES}\n")
    print(shown(results))
    if largest == BATCHES[-1]:
        print(f"\nwritten to {harness.save('per_example_clipping', results)}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else BATCHES[-1])
