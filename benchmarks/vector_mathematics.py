"""Nanoseconds an element of each function of the vector mathematics, against those of others.

python benchmarks/vector_mathematics.py [names of functions]

GraphJIT's own code on whole vectors ("llvm"), the same inside a loop that Numba compiles
("numba"), NumPy's ufunc, the C library one element at a time in a compiled loop ("libm"), and JAX
where it is installed. Arrays of 20,000 elements stay in the second cache.
"""

from __future__ import annotations

import ctypes
import importlib.util
import math
import sys
from collections.abc import Callable
from typing import Any

import harness
import numba
import numpy as np

from graphjit.codegen.llvm_scalars import LIBM
from graphjit.codegen.mathematics.describe import APART, PLACES, scalar_function
from graphjit.codegen.mathematics.vector import loop
from graphjit.codegen.numba_mathematics import function

COUNT = 1024 * 20
ROUNDS = 30
LIMITS = {
    "arccosh": (1.1, 4), "power": (0.1, 3), "arctanh": (-0.9, 0.9), "logit": (0.1, 0.9),
    "arcsin": (-0.9, 0.9), "arccos": (-0.9, 0.9),
}  # fmt: skip
POSITIVE = ("log", "log2", "log10", "log1p", "gammaln", "digamma")
NAMES_IN_C = {**LIBM, "gammaln": "lgamma"}
Thunk = Callable[[], Any]


def operands(name: str, dtype: np.dtype[Any]) -> list[Any]:
    """Numbers of the usual range."""
    low, high = LIMITS.get(name, (0.1, 3) if name in POSITIVE else (-3, 3))
    seed = np.random.default_rng(3)
    count = len(scalar_function(name, dtype).parameters)
    return [seed.uniform(low, high, COUNT).astype(dtype) for _ in range(count)]


def ours(name: str, arrays: list[Any], out: Any) -> Thunk:
    """The vector form, launched as cheaply as Python can."""
    run = loop(name, out.dtype)
    kept = [out, *arrays]
    addresses = [ctypes.c_void_p(a.ctypes.data) for a in kept]

    def call(_kept: Any = kept) -> None:
        run(COUNT, *addresses)

    return call


def in_numba(call: Any, arrays: list[Any], out: Any) -> Thunk:
    """A loop around a scalar function, compiled by Numba."""

    def over_one(x: Any, out: Any) -> None:
        for i in range(x.shape[0]):
            out[i] = call(x[i])

    def over_two(x: Any, y: Any, out: Any) -> None:
        for i in range(x.shape[0]):
            out[i] = call(x[i], y[i])

    array = numba.from_dtype(out.dtype)[::1]
    signature = numba.void(*[array] * (len(arrays) + 1))
    compiled = numba.njit(signature, error_model="numpy")((over_one, over_two)[len(arrays) - 1])
    return lambda: compiled(*arrays, out)


def libm(name: str, arrays: list[Any], out: Any) -> Thunk | None:
    """The C library's own function, which Numba calls one element at a time."""
    symbol = NAMES_IN_C.get(name, name)
    symbol = symbol if out.dtype == np.float64 else f"{symbol}f"
    if not hasattr(ctypes.CDLL(None), symbol):
        return None
    kind = numba.from_dtype(out.dtype)
    external = numba.types.ExternalFunction(symbol, kind(*[kind] * len(arrays)))
    return in_numba(external, arrays, out)


def numpys(name: str, arrays: list[Any], out: Any) -> Thunk | None:
    """NumPy's ufunc, into an array that is there."""
    ufunc = getattr(np, name, None)
    return None if ufunc is None else lambda: ufunc(*arrays, out=out)


def jaxs(name: str, arrays: list[Any]) -> Thunk | None:
    """JAX's, compiled, on arrays that are on its device."""
    if importlib.util.find_spec("jax") is None:
        return None
    import jax

    jax.config.update("jax_enable_x64", True)
    theirs = getattr(jax.numpy, name, None) or getattr(jax.scipy.special, name, None)
    if theirs is None:
        return None
    call, given = jax.jit(theirs), [jax.numpy.asarray(a) for a in arrays]
    return lambda: call(*given).block_until_ready()


def competitors(name: str, dtype: np.dtype[Any]) -> dict[str, Thunk]:
    """All that have this function."""
    arrays = operands(name, dtype)
    out = [np.empty(COUNT, dtype) for _ in range(4)]
    found = {
        "llvm": ours(name, arrays, out[0]),
        "numba": in_numba(function(name), arrays, out[1]),
        "numpy": numpys(name, arrays, out[2]),
        "libm": libm(name, arrays, out[3]),
        "jax": jaxs(name, arrays),
    }
    return {who: call for who, call in found.items() if call is not None}


def measure(name: str, dtype: np.dtype[Any]) -> dict[str, Any]:
    """The best of rounds in which each runs in turn: what else runs can only slow one down."""
    calls = competitors(name, dtype)
    counts = {who: harness.calls_within(call, 0.002) for who, call in calls.items()}
    taken: dict[str, list[float]] = {who: [] for who in calls}
    for turn in range(ROUNDS):
        for who in harness.rotated(list(calls), turn):
            taken[who].append(harness.timed(calls[who], counts[who]))
    nanoseconds = {who: min(t) / COUNT * 1e9 for who, t in taken.items()}
    return {"function": name, "dtype": dtype.name, "nanoseconds": nanoseconds}


def row(result: dict[str, Any]) -> tuple[str, ...]:
    times = result["nanoseconds"]
    cells = [f"{times[w]:.2f}" if w in times else "" for w in WHO]
    others = min((t for w, t in times.items() if w not in ("llvm", "numba")), default=math.nan)
    return result["function"], result["dtype"], *cells, f"{times['llvm'] / others:.2f}"


WHO = ("llvm", "numba", "numpy", "libm", "jax")


def main(names: list[str]) -> None:
    """Measure, print, and keep what was measured of all functions."""
    if importlib.util.find_spec("jax") is None:
        sys.stderr.write("jax is not installed: skipped\n")
    chosen = names or [n for n in PLACES if n not in APART]
    results = [measure(n, np.dtype(d)) for n in chosen for d in (np.float64, np.float32)]
    head = ("function, ns an element", "dtype", *WHO, "llvm / best other")
    sys.stdout.write(harness.table(head, list(map(row, results))) + "\n")
    if not names:
        harness.save("vector_mathematics", results)


if __name__ == "__main__":
    main(sys.argv[1:])
