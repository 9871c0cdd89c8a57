"""Imports point one way: errors, flags <- ir <- passes <- tracing, codegen <- transforms <- cli."""

import ast
import os
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = {"graphjit": "graphjit", "ir": "graphjit.ir", "passes": "graphjit.passes"}
LAYERS = (
    {"errors", "flags", "digests", "records", "tuning", "forks"},
    {"ir"},
    {"passes"},
    {"tracing", "codegen", "cache", "launch"},
    {"transforms", "train", "testing", "draw", "explain", "symbolic", "calibrate"},
    {"cli"},
    {"__init__", "__main__"},
)
RANK = {unit: rank for rank, units in enumerate(LAYERS) for unit in units}


class Import(NamedTuple):
    """One import of a module of the library, where it stands and what is wrong with its form."""

    where: str
    unit: str
    target: str
    fault: str


def sources() -> Iterator[tuple[Path, str]]:
    """Every source file of the library with the unit it belongs to, each file once."""
    for folder, package in FOLDERS.items():
        for where, _, names in os.walk(ROOT / folder):  # does not enter graphjit/ir -> ../ir
            for name in sorted(names):
                path = Path(where, name)
                if path.suffix == ".py":
                    inside = path.relative_to(ROOT / folder).with_suffix("").parts
                    yield path.relative_to(ROOT), unit_of(".".join((package, *inside)))


def unit_of(module: str) -> str:
    """`graphjit.ir.graph` belongs to the unit `ir`."""
    return module.split(".")[1]


def imported(node: ast.AST) -> Iterator[tuple[str, str]]:
    """The modules that a statement names, each with what is wrong with naming it so."""
    match node:
        case ast.Import(names=names):
            for alias in names:
                bound = f"{alias.name} as {alias.asname}" if alias.asname else alias.name
                bare = alias.name.startswith("graphjit.") and not alias.asname
                yield alias.name, f"`import {bound}` binds the bare package" if bare else ""
        case ast.ImportFrom(module=module, level=level):
            yield module or "", "is a relative import" if level else ""


def imports(source: str, where: str | Path, unit: str) -> Iterator[Import]:
    """The imports in `source` that concern the library itself."""
    for node in ast.walk(ast.parse(source)):
        for target, fault in imported(node):
            line = f"{where}:{getattr(node, 'lineno', 0)}"
            top = target.split(".")[0]
            if fault:
                yield Import(line, unit, unit, fault)
            elif target == "graphjit":
                yield Import(line, unit, unit, "imports from the bare package graphjit")
            elif top in {"ir", "passes"}:
                yield Import(line, unit, unit, f"imports {top}; write graphjit.{top}")
            elif top == "graphjit":
                yield Import(line, unit, unit_of(target), "")


def faults(found: list[Import]) -> list[str]:
    """What is wrong with these imports, one line each."""
    shared = RANK["transforms"]  # the rank of a module at the top that LAYERS does not name
    upward = [
        f"{line}: {unit} imports {target}, which stands above it"
        for line, unit, target, _ in found
        if RANK.get(target, shared) > RANK.get(unit, shared)
    ]
    return [f"{item.where}: {item.fault}" for item in found if item.fault] + upward


def cycle(found: list[Import]) -> list[str]:
    """Units that import each other in a circle, or nothing."""
    graph: dict[str, set[str]] = {}
    for item in found:
        graph.setdefault(item.unit, set()).update({item.target} - {item.unit})
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


@pytest.fixture(scope="module")
def library() -> list[Import]:
    return [
        item
        for path, unit in sources()
        for item in imports((ROOT / path).read_text(encoding="utf-8"), path, unit)
    ]


def test_imports_point_one_way(library: list[Import]) -> None:
    assert not faults(library), "\n" + "\n".join(faults(library))


def test_no_two_units_import_each_other(library: list[Import]) -> None:
    circle = cycle(library)
    along = [i for i in library if i.unit in circle and i.target in circle and i.unit != i.target]
    assert not circle, "\n" + "\n".join(f"{i.where}: {i.unit} imports {i.target}" for i in along)


def test_every_file_is_seen_once() -> None:
    real = [(ROOT / path).resolve() for path, _ in sources()]
    assert len(real) == len(set(real))


@pytest.mark.parametrize(
    ("unit", "source", "message"),
    [
        ("ir", "from graphjit.passes import prune", "x.py:1: ir imports passes, which stands"),
        ("ir", "def f():\n    import graphjit.cli as cli", "x.py:2: ir imports cli, which stands"),
        ("passes", "if TYPE_CHECKING:\n    import graphjit.cli as c", "x.py:2: passes imports cli"),
        ("errors", "from graphjit.ir.graph import Graph", "errors imports ir"),
        ("train", "from graphjit.cli import main", "train imports cli"),
        ("cli", "from graphjit.__init__ import grad", "cli imports __init__"),
        ("tracing", "from graphjit import grad", "x.py:1: imports from the bare package graphjit"),
        ("cli", "import graphjit", "x.py:1: imports from the bare package graphjit"),
        ("cli", "import numpy, graphjit as gj", "x.py:1: imports from the bare package graphjit"),
        ("cli", "import graphjit.ir.graph", "`import graphjit.ir.graph` binds the bare package"),
        ("passes", "from . import prune", "x.py:1: is a relative import"),
        ("passes", "from ..ir.graph import Graph", "x.py:1: is a relative import"),
        ("passes", "from ir.graph import Graph", "x.py:1: imports ir; write graphjit.ir"),
        ("codegen", "import passes", "x.py:1: imports passes; write graphjit.passes"),
    ],
)
def test_a_bad_import_is_found(unit: str, source: str, message: str) -> None:
    (found,) = faults(list(imports(source, "x.py", unit)))
    assert message in found


@pytest.mark.parametrize(
    ("unit", "source"),
    [
        ("ir", "import numpy as np\nfrom graphjit.errors import VerifyError"),
        ("ir", "from graphjit.ir.graph import Graph"),
        ("passes", "import graphjit.ir.table as table"),
        ("testing", "from graphjit.transforms import grad, vjp"),
        ("explain", "from graphjit.draw import to_svg"),
        ("serve", "from graphjit.transforms import jit"),
        ("cli", "from graphjit.explain import explain"),
        ("__init__", "from graphjit.transforms import grad"),
        ("__main__", "from graphjit.cli import main"),
    ],
)
def test_a_good_import_passes(unit: str, source: str) -> None:
    assert not faults(list(imports(source, "x.py", unit)))


def test_a_circle_between_neighbours_is_found() -> None:
    there = imports("from graphjit.codegen.build import build", "a.py", "tracing")
    back = imports("from graphjit.tracing.tracer import Tracer", "b.py", "codegen")
    found = [*there, *back]
    assert not faults(found)
    assert set(cycle(found)) == {"tracing", "codegen"}
