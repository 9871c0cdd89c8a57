"""Logarithms of 1 + f between 3/4 and 3/2: in the square of s = f / (2 + f), or in f."""

from remez import fits, mp, of_square

MORE = mp.mpf("1.0001")
LARGEST = mp.mpf("0.2") * MORE  # s
LOW, HIGH = -MORE / 4, MORE / 2


def artanh(s):
    return (mp.atanh(s) / s - 1) / s**2


def rest(f):
    return (mp.log(1 + f) - f + f**2 / 2) / f**3


def direct(base, factor):
    """In a base, over f, less a factor of few bits."""

    def over(f):
        return mp.log(1 + f, base) / f

    return fits(lambda f: over(f) - mp.mpf(factor), LOW, HIGH, lambda f: 1 / over(f), f4=10)


TABLES = {
    "LOG": of_square(lambda s: 2 * artanh(s), LARGEST, 1, f8=7),
    "SHORT": fits(rest, LOW, HIGH, lambda f: f**3 / mp.log(1 + f), f4=8),
    "LOG2_SHORT": direct(2, "1.4423828125"),
    "LOG10_SHORT": direct(10, "0.434326171875"),
}
