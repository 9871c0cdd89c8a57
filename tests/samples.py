"""Operands for every row of the primitive table, and the means to trace and evaluate."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from graphjit.ir import TABLE, Aval, Builder, Graph, Primitive, Symbol, evaluate

Shape = tuple[int, ...]
SHAPES: tuple[Shape, ...] = ((), (0,), (1,), (3,), (2, 3), (0, 3))
FLOATS = (np.dtype(np.float64), np.dtype(np.float32))
BITS = ["bitwise_and", "bitwise_or", "bitwise_xor", "left_shift", "right_shift"]
LOGIC = ["logical_and", "logical_or", "logical_xor"]
MIXED = {"where": ("?", "f", "f"), "logical_not": ("?",), "invert": ("i",), "wrap_index": ("i",)}
MIXED |= dict.fromkeys(BITS, ("i", "i")) | dict.fromkeys(LOGIC, ("?", "?"))
MAP_PARAMS: dict[str, dict[str, Any]] = {
    "cast": {"dtype": np.dtype(np.float64)},
    "wrap_index": {"size": 3},
    "polygamma": {"order": 1},
}
LAST, BOTH = {"axes": (-1,)}, {"axes": (0, 1)}


class Sample(NamedTuple):
    """One call of a row: a shape and a kind (``f i ?``) for each operand, and the parameters.

    ``size`` bounds integers, which are indices where a row takes them.
    """

    op: str
    shapes: tuple[Shape, ...]
    kinds: tuple[str, ...]
    params: Mapping[str, Any] = MappingProxyType({})
    size: int = 3

    def __str__(self) -> str:
        return f"{self.op}-{'-'.join('x'.join(map(str, s)) or '0d' for s in self.shapes)}"

    @property
    def row(self) -> Primitive:
        return TABLE[self.op]

    def operands(self, dtype: Any) -> tuple[np.ndarray[Any, Any], ...]:
        """Arrays drawn from the row's domain with a fixed seed."""
        generator = np.random.default_rng(zlib.crc32(str(self).encode()))
        domains = self.row.domain
        if not isinstance(domains[0], tuple):
            domains = (domains,) * len(self.shapes)
        return tuple(
            draw(generator, shape, kind, dtype, domain, self.size)
            for shape, kind, domain in zip(self.shapes, self.kinds, _padded(domains), strict=False)
        )


def _padded(domains: Sequence[Any]) -> Iterator[Any]:
    yield from domains
    while True:
        yield domains[-1]


def draw(
    generator: np.random.Generator, shape: Shape, kind: str, dtype: Any, domain: Any, size: int
) -> np.ndarray[Any, Any]:
    """Floats of the domain, away from kinks at whole numbers; small integers; or booleans."""
    if kind == "?":
        return generator.random(shape) < 0.5
    if kind == "i":
        return np.asarray(generator.integers(0, size, shape))
    low, high = domain
    values = np.asarray(generator.uniform(low, high, shape))
    near = np.abs(values - np.rint(values)) < 0.02
    return np.asarray(
        np.where(near, values + 0.04 * np.sign(np.mean(domain) - values), values), dtype
    )


def call(op: str, *shapes: Shape, kinds: str = "", size: int = 3, **params: Any) -> Sample:
    return Sample(op, shapes, tuple(kinds or "f" * len(shapes)), params, size)


def maps() -> Iterator[Sample]:
    """Every map on every shape."""
    for row in TABLE.values():
        if row.kind == "map":
            kinds = MIXED.get(row.name) or ("f",) * arity(row)
            for shape in SHAPES:
                params = MAP_PARAMS.get(row.name, {})
                yield Sample(row.name, (shape,) * len(kinds), kinds, params)


def arity(row: Primitive) -> int:
    """How many operands a map takes."""
    return (
        int(row.ufunc.nin) if row.ufunc is not None else 2 if row.name == "strong_multiply" else 1
    )


