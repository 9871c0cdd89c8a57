"""What the reciprocal of gamma has beyond its leading terms, and the sine of a turn."""

from remez import fits, mp, of_square

LEADING = 12  # terms that are held in two parts


def reciprocal(count):
    """The Taylor coefficients of 1/gamma(1 + d): those of its logarithm are zeta's values."""
    slopes = [mp.euler, *((-1) ** (k + 1) * mp.zeta(k) for k in range(2, count + 1))]
    terms = [mp.mpf(1)]
    for k in range(1, count):
        terms.append(mp.fsum(s * t for s, t in zip(slopes, terms[::-1], strict=False)) / k)
    return terms


TERMS = reciprocal(60)
TABLES = {
    "TAIL": fits(
        lambda d: mp.polyval(TERMS[: LEADING - 1 : -1], d), -0.5, 0.5, lambda d: d**LEADING, f8=10
    ),
    "TURN": of_square(lambda d: mp.sin(mp.pi * d) / (mp.pi * d), 0.5, 0, f8=9),
}
