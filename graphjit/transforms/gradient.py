"""The gradient of a function that returns one number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphjit.errors import DTypeError, ShapeError, TraceError
from graphjit.ir.graph import Graph, Node
from graphjit.records import dataclass
from graphjit.tracing.origin import user_line
from graphjit.tracing.trace import Outputs, Traced, trace_call
from graphjit.tracing.trees import Arguments
from graphjit.transforms.derive import Derived, Targets, lifted, main_spec, shown, simplified


@dataclass(frozen=True)
class Gradient:
    """What to differentiate, and what to return beside the gradient.

    ``noun`` is what messages call it: a Hessian begins with a gradient. ``budget`` is how many
    bytes the backward pass may keep, None for all it wants.
    """

    argnums: int | tuple[int, ...] = 0
    has_aux: bool = False
    value: bool = False
    noun: str = "a gradient"
    budget: int | None = None

    def derive(self, arguments: Arguments) -> Derived:
        """The function's graph with the gradient appended.

        Raises:
            TraceError, DTypeError, ShapeError: there is no such gradient.
        """
        traced = trace_call(arguments)
        targets = Targets(traced, self.argnums)
        primal, outputs = self.with_loss(traced)
        graph = with_gradient(primal, targets.inputs)
        if self.budget is not None:
            graph = within(graph, self.budget)
        count = len(primal.outputs)
        weak = (*outputs.weak, *targets.weak)
        if not self.value:
            graph, weak = Graph(graph.nodes, graph.inputs, graph.outputs[1:]), weak[1:]

        def result(values: Sequence[Any]) -> Any:
            if not self.value:
                values = [None, *values]
            returned = outputs.rebuilt(values[:count])
            return self.together(returned, targets.tree(values[count:]))

        return Derived(arguments, traced, graph, result, weak)

    def together(self, returned: Any, gradients: Any) -> Any:
        """The shape of the answer: gradients alone, with the value, with what is auxiliary."""
        if self.value:
            return returned, gradients
        return (gradients, returned[1]) if self.has_aux else gradients

    def with_loss(self, traced: Traced) -> tuple[Graph, Outputs]:
        """The graph with the loss as its first output, and how to rebuild what was returned.

        The loss is the only leaf of the result, or with ``has_aux`` the first. A function that
        returns a plain float has a loss too: a constant.
        """
        spec = main_spec(traced, has_aux=self.has_aux, noun="loss")
        loss = traced.outputs.leaves[0] if spec.num_leaves else None
        strange = 0 not in traced.outputs.places and not isinstance(loss, int | float | np.number)
        if not spec.is_leaf() or strange:
            found = shown(spec) if not spec.is_leaf() else type(loss).__name__
            raise TraceError(
                f"{self.noun} needs a function that returns one number",
                origin=user_line(),
                operands=(f"it returned {found}",),
                hint="Return the loss alone, or (loss, auxiliary) with has_aux=True.",
            )
        graph, outputs = lifted(traced.graph, traced.outputs, (0,))
        self.check_loss(graph.nodes[graph.outputs[0]])
        return graph, outputs

    def check_loss(self, node: Node) -> None:
        """Refuse a loss that has no gradient.

        Raises:
            ShapeError: it is no scalar.
            DTypeError: it is no float.
        """
        if node.aval.shape:
            raise ShapeError(
                f"{self.noun} needs a scalar, but the function returned an array of shape "
                f"{node.aval.shape}",
                origin=node.origin,
                operands=(node.aval,),
                hint="Reduce it with np.sum or np.mean, one element with x.reshape(()), or use "
                "graphjit.jacobian.",
            )
        if not node.aval.inexact:
            raise DTypeError(
                f"the function's result is no float, so it has no {self.noun.split()[-1]}",
                origin=node.origin,
                operands=(node.aval,),
                hint="Return a float32 or float64 scalar.",
            )


def with_gradient(graph: Graph, wrt: Sequence[int]) -> Graph:
    """The simplified graph with the gradient of its first output appended."""
    from graphjit.passes.adjoint import adjoint  # the passes are needed only now

    return adjoint(simplified(graph), wrt)


def within(graph: Graph, budget: int) -> Graph:
    """The graph keeping at most so many bytes for its backward pass, which computes the rest again.

    What is simplified later must not be counted, so that comes first.
    """
    from graphjit.passes.control_scan import sealed  # the passes are needed only now
    from graphjit.passes.recompute import recompute

    graph = recompute(simplified(graph), budget)
    return sealed(graph) if graph.count("scan") else graph


def checked_budget(budget: int | None) -> int | None:
    """A number of bytes, or None.

    Raises:
        TraceError: it is something else.
    """
    if budget is None:
        return None
    if isinstance(budget, bool) or not isinstance(budget, int | np.integer) or budget < 0:
        raise TraceError(
            f"budget takes a number of bytes, not {budget!r}", origin=user_line(),
            hint="Give an int of 0 or more, such as 100 * 2**20, or None to keep all that is read.",
        )  # fmt: skip
    return int(budget)
