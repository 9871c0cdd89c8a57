"""A graph in the DOT language, for Graphviz and the many tools that read it."""

from __future__ import annotations

from collections.abc import Iterator

from graphjit.draw.scene import Box, Edge, Scene, scene_of
from graphjit.draw.style import colours, storable
from graphjit.ir.graph import Graph

SHAPES = {
    "input": "ellipse",
    "constant": "plaintext",
    "operation": "box",
    "output": "doubleoctagon",
    "port": "point",
}
ENTITIES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": " "})


def to_dot(graph: Graph) -> str:
    """The graph as DOT text; groups are clusters, and operands are numbered where order matters.

    Example:
        >>> from graphjit.ir.text import parse
        >>> print(to_dot(parse("graph(%0: f64[]) -> (%0)")))  # doctest: +ELLIPSIS
        digraph {
        ...
        }
    """
    scene = scene_of(graph)
    head = [
        'node [fontname="Helvetica" fontsize=11 style="filled,rounded" margin="0.1,0.05"]',
        'edge [color="#64748b" arrowsize=0.7 fontname="Helvetica" fontsize=9]',
    ]
    lines = [*head, *_boxes(scene), *_edges(scene)]
    return "\n".join(["digraph {", *(f"  {line}" for line in lines), "}"]) + "\n"


def _quoted(text: str) -> str:
    return f'"{storable(text).translate(ENTITIES)}"'


def _attributes(**values: str) -> str:
    return "[" + " ".join(f"{name}={_quoted(value)}" for name, value in values.items()) + "]"


def _boxes(scene: Scene) -> Iterator[str]:
    """The boxes, groups as clusters with what they hold."""
    for box in scene.boxes:
        if box.inner is None:
            yield f"{_quoted(box.key)} {_node_attributes(box)}"
            continue
        label = _attributes(
            label=box.lines[0], tooltip=box.title, style="rounded,dashed", bgcolor="#f8fafc"
        )
        yield f"subgraph {_quoted('cluster_' + box.key)} {{"
        yield f"  graph {label}"
        yield from (f"  {line}" for line in _boxes(box.inner))
        yield from (f"  {line}" for line in _edges(box.inner))
        yield "}"


def _node_attributes(box: Box) -> str:
    fill, line = colours(box)
    label = "\n".join(box.lines)
    shape = SHAPES[box.kind]
    return _attributes(label=label, shape=shape, tooltip=box.title, fillcolor=fill, color=line)


def _edges(scene: Scene) -> Iterator[str]:
    for edge in scene.edges:
        number = _number(scene, edge)
        label = f" {_attributes(headlabel=number)}" if number else ""
        yield f"{_quoted(_source(scene, edge))} -> {_quoted(_target(scene, edge))}{label}"


def _number(scene: Scene, edge: Edge) -> str:
    slots = scene.boxes[edge.target].slots
    return slots[edge.operand] if slots else ""


def _source(scene: Scene, edge: Edge) -> str:
    box = scene.boxes[edge.source]
    return box.inner.boxes[box.inner.gives[edge.result]].key if box.inner else box.key


def _target(scene: Scene, edge: Edge) -> str:
    box = scene.boxes[edge.target]
    return box.inner.boxes[box.inner.takes[edge.operand]].key if box.inner else box.key
