"""Hyperbolic sine and cosine for |r| <= log(2)/2, and artanh up to 1/2."""

from exponential import HIGH
from logarithm import artanh
from remez import mp, of_square

TABLES = {
    "SINH": of_square(lambda r: (mp.sinh(r) / r - 1) / r**2, HIGH, 1, f8=5, f4=3),
    "COSH": of_square(lambda r: (mp.cosh(r) - 1) / r**2, HIGH, 1, f8=5, f4=3),
    "ARCTANH": of_square(artanh, mp.mpf("0.5"), 1, f4=6),
}
