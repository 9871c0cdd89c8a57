"""Writes the statements of the loop IR as LLVM IR, several turns of a loop at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from graphjit.codegen.duration import CALLED, cost, duration
from graphjit.codegen.llvm_inner import InnerLoop
from graphjit.codegen.llvm_instructions import binary, compare, select
from graphjit.codegen.llvm_loops import innermost, long_sums
from graphjit.codegen.llvm_mathematics import computed
from graphjit.codegen.llvm_memory import Memory
from graphjit.codegen.llvm_scalars import operation
from graphjit.codegen.llvm_text import BOOL, I64, Module, Operand, constant, lane
from graphjit.codegen.loops import (
    Address,
    Check,
    Constant,
    Fill,
    For,
    Gemm,
    Gemv,
    If,
    Index,
    Let,
    Load,
    LoopProgram,
    PickedGemv,
    Product,
    Scalar,
    Statement,
    Store,
    Tape,
    Value,
    While,
)
from graphjit.codegen.walks import walk


class KernelWriter(Memory):
    """One function: the statements of one kernel, or of several.

    A value that is assigned once is a value of LLVM; one that is assigned again lies on the
    stack, and in a register while an innermost loop runs.
    """

    def __init__(self, module: Module, program: LoopProgram) -> None:
        super().__init__(module, program)
        self.slots: dict[str, tuple[str, Value]] = {}
        self.lost: dict[str, str] = {}
        self.inline = False
        self.ready: dict[int, InnerLoop] = {}  # loops over rows whose sums stay in registers
        self.turns = 1  # of the loops that are open, altogether
        self.pooled = self.may_share = bool(module.kernels)
        self.whole: list[Statement] = []

    def statements(self, statements: list[Statement]) -> None:
        """All of them, once what is assigned twice is found."""
        given = [s.value for s in walk(statements) if isinstance(s, Let | Load | Index | Check)]
        times = Counter(value.name for value in given)
        for value in given:
            if times[value.name] > 1:
                self.slot(value)
        for value in long_sums(statements, self.slots):
            self.lost[value.name] = self.fresh()
            self.head.append(f"  {self.lost[value.name]} = alloca {lane(value.dtype)}")
        self.whole = statements
        self.may_share = self.may_share and duration(statements) >= self.module.worth
        self.block_of(statements)

    def block_of(self, statements: Sequence[Statement]) -> None:
        """Statements in a row; a small product and the loop that reads it are one."""
        at = 0
        while at < len(statements):
            if self.module.around and isinstance(statements[at], Gemm):
                from graphjit.codegen.llvm_epilogue import finished  # for those who need it

                at = finished(self, statements, at)
            else:
                self.statement(statements[at])
                at += 1

    def statement(self, s: Statement) -> None:
        """One statement, with what is in it."""
        match s:
            case Let() | Load() | Index() | Check():
                self.assign(s.value, self.computed(s))
            case Store():
                self.store(s)
            case Fill():
                address = Address(s.buffer, 0, (("filled", 1),))  # no name of a loop around
                self.loop(For("filled", s.buffer.size, [Store(address, s.value)]))
            case Gemm() | Gemv() | Product():
                self.product(s)
            case PickedGemv():
                from graphjit.codegen.llvm_matrix_picked import picked_gemv  # for those who need it

                picked_gemv(self, s)
            case _:
                self.compound(s)

    def product(self, s: Gemm | Gemv | Product) -> None:
        """A product of matrices or over nests of loops."""
        if self.pooled and cost(s) >= CALLED:
            from graphjit.codegen.llvm_threads import shared_product  # for those who need it

            if shared_product(self, s):
                return
        if not isinstance(s, Product):
            from graphjit.codegen.llvm_library import gemm, gemv  # for those who need it
        match s:
            case Gemm():
                gemm(self, s)
            case Gemv():
                gemv(self, s)
            case Product():
                from graphjit.codegen.llvm_product import product  # for those who need it

                product(self, s)

    def compound(self, s: For | While | If | Tape) -> None:
        """A statement that has others inside, or lines of its own."""
        match s:
            case For():
                self.loop(s)
            case While():
                self.while_loop(s)
            case If():
                self.branch(s)
            case Tape():
                from graphjit.codegen.llvm_tapes import tape  # for those who need it

                tape(self, s)

    # -- scalars ------------------------------------------------------------------------------

    def slot(self, value: Value) -> None:
        """A place on the stack for a value that changes."""
        if value.name not in self.slots:
            place = self.fresh()
            self.head.append(f"  {place} = alloca {lane(value.dtype)}")
            self.slots[value.name] = place, value

    def assign(self, value: Value, operand: Operand) -> None:
        """Give a value its name."""
        if value.name in self.slots and value.name not in self.registers:
            self.put(f"store {operand}, ptr {self.slots[value.name][0]}")
            if value.name in self.lost:
                self.put(f"store {constant(0, value.dtype)}, ptr {self.lost[value.name]}")
        else:
            self.known[value.name] = operand

    def read(self, x: Scalar) -> Operand:
        """A constant, or the present value of a name."""
        if isinstance(x, Constant):
            return constant(x.value, x.dtype)
        if x.name in self.slots and x.name not in self.registers:
            return self.whole_sum(x) if x.name in self.lost else self.held(x)
        return self.known[x.name]

    def held(self, value: Value) -> Operand:
        """What is on the stack for a value."""
        place, value = self.slots[value.name]
        return self.value(f"load {lane(value.dtype)}, ptr {place}", value.dtype)

    def whole_sum(self, value: Value) -> Operand:
        """A long sum with what rounding took from it; an infinity stays one."""
        total = self.held(value)
        lost = self.value(f"load {total.kind}, ptr {self.lost[value.name]}", value.dtype)
        number = self.value(f"fcmp ord {lost}, {lost.text}", BOOL)
        return select(self, number, binary(self, "fadd", total, lost), total)

    def add_exactly(self, value: Value, more: Operand) -> None:
        """Add to a long sum, and to what is lost (D. E. Knuth's TwoSum, TAOCP 2, 4.2.2)."""
        old = self.held(value)
        total = binary(self, "fadd", old, more)
        part = binary(self, "fsub", total, old)
        rest = binary(self, "fsub", old, binary(self, "fsub", total, part))
        gone = binary(self, "fadd", rest, binary(self, "fsub", more, part))
        place = self.lost[value.name]
        before = self.value(f"load {total.kind}, ptr {place}", value.dtype)
        self.put(f"store {total}, ptr {self.slots[value.name][0]}")
        self.put(f"store {binary(self, 'fadd', before, gone)}, ptr {place}")

    def computed(self, s: Let | Load | Index | Check) -> Operand:
        """What a scalar statement gives."""
        match s:
            case Let():
                return computed(self, s, [self.read(o) for o in s.operands], inline=self.inline)
            case Load():
                return self.load(s.address)
            case Index():
                whole = self.affine(s.offset, s.terms)
                return operation(self, "cast", [whole], s.value.dtype)
        return self.check(s)

    def check(self, s: Check) -> Operand:
        """An index counted from the front; outside the axis the status says so."""
        index = operation(self, "cast", [self.read(s.index)], I64)
        size, zero = constant(s.size, I64, index.lanes), constant(0, I64, index.lanes)
        negative = compare(self, "lt", index, zero)
        index = select(self, negative, binary(self, "add", index, size), index)
        low, high = compare(self, "lt", index, zero), compare(self, "ge", index, size)
        outside = self.masked(binary(self, "or", low, high))
        any_lane = self.any_lane(outside)
        bad, after = self.label(), self.label()
        self.put(f"br {any_lane}, label %{bad}, label %{after}")
        self.begin(bad)
        self.put(f"store i64 {s.code}, ptr {self.pointer_to('status')}")
        self.put(f"br label %{after}")
        self.begin(after)
        valid = select(self, outside, zero, index)
        return operation(self, "cast", [valid], s.value.dtype)

    def any_lane(self, condition: Operand) -> Operand:
        """Whether a condition holds in some lane."""
        if condition.lanes == 1:
            return condition
        name = f"llvm.vector.reduce.or.v{condition.lanes}i1"
        return self.call(name, BOOL, 1, [condition])

    # -- loops --------------------------------------------------------------------------------

    def loop(self, s: For) -> None:
        """A counted loop."""
        if s.extent <= 0:
            return
        if self.may_share:
            from graphjit.codegen.llvm_threads import shared_loop  # for those who need it

            if shared_loop(self, s):
                return
        body = innermost(s)
        if body is not None:
            (self.ready.pop(id(s), None) or InnerLoop(self, s, body)).write()
        else:
            self.turns *= s.extent
            self.over_rows(s)
            self.turns //= s.extent

    def over_rows(self, s: For) -> None:
        """A loop with others inside."""
        rows = [row for row in s.body if isinstance(row, For)]
        if any(isinstance(x, Store) and x.op for row in rows for x in row.body):
            from graphjit.codegen.llvm_row_sums import RowSums  # for those who need it

            sums = RowSums(self, s)
            if sums.stores:
                sums.write(s)
                return
        self.repeat(s.extent, [], lambda i, _: self.turn(s, i))

    def turn(self, s: For, count: Operand) -> list[Operand]:
        """The body for the turn of this number."""
        if s.reverse:
            count = binary(self, "sub", constant(s.extent - 1, I64), count)
        self.known[s.index] = count
        self.block_of(s.body)
        return []

    def while_loop(self, s: While) -> None:
        """Ask, run, and ask again."""
        top, body, after = self.label(), self.label(), self.label()
        self.put(f"br label %{top}")
        self.begin(top)
        self.block_of(s.test)
        self.put(f"br {self.load(s.answer)}, label %{body}, label %{after}")
        self.begin(body)
        self.block_of(s.body)
        self.put(f"br label %{top}")
        self.begin(after)

    def branch(self, s: If) -> None:
        """One of two sides."""
        then, otherwise, after = self.label(), self.label(), self.label()
        self.put(f"br {self.load(s.which)}, label %{then}, label %{otherwise}")
        for label, statements in ((then, s.then), (otherwise, s.otherwise)):
            self.begin(label)
            self.block_of(statements)
            self.put(f"br label %{after}")
        self.begin(after)

    def memory_call(self, name: str, arguments: str) -> str:
        """Memory of the C library."""
        kinds = [a.split()[0] for a in arguments.split(", ")]
        self.module.declare(name, "ptr", kinds)
        return self.let(f"call ptr @{name}({arguments})")
