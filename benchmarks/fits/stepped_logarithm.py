"""Logarithms of 1 + f where a table has taken off most, and the table."""

from remez import Listed, fits, mp

SHORT, LONG = (mp.mpf("1.001") / count for count in (64, 32))  # the largest f


def second(base, **terms):
    """What the logarithm has beyond its first term, over f**2; errors weigh as those of it."""
    return fits(
        lambda f: (mp.log(1 + f) - f) / mp.log(base) / f**2, -SHORT, SHORT,
        lambda f: abs(f) * mp.log(base), **terms,
    )  # fmt: skip


def third(f):
    return (mp.log(1 + f) - f + f**2 / 2) / mp.log(2) / f**3


def logarithms(base, **parts):
    """Those of count/i for i from the count to its double, in parts: so many bits, and the rest."""
    found = {}
    for name, (count, bits) in parts.items():
        exact = [-mp.log(mp.mpf(count + i) / count, base) for i in range(count)]
        high = [mp.nint(y * 2**bits) / 2**bits for y in exact]
        low = [y - h for y, h in zip(exact, high, strict=True)]
        found[int(name[1:])] = Listed(int(name[1:]), (*high, *low))
    return found


TABLES = {
    "LOG2": second(2, f4=3),
    "LOG10": second(10, f4=3),
    "SECOND": second(2, f4=4),
    "THIRD": fits(third, -LONG, LONG, lambda f: f**2 * mp.log(2), f8=9),
    "LOG2_STEPS": logarithms(2, f8=(16, 40), f4=(32, 16)),
    "LOG10_STEPS": logarithms(10, f4=(32, 13)),
}
