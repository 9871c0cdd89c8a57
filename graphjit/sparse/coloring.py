"""From a pattern to few products that show all of its entries, and where each can be read.

A *forward* product is the Jacobian times a vector of zeros and ones, a sum of columns; a *reverse*
one is such a vector times the Jacobian, a sum of rows. Columns (rows) of one color share no row
(column), so each entry stands alone in the product of its color (Curtis, Powell and Reid, On the
estimation of sparse Jacobian matrices, 1974).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from graphjit.ir.dag import greedy_coloring
from graphjit.sparse.greedy import SHORT, column_colors, star_colors
from graphjit.sparse.sets import Array, Sets, counts

TRIED = 8  # ways to part rows into those for forward and those for reverse products


@dataclass(frozen=True, eq=False)
class Coloring:
    """Colors from 0 on, -1 for what takes no part.

    Attributes:
        pattern: Where entries can be, as a boolean ``csr_array`` with sorted indices.
        columns: The color of each column, for forward products.
        rows: The color of each row, for reverse products.
        places: For each entry of the pattern its place in all products laid end to end: forward
            ones, as long as a column, then reverse ones, as long as a row.
    """

    pattern: Any
    columns: Array
    rows: Array
    places: Array

    @property
    def forward(self) -> int:
        """How many forward products there are."""
        return int(self.columns.max(initial=-1)) + 1

    @property
    def reverse(self) -> int:
        """How many reverse products there are."""
        return int(self.rows.max(initial=-1)) + 1

    @property
    def colors(self) -> int:
        """How many products there are."""
        return self.forward + self.reverse

    def __repr__(self) -> str:
        rows, columns = self.pattern.shape
        return (
            f"<{rows} x {columns}, {self.pattern.nnz} entries: "
            f"{self.forward} forward and {self.reverse} reverse products>"
        )


# -- Jacobians -----------------------------------------------------------------------------------


def jacobian_coloring(pattern: Sets) -> Coloring:
    """The fewest products found: forward ones, reverse ones, or reverse ones for long rows only.

    A matrix with a few dense rows needs as many forward products as it has columns, unless these
    rows are left to reverse products. So rows longer than some length are, for several lengths; no
    coloring can have fewer colors than the longest row that it treats, which says early what
    is not worth trying.
    """
    best: Coloring | None = None
    for bound, reverse in sorted(partitions(pattern), key=lambda pair: pair[0]):
        if best is not None and bound >= best.colors:
            break
        found = parted(pattern, reverse)
        best = found if best is None or found.colors < best.colors else best
    assert best is not None  # noqa: S101 - there is always the partition without reverse rows
    return best


def partitions(pattern: Sets) -> Iterator[tuple[int, Array]]:
    """Rows for reverse products, none first, each with the least number of colors there can be."""
    lengths = counts(pattern)
    known = np.unique(np.append(lengths, 0))[::-1]
    if len(known) > TRIED:
        known = np.append(known[: TRIED - 1], 0)
    rows = np.repeat(np.arange(len(lengths)), lengths)
    for longest in known:
        reverse = lengths > longest
        columns = np.bincount(pattern.indices[reverse[rows]], minlength=1)
        yield int(longest) + int(columns.max()), reverse


def parted(pattern: Sets, reverse: Array) -> Coloring:
    """Reverse products for the rows of a mask, forward ones for the others."""
    height, width = pattern.shape
    row, column = entries(pattern)
    columns = greedy(restricted(pattern, ~reverse[row]))
    rows = greedy(restricted(pattern, reverse[row]).T.tocsr())
    before = (int(columns.max(initial=-1)) + 1) * height  # places of the forward products
    places = np.where(
        reverse[row],
        before + rows[row] * width + column,
        columns[column] * height + row,
    )
    return Coloring(pattern, columns, rows, places)


def restricted(pattern: Sets, use: Array) -> Sets:
    """Some of the entries."""
    row, column = entries(pattern)
    parts = (pattern.data[use], (row[use], column[use]))
    return type(pattern)(parts, shape=pattern.shape)


def greedy(pattern: Sets) -> Array:
    """Colors of the columns that have entries, such that no row has two columns of one color.

    Two orders are tried: the columns' own, which is best for bands, and those with most neighbours
    first, which is best where a few have many.
    """
    lengths = counts(pattern)
    longest = int(lengths.max(initial=0))  # as many colors are needed at least
    weights = pattern.T @ lengths  # an upper bound of the neighbours
    own = np.flatnonzero(weights)
    best = np.full(pattern.shape[1], -1)
    best[own] = np.arange(len(own))
    for order in orders(own, weights):
        if int(best.max(initial=-1)) + 1 > longest:
            found = colored(pattern, order)
            best = found if found.max() < best.max() else best
    return best


def orders(own: Array, weights: Array) -> Iterator[Array]:
    """The natural order, and the heaviest first where that is another one."""
    yield own
    heavy = own[np.argsort(-weights[own], kind="stable")]
    if not np.array_equal(heavy, own):
        yield heavy


def colored(pattern: Sets, order: Array) -> Array:
    """The greedy coloring in one order."""
    turns = int((counts(pattern).astype(np.int64) ** 2).sum())
    if turns > SHORT:
        return column_colors(pattern, pattern.tocsc(), order, turns)
    shared = (pattern.T @ pattern).tocoo()
    upper = shared.row < shared.col
    edges = zip(shared.row[upper].tolist(), shared.col[upper].tolist(), strict=True)
    found = greedy_coloring(edges, order.tolist())
    colors = np.full(pattern.shape[1], -1)
    colors[list(found)] = list(found.values())
    return colors


# -- Hessians ------------------------------------------------------------------------------------


def hessian_coloring(pattern: Sets) -> Coloring:
    """A star coloring of a symmetric pattern."""
    size, row, column = pattern.shape[0], *entries(pattern)
    colors = symmetric_colors(pattern)
    # How many entries of each color a row has. (i, j) and (j, i) are read in one place, so the
    # matrix is symmetric to the bit.
    if not len(row):
        return Coloring(pattern, colors, colors, row)
    several = sparse.csr_array((np.ones(len(row), int), (row, colors[column])), (size, size))
    low, high = np.minimum(row, column), np.maximum(row, column)
    alone = several[low, colors[high]] == 1
    places = np.where(alone, colors[high] * size + low, colors[low] * size + high)
    return Coloring(pattern, colors, np.full(size, -1), places)


def entries(pattern: Sets) -> tuple[Array, Array]:
    """The row and the column of each entry."""
    row = np.repeat(np.arange(pattern.shape[0]), counts(pattern))
    return row, pattern.indices.astype(np.int64)


def symmetric_colors(pattern: Sets) -> Array:
    """The star coloring with fewest colors: those with most neighbours first, or in their order."""
    lengths, size = counts(pattern), pattern.shape[0]
    if pattern.nnz == size**2:
        return np.arange(size)
    best, most = np.full(size, -1), size
    for order in (*orders(np.flatnonzero(lengths), lengths),)[::-1]:
        found = star_colors(pattern, order, most) if most else None
        if found is not None:
            best, most = found, int(found.max(initial=-1))
    return best
