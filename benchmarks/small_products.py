"""Nanoseconds of small matrix products: functions of GraphJIT's own against the BLAS.

python benchmarks/small_products.py [float32 or float64] [bytes of a vector]

With fewer bytes than this processor's vectors have, code is made for an older one; the variable
OPENBLAS_CORETYPE (Haswell, Nehalem) makes OpenBLAS do the same.

Both are called from one compiled loop, in turn, on the same matrices; times are the best of many
rounds. Where a product can be computed in two ways ("rows" and "dots"), both are shown. From the
whole table come the limits in graphjit/codegen/llvm_matrix_choice.py.
"""

from __future__ import annotations

import ctypes
import sys
from functools import partial
from typing import Any, NamedTuple

import harness
import numpy as np

from graphjit.codegen.code import Code
from graphjit.codegen.llvm_kernel import KernelWriter
from graphjit.codegen.llvm_library import gemm_call, gemv_call, own_call, product_of
from graphjit.codegen.llvm_matrix_choice import Way, choice, ways
from graphjit.codegen.llvm_text import Module
from graphjit.codegen.loops import Address, Buffer, Gemm, Gemv, LoopProgram
from graphjit.codegen.native import compiled, host, made_for
from graphjit.codegen.render_llvm import module_text

ROUNDS = 25
WORK = 1 << 21  # multiplications in one timing, and no more calls than
CALLS = 500
PROCESSORS = {
    32: host()._replace(cpu="haswell", features="+avx2,+fma", vector_bytes=32),
    16: host()._replace(cpu="nehalem", features="", vector_bytes=16, fma=False),
}
SHAPES = {
    "AB": (
        (2, 2, 2), (4, 4, 4), (8, 8, 8), (32, 16, 10), (32, 16, 16), (32, 3, 50), (32, 10, 16),
        (32, 10, 32), (32, 32, 64), (128, 10, 32), (128, 10, 128), (128, 32, 64), (64, 16, 64),
        (64, 64, 16), (64, 64, 64), (8, 256, 64), (128, 128, 64), (128, 128, 128),
        (128, 128, 256), (128, 256, 784), (4000, 8, 200), (4000, 32, 200), (8, 200, 4000),
    ),
    "AtB": (
        (4, 4, 4), (10, 16, 32), (16, 16, 32), (64, 32, 32), (32, 10, 128), (128, 10, 128),
        (64, 64, 64), (128, 128, 128), (256, 128, 128), (784, 256, 128), (10, 200, 4000),
    ),
    "ABt": (
        (2, 16, 16), (4, 4, 4), (4, 16, 64), (8, 8, 8), (8, 64, 64), (32, 10, 16), (32, 16, 16),
        (32, 32, 10), (128, 128, 10), (64, 64, 16), (64, 64, 64), (128, 128, 128), (128, 256, 128),
        (2, 4000, 200), (32, 4000, 200), (4000, 8, 200),
    ),
    "Ax": (
        (4, 1, 4), (32, 1, 3), (32, 1, 16), (32, 1, 50), (14, 1, 56), (100, 1, 100),
        (256, 1, 256), (1000, 1, 50), (2048, 1, 256),
    ),
    "Atx": (
        (4, 1, 4), (3, 1, 32), (16, 1, 32), (50, 1, 32), (56, 1, 14), (100, 1, 100),
        (256, 1, 256), (50, 1, 1000), (256, 1, 2048),
    ),
    "outer": ((14, 56, 1), (32, 16, 1), (100, 100, 1), (256, 256, 1)),
}  # fmt: skip


class Case(NamedTuple):
    """One product of one dtype."""

    form: str
    shape: tuple[int, int, int]
    statement: Gemm | Gemv


def case(form: str, shape: tuple[int, int, int], dtype: np.dtype[Any]) -> Case:
    """The statement that a program has for it."""
    m, n, k = shape
    at = [Address(Buffer(x, size, dtype, "input"), 0, ()) for x, size in zip(
        "abc", (m * k, k * n, m * n), strict=True
    )]  # fmt: skip
    if n == 1:
        rows, columns = (k, m) if form == "Atx" else (m, k)
        return Case(form, shape, Gemv(rows, columns, at[0], columns, form == "Atx",
                                      at[1], 1, at[2], 1))  # fmt: skip
    a = (at[0], m, True) if form == "AtB" else (at[0], k, False)
    b = (at[1], k, True) if form == "ABt" else (at[1], n, False)
    return Case(form, shape, Gemm(m, n, k, *a, *b, at[2], n))


