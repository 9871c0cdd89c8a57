"""Rules that compute in the layout that operands are stored in, and turn what comes of it."""

from __future__ import annotations

from graphjit.ir.table.contract import terms
from graphjit.passes.rewrite import Rules, Site, Term

# Maps that cost no more than a memory access, so that it is no loss to compute them twice.
CHEAP = frozenset({"add", "subtract", "multiply", "strong_multiply", "divide", "negative", "where"})
MOST = 12  # of them in a row

Axes = tuple[int, ...]


def layout(x: Term) -> Axes | None:
    """The transpose that all operands of a tree of cheap maps are seen through, if there is one.

    Operands that are repeated along axes have any layout.
    """
    found: Axes | None = None
    waiting, seen = [x], {x}
    while waiting:
        term = waiting.pop()
        if term.op == "transpose":
            axes = tuple(term.params["axes"])
            if found not in (None, axes):
                return None
            found = axes
        elif term.op in CHEAP:
            fresh = set(term) - seen
            waiting += fresh
            seen |= fresh
            if len(seen) > 3 * MOST:
                return None
        elif term.op != "broadcast":
            return None
    return found


def turned(x: Term, axes: Axes) -> Term:
    """The tree without the transpose: ``x`` is ``transpose(turned(x, axes), axes)``."""
    done: dict[Term, Term] = {}
    waiting = [x]
    while waiting:
        term = waiting[-1]
        missing = [t for t in term if t not in done] if term.op in CHEAP else []
        if missing:
            waiting += missing
            continue
        done[waiting.pop()] = (
            term.make(term.op, *(done[t] for t in term), **term.params)
            if term.op in CHEAP
            else leaf(term, axes)
        )
    return done[x]


def leaf(x: Term, axes: Axes) -> Term:
    """A transpose undone, or a broadcast with its axes in the other order."""
    if x.op == "transpose":
        return x[0]
    back = tuple(axes.index(axis) for axis in range(len(axes)))
    whole = (1,) * (len(axes) - len(x[0].shape)) + x[0].shape
    ordered = tuple(whole[axis] for axis in back)
    shape = tuple(x.shape[axis] for axis in back)
    long = [axis for axis in back if whole[axis] != 1]
    if long == sorted(long):
        return x.make("broadcast", x.make("reshape", x[0], shape=ordered), shape=shape)
    inner = x.make("reshape", x[0], shape=whole)
    return x.make("broadcast", x.make("transpose", inner, axes=back), shape=shape)


def turn_back(site: Site, x: Term) -> Term | None:
    """A transpose of maps of what is transposed the other way is neither: exact."""
    axes = site.params["axes"]
    if x.op not in CHEAP or (found := layout(x)) is None:
        return None
    if tuple(found[axis] for axis in axes) != tuple(range(len(axes))):
        return None
    return turned(x, found)


def contract_turned(site: Site, a: Term, b: Term) -> Term | None:
    """A contraction of maps of transposes names the axes in the order of what is stored: exact."""
    first, second, result = terms(site.params["spec"])
    for x, letters, left in ((a, first, True), (b, second, False)):
        if x.op in CHEAP and (found := layout(x)) is not None:
            order = "".join(letters[found.index(axis)] for axis in range(len(found)))
            if left:
                return site.make(
                    "contract", turned(x, found), b, spec=f"{order},{second}->{result}"
                )
            return site.make("contract", a, turned(x, found), spec=f"{first},{order}->{result}")
    return None


TURNED: Rules = {"transpose": (turn_back,), "contract": (contract_turned,)}
