"""Shifts: values that a function subtracts and adds back, so that it does not depend on them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from graphjit.ir.graph import Graph, Node
from graphjit.records import NamedTuple

Axes = tuple[int | None, ...]  # for each axis of a value the axis of the shift that it follows


class Share(NamedTuple):
    """How a value depends on a shift m: plus ``weight`` m, or times exp(``weight`` m)."""

    times: bool
    weight: float
    axes: Axes


def shifts(graph: Graph) -> set[int]:
    """The largest elements that a function does not depend on, whatever it is itself.

    ``exp(x - m) / sum(exp(x - m))`` and ``m + log(sum(exp(x - m)))`` are the same for every m, so
    nothing is to be handed down to m = max(x), which stands there against overflow. That is found
    by following m: x - m has it with the weight -1, its exponential as the factor exp(-m), and so
    has the sum of these over axes along which m does not change; where weights add up to 0 the
    value no longer depends on m. Anything else that meets m ends the search.
    """
    if not graph.count("max"):
        return set()
    ends = set(graph.outputs)
    found = [n for n in graph.nodes if peak(graph, n) and n.id not in ends]
    return {node.id for node in found if cancels(graph, node, ends)}


def peak(graph: Graph, node: Node) -> bool:
    """Whether a node is a largest element, or what takes its place where that is infinite."""
    return node.op == "max" or (node.op == "where" and graph.nodes[node.inputs[0]].op == "isfinite")


def cancels(graph: Graph, shift: Node, ends: set[int]) -> bool:
    """Whether nothing that is computed from a value depends on it in the end."""
    axes = tuple(a if n != 1 else None for a, n in enumerate(shift.aval.shape))
    shares = {shift.id: Share(False, 1.0, axes)}
    pending = sorted(set(graph.users[shift.id]), reverse=True)
    waiting = set(pending)
    while pending:
        ident = min(pending)
        pending.remove(ident)
        node = graph.nodes[ident]
        rule = RULES.get(node.op)
        share = rule(graph, node, [shares.get(i) for i in node.inputs]) if rule else None
        if share is None or (share.weight and ident in ends):
            return False
        if share.weight:
            shares[ident] = share
            fresh = set(graph.users[ident]) - waiting
            waiting |= fresh
            pending += fresh
    return True


Given = Sequence[Share | None]


def _sum(sign: int) -> Callable[[Graph, Node, Given], Share | None]:
    """Of a sum or a difference: weights of what is added add up."""

    def rule(_graph: Graph, _node: Node, given: Given) -> Share | None:
        return _united(given, (1, sign), times=False)

    return rule


def _product(sign: int) -> Callable[[Graph, Node, Given], Share | None]:
    """Of a product or a quotient: weights of factors add up."""

    def rule(_graph: Graph, _node: Node, given: Given) -> Share | None:
        return _united(given, (1, sign), times=True)

    return rule


def _united(given: Given, signs: Sequence[int], *, times: bool) -> Share | None:
    """The weights of operands together, if they follow the shift in the same way."""
    known = [(share, sign) for share, sign in zip(given, signs, strict=False) if share]
    axes = known[0][0].axes
    if any(share.times != times or share.axes != axes for share, _ in known):
        return None
    return Share(times, sum(share.weight * sign for share, sign in known), axes)


def _exp(_graph: Graph, _node: Node, given: Given) -> Share | None:
    share = given[0]
    return None if share is None or share.times else share._replace(times=True)


def _log(_graph: Graph, _node: Node, given: Given) -> Share | None:
    share = given[0]
    return None if share is None or not share.times else share._replace(times=False)


def _inverted(*, times: bool) -> Callable[[Graph, Node, Given], Share | None]:
    """Of a negative, or of a reciprocal."""

    def rule(_graph: Graph, _node: Node, given: Given) -> Share | None:
        return _united(given, (-1,), times=times)

    return rule


def _total(_graph: Graph, node: Node, given: Given) -> Share | None:
    """Of a sum of what has a factor in common."""
    share, gone = given[0], node.params["axes"]
    if share is None or not share.times or any(share.axes[a] is not None for a in gone):
        return None
    return share._replace(axes=tuple(m for a, m in enumerate(share.axes) if a not in gone))


def _broadcast(graph: Graph, node: Node, given: Given) -> Share | None:
    share, inner = given[0], graph.nodes[node.inputs[0]].aval.shape
    if share is None:
        return None
    return share._replace(axes=(None,) * (node.aval.ndim - len(inner)) + share.axes)


def _reshape(graph: Graph, node: Node, given: Given) -> Share | None:
    """Of a reshape that adds and drops axes of length 1."""
    share, old = given[0], graph.nodes[node.inputs[0]].aval.shape
    if share is None or [n for n in old if n != 1] != [n for n in node.aval.shape if n != 1]:
        return None
    kept = iter([m for m, n in zip(share.axes, old, strict=True) if n != 1])
    return share._replace(axes=tuple(next(kept) if n != 1 else None for n in node.aval.shape))


def _transpose(_graph: Graph, node: Node, given: Given) -> Share | None:
    share = given[0]
    return share and share._replace(axes=tuple(share.axes[a] for a in node.params["axes"]))


RULES: dict[str, Callable[[Graph, Node, Given], Share | None]] = {
    "add": _sum(1), "subtract": _sum(-1), "negative": _inverted(times=False),
    "multiply": _product(1), "divide": _product(-1), "reciprocal": _inverted(times=True),
    "exp": _exp, "log": _log, "sum": _total,
    "broadcast": _broadcast, "reshape": _reshape, "transpose": _transpose,
}  # fmt: skip
