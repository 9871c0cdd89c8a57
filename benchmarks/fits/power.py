"""Logarithms to the base 2 for powers: of s, and of f in float64 for float32."""

from logarithm import HIGH, LARGEST, LOW, artanh
from remez import fits, mp, of_square

TABLES = {
    "LONG": of_square(lambda s: (artanh(s) - mp.mpf(1) / 3) / s**2, LARGEST, 2, f8=8),
    "SHORT": fits(lambda f: mp.log(1 + f, 2) / f, LOW, HIGH, f8=12),
}
