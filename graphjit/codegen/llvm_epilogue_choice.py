"""By which tiles a product and its epilogue are computed, and whether that pays."""

from __future__ import annotations

from functools import cache

from graphjit.codegen.epilogues import Epilogue
from graphjit.codegen.llvm_loops import calls, power_of_two
from graphjit.codegen.llvm_matrix import full_lanes, powers, tuned
from graphjit.codegen.llvm_matrix_rows import PANEL
from graphjit.codegen.llvm_product import Tiling
from graphjit.codegen.native import Host, host
from graphjit.ir.aval import DType
from graphjit.tuning import Tiles

MORE = 1.05  # for rows that are left over: their tile is written apart


def tiling_of(e: Epilogue) -> Tiling:
    """The tile for a product and its epilogue."""
    s, numbers = e.product, tuned()
    body = len(e.body) + numbers.called * calls(e.body)
    return tiling(s.c.buffer.dtype, (s.m, s.n, s.k), body, host(), numbers)


@cache
def tiling(dtype: DType, shape: tuple[int, int, int], body: int, _: Host, numbers: Tiles) -> Tiling:
    """The tile of the least cost for a shape and a body, on this processor."""
    m, n = shape[:2]
    return min(
        (
            Tiling(lanes, vectors, 0, rows)
            for lanes in powers(min(full_lanes(dtype), power_of_two(n)))
            for vectors in range(1, min(numbers.finished, -(-n // lanes)) + 1)
            for rows in range(1, min(m, numbers.finished // vectors) + 1)
        ),
        key=lambda t: tiles_cost(t, dtype, shape, body, numbers),
    )


def tiles_cost(
    t: Tiling, dtype: DType, shape: tuple[int, int, int], body: int, numbers: Tiles
) -> float:
    """About how many half cycles the tiles take: they multiply, load, or wait for sums."""
    (m, n, k), wide = shape, numbers.weight(t.lanes * dtype.itemsize)
    panels, rest = divmod(-(-n // t.lanes), t.vectors)
    total = 0.0
    for count, vectors in ((panels, t.vectors), (1, rest)):
        size = t.part * vectors * wide
        step = max(size, t.part + vectors * wide, numbers.busy)
        done = t.part * vectors * body * (wide + 1) / 2  # of wide ones half as many begin
        total += count * bool(vectors) * (k * step + done + numbers.begun)
    return -(-m // t.part) * total * (1 if m % t.part == 0 else MORE)


def pays(e: Epilogue, alone: int) -> bool:
    """Whether a product takes no longer by such tiles than by itself, and what its loop waits."""
    s, dtype, numbers = e.product, e.product.c.buffer.dtype, tuned()
    size = s.k * s.n * dtype.itemsize
    if s.transpose_b and size > PANEL:
        return False
    packed = numbers.stalled + size // 8 if s.transpose_b else 0
    full = full_lanes(dtype)
    read = s.m * -(-s.n // full) * numbers.weight(full * dtype.itemsize)
    waits = numbers.stalled * s.m if e.row and s.n % full else 0
    tiles = tiles_cost(tiling_of(e), dtype, (s.m, s.n, s.k), 0, numbers)
    return tiles + packed <= alone + read + waits
