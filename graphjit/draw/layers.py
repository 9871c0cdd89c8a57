"""Which row a box stands in, and in what order the boxes of a row stand.

The method is that of Sugiyama, Tagawa and Toda (1981): rows by longest path, an invisible bend in
each row that an edge passes through, and an order by barycentres, swept down and up.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Sequence
from dataclasses import dataclass, field

from graphjit.draw.scene import Box, Edge, Scene

BENDS = 3000  # of long edges; past that the longest are cut, and their ends refer to each other
SWEEPS = 24
EFFORT = 60_000  # segments looked at in all sweeps of a large picture


@dataclass(frozen=True)
class Segment:
    """A piece of an edge between two neighbouring rows; ``edge`` is set on the last piece."""

    upper: int
    lower: int
    result: int | None = None
    edge: Edge | None = None


@dataclass
class Layers:
    """Vertices in rows: first the boxes, then the bends of long edges.

    Attributes:
        boxes: The boxes, with those that stand for a cut edge.
        layer: The row of each vertex.
        rows: The vertices of each row, from left to right.
        segments: What is drawn between rows.
    """

    boxes: list[Box]
    layer: list[int]
    rows: list[list[int]] = field(default_factory=list)
    segments: list[Segment] = field(default_factory=list)


def layered(scene: Scene) -> Layers:
    """Rows and order for a scene."""
    layers = Layers(list(scene.boxes), _longest_paths(scene))
    edges = _cut(scene, layers)
    _route(edges, layers)
    layers.rows = [[] for _ in range(max(layers.layer, default=-1) + 1)]
    for vertex, row in enumerate(layers.layer):
        layers.rows[row].append(vertex)
    _order(layers)
    return layers


def _longest_paths(scene: Scene) -> list[int]:
    """The row of each box: below all that it reads, and loose ones just above their reader.

    The ports of a group have the first row and the last for themselves.
    """
    row = [1 if scene.takes or scene.gives else 0] * len(scene.boxes)
    for position in scene.takes:
        row[position] = 0
    for edge in sorted(scene.edges, key=lambda e: e.target):
        row[edge.target] = max(row[edge.target], row[edge.source] + 1)
    ports = {*scene.takes, *scene.gives}
    bottom = max((r for position, r in enumerate(row) if position not in ports), default=0) + 1
    for position in scene.gives:
        row[position] = bottom
    _pull_down(scene, row)
    return row


def _pull_down(scene: Scene, row: list[int]) -> None:
    """Move what no long edge holds up: sources, and what reads only sources of its own."""
    readers: list[list[int]] = [[] for _ in scene.boxes]
    operands: list[list[int]] = [[] for _ in scene.boxes]
    for edge in scene.edges:
        readers[edge.source].append(edge.target)
        operands[edge.target].append(edge.source)
    loose = [box.kind in {"input", "constant"} for box in scene.boxes]
    for box, sources in sorted((edge.target, operands[edge.target]) for edge in scene.edges):
        loose[box] = all(loose[source] and len(readers[source]) == 1 for source in sources)
    for box in reversed(range(len(scene.boxes))):
        if loose[box] and readers[box]:
            row[box] = min(row[reader] for reader in readers[box]) - 1


def _cut(scene: Scene, layers: Layers) -> list[Edge]:
    """The edges, the longest replaced by a reference beside the reader where there are many."""
    spans = [layers.layer[edge.target] - layers.layer[edge.source] for edge in scene.edges]
    longest = _longest_kept(scene.edges, spans)
    kept, references = list[Edge](), dict[tuple[int, int, int], int]()
    for edge, span in zip(scene.edges, spans, strict=True):
        if span <= longest:
            kept.append(edge)
            continue
        place = edge.source, edge.result, edge.target
        if place not in references:
            references[place] = len(layers.boxes)
            layers.boxes.append(_reference(scene.boxes[edge.source], len(layers.boxes)))
            layers.layer.append(layers.layer[edge.target] - 1)
        kept.append(Edge(references[place], 0, edge.target, edge.operand))
    return kept


def _longest_kept(edges: Sequence[Edge], spans: Sequence[int]) -> int:
    """The longest span for which the bends stay few."""
    reach: dict[tuple[int, int], set[int]] = {}
    for edge, span in zip(edges, spans, strict=True):
        reach.setdefault((edge.source, edge.result), set()).add(span)
    longest = max(spans, default=0)
    while longest > 1:
        bends = sum(
            max((s for s in group if s <= longest), default=1) - 1 for group in reach.values()
        )
        if bends <= BENDS:
            break
        longest = longest * 3 // 4
    return longest


def _reference(source: Box, number: int) -> Box:
    name = f"%{source.key.removeprefix('n').rpartition('.')[2]}"
    return Box(f"{source.key}-{number}", "reference", (f"↑ {name}",), source.title, source.adjoint)


def _route(edges: Sequence[Edge], layers: Layers) -> None:
    """Segments and bends. The edges of one value share a trunk and leave it above their reader."""
    trunks: dict[tuple[int, int], list[int]] = {}
    for edge in edges:
        trunk = trunks.setdefault((edge.source, edge.result), [edge.source])
        above = layers.layer[edge.target] - layers.layer[edge.source] - 1
        while len(trunk) <= above:
            bend = len(layers.layer)
            layers.layer.append(layers.layer[edge.source] + len(trunk))
            result = edge.result if len(trunk) == 1 else None
            layers.segments.append(Segment(trunk[-1], bend, result))
            trunk.append(bend)
        result = edge.result if above == 0 else None
        layers.segments.append(Segment(trunk[above], edge.target, result, edge))


def _order(layers: Layers) -> None:
    """Order each row by the barycentres of its neighbours; keep the order with fewest crossings."""
    above: list[list[tuple[int, float]]] = [[] for _ in layers.layer]
    below: list[list[tuple[int, float]]] = [[] for _ in layers.layer]
    for segment in layers.segments:
        operand = segment.edge.operand if segment.edge else 0
        above[segment.lower].append((segment.upper, 0.1 * (segment.result or 0)))
        below[segment.upper].append((segment.lower, 0.1 * operand))
    sweeps = max(4, min(SWEEPS, EFFORT // (len(layers.segments) + 1)))
    best, fewest = [list(row) for row in layers.rows], None
    place = [0.0] * len(layers.layer)
    for sweep in range(sweeps):
        _number(layers.rows, place)
        down = sweep % 2 == 0
        for row in layers.rows if down else reversed(layers.rows):
            _sort_row(row, above if down else below, place)
        crossings = _crossings(layers)
        if fewest is None or crossings < fewest:
            best, fewest = [list(row) for row in layers.rows], crossings
    layers.rows = best


def _number(rows: list[list[int]], place: list[float]) -> None:
    for row in rows:
        for position, vertex in enumerate(row):
            place[vertex] = position


def _sort_row(row: list[int], near: list[list[tuple[int, float]]], place: list[float]) -> None:
    def barycentre(vertex: int) -> float:
        if not near[vertex]:
            return place[vertex]
        return sum(place[other] + shift for other, shift in near[vertex]) / len(near[vertex])

    row.sort(key=barycentre)
    for position, vertex in enumerate(row):
        place[vertex] = position


def _crossings(layers: Layers) -> int:
    """How many pairs of segments cross."""
    place = [0.0] * len(layers.layer)
    _number(layers.rows, place)
    between: list[list[tuple[float, float]]] = [[] for _ in layers.rows]
    for segment in layers.segments:
        operand = 0.01 * segment.edge.operand if segment.edge else 0.0
        ends = place[segment.upper] + 0.01 * (segment.result or 0), place[segment.lower] + operand
        between[layers.layer[segment.upper]].append(ends)
    return sum(map(_inversions, between))


def _inversions(pairs: list[tuple[float, float]]) -> int:
    """Pairs that stand in one order above and in the other below."""
    seen, count = list[float](), 0
    for _, lower in sorted(pairs):
        count += len(seen) - bisect_right(seen, lower)
        insort(seen, lower)
    return count
