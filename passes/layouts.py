"""Rules for what moves, gathers and reduces elements, as ``simplify`` applies them.

All are exact, except where the docstring says *rounding* (see ``algebra``).
"""

from __future__ import annotations

import math

from graphjit.ir.primitive import TABLE
from graphjit.ir.table.contract import terms
from graphjit.passes.choices import holds_count
from graphjit.passes.rewrite import Rules, Site, Term

# -- layout -------------------------------------------------------------------------------------


def number_stays(site: Site, x: Term) -> Term | None:
    """Moving the elements of a broadcast scalar changes nothing but the shape."""
    return site.full(x[0]) if x.op == "broadcast" and x[0].shape == () else None


def to_own_shape(site: Site, x: Term) -> Term | None:
    """A reshape or broadcast to the shape that is there."""
    return x if x.shape == site.shape else None


def reshape_again(site: Site, x: Term) -> Term | None:
    """reshape(reshape(x)) is one reshape of x."""
    return site.make("reshape", x[0], shape=site.shape) if x.op == "reshape" else None


def broadcast_again(site: Site, x: Term) -> Term | None:
    """broadcast(broadcast(x)) is one; so is broadcast(reshape(x)) that adds or drops leading 1s."""
    if x.op == "broadcast":
        return site.full(x[0])
    if x.op == "reshape" and x[0].shape[_ones(x[0].shape) :] == x.shape[_ones(x.shape) :]:
        return site.full(x[0]) if len(x[0].shape) <= len(site.shape) else None
    return None


def _ones(shape: tuple[int, ...]) -> int:
    """How many leading axes have length 1."""
    return next((i for i, n in enumerate(shape) if n != 1), len(shape))


def transpose_again(site: Site, x: Term) -> Term | None:
    """A transpose that moves nothing, or of a transpose."""
    axes = site.params["axes"]
    if axes == tuple(range(len(axes))):
        return x
    if x.op == "transpose":
        return site.make("transpose", x[0], axes=tuple(x.params["axes"][a] for a in axes))
    return None


def slice_again(site: Site, x: Term) -> Term | None:
    """A slice of everything, or of a slice, or of exactly what was embedded."""
    start, step = site.params["start"], site.params["step"]
    if x.shape == site.shape and all(s == 1 for s in step):
        return x
    if x.op == "slice":
        inner = x.params["start"], x.params["step"]
        first = tuple(a + s * b for a, s, b in zip(*inner, start, strict=True))
        steps = tuple(s * t for s, t in zip(inner[1], step, strict=True))
        return site.make("slice", x[0], start=first, step=steps, sizes=site.shape)
    if x.op == "embed" and (x.params["start"], x.params["step"]) == (start, step):
        return x[0] if x[0].shape == site.shape else None
    return None


def slice_of_joined(site: Site, x: Term) -> Term | None:
    """A slice that is one of the joined parts."""
    if x.op != "concatenate" or any(s != 1 for s in site.params["step"]):
        return None
    start, axis, offset = site.params["start"], int(x.params["axis"]), 0
    for part in x:
        if part.shape == site.shape and offset == start[axis]:
            return part
        offset += part.shape[axis]
    return None


def embed_again(site: Site, x: Term) -> Term | None:
    """An embedding that fills everything, or of an embedding."""
    start, step = site.params["start"], site.params["step"]
    if x.shape == site.shape and all(s == 1 for s in step):
        return x
    if x.op != "embed":
        return None
    inner = x.params["start"], x.params["step"]
    first = tuple(a + s * b for a, s, b in zip(start, step, inner[0], strict=True))
    steps = tuple(s * t for s, t in zip(step, inner[1], strict=True))
    return site.make("embed", x[0], shape=site.shape, start=first, step=steps)


def join_one(site: Site, *parts: Term) -> Term | None:
    """Parts without elements add nothing; one part joined is itself."""
    full = [p for p in parts if p.aval.size]
    if len(full) == len(parts) > 1:
        return None
    if len(full) < 2:
        return (*full, *parts)[0] if (*full, *parts)[0].shape == site.shape else None
    return site.make("concatenate", *full, axis=site.params["axis"])


# -- reductions and contractions ----------------------------------------------------------------


def over_nothing(site: Site, x: Term) -> Term | None:
    """A reduction over no axes, or over axes of length 1, moves elements only.

    Exact but for one thing: np.sum of a single -0.0 is 0.0.
    """
    if all(x.shape[a] == 1 for a in site.params["axes"]):
        return site.make("reshape", x, shape=site.shape)
    return None


def sum_of_repeated(site: Site, x: Term) -> Term | None:
    """The sum of n equal terms is n times the term: rounding, nearer the truth than the sum."""
    count, kept = _repeated(x, site.params["axes"])
    if kept is None or not holds_count(site.aval.dtype, count + 1):
        return None
    if count == 0:
        return site.full(0)
    return site.full(kept * kept.like(count))


def extreme_of_repeated(site: Site, x: Term) -> Term | None:
    """The extreme of equal elements is one of them."""
    count, kept = _repeated(x, site.params["axes"])
    return site.full(kept) if kept is not None and count else None


