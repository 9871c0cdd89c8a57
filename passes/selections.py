"""Rules for products with matrices of which each row, or each column, has one element at most.

Such are the identity, np.diag(v) and one-hot rows. A product with one scales, picks or gathers,
and needs no sums. But the sum that is written has more terms, zero times every other element, and
these are NaN where the element is infinite or NaN. So in the forward pass what is not finite along
the sum is counted, and NaN put where it was not the chosen element alone (*exact*, see ``algebra``,
signs of zeros included). In the backward pass, and with the basis of a Jacobian, whose nodes have
no line of the user's, zeros win (*backward*).
"""

from __future__ import annotations

from graphjit.ir.table.contract import terms
from graphjit.passes.layouts import bound
from graphjit.passes.rewrite import Rules, Site, Term, either, negative_zero
from graphjit.records import NamedTuple

WORTH = 16  # columns of one-hot rows from which on a gather is faster than their product


class Selection(NamedTuple):
    """A matrix with one element at most for each place of an axis.

    Attributes:
        axis: 0 where each row has one.
        places: Where in each row, which may be beyond its ends; None for the diagonal.
        scale: The elements; None for ones.
    """

    axis: int
    places: Term | None
    scale: Term | None = None


def selection(x: Term) -> Selection | None:
    """The structure of a matrix, as it is written: a comparison of places, and what is there."""
    if len(x.shape) != 2:
        return None
    if x.op == "cast" and x[0].op == "equal":
        return compared(*x[0])
    if x.op == "where" and x[0].op == "equal" and x[2].number == 0:
        found = None if negative_zero(x[2].number) else compared(*x[0])
        return scaled(found, x[1])
    if x.op in ("multiply", "strong_multiply") and not x.node.of_user:
        for matrix, factor in either(*x):
            found = selection(matrix) if matrix.op == "cast" else None
            if found is not None:
                return scaled(found, factor)
    return None


def compared(a: Term, b: Term) -> Selection | None:
    """Where one side counts along an axis and the other is the same along it."""
    for place, index in either(a, b):
        axis = counted(place)
        if axis is None or index.kind not in "iu":
            continue
        if counted(index) == 1 - axis and index.shape[0] == index.shape[1]:
            return Selection(0, None)
        along = vector(index, 1 - axis)
        if along is not None:
            return Selection(1 - axis, along)
    return None


def scaled(found: Selection | None, factor: Term) -> Selection | None:
    """With a factor for each place; None where elements of one place differ in theirs."""
    if found is None:
        return None
    scale = vector(factor, found.axis)
    if scale is None and found.places is None:
        scale = vector(factor, 1 - found.axis)
    return None if scale is None else found._replace(scale=scale)


def counted(x: Term) -> int | None:
    """The axis along which a matrix is 0, 1, 2, ..., if it is."""
    if x.op == "iota":
        return int(x.params["axis"])
    inner = x[0] if x.op == "broadcast" else x
    lead = len(x.shape) - len(inner.shape)
    long = [lead + axis for axis, n in enumerate(inner.shape) if n != 1]
    source = inner[0] if inner.op == "reshape" else inner
    return long[0] if source.op == "iota" and len(source.shape) == len(long) == 1 else None


def vector(x: Term, axis: int) -> Term | None:
    """What a broadcast repeats along all other axes, if it does."""
    if x.op != "broadcast":
        return None
    inner, lead = x[0], len(x.shape) - len(x[0].shape)
    if any(n != 1 and a + lead != axis for a, n in enumerate(inner.shape)):
        return None
    flat = x.make("reshape", inner, shape=(inner.aval.size,))
    return x.make("broadcast", flat, shape=(x.shape[axis],))


# -- the product ----------------------------------------------------------------------------------


def by_selection(site: Site, a: Term, b: Term) -> Term | None:
    """A product with a selection, on either side."""
    first, second, result = terms(site.params["spec"])
    for matrix, letters, x, axes in ((a, first, b, second), (b, second, a, first)):
        if len(letters) == 2 and matrix.op in ("cast", "where", "multiply", "strong_multiply"):
            found = selection(matrix)
            if found is not None:
                return Selected(site, found, letters, x, axes, result).value(
                    not matrix.node.of_user
                )
    return None


