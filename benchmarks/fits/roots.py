"""The inverse cube root, of what a first one leaves."""

from remez import fits, mp

TABLES = {"INVERSE": fits(lambda e: 1 / mp.cbrt(1 - e), -0.1025, 0.1025, f8=7, f4=4)}
