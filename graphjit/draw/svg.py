"""A graph as SVG, laid out here: a browser shows it, and no other program is needed."""

from __future__ import annotations

from collections.abc import Iterator
from xml.sax.saxutils import escape

from graphjit.draw.layout import (
    ADVANCE,
    LEADING,
    PADDING,
    SIZES,
    SLOTS,
    STRIP,
    Picture,
    Placed,
    Way,
    arranged,
    text_width,
)
from graphjit.draw.scene import Box, scene_of
from graphjit.draw.style import colours, storable
from graphjit.ir.graph import Graph

MARGIN = 16.0
FONT = "'DejaVu Sans Mono', Menlo, Consolas, monospace"
STYLE = f"""
text {{ font-family: {FONT}; text-anchor: middle; fill: #0f172a; }}
.small {{ fill: #475569; }} .way {{ fill: none; stroke: #64748b; stroke-width: 1.2; }}
g:target > * {{ stroke-width: 3; }} a {{ cursor: pointer; }}
"""
MARKER = (
    '<marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
    'orient="auto" markerUnits="userSpaceOnUse">'
    '<path d="M0 0.8 L8 4 L0 7.2 z" fill="#64748b"/></marker>'
)
LEGEND = ("input", "constant", "forward", "adjoint", "output", "group", "reference")
CHIP = 22.0  # the height of the legend


def to_svg(graph: Graph) -> str:
    """The graph as an SVG document.

    Rows follow the data, from the top down. Blue is the forward pass, orange the adjoint;
    operands are numbered where their order matters; groups of fused operations are dashed boxes.
    Point at a box for its full line and the user's.
    """
    scene = scene_of(graph, repeat_constants=True)
    picture = arranged(scene)
    chips = _legend(picture)
    wide = max(picture.width, sum(width for _, _, width in chips)) + 2 * MARGIN
    high = picture.height + CHIP + 3 * MARGIN
    left = (wide - picture.width) / 2
    size = f'width="{wide:.0f}" height="{high:.0f}" viewBox="0 0 {wide:.1f} {high:.1f}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size}>',
        f"<style>{STYLE}</style><defs>{MARKER}</defs>",
        f'<rect width="{wide:.1f}" height="{high:.1f}" fill="#ffffff"/>',
        *_drawn_legend(chips, wide),
        *_drawn(picture, left, CHIP + 2 * MARGIN),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _text(text: str) -> str:
    """Text for XML: escaped, and without the characters that no XML may hold."""
    return escape(storable(text), {'"': "&quot;"})


def _drawn(picture: Picture, x: float, y: float) -> Iterator[str]:
    """A picture with its corner at (x, y): groups below, then edges, then boxes."""
    for placed in picture.boxes:
        if placed.inner:
            yield from _group(placed, placed.inner, x, y)
    for way in picture.ways:
        yield _path(way, x, y)
    for placed in picture.boxes:
        if not placed.inner:
            yield from _box(placed, x, y)


def _path(way: Way, x: float, y: float) -> str:
    """Straight down beside the boxes of a row, and a curve between two rows."""
    middle = y + (way.leave + way.arrive) / 2
    start, end = x + way.x, x + way.end_x
    curve = f"C{start:.1f} {middle:.1f} {end:.1f} {middle:.1f} {end:.1f} {y + way.arrive:.1f}"
    arrow = ' marker-end="url(#arrow)"' if way.arrow else ""
    return (
        f'<path class="way" d="M{start:.1f} {y + way.y:.1f} V{y + way.leave:.1f} {curve} '
        f'V{y + way.end_y:.1f}"{arrow}/>'
    )


def _group(placed: Placed, inner: Picture, x: float, y: float) -> Iterator[str]:
    left, top = x + placed.x - placed.width / 2, y + placed.y
    fill, line = colours(placed.box)
    middle = top + placed.height / 2
    yield f'<g id="{_text(placed.box.key)}"><title>{_text(placed.box.title)}</title>'
    yield _rect(
        left,
        top,
        placed.width,
        placed.height,
        10,
        f'fill="{fill}" stroke="{line}" stroke-dasharray="5 3"',
    )
    across = left + STRIP * 0.7
    turned = f'class="small" transform="rotate(-90 {across:.1f} {middle:.1f})"'
    yield f"{_words(placed.box.lines[0], SIZES[1], across, middle, turned)}</g>"
    yield from _drawn(inner, left + STRIP + PADDING, top)