def _repeated(x: Term, axes: tuple[int, ...]) -> tuple[int, Term | None]:
    """How often each element occurs along the axes, and the elements.

    ``None`` in place of them where the axes are not those that a broadcast repeats.
    """
    if x.op != "broadcast":
        return 0, None
    inner, lead = x[0], len(x.shape) - len(x[0].shape)
    if any(a >= lead and inner.shape[a - lead] != 1 for a in axes):
        return 0, None
    kept = tuple(n for a, n in enumerate(inner.shape) if a + lead not in axes)
    return math.prod(x.shape[a] for a in axes), x.make("reshape", inner, shape=kept)


def sum_of_moved(site: Site, x: Term) -> Term | None:
    """The sum of all elements does not ask where they are: rounding."""
    if x.op in ("transpose", "reshape") and site.shape == () and len(site.params["axes"]) > 0:
        inner = x[0]
        return site.make("sum", inner, axes=tuple(range(len(inner.shape))))
    return None


def contract_transposed(site: Site, a: Term, b: Term) -> Term | None:
    """A contraction of a transpose names the axes in the other order."""
    first, second, result = terms(site.params["spec"])
    if a.op == "transpose":
        spec = f"{_letters(a, first)},{second}->{result}"
        return site.make("contract", a[0], b, spec=spec)
    if b.op == "transpose":
        spec = f"{first},{_letters(b, second)}->{result}"
        return site.make("contract", a, b[0], spec=spec)
    return None


def _letters(x: Term, term: str) -> str:
    """The letters of a transpose's operand, given those of its result."""
    place = dict(zip(x.params["axes"], term, strict=True))
    return "".join(place[axis] for axis in range(len(term)))


# -- indices ------------------------------------------------------------------------------------


def wrap_checked(site: Site, index: Term) -> Term | None:
    """An index that is inside its axis by construction needs no check."""
    size = site.params["size"]
    return index if bound(index) <= size else None


def bound(index: Term) -> float:
    """What an index is known to be below, while not being negative."""
    match index.op:
        case "iota":
            return index.shape[int(index.params["axis"])]
        case "wrap_index":
            return int(index.params["size"])
        case "argmax" | "argmin":
            return index[0].shape[int(index.params["axes"][0])]
        case "broadcast" | "reshape" | "transpose" | "slice":
            return _bound_below(index)
    return math.inf


def _bound_below(index: Term) -> float:
    """The bound of what a layout operation shows; one such step is looked through."""
    inner = index[0]
    return bound(inner) if inner.op in ("iota", "wrap_index", "argmax", "argmin") else math.inf


def gather_rows(site: Site, x: Term, *index: Term) -> Term | None:
    """x[arange(n), y] of a map x is Σⱼ (j = yᵢ ? xᵢⱼ : 0), which fuses with x's own loop.

    Exact but for the sign of a zero. An x that is stored anyway, such as an argument, stays a
    gather, which reads n elements and not all.
    """
    if TABLE[x.op].kind != "map" or site.params["axes"] != (0, 1) or not _one_a_row(x.shape, index):
        return None
    chosen = site.make("where", _columns(x.shape, index[1]), x, x.like(0))
    return site.make("sum", chosen, axes=(1,))


def scatter_rows(site: Site, updates: Term, *index: Term) -> Term | None:
    """Zeros with updatesᵢ added at [i, yᵢ] are j = yᵢ ? updatesᵢ : 0, an elementwise map.

    Exact but for the sign of a zero.
    """
    if site.params["axes"] != (0, 1) or not _one_a_row(site.shape, index):
        return None
    column = site.make("reshape", updates, shape=(site.shape[0], 1))
    return site.make("where", _columns(site.shape, index[1]), column, site.full(0))


def _one_a_row(shape: tuple[int, ...], index: tuple[Term, ...]) -> bool:
    """Whether the index is (0, 1, ..., n - 1), y with a y that is checked."""
    row, column = index
    counts = row.op == "iota" and row.shape == shape[:1]
    return counts and len(shape) == 2 and bound(column) <= shape[1]


def _columns(shape: tuple[int, ...], y: Term) -> Term:
    """Where the column number is the one that y names for the row."""
    column = y.make("iota", shape=shape, axis=1, dtype=y.aval.dtype)
    return y.make("equal", column, y.make("reshape", y, shape=(shape[0], 1)))


def scan_of_one(site: Site, x: Term) -> Term | None:
    """The running sum of one element is that element."""
    return x if x.shape[site.params["axis"]] == 1 else None


LAYOUT: Rules = {
    "reshape": (number_stays, to_own_shape, reshape_again),
    "broadcast": (to_own_shape, broadcast_again),
    "transpose": (number_stays, transpose_again),
    "slice": (number_stays, slice_again, slice_of_joined),
    "embed": (embed_again,),
    "concatenate": (join_one,),
    "sum": (over_nothing, sum_of_repeated, sum_of_moved),
    "prod": (over_nothing,),
    "max": (over_nothing, extreme_of_repeated),
    "min": (over_nothing, extreme_of_repeated),
    "any": (over_nothing, extreme_of_repeated),
    "all": (over_nothing, extreme_of_repeated),
    "cumsum": (scan_of_one,),
    "contract": (contract_transposed,),
    "wrap_index": (wrap_checked,),
    "gather": (gather_rows,),
    "scatter_add": (scatter_rows,),
}
