"""Training loops on disk: what is kept of one, and how it is made again.

A loop is known by what it is compiled for: the loss and a schedule, the form of parameters, state
and data, the kind of optimizer and those of its fields that are no numbers to compute with, and
how an epoch is cut. The numbers themselves are its arguments.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphjit.cache import pieces
from graphjit.cache.container import Entry
from graphjit.cache.fingerprint import Fingerprint, value_key
from graphjit.cache.libraries import Refused
from graphjit.cache.lookup import Written, lookup
from graphjit.cache.trees import classes_of, signature
from graphjit.codegen.program import code_read, code_written, on_pack
from graphjit.tracing.names import is_library
from graphjit.tracing.trees import flatten, leaf_key
from graphjit.train.loop import Memory, NativeLoop, Piece
from graphjit.train.setup import Setup, guards_of


def loop_of(setup: Setup) -> NativeLoop:
    """The loop for a setup: from the disk, or compiled."""
    started = time.perf_counter()
    cls = type(setup.optimizer)
    own = () if is_library(cls) else (cls,)
    spec = flatten((setup.params, setup.state))[1]
    name = f"{getattr(setup.loss, '__module__', '')}.{getattr(setup.loss, '__qualname__', '')}"
    functions = (*setup.functions, *(c.update for c in own))
    classes = [*classes_of(spec), *own]
    asked = lookup(functions, classes, f"training {name}", lambda: parts(setup))
    if isinstance(asked, str):
        loop = built(setup)
        loop.cache = asked
        return loop
    known = asked.found(lambda entry, fingerprint: read(entry, fingerprint, setup))
    loop = built(setup) if known is None else known
    if known is None:
        asked.keep(lambda fingerprint: written(loop, fingerprint))
    loop.cache, loop.seconds = asked.outcome, time.perf_counter() - started
    asked.report()
    return loop


def built(setup: Setup) -> NativeLoop:
    """The loop, compiled now."""
    from graphjit.train.step import Loop  # what compiles, needed only where nothing is on disk

    return Loop(setup)


def parts(setup: Setup) -> Sequence[Any]:
    """All that the loop depends on beside the functions.

    Raises:
        Refused: something that has no sure form.
    """
    leaves, spec = flatten((setup.params, setup.state, setup.data))
    fields = sorted(vars(setup.optimizer).items())
    plain = {k: v for k, v in fields if not isinstance(v, float) and not callable(v)}
    options = value_key(plain)
    if not options:
        raise Refused("a field of the optimizer has no known form")
    cls = type(setup.optimizer)
    kinds = [[k, type(v).__name__ if isinstance(v, float) else callable(v)] for k, v in fields]
    epoch = [setup.epoch.examples, setup.epoch.batch, setup.budget]
    named = [cls.__module__, cls.__qualname__]
    return "training", named, kinds, options, epoch, signature(spec, list(map(leaf_key, leaves)))


def written(loop: Any, fingerprint: Fingerprint) -> Written:
    """The manifest and blobs of a loop.

    Raises:
        Refused: it cannot be made again from such.
    """
    if loop.kept is None:
        raise Refused("its object code is not on disk")
    blobs: dict[str, bytes] = {}
    memory = loop.memory
    manifest = {
        "code": code_written(loop.kept),
        "captured": pieces.captured_written(loop.captured, fingerprint, blobs),
        "exposed": pieces.exposed_written(loop.guards, fingerprint),
        "order": [[name, list(shape), dtype.str] for name, shape, dtype in memory.order],
        "joined": memory.joined,
        "names": list(memory.constants),
        "constants": pieces.arrays_written(memory.constants.values(), "c", blobs),
        "checks": pieces.checks_written(memory.checks, fingerprint),
        "origins": fingerprint.origins if memory.checks else "",
    }
    return manifest, blobs


def read(entry: Entry, fingerprint: Fingerprint, setup: Setup) -> LoadedLoop:
    """The loop of an entry.

    Raises:
        Missed: the entry does not serve here and now.
    """
    found = entry.manifest
    pieces.check_exposed(found["exposed"], fingerprint)
    order = [Piece(name, tuple(shape), np.dtype(dtype)) for name, shape, dtype in found["order"]]
    constants = pieces.arrays_read(found["constants"], entry.blobs)
    checks = pieces.checks_read(found["checks"], found["origins"], fingerprint)
    named = dict(zip(found["names"], constants, strict=True))
    memory = Memory(order, named, checks, found["joined"])
    captured = pieces.captured_read(found["captured"], fingerprint, entry.blobs)
    guards = guards_of(setup, [fingerprint.reads.arrays[name] for name in found["exposed"]])
    return LoadedLoop(memory, captured, guards, on_pack(code_read(found["code"])))


class LoadedLoop(NativeLoop):
    """A training loop from the disk."""

    def text(self, setup: Setup) -> str:
        """The generated text, of a step that is traced now."""
        from graphjit.train.step import Steps  # what traces and renders, needed only now

        return Steps(setup).source
