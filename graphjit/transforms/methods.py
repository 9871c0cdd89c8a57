"""Compiled functions as objects: by their names, and as methods of instances they do not keep."""

from __future__ import annotations

import operator
import sys
import types
from collections.abc import Callable
from typing import Any

from graphjit.errors import TraceError
from graphjit.tracing.origin import user_line


class Method:
    """A method of an instance that it does not keep alive."""

    def __init__(self, function: Callable[..., Any], reference: Callable[[], Any]) -> None:
        self._function, self._reference = function, reference
        self.__name__ = getattr(function, "__name__", "method")

    @property
    def __wrapped__(self) -> Any:
        return types.MethodType(self._function, self._reference())

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the method."""
        return self._function(self._reference(), *args, **kwargs)


class Bound:
    """A compiled function read from an instance: keeps the instance alive while it is used."""

    def __init__(self, instance: Any, compiled: Any) -> None:
        self.__self__, self._compiled = instance, compiled

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the compiled function."""
        return self._compiled(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._compiled, name)

    def __reduce__(self) -> Any:
        return getattr, (self.__self__, self._compiled.__name__)


def check_callable(function: Any) -> None:
    """Refuse what is no function.

    Raises:
        TraceError: saying what it is.
    """
    if not callable(function):
        kind = type(function).__name__
        raise TraceError(f"a function is needed, not {kind}", origin=user_line())


def found_by_name(compiled: Any) -> bool:
    """Whether importing its module and reading its name gives this very object."""
    try:
        module = sys.modules[compiled.__module__]
        return operator.attrgetter(compiled.__qualname__)(module) is compiled
    except (AttributeError, KeyError):
        return False
