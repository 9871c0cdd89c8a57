"""Programs of compiled functions on disk: what is kept of one, and how it is made again.

A program that is found there runs without a trace, without passes and without a compiler. Only
when somebody asks for its graph or its text, the function is traced after all.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from graphjit.cache import pieces
from graphjit.cache.container import Entry
from graphjit.cache.fingerprint import Fingerprint, value_key
from graphjit.cache.libraries import Refused
from graphjit.cache.lookup import Lookup, Missed, Written, lookup
from graphjit.cache.objects import kept_code
from graphjit.cache.trees import Template, classes_of, signature
from graphjit.codegen.program import Memory, Runnable, linked, on_pack
from graphjit.ir.graph import Graph
from graphjit.launch.trees import Unexpected
from graphjit.tracing.guards import Guards
from graphjit.tracing.trees import Arguments
from graphjit.transforms.derive import Derivation, Derived

FAULTS = (AttributeError, LookupError, TypeError, ValueError, Unexpected)


def question(function: Any, derivation: Derivation, arguments: Arguments, name: str) -> Any:
    """Ask for the program of a call; see ``graphjit.cache.lookup.lookup``."""

    def parts() -> Sequence[Any]:
        options = value_key(derivation)
        if not options:
            raise Refused("its options have no known form")
        return "function", options, signature(arguments.spec, arguments.keys)

    return lookup(function, classes_of(arguments.spec), name, parts)


def keep(asked: Lookup, derived: Derived, program: Any) -> None:
    """Put a program that was just built on disk, if it can be."""

    def write(fingerprint: Fingerprint) -> Written:
        return written(derived, program, fingerprint)

    asked.keep(write)


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
        "code": list(program.kept),
        "mode": derived.mode,
        "captured": pieces.captured_written(traced.captured, fingerprint, blobs),
        "exposed": pieces.exposed_written([traced.guards], fingerprint),
        "result": template_of(derived).written(),
        "origins": fingerprint.origins if program.memory.checks else "",
        **memory_written(program.memory, fingerprint, blobs),
    }
    return manifest, blobs


def template_of(derived: Derived) -> Template:
    """How the result is put together.

    Raises:
        Refused: it is more than containers.
    """
    try:
        return Template.of(derived.result, len(derived.graph.outputs))
    except FAULTS:
        raise Refused("its result is computed from the program's") from None


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
    )


class Loaded(Runnable):
    """A program from the disk.

    Args:
        memory: What it is given beside its inputs.
        code: Where its object code is, and what that calls.
        derive: Traces the function again.
        name: What it is called in its text.

    Attributes:
        timings: Seconds spent in each phase.

    Raises:
        Missed: its object code is gone.
    """

    def __init__(
        self, memory: Memory, code: Sequence[Any], derive: Callable[[], Derived], name: str
    ) -> None:
        started = time.perf_counter()
        key, symbols = code
        content = kept_code(key)
        if content is None:
            raise Missed("its object code is gone")
        native = linked(content, symbols)
        super().__init__(memory, on_pack(native), native)
        self._derive, self.name = derive, name
        self.timings = {"load": time.perf_counter() - started}

    @cached_property
    def graph(self) -> Graph:
        """The graph as it was compiled, traced again."""
        from graphjit.transforms.specialise import optimised

        return optimised(self._derive().graph)

    @cached_property
    def source(self) -> str:
        """The readable text, rendered now."""
        from graphjit.codegen.build import text_of  # what builds programs, needed only now

        derived = self._derive()
        return text_of(derived.graph, self.name, labels_of(derived.arguments))


def labels_of(arguments: Arguments) -> list[str]:
    """What the user calls the inputs of a program."""
    return [arguments.names[i] for i in arguments.traced]


class Answer:
    """What a call needs beside its program, of a trace or from the disk.

    Attributes:
        captured: The arrays behind the hidden inputs.
        guards: What the trace relied on.
        result: Makes the result of the program's outputs.
        mode: What was chosen where there was a choice.
    """

    captured: Sequence[Any]
    guards: Guards
    result: Callable[[Sequence[Any]], Any]
    mode: str


def read(
    entry: Entry, fingerprint: Fingerprint, function: Any, derive: Callable[[], Derived], name: str
) -> Any:
    """The program of an entry, with what a call of it needs.

    Raises:
        Missed: the entry does not serve here and now.
        Refused: a container of the result is not there any more.
    """
    found = entry.manifest
    pieces.check_exposed(found["exposed"], fingerprint)
    template = Template.read(found["result"])
    captured = pieces.captured_read(found["captured"], fingerprint, entry.blobs)
    program = Loaded(memory_read(entry, fingerprint), found["code"], derive, name)
    guards = Guards(function, fingerprint.reads)
    guards.hold(found["exposed"])
    return program, captured, guards, template, found["mode"]
