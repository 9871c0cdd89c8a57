"""Static arguments: part of what chooses a program, compared by type and value."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from graphjit.errors import TraceError
from graphjit.records import dataclass
from graphjit.tracing.origin import user_line


class Static:
    """An argument named in ``static_argnames``: one opaque leaf, equal by type and value."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Static) and static_key(self.value) == static_key(other.value)

    def __hash__(self) -> int:
        return hash(static_key(self.value))

    def __repr__(self) -> str:
        return repr(self.value)


def static_key(value: Any) -> Any:
    """What tells static values apart: 1, 1.0 and True differ; NaN is itself; 0.0 is not -0.0."""
    if isinstance(value, float):
        return (type(value), value.hex())
    if isinstance(value, tuple):
        return (type(value), tuple(map(static_key, value)))
    return (type(value), value)


def parameter_names(function: Callable[..., Any]) -> list[str]:
    """The names of the positional parameters, as far as they are known."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return []
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [p.name for p in parameters if p.kind in kinds]


@dataclass(frozen=True)
class Statics:
    """Which arguments are static by name or position."""

    names: frozenset[str]
    positions: frozenset[int]

    @classmethod
    def of(
        cls, function: Callable[..., Any], names: str | Sequence[str], nums: int | Sequence[int]
    ) -> Statics | None:
        """From what a user passes to ``jit``; None where nothing is static.

        Raises:
            TraceError: a name that is no parameter of the function.
        """
        wanted = {names} if isinstance(names, str) else set(names)
        places = {nums} if isinstance(nums, int) else set(nums)
        known = parameter_names(function)
        check_names(function, wanted)
        places = {place % len(known) if known else place for place in places}
        places |= {known.index(name) for name in wanted if name in known}
        wanted |= {known[place] for place in places if place < len(known)}
        return cls(frozenset(wanted), frozenset(places)) if wanted or places else None

    def mark(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """The arguments with the static ones wrapped, so that they are single leaves."""
        args = tuple(Static(a) if i in self.positions else a for i, a in enumerate(args))
        return args, {k: Static(v) if k in self.names else v for k, v in kwargs.items()}


def check_names(function: Callable[..., Any], names: set[str]) -> None:
    """Refuse names that no parameter has.

    Raises:
        TraceError: naming it.
    """
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return
    open_ended = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
    for name in sorted(names - set(parameters)):
        if not open_ended:
            known = ", ".join(parameters)
            raise TraceError(
                f"static_argnames names {name!r}, which is no parameter of {known}",
                origin=user_line(),
            )
