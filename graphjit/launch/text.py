"""Lines of LLVM IR."""

from __future__ import annotations

from graphjit.codegen.objects import WORD

LIKELY = "!prof !0"
ATTRIBUTES = "attributes #0 = { nounwind uwtable }"
TAIL = '!0 = !{!"branch_weights", i32 1048576, i32 1}'


class Text:
    """The lines of a function, with counters for names."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.head: list[str] = []
        self._names = 0

    def name(self) -> str:
        """A new name."""
        self._names += 1
        return f"v{self._names}"

    def put(self, line: str) -> None:
        """A line."""
        self.lines.append(f"  {line}")

    def let(self, value: str) -> str:
        """A name for a value."""
        name = f"%{self.name()}"
        self.put(f"{name} = {value}")
        return name

    def room(self, kind: str, align: int = 8) -> str:
        """Memory on the stack."""
        name = f"%{self.name()}"
        self.head.append(f"  {name} = alloca {kind}, align {align}")
        return name

    def label(self, name: str) -> None:
        """Begin a block."""
        self.lines.append(f"{name}:")

    def at(self, base: str, offset: int | str) -> str:
        """An address some bytes behind another one."""
        return self.let(f"getelementptr i8, ptr {base}, i64 {offset}") if offset else base

    def load(self, base: str, offset: int = 0, kind: str = "ptr") -> str:
        """What is there."""
        return self.let(f"load {kind}, ptr {self.at(base, offset)}")

    def slot(self, place: int) -> str:
        """The address of a word of the context."""
        return self.at("%context", WORD * place)

    def word(self, place: int, kind: str = "ptr") -> str:
        """A word of the context."""
        return self.load("%context", WORD * place, kind)

    def store(self, value: str, base: str, offset: int = 0) -> None:
        """Write to memory."""
        self.put(f"store {value}, ptr {self.at(base, offset)}")

    def demand(self, condition: str, otherwise: str = "miss") -> None:
        """Go elsewhere unless this holds."""
        held, following = self.let(condition), self.name()
        self.put(f"br i1 {held}, label %{following}, label %{otherwise}, {LIKELY}")
        self.label(following)

    def call(self, place: int, result: str, *arguments: str) -> str:
        """Call a function whose address is a word of the context."""
        code = f"call {result} {self.word(place)}({', '.join(arguments)})"
        if result != "void":
            return self.let(code)
        self.put(code)
        return ""
