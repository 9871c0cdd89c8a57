"""One question to the cache: is there a program for this function and kind of call, and why not.

The key of an entry has everything that the program depends on, so a hit needs no comparing. So that
a miss can be explained, a *trail* is kept beside it, under the function's name and the kind of
call alone: of which parts the last fingerprint was made.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from graphjit.cache.container import Entry
from graphjit.cache.environment import environment
from graphjit.cache.fingerprint import Fingerprint, fingerprint
from graphjit.cache.folder import warn
from graphjit.cache.libraries import Refused
from graphjit.cache.objects import key_of
from graphjit.cache.store import Store, opened
from graphjit.digests import hexadecimal
from graphjit.errors import CompileError
from graphjit.flags import current

T = TypeVar("T")
Written = tuple[dict[str, Any], dict[str, bytes]]  # a manifest and its blobs
SHORT = 16  # hexadecimal digits of a part's digest that a trail keeps
WORDS = {
    "sources": "the files of graphjit changed",
    "flags": "the processor has other features",
    "Features": "the processor has other features",  # as ARM calls them
    "features": "the processor has other features",  # as LLVM does
    "platform": "the system changed",
    "threads": "the BLAS may use another number of threads",
}
NEW = "not built before"


class Missed(Exception):  # noqa: N818 - never leaves the library
    """Why an entry that was found does not serve."""


class Lookup:
    """The question, and later what is to be kept.

    Args:
        store: Where programs are.
        function: What is traced, or a tuple of all that are.
        classes: Those of the containers among its arguments.
        name: What tells the function among others for the trail: module and name.
        parts: The kind of call and the options, as JSON; the first says what kind of program.

    Attributes:
        outcome: ``hit``, ``miss`` and why, or ``not kept`` and why.
    """

    def __init__(
        self, store: Store, function: Any, classes: Sequence[type], name: str, *parts: Any
    ) -> None:
        self._store, self._asked, self._name = store, (function, classes), name
        self.fingerprint = fingerprint(function, classes)
        self._trail = hexadecimal(json.dumps(["trail", name, parts]).encode())
        self._key = key_of("program", self.fingerprint.key, parts) if self.fingerprint.key else ""
        self.outcome = "" if self._key else f"not kept: {self.fingerprint.reason}"

    def found(self, read: Callable[[Entry, Fingerprint], T]) -> T | None:
        """What an entry is read as, or None.

        Args:
            read: Makes a program of an entry; raises ``Missed`` where it does not serve.
        """
        if not self._key:
            return None
        damaged = self._store.counts.damaged
        entry = self._store.get(self._key)
        if entry is None:
            harmed = self._store.counts.damaged > damaged
            self.outcome = f"miss: {'its entry was damaged' if harmed else self._why()}"
            return None
        try:
            result = read(entry, self.fingerprint)
        except Missed as reason:
            self.outcome = f"miss: {reason}"
        except (Refused, CompileError, LookupError, TypeError, ValueError) as fault:
            warn(f"an entry of the cache for {self._name} cannot be used: {fault}", "")
            self.outcome = "miss: its entry cannot be used"
        else:
            self.outcome = "hit"
            return result
        return None

    def keep(self, write: Callable[[Fingerprint], Written]) -> None:
        """Put a program that was just built into the store.

        Args:
            write: Makes its manifest and blobs; raises ``Refused`` where there can be none.
        """
        if not self._key:
            return
        if fingerprint(*self._asked).key != self.fingerprint.key:
            self.outcome = "not kept: tracing it changed what it reads"
            return
        try:
            written = write(self.fingerprint)
        except Refused as refusal:
            self.outcome = f"not kept: {refusal}"
            return
        if self._store.put(self._key, *written):
            self._store.put(self._trail, self._parts(), {})
        else:
            self.outcome += "; not kept: it could not be written"

    def report(self) -> None:
        """Tell at ``GRAPHJIT_DEBUG=1`` what came of it."""
        if current().debug >= 1:
            sys.stderr.write(f"graphjit: cache: {self._name}: {self.outcome}\n")

    def _parts(self) -> dict[str, Any]:
        """What a trail keeps."""
        return {"parts": digests(self.fingerprint.parts), "environment": dict(environment())}

    def _why(self) -> str:
        """What differs from the program that was built last, as far as is known."""
        trail = self._store.get(self._trail)
        if trail is None:
            return NEW
        now, before = self._parts(), trail.manifest
        for told, key in ((surroundings_between, "environment"), (parts_between, "parts")):
            reason = told(before.get(key, {}), now[key])
            if reason:
                return reason
        return "its entry is gone"


def lookup(
    function: Any, classes: Sequence[type], name: str, parts: Callable[[], Sequence[Any]]
) -> Lookup | str:
    """The question, or why it cannot be asked: nothing to say where the cache is off.

    Args:
        function: As in ``Lookup``.
        classes: As in ``Lookup``.
        name: As in ``Lookup``.
        parts: Makes those of ``Lookup``; raises ``Refused`` where one has no sure form.
    """
    flags = current()
    shown = flags.dump or flags.debug >= 2 or flags.verify
    if not flags.jit or flags.renderer != "llvm" or shown:
        return ""
    store = opened()
    if store is None:
        return ""
    try:
        return Lookup(store, function, classes, name, *parts(), sorted(flags.skip), flags.threads)
    except Refused as refusal:
        return f"not kept: {refusal}"


def digests(parts: Iterable[tuple[str, bytes]]) -> dict[str, str]:
    """A short digest for each name; those of one name one after the other."""
    found: dict[str, str] = {}
    for name, text in parts:
        found[name] = found.get(name, "") + hexadecimal(text)[:SHORT]
    return found


def parts_between(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """The first part of a fingerprint that is another one."""
    for name, text in now.items():
        if before.get(name, text) != text:
            return f"{name} changed"
    fresh = [name for name in now if name not in before]
    gone = [name for name in before if name not in now]
    if fresh:
        return f"it reads {fresh[0]}, and did not before"
    return f"it no longer reads {gone[0]}" if gone else ""


def surroundings_between(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """The first fact about versions and the machine that is another one."""
    for name, text in now.items():
        if before.get(name) != text:
            return WORDS.get(name) or f"{name}: {before.get(name)} -> {text}"
    return ""
