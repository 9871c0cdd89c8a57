"""Loop groups: which operations can share one loop nest, and the part each plays in it.

A group has a *space*, the extents of its loops (axes of length 1 dropped), and, where a row's
reduction is used again inside the group (softmax, layer norm), a number of *row* axes: the
outer loops, within which the inner loops run several times.

Roles of a member:

====== =======================================================================================
each   computed at every point of the space
row    computed once a row
fold   a reduction over the inner axes: one value a row, usable in the same row afterwards
total  a reduction of everything to a scalar: usable after the loops
spill  a reduction over other axes, a scatter or an embedding: accumulates in memory
after  a scalar computed from totals, after the loops
====== =======================================================================================
"""

from __future__ import annotations

from dataclasses import field

from graphjit.ir.graph import Graph, Node
from graphjit.ir.primitive import TABLE
from graphjit.ir.view import View, contiguous, through
from graphjit.records import NamedTuple, dataclass

FREE = frozenset({"constant", "iota", "broadcast", "reshape", "transpose", "slice", "hold"})
LOOPED_REDUCTIONS = frozenset({"sum", "prod", "max", "min", "any", "all"})
STORED = frozenset({"scatter_add", "embed"})
LIMIT = 200

Shape = tuple[int, ...]


@dataclass(eq=False, repr=False)
class Group:
    """The members of one loop nest, by node id, with their roles."""

    space: Shape
    rows: int | None = None
    roles: dict[int, str] = field(default_factory=dict)
    folds: dict[int, int] = field(default_factory=dict)

    def add(self, ident: int, place: Place) -> None:
        """Take a node in."""
        self.roles[ident] = place.role
        if place.role == "fold":
            self.folds[ident] = place.rows or 0
        if place.fixes_rows:
            self.fix_rows(place.rows)

    def widened(self, space: Shape) -> Group | None:
        """The group as the row part of a larger space, if it is simple enough for that."""
        rows = len(self.space)
        simple = self.rows is None and 0 < rows < len(space) and self.space == space[:rows]
        if not simple or not set(self.roles.values()) <= {"each", "total", "after"}:
            return None
        roles = {i: "row" if role == "each" else role for i, role in self.roles.items()}
        return Group(space, rows, roles)

    def fix_rows(self, rows: int | None) -> None:
        """Settle the row axes; reductions over other axes accumulate in memory."""
        self.rows = rows
        for ident, count in self.folds.items():
            if count != rows:
                self.roles[ident] = "spill"

    def close(self) -> None:
        """A group whose only folds agree walks row by row, so that they stay in registers."""
        if self.rows is None and self.folds:
            self.fix_rows(next(iter(self.folds.values())))


class Place(NamedTuple):
    """A role that a node can take, and the number of row axes it goes with."""

    role: str
    rows: int | None = None
    fixes_rows: bool = False


def squeeze(shape: Shape) -> Shape:
    """The shape without axes of length 1."""
    return tuple(n for n in shape if n != 1)


def fusible(node: Node) -> bool:
    """Whether the node can be a member of a loop group at all."""
    kind = TABLE[node.op].kind
    return kind == "map" or node.op in LOOPED_REDUCTIONS or node.op in STORED or node.op == "gather"


def space_of(graph: Graph, node: Node) -> Shape:
    """The space of a group that begins with this node."""
    source = node.aval if not reads_space(node) else graph.nodes[node.inputs[0]].aval
    return squeeze(source.shape)


def reads_space(node: Node) -> bool:
    """Whether the loops run over the node's operand rather than over its result."""
    return node.op in LOOPED_REDUCTIONS or node.op in STORED


def views(graph: Graph) -> dict[int, tuple[int, View]]:
    """For every node the buffer it is read from and the view on it.

    Layout operations move no data where an affine map can say it; a reshape that cannot be said
    so is a buffer of its own.
    """
    found: dict[int, tuple[int, View]] = {}
    for node in graph.nodes:
        view = None
        if node.op == "iota":  # the address of an index is its value
            axis = node.params["axis"]
            view, base = (
                View(node.aval.shape, tuple(int(a == axis) for a in range(node.aval.ndim))),
                node.id,
            )
        if node.op in FREE and node.inputs:
            base, inner = found[node.inputs[0]]
            view = through(node, inner)
        found[node.id] = (
            (base, view) if view is not None else (node.id, contiguous(node.aval.shape))
        )
    return found


