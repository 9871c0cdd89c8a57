"""LLVM IR text to machine code, by llvmlite's library alone: Numba is not needed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any

from graphjit.codegen.libllvm import library
from graphjit.codegen.link import linked
from graphjit.errors import CompileError
from graphjit.forks import unforked
from graphjit.records import NamedTuple

VECTOR_BYTES = (("avx512f", 64), ("avx", 32))  # and 16 where there is neither, as SSE2 and NEON
BEST = 2  # the level at which programs are optimised; 0 is quick to make and slow to run


class Host(NamedTuple):
    """The processor that code is made for.

    Attributes:
        cpu: LLVM's name of it.
        features: LLVM's list of its features, as ``+avx2,-avx512f``.
        vector_bytes: How wide its vector registers are.
        fma: Whether it multiplies and adds in one rounding.
    """

    cpu: str
    features: str
    vector_bytes: int
    fma: bool


_chosen: ContextVar[Host | None] = ContextVar("graphjit_processor", default=None)


def host() -> Host:
    """The processor that code is made for: this one, or that of ``made_for``."""
    return _chosen.get() or this_one()


@contextmanager
def made_for(processor: Host) -> Iterator[None]:
    """Render and compile for another processor within a ``with`` block, in this thread."""
    token = _chosen.set(processor)
    try:
        yield
    finally:
        _chosen.reset(token)


@cache
def this_one() -> Host:
    """The processor this runs on."""
    own = library()
    width = next((size for name, size in VECTOR_BYTES if own.features.get(name)), 16)
    arm = own.triple.startswith(("aarch64", "arm64"))
    features = ",".join(f"{'-+'[has]}{name}" for name, has in sorted(own.features.items()))
    return Host(own.cpu, features, width, bool(own.features.get("fma")) or arm)


def compiled(text: str, level: int = BEST, passes: str = "") -> bytes:
    """A module of LLVM IR as what ``graphjit.codegen.code.Code`` takes; see ``object_file``."""
    return linked(object_file(text, level, passes))


def object_file(text: str, level: int = BEST, passes: str = "") -> bytes:
    """The object code of a module of LLVM IR.

    Args:
        text: The module.
        level: How hard the code generator tries, 0 to 3.
        passes: LLVM's own passes to run before, comma-separated, as ``always-inline``.

    Raises:
        CompileError: the text is no module: a defect of the renderer that wrote it.
    """
    processor = host()
    own = library()
    try:
        with unforked():
            return own.object_file(text, processor.cpu, processor.features, level, passes)
    except RuntimeError as error:
        raise CompileError(f"LLVM does not take the generated text: {error}") from error


def loader() -> Any:
    """A code generator of llvmlite's, for an engine: the engine takes it over."""
    import llvmlite.binding as llvm  # which is not needed where code is linked here

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    target = llvm.Target.from_default_triple()
    own = this_one()
    return target.create_target_machine(cpu=own.cpu, features=own.features, opt=0)
