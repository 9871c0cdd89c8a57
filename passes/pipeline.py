"""Pipelines: passes in a row, their text form, and what happens between them."""

from __future__ import annotations

import importlib
import re
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import field, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from graphjit.errors import GraphJITError
from graphjit.flags import current
from graphjit.ir.graph import Graph
from graphjit.passes.fold import fold
from graphjit.passes.fuse import fuse
from graphjit.passes.inline import inline
from graphjit.passes.journal import Record, note
from graphjit.passes.merge import merge
from graphjit.passes.order import order
from graphjit.passes.prune import prune
from graphjit.passes.simplify import simplify
from graphjit.records import NamedTuple, dataclass

Pass = Callable[[Graph], Graph]


def nested(graph: Graph) -> Graph:
    """Run the whole pipeline on the graphs that control flow carries.

    Safe, because each pass is: a carried graph keeps its inputs, its outputs and its meaning.

    Before: a ``scan`` whose step has ``%2 = %1 + 0``; after: its step has ``%1`` instead.
    """
    return within(graph, PROGRAM)


def bodies(graph: Graph) -> Graph:
    """Simplify the graphs that control flow carries, before they are differentiated.

    Safe as ``nested`` is, and with the same aim as simplifying the function itself: derivatives
    are those of the simplified step.

    Before: a ``scan`` whose step has ``1 / (1 + exp(-%1))``; after: its step has ``expit(%1)``.
    """
    return within(graph, PRIMAL)


def scans(graph: Graph) -> Graph:
    """Move work out of scans, and hand on from forward scans what backward ones would do again.

    Safe, because each of the passes is.

    Before: a ``scan`` whose step has ``x @ w`` on slices ``x``; after: they are of ``xs @ w``.
    """
    return run(graph, SCANS) if graph.count("scan") else graph


def within(graph: Graph, pipeline: Pipeline) -> Graph:
    """The graph with a pipeline run on all that its nodes carry."""
    if not any(node.bodies for node in graph.nodes):
        return graph
    nodes = tuple(
        replace(n, params=inner(n.params, pipeline)) if n.bodies else n for n in graph.nodes
    )
    return Graph(nodes, graph.inputs, graph.outputs)


def inner(params: Mapping[str, Any], pipeline: Pipeline) -> dict[str, Any]:
    """Parameters with every graph among them optimised."""
    done: dict[str, Any] = {}
    for name, value in params.items():
        if isinstance(value, Graph):
            done[name] = run(value, pipeline)
        elif isinstance(value, tuple) and value and isinstance(value[0], Graph):
            done[name] = tuple(run(g, pipeline) for g in value)
        else:
            done[name] = value
    return done


class Passes(dict[str, Callable[..., Graph]]):
    """The passes by name; those that few programs need are loaded when they are asked for."""

    def __missing__(self, name: str) -> Callable[..., Graph]:
        if name not in LATE:
            raise KeyError(name)
        module = importlib.import_module(f"graphjit.passes.{LATE[name]}")
        found: Callable[..., Graph] = getattr(module, name)
        self[name] = found
        return found


LATE = {
    "contractions": "contractions", "accumulate": "accumulate", "stitch": "stitch",
    "arrange": "arrange", "negatives": "negatives", "halves": "halves",
    "recompute": "recompute", "adjoint": "adjoint", "pullback": "adjoint", "tangent": "tangent",
    "batch": "batch", "hoist": "control_hoist", "keep": "control_keep", "total": "control_total",
    "trim": "control_trim", "scalars": "control_scalars",
}  # fmt: skip
PASSES = Passes({
    rewriting.__name__: rewriting
    for rewriting in (
        prune, merge, fold, simplify, order, inline, nested, bodies, scans, fuse,
    )
})  # fmt: skip
# The operations without which a pass leaves a graph as it is, and is not loaded for it.
OCCASIONS = {
    "contractions": "contract", "accumulate": "scatter_add", "stitch": "embed",
    "arrange": "contract", "negatives": "subtract", "halves": "iota",
}  # fmt: skip
NAMES = (*PASSES, *LATE)
NUMBERS = frozenset({"size", "budget"})  # options that are one number, not several
# These make another function of the graph: their meaning before and after is not comparable.
TRANSFORMS = frozenset({"adjoint", "pullback", "tangent", "batch"})
STEP = re.compile(r"\s*(\w+)\s*(?:\(([^()]*)\))?\s*(?:,|$)")


class PipelineError(GraphJITError, ValueError):
    """The text of a pipeline that cannot be read."""


