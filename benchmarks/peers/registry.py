"""Who competes, which package each needs, and where each keeps what it compiled."""

from __future__ import annotations

import os
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from shutil import which
from typing import NamedTuple

THREADS = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS", "NUMBA_NUM_THREADS")
# For each package the variables that move its cache on disk, and those that let it keep all.
FOLDERS = {
    "graphjit": ("GRAPHJIT_CACHE_DIR",),
    "jax": ("JAX_COMPILATION_CACHE_DIR",),
    "torch": ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR"),
}
WHOLE = {
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
}


class Competitor(NamedTuple):
    """One way of running the workloads.

    Attributes:
        name: What tables call it.
        package: What must be installed.
        way: Which of the peer's classes.
        variables: Set in the environment of its processes.
        pinned: Whether its processes keep to one core.
    """

    name: str
    package: str
    way: str = ""
    variables: tuple[tuple[str, str], ...] = ()
    pinned: bool = True

    def missing(self) -> str:
        """Why it cannot take part, or an empty string."""
        if self.package in OWN:
            absent = [program for program in OWN[self.package] if which(program) is None]
            return f"{absent[0]} is not installed" if absent else ""
        if find_spec(self.package) is None:
            return f"{self.package} is not installed"
        renderer = dict(self.variables).get("GRAPHJIT_RENDERER", "numba")
        if find_spec(f"graphjit.codegen.render_{renderer}") is None:
            return f"there is no renderer {renderer}"
        return ""

    def on_all_cores(self) -> Competitor:
        """The same, with as many threads as there are cores."""
        every = dict.fromkeys(THREADS, str(os.cpu_count()))
        if self.package == "graphjit":
            every["GRAPHJIT_THREADS"] = "0"
        variables = tuple({**dict(self.variables), **every}.items())
        return self._replace(pinned=False, variables=variables)

    def version(self) -> str:
        """The package's."""
        try:
            return version({"sklearn": "scikit-learn"}.get(self.package, self.package))
        except PackageNotFoundError:
            return "unknown"

    def environment(self, folder: Path, *, cache: bool) -> dict[str, str]:
        """The variables of one process; what it keeps on disk goes to the folder."""
        keeps = cache or self.package == "torch"  # which cannot do without
        names = FOLDERS.get(self.package, ()) if keeps else ()
        where = {name: str(folder / "cache") for name in names}
        flags = f"base_compiledir={folder / 'cache'}"
        own = {"GRAPHJIT_CACHE": "on" if cache else "off", "PYTENSOR_FLAGS": flags}
        threads = dict.fromkeys(THREADS, "1")
        given = {k: v for k, v in os.environ.items() if not k.startswith("GRAPHJIT_")}
        temporary = {"NUMBA_CACHE_DIR": str(folder / "numba")}
        return {**given, **threads, **temporary, **WHOLE, **where, **own, **dict(self.variables)}


# What is no package but written here, and the programs it needs.
OWN: dict[str, tuple[str, ...]] = {"c": ("gcc",), "blas": ()}
BEST = (("GRAPHJIT_RENDERER", "llvm"), ("GRAPHJIT_TIER", "best"))
COMPETITORS = {
    c.name: c
    for c in (
        Competitor("GraphJIT", "graphjit", variables=(("GRAPHJIT_RENDERER", "llvm"),)),
        Competitor("GraphJIT, Numba", "graphjit", variables=(("GRAPHJIT_RENDERER", "numba"),)),
        Competitor("JAX", "jax"),
        Competitor("JAX, all cores", "jax", pinned=False),
        Competitor("PyTorch", "torch"),
        Competitor("torch.compile", "torch", "compile"),
        Competitor("autograd", "autograd"),
        Competitor("PyTensor", "pytensor"),
        Competitor("CasADi", "casadi"),
        Competitor("CasADi, C", "casadi", "c"),
    )
}
STEADY = {
    c.name: c
    for c in (
        Competitor("GraphJIT", "graphjit", variables=(*BEST, ("GRAPHJIT_THREADS", "1"))),
        Competitor("GraphJIT, scan", "graphjit", "scan", variables=BEST),
        Competitor("C, hand", "c"),
        Competitor("Numba, hand", "numba"),
        Competitor("BLAS calls", "blas"),
        Competitor("JAX", "jax"),
        Competitor("JAX, second core", "jax", pinned=False),
        Competitor("PyTorch", "torch"),
        Competitor("torch.compile", "torch", "compile"),
        Competitor("PyTensor", "pytensor", "numba"),
        Competitor("CasADi", "casadi"),
        Competitor("CasADi, C", "casadi", "c"),
        Competitor("autograd", "autograd"),
        Competitor("scikit-learn", "sklearn"),
        Competitor("tangent", "tangent"),
    )
}
THREADED = ("GraphJIT", "JAX", "PyTorch", "torch.compile")
