# ruff: noqa: I001 - the harness sets variables before NumPy is imported
"""What a call costs from Python, and where the nanoseconds go.

Each row is one kind of call. ``kernel`` is the native program alone, called from native code;
``outputs`` is making and freeing each array that is returned, by NumPy's C interface; ``launch`` is
what is left: checking and unpacking the arguments, the guards, scalars and containers of the
result. ``python`` is the
same call through Python, as where there are no native calls. CasADi and JAX stand beside where they
are installed.

python benchmarks/call_latency.py
"""

from __future__ import annotations

import harness

import ctypes
import importlib.util
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

import graphjit
from graphjit.codegen.code import Code
from graphjit.codegen.native import compiled
from graphjit.launch import layout
from graphjit.launch.kernel import Kernel, kernel_of
from graphjit.launch.vectorcall import words_of
from graphjit.transforms.native import WARM

LOOP = """
define void @run(ptr %kernel, ptr %table, i64 %count) {
entry:
  br label %again
again:
  %i = phi i64 [ 0, %entry ], [ %next, %again ]
  call void %kernel(ptr %table)
  %next = add i64 %i, 1
  %more = icmp ult i64 %next, %count
  br i1 %more, label %again, label %end
end:
  ret void
}

define void @allocate(ptr %make, ptr %count, ptr %uncount, ptr %class, ptr %dtype, i32 %rank,
                      ptr %shape, i64 %times) {
entry:
  br label %again
again:
  %i = phi i64 [ 0, %entry ], [ %next, %again ]
  call void %count(ptr %dtype)
  %made = call ptr %make(ptr %class, ptr %dtype, i32 %rank, ptr %shape, ptr null, ptr null, i32 0,
                         ptr null)
  call void %uncount(ptr %made)
  %next = add i64 %i, 1
  %more = icmp ult i64 %next, %times
  br i1 %more, label %again, label %end
end:
  ret void
}
"""
ROUNDS, COUNT = 60, 4000
RNG = np.random.default_rng(0)


def quiz(x, z):
    return np.exp(x * z) + x * z / np.log(x) + np.sin(np.log(x)) / (x * z)


def step(x, y, w1, b1, w2, b2, w3, b3):
    hidden = np.tanh(np.tanh(x @ w1 + b1) @ w2 + b2)
    loss = np.mean((hidden @ w3 + b3 - y) ** 2)
    return [w - 0.1 * loss * w for w in (w1, b1, w2, b2, w3, b3)]


def nothing(x, z):
    pass


def first(args: Any) -> str:
    """A call's arguments as text, all at hand as local variables."""
    return ", ".join(f"a{i}" for i in range(len(args)))


def looped(function: Any, args: tuple[Any, ...], statement: str) -> Callable[[], float]:
    """What measures nanoseconds a turn of a loop over one statement."""
    names = {f"a{i}": a for i, a in enumerate(args)}
    namespace: dict[str, Any] = {}
    text = (
        f"def run({', '.join(['f', 'turns', *names])}):\n    for _ in turns:\n        {statement}\n"
    )
    exec(text, namespace)  # noqa: S102 - a loop around one statement, as timeit writes it
    run, turns = namespace["run"], [None] * COUNT
    return lambda: 1e9 * harness.timed(lambda: run(function, turns, **names), 1) / COUNT


def called(function: Any, args: tuple[Any, ...]) -> Callable[[], float]:
    """What measures nanoseconds a call, and the loop around it."""
    return looped(function, args, f"f({first(args)})")


def program_kernel(f: Any) -> Kernel:
    """The native program of the latest call."""
    kernel = kernel_of(f._last.program)  # noqa: SLF001 - a benchmark looks inside
    assert kernel is not None
    return kernel


def kernel_timer(f: Any, args: tuple[Any, ...]) -> Callable[[], float]:
    """What measures the native program alone."""
    kernel = program_kernel(f)
    values = [np.asarray(a) for a in args]
    outputs = [np.empty(shape, dtype) for shape, dtype in kernel.outputs]
    work = [np.zeros(count, dtype) for count, dtype in kernel.work]
    arrays = [*values, *kernel.constants, *outputs, *work, np.zeros(1, np.int64)]
    table = np.array([a.ctypes.data for a in arrays], np.uintp)
    code = Code(compiled(LOOP), {})
    repeat = code.function("run", ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)

    def measure(_alive: Any = arrays) -> float:
        run = lambda: repeat(kernel.address, table.ctypes.data, COUNT)  # noqa: E731
        return 1e9 * harness.timed(run, 1) / COUNT

    return measure


