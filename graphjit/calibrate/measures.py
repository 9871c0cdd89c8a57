"""The numbers of ``graphjit.tuning`` that can be measured, measured."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from graphjit.calibrate.timing import nanoseconds, program_of, timed
from graphjit.codegen.llvm_matrix import MatrixProduct, Steps
from graphjit.codegen.llvm_matrix_choice import alone, threads, ways
from graphjit.tuning import RANGES, Tuning

SHAPES = (
    (4, 4, 4), (8, 8, 8), (32, 16, 10), (32, 16, 16), (32, 3, 50), (32, 32, 64), (128, 10, 32),
    (128, 10, 128), (64, 64, 64), (8, 256, 64), (96, 96, 96), (128, 128, 256), (1000, 8, 200),
)  # fmt: skip
CALLS = (50, 100, 200, 300, 400, 500, 700, 1000, 1500, 2000)  # half cycles that are tried
SLOPES = tuple(round(0.8 + 0.05 * i, 2) for i in range(50))
GAIN = 0.01  # of a product's time: what is lost on average that is worth other numbers
LADDER = (64, 96, 128, 192, 256)
SUMMED = 3000  # float64 values that the first cache holds
SUMS = (2, 4, 8)
EVEN = 1.03  # of another's time is no slower
NOISE = 1.1  # of another's time may be as fast: a sum takes but 100 nanoseconds


class Product(NamedTuple):
    """A product: of A and B, or, ``across``, of A and B transposed."""

    shape: tuple[int, int, int]
    dtype: np.dtype[np.generic]
    across: bool = False

    @property
    def strides(self) -> MatrixProduct:
        """How its operands lie."""
        m, n, k = self.shape
        b = Steps(1, k) if self.across else Steps(n, 1)
        return MatrixProduct(self.dtype, m, n, k, Steps(k, 1), b, Steps(n, 1))


class Trial(NamedTuple):
    """What a product is counted to take by ours, and its multiplications alone; and what it takes.

    The first two are half cycles, the others nanoseconds.
    """

    cost: int
    alone: float
    own: float
    library: float


class Times(NamedTuple):
    """The nanoseconds of a product by a function of our own, and by the BLAS."""

    own: float
    library: float


def times(product: Product, table: Tuning) -> Times:
    """Measure both ways, in turn."""
    args, function = operands(product), multiplied(product)
    programs = {
        name: timed(program_of(function, args, chosen), args)
        for name, chosen in both(product, table).items()
    }
    return Times(**nanoseconds(programs))


def operands(product: Product) -> list[Any]:
    """A and B."""
    (m, n, k), rng = product.shape, np.random.default_rng(0)
    shapes = (m, k), (n, k) if product.across else (k, n)
    return [rng.standard_normal(shape).astype(product.dtype) for shape in shapes]


def multiplied(product: Product) -> Callable[[Any, Any], Any]:
    """The product as a function in NumPy."""
    return lambda a, b: a @ (b.T if product.across else b)


def both(product: Product, table: Tuning) -> dict[str, Tuning]:
    """Numbers with which a product is a function of our own, and a call of the BLAS."""
    size, most = product.dtype.itemsize, 1 << 40
    limits = table.products[size]
    ways = {
        "own": limits._replace(call=most, matrix=most, alone=most),
        "library": limits._replace(call=0, plain=0.0, across=0.0),
    }
    return {n: table._replace(products={**table.products, size: x}) for n, x in ways.items()}


def measured(table: Tuning) -> Iterator[tuple[str, float]]:
    """Each number under the name that ``graphjit.tuning.numbers`` has for it."""
    yield "unrolled", unrolled(table)
    for size, dtype in ((4, np.dtype(np.float32)), (8, np.dtype(np.float64))):
        found = library(dtype, table)
        for name, value in found.items():
            low, high = RANGES[name]
            yield f"{name} f{size}", min(max(value, low), high)


def library(dtype: np.dtype[np.generic], table: Tuning) -> dict[str, float]:
    """How fast the BLAS is counted to be, so that the faster way is taken most often."""
    forms = {"plain": [Product(s, dtype) for s in SHAPES]}
    forms["across"] = [Product(s, dtype, across=True) for s in SHAPES]
    trials = {name: [trial(p, table) for p in products] for name, products in forms.items()}
    limits = table.products[dtype.itemsize]
    found = fitted(trials, {"call": limits.call, "plain": limits.plain, "across": limits.across})
    if threads() == 1:
        found["alone"] = largest(dtype, table)
    return found


def trial(p: Product, table: Tuning) -> Trial:
    """A product, measured."""
    cost = min(way.cost for way in ways(p.strides))
    limits = table.products[p.dtype.itemsize]
    return Trial(cost, alone(p.strides, limits), *times(p, table))


def fitted(trials: Mapping[str, Sequence[Trial]], before: Mapping[str, float]) -> dict[str, float]:
    """The costs of a call and of each form with which least is lost; as before, if that is near."""
    best: tuple[float, dict[str, float]] = (math.inf, {})
    for call in (before["call"], *CALLS):
        chosen, total = {"call": call}, 0.0
        for name, measured in trials.items():
            slopes = (before[name], *SLOPES)
            losses = [lost(measured, call, slope) for slope in slopes]
            least = min(range(len(slopes)), key=lambda i: (losses[i], abs(slopes[i] - slopes[0])))
            chosen[name] = slopes[least]
            total += losses[least]
        best = min(best, (total, chosen), key=lambda pair: pair[0])
    now = sum(lost(measured, before["call"], before[name]) for name, measured in trials.items())
    count = sum(map(len, trials.values()))
    return best[1] if now - best[0] > GAIN * count else dict(before)


def lost(trials: Sequence[Trial], call: float, slope: float) -> float:
    """By how much products take longer than in the better of both ways, as logarithms."""
    taken = [t.own if t.cost <= call + slope * t.alone else t.library for t in trials]
    return math.fsum(
        math.log(time / min(t.own, t.library)) for time, t in zip(taken, trials, strict=True)
    )


def largest(dtype: np.dtype[np.generic], table: Tuning) -> float:
    """The multiplications of the largest square product for which we are as good."""
    best = RANGES["alone"][0]
    for n in LADDER:
        own, library_time = times(Product((n, n, n), dtype), table)
        if own > EVEN * library_time:
            return best
        best = float(n**3)
    return max(best, float(table.products[dtype.itemsize].alone))


def unrolled(table: Tuning) -> int:
    """How many sums under way are fastest; those in force, if they are as fast."""
    x = np.random.default_rng(0).standard_normal(SUMMED)
    choices = sorted({table.unrolled, *SUMS})
    programs = {
        count: timed(program_of(np.sum, [x], table._replace(unrolled=count)), [x])
        for count in choices
    }
    found = nanoseconds(programs)
    best = min(choices, key=found.__getitem__)
    return table.unrolled if found[table.unrolled] <= NOISE * found[best] else best
