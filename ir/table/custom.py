"""Graphs that one node carries whole: functions with derivative rules of their own, checkpoints."""

from __future__ import annotations

from typing import Any

from graphjit.ir.aval import Aval
from graphjit.ir.graph import Graph
from graphjit.ir.primitive import row


def given(*_: Aval, body: Graph, **__: Any) -> tuple[Aval, ...]:
    """What the body gives."""
    return body.avals(body.outputs)


def run(*operands: Any, body: Graph, **_: Any) -> tuple[Any, ...]:
    """The body's outputs; the other graphs say only how it is differentiated."""
    from graphjit.ir.evaluate import evaluate

    return evaluate(body, *operands)


# The operands of all three are those of the body. Of the first two, the first ``consts`` operands
# are what the function or its rule closes over, and ``name`` is what the user calls the function.
# custom_vjp: ``forward`` takes the operands and gives the results, then the residuals;
#     ``backward`` takes the constants, the residuals and the cotangents of the float results, and
#     gives the cotangents of the float operands that are no constants.
# custom_jvp: ``rule`` takes the operands, then the tangents of the float ones that are no
#     constants; it gives the results, then the tangents of the float results.
# checkpoint: a ``barrier`` keeps it apart from what stands around it, so that what it computes is
#     not taken from there; without one it is only marked as not to be stored.
row("custom_vjp", "control", numpy=run, aval=given)
row("custom_jvp", "control", numpy=run, aval=given)
row("checkpoint", "control", numpy=run, aval=given)
