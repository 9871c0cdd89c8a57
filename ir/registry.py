"""Which NumPy and SciPy functions can be traced, and the errors for those that cannot."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np

from graphjit.errors import MissingRule
from graphjit.ir.builder import Builder
from graphjit.ir.primitive import BY_UFUNC
from graphjit.ir.symbol import ASSIGN_HINT

OUT_HINT = "Use the result: write x = x + t in place of x += t or of out=x. " + ASSIGN_HINT
OPTION_HINT = "Leave the option out; a mask can be written with np.where."
FUNCTIONS: dict[Any, Callable[..., Any]] = {}
DEFAULT = object()


def implements(*functions: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register the tracing of NumPy (or SciPy) functions: a composition of primitives."""

    def register(implementation: Callable[..., Any]) -> Callable[..., Any]:
        for function in functions:
            FUNCTIONS[function] = implementation
        return implementation

    return register


def with_scipy() -> None:
    """Have SciPy's special functions in the registry."""
    importlib.import_module("graphjit.ir.numpy.special")


def composition(function: Any) -> Callable[..., Any] | None:
    """How a function is composed of primitives, where it is; SciPy's are loaded when asked for."""
    if function not in FUNCTIONS and function not in BY_UFUNC:
        with_scipy()
    return FUNCTIONS.get(function)


def given(name: str, value: Any) -> bool:
    """Whether an option differs from what leaving it out means."""
    if value is DEFAULT or value is np._NoValue:  # noqa: SLF001 - NumPy's own default
        return False
    return not ((name == "out" and value is None) or (name == "where" and value is True))


def refuse(builder: Builder, function: Any, **options: Any) -> None:
    """Raise for options that were given and are not supported.

    Raises:
        MissingRule: naming the option; never is one ignored.
    """
    names = [f"{name}=" for name, value in options.items() if given(name, value)]
    if names:
        raise MissingRule(
            f"{title(function)} is not supported with {', '.join(names)}",
            origin=builder.origin(),
            hint=OUT_HINT if "out=" in names else OPTION_HINT,
        )


def title(function: Any) -> str:
    """A function's name as the user writes it: np.sum, scipy.special.erf, np.linalg.norm."""
    name = getattr(function, "__name__", str(function))
    module = getattr(function, "__module__", None) or ""
    if module.startswith("numpy."):
        return f"np.{module.removeprefix('numpy.')}.{name}"
    if isinstance(function, np.ufunc) and getattr(np, name, None) is not function:
        return f"scipy.special.{name}"
    return f"{module}.{name}" if module.startswith("scipy.") else f"np.{name}"


def missing(builder: Builder, function: Any, method: str = "") -> MissingRule:
    """The error for a function without a primitive, naming the nearest that has one."""
    with_scipy()
    name = function.__name__
    known = {f.__name__: title(f) for f in (*FUNCTIONS, *BY_UFUNC)}
    import difflib  # 1 ms, for an error

    near = difflib.get_close_matches(name, sorted(known), n=3, cutoff=0.5)
    hint = f"The nearest that exist: {', '.join(known[n] for n in near)}." if near else ""
    fact = f"{title(function)}{method} has no primitive"
    return MissingRule(fact, origin=builder.origin(), hint=hint)
