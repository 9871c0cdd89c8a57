"""``checkpoint``: compute again in the backward pass rather than store."""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable
from typing import Any

from graphjit.custom_rules import Call
from graphjit.ir.dispatch import builder_of
from graphjit.ir.symbol import Symbol
from graphjit.tracing.trace import active
from graphjit.tracing.trees import flatten
from graphjit.transforms.methods import check_callable


class checkpoint:  # noqa: N801 - the name is known from JAX
    """A function whose inner values are computed again in the backward pass, not stored.

    In reverse mode the values inside a function are kept until its backward pass has used them.
    Of a checkpointed one only the arguments are kept: the backward pass runs it once more. For n
    equal layers in checkpointed blocks of √n the memory is that of 2 √n layers in place of n,
    at the price of one more forward pass (Griewank and Walther, "Evaluating Derivatives",
    chapter 12; Chen et al., arXiv:1604.06174).

    Values and derivatives of any order and mode are those of the function itself. ``remat`` is
    another name for it.

    Args:
        function: Of arrays, numbers and containers of them. Outside a trace it just runs.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        check_callable(function)
        self.__name__ = self.__qualname__ = "function"
        functools.update_wrapper(self, function, updated=())
        self.function = function

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What the function returns; while something is traced, by one node."""
        symbols = [leaf for leaf in flatten((args, kwargs))[0] if isinstance(leaf, Symbol)]
        builder = active() or (builder_of(*symbols) if symbols else None)
        if builder is None:
            return self.function(*args, **kwargs)
        function, args = bound(self.function, args, kwargs)
        call = Call(function, args, frozenset(), builder, lambda trace: trace())
        if not call.result.places:
            return function(*args)
        return call.emitted("checkpoint", {}, barrier=False)

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self if instance is None else types.MethodType(self, instance)

    def __repr__(self) -> str:
        return f"<checkpoint {self.__qualname__}>"


def bound(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """The call with its arguments by position; those that cannot be so are closed over."""
    if not kwargs:
        return function, args
    found = inspect.signature(function).bind(*args, **kwargs)
    if not found.kwargs:
        return function, found.args
    return functools.partial(function, **found.kwargs), found.args


remat = checkpoint
