"""The text of an entry: what CPython calls for one kind of call of one compiled function."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from graphjit.codegen import objects
from graphjit.codegen.objects import WORD
from graphjit.launch import layout
from graphjit.launch.arguments import Inputs, Traced, Unpacking
from graphjit.launch.context import CALLS, KERNEL, MISS, MISSED, POOL, RUNNING, TRACES, Context
from graphjit.launch.guards import Conditions, guarded
from graphjit.launch.kernel import Kernel
from graphjit.launch.results import Results
from graphjit.launch.reuse import Reuse, reusable
from graphjit.launch.text import ATTRIBUTES, TAIL, Text
from graphjit.launch.trees import Marker

LINE = 64  # bytes of a cache line
STACK = 3072  # bytes of work memory that are taken from the stack, without skipping a page of it

MEMSET = "declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)"

ENTRY = """
define ptr @entry(ptr %object, ptr %args, i64 %count, ptr %names) #0 {{
  %place = getelementptr i8, ptr %object, i64 {offset}
  %context = load ptr, ptr %place
  %result = musttail call ptr @body(ptr %context, ptr %args, i64 %count, ptr %names)
  ret ptr %result
}}

define ptr @body(ptr %context, ptr %args, i64 %count, ptr %names) #0 {{
start:
"""


@dataclass(frozen=True)
class Call:
    """One kind of call.

    Attributes:
        args: The positional arguments of a call of this kind.
        kwargs: The keyword arguments, in the order of the call.
        kinds: For each leaf what the program reads there, or None where it is static.
        conditions: What must be as it was.
        result: Makes the result from the list of outputs.
    """

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    kinds: Sequence[Traced | None]
    conditions: Conditions
    result: Callable[[Sequence[Any]], Any]


class EntryWriter:
    """Writes the module of one entry, and fills its context.

    ``entry`` is what CPython calls; ``body`` is what the entry of another kind of call goes on to
    where the arguments do not fit it, with its own context in the place of the callable.
    """

    def __init__(self, call: Call, kernel: Kernel, context: Context, offset: int) -> None:
        self.call, self.kernel, self.context, self.offset = call, kernel, context, offset
        self.text = Text()
        self.results = Results(self.text, context, kernel.outputs)
        self.status = self.taken = ""

    def module(self) -> str:
        """The text.

        Raises:
            Unexpected: a part of the call that is not launched natively.
        """
        self.add(RUNNING, 1)  # from here on neither the entry may be freed nor what it reads
        inputs = self.checked()
        self.run(inputs, self.addresses(inputs))
        shown = self.call.result([Marker(i) for i in range(len(self.kernel.outputs))])
        self.end(shown)
        self.elsewhere()
        row = f"  %owned = alloca [{max(self.results.owned, 1)} x ptr], align 8"
        size = f"i64 {WORD * self.results.owned}"
        clear = f"  call void @llvm.memset.p0.i64(ptr align 8 %owned, i8 0, {size}, i1 false)"
        lines = [row, *self.text.head, clear, *self.text.lines, "}", MEMSET]
        begin = ENTRY.format(offset=self.offset + WORD)
        return "\n".join([begin, *lines, ATTRIBUTES, TAIL, ""])

    # -- before -------------------------------------------------------------------------------

    def checked(self) -> Inputs:
        """Check that the call is of this kind, and that nothing else has changed."""
        text = self.text
        unpacking = Unpacking(text, self.context, self.call.kinds)
        unpacking.keywords(list(self.call.kwargs))
        given = text.let(f"and i64 %count, {2**63 - 1}")
        text.demand(f"icmp eq i64 {given}, {len(self.call.args)}")
        traces = text.load(text.word(TRACES), 0, "i64")
        text.demand(f"icmp eq i64 {traces}, 0")
        inputs = unpacking.unpacked(self.call.args, self.call.kwargs)
        for captured in self.call.conditions.captured:
            unpacking.captured(*captured)
        guarded(text, self.context, self.call.conditions)
        return inputs

    def counted(self, inputs: Inputs, function: str) -> None:
        """Count references to what containers hold, where others may run and take it out."""
        for name in inputs.inner if self.kernel.long else ():
            self.text.call(self.context.function(function), "void", f"ptr {name}")

    def add(self, place: int, step: int) -> None:
        """Change a count in the context."""
        count = self.text.let(f"add i64 {self.text.word(place, 'i64')}, {step}")
        self.text.put(f"store i64 {count}, ptr {self.text.slot(place)}")

    # -- the kernel ---------------------------------------------------------------------------

    def addresses(self, inputs: Inputs) -> list[str]:
        """What the table that the kernel reads has in it."""
        self.results.allocated()
        constants = [self.text.word(self.context.data(c)) for c in self.kernel.constants]
        addresses = [*inputs.addresses, *constants, *self.results.addresses, *self.work()]
        if self.kernel.checks:
            self.status = self.text.room("i64")
            self.text.put(f"store i64 0, ptr {self.status}")
            addresses.append(self.status)
        return addresses

    def work(self) -> list[str]:
        """The work memory, at the beginning of a cache line, once for each dtype."""
        work = self.kernel.work
        size = max((n * dtype.itemsize for n, dtype in work), default=0)
        if not size:
            return [self.text.slot(0) for _ in work]
        if size > STACK:
            base = self.taken = self.take(size + LINE)
            base = self.text.call(self.context.function("aligned"), "ptr", f"ptr {base}")
        else:
            base = self.text.room(f"[{STACK} x i8]", LINE)
        return [base for _ in work]

    def take(self, size: int) -> str:
        """Work memory that an earlier run has left, or new where another run has it."""
        text, context = self.text, self.context
        words = [context.function(name) for name in ("PyMem_RawMalloc", "PyErr_NoMemory")]
        functions = [f"ptr {text.word(place)}" for place in words]
        count = text.word(context.number(size), "i64")
        arguments = [f"ptr {text.slot(POOL)}", *functions, f"i64 {count}"]
        memory = text.call(context.function("take"), "ptr", *arguments)
        text.demand(f"icmp ne ptr {memory}, null", "failed")
        return memory

    def run(self, inputs: Inputs, addresses: list[str]) -> None:
        """Run the kernel, without Python's lock if it is long, and look at its status."""
        text, context = self.text, self.context
        table = text.room(f"[{max(len(addresses), 1)} x ptr]")
        for index, address in enumerate(addresses):
            text.store(f"ptr {address}", table, WORD * index)
        if self.kernel.style == "tuple":
            table = self.disguised(table, addresses)
        self.counted(inputs, "Py_IncRef")
        state = text.call(context.function("PyEval_SaveThread"), "ptr") if self.kernel.long else ""
        self.call_kernel(table)
        if self.kernel.long:
            text.call(context.function("PyEval_RestoreThread"), "void", f"ptr {state}")
        if self.taken:
            free = f"ptr {text.word(context.function('PyMem_RawFree'))}"
            arguments = [f"ptr {text.slot(POOL)}", free, f"ptr {self.taken}"]
            text.call(context.function("give"), "void", *arguments)
        self.counted(inputs, "Py_DecRef")
        if self.status:
            text.demand(f"icmp eq i64 {text.load(self.status, 0, 'i64')}, 0", "wrong")
        calls = text.word(CALLS)
        count = text.let(f"add i64 {text.load(calls, 0, 'i64')}, 1")
        text.store(f"i64 {count}", calls)

    def call_kernel(self, table: str) -> None:
        """Call it in its style."""
        text = self.text
        if self.kernel.style == "table":
            text.call(KERNEL, "void", f"ptr {table}")
            return
        ignored = [f"ptr {text.room('ptr')}" for _ in range(2)]  # for a result and an exception
        address = text.let(f"ptrtoint ptr {table} to i64")
        text.call(KERNEL, "i32", *ignored, f"i64 {address}")

    def disguised(self, table: str, addresses: list[str]) -> str:
        """The address of what can be read as a tuple of arrays and scalars of this data.

        An array is read at one place only, where its data is: the table has that there.
        """
        text = self.text
        items = text.room(f"[{max(len(addresses), 1)} x ptr]")
        scalars = [not kind.shape for kind in self.call.kinds if kind is not None]
        scalars += [not shape for _, shape, _ in self.call.conditions.captured]
        for index, address in enumerate(addresses):
            if index < len(scalars) and scalars[index]:
                item = text.at(address, -layout.VALUE)
            else:
                item = text.at(table, WORD * index - layout.DATA)
            text.store(f"ptr {item}", items, WORD * index)
        return text.at(items, -objects.ITEMS)

    def end(self, shown: Any) -> None:
        """Return the outputs in the places of the markers."""
        text = self.text
        returned = text.room("ptr")
        again = reusable(shown, self.kernel.outputs)
        reuse = Reuse(text, self.context, self.results.addresses, self.kernel.outputs)
        if again:
            reuse.attempted(shown, returned)
        made = self.results.returned(shown)
        if again:
            reuse.kept(made)
        text.put(f"store ptr {made}, ptr {returned}")
        text.put("br label %done")
        text.label("done")
        self.add(RUNNING, -1)
        text.put(f"ret ptr {text.load(returned)}")

    # -- other ways out -----------------------------------------------------------------------

    def elsewhere(self) -> None:
        """A status, a failure, and a call that is not of this kind."""
        text, context = self.text, self.context
        if self.status:
            text.label("wrong")
            code = f"i64 {text.load(self.status, 0, 'i64')}"
            number = text.call(context.function("PyLong_FromLongLong"), "ptr", code)
            self.results.own(number)
            argument = text.room("ptr")
            text.store(f"ptr {number}", argument)
            fail = text.word(context.object(self.kernel.fail))
            call = context.function("PyObject_Vectorcall")
            text.call(call, "ptr", f"ptr {fail}", f"ptr {argument}", "i64 1", "ptr null")
            text.put("br label %failed")
        text.label("failed")
        self.results.cleared()
        self.add(RUNNING, -1)
        text.put("ret ptr null")
        text.label("forget")
        text.call(context.function("PyErr_Clear"), "void")
        text.put("br label %miss")
        text.label("miss")
        self.add(RUNNING, -1)
        first = text.word(MISSED)
        rest = "ptr %args, i64 %count, ptr %names"
        result = text.let(f"musttail call ptr {text.word(MISS)}(ptr {first}, {rest})")
        text.put(f"ret ptr {result}")
