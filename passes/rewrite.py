"""What passes share: rebuilding a graph, and rewriting it by rules on terms.

A graph is rebuilt in one sweep in topological order; nothing here recurses over it. Rules look at
a node whose operands are already rewritten, and what they make goes through the rules as well, so
that the sweep ends in a fixed point.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from graphjit.ir.aval import Aval
from graphjit.ir.builder import Builder
from graphjit.ir.dag import needed
from graphjit.ir.graph import Graph, Node, Origin
from graphjit.ir.primitive import TABLE

Rule = Callable[..., "Term | None"]
Rules = Mapping[str, tuple[Rule, ...]]
REPEATED = frozenset({"constant", "broadcast"})


class Rebuild:
    """A graph under reconstruction: all inputs first, in order, then whatever is copied.

    Attributes:
        builder: Makes the new nodes; those without an origin of their own get ``origin``.
        place: For each old node its new id.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.origin: Origin | None = None
        self.builder = Builder(lambda: self.origin)
        inputs = [graph.nodes[i] for i in graph.inputs]
        self.place = {n.id: self.builder.input(n.aval, n.origin) for n in inputs}

    def operands(self, node: Node) -> tuple[int, ...]:
        """The new ids of a node's operands."""
        place = self.place
        return tuple([place[i] for i in node.inputs])

    def copy(self, node: Node) -> int:
        """Copy a node unless it is there already, as inputs are."""
        if node.id not in self.place:
            self.place[node.id] = self.put(node, self.operands(node))
        return self.place[node.id]

    def put(self, node: Node, operands: tuple[int, ...]) -> int:
        """Add a node on operands of the new graph."""
        self.origin = node.origin
        return self.builder.copy(node, operands)

    def finish(self) -> Graph:
        """The new graph, with the outputs of the old one."""
        return self.builder.graph([self.place[i] for i in self.graph.outputs])


def rebuild(graph: Graph, nodes: Iterable[Node]) -> Graph:
    """The graph with only these nodes (and its inputs), in this order."""
    new = Rebuild(graph)
    for node in nodes:
        new.copy(node)
    return new.finish()


def reached(graph: Graph) -> Graph:
    """The graph without what its rewriting left behind: prune, in one backward sweep."""
    live = needed(graph, graph.outputs)
    if len(live) == len(graph.nodes):
        return graph
    return rebuild(graph, [node for node in graph.nodes if node.id in live])


class Term:
    """A node of the graph under construction, with the algebra that rules are written in."""

    __slots__ = ("id", "node", "rewriter")

    def __init__(self, rewriter: Rewriter, ident: int) -> None:
        self.rewriter, self.id = rewriter, ident
        self.node = rewriter.nodes[ident]

    @property
    def op(self) -> str:
        """The operation's name."""
        return self.node.op

    @property
    def aval(self) -> Aval:
        """Shape and dtype."""
        return self.node.aval

    @property
    def shape(self) -> tuple[int, ...]:
        """The length of each axis."""
        return self.node.aval.shape

    @property
    def params(self) -> Mapping[str, Any]:
        """The node's static parameters."""
        return self.node.params

    @property
    def kind(self) -> str:
        """``f`` for floats, ``i`` and ``u`` for integers, ``b`` for booleans."""
        return self.node.aval.dtype.kind

    @property
    def number(self) -> Any:
        """The one number that all elements are known to be, or ``None``."""
        node = self.node
        if node.op == "broadcast":
            node = self.rewriter.nodes[node.inputs[0]]
        if node.op != "constant" or node.aval.size != 1:
            return None
        return node.params["value"].item()

    @property
    def known(self) -> Any:
        """The array that this is known to be, or ``None``; broadcast numbers take no memory."""
        if self.op == "constant":
            return self.params["value"]
        if self.op == "broadcast" and self[0].op == "constant" and self[0].shape == ():
            return np.broadcast_to(self[0].params["value"], self.shape)
        return None

    def like(self, value: Any) -> Term:
        """A number in this term's shape and dtype."""
        constant = self.rewriter.constant(value, self.aval.dtype)
        return constant.make("broadcast", constant, shape=self.shape)

    def make(self, op: str, *operands: Term, **params: Any) -> Term:
        """An operation on terms, itself rewritten by the rules."""
        return self.rewriter.make(op, *operands, **params)

    def __getitem__(self, position: int) -> Term:
        return Term(self.rewriter, self.node.inputs[position])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Term) and self.id == other.id

    def __hash__(self) -> int:
        return self.id

    def __iter__(self) -> Iterator[Term]:
        return (Term(self.rewriter, i) for i in self.node.inputs)

    def __neg__(self) -> Term:
        return self.make("negative", self)

    def __add__(self, other: Term) -> Term:
        return self.make("add", self, other)

    def __sub__(self, other: Term) -> Term:
        return self.make("subtract", self, other)

    def __mul__(self, other: Term) -> Term:
        return self.make("multiply", self, other)

    def __truediv__(self, other: Term) -> Term:
        return self.make("divide", self, other)


