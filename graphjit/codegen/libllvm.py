"""LLVM's code generator in the library that llvmlite brings.

Importing llvmlite takes 22 ms, of which loading its library is 6. So where its version is one whose
functions are known, the library is loaded here, in a thread while a function is traced, and called
directly. Anywhere else llvmlite is imported.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable, Iterator
from ctypes import CDLL, POINTER, byref, c_char_p, c_int, c_size_t, c_void_p, string_at
from functools import cache
from pathlib import Path
from typing import Any, Protocol

from graphjit.cache.environment import installed
from graphjit.codegen.code import process
from graphjit.forks import Lock, started, unforked

KNOWN = "0.50."  # versions of llvmlite with these functions
TEXT, MESSAGE = c_char_p, POINTER(c_char_p)
FUNCTIONS: dict[str, tuple[Any, ...]] = {  # the result, then the arguments
    "InitializeNativeTarget": (None,),
    "InitializeNativeAsmPrinter": (None,),
    "GetHostCPUFeatures": (c_int, MESSAGE),
    "GetHostCPUName": (None, MESSAGE),
    "GetDefaultTargetTriple": (None, MESSAGE),
    "DisposeString": (None, c_void_p),
    "GetTargetFromTriple": (c_void_p, TEXT, MESSAGE),
    "CreateTargetMachine": (
        c_void_p, c_void_p, TEXT, TEXT, TEXT, c_int, TEXT, TEXT, c_int, c_int, TEXT,
    ),
    "DisposeTargetMachine": (None, c_void_p),
    "ContextCreate": (c_void_p,),
    "ContextDispose": (None, c_void_p),
    "ParseAssembly": (c_void_p, c_void_p, TEXT, MESSAGE),
    "DisposeModule": (None, c_void_p),
    "TargetMachineEmitToMemory": (c_void_p, c_void_p, c_void_p, c_int, MESSAGE),
    "GetBufferStart": (c_void_p, c_void_p),
    "GetBufferSize": (c_size_t, c_void_p),
    "DisposeMemoryBuffer": (None, c_void_p),
    "CreatePipelineTuningOptions": (c_void_p,),
    "DisposePipelineTuningOptions": (None, c_void_p),
    "CreatePassBuilder": (c_void_p, c_void_p, c_void_p),
    "DisposePassBuilder": (None, c_void_p),
    "CreateNewModulePassManager": (c_void_p,),
    "RunNewModulePassManager": (None, c_void_p, c_void_p, c_void_p),
    "DisposeNewModulePassManger": (None, c_void_p),
    "module_AddAlwaysInlinerPass": (None, c_void_p),
    "module_AddNewGVNPass": (None, c_void_p),
}  # fmt: skip
ADD = {"always-inliner": "module_AddAlwaysInlinerPass", "new-gvn": "module_AddNewGVNPass"}
# What code generation touches first is read from the disk: a module like those that are to come.
FIRST = """\
define void @first(ptr %x, i64 %n) {
  br label %turn
turn:
  %i = phi i64 [0, %0], [%j, %turn]
  %p = getelementptr double, ptr %x, i64 %i
  %a = load <4 x double>, ptr %p
  %b = call <4 x double> @llvm.fma.v4f64(<4 x double> %a, <4 x double> %a, <4 x double> %a)
  %c = fcmp ogt <4 x double> %b, %a
  %d = select <4 x i1> %c, <4 x double> %b, <4 x double> splat (double 0.5)
  store <4 x double> %d, ptr %p
  %j = add i64 %i, 4
  %e = icmp slt i64 %j, %n
  br i1 %e, label %turn, label %end
end:
  ret void
}
declare <4 x double> @llvm.fma.v4f64(<4 x double>, <4 x double>, <4 x double>)
"""


class Library(Protocol):
    """What makes machine code.

    Attributes:
        triple: The system that code is made for.
        cpu: LLVM's name of this processor.
        features: What this processor has, and has not.
    """

    triple: str
    cpu: str
    features: dict[str, bool]

    def object_file(self, text: str, cpu: str, features: str, level: int, passes: str) -> bytes:
        """Machine code.

        Raises:
            RuntimeError: the text is no module.
        """
        ...


class Direct:
    """The library itself: modules, contexts and code generators are each compilation's own."""

    def __init__(self, path: Path) -> None:
        loaded = opened(path)
        self._call = {name: declared(loaded, name) for name in FUNCTIONS}
        self._call["InitializeNativeTarget"]()
        self._call["InitializeNativeAsmPrinter"]()
        self.triple = self._told("GetDefaultTargetTriple")
        self.cpu = self._told("GetHostCPUName")
        features = self._told("GetHostCPUFeatures").split(",")
        self.features = {feature[1:]: feature[0] == "+" for feature in features if feature}
        with self._message() as message:
            self._target = self._call["GetTargetFromTriple"](self.triple.encode(), byref(message))

    @contextlib.contextmanager
    def _message(self) -> Iterator[c_char_p]:
        """Where a function puts a text, for as long as the block runs."""
        message = c_char_p()
        try:
            yield message
        finally:
            self._call["DisposeString"](message)

    def _told(self, name: str) -> str:
        with self._message() as message:
            self._call[name](byref(message))
            return (message.value or b"").decode()

    def object_file(self, text: str, cpu: str, features: str, level: int, passes: str) -> bytes:
        """Machine code; see ``Library``."""
        call = self._call
        with contextlib.ExitStack() as stack:

            def made(name: str, disposal: str, *args: Any) -> int:
                pointer: int | None = call[name](*args)
                if not pointer:
                    raise RuntimeError((message.value or b"LLVM says no more").decode())
                stack.callback(call[disposal], pointer)
                return pointer

            message = stack.enter_context(self._message())
            names = self.triple.encode(), cpu.encode(), features.encode()
            settings = level, b"pic", b"default", 0, 0, b""
            machine = made(
                "CreateTargetMachine", "DisposeTargetMachine", self._target, *names, *settings
            )
            context = made("ContextCreate", "ContextDispose")
            source = text.encode()
            module = made("ParseAssembly", "DisposeModule", context, source, byref(message))
            if passes:
                self._optimise(made, machine, module, passes)
            buffer = made(
                "TargetMachineEmitToMemory", "DisposeMemoryBuffer", machine, module, 1,
                byref(message),
            )  # fmt: skip
            return string_at(call["GetBufferStart"](buffer), call["GetBufferSize"](buffer))

    def _optimise(self, made: Callable[..., int], machine: int, module: int, passes: str) -> None:
        """Run LLVM's own passes over a module; ``made`` disposes of what they need."""
        options = made("CreatePipelineTuningOptions", "DisposePipelineTuningOptions")
        builder = made("CreatePassBuilder", "DisposePassBuilder", machine, options)
        manager = made("CreateNewModulePassManager", "DisposeNewModulePassManger")
        for name in passes.split(","):
            self._call[ADD[name]](manager)
        self._call["RunNewModulePassManager"](manager, module, builder)


