"""Measure on this machine: what a few programs take, and the numbers of ``graphjit.tuning``."""
