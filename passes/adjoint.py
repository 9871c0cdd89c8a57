"""Reverse mode: the chain rule, visited in reverse topological order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from graphjit.errors import DTypeError, MissingRule, ShapeError
from graphjit.ir.builder import Builder
from graphjit.ir.dag import depends_on
from graphjit.ir.graph import Graph, Node, Origin
from graphjit.ir.primitive import TABLE
from graphjit.ir.symbol import Symbol
from graphjit.ir.table.contract import paired
from graphjit.ir.table.reduce import spread
from graphjit.passes.products import paired_shares, times
from graphjit.passes.shifts import shifts


def adjoint(graph: Graph, wrt: Sequence[int]) -> Graph:
    """Append the gradient of the first output with respect to some inputs.

    Each node on a path from ``wrt`` to the output hands its cotangent to its operands by the
    rule of its row; where a value is used several times the cotangents add up. The forward
    nodes are copied unchanged, so the original outputs keep their meaning.

    Before: ``graph(%0) -> (%1)`` with ``%1 = sin(%0)``; after: ``graph(%0) -> (%1, %2)`` with
    ``%2 = cos(%0)``.

    Args:
        graph: Its first output is a float scalar.
        wrt: Positions in ``graph.inputs``, each of a float input.

    Returns:
        A graph with the same inputs; its outputs are those of ``graph``, then the gradients.

    Raises:
        ShapeError: the first output is no scalar.
        DTypeError: the first output, or an input of ``wrt``, is no float.
        MissingRule: an operation on the path has no derivative.
    """
    check_scalar(graph)
    seed = graph.nodes[graph.outputs[0]]
    return swept(graph, wrt, lambda builder: {seed.id: one(builder, seed)})


def pullback(
    graph: Graph, wrt: Sequence[int], of: Sequence[int] | None = None, *, strong: bool = False
) -> Graph:
    """Append the product of a cotangent with the Jacobian of the outputs.

    As ``adjoint``, whose one output has the cotangent 1.

    Before: ``graph(%0) -> (%1)`` with ``%1 = sin(%0)``; after: ``graph(%0, %1) -> (%2, %4)`` with
    ``%4 = %1 cos(%0)``.

    Args:
        graph: Any graph.
        wrt: Positions in ``graph.inputs``, each of a float input.
        of: Positions in ``graph.outputs`` of the float outputs that have a cotangent; by default
            all of them.
        strong: Zeros win over infinities in all products, see ``Backward``.

    Returns:
        A graph with one more input for each of ``of``, the cotangents, after all others; its
        outputs are those of ``graph``, then the cotangents of the inputs ``wrt``.

    Raises:
        DTypeError: an input of ``wrt``, or an output of ``of``, is no float.
        MissingRule: an operation on the way has no derivative.
    """
    nodes = [graph.nodes[i] for i in graph.outputs]
    ends = [n for n in nodes if n.aval.inexact] if of is None else [nodes[i] for i in of]
    check_floats(ends)

    def seeds(builder: Builder) -> dict[int, Symbol]:
        found = dict[int, Symbol]()
        for node in ends:
            cotangent = Symbol(builder, builder.input(node.aval, node.origin))
            found[node.id] = found[node.id] + cotangent if node.id in found else cotangent
        return found

    return swept(graph, wrt, seeds, strong=strong)


def swept(
    graph: Graph,
    wrt: Sequence[int],
    seeds: Callable[[Builder], dict[int, Symbol]],
    *,
    strong: bool = False,
) -> Graph:
    """The graph with the cotangents of some inputs appended, given those of some nodes."""
    check_floats([graph.nodes[graph.inputs[i]] for i in wrt])
    if graph.count("scan"):
        from graphjit.passes.control_reverse import saving  # loaded for whom it is needed

        graph = saving(graph)
    builder = Builder()
    nodes = [graph.nodes[i] for i in graph.inputs]
    inputs = [builder.input(node.aval, node.origin) for node in nodes]
    sweep = Backward(builder, graph, inputs, [graph.inputs[i] for i in wrt])
    gradients = sweep.run(seeds(builder), strong=strong)
    return builder.graph([*(sweep.place[i] for i in graph.outputs), *(g.id for g in gradients)])


def one(builder: Builder, node: Node) -> Symbol:
    """The cotangent of what is differentiated itself."""
    return Symbol(builder, builder.constant(1, node.aval.dtype))


def check_floats(nodes: Sequence[Node]) -> None:
    """Refuse integers and bools, which have no cotangents."""
    for node in nodes:
        if not node.aval.inexact:
            fact = "only floats have cotangents"
            raise DTypeError(fact, origin=node.origin, operands=(node.aval,))


def check_scalar(graph: Graph) -> None:
    """Refuse an output that has no gradient."""
    node = graph.nodes[graph.outputs[0]]
    if node.aval.shape:
        raise ShapeError(
            "the gradient is that of a scalar, but the function returned an array",
            origin=node.origin, operands=(node.aval,),
            hint="Reduce it with np.sum or np.mean.",
        )  # fmt: skip
    if not node.aval.inexact:
        raise DTypeError(
            "the function's result is no float, so it has no gradient",
            origin=node.origin, operands=(node.aval,),
        )  # fmt: skip


def copied(
    builder: Builder, graph: Graph, inputs: list[int], active: set[int]
) -> tuple[list[int], dict[int, list[int]]]:
    """The place of each node in the builder, and the residuals that custom rules keep."""
    if not any(node.results for node in graph.nodes):
        return builder.inline(graph, inputs), {}
    from graphjit.passes.custom import expanded  # loaded for whom it is needed

    return expanded(builder, graph, inputs, active)


class Backward:
    """One reverse sweep: cotangents by node, and which of them make *strong* products.

    In a strong product a zero wins over infinity and NaN. A cotangent makes them once it came
    through a slope that is infinite at a finite value (``branch`` rows, such as sqrt at 0), so
    that the norm of a zero vector has the gradient 0; and once it is zero for elements that
    were not used (``drops`` rows, such as where), so that these have no influence.
    """

    def __init__(
        self, builder: Builder, graph: Graph, inputs: list[int], sources: list[int]
    ) -> None:
        self.builder, self.graph, self.sources = builder, graph, sources
        self.active = depends_on(graph, sources) - shifts(graph)
        self.place, self.residuals = copied(builder, graph, inputs, self.active)
        self.cotangents: dict[int, Symbol] = {}
        self.results: dict[int, dict[int, Symbol]] = {}
        self.strong: set[int] = set()

    def run(self, seeds: dict[int, Symbol], *, strong: bool = False) -> list[Symbol]:
        """The cotangents of the sources, given those of the outputs."""
        self.cotangents = dict(seeds)
        self.strong = set(seeds) if strong else set()
        outer = self.builder.origin
        for node in reversed(self.graph.nodes):
            if node.id in self.cotangents and node.id in self.active and node.inputs:
                self.builder.origin = backward_origin(node)
                self.hand_down(node)
        self.builder.origin = outer
        return [self.cotangents[s] if s in self.cotangents else self.zeros(s) for s in self.sources]

    def hand_down(self, node: Node) -> None:
        """Add this node's share to the cotangent of each active operand."""
        cotangent = self.cotangents[node.id]
        if node.op == "item":
            self.results.setdefault(node.inputs[0], {})[node.params["index"]] = cotangent
            self.cotangents[node.inputs[0]] = cotangent  # so that the node is visited
            if node.id in self.strong:
                self.strong.add(node.inputs[0])
            return
        if weakens(node):
            self.strong.add(node.id)
        self.add_shares(node, self.control(node) if node.results else self.plain(node, cotangent))

    def control(self, node: Node) -> Sequence[Any]:
        """The shares that control flow hands down, from the cotangents of its results."""
        from graphjit.passes.control import Reverse  # loaded for whom they are needed
        from graphjit.passes.control_reverse import REVERSE
        from graphjit.passes.custom import CUSTOM_REVERSE

        rule = REVERSE.get(node.op) or CUSTOM_REVERSE.get(node.op)
        if rule is None:
            raise MissingRule(
                f"{node.op} has no derivative in reverse mode", origin=node.origin,
                hint="Use scan or fori_loop with a known number of steps, or forward mode (jvp).",
            )  # fmt: skip
        operands = [self.place[i] for i in node.inputs]
        floats = [i in self.active and self.graph.nodes[i].aval.inexact for i in node.inputs]
        given = Reverse(
            node,
            self.builder,
            self.place[node.id],
            operands,
            self.results[node.id],
            floats,
            strong=node.id in self.strong,
            residuals=self.residuals.get(node.id, ()),
        )
        return rule(given)

    def plain(self, node: Node, cotangent: Symbol) -> Sequence[Any]:
        """The shares of an ordinary operation."""
        operands = [Symbol(self.builder, self.place[i]) for i in node.inputs]
        result = Symbol(self.builder, self.place[node.id])
        return cotangents(node, cotangent, result, operands, strong=node.id in self.strong)

    def add_shares(self, node: Node, shares: Sequence[Any]) -> None:
        """Add up what reaches each operand."""
        for operand, share in zip(node.inputs, shares, strict=True):
            if (
                share is None
                or operand not in self.active
                or not self.graph.nodes[operand].aval.inexact
            ):
                continue
            known = self.cotangents.get(operand)
            self.cotangents[operand] = share if known is None else known + share
            if node.id in self.strong or TABLE[node.op].branch or TABLE[node.op].drops:
                self.strong.add(operand)

    def zeros(self, source: int) -> Symbol:
        """The cotangent of a source that the outputs do not depend on."""
        aval = self.graph.nodes[source].aval
        zero = self.builder.constant(0, aval.dtype)
        return Symbol(self.builder, self.builder.broadcast_to(zero, aval.shape))


