"""Whether two graphs mean the same, tried on random arguments."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphjit.errors import GraphJITError, VerifyError
from graphjit.ir.aval import Aval
from graphjit.ir.evaluate import evaluate
from graphjit.ir.graph import Graph

# Passes may round anew, and what follows may cancel: about half of the digits must agree.
COARSE, FINE = 1e-3, 1e-8


def compare(name: str, before: Graph, after: Graph, seed: int = 0) -> None:
    """Evaluate both graphs on the same random arguments.

    Raises:
        VerifyError: naming the pass, the first output that differs and its line.
    """
    args = arguments(before, seed)
    old, new = outcome(before, args), outcome(after, args)
    if isinstance(old, str) or isinstance(new, str):
        if type(old) is not type(new):
            raise VerifyError(f"the pass {name} changed the meaning: {old!r} became {new!r}")
        return
    if len(old) != len(new):
        raise VerifyError(f"the pass {name} made {len(new)} outputs of {len(old)}")
    tolerance = room(before)
    for position, (expected, found) in enumerate(zip(old, new, strict=True)):
        if not agree(expected, found, tolerance):
            raise VerifyError(
                f"the pass {name} changed the meaning of output {position}",
                origin=before.nodes[before.outputs[position]].origin,
                operands=(f"before: {expected}", f"after: {found}"),
                hint=f"GRAPHJIT_SKIP={name.partition('(')[0]} leaves the pass out.",
            )


def outcome(graph: Graph, args: list[Any]) -> tuple[Any, ...] | str:
    """The outputs, or the name of the error on the way to them."""
    try:
        return evaluate(graph, *args)
    except (GraphJITError, ValueError, ArithmeticError) as error:
        return type(error).__name__


def room(graph: Graph) -> float:
    """The relative difference that rounding may make: that of the coarsest dtype on the way."""
    return COARSE if any(node.aval.dtype == np.float32 for node in graph.nodes) else FINE


def agree(expected: Any, found: Any, tolerance: float = FINE) -> bool:
    """Equal shape, dtype and values; floats to within ``tolerance`` of the largest."""
    if expected.shape != found.shape or expected.dtype != found.dtype:
        return False
    if expected.dtype.kind != "f":
        return bool(np.array_equal(expected, found))
    largest = np.abs(expected[np.isfinite(expected)]).max(initial=1e-300)
    return bool(
        np.allclose(found, expected, rtol=tolerance, atol=tolerance * largest, equal_nan=True)
    )


def arguments(graph: Graph, seed: int = 0) -> list[Any]:
    """A random array for each input: integers such that they index the axes of the graph."""
    rng = np.random.default_rng(seed)
    sizes = [int(n.params["size"]) for n in graph.nodes if n.op == "wrap_index"]
    return [argument(graph.nodes[i].aval, rng, min(sizes, default=4)) for i in graph.inputs]


def argument(aval: Aval, rng: np.random.Generator, below: int) -> Any:
    """A random array: floats around 1 that mathematics likes, integers from 0 on."""
    if aval.dtype.kind == "f":
        return rng.uniform(0.25, 1.75, aval.shape).astype(aval.dtype)
    if aval.dtype.kind == "b":
        return rng.integers(0, 2, aval.shape).astype(bool)
    return rng.integers(0, max(below, 1), aval.shape).astype(aval.dtype)
