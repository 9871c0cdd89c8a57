"""A cursor in a text, and the values it can read there: numbers, arrays, dtypes, tuples ..."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any, ClassVar, NoReturn

import numpy as np

from graphjit.errors import ParseError
from graphjit.ir.aval import DTYPES, Aval, DType

WORDS = {"None": None, "True": True, "False": False}
STRING = re.compile(r"""b?(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")""")
NUMBER = re.compile(r"-?(?:nan(?::[0-9a-f]+)?|inf|\d+(?:\.\d+)?(?:e[+-]?\d+)?)(?![\w.])")
WORD = re.compile(r"None|True|False")
TYPED = re.compile(r"([a-z]+\d*)(\[[\d,]*\])?(\()?")
DATA = re.compile(r"data (\d+)")


def quiet_nan(size: int) -> int:
    """The bits of the NaN that is written ``nan``, in a float of ``size`` bytes."""
    return 0x7FF8000000000000 if size == 8 else 0x7FC00000


def bits_of(floats: Any) -> Any:
    """The same memory as unsigned integers."""
    return floats.view(np.dtype(f"u{floats.dtype.itemsize}"))


@lru_cache(maxsize=4096)
def read_aval(text: str) -> Aval:
    """The aval that a text such as ``f64[2,3]`` says."""
    dtype, shape = text[:-1].split("[")
    return Aval(tuple(int(size) for size in shape.split(",") if size), DTYPES[dtype])