def _words(text: str, size: float, x: float, y: float, look: str = 'class="small"') -> str:
    return f'<text {look} font-size="{size}" x="{x:.1f}" y="{y:.1f}">{_text(text)}</text>'


def _rect(left: float, top: float, width: float, height: float, radius: float, paint: str) -> str:
    return (
        f'<rect x="{left:.1f}" y="{top:.1f}" width="{width:.1f}" height="{height:.1f}" '
        f'rx="{radius:.1f}" {paint}/>'
    )


def _box(placed: Placed, x: float, y: float) -> Iterator[str]:
    box, left, top = placed.box, x + placed.x - placed.width / 2, y + placed.y
    link = box.kind == "reference"
    if link:
        yield f'<a href="#{_text(box.key.rpartition("-")[0])}">'
    yield f'<g id="{_text(box.key)}"><title>{_text(box.title)}</title>'
    yield from _outline(box, left, top, placed.width, placed.height)
    yield from _slots(box, left, top, placed.width)
    yield from _lines(box, x + placed.x, top + (SLOTS if any(box.slots) else 0))
    yield "</g></a>" if link else "</g>"


def _outline(box: Box, left: float, top: float, width: float, height: float) -> Iterator[str]:
    """The shape: inputs are round, constants six-sided, outputs have a double border."""
    fill, line = colours(box)
    paint = f'fill="{fill}" stroke="{line}"'
    if box.kind == "constant":
        near, far, middle = left + PADDING, left + width - PADDING, top + height / 2
        points = [
            (near, top), (far, top), (left + width, middle),
            (far, top + height), (near, top + height), (left, middle),
        ]  # fmt: skip
        corners = " ".join(f"{px:.1f},{py:.1f}" for px, py in points)
        yield f'<polygon points="{corners}" {paint}/>'
        return
    radius = {"input": height / 2, "port": height / 2, "operation": 5.0, "reference": 3.0}
    yield _rect(left, top, width, height, radius.get(box.kind, 0.0), paint)
    if box.kind == "output":
        inside = f'fill="none" stroke="{line}"'
        yield _rect(left + 2.5, top + 2.5, width - 5, height - 5, 0, inside)


def _slots(box: Box, left: float, top: float, width: float) -> Iterator[str]:
    """The numbers of the operands, each under its arrow."""
    for position, number in enumerate(box.slots):
        if number:
            x = left + width * (position + 1) / (len(box.slots) + 1)
            yield _words(number, 8, x, top + SLOTS)


def _lines(box: Box, x: float, top: float) -> Iterator[str]:
    """The label, one line below the other."""
    y = top + PADDING / 2
    for row, (line, size) in enumerate(zip(box.lines, SIZES, strict=False)):
        y += size * LEADING
        look = 'font-weight="bold"' if row == 0 else 'class="small"'
        baseline = y - 0.4 * size * (LEADING - 0.7)
        yield _words(line, size, x, baseline, look)


def _kinds(picture: Picture) -> Iterator[str]:
    for placed in picture.boxes:
        if placed.box.kind == "operation":
            yield "adjoint" if placed.box.adjoint else "forward"
        else:
            yield placed.box.kind
        if placed.inner:
            yield from _kinds(placed.inner)


def _legend(picture: Picture) -> list[tuple[str, Box, float]]:
    """What the colours and shapes mean, of those that are there, with the width of each entry."""
    there, chips = set(_kinds(picture)), list[tuple[str, Box, float]]()
    for name in LEGEND:
        if name in there:
            box = Box("", "operation", adjoint=name == "adjoint")
            if name not in {"forward", "adjoint"}:
                box = Box("", name)  # type: ignore[arg-type]  # the other names are kinds
            said = {"group": "fused", "reference": "refers to"}.get(name, name)
            chips.append((said, box, text_width(said, SIZES[1]) + 46.0))
    return chips


def _drawn_legend(chips: list[tuple[str, Box, float]], wide: float) -> Iterator[str]:
    x = (wide - sum(width for _, _, width in chips)) / 2
    for name, box, width in chips:
        if box.kind == "group":
            fill, line = colours(box)
            yield _rect(
                x, MARGIN, 24, 14, 3, f'fill="{fill}" stroke="{line}" stroke-dasharray="5 3"'
            )
        else:
            yield from _outline(box, x, MARGIN, 24, 14)
        middle = x + 30 + len(name) * SIZES[1] * ADVANCE / 2
        yield _words(name, SIZES[1], middle, MARGIN + 11)
        x += width
