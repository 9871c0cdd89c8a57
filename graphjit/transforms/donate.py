"""Donated arguments: arrays that the caller gives away, and results that are written over them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphjit.ir.graph import Graph
from graphjit.tracing.trees import Arguments


def donations(
    arguments: Arguments, graph: Graph, argnums: Sequence[int]
) -> tuple[tuple[int, int], ...]:
    """For each output the first donated array of its shape and dtype that is not taken yet."""
    paths = arguments.spec.accessors()
    free = [
        place
        for place, leaf in enumerate(arguments.traced)
        if paths[leaf][0].entry == 0 and paths[leaf][1].entry in argnums
        and graph.nodes[graph.inputs[place]].aval.shape
    ]  # fmt: skip
    pairs = []
    for position, ident in enumerate(graph.outputs):
        aval = graph.nodes[ident].aval
        fitting = [p for p in free if graph.nodes[graph.inputs[p]].aval == aval]
        if fitting:
            pairs.append((position, fitting[0]))
            free.remove(fitting[0])
    return tuple(pairs)


def released(inputs: Sequence[Any], donated: Sequence[int]) -> list[Any]:
    """The inputs of a program that overwrites some of them.

    Only an array that owns its memory, may be written and lies in no other input's memory is
    overwritten; of another there is a copy.
    """
    values = list(inputs)
    for place in donated:
        array = inputs[place]
        rest = [x for i, x in enumerate(inputs) if i != place]
        alone = array.flags.owndata and not any(shared(array, x) for x in rest)
        if not (alone and array.flags.writeable):
            values[place] = array.copy()
    return values


def shared(array: np.ndarray[Any, Any], value: Any) -> bool:
    """Whether a value lies in an array's memory; both are contiguous, so bounds say it exactly."""
    return isinstance(value, np.ndarray) and bool(np.may_share_memory(array, value))
