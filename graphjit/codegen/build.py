"""Build a program from a graph: passes, lowering, rendering, compilation, launch."""

from __future__ import annotations

import atexit
import itertools
import linecache
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from graphjit.codegen.loops import LoopProgram
from graphjit.codegen.lower import lower
from graphjit.codegen.render_numba import argument_order, render
from graphjit.errors import CompileError, GraphJITError, IndexRangeError
from graphjit.flags import current
from graphjit.ir.graph import Graph
from graphjit.passes.pipeline import PROGRAM, run

COUNTER = itertools.count()


class Program:
    """A compiled graph: call it with arguments that conform to the graph's inputs.

    Conforming means: contiguous arrays of exactly the input's shape and native dtype; for inputs
    of shape () a NumPy scalar of the dtype (or a Python float for float64).

    Attributes:
        graph: The optimised and fused graph.
        loops: The loop program.
        source: The generated text.
        timings: Seconds spent in each phase.
        launch: Runs it on a tuple of inputs, constants, outputs and scratch memory.
        constants: The arrays of its constant buffers.
        outputs: Shape and dtype of each output.
    """

    def __init__(self, graph: Graph, name: str, labels: Sequence[str] = ()) -> None:
        self.timings: dict[str, float] = {}
        self.jit = current().jit
        self.graph = self._timed("passes", lambda: run(graph, PROGRAM))
        self.loops: LoopProgram = self._timed("lower", lambda: lower(self.graph, labels=labels))
        module = runtime(jit=self.jit)
        self.source = self._timed("render", lambda: render(self.loops, name, module))
        entry = self._timed("compile", lambda: compiled(self.source, name))
        self.launch = launcher(entry, jit=self.jit)
        order = argument_order(self.loops)
        self.constants = tuple(np.ascontiguousarray(v) for _, v in self.loops.constants)
        self.outputs = [(b.shape, b.dtype) for b in self.loops.outputs]
        self._scratch = [
            (b.size, b.dtype)
            for b in order[len(self.loops.inputs) + len(self.constants) + len(self.outputs) :]
        ]
        self._pool: list[tuple[Any, ...]] = []

    def _timed(self, phase: str, step: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        result = step()
        self.timings[phase] = time.perf_counter() - start
        return result

    def __call__(self, *args: Any) -> list[Any]:
        """The outputs: fresh arrays, NumPy scalars where the shape is ().

        Raises:
            IndexRangeError: an index array held an index outside its axis.
        """
        outputs = [np.empty(shape, dtype) for shape, dtype in self.outputs]
        scratch = self.take_scratch()
        self.launch((*args, *self.constants, *outputs, *scratch))
        self.give_back(scratch)
        return [out if out.shape else out[()] for out in outputs]

    def take_scratch(self) -> tuple[Any, ...]:
        """Work memory for one run, so that runs do not meet in it."""
        try:
            return self._pool.pop()
        except IndexError:  # the first call, or another thread has it
            return tuple(np.zeros(n, d) for n, d in self._scratch)

    def give_back(self, scratch: tuple[Any, ...]) -> None:
        """Keep the work memory for the next run.

        Raises:
            IndexRangeError: the run met an index outside its axis.
        """
        if self.loops.checks and scratch[-1][0]:
            raise out_of_range(self.loops, int(scratch[-1][0]))
        self._pool.append(scratch)


def out_of_range(program: LoopProgram, code: int) -> IndexRangeError:
    """The error that a status code of the program stands for."""
    origin, size = program.checks[code - 1]
    return IndexRangeError(
        f"an index is out of bounds for an axis of size {size}", origin=origin,
        hint=f"Valid indices are {-size} to {size - 1}.",
    )  # fmt: skip


def build(graph: Graph, name: str, labels: Sequence[str] = ()) -> Program:
    """Compile a graph; ``labels`` are what the user calls its inputs.

    Raises:
        CompileError: the program could not be built; never an error of Numba or LLVM.
    """
    return Program(graph, name, labels)


def runtime(*, jit: bool) -> str:
    """The module that generated text imports from."""
    return f"graphjit.codegen.runtime_{'numba' if jit else 'python'}"


def launcher(entry: Any, *, jit: bool) -> Callable[[tuple[Any, ...]], None]:
    """What runs a program on a tuple in the order of its arguments."""
    if not jit:
        return np.errstate(all="ignore")(entry)  # type: ignore[no-any-return]
    from graphjit.codegen.runtime_numba import direct  # imports Numba

    native = entry.overloads[entry.signatures[0]].entry_point

    # The dispatcher owns the machine code, so whoever can launch it keeps the dispatcher.
    def launch(pack: tuple[Any, ...], _owner: Any = entry) -> None:
        native(id(pack))

    def launch_on_table(pack: tuple[Any, ...], _owner: Any = entry) -> None:
        with_table(native, pack)

    return launch if direct() else launch_on_table


def with_table(native: Callable[[int], None], pack: tuple[Any, ...]) -> None:
    """Run a program on a table of data pointers, where Python's structures are not as expected."""
    arrays = [np.ascontiguousarray(a) for a in pack]
    table = np.array([a.ctypes.data for a in arrays], dtype=np.uintp)
    native(table.ctypes.data)


def compiled(source: str, name: str) -> Callable[[Any], None]:
    """Execute the text as a module of its own, from a real file, so that a debugger shows it."""
    if current().debug >= 3:
        sys.stderr.write(source)
    path = folder() / f"program_{next(COUNTER)}.py"
    path.write_text(source)
    linecache.checkcache(str(path))
    namespace: dict[str, Any] = {"__name__": path.stem, "__file__": str(path)}
    try:
        exec(compile(source, str(path), "exec"), namespace)  # noqa: S102 - our own text
    except GraphJITError:
        raise
    except Exception as error:
        raise CompileError(
            f"the program of {name} could not be compiled", hint=f"Its source is {path}."
        ) from error
    return namespace["run"]  # type: ignore[no-any-return]


_FOLDERS: dict[int, Path] = {}


def folder() -> Path:
    """This process's folder of generated sources, removed when it ends."""
    pid = os.getpid()
    if pid not in _FOLDERS:
        _FOLDERS[pid] = path = Path(tempfile.mkdtemp(prefix="graphjit-"))
        atexit.register(_remove, pid, path)
    return _FOLDERS[pid]


def _remove(pid: int, path: Path) -> None:
    """Remove a folder, unless this is a fork of the process that made it."""
    if os.getpid() == pid:
        shutil.rmtree(path, ignore_errors=True)
