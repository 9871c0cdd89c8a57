"""Reading the text of a graph back."""

from __future__ import annotations

import base64
import re
import zlib
from typing import Any

from graphjit.ir.aval import Aval
from graphjit.ir.cursor import Cursor
from graphjit.ir.graph import Graph, Node, Origin

AVAL = r"[a-z]+\d*\[[\d,]*\]"
TYPE = re.compile(rf"(?:({AVAL})(?: (?=\())?)?(?:\(({AVAL}(?:, {AVAL})*)\))?")
NODE = re.compile(r"%(\d+): ")
OPERANDS = re.compile(r" = (\w+)\(((?:%\d+(?:, (?=%))?)*)(?:, )?")
IDS = re.compile(r"\(((?:%\d+(?:, )?)*)\)")
DECLARED = re.compile(rf"%(\d+): ({AVAL})(?:, )?")
NAME = re.compile(r"([A-Za-z_]\w*)=")
ORIGIN = re.compile(r"\s+# (.*):(-?\d+)( adjoint)?\s*$")
FILE_ROW = re.compile(r"file (.*) = ('.*'|\".*\")$")
DATA_ROW = re.compile(r"data (\d+) = '(.*)'$")


def parse(text: str) -> Graph:
    """The graph that a text says; the inverse of ``show``.

    Blank lines and the indentation mean nothing. Whether the graph obeys the rules of the IR is
    for ``verify`` to say.

    Raises:
        ParseError: naming the line that cannot be read.
    """
    return _Reader(text).whole()


def _ids(text: str) -> tuple[int, ...]:
    return tuple([int(ident) for ident in text[1:].split(", %")]) if text else ()


class _Reader(Cursor):
    """Reads graphs; ``end`` is where the rows begin that the nodes refer to."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.files: dict[str, str] = {}
        self.end = self.tables()

    def tables(self) -> int:
        """Read the rows at the end that the others refer to; where they begin."""
        for row in reversed(range(len(self.lines))):
            line, self.row = self.lines[row].strip(), row
            if match := FILE_ROW.match(line):
                self.files[match[1]] = self.string(match[2])
            elif match := DATA_ROW.match(line):
                self.data[int(match[1])] = self.unpacked(match[2])
            elif line:
                self.row = 0
                return row + 1
        self.row = 0
        return 0

    def unpacked(self, text: str) -> bytes:
        """The bytes of a large array."""
        try:
            return zlib.decompress(base64.b85decode(text))
        except (ValueError, zlib.error):
            self.fail("these bytes are damaged")

    def whole(self) -> Graph:
        """The graph that is the whole text."""
        if not self.this_line():
            self.fail("there is no graph in this text")
        self.need("graph")
        inputs, outputs = self.header()
        self.finished()
        graph = Graph(self.nodes(inputs), tuple(i for i, _ in inputs), outputs)
        if self.row < self.end:
            self.fail("expected a node")
        return graph

    def header(self) -> tuple[list[tuple[int, Aval]], tuple[int, ...]]:
        """The declared inputs and the outputs, after the word ``graph``."""
        self.need("(")
        inputs = []
        while match := self.match(DECLARED):
            inputs.append((int(match[1]), self.aval(match[2])))
        self.need(") -> ")
        return inputs, _ids(self.want(IDS, "the outputs, as in (%1, %2)")[1])

    def nodes(self, inputs: list[tuple[int, Aval]]) -> tuple[Node, ...]:
        """The nodes up to the end of the graph; inputs without a line come from the header."""
        declared, found = dict(inputs), list[Node]()
        while self.next_line() and not self.line().startswith("}", self.at):
            ident = int(self.want(NODE, "a node, as in %3: f64[] = sin(%2)")[1])
            self.fill(found, declared, ident)
            if ident < len(found):
                self.fail(f"expected node %{len(found)}, found %{ident}")
            found.append(self.node(ident))
            if declared.get(ident, found[-1].aval) != found[-1].aval:
                self.fail(f"the header says that %{ident} is {declared[ident]}")
        self.fill(found, declared, max(declared, default=-1) + 1)
        return tuple(found)

    def fill(self, found: list[Node], declared: dict[int, Aval], stop: int) -> None:
        """Add the inputs that stand only in the header, up to the node ``stop``."""
        for ident in range(len(found), stop):
            if ident not in declared:
                self.fail(f"node %{ident} is missing")
            found.append(Node(ident, "input", (), declared[ident]))

    def node(self, ident: int) -> Node:
        """The rest of a node, after its id."""
        aval, results = self.type()
        match = self.want(OPERANDS, "an operation, as in = sin(%2)")
        params = {} if self.skip(")") else self.params(match[1], aval)
        return Node(ident, match[1], _ids(match[2]), aval, params, self.origin(), results)

    def type(self) -> tuple[Aval, tuple[Aval, ...]]:
        """The aval of a node, and those of its results if it has several."""
        match = self.want(TYPE, "a type, as in f64[3]")
        results = tuple(map(self.aval, match[2].split(", "))) if match[2] else ()
        if match[1]:
            return self.aval(match[1]), results
        if not results:
            self.fail("expected a type, as in f64[3]")
        return results[0], results

    def origin(self) -> Origin | None:
        """The end of a line: the place in the user's source, or nothing."""
        match = self.match(ORIGIN)
        if match is None:
            self.finished()
            return None
        return Origin(self.files.get(match[1], match[1]), int(match[2]), bool(match[3]))

    def params(self, op: str, aval: Aval) -> dict[str, Any]:
        """The params, with the closing parenthesis."""
        if op == "constant" and not NAME.match(self.line(), self.at):
            value = self.elements(aval)
            self.need(")")
            return {"value": value}
        params = {}
        while not self.skip(")"):
            name = self.want(NAME, "a param, as in axes=(0,)")[1]
            params[name] = self.value()
            self.separator(")")
        return params

    def body(self) -> Graph:
        """A graph that is a param: the header, and the nodes in braces."""
        self.at -= len("(")
        inputs, outputs = self.header()
        self.need(" {")
        self.finished()
        graph = Graph(self.nodes(inputs), tuple(i for i, _ in inputs), outputs)
        if self.row >= self.end:
            self.fail("the body graph has no closing }")
        self.need("}")
        return graph


_Reader.readers = {"graph(": _Reader.body, **Cursor.readers}
