"""Addresses, loads and stores in LLVM IR."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

from graphjit.codegen.llvm_instructions import binary
from graphjit.codegen.llvm_loops import resolved, terms
from graphjit.codegen.llvm_scalars import operation
from graphjit.codegen.llvm_text import (
    BOOL,
    I64,
    Body,
    Module,
    Operand,
    constant,
    kind,
    literal,
    mask,
    memory,
    suffix,
)
from graphjit.codegen.loops import Address, Buffer, LoopProgram, Scalar, Store, Value
from graphjit.ir.aval import DType, dtype_name
from graphjit.records import NamedTuple

MANY = 16  # pointers that a kernel is given for what it reads and writes, and then some
COUNTERS = ("row", "at")  # of a training loop, around all kernels


class Parameter(NamedTuple):
    """What a function of a kernel takes: an argument from a byte on, or a counter."""

    name: str
    offset: int = 0


class Memory(Body):
    """A function that reads and writes the buffers of a program.

    Attributes:
        known: The values by name, the loop indices among them.
        registers: The values that change but are in registers now.
        vector: The loop index along which lanes go, how many there are, and how many of them
            are active; 0 is all.
        head: Lines that come before all others.
        parameters: The function's: for each buffer, or counter of an outer loop, its name here.
        private: The pointers to buffers that are this function's own.
        sums: Vectors of buffers that are in registers now, in the order in which stores add to
            them, and ``summed`` what that has given.
    """

    def __init__(self, module: Module, program: LoopProgram) -> None:
        super().__init__(module)
        self.program = program
        self.known: dict[str, Operand] = {}
        self.registers: set[str] = set()
        self.vector = ("", 1, 0)
        self.head: list[str] = []
        self.parameters: dict[Parameter, Operand | str] = {}
        self.tapes: dict[str, str] = {}
        self.private: dict[str, str] = {}
        self.sums: dict[str, Iterator[Operand]] = {}
        self.summed: dict[str, list[Operand]] = {}
        self._same: dict[str, str] = {}

    def read(self, x: Scalar) -> Operand:
        """A scalar's present value."""
        raise NotImplementedError

    # -- where ----------------------------------------------------------------------------------

    def base(self, address: Address) -> tuple[str, int]:
        """A pointer into the buffer, and how many elements after it the address begins.

        Kernels that differ in constant offsets alone become one: the offsets are in the pointers
        that they are given, as long as those are few.
        """
        b, offset = address.buffer, address.offset
        if b.role == "tape":
            return self.let(f"load ptr, ptr {self.tapes[b.name]}"), offset
        name = resolved(b.name, self.program.aliases)
        if name in self.private:
            return self.private[name], offset
        place = self.program.offsets.get(name)
        home = name if place is None else f"work_{dtype_name(b.dtype)}"
        whole, size = (place or 0) + offset, b.dtype.itemsize
        if (place and b.size == 1) or len(self.parameters) >= MANY:
            return self.pointer_to(home), whole
        return self.pointer_to(home, whole * size), 0

    def pointer_to(self, name: str, offset: int = 0) -> str:
        """The pointer to an argument, from a byte on."""
        key = Parameter(name, offset)
        return str(self.parameters.setdefault(key, f"%p{len(self.parameters)}"))

    def counter(self, name: str) -> Operand:
        """The count of a loop outside of this function."""
        operand = Operand(f"%p{len(self.parameters)}", I64)
        return cast("Operand", self.parameters.setdefault(Parameter(name), operand))

    def begin(self, label: str) -> None:
        """From here on lines belong to this block."""
        super().begin(label)
        self._same.clear()

    def once(self, instruction: str) -> str:
        """The name of what an instruction gives, written once a block."""
        known = self._same.get(instruction)
        if known is None:
            known = self._same[instruction] = self.let(instruction)
        return known

    def bytes_of(self, b: Buffer) -> int:
        """The size of a buffer."""
        return b.size * b.dtype.itemsize

    def affine(self, offset: int, names: tuple[tuple[str, int], ...]) -> Operand:
        """An affine function of the loop indices, one value a lane where it moves with them."""
        index, lanes, _ = self.vector
        step = sum(s for n, s in names if n == index)
        whole = constant(offset, I64)
        for name, stride in names:
            whole = self.plus(whole, self.times(self.named(name), stride))
        if lanes > 1 and step:
            each = ", ".join(f"i64 {i * step}" for i in range(lanes))
            whole = binary(self, "add", self.spread(whole, lanes), Operand(f"<{each}>", I64, lanes))
        return whole

    def named(self, name: str) -> Operand:
        """A loop index or a whole number of the program, as an i64."""
        if name in COUNTERS:
            return self.counter(name)
        known = self.known[name] if name in self.known else self.read(Value(name, I64))
        return operation(self, "cast", [known], I64)

    def times(self, x: Operand, factor: int) -> Operand:
        """A multiple."""
        if factor == 1:
            return x
        if x.text.lstrip("-").isdigit():
            return constant(int(x.text) * factor, I64)
        text = f"mul {x}, {constant(factor, I64, x.lanes).text}"
        return Operand(self.once(text), I64, x.lanes)

    def plus(self, a: Operand, b: Operand) -> Operand:
        """A sum; of numbers it is a number."""
        if a.text == "0":
            return b
        if b.text == "0":
            return a
        if a.text.lstrip("-").isdigit() and b.text.lstrip("-").isdigit():
            return constant(int(a.text) + int(b.text), I64)
        a, b = self.alike(a, b)
        return Operand(self.once(f"add {a}, {b.text}"), I64, a.lanes)

    def pointer(self, address: Address) -> str:
        """The pointer to one element."""
        base, offset = self.base(address)
        index = self.affine(offset, terms(address))
        if index.text == "0":
            return base
        return self.once(f"getelementptr {memory(address.buffer.dtype)}, ptr {base}, {index}")

    def step(self, address: Address) -> int | None:
        """How far apart the lanes are; None where that is not fixed."""
        index, lanes, _ = self.vector
        if any(self.known[n].lanes > 1 for n, _ in terms(address) if n in self.known):
            return None
        return sum(s for n, s in terms(address) if n == index) if lanes > 1 else 0

    def first(self, address: Address) -> str:
        """The pointer to the first lane's element."""
        vector, self.vector = self.vector, ("", 1, 0)
        pointer = self.pointer(address)
        self.vector = vector
        return pointer

    def masked(self, condition: Operand) -> Operand:
        """A condition, in the active lanes only."""
        _, lanes, active = self.vector
        if not active or condition.lanes == 1:
            return condition
        return binary(self, "and", condition, mask(lanes, active))

    # -- what -------------------------------------------------------------------------------

    def load(self, address: Address) -> Operand:
        """The elements, one a lane; a truth value is a byte in memory."""
        dtype, step = address.buffer.dtype, self.step(address)
        held = memory(dtype)
        if step == 0:
            text = f"load {held}, ptr {self.first(address)}, align {dtype.itemsize}"
            return self.truth(self.let(text), dtype, 1)
        lanes = self.vector[1]
        if step == 1:
            text = self.loaded(self.first(address), dtype, lanes)
            return self.truth(self.let(text), dtype, lanes)
        return self.truth(self.gathered(address, dtype, lanes), dtype, lanes)

    def loaded(self, pointer: str, dtype: DType, lanes: int) -> str:
        """The instruction that loads neighbours; lanes that are not active hold ones."""
        active, held = self.vector[2], memory(dtype, lanes)
        if not active:
            return f"load {held}, ptr {pointer}, align {dtype.itemsize}"
        name = f"llvm.masked.load.{tail(dtype, lanes)}.p0"
        bits = f"<{lanes} x i1>"
        self.module.declare(name, held, ["ptr", bits, held])
        where = f"ptr align {dtype.itemsize} {pointer}, {mask(lanes, active)}"
        return f"call {held} @{name}({where}, {held} {ones(dtype)})"

    def gathered(self, address: Address, dtype: DType, lanes: int) -> str:
        """Elements from anywhere."""
        pointers = self.pointers(address, lanes)
        held, bits = memory(dtype, lanes), f"<{lanes} x i1>"
        name = f"llvm.masked.gather.{tail(dtype, lanes)}.v{lanes}p0"
        self.module.declare(name, held, [f"<{lanes} x ptr>", bits, held])
        where = f"<{lanes} x ptr> align {dtype.itemsize} {pointers}"
        return self.let(f"call {held} @{name}({where}, {self.active()}, {held} {ones(dtype)})")

    def pointers(self, address: Address, lanes: int) -> str:
        """A pointer a lane."""
        base, offset = self.base(address)
        index = self.spread(self.affine(offset, terms(address)), lanes)
        return self.let(f"getelementptr {memory(address.buffer.dtype)}, ptr {base}, {index}")

    def active(self) -> Operand:
        """The lanes that count."""
        _, lanes, active = self.vector
        return mask(lanes, active or lanes)

    def truth(self, text: str, dtype: DType, lanes: int) -> Operand:
        """What was loaded; of a byte whether it is not zero."""
        if dtype != BOOL:
            return Operand(text, dtype, lanes)
        zero = "0" if lanes == 1 else "zeroinitializer"
        return self.value(f"icmp ne {memory(dtype, lanes)} {text}, {zero}", BOOL, lanes)

    def byte(self, x: Operand) -> str:
        """A value as it lies in memory, with its type."""
        if x.dtype != BOOL:
            return str(x)
        held = memory(BOOL, x.lanes)
        return f"{held} {self.let(f'zext {x} to {held}')}"

    def store(self, s: Store) -> None:
        """Write a value, or combine it with what is there."""
        step, dtype = self.step(s.address), s.address.buffer.dtype
        value = self.read(s.value)
        if s.address.buffer.name in self.sums:
            self.keep(s, value)
            return
        if s.op:
            value = operation(self, s.op, [self.load(s.address), value], dtype)
        lanes = self.vector[1] if step != 0 else 1
        held = self.byte(self.spread(value, lanes))
        if step in (0, 1):
            self.stored(held, self.first(s.address), dtype, lanes)
        else:
            self.scattered(held, self.pointers(s.address, lanes), dtype, lanes)

    def keep(self, s: Store, value: Operand) -> None:
        """Add to the next vector of what is in registers."""
        name = s.address.buffer.name
        old = next(self.sums[name])
        pair = [old, self.spread(value, old.lanes)]
        self.summed[name].append(operation(self, s.op, pair, old.dtype))

    def stored(self, held: str, pointer: str, dtype: DType, lanes: int) -> None:
        """Write neighbours, those of the active lanes."""
        active = self.vector[2]
        if not active or lanes == 1:
            return self.put(f"store {held}, ptr {pointer}, align {dtype.itemsize}")
        name = f"llvm.masked.store.{tail(dtype, lanes)}.p0"
        self.module.declare(name, "void", [memory(dtype, lanes), "ptr", f"<{lanes} x i1>"])
        where = f"ptr align {dtype.itemsize} {pointer}"
        return self.put(f"call void @{name}({held}, {where}, {mask(lanes, active)})")

    def scattered(self, held: str, pointers: str, dtype: DType, lanes: int) -> None:
        """Write anywhere; of two lanes that write at one place the later wins."""
        name = f"llvm.masked.scatter.{tail(dtype, lanes)}.v{lanes}p0"
        kinds = [memory(dtype, lanes), f"<{lanes} x ptr>", f"<{lanes} x i1>"]
        self.module.declare(name, "void", kinds)
        where = f"<{lanes} x ptr> align {dtype.itemsize} {pointers}"
        self.put(f"call void @{name}({held}, {where}, {self.active()})")


def tail(dtype: DType, lanes: int) -> str:
    """How the name of an intrinsic on memory ends."""
    return f"v{lanes}i8" if dtype == BOOL else suffix(dtype, lanes)


def ones(dtype: DType) -> str:
    """What lanes hold that were not loaded: no function or division stumbles over a one."""
    if dtype == BOOL:
        return "splat (i8 1)"
    return f"splat ({kind(dtype, 1)} {literal(1, dtype)})"