def opened(path: Path) -> CDLL:
    """A library, loaded by a call that lets other threads of Python run.

    Raises:
        OSError: it cannot be loaded.
    """
    load = process().dlopen
    load.restype, load.argtypes = c_void_p, (c_char_p, c_int)
    handle = load(os.fsencode(path), os.RTLD_NOW | os.RTLD_LOCAL)  # as ctypes itself does
    if not handle:
        raise OSError(f"{path} cannot be loaded")
    return CDLL(str(path), handle=handle)


def declared(library: CDLL, name: str) -> Any:
    """A function of the library with its types.

    Raises:
        AttributeError: it has none of that name.
    """
    function = getattr(library, f"LLVMPY_{name}")
    function.restype, *function.argtypes = FUNCTIONS[name]
    return function


class Imported:
    """The same by llvmlite."""

    def __init__(self) -> None:
        import llvmlite.binding as llvm

        self._llvm = llvm
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        self.triple, self.cpu = llvm.get_default_triple(), llvm.get_host_cpu_name()
        self.features = dict(llvm.get_host_cpu_features())

    def object_file(self, text: str, cpu: str, features: str, level: int, passes: str) -> bytes:
        """Machine code; see ``Library``."""
        llvm = self._llvm
        target = self._machine(cpu, features, level)
        module = llvm.parse_assembly(text)
        if passes:
            options = llvm.create_pipeline_tuning_options(speed_level=level)
            builder = llvm.create_pass_builder(target, options)
            manager = llvm.create_new_module_pass_manager()
            for name in passes.split(","):
                getattr(manager, f"add_{name.replace('-', '_')}_pass")()
            manager.run(module, builder)
        return target.emit_object(module)  # type: ignore[no-any-return]

    @cache  # noqa: B019 - there is one of it
    def _machine(self, cpu: str, features: str, level: int) -> Any:
        return self._llvm.Target.from_default_triple().create_target_machine(
            cpu=cpu, features=features, opt=level, reloc="pic", codemodel="default"
        )


def loaded() -> Library:
    """The library, in the quickest way that is safe here."""
    folder, version = installed()
    name = "libllvmlite.dylib" if sys.platform == "darwin" else "libllvmlite.so"
    if os.name == "posix" and version.startswith(KNOWN):
        with contextlib.suppress(OSError, AttributeError):  # it is built in another way
            return Direct(folder / "binding" / name)
    return Imported()


class Once:
    """The library, loaded once by whoever comes first."""

    def __init__(self) -> None:
        self._library: Library | None = None
        self._lock = Lock()

    def __call__(self) -> Library:
        """It."""
        with self._lock, unforked():  # a child cannot go on with half a library
            self._library = self._library or loaded()
            return self._library

    def early(self) -> None:
        """Load it in a thread, and what it loads at its first work."""
        if self._library is None:
            started(threading.Thread(target=self._first, name="graphjit loads LLVM"))

    def _first(self) -> None:
        with contextlib.suppress(Exception), unforked():  # whoever needs it meets the same
            own = self()
            own.object_file(FIRST, own.cpu, "", 0, "")


library = Once()
