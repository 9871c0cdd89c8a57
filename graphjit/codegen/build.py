"""Build a program from a graph: passes, lowering, rendering, compilation, launch."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from contextvars import copy_context
from functools import cached_property
from typing import Any

import numpy as np

from graphjit.cache.objects import kept_code, key_of, object_code
from graphjit.cache.store import opened
from graphjit.codegen import objects
from graphjit.codegen.code import Code
from graphjit.codegen.duration import LONG, estimate
from graphjit.codegen.llvm_loops import resolved
from graphjit.codegen.loops import LoopProgram
from graphjit.codegen.lower import lower
from graphjit.codegen.native import BEST
from graphjit.codegen.native import compiled as machine_code
from graphjit.codegen.plan import argument_order
from graphjit.codegen.program import Kept, Memory, Runnable, on_pack, with_table
from graphjit.codegen.render_llvm import Rendered
from graphjit.codegen.render_llvm import render as render_llvm
from graphjit.codegen.tiers import QUICK, Improvement, turns
from graphjit.flags import current
from graphjit.ir.graph import Graph
from graphjit.passes.pipeline import PROGRAM, run

Make = Callable[[], Code]
Pairs = Sequence[tuple[int, int]]
INLINE = "always-inliner"
SHARING = "@sin_v", "@cos_v"  # functions that begin alike: with both, a gradient took a tenth less


class Program(Runnable):
    """A program that was built from a graph just now.

    Attributes:
        graph: The optimised and fused graph.
        loops: The loop program.
        timings: Seconds spent in each phase.
        shared: How many loops and products threads may share.
        kept: Where its object code is on disk, and what that calls; None where it is not.
    """

    def __init__(
        self, graph: Graph, name: str, labels: Sequence[str] = (), donated: Pairs = ()
    ) -> None:
        self.timings: dict[str, float] = {}
        self.name = name
        self.jit = current().jit
        self.kept: Kept | None = None
        self.shared = 0
        with turns.first():
            self.graph = self._timed("passes", lambda: run(graph, PROGRAM))
            self.loops: LoopProgram = self._timed(
                "lower",
                lambda: lower(self.graph, labels=labels, donated=dict(donated), copied=False),
            )
            launch, code, better = self._launcher()
            super().__init__(memory_of(self.loops), launch, code)
        self.improvement = better and Improvement(better, self.improved, self.failed)

    def _launcher(self) -> tuple[Callable[[tuple[Any, ...]], None], Any, Make | None]:
        """What runs the program, what holds its code, and how to make better code."""
        if self.jit and current().renderer == "llvm":
            rendered = self._timed("render", lambda: render_llvm(self.loops, self.name))
            self.shared = rendered.shared
            code, better = self._timed("compile", lambda: self._code(rendered))
            return on_pack(code), code, better
        self._timed("render", lambda: self.source)
        from graphjit.codegen.texts import compiled  # which only programs of Python text need

        entry = self._timed("compile", lambda: compiled(self.source, self.name))
        return launcher(entry, jit=self.jit), entry if self.jit else None, None

    def _code(self, rendered: Rendered) -> tuple[Code, Make | None]:
        """The best code; or what is quick to make, and how to make the best."""
        self.kept = kept(rendered)
        known = kept_code(self.kept.key) if self.kept else None
        if known is not None:
            return Code(known, rendered.symbols), None
        if current().tier == "best":
            return native(rendered)[0], None
        quick = render_llvm(self.loops, self.name, wide=False) if rendered.widened else rendered
        code = Code(machine_code(quick.text, QUICK), quick.symbols)
        context = copy_context()  # with the flags that are in force here
        return code, lambda: context.run(native, rendered)[0]

    def improved(self, code: Code) -> None:
        """Run better code from now on; calls that are inside the old finish there."""
        self._earlier = self.code
        self.launch, self.code = on_pack(code), code

    def failed(self, error: Exception) -> None:
        """Raise at the next call what went wrong in making better code."""

        def launch(_: tuple[Any, ...]) -> None:
            raise error

        self.launch = launch

    @property
    def pending(self) -> bool:
        """Whether better code is being made."""
        return self.improvement is not None and self.improvement.pending

    @cached_property
    def source(self) -> str:
        """The program as readable Python text, whatever its machine code was made from."""
        return readable(self.loops, self.name, jit=self.jit)

    def _timed(self, phase: str, step: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        result = step()
        self.timings[phase] = time.perf_counter() - start
        return result


def memory_of(loops: LoopProgram) -> Memory:
    """What a program takes beside its inputs."""
    constants = tuple(np.ascontiguousarray(value) for _, value in loops.constants)
    outputs = [(b.shape, b.dtype) for b in loops.outputs]
    work = [(b.size, b.dtype) for b in argument_order(loops) if b.role == "work"]
    long = estimate(loops) > LONG
    return Memory(constants, outputs, work, tuple(loops.checks), long, overwritten(loops))


def overwritten(loops: LoopProgram) -> dict[int, int]:
    """The outputs that are written over inputs, both by position."""
    places = {b.name: place for place, b in enumerate(loops.inputs)}
    roots = [resolved(b.name, loops.aliases) for b in loops.outputs]
    return {i: places[root] for i, root in enumerate(roots) if root in places}


def build(graph: Graph, name: str, labels: Sequence[str] = (), donated: Pairs = ()) -> Program:
    """Compile a graph.

    Args:
        graph: As it was traced or derived.
        name: What it is called in its text.
        labels: What the user calls its inputs.
        donated: Outputs that may be written over inputs, both by position.

    Raises:
        CompileError: the program could not be built; never an error of Numba or LLVM.
    """
    return Program(graph, name, labels, donated)


def text_of(graph: Graph, name: str, labels: Sequence[str] = (), donated: Pairs = ()) -> str:
    """The readable text of the program that ``build`` would make."""
    loops = lower(run(graph, PROGRAM), labels=labels, donated=dict(donated), copied=False)
    return readable(loops, name, jit=True)


def readable(loops: LoopProgram, name: str, *, jit: bool) -> str:
    """A program as Python text."""
    from graphjit.codegen.render_numba import render  # machine code is made of another text

    return render(loops, name, runtime(jit=jit))


def runtime(*, jit: bool) -> str:
    """The module that generated text imports from."""
    return f"graphjit.codegen.runtime_{'numba' if jit else 'python'}"


def launcher(entry: Any, *, jit: bool) -> Callable[[tuple[Any, ...]], None]:
    """What runs a program on a tuple in the order of its arguments."""
    if not jit:
        return np.errstate(all="ignore")(entry)  # type: ignore[no-any-return]
    native = entry.overloads[entry.signatures[0]].entry_point

    # The dispatcher owns the machine code, so whoever can launch it keeps the dispatcher.
    def launch(pack: tuple[Any, ...], _owner: Any = entry) -> None:
        native(id(pack))

    def launch_on_table(pack: tuple[Any, ...], _owner: Any = entry) -> None:
        with_table(native, pack)

    return launch if objects.direct() else launch_on_table


def native(rendered: Rendered) -> tuple[Code, Kept | None]:
    """The machine code of a module of LLVM IR, and where it is kept."""
    if current().debug >= 3:
        sys.stderr.write(rendered.text)
    text = rendered.text
    passes = passes_for(text)
    content, key = object_code(text, lambda: machine_code(text, BEST, passes), BEST, passes)
    return Code(content, rendered.symbols), Kept(key, tuple(rendered.symbols)) if key else None


def kept(rendered: Rendered) -> Kept | None:
    """Where the best machine code of a module is kept, or will be."""
    if opened() is None:
        return None
    key = key_of("text", rendered.text, BEST, passes_for(rendered.text))
    return Kept(key, tuple(rendered.symbols))


def passes_for(text: str) -> str:
    """The passes of LLVM that run over a module: what is the same in two functions is found."""
    return f"{INLINE},new-gvn" if all(name in text for name in SHARING) else INLINE
