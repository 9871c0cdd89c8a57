"""Render a loop program as a module of LLVM IR, already vectorised for this processor."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from graphjit.codegen import workers
from graphjit.codegen.duration import CALLED, cost, least
from graphjit.codegen.llvm_kernel import KernelWriter
from graphjit.codegen.llvm_memory import COUNTERS
from graphjit.codegen.llvm_text import Module
from graphjit.codegen.loops import Buffer, Gemm, Kernel, LoopProgram
from graphjit.codegen.native import host
from graphjit.codegen.objects import DATA, ITEMS, WORD
from graphjit.codegen.plan import argument_order
from graphjit.codegen.walks import walk
from graphjit.flags import current
from graphjit.records import NamedTuple

ATTRIBUTES = """attributes #0 = {{ nounwind "min-legal-vector-width"="{bits}" }}
attributes #1 = {{ nounwind memory(none) "min-legal-vector-width"="{bits}" }}"""
LAUNCH = """
@scalars = internal constant [{count} x i1] [{scalars}]
define void @launch(ptr %pack) #0 {{
entry:
  %table = alloca [{count} x ptr]
  br label %turn
turn:
  %i = phi i64 [ 0, %entry ], [ %next, %turn ]
  %offset = mul i64 %i, {word}
  %place = add i64 %offset, {items}
  %item = getelementptr i8, ptr %pack, i64 %place
  %object = load ptr, ptr %item
  %value = getelementptr i8, ptr %object, i64 {data}
  %content = load ptr, ptr %value
  %is_scalar = getelementptr i1, ptr @scalars, i64 %i
  %scalar = load i1, ptr %is_scalar
  %address = select i1 %scalar, ptr %value, ptr %content
  %slot = getelementptr ptr, ptr %table, i64 %i
  store ptr %address, ptr %slot
  %next = add i64 %i, 1
  %more = icmp ult i64 %next, {count}
  br i1 %more, label %turn, label %end
end:
  call void @run(ptr %table)
  ret void
}}"""


class Rendered(NamedTuple):
    """A module, the addresses of what it calls by our own names, and how many loops are shared.

    ``widened`` says how many take several vectors of each value at once.
    """

    text: str
    symbols: dict[str, int]
    shared: int = 0
    widened: int = 0


def render(program: LoopProgram, title: str, *, wide: bool = True) -> Rendered:
    """The program as a module with the functions ``run(table)`` and ``launch(pack)``.

    ``table`` holds the addresses of the inputs, constants, outputs, the work array of each dtype,
    then the status, as ``argument_order`` says; ``pack`` is a tuple of arrays and scalars. Without
    ``wide``, loops take one vector after the other: less to compile, and the same results.
    """
    module = threaded()
    module.wide = wide
    order = argument_order(program)
    kernels = Kernels(module, program, order)
    calls = kernels.calls(program.kernels)
    run = ["define void @run(ptr %table) #0 {", "entry:", *calls, "  ret void", "}"]
    functions = [*kernels.functions(), "\n".join(run), launch(order)]
    text = module_text(module, functions, title)
    return Rendered(text, module.symbols, module.shared, module.widened)


def threaded() -> Module:
    """A module for this process, whose loops its threads may share."""
    return Module(pool=workers.entry if workers.supported() else None, threads=current().threads)


def launch(order: Sequence[Buffer]) -> str:
    """``launch(pack)``: run on a tuple of arrays and scalars, by the address of the tuple."""
    if not order:  # a program on nothing that returns nothing
        return "define void @launch(ptr %pack) #0 {\n  call void @run(ptr %pack)\n  ret void\n}"
    scalars = [b.role == "input" and not b.shape for b in order]
    text = ", ".join(f"i1 {int(scalar)}" for scalar in scalars)
    return LAUNCH.format(count=len(scalars), scalars=text, word=WORD, items=ITEMS, data=DATA)


def module_text(module: Module, functions: Sequence[str], title: str) -> str:
    """The module with what its functions need."""
    attributes = ATTRIBUTES.format(bits=8 * host().vector_bytes)
    return "\n".join([f"; {title}", module.text(functions), attributes, ""])


class Kernels:
    """The kernels of a program as functions of pointers: those that are alike are one."""

    def __init__(self, module: Module, program: LoopProgram, order: Sequence[Buffer]) -> None:
        self.module, self.program = module, program
        self.places = {b.name: i for i, b in enumerate(order)}
        self.names: dict[str, str] = {}
        self.titles: list[str] = []
        self.count = 0

    def calls(self, kernels: Iterable[Kernel], turns: int = 1) -> list[str]:
        """The lines that call them in order, so many times, where ``%table`` is known."""
        kernels = self.with_epilogues(list(kernels))
        self.module.kernels = [kernel.statements for kernel in kernels]
        self.module.worth = least(self.module.kernels)
        return [line for kernel in kernels for line in self.call(kernel, turns)]

    def with_epilogues(self, kernels: list[Kernel]) -> list[Kernel]:
        """The kernels, those of small products with the loops that read them."""
        self.module.around = None
        inside = (s for kernel in kernels for s in walk(kernel.statements))
        if not any(isinstance(s, Gemm) and cost(s) < CALLED for s in inside):
            return kernels
        from graphjit.codegen.llvm_epilogue import paired  # for those who need it

        return paired(kernels, KernelWriter(self.module, self.program))

    def call(self, kernel: Kernel, turns: int) -> list[str]:
        """The lines that find the pointers for a kernel, and call it."""
        writer = KernelWriter(self.module, self.program)
        writer.turns = turns
        writer.statements(kernel.statements)
        kinds = [
            f"{'i64' if p.name in COUNTERS else 'ptr'} %p{i}"
            for i, p in enumerate(writer.parameters)
        ]
        lines = ["entry:", *writer.head, *writer.text_lines(), "  ret void", "}"]
        text = "\n".join([f"({', '.join(kinds)}) #0 {{", *lines])
        if text not in self.names:
            self.names[text] = f"kernel{len(self.names)}"
            self.titles.append(kernel.title)
        found: list[str] = []
        values = [self.argument(p.name, p.offset, found) for p in writer.parameters]
        return [*found, f"  call void @{self.names[text]}({', '.join(values)})"]

    def argument(self, name: str, offset: int, lines: list[str]) -> str:
        """What a kernel is given; the lines that find it are added."""
        if name in COUNTERS:
            return f"i64 %{name}"
        slot, pointer, place = (f"%a{self.count + i}" for i in range(3))
        self.count += 3
        lines += [
            f"  {slot} = getelementptr ptr, ptr %table, i64 {self.places[name]}",
            f"  {pointer} = load ptr, ptr {slot}",
        ]
        if not offset:
            return f"ptr {pointer}"
        lines.append(f"  {place} = getelementptr i8, ptr {pointer}, i64 {offset}")
        return f"ptr {place}"

    def functions(self) -> list[str]:
        """All of them."""
        texts = zip(self.titles, self.names.items(), strict=True)
        return [f"; {title}\ndefine internal void @{name}{text}" for title, (text, name) in texts]
