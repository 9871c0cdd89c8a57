"""What a compiled program depends on beside the function: versions, the system, the processor."""

from __future__ import annotations

import hashlib
import os
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from functools import cache
from types import MappingProxyType, ModuleType
from typing import Any

import numpy as np
import optree

from graphjit.cache.container import VERSION

THREADS = ("OPENBLAS_NUM_THREADS", "GOTO_NUM_THREADS", "OMP_NUM_THREADS")
PACKAGE = __name__.partition(".")[0]


@cache
def environment() -> MappingProxyType[str, str]:
    """Part of the key of every entry: where any of these differs, there is no hit.

    Numba is not imported for it; llvmlite is, since loading an entry needs it anyway.
    """
    return MappingProxyType(
        {
            "graphjit": sys.modules[PACKAGE].__version__,
            "sources": sources(sys.modules[PACKAGE]),
            "format": str(VERSION),
            "python": f"{sys.implementation.cache_tag} {sys.version}",
            "abi": getattr(sys, "abiflags", ""),
            "numpy": np.__version__,
            "optree": optree.__version__,
            "platform": f"{sysconfig.get_platform()} {sys.byteorder} {sys.maxsize:x}",
            "threads": threads(os.environ),
            **processor(),
        }
    )


def threads(variables: Mapping[str, str]) -> str:
    """Whether the BLAS may use several threads: which products call it depends on that.

    Read as OpenBLAS does when it is loaded; loading it to ask would take longer than all else.
    """
    given = next((variables[name] for name in THREADS if variables.get(name)), "")
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return "one" if given == "1" or count == 1 else "several"


def processor() -> dict[str, str]:
    """Name and features of the processor as LLVM sees it, and the version of LLVM."""
    import llvmlite  # loads LLVM: needed only where there is something to load or to keep
    import llvmlite.binding as llvm

    return {
        "llvmlite": llvmlite.__version__,
        "llvm": ".".join(map(str, llvm.llvm_version_info)),
        "triple": llvm.get_process_triple(),
        "cpu": llvm.get_host_cpu_name(),
        "features": llvm.get_host_cpu_features().flatten(),
    }


def sources(package: ModuleType) -> str:
    """A digest of names, sizes and times of the library's own files.

    Between two versions its code changes too, under the hands of those who work on it.
    """
    found: Any = package.__path__
    roots = [os.path.realpath(folder) for folder in found]
    lines = sorted(line for root in roots for line in stamps(root, len(root)))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def stamps(folder: str, start: int) -> Iterator[str]:
    """One line for each Python file below a folder; folders that are links are entered."""
    for item in os.scandir(folder):
        if item.name.endswith(".py"):
            status = item.stat()
            yield f"{item.path[start:]} {status.st_size} {status.st_mtime_ns}"
        elif item.is_dir() and item.name != "__pycache__":
            yield from stamps(item.path, start)