def backward_origin(node: Node) -> Any:
    """The origin of what differentiates this node: its own line, marked as adjoint."""
    origin = node.origin or Origin("", 0)
    marked = Origin(origin.file, origin.line, adjoint=True)
    return lambda: marked


def cotangents(
    node: Node, ct: Symbol, y: Symbol, operands: list[Symbol], *, strong: bool
) -> Sequence[Any]:
    """The operands' shares of a node's cotangent, by the one rule its row states."""
    primitive = TABLE[node.op]
    if strong and node.op == "contract" and paired(**node.params):
        return paired_shares(ct, operands, node.params["spec"])
    if primitive.transpose is not None:
        return primitive.transpose(ct, *operands, **node.params)  # type: ignore[no-any-return]
    if primitive.vjp is not None:
        return primitive.vjp(ct, y, *operands, **node.params)  # type: ignore[no-any-return]
    if primitive.partials is not None:
        partials = primitive.partials(y, *operands, **node.params)
        spreaded = (
            spread(ct, operands[0], node.params["axes"]) if primitive.kind == "reduce" else ct
        )
        return [times(spreaded, p, strong=strong or primitive.pole) for p in partials]
    if primitive.kind in ("map", "reduce"):  # states no partials: piecewise constant
        return [None] * len(operands)
    raise MissingRule(f"{node.op} has no derivative", origin=node.origin, operands=(node.aval,))


def weakens(node: Node) -> bool:
    """Whether control flow has rows inside after which products must be strong, or is a choice."""
    return node.op == "cond" or any(
        TABLE[inner.op].branch or TABLE[inner.op].drops or weakens(inner)
        for body in node.bodies
        for inner in body.nodes
    )