def repeated(case: Case, way: Way | None, calls: int) -> Code:
    """A program that computes the product so many times."""
    module, s = Module(), case.statement
    w = KernelWriter(module, LoopProgram([], [], []))

    def turn(*_: Any) -> list[Any]:
        if way is not None:
            own_call(w, way, *((s.a, s.b, s.c) if isinstance(s, Gemm) else (s.x, s.a, s.y)))
        elif isinstance(s, Gemm):
            gemm_call(w, s)
        else:
            gemv_call(w, s)
        return []

    for name in "abc":
        w.pointer_to(name)
    w.repeat(calls, [], turn)
    head = "define void @many(ptr %p0, ptr %p1, ptr %p2) #0 {"
    text = "\n".join([head, "entry:", *w.text_lines(), "  ret void", "}"])
    return Code(compiled(module_text(module, [text], "products")), module.symbols)


def measure(case: Case, dtype: np.dtype[Any]) -> dict[str, Any]:
    """The best of rounds in which each runs in turn."""
    m, n, k = case.shape
    seed, count = np.random.default_rng(0), max(1, min(CALLS, WORK // (m * n * k)))
    given = [seed.standard_normal(size).astype(dtype) for size in (m * k, k * n, m * n)]
    product = product_of(case.statement)
    found: dict[str, Way | None] = {"BLAS": None} | {way.title: way for way in ways(product)}
    pointers = [ctypes.c_void_p] * 3
    calls = {w: repeated(case, b, count).function("many", *pointers) for w, b in found.items()}
    places = [x.ctypes.data for x in given]
    results, best = {}, dict.fromkeys(found, np.inf)
    for way, call in calls.items():
        call(*places)
        results[way] = given[2].copy()
    harness.agree(results, 1e-4 if dtype == np.float32 else 1e-10)
    for turn in range(ROUNDS):
        for way in harness.rotated(list(found), turn):
            taken = harness.timed(partial(calls[way], *places), 1)
            best[way] = min(best[way], taken / count * 1e9)
    chosen = choice(product)
    return {
        "form": case.form, "shape": list(case.shape), "dtype": dtype.name,
        "vector_bytes": host().vector_bytes, "chosen": chosen.title if chosen else "BLAS",
        "nanoseconds": best,
    }  # fmt: skip


def row(result: dict[str, Any]) -> tuple[str, ...]:
    times, chosen = result["nanoseconds"], result["chosen"]
    cells = [f"{times[w]:.0f}" if w in times else "" for w in ("rows", "columns", "dots", "BLAS")]
    shape = "x".join(map(str, result["shape"]))
    own = min(t for w, t in times.items() if w != "BLAS")
    rate = 2 * np.prod(result["shape"]) / own
    ratio = f"{times[chosen] / times['BLAS']:.2f}"
    return f"{result['form']} {shape}", result["dtype"], *cells, f"{rate:.0f}", chosen, ratio


HEAD = (
    "m x n x k, ns",
    "dtype",
    "rows",
    "columns",
    "dots",
    "BLAS",
    "GFLOP/s",
    "chosen",
    "chosen / BLAS",
)


def main(arguments: list[str]) -> None:
    """Measure, print, and keep what was measured of everything."""
    names = [a for a in arguments if not a.isdigit()] or ["float32", "float64"]
    wide = next((int(a) for a in arguments if a.isdigit()), host().vector_bytes)
    with made_for(PROCESSORS.get(wide, host())):
        results = [
            measure(case(form, shape, np.dtype(name)), np.dtype(name))
            for name in names
            for form, shapes in SHAPES.items()
            for shape in shapes
        ]
    sys.stdout.write(harness.table(HEAD, list(map(row, results))) + "\n")
    if not arguments:
        harness.save("small_products", results)


if __name__ == "__main__":
    main(sys.argv[1:])
