"""Pictures of graphs, as DOT text and as SVG; nothing needs to be installed for either."""

from __future__ import annotations

from pathlib import Path

from graphjit.draw.dot import to_dot
from graphjit.draw.svg import to_svg
from graphjit.ir.graph import Graph

__all__ = ["save", "to_dot", "to_svg"]

WRITERS = {".svg": to_svg, ".dot": to_dot}


def save(graph: Graph, path: str | Path) -> Path:
    """Write a picture of a graph; the suffix, ``.svg`` or ``.dot``, says which kind.

    Returns:
        The path written.

    Raises:
        ValueError: for another suffix.
    """
    path = Path(path)
    write = WRITERS.get(path.suffix.lower())
    if write is None:
        message = f"no picture is written as {path.name!r}: end it in {' or '.join(WRITERS)}"
        raise ValueError(message)
    path.write_text(write(graph), encoding="utf-8")
    return path