class Site:
    """The place a rule is tried at: an operation that is not built yet.

    ``backward`` says that the node belongs to the backward pass, whose zeros have no sign that
    anybody relies on.
    """

    __slots__ = ("aval", "backward", "op", "params", "rewriter")

    def __init__(self, rewriter: Rewriter, op: str, aval: Aval, params: Mapping[str, Any]) -> None:
        self.rewriter, self.op, self.aval, self.params = rewriter, op, aval, params
        self.backward = rewriter.origin is not None and rewriter.origin.adjoint

    @property
    def shape(self) -> tuple[int, ...]:
        """The length of each axis."""
        return self.aval.shape

    @property
    def kind(self) -> str:
        """The kind of dtype, as for a term."""
        return self.aval.dtype.kind

    def full(self, value: Any) -> Term:
        """The value in all elements of the result: a number, or a term to broadcast."""
        if not isinstance(value, Term):
            value = self.rewriter.constant(value, self.aval.dtype)
        return self.rewriter.make("broadcast", value, shape=self.shape)

    def make(self, op: str, *operands: Term, **params: Any) -> Term:
        """An operation on terms, itself rewritten by the rules."""
        return self.rewriter.make(op, *operands, **params)


class Rewriter(Rebuild):
    """Rebuilds a graph by rules.

    Args:
        graph: The graph to rewrite.
        rules: For an operation's name the rules to try in turn, each called as
            ``rule(site, *operands)`` and returning the term to use instead or ``None``. Under
            ``"repeated"`` those for every operation on nothing but constants and broadcasts,
            tried after its own.
    """

    def __init__(self, graph: Graph, rules: Rules) -> None:
        super().__init__(graph)
        self.nodes = self.builder.nodes
        self.rules = rules
        self.repeated = rules.get("repeated", ())

    def constant(self, value: Any, dtype: Any = None) -> Term:
        """A constant as a term."""
        return Term(self, self.builder.constant(value, dtype))

    def make(self, op: str, *operands: Term, **params: Any) -> Term:
        """An operation on terms, rewritten by the rules; operands of a map are broadcast."""
        row = TABLE[op]
        if row.kind == "map" and any(t.shape != operands[0].shape for t in operands):
            shape = np.broadcast_shapes(*(t.shape for t in operands))
            operands = tuple(self.make("broadcast", t, shape=shape) for t in operands)
        aval = row.aval(*[t.aval for t in operands], **params)
        rules = self.applicable(op, [t.node for t in operands])
        found = self.match(rules, Site(self, op, aval, params), operands) if rules else None
        if found is not None:
            return found
        if op == "constant":
            return self.constant(params["value"])
        return Term(self, self.builder.add(op, tuple([t.id for t in operands]), aval, params))

    def applicable(self, op: str, operands: Sequence[Node]) -> tuple[Rule, ...]:
        """The rules to try for an operation on these nodes."""
        rules = self.rules.get(op, ())
        if operands and REPEATED.issuperset([node.op for node in operands]):
            return rules + self.repeated
        return rules

    def match(self, rules: tuple[Rule, ...], site: Site, operands: Sequence[Term]) -> Term | None:
        """What the first rule that fits makes of an operation."""
        for rule in rules:
            found = rule(site, *operands)
            if found is not None:
                return found
        return None

    def visit(self, node: Node) -> None:
        """Rewrite one node of the old graph."""
        self.origin, found = node.origin, None
        operands = self.operands(node)
        rules = self.applicable(node.op, [self.nodes[i] for i in operands])
        if rules:
            site = Site(self, node.op, node.aval, node.params)
            found = self.match(rules, site, [Term(self, i) for i in operands])
        self.place[node.id] = self.put(node, operands) if found is None else found.id


def rewrite(graph: Graph, rules: Rules) -> Graph:
    """The graph rewritten by rules in one sweep, without what that leaves unused."""
    rewriter = Rewriter(graph, rules)
    for node in graph.nodes:
        if node.op != "input":
            rewriter.visit(node)
    return reached(rewriter.finish())


def either(a: Term, b: Term) -> tuple[tuple[Term, Term], tuple[Term, Term]]:
    """Both orders of the operands of a commutative operation."""
    return (a, b), (b, a)


def negative_zero(value: Any) -> bool:
    """Whether a number is -0.0."""
    return bool(value == 0) and math.copysign(1.0, value) < 0
