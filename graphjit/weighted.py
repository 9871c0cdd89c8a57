"""Functions of any result as functions that return one number, to be differentiated."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphjit.errors import DTypeError
from graphjit.ir.graph import Origin
from graphjit.tracing.trees import flatten
from graphjit.transforms.decorators import grad


def defined(function: Callable[..., Any]) -> Origin | None:
    """Where a function is defined."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    return Origin(code.co_filename, code.co_firstlineno) if code else None


def scalar(f: Callable[..., Any], args: tuple[Any, ...], random: np.random.Generator) -> Any:
    """The function itself if it returns one float, else a random weighted sum of its floats.

    Raises:
        DTypeError: it returns no floats.
    """
    leaves, spec = flatten(f(*args))
    kinds = [np.asarray(leaf).dtype for leaf in leaves]
    if all(kind.kind != "f" for kind in kinds):
        found = ", ".join(map(str, kinds)) or "nothing"
        fact = f"the function returns no floats to differentiate, but {found}"
        raise DTypeError(fact, origin=defined(f))
    if spec.is_leaf() and np.ndim(leaves[0]) == 0:
        return f
    arrays = [np.asarray(leaf) for leaf in leaves]
    weights = [weight(a, random) if a.dtype.kind == "f" else None for a in arrays]

    @functools.wraps(f, updated=())  # so that messages know the arguments by name
    def weighted(*args: Any) -> Any:
        return weighted_sum(flatten(f(*args))[0], weights)

    return weighted


def weight(array: Any, random: np.random.Generator) -> Any:
    """Random weights of an array's shape and dtype."""
    return random.standard_normal(array.shape).astype(array.dtype)


def weighted_sum(leaves: Sequence[Any], weights: Sequence[Any]) -> Any:
    """The sum of all elements, each times its weight; leaves without weights are left out."""
    pairs = zip(leaves, weights, strict=True)
    terms = [np.sum(leaf * factors) for leaf, factors in pairs if factors is not None]
    return sum(terms[1:], terms[0])


def slope(
    f: Callable[..., Any],
    args: tuple[Any, ...],
    argnums: int | tuple[int, ...],
    random: np.random.Generator,
) -> Callable[..., Any]:
    """The product of the gradient of ``f`` with a fixed random direction, as a function."""
    gradient = grad(f, argnums)
    leaves = [np.asarray(leaf) for leaf in flatten(gradient(*args))[0]]
    weights = [weight(leaf, random) for leaf in leaves]

    def along(*args: Any) -> Any:
        return weighted_sum(flatten(gradient(*args))[0], weights)

    return along