REDUCE_SHAPES: tuple[tuple[Shape, tuple[int, ...]], ...] = (
    ((3,), (0,)), ((2, 3), (1,)), ((2, 3), (0, 1)), ((2, 3, 4), (0, 2)), ((1, 3), (0,)),
    ((0, 3), (1,)),
)  # fmt: skip
SUM_SHAPES: tuple[tuple[Shape, tuple[int, ...]], ...] = (
    *REDUCE_SHAPES,
    ((0, 3), (0,)),
    ((0,), (0,)),
)
OTHERS: tuple[Sample, ...] = (
    *(call(op, shape, axes=axes) for op in ("sum", "prod") for shape, axes in SUM_SHAPES),
    *(call(op, shape, axes=axes) for op in ("max", "min") for shape, axes in REDUCE_SHAPES),
    *(call(op, shape, axes=axes, kinds="?") for op in ("any", "all") for shape, axes in SUM_SHAPES),
    *(
        call(op, s, axes=(0,))
        for op in ("argmax", "argmin")
        for s in ((3,), (2, 3), (1, 0), (3, 0))
    ),
    *(
        call("cumsum", shape, axis=axis, reverse=reverse)
        for shape, axis in (((4,), 0), ((2, 3), 1), ((3, 2), 0), ((0,), 0), ((0, 3), 1))
        for reverse in (False, True)
    ),
    *(
        call("recurrence", shape, shape, axis=axis, reverse=reverse)
        for shape, axis in (((4,), 0), ((2, 3), 1), ((3, 2), 0), ((0,), 0), ((0, 3), 1))
        for reverse in (False, True)
    ),
    call("broadcast", (), shape=(2, 3)),
    call("broadcast", (3, 1), shape=(2, 3, 4)),
    call("broadcast", (1,), shape=(0,)),
    call("broadcast", (1, 1), shape=(1, 2, 1)),
    call("reshape", (2, 3), shape=(3, 2)),
    call("reshape", (), shape=(1, 1)),
    call("reshape", (0, 3), shape=(3, 0, 2)),
    call("transpose", (2, 3, 4), axes=(2, 0, 1)),
    call("transpose", (0, 3), axes=(1, 0)),
    call("slice", (5,), start=(4,), step=(-2,), sizes=(3,)),
    call("slice", (4, 5), start=(1, 0), step=(2, 1), sizes=(2, 3)),
    call("slice", (3,), start=(0,), step=(1,), sizes=(0,)),
    call("slice", (3, 2), start=(2, 1), step=(-1, -1), sizes=(3, 2)),
    call("embed", (3,), shape=(5,), start=(4,), step=(-2,)),
    call("embed", (2, 3), shape=(4, 5), start=(1, 0), step=(2, 1)),
    call("embed", (0,), shape=(3,), start=(0,), step=(1,)),
    call("hold", (2, 3), (), kinds="fi"),
    call("hold", (0,), (2,), kinds="fi"),
    call("concatenate", (2, 3), (2, 1), (2, 0), axis=1),
    call("concatenate", (0,), (3,), axis=0),
    call("contract", (2, 3), (3, 4), spec="ij,jk->ik"),
    call("contract", (5, 2, 3), (5, 4, 3), spec="bij,bkj->kbi"),
    call("contract", (3,), (3,), spec="i,i->"),
    call("contract", (2, 3, 4), (3, 2), spec="ijk,ji->k"),
    call("contract", (2, 0), (0, 3), spec="ij,jk->ik"),
    call("contract", (0, 2), (2, 3), spec="ij,jk->ik"),
    call("contract", (1, 3), (3, 1), spec="ij,jk->ik"),
    *(
        call("convolve", *shapes, spec="nHc,Hco->nHo", of=of, window=window, sizes=sizes)
        for of, shapes, window, sizes in (
            ("y", ((2, 5, 3), (3, 3, 2)), ((1, 1, 1),), (5,)),
            ("y", ((1, 6, 2), (2, 2, 4)), ((2, 3, 0),), (2,)),
            ("x", ((2, 3, 4), (3, 2, 4)), ((1, 1, 0),), (5,)),
            ("x", ((2, 2, 4), (2, 3, 4)), ((3, 1, 1),), (6,)),
            ("w", ((3, 5, 2), (3, 2, 3)), ((2, 1, 1),), (4,)),
            ("y", ((0, 5, 3), (3, 3, 2)), ((1, 1, 1),), (5,)),
            ("w", ((0, 5, 3), (0, 5, 2)), ((1, 1, 1),), (3,)),
        )
    ),
    call(
        "convolve",
        (3, 5, 4, 2),
        (3, 2, 2),
        spec="nHWg,HWg->nHWg",
        of="y",
        window=((1, 1, 1), (2, 1, 0)),
        sizes=(5, 2),
    ),
    call("gather", (4, 3), (2,), kinds="fi", axes=(0,), size=4),
    call("gather", (4, 3), (), kinds="fi", axes=(1,)),
    call("gather", (3, 2, 3), (2, 2), (2, 2), kinds="fii", axes=(0, 2)),
    call("gather", (3, 2), (0,), kinds="fi", axes=(0,)),
    call("scatter_add", (5, 3), (5,), kinds="fi", axes=(0,), shape=(4, 3), size=4),
    call("scatter_add", (4,), (), kinds="fi", axes=(1,), shape=(4, 3)),
    call("scatter_add", (4, 2), (4,), (4,), kinds="fii", axes=(0, 2), shape=(3, 2, 3)),
    call("scatter_add", (0, 2), (0,), kinds="fi", axes=(0,), shape=(3, 2)),
    call("iota", shape=(2, 3), axis=1, dtype=np.dtype(np.int64)),
    call("iota", shape=(0,), axis=0, dtype=np.dtype(np.float32)),
    call("constant", value=np.arange(3.0)),
)
SAMPLES: tuple[Sample, ...] = (*maps(), *OTHERS)


def trace(function: Callable[..., Any], *args: Any, level: int = 0) -> tuple[Graph, list[Any]]:
    """The graph of a function at these arguments, and the arrays it captured.

    A Python float is traced as a weak symbol; ints, booleans and the like stay as they are.
    """
    builder = Builder(level=level)
    operands = [traced(builder, arg) for arg in args]
    results = function(*operands)
    outputs = list(results) if isinstance(results, tuple | list) else [results]
    ids = [output_id(builder, o) for o in outputs]
    builder.closed = True
    return builder.graph(ids), builder.captured


def traced(builder: Builder, arg: Any) -> Any:
    if type(arg) is float:
        return Symbol(builder, builder.input(Aval((), np.dtype(float))), weak=True)
    if isinstance(arg, np.ndarray | np.generic):
        return Symbol(builder, builder.input(Aval(arg.shape, arg.dtype)))
    return arg


def output_id(builder: Builder, value: Any) -> int:
    return value.id if isinstance(value, Symbol) else builder.constant(value)


def run(function: Callable[..., Any], *args: Any) -> list[Any]:
    """The results of a function, traced at these arguments and evaluated on them."""
    graph, captured = trace(function, *args)
    arrays = [a for a in args if type(a) is float or isinstance(a, np.ndarray | np.generic)]
    return list(evaluate(graph, *arrays, *captured))
