"""What a compiled function cost so far, and why it was compiled again."""

from __future__ import annotations

import ctypes
import itertools
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import field

from graphjit.records import dataclass
from graphjit.tracing.static import Static
from graphjit.tracing.trees import Arguments, Leaf

REASONS_SHOWN = 8


@dataclass(eq=False, repr=False)
class Stats:
    """Counts and times of one compiled function.

    Attributes:
        slow_calls: How often it ran through Python.
        specialisations: How many programs were built, or loaded from the cache on disk.
        recompiles: Why each one after the first was, such as ``argument x: f64[3] -> f64[4]``.
        seconds: Time spent by phase: ``trace``, ``passes``, ``render``, ``compile``, ...
        modes: The mode of each Jacobian, such as ``forward: 3 inputs, 10 outputs``.
        launch: How calls reach the latest program that was called often: ``native``, or
            ``Python`` and why.
        cache: What the cache on disk had of the latest program: ``hit``, ``miss`` or ``not kept``
            and why; empty where the cache is off.
    """

    slow_calls: int = 0
    specialisations: int = 0
    recompiles: list[str] = field(default_factory=list)
    seconds: Counter[str] = field(default_factory=Counter)
    modes: list[str] = field(default_factory=list)
    launch: str = ""
    cache: str = ""
    _native: ctypes.c_int64 = field(default_factory=ctypes.c_int64, repr=False, compare=False)

    @property
    def calls(self) -> int:
        """How often it ran."""
        return self.slow_calls + self._native.value

    @property
    def native_address(self) -> int:
        """Where native calls are counted."""
        return ctypes.addressof(self._native)

    def note(self, reason: str, seconds: Mapping[str, float], mode: str = "") -> None:
        """Record a new specialisation."""
        if mode:
            self.modes.append(mode)
        if self.specialisations:
            self.recompiles.append(reason)
        self.specialisations += 1
        self.seconds.update(dict(seconds))

    def __repr__(self) -> str:
        rows = [("calls", f"{self.calls}"), ("specialisations", f"{self.specialisations}")]
        rows += [(phase, f"{1e3 * taken:.1f} ms") for phase, taken in self.seconds.items()]
        rows += [("cache", self.cache)] if self.cache else []
        rows += [("launch", self.launch)] if self.launch else []
        rows += [("mode", mode) for mode in self.modes[-REASONS_SHOWN:]]
        rows += [("recompiled", reason) for reason in self.recompiles[-REASONS_SHOWN:]]
        width = max(len(name) for name, _ in rows)
        return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)


def reason_between(old: Arguments, new: Arguments) -> str:
    """Why a second program is needed for the second call."""
    if old.spec != new.spec:
        return "the structure of the arguments changed"
    changes = list(differences(old, new))
    return "; ".join(text for _, text in changes) or "the arguments are as before"


def changing_integer(old: Arguments, new: Arguments) -> str:
    """The name of the static int that alone tells two calls apart, or an empty string."""
    changes = list(differences(old, new)) if old.spec == new.spec else []
    if len(changes) != 1:
        return ""
    index = changes[0][0]
    kinds = old.kinds[index], new.kinds[index]
    integers = all(isinstance(kind, Static) and type(kind.value) is int for kind in kinds)
    return new.names[index] if integers else ""


def differences(old: Arguments, new: Arguments) -> Iterator[tuple[int, str]]:
    """Each leaf that chose another program, by its index."""
    rows = zip(itertools.count(), old.keys, new.keys, old.kinds, new.kinds, strict=False)
    for index, before, after, was, now in rows:
        if before != after:
            traced = isinstance(was, Leaf) and isinstance(now, Leaf)
            word = "argument" if traced else "static"
            yield index, f"{word} {new.names[index]}: {was} -> {now}"
