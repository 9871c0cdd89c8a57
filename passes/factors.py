"""Rules of ``simplify`` for products of products in the backward pass: what comes first of them.

Each operation's partial brings factors of its own: the 2 of a square, the 2/√π of an error
function, the reciprocal of a divisor. Those that come together with others go to the front.
"""

from __future__ import annotations

from graphjit.passes.rewrite import Rules, Site, Term, either

MODERATE = 1 / 16


def numbers_together(site: Site, a: Term, b: Term) -> Term | None:
    """(x·c)·(y·d) = (x·y)·(c·d), *backward* only, where the numbers are moderate: rounding.

    What is infinite then would be so without, if it were 1 / MODERATE times as large.
    """
    if not site.backward or site.kind != "f":
        return None
    (x, c), (y, d) = with_number(a), with_number(b)
    return x * y * a.like(c * d) if c and d and moderate(c * d) else None


def with_number(x: Term) -> tuple[Term, float]:
    """What a moderate number is multiplied by, and that number; 0 where there is none."""
    if x.op == "multiply":
        for y, c in either(*x):
            if c.number is not None and moderate(c.number):
                return y, c.number
    return x, 0


def moderate(number: float) -> bool:
    """Whether it does not matter for overflow when a factor comes in, but for a last few bits."""
    return MODERATE <= abs(number) <= 1 / MODERATE


def divisor_first(site: Site, a: Term, b: Term) -> Term | None:
    """(g·(-x/d))·(1/d) = (g·(1/d))·(-x/d), *backward* only: rounding, and other underflow.

    The first product is the share of x itself, so that both shares of a quotient begin with it.
    Either order may underflow on the way where the other does not: of random float32 numbers up to
    10**20 none does, up to 10**38 each in 4 percent.
    """
    if not site.backward:
        return None
    for inner, inverse in either(a, b):
        if inner.op == site.op:
            for g, slope in either(*inner):
                if slopes_of_quotient(inverse, slope):
                    return site.make(site.op, site.make(site.op, g, inverse), slope)
    return None


def slopes_of_quotient(inverse: Term, slope: Term) -> bool:
    """Whether they are 1/d and -x/d, where d may be the same along an axis."""
    one = narrow(inverse)
    if one.op != "divide" or one[0].number != 1 or slope.op != "negative":
        return False
    return slope[0].op == "divide" and narrow(slope[0][1]) == one[1]


def narrow(x: Term) -> Term:
    """What is broadcast, if it is."""
    return x[0] if x.op == "broadcast" else x


FACTORS: Rules = {
    "multiply": (numbers_together, divisor_first),
    "strong_multiply": (divisor_first,),
}
