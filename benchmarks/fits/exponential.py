"""Powers of e and 2 of the rest r, |r| <= log(2)/2 or 1/2, and tanh up to 5/8."""

from remez import fits, mp, ratio_of_square

MORE = mp.mpf("1.0005")
HIGH, HALF = mp.log(2) / 2 * mp.mpf("1.0005"), mp.mpf("0.5002")


def rest(r):
    return (mp.exp(r) - 1 - r) / r**2


def binary(r):
    return (mp.mpf(2) ** r - 1) / r


def stepped(target, weight, two, **terms):
    """For what is left of a power by steps of 1/16, for float32 of 1/32."""
    found = {}
    for name, count in terms.items():
        high = two / (32 if name == "f8" else 64) * MORE
        found |= fits(target, -high, high, weight, **{name: count})
    return found


TABLES = {
    "EXP": fits(rest, -HIGH, HIGH, lambda r: r**2 / mp.exp(r), f8=10, f4=5),
    "EXPM1": fits(rest, -HIGH, HIGH, abs, f8=11, f4=6),
    "EXP2": fits(binary, -HALF, HALF, lambda r: abs(r) / mp.mpf(2) ** r, f8=11, f4=6),
    "EXP_STEP": stepped(rest, lambda r: r**2 / mp.exp(r), mp.log(2), f8=5, f4=2),
    "EXP2_STEP": stepped(binary, lambda r: abs(r) / mp.mpf(2) ** r, mp.mpf(1), f8=6, f4=3),
    "TANH": ratio_of_square(
        lambda x: (mp.tanh(x) / x - 1) / x**2, mp.mpf("0.625"), f8=(3, 3), f4=(2, 1)
    ),
}
