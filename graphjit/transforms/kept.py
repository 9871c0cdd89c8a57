"""Programs of compiled functions on disk: what is kept of one, and how it is made again.

A program that is found there runs without a trace, without passes and without a compiler. Only
when somebody asks for its graph or its text, the function is traced after all.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import cache, cached_property, partial
from typing import Any

import numpy as np

from graphjit.cache import pieces
from graphjit.cache.container import Entry
from graphjit.cache.fingerprint import Fingerprint, value_key
from graphjit.cache.libraries import Refused
from graphjit.cache.lookup import Lookup, Written, lookup
from graphjit.cache.trees import Hole, Json, Template, classes_of, signature
from graphjit.codegen.program import Memory, Runnable, code_read, code_written, on_pack
from graphjit.flags import current
from graphjit.ir.graph import Graph
from graphjit.launch.trees import Unexpected
from graphjit.passes.journal import journal
from graphjit.records import NamedTuple
from graphjit.tracing.guards import Guards
from graphjit.tracing.trees import Arguments
from graphjit.transforms.derive import Derivation, Derived
from graphjit.transforms.explain import Cost
from graphjit.transforms.specialise import Answer, Program, build_program, only, optimised

Result = Callable[[Sequence[Any]], Any]
FAULTS = (AttributeError, LookupError, TypeError, ValueError, Unexpected)


class Making(NamedTuple):
    """A program that is needed.

    Attributes:
        function: What is traced.
        derivation: What is made of it.
        arguments: The call.
        name: Module and name of the function.
        title: What the program is called in its text.
    """

    function: Callable[..., Any]
    derivation: Derivation
    arguments: Arguments
    name: str
    title: str


class Obtained(NamedTuple):
    """The program, where it comes from, and what that took."""

    answer: Answer
    program: Program
    cost: Cost
    cache: str


def obtained(making: Making) -> Obtained:
    """The program: from the disk, or built and put there."""
    clock = Clock()
    asked = question(making)
    if isinstance(asked, str):
        derived, program, cost = built(making)
        return Obtained(Answer.of(derived), program, cost, asked)
    before = {"fingerprint": clock.seconds()}
    found = asked.found(lambda entry, fingerprint: read(entry, fingerprint, making))
    before["load"] = clock.seconds()
    if found is not None:
        asked.report()
        return Obtained(*found, Cost(before, ()), asked.outcome)
    derived, program, cost = built(making)
    clock = Clock()
    asked.keep(lambda fingerprint: written(derived, program, fingerprint))
    asked.report()
    seconds = {**before, **cost.seconds, "keep": clock.seconds()}
    return Obtained(Answer.of(derived), program, Cost(seconds, cost.passes), asked.outcome)


def built(making: Making) -> tuple[Derived, Program, Cost]:
    """The program, traced and compiled now."""
    from graphjit.codegen.libllvm import library  # not needed for programs from the disk

    clock = Clock()
    if current().renderer == "llvm" and current().jit:
        library.early()
    with journal() as passes:
        derived = making.derivation.derive(making.arguments)
        adjoint = clock.seconds() - derived.traced.seconds
        labels = labels_of(making.arguments)
        program = build_program(derived.graph, making.title, labels, derived.donated)
    seconds = {"trace": derived.traced.seconds, "adjoint": adjoint, **program.timings}
    return derived, program, Cost(seconds, passes)


class Clock:
    """Tells the seconds since it was last asked."""

    def __init__(self) -> None:
        self._last = time.perf_counter()

    def seconds(self) -> float:
        """Since it was made or last asked."""
        now = time.perf_counter()
        passed, self._last = now - self._last, now
        return passed


def question(making: Making) -> Lookup | str:
    """Ask for the program; see ``graphjit.cache.lookup.lookup``."""
    arguments = making.arguments

    def parts() -> Sequence[Any]:
        options = value_key(making.derivation)
        if not options:
            raise Refused("its options have no known form")
        return "function", options, signature(arguments.spec, arguments.keys)

    return lookup(making.function, classes_of(arguments.spec), making.name, parts)


def written(derived: Derived, program: Any, fingerprint: Fingerprint) -> Written:
    """The manifest and blobs of a program.

    Raises:
        Refused: it cannot be made again from such.
    """
    if getattr(program, "kept", None) is None:
        raise Refused("its object code is not on disk")
    blobs: dict[str, bytes] = {}
    traced = derived.traced
    manifest = {
        "code": code_written(program.kept),
        "mode": derived.mode,
        "captured": pieces.captured_written(traced.captured, fingerprint, blobs),
        "exposed": pieces.exposed_written([traced.guards], fingerprint),
        "result": result_written(derived, blobs),
        "origins": fingerprint.origins if program.memory.checks else "",
        **memory_written(program.memory, fingerprint, blobs),
    }
    return manifest, blobs


def result_written(derived: Derived, blobs: dict[str, bytes]) -> Json:
    """How the result is put together.

    Raises:
        Refused: it is more than containers, and has no form of its own.
    """
    if hasattr(derived.result, "written"):
        return ["own", derived.result.written(blobs)]
    try:
        template = Template.of(derived.result, len(derived.graph.outputs))
    except FAULTS:
        raise Refused("its result is computed from the program's") from None
    return template.written()


def result_read(text: Json, entry: Entry, making: Making, captured: Sequence[Any]) -> Result:
    """What makes the result.

    Raises:
        Missed: it relies on what is no longer so.
        Refused: a container is not there any more.
    """
    if text[0] == "own":
        derivation: Any = making.derivation  # the one that wrote it: it is part of the key
        return derivation.read(text[1], entry.blobs, captured)  # type: ignore[no-any-return]
    template = Template.read(text)
    return only if isinstance(template.tree, Hole) else template


def memory_written(
    memory: Memory, fingerprint: Fingerprint, blobs: dict[str, bytes]
) -> dict[str, Any]:
    """What a program is given beside its inputs."""
    return {
        "constants": pieces.arrays_written(memory.constants, "c", blobs),
        "outputs": [[list(shape), dtype.str] for shape, dtype in memory.outputs],
        "work": [[size, dtype.str] for size, dtype in memory.work],
        "checks": pieces.checks_written(memory.checks, fingerprint),
        "long": memory.long,
        "donated": list(memory.donated.items()),
    }


def memory_read(entry: Entry, fingerprint: Fingerprint) -> Memory:
    """The same again.

    Raises:
        Missed: lines that its errors name have moved.
    """
    found = entry.manifest
    return Memory(
        pieces.arrays_read(found["constants"], entry.blobs),
        [(tuple(shape), np.dtype(dtype)) for shape, dtype in found["outputs"]],
        [(size, np.dtype(dtype)) for size, dtype in found["work"]],
        pieces.checks_read(found["checks"], found["origins"], fingerprint),
        found["long"],
        dict(found["donated"]),
    )


class Loaded(Runnable):
    """A program from the disk.

    Args:
        memory: What it is given beside its inputs.
        code: Where its object code is, and what that calls.
        derive: Traces the function again.
        name: What it is called in its text.

    Attributes:
        timings: Nothing: what loading takes is told elsewhere.

    Raises:
        Missed: its object code is gone.
    """

    def __init__(
        self, memory: Memory, code: Sequence[Any], derive: Callable[[], Derived], name: str
    ) -> None:
        native = code_read(code)
        super().__init__(memory, on_pack(native), native)
        self._derive, self.name = derive, name
        self.timings: dict[str, float] = {}

    @cached_property
    def graph(self) -> Graph:
        """The graph as it was compiled, traced again."""
        return optimised(self._derive().graph)

    @cached_property
    def source(self) -> str:
        """The readable text, rendered now."""
        from graphjit.codegen.build import text_of  # what builds programs, needed only now

        derived = self._derive()
        return text_of(derived.graph, self.name, labels_of(derived.arguments), derived.donated)


def labels_of(arguments: Arguments) -> list[str]:
    """What the user calls the inputs of a program."""
    return [arguments.names[i] for i in arguments.traced]


def read(entry: Entry, fingerprint: Fingerprint, making: Making) -> tuple[Answer, Program]:
    """The program of an entry, with what a call of it needs.

    Raises:
        Missed: the entry does not serve here and now.
        Refused: a container of the result is not there any more.
    """
    found = entry.manifest
    pieces.check_exposed(found["exposed"], fingerprint)
    captured = pieces.captured_read(found["captured"], fingerprint, entry.blobs)
    derive = cache(partial(making.derivation.derive, making.arguments))
    program = Loaded(memory_read(entry, fingerprint), found["code"], derive, making.title)
    guards = Guards(making.function, fingerprint.reads)
    guards.hold(found["exposed"])
    result = result_read(found["result"], entry, making, captured)
    answer = Answer(making.arguments, captured, guards, result, found["mode"], derive)
    return answer, program
