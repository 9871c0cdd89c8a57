"""The error function up to 1 and from there on, and its complement's tail."""

from remez import Steps, fits, mp


def near(z):
    return mp.erf(mp.sqrt(z)) / mp.sqrt(z) - 1


def far(high, **terms):
    """The logarithm of erfc(s + 1), errors weighing as those of erf."""
    return fits(
        lambda s: mp.log(mp.erfc(s + 1)), 0, high, lambda s: mp.erfc(s + 1) + mp.mpf(10) ** -18,
        **terms,
    )  # fmt: skip


def tail(largest, centre, **terms):
    """(x + 4) exp(x**2) erfc(x) in v = (x - 4)/(x + 4) - centre, from 1 on."""

    def scaled(v):
        x = 4 * (1 + v + centre) / (1 - v - centre)
        return (x + 4) * mp.exp(x * x) * mp.erfc(x)

    low, high = ((x - 4) / (x + 4) - centre for x in (mp.mpf("0.9999"), mp.mpf(largest)))
    return fits(scaled, low, high, **terms)


def steps(size, high, count, terms):
    """The error function by steps, relative to itself."""
    return {size: Steps(mp.erf, lambda y: 1 / y, 0, mp.mpf(high), size, count * terms, count)}


TABLES = {
    "NEAR": fits(near, 0, 1, lambda z: 1 / (1 + near(z)), f8=12, f4=7),
    "FAR": far(5, f8=18) | far(3, f4=7),
    "TAIL": tail(28, 0.34375, f8=20) | tail(10.5, 0.375, f4=9),
    "STEPPED": steps(8, 51 / 128, 16, 14) | steps(4, 33 / 256, 32, 7),
}
