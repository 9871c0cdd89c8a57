"""Contractions: sums of products of two operands, in einsum's notation.

A specification such as ``ij,jk->ik`` names every axis; each letter occurs at most once in an
operand, and one that is summed occurs in both. The transposes permute the three terms. That a
result is ``symmetric``, or that of two axes an operand has ``zeros`` and a result is not ``wanted``
where the index of one is larger, are remarks of the last passes to code generation.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from graphjit.ir.aval import Aval
from graphjit.ir.primitive import row


def terms(spec: str) -> tuple[str, str, str]:
    """The letters of the first operand, the second and the result."""
    operands, result = spec.split("->")
    first, second = operands.split(",")
    return first, second, result


def contracted(a: Aval, b: Aval, spec: str, **remarks: Any) -> Aval:
    """The aval with the axes that the specification names as the result's."""
    first, second, result = terms(spec)
    sizes = dict(zip(first + second, a.shape + b.shape, strict=True))
    return Aval(tuple(sizes[letter] for letter in result), a.dtype)


def transpose(ct: Any, a: Any, b: Any, spec: str, **remarks: Any) -> tuple[Any, Any]:
    """The cotangent contracted with the other operand, for each of the two."""
    first, second, result = terms(spec)
    return np.einsum(f"{result},{second}->{first}", ct, b), np.einsum(
        f"{result},{first}->{second}", ct, a
    )


def paired(spec: str, **remarks: Any) -> bool:
    """Whether each element of one operand meets exactly one of the other, as in ``i,i->``."""
    first, second, _ = terms(spec)
    return set(first) == set(second)


def aligned(x: Any, letters: str, target: str, shape: tuple[int, ...]) -> Any:
    """An array with axes ``letters`` repeated to a shape with axes ``target``."""
    order = "".join(letter for letter in target if letter in letters)
    kept = tuple(n if a in letters else 1 for n, a in zip(shape, target, strict=True))
    return np.broadcast_to(np.reshape(np.einsum(f"{letters}->{order}", x), kept), shape)


row(
    "contract", "contract", numpy=lambda a, b, spec, **_: np.einsum(spec, a, b, optimize=True),
    aval=contracted, transpose=transpose, latex="{0} {1}",
)  # fmt: skip
