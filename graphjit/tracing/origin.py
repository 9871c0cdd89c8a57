"""Which of the user's lines is running: the origin of every node."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import optree

import graphjit.ir.graph as ir_graph
import graphjit.passes as passes_package
from graphjit.ir.builder import Builder
from graphjit.ir.graph import Graph, Origin


def folders(file: str | None) -> set[str]:
    """The folder of a module, under its own name and under its real one."""
    folder = Path(file or "").absolute().parent
    return {os.path.join(path, "") for path in (folder, folder.resolve())}  # noqa: PTH118


SITE = Path(np.__file__).parent.parent
# ir/ and graphjit/ir -> ../ir are the same folder under two names.
LIBRARY = tuple(
    {
        *folders(ir_graph.__file__),
        *folders(passes_package.__file__),
        *folders(str(Path(__file__).parent)),
        *folders(np.__file__),
        *folders(optree.__file__),
        *folders(str(SITE / "scipy" / "__init__.py")),
    }
)
STDLIB = tuple(folders(os.__file__))

_inside: dict[str, bool] = {}
_origins: dict[tuple[str, int], Origin] = {}


def inside_library(file: str) -> bool:
    """Whether a source file is this library's, NumPy's or of Python itself."""
    known = _inside.get(file)
    if known is None:
        standard = file.startswith(STDLIB) and "site-packages" not in file
        known = _inside[file] = standard or file.startswith(LIBRARY)
    return known


def user_line() -> Origin | None:
    """The innermost line that runs outside the library; one object for each line."""
    frame = sys._getframe(1)  # noqa: SLF001 - the one cheap way to the calling frames
    file = frame.f_code.co_filename
    while _inside.get(file) or inside_library(file):
        if frame.f_back is None:
            return None
        frame = frame.f_back
        file = frame.f_code.co_filename
    key = (file, frame.f_lineno)
    origin = _origins.get(key)
    if origin is None:
        origin = _origins[key] = Origin(*key)
    return origin


def inlined(outer: Builder, graph: Graph, inputs: Sequence[int]) -> list[int]:
    """The ids of a graph's nodes, copied into the graph that an outer trace is building.

    What is of no line of the user's, as the basis of a Jacobian, counts as of the backward pass: as
    it does where the graph is a program of its own.
    """
    own, line = outer.origin, outer.origin()
    outer.origin = lambda: line and replace(line, adjoint=True)
    try:
        return outer.inline(graph, inputs)
    finally:
        outer.origin = own
