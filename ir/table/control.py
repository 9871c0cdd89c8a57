"""Control flow: operations that carry graphs and run one of them, or one many times."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphjit.ir.aval import Aval
from graphjit.ir.graph import Graph
from graphjit.ir.primitive import row


def run(graph: Graph, operands: Any) -> tuple[Any, ...]:
    """The outputs of a carried graph."""
    from graphjit.ir.evaluate import evaluate

    return evaluate(graph, *operands)


def scanned(
    *operands: Aval, step: Graph, consts: int, carry: int, length: int, reverse: bool
) -> tuple[Aval, ...]:
    """The final carries, then each step's outputs stacked."""
    results = step.avals(step.outputs)
    stacked = (Aval((length, *aval.shape), aval.dtype) for aval in results[carry:])
    return (*results[:carry], *stacked)


def scan(
    *operands: Any, step: Graph, consts: int, carry: int, length: int, reverse: bool
) -> tuple[Any, ...]:
    """``carry, y[i] = step(*consts, *carry, *x[i])`` for each i, from the last one if reverse."""
    fixed, state = operands[:consts], operands[consts : consts + carry]
    slices = operands[consts + carry :]
    kept = step.avals(step.outputs)[carry:]
    stacked = [np.empty((length, *aval.shape), aval.dtype) for aval in kept]
    for i in reversed(range(length)) if reverse else range(length):
        results = run(step, (*fixed, *state, *(x[i] for x in slices)))
        state = results[:carry]
        for array, value in zip(stacked, results[carry:], strict=True):
            array[i] = value
    return (*state, *stacked)


row("scan", "control", numpy=scan, aval=scanned)


def chosen(*operands: Aval, branches: tuple[Graph, Graph]) -> tuple[Aval, ...]:
    """The results, which both branches have in common."""
    return branches[0].avals(branches[0].outputs)


def cond(which: Any, *operands: Any, branches: tuple[Graph, Graph]) -> tuple[Any, ...]:
    """The first branch's results where ``which`` is true, else the second's."""
    return run(branches[0] if bool(which) else branches[1], operands)


row("cond", "control", numpy=cond, aval=chosen)


def looped(*operands: Aval, test: Graph, step: Graph, tests: int, consts: int) -> tuple[Aval, ...]:
    """The carries, in the avals they came in, and how many rounds it took."""
    return (*step.avals(step.outputs), Aval((), np.dtype(np.int64)))


def while_loop(
    *operands: Any, test: Graph, step: Graph, tests: int, consts: int
) -> tuple[Any, ...]:
    """While ``test(*test_consts, *carry)``: ``carry = step(*consts, *carry)``."""
    asked, fixed = operands[:tests], operands[tests : tests + consts]
    state, count = operands[tests + consts :], 0
    while bool(run(test, (*asked, *state))[0]):
        state, count = run(step, (*fixed, *state)), count + 1
    return (*state, np.int64(count))


row("while", "control", numpy=while_loop, aval=looped)


def unwound(*_: Aval, pull: Graph, **__: Any) -> tuple[Aval, ...]:
    """The cotangents of the active constants, then those of the float carries."""
    return pull.avals(pull.outputs)


def unwind(
    *operands: Any, test: Graph, step: Graph, pull: Graph, tests: int, consts: int, sums: int
) -> tuple[Any, ...]:
    """Run a while loop, keeping every carry; then pull the cotangents back round by round.

    ``pull(*consts, *carry, *cotangents)`` gives what a round adds to the cotangents of ``sums``
    constants, then the cotangents of the carry that it began with.
    """
    carry = len(step.inputs) - consts
    asked, fixed = operands[:tests], operands[tests : tests + consts]
    state = operands[tests + consts : tests + consts + carry]
    back = operands[tests + consts + carry :]
    tape = []
    while bool(run(test, (*asked, *state))[0]):
        tape.append(state)
        state = run(step, (*fixed, *state))
    totals = [np.zeros(a.shape, a.dtype) for a in pull.avals(pull.outputs[:sums])]
    for begun in reversed(tape):
        results = run(pull, (*fixed, *begun, *back))
        totals = [t + r for t, r in zip(totals, results[:sums], strict=True)]
        back = results[sums:]
    return (*totals, *back)


row("unwind", "control", numpy=unwind, aval=unwound)
