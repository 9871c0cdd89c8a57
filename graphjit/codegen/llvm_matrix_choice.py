"""Which products are functions of our own, and of which kind; the others are calls of the BLAS."""

from __future__ import annotations

from graphjit.codegen import llvm_matrix_dots as dots
from graphjit.codegen import llvm_matrix_rows as rows
from graphjit.codegen.blas import find
from graphjit.codegen.llvm_matrix import MatrixProduct, Steps, full_lanes, weight
from graphjit.codegen.llvm_text import Module
from graphjit.codegen.native import host
from graphjit.records import NamedTuple
from graphjit.tuning import Limits, caches, tuning

NARROW = 8  # rows and columns of a tile of the BLAS, whatever is asked for
WRITTEN = 4  # multiplications that cost what writing their sum does


SKINNY = 32  # rows or columns of a result for which the large operand is read but once or twice


def nearby() -> int:
    """The bytes of both operands up to which they stay in the second cache, or nearly."""
    return 2 * caches().second


def further() -> int:
    """The bytes up to which we are as good where the result is skinny."""
    return 8 * caches().second


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
    near = p.dtype.itemsize * p.k * (p.m + p.n) <= far
    return limits.alone if near and (held or threads() == 1) else limits.matrix


def threads() -> int:
    """How many the BLAS may use."""
    blas = find()
    return 1 if blas is None else blas.threads()


def library_cost(p: MatrixProduct, limits: Limits) -> float:
    """About how many half cycles the BLAS takes for a product of matrices."""
    return limits.call + alone(p) * (limits.across if dots.possible(p) else limits.plain)


def alone(p: MatrixProduct) -> float:
    """The half cycles of its multiplications alone, by tiles of the BLAS."""
    lanes = full_lanes(p.dtype)
    rows, columns = max(p.m, NARROW), max(p.n, NARROW)
    return weight(lanes, p.dtype) * rows * columns * (p.k + WRITTEN) / lanes
