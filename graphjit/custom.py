"""Functions with derivative rules of their own: ``custom_vjp`` and ``custom_jvp``.

Called while something is traced, such a function becomes one node, which carries the graph of the
function and those of its rules. Differentiation takes the rules; what is not differentiated, and
what is compiled in the end, is the function's graph itself.
"""

from __future__ import annotations

import functools
import inspect
import operator
import types
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import Any

from graphjit.custom_rules import Call, jvp_rule, vjp_rules
from graphjit.errors import TraceError
from graphjit.ir.dispatch import builder_of
from graphjit.ir.symbol import Symbol
from graphjit.tracing.origin import user_line
from graphjit.tracing.trace import active
from graphjit.tracing.trees import flatten
from graphjit.transforms.methods import check_callable

ORDERS = 3  # how deep rules that call their own function are traced
Function = Callable[..., Any]
Numbers = int | Sequence[int]

_inside: ContextVar[tuple[int, ...]] = ContextVar("graphjit_rules_being_traced", default=())


class Custom:
    """A function with a derivative rule: what both kinds share.

    Attributes:
        rules: The functions given as rules, none as long as there is none.
    """

    kind, definer = "", ""

    def __init__(self, function: Function, nondiff_argnums: Numbers = ()) -> None:
        check_callable(function)
        self.__name__ = self.__qualname__ = "function"
        functools.update_wrapper(self, function, updated=())
        self.function = function
        self.nondiff = checked_numbers(function, nondiff_argnums)
        self.rules: tuple[Function, ...] = ()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What the function returns; while something is traced, by one node that has the rule."""
        symbols = [leaf for leaf in flatten((args, kwargs))[0] if isinstance(leaf, Symbol)]
        builder = active() or (builder_of(*symbols) if symbols else None)
        if builder is None or _inside.get().count(id(self)) == ORDERS:
            return self.function(*args, **kwargs)
        if not self.rules:
            raise TraceError(
                f"{self.__name__} has no derivative rule yet", origin=user_line(),
                hint=f"Give it one with {self.__name__}.{self.definer} before it is traced.",
            )  # fmt: skip
        args = self.positional(args, kwargs)
        return self.emit(Call(self.function, args, self.nondiff, builder, self.traced_inside))

    def emit(self, call: Call) -> Any:
        """Trace the function and its rules, and add the node."""
        raise NotImplementedError

    def traced_inside(self, trace: Callable[[], Any]) -> Any:
        """Trace a rule, where calls of the function itself are counted: they may have no end."""
        token = _inside.set((*_inside.get(), id(self)))
        try:
            return trace()
        finally:
            _inside.reset(token)

    def positional(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
        """All arguments by position, since a rule gets them so.

        Raises:
            TraceError: an argument that can be passed by keyword alone.
        """
        try:
            bound = inspect.signature(self.function).bind(*args, **kwargs)
        except ValueError:  # a function that does not tell its parameters
            return args
        bound.apply_defaults()
        if bound.kwargs:
            raise TraceError(
                f"{self.__name__} has a derivative rule, which takes arguments by position",
                origin=user_line(), operands=tuple(bound.kwargs),
                hint="Write the function without keyword-only parameters.",
            )  # fmt: skip
        return bound.args

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self if instance is None else types.MethodType(self, instance)

    def __repr__(self) -> str:
        return f"<{self.kind} {self.__qualname__}>"


class custom_vjp(Custom):  # noqa: N801 - the name is known from JAX
    """A function whose reverse-mode derivative is a rule of your own.

    ``f.defvjp(fwd, bwd)`` sets the rule. ``fwd`` takes what ``f`` takes, and returns the result of
    ``f`` and *residuals*, any container of values that ``bwd`` needs. ``bwd(residuals,
    cotangent)`` takes a cotangent in the form of the result, and returns a tuple with the
    cotangent of each argument, in that one's form; None stands for zeros. For integers among
    the results the cotangent holds None.

    The rule serves reverse mode, ``vmap``, and, where ``bwd`` is linear in the cotangent, forward
    mode too, by its transpose. Second derivatives are those of ``fwd`` and ``bwd``. A rule may
    call ``f`` itself; from the fourth derivative on the operations inside ``f`` are
    differentiated in that case.

    Args:
        function: Of arrays, numbers and containers of them. Outside a trace it just runs.
        nondiff_argnums: Positions of arguments that have no derivative, such as functions; ``bwd``
            gets them before the residuals.
    """

    kind, definer = "custom_vjp", "defvjp(fwd, bwd)"

    def defvjp(self, fwd: Function, bwd: Function) -> None:
        """Set the rule: see the class."""
        self.rules = (fwd, bwd)

    def emit(self, call: Call) -> Any:
        """The node, with the graphs of the function, of ``fwd`` and of ``bwd``."""
        return vjp_rules(call, *self.rules)


class custom_jvp(Custom):  # noqa: N801 - the name is known from JAX
    """A function whose derivative is a rule of your own, in both modes.

    ``@f.defjvp`` sets the rule: ``rule(primals, tangents)`` takes the arguments and their tangents
    as two tuples, and returns the result of ``f`` and the tangent of the result, which must be
    linear in the tangents. Integers among the arguments have None for a tangent; a tangent of
    None in the result stands for zeros. Reverse mode transposes the rule.

    A rule may call ``f`` itself; from the fourth derivative on the operations inside ``f`` are
    differentiated in that case.

    Args:
        function: Of arrays, numbers and containers of them. Outside a trace it just runs.
        nondiff_argnums: Positions of arguments that have no derivative, such as functions; the rule
            gets them before the primals.
    """

    kind, definer = "custom_jvp", "defjvp(rule)"

    def defjvp(self, rule: Function) -> Function:
        """Set the rule, and return it: see the class."""
        self.rules = (rule,)
        return rule

    def emit(self, call: Call) -> Any:
        """The node, with the graphs of the function and of the rule."""
        return jvp_rule(call, *self.rules)


def checked_numbers(function: Function, numbers: Numbers) -> frozenset[int]:
    """Positions of parameters, counted from the front.

    Raises:
        TraceError: there is no such parameter.
    """
    try:
        count = len(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        count = 0
    places = numbers if isinstance(numbers, Sequence) else (numbers,)
    for place in map(operator.index, places):
        if count and not -count <= place < count:
            raise TraceError(
                f"nondiff_argnums={place} is no parameter of {function.__name__}",
                origin=user_line(), operands=(str(inspect.signature(function)),),
            )  # fmt: skip
    return frozenset(place % count if count else place for place in places)
