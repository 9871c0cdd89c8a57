"""Large products by panels of rows, so that what is done to a result is done while it is near.

A bias, an activation and the next layer's product follow on a product of many rows. Panel by panel
they find each other's results in the cache, and what is between them needs memory for one panel
only. ``share`` puts the loops together; here is said which products it may cut, and whether what
came of it is worth it. Measured with one thread, vectors of 64 bytes, float32 and a second cache of
1 MB: layers 64-256-64 of 10,000 rows take 0.83 of the time, a layer of 4096 rows and 512 columns
0.82 to 0.95 where it sums 32 to 256 terms and 0.94 where it sums 512. Where products are long and
rows are not a multiple of vectors it may be a loss: 1.06 for 100-300-300-5 of 3000 rows.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from graphjit.codegen.loops import (
    Address,
    For,
    Gemm,
    Kernel,
)
from graphjit.codegen.nest import NAMES
from graphjit.codegen.walks import walk, writes

# Rows of a panel: with fewer a call reads the second operand too often, with more the result leaves
# the second cache. Near a divisor is looked for, since all panels are alike.
ROWS, NEAR, FEWEST = 128, range(64, 257), 8
# Bytes that need not go through memory, at least: in a row, or else the calls cost more than is
# won; and in all, or else they stay in the cache anyway.
ROW, WORTH = 512, 4 << 20


def cut(kernels: Iterable[Kernel]) -> dict[str, Kernel]:
    """The products that are large enough, as loops over panels, by the buffer that each writes."""
    found: dict[str, Kernel] = {}
    for kernel in kernels:
        s = kernel.statements[0] if len(kernel.statements) == 1 else None
        if isinstance(s, Gemm) and not s.transpose_a and (rows := panel(s.m)):
            loop = For(NAMES[0], s.m // rows, [in_panel(s, rows)])
            found[s.c.buffer.name] = Kernel(kernel.title, [loop], kernel.origin)
    return found


def panel(rows: int) -> int:
    """How many rows a panel has; 0 where there are too few, or they cannot be divided."""
    if rows < FEWEST * NEAR[0]:
        return 0
    even = [n for n in NEAR if rows % n == 0 and rows // n >= FEWEST]
    return min(even, key=lambda n: abs(n - ROWS), default=0)


def in_panel(s: Gemm, rows: int) -> Gemm:
    """The product of some rows, for the turn of a loop."""

    def moved(address: Address, step: int) -> Address:
        return address._replace(terms=(*address.terms, (NAMES[0], rows * step)))

    return s._replace(m=rows, a=moved(s.a, s.lda), c=moved(s.c, s.ldc))


def target(kernel: Kernel) -> str:
    """The buffer that a product by itself writes; else nothing."""
    s = kernel.statements[0] if len(kernel.statements) == 1 else None
    return s.c.buffer.name if isinstance(s, Gemm) else ""


def worthless(loop: For, panels: Collection[str], elsewhere: Collection[str]) -> set[str]:
    """The products of a loop that had better be whole, by what they write.

    They had where something is kept for later: then it goes through memory in any case, and
    nothing can be written over it.

    Args:
        loop: A loop over panels, or another.
        panels: What the products in panels write.
        elsewhere: The buffers that are needed outside of the loop.
    """
    products = [s for s in walk(loop.body) if isinstance(s, Gemm) and s.c.buffer.name in panels]
    work = {b for s in walk(loop.body) for b in writes(s) if b.role == "work"}
    size = sum(b.size * b.dtype.itemsize for b in work)
    near = not any(b.name in elsewhere for b in work)
    rows = max((loop.extent * s.m for s in products), default=0)
    if near and size >= max(WORTH, ROW * rows):
        return set()
    return {s.c.buffer.name for s in products}