class Cursor:
    """A place in a text.

    Attributes:
        row: The line.
        at: The place in the line.
        end: The line after the last one.
        data: The bytes of large arrays, by number.
    """

    readers: ClassVar[dict[str, Callable[[Any], Any]]]

    def __init__(self, text: str) -> None:
        self.lines = text.split("\n")
        self.row, self.at, self.end = 0, 0, len(self.lines)
        self.data: dict[int, bytes] = {}

    def fail(self, fact: str) -> NoReturn:
        """Raise the error that names the line."""
        row = min(self.row, len(self.lines) - 1)
        raise ParseError(f"line {row + 1}: {fact}\n    {self.lines[row].strip()}")

    def line(self) -> str:
        """The whole line."""
        return self.lines[self.row]

    def next_line(self) -> bool:
        """Go to the next line that is not blank; whether there is one."""
        self.row += 1
        return self.this_line()

    def this_line(self) -> bool:
        """Go past blank lines to the start of one that is not; whether there is one."""
        while self.row < self.end and not self.lines[self.row].strip():
            self.row += 1
        if self.row >= self.end:
            return False
        self.at = len(self.line()) - len(self.line().lstrip())
        return True

    def match(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        """Read what the pattern matches here, if it does."""
        match = pattern.match(self.lines[self.row], self.at)
        if match:
            self.at = match.end()
        return match

    def want(self, pattern: re.Pattern[str], what: str) -> re.Match[str]:
        """Read what the pattern matches; it must match."""
        match = self.match(pattern)
        if match is None:
            rest = self.line()[self.at : self.at + 20] or "the end of the line"
            self.fail(f"expected {what}, found {rest!r}")
        return match

    def skip(self, literal: str) -> bool:
        """Read these characters, if they are next; whether they were."""
        found = self.line().startswith(literal, self.at)
        if found:
            self.at += len(literal)
        return found

    def need(self, literal: str) -> None:
        """Read these characters, which must be next."""
        self.want(re.compile(re.escape(literal)), repr(literal))

    def finished(self) -> None:
        """The line must hold no more."""
        rest = self.line()[self.at :].strip()
        if rest:
            self.fail(f"expected the end of the line, found {rest[:20]!r}")

    def separator(self, closing: str) -> None:
        """A comma, or the closing bracket, which is left to be read."""
        more = self.skip(", ") or self.skip(",")
        if not more and not self.line().startswith(closing, self.at):
            self.need(closing)

    def value(self) -> Any:
        """Any value of a param."""
        for start, read in self.readers.items():
            if self.line().startswith(start, self.at):
                self.at += len(start)
                return read(self)
        if match := self.match(WORD):
            return WORDS[match[0]]
        if match := self.match(STRING):
            return self.string(match[0])
        if match := self.match(NUMBER):
            return self.number(match[0])
        return self.typed()

    def string(self, text: str) -> Any:
        """A Python str or bytes."""
        try:
            return ast.literal_eval(text)
        except (SyntaxError, ValueError):
            self.fail(f"{text} is no string")

    def number(self, text: str) -> Any:
        """A Python int or float."""
        if text.lstrip("-").isdigit():
            try:
                return int(text)
            except ValueError:
                self.fail("a number has too many digits")
        return self.array([text], Aval((), np.dtype(np.float64))).item()

    def aval(self, text: str) -> Aval:
        """An aval such as ``f64[3]``."""
        try:
            return read_aval(text)
        except KeyError:
            self.fail(f"no dtype is called {text.partition('[')[0]}; there are {', '.join(DTYPES)}")

    def values(self, closing: str) -> list[Any]:
        """Values up to the closing bracket."""
        items = []
        while not self.skip(closing):
            items.append(self.value())
            self.separator(closing)
        return items

    def mapping(self) -> dict[Any, Any]:
        """A dict, after its opening bracket."""
        items = {}
        while not self.skip("}"):
            name = self.value()
            self.need(": ")
            try:
                items[name] = self.value()
            except TypeError:
                self.fail(f"{name} cannot be a key")
            self.separator("}")
        return items

    def opaque(self) -> NoReturn:
        """What ``show`` prints for a value that has no text."""
        self.fail("a param in <...> has no text that could be read back")

    def typed(self) -> DType | Aval | Any:
        """A dtype ``f64``, an aval ``f64[3]``, a NumPy scalar ``f64(1.0)`` or an array."""
        match = self.want(TYPED, "a value")
        aval = self.aval(match[1] + (match[2] or "[]"))
        if not match[3]:
            return aval if match[2] else aval.dtype
        array = self.elements(aval)
        self.need(")")
        return array if match[2] else array[()]

    def elements(self, aval: Aval) -> Any:
        """The elements of an array: nested lists of numbers, or a row at the end of the text."""
        if match := self.match(DATA):
            data = self.data.get(int(match[1]), b"")
            if len(data) != aval.size * aval.dtype.itemsize:
                self.fail(f"{match[0]} does not hold the bytes of {aval}")
            return _frozen(np.frombuffer(data, aval.dtype).reshape(aval.shape))
        texts, shape = self.nested()
        if 0 in aval.shape and not texts:
            shape = aval.shape
        if shape != aval.shape:
            self.fail(f"these elements have shape {shape}, not {aval.shape}")
        return _frozen(self.array(texts, aval))

    def nested(self) -> tuple[list[str], tuple[int, ...]]:
        """The texts of the elements and the shape that the brackets give."""
        if not self.skip("["):
            match = self.match(WORD) or self.want(NUMBER, "a number")
            return [match[0]], ()
        texts, shapes = list[str](), list[tuple[int, ...]]()
        while not self.skip("]"):
            part, shape = self.nested()
            texts += part
            shapes.append(shape)
            self.separator("]")
        if len(set(shapes)) > 1:
            self.fail("the lists of an array differ in length")
        return texts, (len(shapes), *(shapes[0] if shapes else ()))

    def array(self, texts: list[str], aval: Aval) -> Any:
        """An array of elements given as texts, right to the bit."""
        try:
            numbers = [_number(text, aval.dtype) for text in texts]
            array = np.array(numbers, aval.dtype).reshape(aval.shape)
        except (ValueError, OverflowError, KeyError):
            self.fail(f"{', '.join(texts)} cannot be held by {aval}")
        bits = bits_of(array.reshape(-1)) if aval.dtype.kind == "f" else None
        for place, text in enumerate(texts):
            if "nan" in text and bits is not None:
                bits[place] = _nan(text, aval.dtype.itemsize)
        return array


def _number(text: str, dtype: DType) -> Any:
    if dtype.kind == "b":
        return {"True": True, "False": False}[text]
    if dtype.kind == "f":
        return np.nan if "nan" in text else float(text)
    return int(text)


def _nan(text: str, size: int) -> int:
    if ":" in text:
        return int(text.split(":")[1], 16)
    return quiet_nan(size) | (1 << (8 * size - 1) if text.startswith("-") else 0)


def _frozen(array: Any) -> Any:
    array.setflags(write=False)
    return array


Cursor.readers = {
    "slice(": lambda cursor: slice(*cursor.values(")")),
    "(": lambda cursor: tuple(cursor.values(")")),
    "[": lambda cursor: cursor.values("]"),
    "{": Cursor.mapping,
    "<": Cursor.opaque,
}
