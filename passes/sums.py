"""Rules for sums of products, as ``simplify`` applies them: add up first, then multiply once."""

from __future__ import annotations

from graphjit.ir.table.contract import terms
from graphjit.passes.rewrite import Rules, Site, Term

TERMS = 8  # of a sum that is taken apart, at most
LINEAR = frozenset({"negative", "add", "subtract"})


def sum_of_product(site: Site, x: Term) -> Term | None:
    """Σᵢ (Σⱼ aᵢⱼ bⱼₖ) = Σⱼ (Σᵢ aᵢⱼ) bⱼₖ, where i belongs to one factor only: rounding, backward.

    A user's own sum may rely on its order: terms of a row that cancel, or that stay small where
    those of a column overflow. In the backward pass nobody wrote the order.

    So the gradient of a vector that all rows share takes no product of matrices: it is the sum of
    the rows' cotangents, times the matrix. Where the product is one of several terms they are
    added up one by one.
    """
    if not site.backward:
        return None
    parts = signed(x)
    if not any(product(site, part) for _, part in parts):
        return None
    total: Term | None = None
    for negative, part in parts:
        value = shared(site, part) if product(site, part) else apart(site, part)
        if total is None:
            total = -value if negative else value
        else:
            total = total - value if negative else total + value
    return total


def signed(x: Term) -> list[tuple[bool, Term]]:
    """The terms of a sum or difference, and whether they are subtracted; none of a long one."""
    found, pending = list[tuple[bool, Term]](), [(False, x)]
    for _ in range(2 * TERMS):
        if not pending:
            return found
        negative, at = pending.pop()
        if at.op not in LINEAR:
            found.append((negative, at))
            continue
        last = negative != (at.op != "add")
        pending += [(last, at[0])] if at.op == "negative" else [(last, at[1]), (negative, at[0])]
    return [] if pending else found


def product(site: Site, x: Term) -> bool:
    """Whether the axes of the sum each belong to one factor, and all has one dtype."""
    if x.op != "contract" or x.params.keys() != {"spec"} or any(map(composed, (x[0], x[1]))):
        return False
    first, second, result = terms(x.params["spec"])
    gone = {result[a] for a in site.params["axes"]}
    held = {t.aval.dtype for t in (x, x[0], x[1])} == {site.aval.dtype}
    exact = site.kind == "f" and site.aval.dtype.itemsize >= 4
    exact = exact and x.aval.size > 0  # for 0 times infinity is not the sum of nothing
    return held and exact and bool(gone) and not gone & set(first) & set(second)


def composed(x: Term) -> bool:
    """Whether a sum of this might be taken apart itself: a chain of such may be of any length."""
    return any(part.op == "contract" for _, part in signed(x))


def shared(site: Site, x: Term) -> Term:
    """The product of the factors' sums."""
    first, second, result = terms(x.params["spec"])
    gone = {result[a] for a in site.params["axes"]}
    a, left = summed(site, x[0], first, gone)
    b, right = summed(site, x[1], second, gone)
    kept = "".join(c for c in result if c not in gone)
    return site.make("contract", a, b, spec=f"{left},{right}->{kept}")


def summed(site: Site, x: Term, letters: str, gone: set[str]) -> tuple[Term, str]:
    """A factor added up over the letters that go, and its letters then."""
    axes = tuple(a for a, c in enumerate(letters) if c in gone)
    left = "".join(c for c in letters if c not in gone)
    return (site.make("sum", x, axes=axes) if axes else x), left


def apart(site: Site, x: Term) -> Term:
    """The sum of another term; a factor that is repeated along the axes is taken out."""
    axes = site.params["axes"]
    for c, other in ((x[0], x[1]), (x[1], x[0])) if x.op == "multiply" else ():
        if c.op == "broadcast" and all(one(c, a) for a in axes) and not composed(other):
            inner, lead = c[0], len(c.shape) - len(c[0].shape)
            shape = tuple(n for a, n in enumerate(inner.shape) if a + lead not in axes)
            return c.make("reshape", inner, shape=shape) * site.make("sum", other, axes=axes)
    return site.make("sum", x, axes=axes)


def one(x: Term, axis: int) -> bool:
    """Whether a broadcast repeats its operand along an axis."""
    place = axis - len(x.shape) + len(x[0].shape)
    return place < 0 or x[0].shape[place] == 1


SUMS: Rules = {"sum": (sum_of_product,)}
