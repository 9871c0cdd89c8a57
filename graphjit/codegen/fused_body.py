"""What a fused group says of its members: the phase and the views in which each is computed."""

from __future__ import annotations

import math

from graphjit.codegen.nest import strides_over
from graphjit.codegen.scalars import BOOLEAN
from graphjit.ir.graph import Graph, Node
from graphjit.ir.view import View, contiguous
from graphjit.passes.group import views

CHEAP = frozenset({"add", "subtract", "multiply", "negative", "where", "cast"}) | BOOLEAN
INDEXED = frozenset({"gather", "scatter_add"})


class Body:
    """The body of a ``fused`` node over its space; ``passes.group`` says what the roles are.

    Attributes:
        levels: The phase in which each member is computed. The inner loops of a row run once a
            phase; what a fold of one phase gives is known in the next.
    """

    def __init__(self, node: Node) -> None:
        self.graph: Graph = node.params["body"]
        self.space: tuple[int, ...] = node.params["space"]
        self.rows: int | None = node.params["rows"]
        self.roles: tuple[str, ...] = node.params["roles"]
        self.views = views(self.graph)
        self.outputs = frozenset(self.graph.outputs)
        self.levels = self._levels()

    @property
    def members(self) -> list[Node]:
        """The nodes that compute, in order."""
        return [n for n in self.graph.nodes if self.roles[n.id]]

    # -- phases -------------------------------------------------------------------------------

    def _levels(self) -> dict[int, int]:
        levels: dict[int, int] = {}
        for node in self.members:
            bases = [self.views[i][0] for i in node.inputs]
            known = [levels[b] for b in bases if self.roles[b] in ("each", "row", "fold")]
            levels[node.id] = max(known, default=0) + (self.roles[node.id] == "fold")
        return levels

    def used_until(self, ident: int) -> int:
        """The latest phase in which something that reads the value runs."""
        return max((self._reached(u) for u in self.graph.users[ident]), default=0)

    def _reached(self, user: int) -> int:
        """The latest phase in which a user, or what reads through it, runs."""
        role = self.roles[user]
        return self.levels[user] - (role == "fold") if role else self.used_until(user)

    def cheap(self, node: Node, depth: int = 2) -> bool:
        """Whether to compute a value again in a later phase rather than keep a row of it."""
        inside = {b for b in (self.views[i][0] for i in node.inputs) if self.roles[b] == "each"}
        below = (self.graph.nodes[b] for b in inside - self.outputs)
        return node.op in CHEAP and all(depth and self.cheap(n, depth - 1) for n in below)

    # -- views --------------------------------------------------------------------------------

    def maps(self, targets: list[View]) -> list[tuple[int, ...]]:
        """The strides over the space of everything the group touches; ``targets`` it writes."""
        found = [contiguous(self.space).strides]
        if self.rows:
            outer = contiguous(self.space[: self.rows]).strides
            found.append(outer + (0,) * len(self.space[self.rows :]))
        touched = [view for node in self.members for view in self._touched(node)] + targets
        return found + [strides_over(view, self.space, self.rows) for view in touched]

    def _touched(self, node: Node) -> list[View]:
        """The views through which a member reads its operands, and writes where it spills."""
        if node.op == "gather":
            return [*(self.seen(node, i) for i in node.inputs[1:]), self.around(node)[1]]
        views = [self.seen(node, i) for i in node.inputs]
        return [*views, self.target(node)] if self.roles[node.id] == "spill" else views

    def row(self) -> View:
        """The view over the space of a buffer that holds one row."""
        rows = self.rows or 0
        return View(self.space, (0,) * rows + contiguous(self.space[rows:]).strides)

    @property
    def row_size(self) -> int:
        """How many elements a row has."""
        return math.prod(self.space[self.rows or 0 :])

    def seen(self, node: Node, operand: int) -> View:
        """The operand's view over the loops; an index array is the same along the other axes."""
        view = self.views[operand][1]
        if node.op not in INDEXED or operand == node.inputs[0]:
            return view
        looped = node if node.op == "gather" else self.graph.nodes[node.inputs[0]]
        rest = looped.aval.ndim - len(view.shape)
        return View(looped.aval.shape, view.strides + (0,) * rest, view.offset)

    def around(self, node: Node) -> tuple[int, View]:
        """The array that a gather looks up, and the view on it where all indices are 0."""
        base, view = self.views[node.inputs[0]]
        return base, self._unindexed(node, view, node.aval.shape)

    def target(self, node: Node) -> View:
        """The view of a spilled result over the shape of the loops' operand."""
        operand = self.graph.nodes[node.inputs[0]].aval
        whole = contiguous(node.aval.shape)
        if node.op == "scatter_add":
            return self._unindexed(node, whole, operand.shape)
        if node.op == "embed":
            start, step = node.params["start"], node.params["step"]
            offset = sum(a * s for a, s in zip(start, whole.strides, strict=True))
            strides = tuple(k * s for k, s in zip(step, whole.strides, strict=True))
            return View(operand.shape, strides, offset)
        kept = iter(whole.strides)
        axes = range(operand.ndim)
        return View(
            operand.shape, tuple(0 if a in node.params["axes"] else next(kept) for a in axes)
        )

    def _unindexed(self, node: Node, whole: View, shape: tuple[int, ...]) -> View:
        """An indexed array without its indexed axes, over the index's and the rest's axes."""
        rest = tuple(s for a, s in enumerate(whole.strides) if a not in node.params["axes"])
        index = self.graph.nodes[node.inputs[1]].aval
        return View(shape, (0,) * index.ndim + rest, whole.offset)

    def index_strides(self, node: Node) -> list[int]:
        """How far one step of each index array moves in the array that is indexed."""
        held = self.views[node.inputs[0]][1] if node.op == "gather" else contiguous(node.aval.shape)
        return [held.strides[a] for a in node.params["axes"]]
