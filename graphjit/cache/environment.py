"""What a compiled program depends on beside the function: versions, the system, the processor."""

from __future__ import annotations

import os
import re
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.machinery import PathFinder
from itertools import takewhile
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any

import numpy as np
import optree

from graphjit.cache.container import VERSION
from graphjit.digests import hexadecimal
from graphjit.tuning import digest as tuning

THREADS = ("OPENBLAS_NUM_THREADS", "GOTO_NUM_THREADS", "OMP_NUM_THREADS")
CPU_INFORMATION = Path("/proc/cpuinfo")
FEATURES = {"flags", "Features"}  # on x86 and on ARM
NAMES = {
    "vendor_id", "cpu family", "model", "model name", "stepping",
    "CPU implementer", "CPU architecture", "CPU variant", "CPU part", "CPU revision",
}  # fmt: skip
PACKAGE = __name__.partition(".")[0]


@cache
def environment() -> MappingProxyType[str, str]:
    """Part of the key of every entry: where any of these differs, there is no hit.

    Neither Numba nor llvmlite is imported for it: programs from the disk need neither.
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
            "tuning": tuning(),
            **compiler(),
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


def compiler() -> dict[str, str]:
    """The version of llvmlite, and with it of LLVM."""
    return {"llvmlite": installed()[1]}


@cache
def installed() -> tuple[Path, str]:
    """Where llvmlite is and its version: its own file says it, unloaded."""
    found = PathFinder.find_spec("llvmlite")
    folder = Path(str(found and found.origin)).parent
    try:
        text = (folder / "_version.py").read_text()
        (version,) = re.findall(r"version_version = '(.+)'", text)
    except (OSError, ValueError):  # it is installed in another way
        import llvmlite  # loads LLVM, which takes 20 ms

        folder, version = Path(llvmlite.__file__).parent, str(llvmlite.__version__)
    return folder, version


def processor() -> dict[str, str]:
    """What tells this processor from others: as Linux tells it, elsewhere as LLVM does."""
    told = dict(described(CPU_INFORMATION))
    if FEATURES.intersection(told):
        return told
    import llvmlite.binding as llvm  # loads LLVM, which takes 20 ms

    return {
        "triple": llvm.get_process_triple(),
        "cpu": llvm.get_host_cpu_name(),
        "features": llvm.get_host_cpu_features().flatten(),
    }


def described(path: Path) -> Iterator[tuple[str, str]]:
    """What the system says of the first processor, without what changes from day to day."""
    try:
        with path.open(encoding="utf-8", errors="replace") as lines:
            for line in takewhile(str.strip, lines):
                name, _, value = line.partition(":")
                if name.strip() in FEATURES | NAMES:
                    yield name.strip(), value.strip()
    except OSError:
        return


def sources(package: ModuleType) -> str:
    """A digest of names, sizes and times of the library's own files.

    Between two versions its code changes too, under the hands of those who work on it.
    """
    found: Any = package.__path__
    roots = [os.path.realpath(folder) for folder in found]
    lines = sorted(line for root in roots for line in files(root))
    return hexadecimal("\n".join(lines).encode())


def files(folder: str) -> Iterator[str]:
    """One line for each Python file below a folder, or one for the archive that has it."""
    if Path(folder).is_dir():
        yield from stamps(folder, len(folder))
    else:
        status = next(place for place in Path(folder).parents if place.exists()).stat()
        yield f"{status.st_size} {status.st_mtime_ns}"


def stamps(folder: str, start: int) -> Iterator[str]:
    """One line for each Python file below a folder; folders that are links are entered."""
    for item in os.scandir(folder):
        if item.name.endswith(".py"):
            status = item.stat()
            yield f"{item.path[start:]} {status.st_size} {status.st_mtime_ns}"
        elif item.is_dir() and item.name != "__pycache__":
            yield from stamps(item.path, start)
