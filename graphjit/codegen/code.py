"""Machine code in memory: images, which are only put there, and object files, which LLVM links."""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from graphjit.codegen.image import Image, is_image
from graphjit.errors import CompileError

READ_AND_EXECUTE = 1 | 4  # PROT_READ | PROT_EXEC of mprotect


class Code:
    """Machine code in memory, as long as this object lives.

    Args:
        content: What ``graphjit.codegen.native.compiled`` returns.
        symbols: Addresses of functions that it calls; those of the C library are known.

    Raises:
        CompileError: it calls something unknown, or the system does not let it run.
    """

    def __init__(self, content: bytes, symbols: Mapping[str, int]) -> None:
        load = Mapped if is_image(content) else Linked
        self._loaded: Mapped | Linked = load(content, symbols)

    def address(self, name: str) -> int:
        """Where a function begins."""
        return self._loaded.address(name)

    def function(self, name: str, *kinds: Any) -> Callable[..., None]:
        """A function of no result as a callable of Python, which releases the GIL."""
        prototype = ctypes.CFUNCTYPE(None, *kinds)
        call = prototype(self.address(name))
        call.owner = self  # type: ignore[attr-defined]
        return call


class Mapped:
    """An image in memory of its own."""

    def __init__(self, content: bytes, symbols: Mapping[str, int]) -> None:
        image = Image.read(content)
        self._functions = image.functions
        self._memory = mmap.mmap(-1, len(image.content))
        self._memory.write(image.content)
        self._start = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))
        for name, slot in image.imports.items():
            address = symbols.get(name) or in_process(name)
            ctypes.c_uint64.from_address(self._start + slot).value = address
        if protect()(self._start, len(image.content), READ_AND_EXECUTE):
            raise CompileError("the system does not let generated code run")

    def address(self, name: str) -> int:
        """Where a function begins."""
        return self._start + self._functions[name]


@cache
def process() -> ctypes.CDLL:
    """The functions that every library of the process can call."""
    return ctypes.CDLL(None, use_errno=True)


@cache
def protect() -> Any:
    """The system's function that says what memory is for."""
    function = process().mprotect
    function.argtypes = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
    return function


def in_process(name: str) -> int:
    """The address of a function of the C library.

    Raises:
        CompileError: there is none of that name.
    """
    try:
        return ctypes.cast(getattr(process(), name), ctypes.c_void_p).value or 0
    except AttributeError:
        raise CompileError(f"generated code calls {name}, which is not there") from None


class Linked:
    """An object file, linked by LLVM."""

    def __init__(self, content: bytes, symbols: Mapping[str, int]) -> None:
        # LLVM takes 20 ms to load, and images do without.
        import llvmlite.binding as llvm

        from graphjit.codegen.native import loader

        for name, address in symbols.items():
            llvm.add_symbol(name, address)
        self._engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), loader())
        self._engine.add_object_file(llvm.ObjectFileRef.from_data(content))
        self._engine.finalize_object()

    def address(self, name: str) -> int:
        """Where a function begins."""
        return self._engine.get_function_address(name)  # type: ignore[no-any-return]
