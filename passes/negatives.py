"""Products with a number and with its negative are one product."""

from __future__ import annotations

from graphjit.ir.graph import Graph, Node
from graphjit.passes.rewrite import Rebuild, reached


def negatives(graph: Graph) -> Graph:
    """Compute x·c and x·(-c) once, and let additions take the sign: a + x·(-c) is a - x·c.

    Safe, because it is exact: rounding to nearest knows no sign. Gradients have many such pairs, as
    both operands of a difference have the same cotangent but for its sign.

    Before: ``%3 = multiply(%1, 2)``, ``%4 = multiply(%1, -2)``, ``%5 = add(%0, %4)``;
    after: ``%5 = subtract(%0, %3)``.
    """
    pairs = opposite(graph)
    return reached(Signs(graph, pairs).finish()) if pairs else graph


def opposite(graph: Graph) -> dict[int, int]:
    """Products with a number, and an earlier product of the same with the number's negative."""
    made: dict[tuple[int, float], int] = {}
    pairs = {}
    for node in graph.nodes:
        x, number = with_number(graph, node) if node.op == "multiply" else (0, 0)
        if number and made.setdefault((x, abs(number)), node.id) != node.id:
            earlier = made[x, abs(number)]
            if with_number(graph, graph.nodes[earlier]) == (x, -number):
                pairs[node.id] = earlier
    return pairs


def with_number(graph: Graph, node: Node) -> tuple[int, float]:
    """What is multiplied by a number, and that number; 0 where there is none."""
    for x, c in (node.inputs, node.inputs[::-1]) if node.aval.dtype.kind == "f" else ():
        known = graph.nodes[c]
        if known.op == "broadcast":
            known = graph.nodes[known.inputs[0]]
        if known.op == "constant" and known.aval.size == 1:
            return x, known.params["value"].item()
    return 0, 0


class Signs(Rebuild):
    """Rebuilds a graph in which the new nodes in some old ones' places are their negatives.

    Attributes:
        minus: Those old nodes.
        taking: Products of which the sign is taken by all that read them.
    """

    def __init__(self, graph: Graph, pairs: dict[int, int]) -> None:
        super().__init__(graph)
        self.minus: set[int] = set()
        self.taking = takers(graph)
        for node in graph.nodes:
            if node.id in pairs:
                self.share(node, pairs[node.id])
            elif node.op == "multiply":
                self.product(node)
            elif node.op in ("add", "subtract"):
                self.sum(node)
            else:
                self.plain(*node.inputs)
                self.copy(node)
        self.plain(*graph.outputs)

    def share(self, node: Node, other: int) -> None:
        """The negative of an earlier product."""
        self.place[node.id] = self.place[other]
        if other not in self.minus:
            self.minus.add(node.id)

    def product(self, node: Node) -> None:
        """The signs of both factors are the product's, if that helps."""
        odd = sum(i in self.minus for i in node.inputs) == 1
        if odd and node.id not in self.taking:
            self.plain(*node.inputs)
        elif odd:
            self.minus.add(node.id)
        self.copy(node)

    def sum(self, node: Node) -> None:
        """A sum or difference: the second operand's sign is the operation's."""
        a, b = node.inputs
        if node.op == "add" and a in self.minus:
            a, b = b, a
        self.plain(a)
        if b not in self.minus:
            self.copy(node)
            return
        self.origin = node.origin
        op, operands = OTHER[node.op], (self.place[a], self.place[b])
        self.place[node.id] = self.builder.add(op, operands, node.aval, {})

    def plain(self, *idents: int) -> None:
        """Make negatives what they are the negatives of."""
        for ident in idents:
            if ident in self.minus:
                self.minus.remove(ident)
                node = self.graph.nodes[ident]
                self.origin, x = node.origin, (self.place[ident],)
                self.place[ident] = self.builder.add("negative", x, node.aval, {})


OTHER = {"add": "subtract", "subtract": "add"}


def takers(graph: Graph) -> set[int]:
    """The products that are read by nothing but sums, or by such products."""
    taking, outputs = set[int](), set(graph.outputs)
    for node in reversed(graph.nodes):
        users = graph.users[node.id] if node.op == "multiply" and node.id not in outputs else ()
        if users and all(u in taking or takes(graph.nodes[u], node.id) for u in users):
            taking.add(node.id)
    return taking


def takes(user: Node, operand: int) -> bool:
    """Whether an operation can have the negative of an operand as well."""
    a, b = user.inputs if user.op in OTHER else (operand, operand)
    return a != b and (user.op == "add" or b == operand)
