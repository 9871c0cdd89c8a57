"""Which products are functions of our own, and of which kind; the others are calls of the BLAS."""

from __future__ import annotations

from graphjit.codegen import llvm_matrix_dots as dots
from graphjit.codegen import llvm_matrix_rows as rows
from graphjit.codegen.blas import find
from graphjit.codegen.llvm_matrix import MatrixProduct, Steps, full_lanes, tuned
from graphjit.codegen.llvm_text import Module
from graphjit.codegen.native import host
from graphjit.records import NamedTuple
from graphjit.tuning import LINE, Limits, caches, tuning

SKINNY = 32  # rows or columns of a result for which the large operand is read but once or twice
FULL = 32  # bytes of a column of a tile


def nearby() -> int:
    """The bytes of both operands up to which they stay in the second cache, or nearly."""
    return 2 * caches().second


def further() -> int:
    """The bytes up to which we are as good where the result is skinny."""
    return 8 * caches().second


def deep() -> int:
    """Rows of B from which on a line of each is more than stays in the first cache."""
    return 3 * caches().first // (2 * LINE)


class Way(NamedTuple):
    """A way to compute a product.

    Attributes:
        title: ``rows``, ``columns`` (the transposed product by rows) or ``dots``.
        product: What the function computes.
        swapped: Whether it takes B before A.
        cost: About how many half cycles it takes.
    """

    title: str
    product: MatrixProduct
    swapped: bool
    cost: int

    @property
    def name(self) -> str:
        """The name of the function."""
        return f"{self.title}_{self.product.name}"

    def function(self, module: Module) -> str:
        """The function's text."""
        body = dots.DotsBody if self.title == "dots" else rows.RowsBody
        return body(module, self.product).function(self.name)


def transposed(p: MatrixProduct) -> MatrixProduct:
    """The transposed C as the product of the transposed B and A."""
    a, b, c = (Steps(x.column, x.row) for x in (p.b, p.a, p.c))
    return MatrixProduct(p.dtype, p.n, p.m, p.k, a, b, c)


def ways(p: MatrixProduct) -> list[Way]:
    """All ways to compute a product that is not empty."""
    found = []
    if rows.possible(p) and (p.c.column == 1 or p.m == 1):
        found.append(Way("rows", p, swapped=False, cost=rows.cost(p)))
    other = transposed(p)
    if p.m > 1 and rows.possible(other):
        found.append(Way("columns", other, swapped=True, cost=rows.cost(other)))
    if dots.possible(p):
        found.append(Way("dots", p, swapped=False, cost=dots.cost(p)))
    return found


def choice(p: MatrixProduct, *, held: bool = False) -> Way | None:
    """The best of the ways; None where BLAS does better, or must do it.

    Args:
        p: The product.
        held: Whether the BLAS is told to use no threads of its own when it is called.
    """
    limits = tuning(host().vector_bytes).products.get(p.dtype.itemsize)
    size = p.m * p.n * p.k
    if limits is None or not 0 < size <= most(p, limits, held=held):
        return None
    way = min(ways(p), key=lambda way: way.cost, default=None)
    return way if way and (p.m == 1 or way.cost <= library_cost(p, limits)) else None


def most(p: MatrixProduct, limits: Limits, *, held: bool) -> int:
    """The multiplications that we would do ourselves."""
    if p.m == 1:
        return limits.vector
    far = further() if min(p.m, p.n) <= SKINNY else nearby()
    near = p.dtype.itemsize * p.k * (p.m + width(p)) <= far
    return limits.alone if near and (held or threads() == 1) else limits.matrix


def width(p: MatrixProduct) -> int:
    """The columns of B; where its rows are long and many, those of all that it is a part of."""
    again = p.m * p.dtype.itemsize > FULL  # each is read for several tiles
    return max(p.n, p.b.row) if p.b.column == 1 and p.k >= deep() and again else p.n


def threads() -> int:
    """How many the BLAS may use."""
    blas = find()
    return 1 if blas is None else blas.threads()


def library_cost(p: MatrixProduct, limits: Limits) -> float:
    """About how many half cycles the BLAS takes for a product of matrices."""
    return limits.call + alone(p, limits) * (limits.across if dots.possible(p) else limits.plain)


def alone(p: MatrixProduct, limits: Limits) -> float:
    """The half cycles of its multiplications alone, by tiles of the BLAS."""
    lanes, weight = full_lanes(p.dtype), tuned().weight(host().vector_bytes)
    rows, columns = max(p.m, limits.narrow), max(p.n, limits.narrow)
    return weight * rows * columns * (p.k + limits.written) / lanes