def waits(graph: Graph) -> dict[int, set[int]]:
    """For each value that is read through a ``hold`` what must be there before."""
    found: dict[int, set[int]] = {}
    if graph.count("hold"):
        for node in graph.nodes:
            if node.op in FREE and node.inputs:
                found[node.id] = set(found.get(node.inputs[0], ()))
                found[node.id] |= {node.inputs[1]} if node.op == "hold" else set()
    return found


class Placement:
    """Decides whether and how a node fits into a group."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.views = views(graph)
        self.waits = waits(graph)

    def fit(self, node: Node, group: Group) -> Place | None:
        """The node's place in the group, or None."""
        if len(group.roles) >= LIMIT:
            return None
        if reads_space(node):
            return self._fit_reduction(node, group)
        if node.op == "gather" and self.views[node.inputs[0]][0] in group.roles:
            return None
        return self._fit_map(node, group)

    def _fit_reduction(self, node: Node, group: Group) -> Place | None:
        source = squeeze(self.graph.nodes[node.inputs[0]].aval.shape)
        if node.op in STORED:
            fits = source == group.space and self._all_each(node, group)
            return Place("spill") if fits else None
        parts = self.parts(node, group)
        whole = not squeeze(node.aval.shape)
        if source and source == group.space[: len(source)] and len(source) < len(group.space):
            rowwise = whole and parts <= {"row", "outside"}
            return self._with_rows("total", node, group, rows=len(source)) if rowwise else None
        if source != group.space or not parts <= {"each", "outside"}:
            return None
        if whole:
            return Place("total")
        rows = self._row_axes(node)
        if rows is None or group.rows not in (None, rows):
            return Place("spill")
        return Place("fold", rows)

    def _row_axes(self, node: Node) -> int | None:
        """How many leading axes a reduction over exactly the trailing axes leaves."""
        shape = self.graph.nodes[node.inputs[0]].aval.shape
        kept = [axis not in node.params["axes"] for axis, n in enumerate(shape) if n != 1]
        rows = sum(kept)
        return rows if all(kept[:rows]) else None

    def _fit_map(self, node: Node, group: Group) -> Place | None:
        target, parts = squeeze(node.aval.shape), self.parts(node, group)
        if target == group.space and parts <= {"each", "row", "outside"}:
            return self._with_rows("each", node, group) if "row" in parts else Place("each")
        inside = parts - {"outside"}
        if not target:
            return Place("after") if inside == {"scalar"} else None
        if inside == {"row"} and target == group.space[: len(target)]:
            return self._with_rows("row", node, group, rows=len(target))
        return None

    def _with_rows(
        self, role: str, node: Node, group: Group, rows: int | None = None
    ) -> Place | None:
        """The place, if the rows that the node reads agree on the number of row axes."""
        bases = (self.views[i][0] for i in node.inputs)
        read = [b for b in bases if group.roles.get(b) in ("row", "fold")]
        counts = {rows, group.rows, *(group.folds.get(b, group.rows) for b in read)} - {None}
        if len(counts) != 1:
            return None
        return Place(role, counts.pop(), fixes_rows=group.rows is None)

    def parts(self, node: Node, group: Group) -> set[str]:
        """How the node reads the group: each, row, scalar, outside or crossed."""
        return {self._part(i, group) for i in node.inputs}

    def _part(self, operand: int, group: Group) -> str:
        base, view = self.views[operand]
        role = group.roles.get(base)
        if role is None:
            return "outside"
        if role in ("total", "after"):
            return "scalar"
        flat, space = view.squeezed(), group.space
        if view.offset:
            return "crossed"
        if role == "each" and flat == contiguous(space):
            return "each"
        if role in ("row", "fold"):
            rows = group.rows if group.rows is not None else group.folds.get(base, 0)
            outer = contiguous(space[:rows])
            spread = View(space, outer.strides + (0,) * (len(space) - rows))
            return "row" if flat in (outer, spread) else "crossed"
        return "crossed"

    def _all_each(self, node: Node, group: Group) -> bool:
        return all(self._part(i, group) in ("each", "outside") for i in node.inputs)
