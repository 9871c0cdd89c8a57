"""``jit``, ``grad`` and ``value_and_grad``, as decorators and as calls."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any, overload

from graphjit.transforms.compiled import Compiled
from graphjit.transforms.derive import PLAIN, Plain
from graphjit.transforms.gradient import Gradient, checked_budget

Function = Callable[..., Any]
Decorator = Callable[[Function], Compiled]
Names = str | Sequence[str]
Numbers = int | Sequence[int]


@overload
def jit(
    f: Function, *, static_argnames: Names = (), static_argnums: Numbers = (),
    donate_argnums: Numbers = (), threads: int | None = None,
) -> Compiled: ...  # fmt: skip


@overload
def jit(
    f: None = None, *, static_argnames: Names = (), static_argnums: Numbers = (),
    donate_argnums: Numbers = (), threads: int | None = None,
) -> Decorator: ...  # fmt: skip


def jit(
    f: Function | None = None, *, static_argnames: Names = (), static_argnums: Numbers = (),
    donate_argnums: Numbers = (), threads: int | None = None,
) -> Compiled | Decorator:  # fmt: skip
    """Compile a NumPy function.

    Arrays, NumPy scalars and Python floats are traced, inside dicts, lists, tuples, named tuples
    and dataclasses; ints, bools, strings and None are static, and another value means another
    program. (An int that changes at every call is reported once; it is not yet turned into
    a traced value.) Results of shape ``()`` are NumPy scalars, as NumPy's reductions give them;
    arrays are fresh at every call. Whatever the function returns that is no array passes
    through. Python side effects happen only while tracing.

    Args:
        f: The function; left out, a decorator is returned.
        static_argnames: Further arguments to treat as static; they need a hash.
        static_argnums: The same by position.
        donate_argnums: Positional arguments whose arrays the caller gives away: where a result has
            the shape and dtype of such an array and can be computed in place, **the array is
            overwritten**, and is itself the result. An array that does not own its memory, is
            read-only, or shares memory with another argument is copied first.
        threads: How many threads may share a large loop or product; None is ``GRAPHJIT_THREADS``,
            or all cores that the process may use. Results are the same for any number.

    Returns:
        A ``Compiled``: call it like ``f``; with ``out=`` the results go into arrays of the
        caller's, in the containers of the result.
    """
    if f is None:
        return functools.partial(
            jit, static_argnames=static_argnames, static_argnums=static_argnums,
            donate_argnums=donate_argnums, threads=threads,
        )  # fmt: skip
    donated = (donate_argnums,) if isinstance(donate_argnums, int) else tuple(donate_argnums)
    return Compiled(
        f, Plain(donated) if donated else PLAIN, static_argnames, static_argnums, threads
    )


@overload
def grad(
    f: Function, argnums: Numbers = 0, has_aux: bool = False, static_argnames: Names = (),
    *, budget: int | None = None, threads: int | None = None,
) -> Compiled: ...  # fmt: skip


@overload
def grad(
    f: None = None, argnums: Numbers = 0, has_aux: bool = False, static_argnames: Names = (),
    *, budget: int | None = None, threads: int | None = None,
) -> Decorator: ...  # fmt: skip


def grad(
    f: Function | None = None,
    argnums: Numbers = 0,
    has_aux: bool = False,
    static_argnames: Names = (),
    *,
    budget: int | None = None,
    threads: int | None = None,
) -> Compiled | Decorator:
    """The gradient of a function that returns a float scalar, compiled.

    The gradient has the container, shapes and dtypes of the argument; for a Python float it is a
    ``np.float64``. Where the argument's container holds text or other static values, the
    gradient holds None; ints and bools there are an error, because they are more often floats
    that lack a point than meant. An argument that the result does not depend on has gradient 0.

    Args:
        f: The function; left out, a decorator is returned.
        argnums: Which positional argument, or a tuple of them; negative ones count from the
            end. The ``self`` of a method does not count.
        has_aux: ``f`` returns ``(loss, auxiliary)``; the result is ``(gradient, auxiliary)``.
        static_argnames: As in ``jit``.
        budget: How many bytes of intermediate values may be kept for the backward pass; it
            computes the others again, the cheapest first (pass ``recompute``). None keeps all that
            it reads. ``checkpoint`` says by hand where to do so.
        threads: As in ``jit``.

    Raises:
        TraceError: ``budget`` is no number of bytes.
        ShapeError: when called, if the result is no scalar.
        DTypeError: when called, if the result or a differentiated argument is no float.
    """
    return _differentiated(
        f, argnums, has_aux, static_argnames, value=False, budget=budget, threads=threads
    )


@overload
def value_and_grad(
    f: Function, argnums: Numbers = 0, has_aux: bool = False, static_argnames: Names = (),
    *, budget: int | None = None, threads: int | None = None,
) -> Compiled: ...  # fmt: skip


@overload
def value_and_grad(
    f: None = None, argnums: Numbers = 0, has_aux: bool = False, static_argnames: Names = (),
    *, budget: int | None = None, threads: int | None = None,
) -> Decorator: ...  # fmt: skip


def value_and_grad(
    f: Function | None = None,
    argnums: Numbers = 0,
    has_aux: bool = False,
    static_argnames: Names = (),
    *,
    budget: int | None = None,
    threads: int | None = None,
) -> Compiled | Decorator:
    """The value and the gradient by one compiled program: ``(value, gradient)``.

    As ``grad``; with ``has_aux`` the result is ``((loss, auxiliary), gradient)``.
    """
    return _differentiated(
        f, argnums, has_aux, static_argnames, value=True, budget=budget, threads=threads
    )


def _differentiated(
    f: Function | None, argnums: Numbers, has_aux: bool, static_argnames: Names,
    *, value: bool, budget: int | None, threads: int | None,
) -> Compiled | Decorator:  # fmt: skip
    gradient = Gradient(positions(argnums), has_aux, value, budget=checked_budget(budget))
    if f is None:
        return functools.partial(
            Compiled, derivation=gradient, static_argnames=static_argnames, threads=threads
        )
    return Compiled(f, gradient, static_argnames, threads=threads)


def positions(argnums: Numbers) -> int | tuple[int, ...]:
    """``argnums`` as one number or a tuple of them."""
    return argnums if isinstance(argnums, int) else tuple(map(operator.index, argnums))