def outputs_timer(f: Any) -> Callable[[], float]:
    """What measures making and freeing the arrays that are returned."""
    shapes = [shape for shape, _ in program_kernel(f).outputs if shape]
    known = layout.functions() or {}
    names = ("NewFromDescr", "Py_IncRef", "Py_DecRef")
    code = Code(compiled(LOOP), {})
    kinds = (*[ctypes.c_void_p] * 5, ctypes.c_int, ctypes.c_void_p, ctypes.c_int64)
    allocate = ctypes.PYFUNCTYPE(None, *kinds)(code.address("allocate"))
    head = (*(known[name] for name in names), id(np.ndarray), id(np.dtype(float)))

    def measure(_alive: Any = code) -> float:
        total = 0.0
        for shape in shapes:
            extents = (ctypes.c_int64 * len(shape))(*shape)
            rank, place = len(shape), ctypes.addressof(extents)
            total += harness.timed(lambda n=rank, p=place: allocate(*head, n, p, COUNT), 1)
        return 1e9 * total / COUNT

    return measure


def best(measures: dict[str, Callable[[], float]]) -> dict[str, float]:
    """The best of the rounds, each part in turn."""
    rounds = [{part: measure() for part, measure in measures.items()} for _ in range(ROUNDS)]
    return {part: min(taken[part] for taken in rounds) for part in measures}


def phases(name: str, f: Any, args: tuple[Any, ...]) -> dict[str, Any]:
    """One row: the parts of a call, each without the loop around it."""
    for _ in range(WARM + 1):
        f(*args)
    assert f.stats.launch == "native", f.stats.launch
    parts = best({
        "loop": looped(f, args, "pass"), "empty": called(nothing, (2.0, 3.0)),
        "call": called(f, args), "kernel": kernel_timer(f, args), "outputs": outputs_timer(f),
    })  # fmt: skip
    words = words_of(f)
    code, words[0] = words[0], 0
    parts |= best({"python": called(f, args)})
    words[0] = code
    return row(name, parts)


def row(name: str, parts: dict[str, float]) -> dict[str, Any]:
    """The parts without the loop, and what they say."""
    loop = parts.pop("loop")
    parts |= {part: parts[part] - loop for part in ("empty", "call", "python") if part in parts}
    parts["over empty"] = parts["call"] / parts["empty"]
    if "kernel" in parts:
        parts["launch"] = parts["call"] - parts["kernel"] - parts["outputs"]
    return {"case": name, **parts}


def plain(name: str, function: Callable[..., Any], args: tuple[Any, ...]) -> dict[str, Any]:
    """A row of something else."""
    function(*args)
    empty = called(nothing, (2.0, 3.0))
    loop = looped(function, args, "pass")
    return row(name, best({"loop": loop, "empty": empty, "call": called(function, args)}))


def others() -> list[dict[str, Any]]:
    """NumPy, and the libraries that are installed."""
    array = np.ones(4)
    rows = [plain("np.add of two arrays of 4", np.add, (array, array))]
    for name, make in (("casadi", casadi_quiz), ("jax", jax_quiz)):
        if importlib.util.find_spec(name) is None:
            sys.stderr.write(f"{name} is not installed\n")
            continue
        rows.append(plain(f"{name}: value and gradient", make(), (2.0, 3.0)))
    return rows


def casadi_quiz() -> Callable[..., Any]:
    """The quiz as CasADi has it."""
    casadi = importlib.import_module("casadi")
    x, z = casadi.SX.sym("x"), casadi.SX.sym("z")
    y = casadi.exp(x * z) + x * z / casadi.log(x) + casadi.sin(casadi.log(x)) / (x * z)
    return casadi.Function("quiz", [x, z], [y, casadi.gradient(y, x), casadi.gradient(y, z)])


def jax_quiz() -> Callable[..., Any]:
    """The quiz as JAX has it."""
    jax, jnp = importlib.import_module("jax"), importlib.import_module("jax.numpy")

    def function(x, z):
        return jnp.exp(x * z) + x * z / jnp.log(x) + jnp.sin(jnp.log(x)) / (x * z)

    run = jax.jit(jax.value_and_grad(function, (0, 1)))
    return lambda x, z: jax.block_until_ready(run(x, z))


def main() -> None:
    floats, sizes = (2.0, 3.0), ((16, 8), (16, 2), (8, 8), (8,), (8, 8), (8,), (8, 2), (2,))
    arrays = tuple(RNG.standard_normal(shape) for shape in sizes)
    rows = [
        phases("quiz: value", graphjit.jit(quiz), floats),
        phases("quiz: gradient", graphjit.grad(quiz), floats),
        phases("quiz: value and two gradients", graphjit.value_and_grad(quiz, (0, 1)), floats),
        phases("quiz: NumPy scalars", graphjit.jit(quiz), (np.float64(2.0), np.float64(3.0))),
        phases("step: 8 arrays in, 6 out", graphjit.jit(step), arrays),
        *others(),
    ]
    columns = ("empty", "call", "kernel", "outputs", "launch", "python")
    shown = [
        [row["case"], *(f"{row[c]:.0f}" if c in row else "" for c in columns),
         f"{row['over empty']:.1f}"] for row in rows
    ]  # fmt: skip
    print("nanoseconds a call, the best of", ROUNDS, "rounds")
    print(harness.table(("case", *columns, "× empty"), shown))
    print(harness.save("call_latency", rows))


if __name__ == "__main__":
    main()
