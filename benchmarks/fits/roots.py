"""The inverse cube root between √½ and √2."""

from remez import fits, mp

TABLES = {
    "INVERSE": fits(lambda f: 1 / mp.cbrt(1 + f), mp.sqrt(0.5) - 1, mp.sqrt(2) - 1, f8=12, f4=6)
}
