"""Hessians and products with them: forward over reverse."""

from __future__ import annotations

import functools
from typing import Any, overload

from graphjit.transforms.compiled import Compiled
from graphjit.transforms.decorators import Decorator, Function, Names, Numbers, positions
from graphjit.transforms.forward import Pushforward, check_pair, pushforward
from graphjit.transforms.gradient import Gradient
from graphjit.transforms.jacobians import Jacobian, JacobianFunction
from graphjit.transforms.known import known
from graphjit.transforms.methods import check_callable
from graphjit.transforms.threads import checked_threads


@overload
def hessian(
    f: Function, argnums: Numbers = 0, has_aux: bool = False, static_argnames: Names = (),
    *, threads: int | None = None,
) -> JacobianFunction: ...  # fmt: skip


@overload
def hessian(
    f: None = None, argnums: Numbers = 0, has_aux: bool = False, static_argnames: Names = (),
    *, threads: int | None = None,
) -> Decorator: ...  # fmt: skip


def hessian(
    f: Function | None = None,
    argnums: Numbers = 0,
    has_aux: bool = False,
    static_argnames: Names = (),
    *,
    threads: int | None = None,
) -> JacobianFunction | Decorator:
    """The second derivatives of a function that returns a float scalar: forward over reverse.

    The result has the container of the argument twice over: ``hessian(f)(params)["w"]["b"]`` is
    the block of w and b, of shape ``w.shape + b.shape``.

    Args:
        f: The function; left out, a decorator is returned.
        argnums: Which positional argument, or a tuple of them.
        has_aux: ``f`` returns ``(loss, auxiliary)``; the result is ``(hessian, auxiliary)``.
        static_argnames: As in ``jit``.
        threads: As in ``jit``.

    Raises:
        ShapeError: when called, if the result is no scalar.
        DTypeError: when called, if the result or a differentiated argument is no float.
    """
    if f is None:
        return functools.partial(
            hessian, argnums=argnums, has_aux=has_aux, static_argnames=static_argnames,
            threads=threads,
        )  # fmt: skip
    gradient = Gradient(positions(argnums), has_aux, noun="a Hessian")
    columns = Jacobian(positions(argnums), has_aux, "forward")
    inner = Compiled(f, gradient, static_argnames)
    return JacobianFunction(inner, columns, static_argnames, threads=threads)


def hvp(f: Function, primals: Any, tangents: Any, *, threads: int | None = None) -> Any:
    """The product of the Hessian of ``f`` with a vector, without the Hessian: forward over reverse.

    It costs a small multiple of one gradient, whatever the number of variables.

    Args:
        f: A function that returns a float scalar.
        primals: Its positional arguments, as a tuple.
        tangents: The vector, as in ``jvp``: None stands for what is no variable, such as data.
        threads: As in ``jit``.

    Returns:
        What ``grad`` would return for those arguments whose tangent is not None: the container
        of the only one, or a tuple with one for each.

    Raises:
        ShapeError, DTypeError: when called, if the result is no float scalar, or a tangent does
            not fit its primal.
    """
    check_callable(f)
    check_pair(primals, tangents)
    moving = tuple(i for i, tangent in enumerate(tangents) if tangent is not None)
    push = known(product, f, moving, checked_threads(threads))
    return push(tuple(primals), tuple(tangents))


def product(f: Function, moving: tuple[int, ...], threads: int | None) -> Compiled:
    """The compiled function of primals and tangents."""
    argnums = moving[0] if len(moving) == 1 else moving or 0
    gradient = Compiled(f, Gradient(argnums, noun="a Hessian"))
    return pushforward(gradient, Pushforward(value=False), threads)
