"""Powers of e and 2 of the rest r, |r| <= log(2)/2 or 1/2, and tanh up to 1."""

from remez import fits, mp, of_square

HIGH, HALF = mp.log(2) / 2 * mp.mpf("1.0005"), mp.mpf("0.5002")


def rest(r):
    return (mp.exp(r) - 1 - r) / r**2


def binary(r):
    return (mp.mpf(2) ** r - 1) / r


TABLES = {
    "EXP": fits(rest, -HIGH, HIGH, lambda r: r**2 / mp.exp(r), f8=10, f4=5),
    "EXPM1": fits(rest, -HIGH, HIGH, abs, f8=11, f4=6),
    "EXP2": fits(binary, -HALF, HALF, lambda r: abs(r) / mp.mpf(2) ** r, f8=11, f4=6),
    "TANH": of_square(lambda x: (mp.tanh(x) / x - 1) / x**2, mp.mpf(1), 1, f4=7),
}
