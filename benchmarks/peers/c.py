"""Hand-written C through ``gcc -O3 -march=native -ffast-math``, called by ctypes."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from peers.interface import Unsupported, leaves
from peers.problems import Problem

SOURCES = Path(__file__).parent / "c"
FLAGS = ("-O3", "-march=native", "-ffast-math", "-fPIC", "-c")
SUFFIX = {np.dtype("float32"): "f", np.dtype("float64"): ""}
CTYPE = {np.dtype("float32"): "float", np.dtype("float64"): "double"}
Macros = dict[str, Any]


def logistic(args: Any) -> Macros:
    n, d = args[1].shape
    return {"N": n, "D": d}


def epoch(args: Any) -> Macros:
    return {**logistic(args), "BATCH": 32, "BLOCK": 32, "RATE": 0.1}


def net(args: Any, steps: int = 1) -> Macros:
    params, x, _ = args
    real = x.dtype
    sizes = {"N": len(x), "D": x.shape[1], "H": params[0][0].shape[1]}
    return {**sizes, "T": CTYPE[real], "EXP": f"exp{SUFFIX[real]}", "RATE": 0.1, "STEPS": steps}


def long(args: Any) -> Macros:
    real = args[0].dtype
    spelled = "name##f" if SUFFIX[real] else "name"
    return {"N": args[0].size, "T": CTYPE[real], "F(name)": spelled}


def options(args: Any) -> Macros:
    return {"N": args[0].size}


def mixture(args: Any) -> Macros:
    """The constant is the function's value less what depends on the arguments."""
    from peers.models import mixture_constant

    (k, d), n = args[1].shape, len(args[4])
    return {"N": n, "K": k, "D": d, "CONSTANT": repr(mixture_constant(n, k, d))}


# The file of each function of the workloads, and what its arguments say to the compiler.
FILES: dict[str, tuple[str, Callable[[Any], Macros]]] = {
    "quiz": ("quiz", lambda args: {}),
    "logistic": ("logistic", logistic),
    "logistic_epoch": ("logistic", epoch),
    "descent_step": ("net", net),
    "descent_loop": ("net", partial(net, steps=10_000)),
    "chain": ("chain", long),
    "rosenbrock": ("rosenbrock", long),
    "mixture": ("mixture", mixture),
    "black_scholes": ("black_scholes", options),
}


class Library:
    """One source file, compiled for one workload; writes into arrays that it keeps."""

    def __init__(self, problem: Problem, args: tuple[Any, ...]) -> None:
        name, macros = FILES[problem.function]
        self.source, self.macros = SOURCES / f"{name}.c", macros(args)
        self.inputs = [np.atleast_1d(leaf) for leaf in leaves(args)]
        places = (0,) if problem.kind == "loop" else problem.argnums
        wanted = [np.asarray(leaf) for i in places for leaf in leaves(args[i])]
        self.outputs = [np.empty((), wanted[0].dtype), *map(np.empty_like, wanted)]
        self.tables = [table(arrays) for arrays in (self.inputs, self.outputs)]
        self.function: Any = None

    def compile(self) -> dict[str, float]:
        """With the system's gcc."""
        given = [f"-D{name}={value}" for name, value in self.macros.items()]
        with tempfile.TemporaryDirectory() as folder:  # once loaded, the file may go
            path = Path(folder) / "library.so"
            compiled = path.with_suffix(".o")
            # Linked with -ffast-math it would have the whole process take subnormal numbers for 0.
            for command in (
                ["gcc", *FLAGS, *given, str(self.source), "-o", str(compiled)],
                ["gcc", "-shared", str(compiled), "-o", str(path), "-lmvec", "-lm"],
            ):
                subprocess.run(command, check=True, capture_output=True)
            self.function = ctypes.CDLL(str(path)).run
        self.function.restype = None
        return {}

    def run(self) -> Any:
        """Call it."""
        self.call()()
        return self.outputs

    def call(self) -> Callable[[], Any]:
        """The call without a method around it."""
        pointers = (ctypes.c_void_p(pointer.ctypes.data) for pointer in self.tables)
        return partial(self.function, *pointers)

    def arrays(self, result: Any) -> list[np.ndarray]:
        """They are NumPy's."""
        return list(result)


def table(arrays: list[np.ndarray]) -> np.ndarray:
    return np.array([array.ctypes.data for array in arrays], np.uintp)


class C:
    """What a good programmer writes in an afternoon, not what a compiler of tensors emits."""

    name = "C, hand"

    def warm_up(self) -> None:
        """There is nothing to load."""

    def build(self, problem: Problem, args: tuple[Any, ...]) -> Library:
        """Those that are short in C."""
        if shutil.which("gcc") is None:
            raise Unsupported("there is no gcc")
        if problem.function not in FILES:
            raise Unsupported("not written by hand")
        return Library(problem, args)


PEERS = {"": C}
