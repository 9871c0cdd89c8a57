"""Greedy colouring as plain loops over CSR, which Numba compiles where they are long.

``columns_of`` is what ``networkx.greedy_color`` does on the graph in which two columns are joined
if they share a row, without that graph: its edges would be as many as the squares of the rows'
lengths. ``star`` has no counterpart in networkx.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from graphjit.flags import current
from graphjit.sparse.sets import Array, check_products

SHORT = 100_000  # turns that take Python and networkx 0.04 s; Numba compiles for 0.4 s
FIRST_WIDTH = 8


def column_colors(rows: Any, columns: Any, order: Array, turns: int) -> Array:
    """Colors such that no two columns of one row have the same.

    Args:
        rows: The pattern in CSR.
        columns: The pattern in CSC.
        order: The columns, in the order in which they are colored; others get -1.
        turns: About how many steps it takes.
    """
    width = rows.shape[1]
    colors, taken = np.full(width, -1), np.full(width + 1, -1)
    links = (rows.indptr, rows.indices, columns.indptr, columns.indices)
    function("columns_of", turns)(*links, order, colors, taken)
    return colors


def star_colors(pattern: Any, order: Array, most: int) -> Array | None:
    """A star coloring of a symmetric pattern in CSR: no path of four vertices has only two colors.

    None where that takes more colors than ``most``.

    Then each entry (i, j) is alone of its color in row i or in row j, so that a Hessian can be read
    off its products with one vector for each color (Coleman and Moré, Estimation of sparse Hessian
    matrices and graph coloring problems, 1984; the greedy algorithm follows Gebremedhin, Manne and
    Pothen, What color is your Jacobian?, 2005, section 4, with tables in the place of its search
    for paths, so that a vertex with many neighbours costs no more than its edges).
    """
    size, width, fits = pattern.shape[0], min(FIRST_WIDTH, most), False
    run = function("star", 4 * pattern.nnz)
    while not fits:
        check_products(width, size)
        colors, taken = np.full(size, -1), np.full(size + 1, -1)
        count, first = np.zeros((size, width), np.int32), np.zeros((size, width), np.int32)
        bad = np.zeros((size, width), np.bool_)
        fits = run(pattern.indptr, pattern.indices, order, colors, taken, count, first, bad)
        if not fits and width == most:
            return None
        width = min(4 * width, most)
    return colors


def function(name: str, turns: int) -> Callable[..., Any]:
    """One of the functions below, compiled where that pays."""
    return compiled(name) if turns > SHORT and current().jit else LOOPS[name]


@cache
def compiled(name: str) -> Callable[..., Any]:
    """The function compiled by Numba, once a process."""
    import numba  # 0.3 s, needed only for long loops

    return numba.njit(LOOPS[name])  # type: ignore[no-any-return]


def columns_of(
    indptr: Any, indices: Any, starts: Any, rows: Any, order: Any, colors: Any, taken: Any
) -> None:
    """Fill ``colors``; ``taken[c]`` is the last column that could not have the color c."""
    for column in order:
        for at in range(starts[column], starts[column + 1]):
            row = rows[at]
            for other in range(indptr[row], indptr[row + 1]):
                color = colors[indices[other]]
                if color >= 0:
                    taken[color] = column
        color = 0
        while taken[color] == column:
            color += 1
        colors[column] = color


def star(  # noqa: C901, PLR0912 - one loop over shared tables
    indptr: Any, indices: Any, order: Any, colors: Any, taken: Any, count: Any, first: Any, bad: Any
) -> bool:
    """Fill ``colors``, unless they are more than the tables are wide.

    ``count[w, c]`` says how many neighbours of w have color c, ``first[w, c]`` which came first,
    and ``bad[w, c]`` that a new neighbour v of w must not have color c: it would begin a path
    v - w - x - y where x has color c and y that of w. While w has no color its neighbours all
    get different ones, so such paths come into being only through a w that has one.
    """
    used = 0
    for v in order:
        for at in range(indptr[v], indptr[v + 1]):
            w = indices[at]
            if w == v:
                continue
            if colors[w] >= 0:
                taken[colors[w]] = v
                for c in range(used):
                    if bad[w, c]:
                        taken[c] = v
            else:
                for c in range(used):
                    if count[w, c] > 0:
                        taken[c] = v
        color = 0
        while taken[color] == v:
            color += 1
        if color == count.shape[1]:
            return False
        used = max(used, color + 1)
        colors[v] = color
        for at in range(indptr[v], indptr[v + 1]):
            w = indices[at]
            if w == v:
                continue
            count[w, color] += 1
            if count[w, color] == 1:
                first[w, color] = v
            other = colors[w]
            if other >= 0 and count[w, color] > 1:
                bad[v, other] = True
                bad[first[w, color], other] = True
    return True


LOOPS: dict[str, Callable[..., Any]] = {"columns_of": columns_of, "star": star}
