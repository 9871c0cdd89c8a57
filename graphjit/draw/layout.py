"""Where everything in a picture stands: sizes, columns, rows and the ways of the edges."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from graphjit.draw.layers import Layers, Segment, layered
from graphjit.draw.scene import Box, Scene

SIZES = (12.0, 10.5, 10.0)  # of the letters of each line of a label
ADVANCE = 0.602  # the width of a letter of a monospaced font, in sizes
LEADING = 1.3
PADDING = 9.0
SLOTS = 9.0  # the height of the operand numbers
STRIP = 20.0  # the width of a group's label, which stands upright at its left
GAP_X, GAP_Y = 16.0, 30.0
BEND = 10.0  # the width that a long edge takes up on its way
BEND_GAP = 2.0  # between two long edges
ROUNDS = 14
STRAIGHT = 6.0  # how much more a long edge strives to be straight


@dataclass(frozen=True)
class Placed:
    """A box with its middle at ``x``, its top at ``y``, and (a group) the picture inside it."""

    box: Box
    x: float
    y: float
    width: float
    height: float
    inner: Picture | None = None


@dataclass(frozen=True)
class Way:
    """A drawn piece of an edge: down from (x, y), across between two rows, down to the end.

    ``leave`` and ``arrive`` are the heights between which it moves sideways. An arrow is at the
    end of the last piece.
    """

    x: float
    y: float
    leave: float
    arrive: float
    end_x: float
    end_y: float
    arrow: bool


@dataclass
class Picture:
    """What is drawn, with its size."""

    width: float = 0.0
    height: float = 0.0
    boxes: list[Placed] = field(default_factory=list)
    ways: list[Way] = field(default_factory=list)
    takes: list[float] = field(default_factory=list)
    gives: list[float] = field(default_factory=list)


def text_width(line: str, size: float) -> float:
    """The width of a line in letters of a size."""
    return len(line) * size * ADVANCE


def arranged(scene: Scene) -> Picture:
    """The picture of a scene, groups first."""
    layers = layered(scene)
    inner = {i: arranged(box.inner) for i, box in enumerate(scene.boxes) if box.inner}
    sizes = [_size(box, inner.get(i)) for i, box in enumerate(layers.boxes)]
    bends = len(layers.layer) - len(layers.boxes)
    widths = [width for width, _ in sizes] + [BEND] * bends
    ends = [
        _Ends(box, width, inner.get(i))
        for i, (box, (width, _)) in enumerate(zip(layers.boxes, sizes, strict=True))
    ]
    xs = _columns(layers, widths, ends)
    return _picture(scene, layers, sizes, inner, ends, xs)


def _size(box: Box, inner: Picture | None) -> tuple[float, float]:
    if box.kind == "port":
        return 6.0, 6.0
    if inner:
        label = text_width(box.lines[0], SIZES[1]) + 2 * PADDING
        return inner.width + STRIP + 2 * PADDING, max(inner.height, label)
    width = max(text_width(line, size) for line, size in zip(box.lines, SIZES, strict=False))
    height = sum(size * LEADING for size, _ in zip(SIZES, box.lines, strict=False)) + PADDING
    sides = 4 * PADDING if box.kind in {"input", "constant"} else 2 * PADDING
    return max(width + sides, 14.0 * len(box.slots)), height + (SLOTS if any(box.slots) else 0)


class _Ends:
    """Where edges meet a box, as distances from its middle."""

    def __init__(self, box: Box, width: float, inner: Picture | None) -> None:
        self.slots, self.width = len(box.slots), width
        shift = STRIP + PADDING - width / 2
        self.takes = [x + shift for x in inner.takes] if inner else []
        self.gives = [x + shift for x in inner.gives] if inner else []

    def operand(self, position: int) -> float:
        if self.takes:
            return self.takes[position]
        if self.slots < 2:
            return 0.0
        return self.width * ((position + 1) / (self.slots + 1) - 0.5)

    def result(self, position: int | None) -> float:
        return self.gives[position or 0] if self.gives else 0.0


def _columns(layers: Layers, widths: Sequence[float], ends: Sequence[_Ends]) -> list[float]:
    """The middle of each vertex: near its neighbours, in the order of its row."""
    above: list[list[tuple[int, float, float]]] = [[] for _ in widths]
    below: list[list[tuple[int, float, float]]] = [[] for _ in widths]
    for segment in layers.segments:
        start, end = _offsets(segment, ends)
        bends = (segment.upper >= len(ends)) + (segment.lower >= len(ends))
        weight = (1.0, 2.0, STRAIGHT)[bends]
        above[segment.lower].append((segment.upper, start - end, weight))
        below[segment.upper].append((segment.lower, end - start, weight))
    xs = [0.0] * len(widths)
    for row in layers.rows:
        _spread(row, [0.0] * len(row), [1.0] * len(row), widths, xs)
    both = [up + down for up, down in zip(above, below, strict=True)]
    for turn in range(ROUNDS):
        near = both if turn >= ROUNDS - 4 else (above, below)[turn % 2]
        for row in layers.rows if turn % 2 == 0 else reversed(layers.rows):
            wanted = [_wanted(v, near, xs) for v in row]
            _spread(row, [x for x, _ in wanted], [w for _, w in wanted], widths, xs)
    return xs


def _offsets(segment: Segment, ends: Sequence[_Ends]) -> tuple[float, float]:
    """Where a segment meets the vertices above and below it."""
    start = ends[segment.upper].result(segment.result) if segment.upper < len(ends) else 0.0
    end = ends[segment.lower].operand(segment.edge.operand) if segment.edge else 0.0
    return start, end


def _wanted(
    vertex: int, near: list[list[tuple[int, float, float]]], xs: list[float]
) -> tuple[float, float]:
    """Where a vertex would like to be, and how much."""
    total = sum(weight for _, _, weight in near[vertex])
    if total == 0:
        return xs[vertex], 0.1
    return sum(w * (xs[other] + shift) for other, shift, w in near[vertex]) / total, total


def _spread(
    row: list[int],
    wanted: list[float],
    weights: list[float],
    widths: Sequence[float],
    xs: list[float],
) -> None:
    """Put a row as near to what it wants as its order and widths allow (least squares).

    After the widths are taken out this is isotonic regression: neighbours that would overlap are
    pooled and placed at their common mean.
    """
    offsets, reach = list[float](), 0.0
    for position, vertex in enumerate(row):
        if position:
            pair = widths[row[position - 1]] + widths[vertex]
            reach += pair / 2 + (GAP_X if pair > 2 * BEND else BEND_GAP)
        offsets.append(reach)
    pools: list[tuple[float, float, int]] = []
    for x, weight, offset in zip(wanted, weights, offsets, strict=True):
        mean, total, count = x - offset, weight, 1
        while pools and pools[-1][0] > mean:
            before, much, many = pools.pop()
            mean = (mean * total + before * much) / (total + much)
            total, count = total + much, count + many
        pools.append((mean, total, count))
    means = [mean for mean, _, count in pools for _ in range(count)]
    for vertex, mean, offset in zip(row, means, offsets, strict=True):
        xs[vertex] = mean + offset


def _picture(
    scene: Scene,
    layers: Layers,
    sizes: Sequence[tuple[float, float]],
    inner: dict[int, Picture],
    ends: Sequence[_Ends],
    xs: list[float],
) -> Picture:
    """Everything at its place, the left and upper ends at 0."""
    left = min((x - _half(i, sizes) for i, x in enumerate(xs)), default=0.0)
    xs = [x - left for x in xs]
    heights = [
        max((sizes[v][1] for v in row if v < len(sizes)), default=0.0) for row in layers.rows
    ]
    tops = _tops(layers, heights, xs)
    made = Picture(max((x + _half(i, sizes) for i, x in enumerate(xs)), default=0.0))
    made.height = tops[-1] + heights[-1] if tops else 0.0
    for i, (box, (width, height)) in enumerate(zip(layers.boxes, sizes, strict=True)):
        row = layers.layer[i]
        y = tops[row] + (heights[row] - height) / 2
        y = _port_top(i, scene, y, made.height)
        made.boxes.append(Placed(box, xs[i], y, width, height, inner.get(i)))
    made.ways = [_way(s, layers, made.boxes, ends, xs, tops, heights) for s in layers.segments]
    made.takes = [xs[i] for i in scene.takes]
    made.gives = [xs[i] for i in scene.gives]
    return made


def _port_top(box: int, scene: Scene, y: float, height: float) -> float:
    """Ports stand on the border of their group."""
    if box in scene.takes:
        return -3.0
    return height - 3.0 if box in scene.gives else y


def _half(vertex: int, sizes: Sequence[tuple[float, float]]) -> float:
    return (sizes[vertex][0] if vertex < len(sizes) else BEND) / 2


def _tops(layers: Layers, heights: list[float], xs: list[float]) -> list[float]:
    """The top of each row: rows stand apart the more the edges between them go sideways."""
    far = [0.0] * len(layers.rows)
    for segment in layers.segments:
        row = layers.layer[segment.upper]
        far[row] = max(far[row], abs(xs[segment.upper] - xs[segment.lower]))
    tops, y = list[float](), 0.0
    for height, sideways in zip(heights, far, strict=True):
        tops.append(y)
        y += height + GAP_Y + min(50.0, 3.0 * math.sqrt(sideways))
    return tops


def _way(
    segment: Segment,
    layers: Layers,
    boxes: list[Placed],
    ends: Sequence[_Ends],
    xs: list[float],
    tops: list[float],
    heights: list[float],
) -> Way:
    start, end = _offsets(segment, ends)
    row = layers.layer[segment.upper]
    leave, arrive = tops[row] + heights[row], tops[row + 1]
    is_box = segment.upper < len(boxes)
    top = boxes[segment.upper].y + boxes[segment.upper].height if is_box else tops[row]
    bottom = boxes[segment.lower].y if segment.lower < len(boxes) else arrive
    arrow = segment.edge is not None and boxes[segment.lower].box.kind != "port"
    return Way(
        xs[segment.upper] + start, top, leave, arrive, xs[segment.lower] + end, bottom, arrow
    )
