"""Log gamma and digamma next to their zeros, and what their asymptotic formulas lack."""

from remez import fits, mp, of_square

ROOT = mp.findroot(mp.digamma, 1.46)


def near(d):
    return mp.loggamma(2 + d) / d / (d + 1)


def stirling(y):
    x = 1 / y
    return x * (mp.loggamma(x) - (x - 0.5) * mp.log(x) + x - mp.log(2 * mp.pi) / 2)


def slope(y):
    x = 1 / y
    return x * x * (mp.log(x) - 1 / (2 * x) - mp.digamma(x))


def rooted(d):
    return mp.digamma(ROOT + d) / d


TABLES = {
    "NEAR": fits(near, mp.mpf("-0.8126"), mp.mpf("0.5001"), f8=22, f4=9),
    "FAR": of_square(stirling, 1 / mp.mpf("7.499"), 0, f8=6, f4=2),
    "SLOPE": of_square(slope, 1 / mp.mpf("7.999"), 0, f8=6, f4=2),
    "ROOTED": fits(rooted, mp.mpf("0.9999") - ROOT, mp.mpf("2.0001") - ROOT, f8=22, f4=9),
}