class Selected:
    """The product of a selection and an array, both with a letter for each axis."""

    def __init__(
        self, site: Site, chosen: Selection, letters: str, x: Term, axes: str, result: str
    ) -> None:
        self.site, self.chosen, self.x, self.axes, self.result = site, chosen, x, axes, result
        self.kept, self.summed = letters[chosen.axis], letters[1 - chosen.axis]
        if chosen.places is None and self.kept not in result:
            self.kept, self.summed = self.summed, self.kept

    def value(self, basis: bool) -> Term | None:
        """The product without sums, where that is possible and pays."""
        strong = basis or self.site.backward or self.site.kind in "iu"
        one = self.kept in self.result, self.kept in self.axes
        other = self.summed in self.result, self.summed in self.axes
        index = self.chosen.places
        if one == (True, False) and other == (False, True):
            if index is None:
                return self.picked(self.x, self.x, strong=strong)
            if self.x.shape[self.place(self.summed)] >= WORTH:
                return self.gathered(index, strong=strong)
        elif one == (False, True) and other == (True, False) and index is not None and strong:
            return self.scattered(index)
        return None

    def place(self, letter: str) -> int:
        """The axis with a letter."""
        return self.axes.index(letter)

    def picked(self, x: Term, value: Term, *, strong: bool, valid: Term | None = None) -> Term:
        """Elements ``value`` of x, in which the axis that is summed has the other's letter."""
        axis, site = self.place(self.summed), self.site
        chosen = value
        if self.chosen.scale is not None:
            chosen = self.along(self.chosen.scale, axis, value.shape) * value
        if valid is not None:
            chosen = chosen.make("where", valid, chosen, chosen.like(0))
        if not strong:
            chosen = self.poisoned(x, value, chosen + chosen.like(0.0), valid)
        letters = self.axes.replace(self.summed, self.kept)
        return site.make("transpose", chosen, axes=tuple(map(letters.index, self.result)))

    def poisoned(self, x: Term, value: Term, chosen: Term, valid: Term | None) -> Term:
        """NaN where a sum meets what is not finite elsewhere than at the chosen element."""
        axis = self.place(self.summed)
        count = x.make("sum", wrong(x), axes=(axis,))
        kept = tuple(1 if a == axis else n for a, n in enumerate(x.shape))
        count = x.make("broadcast", x.make("reshape", count, shape=kept), shape=value.shape)
        own = wrong(value)
        if valid is not None:
            own = own.make("where", valid, own, own.like(0))
        return x.make("where", x.make("equal", count, own), chosen, chosen.like(float("nan")))

    def along(self, x: Term, axis: int, shape: tuple[int, ...]) -> Term:
        """A vector repeated along all axes but one."""
        kept = tuple(n if a == axis else 1 for a, n in enumerate(shape))
        return x.make("broadcast", x.make("reshape", x, shape=kept), shape=shape)

    def gathered(self, index: Term, *, strong: bool) -> Term:
        """One row of x for each place; zeros where the index is beyond its ends."""
        axis = self.place(self.summed)
        inside, valid = within(index, self.x.shape[axis])
        rows = index.make("gather", self.x, inside, axes=(axis,))
        back = (*range(1, axis + 1), 0, *range(axis + 1, len(self.axes)))
        value = index.make("transpose", rows, axes=back)
        if valid is not None:
            valid = self.along(valid, axis, value.shape)
        return self.picked(self.x, value, strong=strong, valid=valid)

    def scattered(self, index: Term) -> Term | None:
        """Rows of x added up where the index says."""
        axis, size = self.place(self.kept), self.site.shape[self.result.index(self.summed)]
        if size < WORTH:
            return None
        x, (inside, valid) = self.x, within(index, size)
        if self.chosen.scale is not None:
            x = self.along(self.chosen.scale, axis, x.shape) * x
        if valid is not None:
            x = x.make("where", self.along(valid, axis, x.shape), x, x.like(0))
        shape = tuple(size if a == axis else n for a, n in enumerate(x.shape))
        first = (axis, *(a for a in range(len(shape)) if a != axis))
        rows = x.make("transpose", x, axes=first)
        total = x.make("scatter_add", rows, inside, axes=(axis,), shape=shape)
        letters = self.axes.replace(self.kept, self.summed)
        return x.make("transpose", total, axes=tuple(map(letters.index, self.result)))


def within(index: Term, size: int) -> tuple[Term, Term | None]:
    """An index brought inside an axis, and where it was; None where it always is."""
    if bound(index) <= size:
        return index, None
    inside = index.make("maximum", index, index.like(0))
    inside = index.make("minimum", inside, index.like(size - 1))
    return inside, index.make("equal", index, inside)


def wrong(x: Term) -> Term:
    """1 for what is infinite or NaN, else 0."""
    return x.make("cast", x.make("logical_not", x.make("isfinite", x)), dtype=x.aval.dtype)


SELECTIONS: Rules = {"contract": (by_selection,)}
