"""Sine, cosine and tangent for |r| <= pi/4."""

from remez import UnitRatio, mp, of_square

HIGH = mp.pi / 4 * mp.mpf("1.0001")


def slope(z):
    return mp.tan(mp.sqrt(z)) / mp.sqrt(z)


def quotient(size, above, below):
    return UnitRatio(slope, lambda z: 1 / slope(z), 0, HIGH**2, size, above + below, above)


TABLES = {
    "SINE": of_square(lambda r: (mp.sin(r) / r - 1) / r**2, HIGH, 1, f8=6, f4=3),
    "COSINE_ALONE": of_square(lambda r: (mp.cos(r) - 1) / r**2, HIGH, 1, f8=7, f4=4),
    "COSINE": of_square(lambda r: (mp.cos(r) - 1 + r**2 / 2) / r**4, HIGH, 2, f8=6, f4=3),
    "RATIO": {8: quotient(8, 3, 4), 4: quotient(4, 1, 3)},
    "TANGENT": of_square(lambda r: (mp.tan(r) / r - 1) / r**2, HIGH, 1, f8=14, f4=6),
}