class Step(NamedTuple):
    """A pass by name, with its parameters: ``adjoint(wrt=0,1)``."""

    name: str
    options: tuple[tuple[str, tuple[int, ...]], ...] = ()

    def __str__(self) -> str:
        options = ";".join(f"{name}={','.join(map(str, ids))}" for name, ids in self.options)
        return f"{self.name}({options})" if options else self.name

    def checked(self) -> Step:
        """This step.

        Raises:
            PipelineError: there is no pass of that name.
        """
        if self.name not in PASSES and self.name not in LATE:
            hint = f"There is {', '.join(NAMES)}."
            raise PipelineError(f"there is no pass {self.name!r}", hint=hint)
        return self

    def __call__(self, graph: Graph) -> Graph:
        """The graph after the pass."""
        occasion = OCCASIONS.get(self.name)
        return graph if occasion and not graph.count(occasion) else self.bound()(graph)

    def bound(self) -> Pass:
        """The pass, with the parameters given.

        Raises:
            PipelineError: there is no pass of that name.
        """
        self.checked()
        options = {n: ids[0] if n in NUMBERS and ids else ids for n, ids in self.options}
        return partial(PASSES[self.name], **options)


class Pipeline(tuple[Step, ...]):
    """Steps that run from left to right; ``str`` gives the text that ``parse_pipeline`` reads."""

    __slots__ = ()

    def __str__(self) -> str:
        return ",".join(map(str, self))


def parse_pipeline(text: str) -> Pipeline:
    """Read a pipeline's text.

    >>> str(parse_pipeline("prune, merge, adjoint(wrt=0,1), simplify"))
    'prune,merge,adjoint(wrt=0,1),simplify'

    Raises:
        PipelineError: text that is no list of passes, or a name that is no pass.
    """
    steps, at = [], 0
    while at < len(text.rstrip(", \n")):
        found = STEP.match(text, at)
        if found is None:
            raise PipelineError(
                f"no pipeline: {text!r} cannot be read from {text[at:]!r} on",
                hint="Write names with commas between, as in prune,adjoint(wrt=0,1),fuse.",
            )
        options = filter(None, (found[2] or "").split(";"))
        steps.append(Step(found[1], tuple(map(_option, options))).checked())
        at = found.end()
    return Pipeline(steps)


def _option(text: str) -> tuple[str, tuple[int, ...]]:
    name, _, values = text.partition("=")
    try:
        return name.strip(), tuple(int(value) for value in values.split(",") if value.strip())
    except ValueError:
        raise PipelineError(
            f"the option {text!r} takes integers", hint="Write name=0,1 and ; between options."
        ) from None


class Hook(Protocol):
    """Called after each pass that ran, with its graph and the one it was given."""

    def __call__(self, step: Step, before: Graph, after: Graph, seconds: float) -> None:
        """Look at what a pass did."""


@dataclass(slots=True)
class Between:
    """The hook that obeys the flags: it verifies, records, dumps, prints and compares."""

    records: list[Record] = field(default_factory=list)

    def __call__(self, step: Step, before: Graph, after: Graph, seconds: float) -> None:
        """Do what the flags ask for."""
        now = current()
        record = Record(str(step), seconds, (len(before), len(after)))
        self.records.append(record)
        note(record)
        if now.debug >= 1:
            sys.stderr.write(f"graphjit: {record}\n")
        if now.debug >= 2:
            sys.stderr.write(str(after))
        if now.dump:
            folder = Path(now.dump)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{len(self.records):02}-{step.name}.txt").write_text(str(after))
        if now.verify:
            from graphjit.ir.verify import verify  # 1 ms to import, and seldom wanted

            verify(after)
        if now.debug >= 4 and step.name not in TRANSFORMS:
            from graphjit.passes.compare import compare

            compare(str(step), before, after)


def run(graph: Graph, pipeline: Iterable[Step], hook: Hook | None = None) -> Graph:
    """Run the passes in turn, but for those that ``GRAPHJIT_SKIP`` names.

    Args:
        graph: What the first pass is given.
        pipeline: The steps, such as ``parse_pipeline`` reads.
        hook: Called after each pass; by default one that obeys the flags.
    """
    hook = hook or Between()
    for step in pipeline:
        if step.name in current().skip:
            continue
        start = time.perf_counter()
        after = step(graph)
        hook(step, graph, after, time.perf_counter() - start)
        graph = after
    return graph


# What a function's graph goes through before it is differentiated, so that derivatives are those
# of the simplified function, and what every graph goes through before it is lowered.
PRIMAL = parse_pipeline("prune,fold,simplify,merge,prune,bodies")
PROGRAM = parse_pipeline(
    "inline,prune,fold,simplify,merge,fold,simplify,merge,prune,scans,contractions,accumulate,negatives,"
    "order,stitch,arrange,halves,nested,fuse"
)
SCANS = parse_pipeline("trim,bodies,keep,trim,scalars,bodies,hoist,total,trim,simplify,merge,prune")
