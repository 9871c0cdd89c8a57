"""The inverse cube root, of what a first one leaves; the cube root next to numbers of a table."""

import numpy as np
from remez import Listed, fits, mp

MORE, TRIES = mp.mpf("1.0001"), 256


def near(u):
    return (mp.cbrt(1 + u) - 1) / u


def steps(**bits):
    """A number in the middle of each interval of so many bits, and the inverse of its cube.

    Those of 256 neighbours are taken whose inverse is the nearest to one of the dtype.
    """
    found = {}
    for name, count in bits.items():
        rows = [middle(i, 2**count, np.dtype(name).type) for i in range(4 * 2**count)]
        found[int(name[1:])] = Listed(int(name[1:]), (*(r for r, _ in rows), *(v for _, v in rows)))
    return found


def middle(place, parts, dtype):
    """The exponent's last bits say whether a number is 2, 4, 1/2 or 1 at least."""
    power, part = divmod(place, parts)
    centre = mp.mpf((2, 4, 0.5, 1)[power]) * (1 + (part + mp.mpf("0.5")) / parts)
    root = dtype(mp.nstr(mp.cbrt(centre), 40))
    choices = [root := np.nextafter(root, dtype(8)) for _ in range(TRIES)]

    def lost(root):
        inverse = dtype(mp.nstr(mp.mpf(float(root)) ** -3, 40))
        return abs(mp.mpf(float(inverse)) * mp.mpf(float(root)) ** 3 - 1)

    best = mp.mpf(float(min(choices, key=lost)))
    return best, best**-3


TABLES = {
    "INVERSE": fits(lambda e: 1 / mp.cbrt(1 - e), -0.1025, 0.1025, f8=7, f4=4),
    "NEAR": {
        size: fit
        for high, terms in ((mp.mpf(1) / 9, {"f8": 12}), (mp.mpf(1) / 17, {"f4": 4}))
        for size, fit in fits(near, -high * MORE, high * MORE, abs, **terms).items()
    },
    "STEPS": steps(f8=2, f4=3),
}
