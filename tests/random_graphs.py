"""Random graphs over the whole table, for tests that hold for every graph.

A graph is the same for the same seed. On arguments from ``random_arguments`` its values stay finite
and of moderate size, and small differences of rounding stay small: what jumps (comparisons,
rounding, argmax, a cast to an integer) looks only at values that no rounding has touched. So a pass
may reassociate, and the meaning before and after can still be compared closely.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from graphjit.ir import TABLE, Aval, Graph, Primitive
from random_pool import BOOL, F32, F64, I32, I64, JUMPS, SHAPES, Bounds, Pool, values

LARGE = 20.0  # values beyond are brought back before anything else reads them

W = "Hg,Hg->Hg"  # a convolution of each column, and of its cotangents
KINDS = {"map": 60, "reduce": 10, "layout": 14, "contract": 6, "index": 6, "running": 4}
TAKES = {
    "copysign": ((-3, 3), (0.5, 3)),
    "left_shift": ((-3, 3), (0, 3)),
    "right_shift": ((-3, 3), (0, 3)),
}
MAPS = sorted(name for name, row in TABLE.items() if row.kind == "map" and row.ufunc is not None)
SPECIAL_MAPS = ("where", "cast", "strong_multiply", "wrap_index", "polygamma")


def random_graph(seed: int, size: int, *, smooth: bool = False) -> Graph:
    """A graph of about ``size`` nodes that ``verify`` accepts.

    Args:
        seed: Chooses the graph.
        size: The number of nodes is at least this, and seldom more than 10 above.
        smooth: Only floats and what is continuous in them; the first output is a float64
            scalar that depends on the inputs, so that the graph has a gradient.
    """
    return _Grower(np.random.default_rng((seed, size)), smooth=smooth).grown(size)


def random_arguments(graph: Graph, seed: int) -> list[Any]:
    """Arrays for the inputs: floats and integers from -2 to 2, booleans."""
    rng = np.random.default_rng((seed, 1))
    return [values(rng, graph.nodes[i].aval) for i in graph.inputs]


class _Grower(Pool):
    """Adds random nodes."""

    def __init__(self, rng: np.random.Generator, *, smooth: bool) -> None:
        super().__init__(rng)
        self.smooth = smooth

    def grown(self, size: int) -> Graph:
        dtypes = (F64, F64, F32) if self.smooth else (F64, F64, F32, I64, I32, BOOL)
        for dtype in dtypes:
            shape = SHAPES[self.rng.integers(1, len(SHAPES) - 1)]
            self.note(self.builder.input(Aval(shape, dtype)), (-2, 2), exact=True)
        weights = np.array(list(KINDS.values())) / sum(KINDS.values())
        while len(self.builder.nodes) < size:
            self.leaf()
            getattr(self, str(self.rng.choice(list(KINDS), p=weights)))()
            self.again()
        return self.builder.graph(self.outputs())

    def outputs(self) -> list[int]:
        """Some values that nothing reads, and sometimes one that is read, or is there twice."""
        read = set(itertools.chain.from_iterable(n.inputs for n in self.builder.nodes))
        free = [i for i in range(len(self.builder.nodes)) if i not in read and self.aval(i).size]
        chosen = [free[int(i)] for i in self.rng.permutation(len(free))[:3]]
        if self.smooth:
            return [self.total([i for i in free if self.aval(i).inexact])]
        return [*chosen, self.pick(), *chosen[:1]][: int(self.rng.integers(1, 6))]

    def total(self, idents: list[int]) -> int:
        """The sum of the means of many values: a scalar that depends on them all."""
        total = self.builder.constant(0.0)
        for ident in idents:
            flat = self.emit("sum", self.cast(ident, F64), axes=tuple(range(self.aval(ident).ndim)))
            scale = self.builder.constant(1 / self.aval(ident).size)
            total = self.builder.emit("add", total, self.builder.emit("multiply", flat, scale))
        return total

    # -- one method a kind ------------------------------------------------------------------------

    def usable(self, ident: int, *, exact: bool) -> bool:
        floats = not self.smooth or self.aval(ident).inexact
        return floats and (ident in self.exact or not exact)

    def map(self) -> None:
        row = TABLE[str(self.rng.choice([*MAPS, *SPECIAL_MAPS]))]
        if row.ufunc is None:
            self.special_map(row.name)
            return
        jumps = row.name in JUMPS
        if self.smooth and (row.partials is None or jumps):
            return
        kinds = "fib" if any("d" in loop for loop in row.ufunc.types) else "ib"
        operands = list[int]()

        def fits(ident: int) -> bool:
            usable = self.usable(ident, exact=jumps) and self.aval(ident).dtype.kind in kinds
            return usable and self.meets(ident, operands)

        for _ in range(row.ufunc.nin):
            operands.append(self.pick(fits))
        dtypes = self.loop(row, operands)
        if dtypes:
            operands = [self.cast(i, dtype) for i, dtype in zip(operands, dtypes, strict=True)]
            domains = self.domains(row, dtypes[0].kind)
            self.emit(
                row.name, *(self.within(i, d) for i, d in zip(operands, domains, strict=True))
            )

    def special_map(self, name: str) -> None:
        first = self.pick(lambda i: self.usable(i, exact=False))
        second = self.pick(lambda i: self.usable(i, exact=False) and self.meets(i, [first]))
        dtype = self.aval(first).dtype
        if name == "cast":
            self.emit("cast", first, dtype=F32 if dtype == F64 else F64)
        elif name == "strong_multiply" and dtype.kind == "f":
            self.emit(name, self.small(first), self.small(self.cast(second, dtype)))
        elif name == "polygamma" and dtype.kind == "f":
            whole = self.within(first, TABLE[name].domain)
            self.emit(name, whole, order=int(self.rng.integers(1, 4)))
        elif name == "wrap_index" and dtype.kind == "i":
            self.emit(name, self.within(first, (-3, 2)), size=3)
        elif name == "where":
            zero = self.number(0, dtype) if dtype.kind != "b" else first
            second = (
                first if dtype.kind != self.aval(second).dtype.kind else self.cast(second, dtype)
            )
            chosen = self.pick(lambda i: i in self.exact and self.meets(i, [first, second]))
            condition = self.emit("isfinite" if self.smooth else "greater", chosen, *(
                () if self.smooth else (self.number(0, self.aval(chosen).dtype),)))  # fmt: skip
            self.emit("where", condition, second, zero if self.rng.random() < 0.3 else first)

    def meets(self, ident: int, others: list[int]) -> bool:
        """Whether a value can be broadcast with others, and to no large array."""
        try:
            shape = np.broadcast_shapes(
                self.aval(ident).shape, *(self.aval(i).shape for i in others)
            )
        except ValueError:
            return False
        return math.prod(shape) <= 100

    def loop(self, row: Primitive, operands: list[int]) -> tuple[Any, ...] | None:
        """The dtypes that NumPy computes in, if the graph can hold them."""
        kinds = [self.aval(i).dtype for i in operands]
        common = np.result_type(*kinds)
        try:
            dtypes = row.ufunc.resolve_dtypes((*[common] * len(kinds), None))
        except TypeError:
            return None
        fine = all(d in {F64, F32, I64, I32, BOOL} for d in dtypes)
        jumps = any(
            d.kind in "bi" and i not in self.exact for d, i in zip(dtypes, operands, strict=False)
        )
        return dtypes[:-1] if fine and not jumps else None

    def domains(self, row: Primitive, kind: str) -> Iterator[Bounds]:
        domain = TAKES.get(row.name, row.domain)
        for position in range(row.ufunc.nin):
            low, high = domain[position] if isinstance(domain[0], tuple) else domain
            if kind == "i":  # the divisors and exponents of integers are 1 and more
                low, high = (
                    (1, 3)
                    if row.name in {"floor_divide", "remainder", "fmod", "power"} and position
                    else (low, high)
                )
            yield (low, high)

    def reduce(self) -> None:
        rows = (
            ["sum", "prod", "max", "min"]
            if self.smooth
            else ["sum", "prod", "max", "min", "any", "all", "argmax", "argmin"]
        )
        name = str(self.rng.choice(rows))
        jumps = name in JUMPS
        ident = self.pick(
            lambda i: (
                self.usable(i, exact=jumps) and self.aval(i).size > 0 and self.aval(i).ndim > 0
            )
        )
        ndim = self.aval(ident).ndim
        axes = tuple(a for a in range(ndim) if self.rng.random() < 0.6) or (ndim - 1,)
        if name in {"argmax", "argmin"}:
            axes = axes[:1]
        if name in {"any", "all"}:
            ident = self.cast(ident, BOOL)
        if name in {"sum", "prod"}:
            ident = self.cast(ident, I64) if self.aval(ident).dtype.kind in "bi" else ident
        ident = (
            self.within(ident, (-1.2, 1.2))
            if name == "prod"
            else self.within(ident, (-LARGE, LARGE))
        )
        self.emit(name, ident, axes=axes)

    def layout(self) -> None:
        ident = self.pick(lambda i: self.usable(i, exact=False))
        shape, ndim = self.aval(ident).shape, self.aval(ident).ndim
        match str(
            self.rng.choice(["broadcast", "reshape", "transpose", "slice", "embed", "concatenate"])
        ):
            case "broadcast" if self.aval(ident).size < 40:
                self.emit("broadcast", ident, shape=(2, *shape))
            case "reshape":
                self.emit(
                    "reshape",
                    ident,
                    shape=(1, *shape) if self.rng.random() < 0.5 else (math.prod(shape),),
                )
            case "transpose":
                self.emit("transpose", ident, axes=tuple(map(int, self.rng.permutation(ndim))))
            case "slice" if 0 not in shape:
                picked = [self.stretch(size) for size in shape]
                start, step, sizes = zip(*picked, strict=True) if picked else ((), (), ())
                self.emit("slice", ident, start=start, step=step, sizes=sizes)
            case "embed" if 0 not in shape:
                step = tuple(int(s) for s in self.rng.integers(1, 3, ndim))
                whole = tuple(1 + s * (n - 1) + 1 for n, s in zip(shape, step, strict=True))
                self.emit("embed", ident, shape=whole, start=(1,) * ndim, step=step)
            case "concatenate" if ndim > 0 and self.aval(ident).size < 40:
                dtype = self.aval(ident).dtype
                other = self.pick(
                    lambda i: self.aval(i).shape == shape and self.aval(i).dtype == dtype
                )
                self.emit("concatenate", ident, other, axis=int(self.rng.integers(ndim)))

    def stretch(self, size: int) -> tuple[int, int, int]:
        """Start, step and number of elements of a slice of an axis."""
        step = int(self.rng.choice([-2, -1, 1, 2]))
        count = int(self.rng.integers(1, (size - 1) // abs(step) + 2))
        room = size - 1 - abs(step) * (count - 1)
        first = int(self.rng.integers(room + 1))
        return (first if step > 0 else size - 1 - first), step, count

    def contract(self) -> None:
        spec = str(
            self.rng.choice(
                ["ij,jk->ik", "ij,kj->ik", "ij,ij->j", "i,j->ij", "i,i->", "ij,j->i", W]
            )
        )
        terms = spec.partition("->")[0].split(",")
        first = self.pick(lambda i: self.aval(i).ndim == len(terms[0]) and self.aval(i).inexact)
        sizes = dict(zip(terms[0], self.aval(first).shape, strict=True))

        def fits(ident: int) -> bool:
            aval = self.aval(ident)
            same = aval.ndim == len(terms[1]) and aval.dtype == self.aval(first).dtype
            return same and all(
                c.isupper() or sizes.get(c, n) == n
                for c, n in zip(terms[1], aval.shape, strict=False)
            )

        if not any(fits(i) for i in self.bounds):
            return
        if spec == W:
            window = (tuple(int(self.rng.integers(low, 3)) for low in (1, 1, 0)),)
            pair = self.small(first), self.small(self.pick(fits))
            more = {
                "of": str(self.rng.choice(list("xwy"))),
                "sizes": (int(self.rng.integers(1, 5)),),
            }
            self.emit("convolve", *pair, spec=spec, window=window, **more)
        else:
            self.emit("contract", self.small(first), self.small(self.pick(fits)), spec=spec)

    def index(self) -> None:
        ident = self.pick(
            lambda i: (
                self.usable(i, exact=False) and self.aval(i).ndim > 0 and self.aval(i).size > 0
            )
        )
        shape = self.aval(ident).shape
        axis = int(self.rng.integers(len(shape)))
        index = self.note(
            self.builder.constant(self.rng.integers(0, shape[axis], 4)),
            (0, shape[axis] - 1),
            exact=True,
        )
        picked = self.emit("gather", ident, index, axes=(axis,))
        if self.aval(ident).dtype.kind == "f" and self.rng.random() < 0.5:
            self.emit("scatter_add", self.small(picked), index, axes=(axis,), shape=shape)

    def running(self) -> None:
        ident = self.pick(lambda i: self.aval(i).inexact and self.aval(i).ndim > 0)
        axis, reverse = int(self.rng.integers(self.aval(ident).ndim)), bool(self.rng.random() < 0.5)
        ident = self.within(ident, (-LARGE, LARGE))
        if self.rng.random() < 0.6:
            self.emit("cumsum", ident, axis=axis, reverse=reverse)
            return
        decay = self.within(ident, (-0.9, 0.9))
        most = 10 * max(map(abs, self.bounds[ident]))
        result = self.builder.emit("recurrence", decay, ident, axis=axis, reverse=reverse)
        self.note(result, (-most, most), exact=False)
