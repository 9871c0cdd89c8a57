"""Arc sine up to 1/2, arc tangent up to 1."""

from remez import mp, of_square

HALF, ONE = mp.mpf("0.5001"), mp.mpf(1)
TABLES = {
    "ARCSINE": of_square(lambda x: (mp.asin(x) / x - 1) / x**2, HALF, 1, f8=12, f4=5),
    "ARCTANGENT": of_square(lambda x: (mp.atan(x) / x - 1) / x**2, ONE, 1, f8=19, f4=8),
}
