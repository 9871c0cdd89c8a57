"""What a picture of a graph shows: boxes and edges, before anything has a place."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from graphjit.ir.graph import Graph, Node
from graphjit.ir.text import show_node, show_params

Kind = Literal["input", "constant", "operation", "output", "group", "port", "reference"]

COMMUTATIVE = frozenset({
    "add", "multiply", "strong_multiply", "maximum", "minimum", "fmax", "fmin", "hypot",
    "logaddexp", "logaddexp2", "equal", "not_equal", "logical_and", "logical_or", "logical_xor",
    "bitwise_and", "bitwise_or", "bitwise_xor",
})  # fmt: skip
LONGEST = 26  # characters of a label


@dataclass(frozen=True)
class Box:
    """Something drawn.

    Attributes:
        key: Names it in the picture: ``n3``, and ``n3.1`` for node 1 of the body of node 3.
        lines: The label, the operation first.
        title: What a reader sees who points at it.
        slots: The numbers of the operands, shown where their order matters.
        inner: What a group holds; its ports are the group's operands and results.
    """

    key: str
    kind: Kind
    lines: tuple[str, ...] = ()
    title: str = ""
    adjoint: bool = False
    slots: tuple[str, ...] = ()
    inner: Scene | None = None


@dataclass(frozen=True)
class Edge:
    """From a result of one box to an operand of another; both are positions among the boxes."""

    source: int
    result: int
    target: int
    operand: int


@dataclass
class Scene:
    """Boxes in an order in which edges lead forward; ``takes`` and ``gives`` are the ports."""

    boxes: list[Box] = field(default_factory=list)
    edges: list[Edge] = field(default_factory=list)
    takes: list[int] = field(default_factory=list)
    gives: list[int] = field(default_factory=list)

    def add(self, box: Box) -> int:
        """Add a box; its position."""
        self.boxes.append(box)
        return len(self.boxes) - 1


def scene_of(graph: Graph, prefix: str = "n", *, repeat_constants: bool = False) -> Scene:
    """The scene of a graph, or (with another prefix) of a body graph.

    Args:
        graph: The graph.
        prefix: What the keys begin with.
        repeat_constants: Draw a constant beside each of its readers: it makes no long edges.
    """
    return _Maker(graph, prefix, repeat_constants).scene()


class _Maker:
    """Goes through the nodes once; ``ends`` has the box and result that give a node's value."""

    def __init__(self, graph: Graph, prefix: str, repeat_constants: bool) -> None:
        self.graph, self.prefix, self.repeat = graph, prefix, repeat_constants
        self.made = Scene()
        self.ends: dict[int, tuple[int, int]] = {}

    def scene(self) -> Scene:
        nested = self.prefix != "n"
        if nested:
            for position, ident in enumerate(self.graph.inputs):
                title = f"operand {position} of the group\n{_title(self.graph.nodes[ident])}"
                port = Box(f"{self.prefix}in{position}", "port", title=title)
                self.ends[ident] = self.made.add(port), 0
                self.made.takes.append(self.ends[ident][0])
        for node in self.graph.nodes:
            self.node(node)
        for position, ident in enumerate(self.graph.outputs):
            self.output(position, ident, nested)
        return self.made

    def node(self, node: Node) -> None:
        if node.id in self.ends:
            return
        if node.op == "item":
            self.ends[node.id] = self.ends[node.inputs[0]][0], int(node.params["index"])
        elif node.op != "constant" or not (self.repeat and self.graph.users[node.id]):
            self.ends[node.id] = self.read(node.inputs, self.box(node)), 0

    def box(self, node: Node) -> Box:
        key, adjoint = f"{self.prefix}{node.id}", bool(node.origin and node.origin.adjoint)
        body = node.params.get("body")
        if isinstance(body, Graph):
            inner = scene_of(body, f"{key}.", repeat_constants=self.repeat)
            label = f"%{node.id} {node.op} · {_amount(body)}"
            return Box(key, "group", (label,), _title(node), adjoint, inner=inner)
        kind: Kind = "operation"
        if node.op in {"input", "constant"}:
            kind = "input" if node.op == "input" else "constant"
        numbered = len(node.inputs) > 1 and node.op not in COMMUTATIVE
        slots = tuple(str(i + 1) if numbered else "" for i in range(len(node.inputs)))
        return Box(key, kind, _label(node), _title(node), adjoint, slots)

    def read(self, operands: tuple[int, ...], box: Box) -> int:
        """Add a box with the edges to it; constants that are repeated come just before it."""
        sources = [
            self.ends.get(ident) or (self.made.add(self.box(self.graph.nodes[ident])), 0)
            for ident in operands
        ]
        target = self.made.add(box)
        edges = (Edge(*end, target, position) for position, end in enumerate(sources))
        self.made.edges.extend(edges)
        return target

    def output(self, position: int, ident: int, nested: bool) -> None:
        node = self.graph.nodes[ident]
        title = f"output {position}: %{ident}: {node.aval}"
        if nested:
            box = Box(f"{self.prefix}out{position}", "port", title=title)
        else:
            label = (f"output {position}", f"%{ident}: {node.aval}")
            box = Box(f"out{position}", "output", label, title, slots=("",))
        target = self.read((ident,), box)
        if nested:
            self.made.gives.append(target)


def _amount(body: Graph) -> str:
    size = sum(node.op not in {"input", "constant", "item"} for node in body.nodes)
    return "1 operation" if size == 1 else f"{size} operations"


def _label(node: Node) -> tuple[str, ...]:
    """The operation (of a constant its value), the aval and the user's place."""
    params = show_params(node)
    name = params if node.op == "constant" else f"{node.op} {params}".strip()
    if len(name) > LONGEST:
        name = node.op
    place = (_short(node.origin.place),) if node.origin else ()
    return (name, _short(f"%{node.id}: {node.aval}"), *place)


def _short(text: str) -> str:
    """The text, with its middle left out where it is too long."""
    half = LONGEST // 2
    return text if len(text) <= LONGEST else f"{text[: half - 1]}…{text[-half:]}"


def _title(node: Node) -> str:
    """The node's line and the user's, in full."""
    if node.origin is None:
        return show_node(node)
    place = f"{node.origin.file}:{node.origin.line}"
    return "\n".join(line for line in (show_node(node), place, node.origin.source) if line)
