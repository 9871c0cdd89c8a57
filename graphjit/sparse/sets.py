"""For each element of a value the set of columns that it depends on: rows of a boolean CSR matrix.

All operations take whole matrices, so that their cost is that of the entries, and none is dense.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import sparse

from graphjit.errors import ShapeError
from graphjit.ir.graph import Node
from graphjit.tracing.origin import user_line

Sets = Any  # scipy.sparse.csr_array of bool: SciPy has no types of its own
Array = np.ndarray[Any, Any]

LIMIT = 2**27  # entries: 0.6 GB


def made(indptr: Array, indices: Array, columns: int) -> Sets:
    """Sets from CSR's two arrays, with indices as short as solvers take them."""
    short = np.int32 if columns < 2**31 else np.int64
    parts = (np.ones(len(indices), bool), indices.astype(short), indptr.astype(short))
    return sparse.csr_array(parts, shape=(len(indptr) - 1, columns))


def identity(size: int, offset: int, columns: int) -> Sets:
    """Element i depends on column ``offset + i``."""
    return made(np.arange(size + 1), np.arange(offset, offset + size), columns)


def counts(sets: Sets) -> Array:
    """How many columns each element depends on."""
    return np.diff(sets.indptr)


def union(parts: Sequence[Sets | None]) -> Sets | None:
    """Element by element; None stands for empty sets."""
    total: Sets | None = None
    for part in {id(part): part for part in parts if part is not None}.values():
        total = part if total is None else total + part
    return total


def pick(sets: Sets, index: Array, node: Node) -> Sets:
    """The sets of some elements, in that order; the set for -1 is empty."""
    index = np.asarray(index).reshape(-1)
    size = sets.shape[0]
    if len(index) == size and np.array_equal(index, np.arange(size)):
        return sets
    lengths = np.where(index < 0, 0, counts(sets)[index] if size else 0)
    indptr = np.concatenate([[0], np.cumsum(lengths)])
    check(int(indptr[-1]), node)
    starts = np.where(index < 0, 0, sets.indptr[index] if size else 0)
    places = np.repeat(starts - indptr[:-1], lengths) + np.arange(indptr[-1])
    return made(indptr, sets.indices[places], sets.shape[1])


def through(links: tuple[Array, Array], size: int, sets: Sets, node: Node) -> Sets:
    """The union of the sets of all elements that a result element is linked to.

    Args:
        links: Pairs of a result's element and an operand's.
        size: How many elements the result has.
        sets: Those of the operand.
        node: The operation.
    """
    targets, sources = (np.asarray(part).reshape(-1) for part in links)
    check(int(counts(sets)[sources].sum()), node)
    data = np.ones(len(targets), bool)
    matrix = sparse.csr_array((data, (targets, sources)), shape=(size, sets.shape[0]))
    return ordered(matrix @ sets)


def ordered(sets: Sets) -> Sets:
    """The same with each set's columns in order, each once."""
    sets.sum_duplicates()
    return sets


def symmetric(sets: Sets) -> Sets:
    """The pattern of a square matrix with the entries of its transpose."""
    return ordered(sets + sets.T.tocsr())


def check(entries: int, node: Node) -> None:
    """Refuse what is not sparse.

    Raises:
        ShapeError: at the user's line.
    """
    if entries > LIMIT:
        raise ShapeError(
            f"the derivative is not sparse: here {entries:,} pairs of an element and an input "
            f"that it may depend on",
            origin=node.origin,
            operands=(node.aval,),
            hint="Values that mix all inputs (a sum over them, a running sum, an index that is an "
            "argument) make whole rows and columns dense; an index array that the function "
            "closes over, in place of an argument, is read when the pattern is made.",
        )


def check_products(count: int, length: int) -> None:
    """Refuse what takes too many products.

    Raises:
        ShapeError: they would be as large as the dense matrices that they are to avoid.
    """
    if count * length > LIMIT:
        raise ShapeError(
            f"the derivative is not sparse enough: it takes {count:,} products or more of "
            f"{length:,} numbers each",
            origin=user_line(),
            hint="Multiply with it in place of building it: graphjit.jvp, vjp or hvp in an "
            "iterative solver.",
        )
