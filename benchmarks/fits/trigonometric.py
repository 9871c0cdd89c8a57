"""Sine, cosine and tangent for |r| <= pi/4."""

from remez import mp, of_square

HIGH = mp.pi / 4 * mp.mpf("1.0001")
TABLES = {
    "SINE": of_square(lambda r: (mp.sin(r) / r - 1) / r**2, HIGH, 1, f8=6, f4=3),
    "COSINE_ALONE": of_square(lambda r: (mp.cos(r) - 1) / r**2, HIGH, 1, f8=7, f4=4),
    "COSINE": of_square(lambda r: (mp.cos(r) - 1 + r**2 / 2) / r**4, HIGH, 2, f8=6, f4=3),
    "TANGENT": of_square(lambda r: (mp.tan(r) / r - 1) / r**2, HIGH, 1, f8=14, f4=6),
}
