"""The values that a random graph has so far, each with the bounds that it lies between."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from graphjit.ir import TABLE, Aval, Builder, Origin, Primitive
from graphjit.ir.aval import DType

F64, F32 = np.dtype(np.float64), np.dtype(np.float32)
I64, I32, BOOL = np.dtype(np.int64), np.dtype(np.int32), np.dtype(np.bool_)
SHAPES = ((), (3,), (1,), (2, 3), (4, 1), (2, 1, 3), (4, 3), (0, 3))
FILES = ("/home/ada/model.py", "/home/ada/lib/layers.py", "/home/bob/lib/layers.py", "<stdin>")
JUMPS = frozenset({
    "less", "less_equal", "greater", "greater_equal", "equal", "not_equal", "sign", "signbit",
    "floor", "ceil", "trunc", "rint", "floor_divide", "remainder", "fmod", "heaviside", "copysign",
    "logical_and", "logical_or", "logical_xor", "logical_not", "argmax", "argmin", "any", "all",
})  # fmt: skip
EXACT = JUMPS | {
    "negative", "positive", "absolute", "fabs", "maximum", "minimum", "fmax", "fmin", "where",
    "cast", "max", "min", "isnan", "isinf", "isfinite",
}  # fmt: skip
Bounds = tuple[float, float]


def values(rng: np.random.Generator, aval: Aval) -> Any:
    if aval.dtype.kind == "f":
        return rng.uniform(-2, 2, aval.shape).astype(aval.dtype)
    low, high = (0, 2) if aval.dtype.kind == "b" else (-2, 3)
    return rng.integers(low, high, aval.shape).astype(aval.dtype)


class Pool:
    """Builds a graph and knows of its values between which numbers they lie.

    Attributes:
        bounds: The bounds of each value, for arguments from ``random_arguments``.
        exact: The values that are the same to the bit however the graph is rewritten.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.builder = Builder(self.origin)
        self.bounds: dict[int, Bounds] = {}
        self.exact = set[int]()

    def origin(self) -> Origin | None:
        if self.rng.random() < 0.1:
            return None
        file = FILES[self.rng.integers(len(FILES))]
        return Origin(file, int(self.rng.integers(1, 100)), bool(self.rng.random() < 0.3))

    def aval(self, ident: int) -> Aval:
        return self.builder.nodes[ident].aval

    def note(self, ident: int, bounds: Bounds, *, exact: bool) -> int:
        self.bounds.setdefault(ident, bounds)
        if exact:
            self.exact.add(ident)
        return ident

    def pick(self, fits: Callable[[int], bool] = lambda _: True) -> int:
        """A value that fits, late ones more often; an input or constant if there is no other."""
        found = [i for i in self.bounds if fits(i)]
        if not found:
            return self.fresh(fits)
        return found[-1 - min(int(self.rng.exponential(len(found) / 3 + 1)), len(found) - 1)]

    def fresh(self, fits: Callable[[int], bool]) -> int:
        shapes: tuple[tuple[int, ...], ...] = ((2, 3), (3,), (), (2, 1, 3))
        dtypes: tuple[DType, ...] = (F64, I64, BOOL, F32)
        for shape, dtype in itertools.product(shapes, dtypes):
            bounds: Bounds = (0, 1) if dtype == BOOL else (-2, 2)
            ident = self.note(
                self.builder.constant(values(self.rng, Aval(shape, dtype))), bounds, exact=True
            )
            if fits(ident):
                return ident
        raise AssertionError("nothing fits")

    def leaf(self) -> None:
        """Now and then a constant (often one that simplifies) or a count along an axis."""
        chance = self.rng.random()
        if chance < 0.1:
            value = float(self.rng.choice([0.0, 1.0, -1.0, 2.0, 0.5, -0.0]))
            dtype = F32 if self.rng.random() < 0.3 else F64
            self.note(self.builder.constant(value, dtype), (value, value), exact=True)
        elif chance < 0.13:
            axis = int(self.rng.integers(2))
            shape = SHAPES[3]
            ident = self.builder.emit("iota", shape=shape, axis=axis, dtype=F64)
            self.note(ident, (0, shape[axis]), exact=True)

    def again(self) -> None:
        """Now and then a node that is there already, for passes that merge."""
        if self.rng.random() < 0.1:
            node = self.builder.nodes[self.rng.integers(len(self.builder.nodes))]
            if node.op not in {"input", "constant"} and node.id in self.bounds:
                ident = self.builder.emit(node.op, *node.inputs, **node.params)
                self.note(ident, self.bounds[node.id], exact=node.id in self.exact)

    # -- adding operations ------------------------------------------------------------------------

    def emit(self, op: str, *operands: int, **params: Any) -> int:
        """Add a node whose bounds are found by trying the corners and middles of its operands'."""
        ident = self.builder.emit(op, *operands, **params)
        exact = all(i in self.exact for i in operands)
        keeps = (
            op in EXACT
            or TABLE[op].kind in {"layout", "index"}
            or self.aval(ident).dtype.kind in "biu"
        )
        low, high = self.reach(TABLE[op], operands, params)
        return self.note(ident, (low, high), exact=exact and keeps)

    def reach(self, row: Primitive, operands: tuple[int, ...], params: dict[str, Any]) -> Bounds:
        if row.kind == "map":
            return self.map_reach(row, operands, params)
        lows, highs = zip(*(self.bounds[i] for i in operands), strict=True)
        low, high = min(0, *lows), max(0, *highs)
        if row.name in {"argmax", "argmin"}:
            return 0, max(self.aval(operands[0]).shape)
        if row.kind == "contract":
            most = max(map(abs, self.bounds[operands[0]])) * max(map(abs, self.bounds[operands[1]]))
            terms = self.aval(operands[0]).size * self.aval(operands[1]).size
            return -most * max(terms, 1), most * max(terms, 1)
        many = (
            max(1, *(self.aval(i).size for i in operands))
            if row.name in {"sum", "cumsum", "scatter_add"}
            else 1
        )
        return min(low * many, 0), max(high * many, 0)

    def map_reach(
        self, row: Primitive, operands: tuple[int, ...], params: dict[str, Any]
    ) -> Bounds:
        fine = (0, 65, 17, 7)[len(operands)]
        grids = [np.linspace(*self.bounds[i], fine).astype(self.aval(i).dtype) for i in operands]
        points = [np.ravel(axis) for axis in np.meshgrid(*grids, indexing="ij")]
        with np.errstate(all="ignore"):
            values = np.asarray(row.numpy(*points, **params))
        assert np.isfinite(values).all(), (row.name, [self.bounds[i] for i in operands])
        low, high = float(values.min()), float(values.max())
        margin = 0.03 * (high - low) if values.dtype.kind == "f" else 0.0  # the grid has gaps
        return low - margin, high + margin

    def cast(self, ident: int, dtype: Any) -> int:
        """The value in another dtype; what goes to integers must be exact, so that it is stable."""
        if self.aval(ident).dtype == dtype:
            return ident
        low, high = self.bounds[ident]
        cast = self.builder.cast(ident, dtype)
        bounds = (0.0, 1.0) if dtype == BOOL else (math.floor(low), math.ceil(high))
        return self.note(
            cast, (low, high) if dtype.kind == "f" else bounds, exact=ident in self.exact
        )

    def within(self, ident: int, domain: Bounds) -> int:
        """The value, brought into an interval if it could lie outside."""
        low, high = self.bounds[ident]
        if domain[0] <= low and high <= domain[1]:
            return ident
        dtype, exact = self.aval(ident).dtype, ident in self.exact
        if dtype.kind == "f" and not exact:
            half, middle = (domain[1] - domain[0]) / 2 * 0.98, (domain[0] + domain[1]) / 2
            wave = self.emit("sin", ident)
            scaled = self.emit("multiply", wave, self.number(half, dtype))
            result = self.emit("add", scaled, self.number(middle, dtype))
        else:
            least = self.emit(
                "maximum",
                ident,
                self.number(math.ceil(domain[0]) if dtype.kind != "f" else domain[0], dtype),
            )
            result = self.emit(
                "minimum",
                least,
                self.number(math.floor(domain[1]) if dtype.kind != "f" else domain[1], dtype),
            )
        low, high = self.bounds[result]
        self.bounds[result] = max(low, domain[0]), min(high, domain[1])
        return result

    def number(self, value: float, dtype: Any) -> int:
        ident = self.builder.constant(value, dtype)
        held = float(self.builder.nodes[ident].params["value"])
        return self.note(ident, (held, held), exact=True)

    def small(self, ident: int) -> int:
        return self.within(ident, (-3, 3))
