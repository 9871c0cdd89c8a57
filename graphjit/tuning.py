"""The numbers that speed depends on and results do not: for each kind of processor, or measured.

``TABLE`` has them by the width of the vectors. ``graphjit bench --calibrate`` measures some again
and writes a file, from which later processes take them; a file that is not as expected is ignored
with one warning. What a pass does to a graph depends on none of them, so that the same graph means
the same loops everywhere; they choose among ways to write machine code.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from typing import Any

from graphjit.digests import hexadecimal
from graphjit.errors import TuningWarning
from graphjit.flags import current
from graphjit.records import NamedTuple

VERSION = 1  # of the file
FILE = "tuning.json"
CPU = Path("/sys/devices/system/cpu/cpu0")
MODEL = Path("/proc/cpuinfo")


class Limits(NamedTuple):
    """How fast the BLAS is, and how large the products are that it is left to.

    Attributes:
        call: Half cycles that a call costs.
        plain: Its time for a product, where 1 is that of the multiplications alone.
        across: The same where rows of A meet columns of B without gaps, as in A times B transposed.
        matrix: Multiplications of matrices from which on it may use several threads.
        alone: Multiplications up to which we are as good, where it uses one.
        vector: Elements of a matrix that is larger than the second cache, or nearly.
        narrow: Rows and columns of its tiles, whatever is asked for.
        written: Multiplications that cost what writing their sum does.
    """

    call: int
    plain: float
    across: float
    matrix: int
    alone: int
    vector: int
    narrow: int = 8
    written: int = 4


class Tiles(NamedTuple):
    """How our own products are cut into tiles, and what these cost in half cycles, about.

    Attributes:
        registers: Vectors that are at hand.
        taken: Bytes of a vector that an instruction takes at once; a wider one takes more turns.
        busy: Sums under way that keep two multipliers busy for the four cycles that each takes.
        sums: Vectors of a tile; more would only make the text longer.
        row: Of a tile of one row, so that a matrix is read from beginning to end.
        dots: Columns of a tile of dot products, whose sums are made at once.
        finished: Vectors of a tile that functions go on with: they need room, too.
        together: Of these, with which each operation is done before the next.
        held: Vectors of sums and columns of a tile over nests of loops.
        columns: Vectors of columns of such a tile.
        rows: Its rows: enough independent sums.
        loaded: What loading a vector of a row costs where dot products are made.
        folded: What adding up the halves of one does.
        begun: What a tile costs besides.
        called: What a function of mathematics does, where an operation is 1.
        stalled: Until what was written by parts can be read as a whole.
        apart: Bytes between rows of which each needs a page, and few have a place in the cache.
        deep: Rows so far apart that are better put side by side before they are read again.
    """

    registers: int = 16
    taken: int = 32
    busy: int = 8
    sums: int = 10
    row: int = 16
    dots: int = 8
    finished: int = 8
    together: int = 4
    held: int = 13
    columns: int = 2
    rows: int = 16
    loaded: int = 2
    folded: int = 2
    begun: int = 10
    called: int = 24
    stalled: int = 60
    apart: int = 2048
    deep: int = 16

    def weight(self, size: int) -> int:
        """What an instruction on a vector of so many bytes costs, where one on a narrow costs 1."""
        return -(-size // self.taken)


class Tuning(NamedTuple):
    """The numbers for vectors of one width.

    Attributes:
        products: The limits of products by the bytes of a number; measured by
            benchmarks/small_products.py.
        tiles: How products are cut.
        unrolled: Sums under way in a loop that adds up: as many as an addition takes cycles, by
            how many begin in one; measured with sums of arrays in the first cache.
        vectors: Of each value under way in a long body that waits for itself.
        long: Operations of such a body, from which on that pays; a shorter one with many choices
            lost a fifth where masks have registers of their own.
        chained: The share of a body that its longest chain of operations has, from which on it
            waits for itself. An operation takes four cycles, and about one begins in each: with
            less, enough is independent. At 0.14 two vectors lost 0.05 of the time, at 0.2 they
            gained 0.1 (Zen 4, vectors of 64 bytes).
        pieces: Vectors of a row that stays in registers while rows are added up.
        kept: Vectors of all rows that do so at once.
    """

    products: Mapping[int, Limits]
    tiles: Tiles = Tiles()
    unrolled: int = 4
    vectors: int = 1
    long: int = 100
    chained: float = 0.15
    pieces: int = 8
    kept: int = 12


TABLE = {
    64: Tuning(
        products={
            4: Limits(300, 1.6, 1.7, 10**6, 1 << 25, 1 << 16),
            8: Limits(300, 1.15, 1.5, 10**6, 1 << 25, 1 << 16),
        },
        tiles=Tiles(registers=32, held=28, columns=4),
        vectors=4,
    ),
    32: Tuning(
        products={
            4: Limits(500, 1.5, 1.7, 1 << 18, 1 << 18, 1 << 16),
            8: Limits(500, 1.5, 1.7, 1 << 18, 1 << 18, 1 << 16),
        },
        vectors=4,
        long=24,
    ),
    16: Tuning(
        products={
            4: Limits(400, 1.5, 1.6, 1 << 18, 1 << 20, 1 << 16),
            8: Limits(400, 1.5, 1.6, 1 << 18, 1 << 20, 1 << 16),
        },
    ),
}

# What a measured number can be: anything else is no measurement.
RANGES: dict[str, tuple[float, float]] = {
    "call": (20, 20_000),
    "plain": (0.8, 10),
    "across": (0.8, 10),
    "alone": (1 << 12, 1 << 30),
    "unrolled": (1, 16),
}
POWERS = (1, 2, 4, 8, 16)  # of which ``unrolled`` is one, since sums are joined in pairs

FRACTIONS = ("plain", "across")

_chosen: ContextVar[Tuning | None] = ContextVar("graphjit_tuning", default=None)


def tuning(vector_bytes: int) -> Tuning:
    """The numbers in force: those of ``override``, as measured here, or those of the table."""
    return _chosen.get() or _measured(vector_bytes, current().tuning)


@contextmanager
def override(chosen: Tuning) -> Iterator[None]:
    """Use other numbers within a ``with`` block, in this thread."""
    token = _chosen.set(chosen)
    try:
        yield
    finally:
        _chosen.reset(token)


@cache
def _measured(vector_bytes: int, named: str) -> Tuning:  # noqa: ARG001 - the flag chooses the file
    """The table's numbers with those of the file for this processor in their place."""
    table = TABLE[vector_bytes]
    found = read(file()).get(key(vector_bytes), {})
    for name, value in found.items():
        table = replaced(table, name, value)
    return table


def replaced(table: Tuning, name: str, value: float) -> Tuning:
    """Another value for ``unrolled``, or for ``call f4`` and the like of products."""
    field, _, size = name.partition(" f")
    change: dict[str, Any] = {field: float(value) if field in FRACTIONS else int(value)}
    if not size:
        return table._replace(**change)
    limits = table.products[int(size)]._replace(**change)
    return table._replace(products={**table.products, int(size): limits})


def numbers(table: Tuning) -> dict[str, float]:
    """What can be measured again, as ``replaced`` names it."""
    found: dict[str, float] = {"unrolled": table.unrolled}
    for size, limits in sorted(table.products.items()):
        found |= {f"{n} f{size}": getattr(limits, n) for n in ("call", "plain", "across", "alone")}
    return found


# -- the file --------------------------------------------------------------------------------------


def file() -> Path | None:
    """The file that the flag names, or the user's usual one; None where there is to be none."""
    named = current().tuning
    if named == "off":
        return None
    try:
        return Path(named).expanduser().absolute() if named else folder() / FILE
    except (RuntimeError, OSError):  # the user has no home
        return None


def folder() -> Path:
    """The user's folder of settings by the rule of the platform, as XDG_CONFIG_HOME on Linux."""
    if sys.platform == "win32":
        return Path(os.environ.get("APPDATA", "~\\AppData\\Roaming")).expanduser() / "graphjit"
    if sys.platform == "darwin":
        return Path("~/Library/Application Support/graphjit").expanduser()
    named = os.environ.get("XDG_CONFIG_HOME", "")
    return Path(named if named.startswith("/") else "~/.config").expanduser() / "graphjit"


def read(path: Path | None) -> dict[str, dict[str, float]]:
    """For each processor what was measured; nothing where the file is not there or is damaged."""
    content = contents(path)
    try:
        return checked(json.loads(content)) if content is not None else {}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        return damaged(path, str(error))


@cache
def contents(path: Path | None) -> bytes | None:
    """What is in a file, once a process, so that its numbers and the ``digest`` go together."""
    try:
        return None if path is None else path.read_bytes()
    except OSError:
        return None


def checked(content: Any) -> dict[str, dict[str, float]]:
    """The processors of a file.

    Raises:
        ValueError, KeyError, TypeError, AttributeError: it is not as it is written.
    """
    if content["version"] != VERSION:
        raise ValueError(f"its version is {content['version']!r}")
    known = numbers(TABLE[64])
    for processor, found in content["processors"].items():
        for name, value in found.items():
            low, high = RANGES[name.partition(" ")[0]]
            fits = type(value) in (int, float) and low <= value <= high
            if name not in known or not fits or (name == "unrolled" and value not in POWERS):
                raise ValueError(f"{name} is {value!r} for {processor}")
    return dict(content["processors"])


def damaged(path: Path | None, fault: str) -> dict[str, dict[str, float]]:
    """Say that a file is not used; there are no numbers in it."""
    text = f"{path} is not used: {fault}. 'graphjit bench --calibrate' writes it anew."
    warnings.warn(text, TuningWarning, stacklevel=2)
    return {}


def write(path: Path, vector_bytes: int, found: Mapping[str, float]) -> None:
    """Keep what was measured on this processor; what others have measured stays.

    Raises:
        OSError: the file cannot be written.
    """
    contents.cache_clear()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TuningWarning)
        processors = read(path) | {key(vector_bytes): dict(found)}
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}")
    text = json.dumps({"version": VERSION, "processors": processors}, indent=1, sort_keys=True)
    partial.write_text(text + "\n", encoding="utf-8")
    partial.replace(path)
    contents.cache_clear()
    _measured.cache_clear()


def digest() -> str:
    """What stands for the file in keys of programs that are kept: its contents, if there is one."""
    content = contents(file())
    return "" if content is None else hexadecimal(content)


# -- the machine -----------------------------------------------------------------------------------


def key(vector_bytes: int) -> str:
    """What measurements are kept by: the processor's name, and the width of its vectors."""
    return f"{model()}, vectors of {vector_bytes} bytes"


@cache
def model() -> str:
    """What the system calls the processor."""
    try:
        with MODEL.open(encoding="utf-8", errors="replace") as lines:
            found = [line.partition(":")[2].strip() for line in lines if line[:10] == "model name"]
    except OSError:
        found = []
    return found[0] if found else f"{sys.platform} processor"


LINE = 64  # bytes that come into the caches together


class Caches(NamedTuple):
    """The bytes of data that a core finds in each cache."""

    first: int
    second: int
    third: int


USUAL = Caches(32 << 10, 1 << 20, 16 << 20)


@cache
def caches() -> Caches:
    """Those of the first core as the system tells them; usual ones where it does not."""
    known = dict(cache_sizes(CPU / "cache"))
    return Caches(*(known.get(level + 1, usual) for level, usual in enumerate(USUAL)))


def cache_sizes(path: Path) -> Iterator[tuple[int, int]]:
    """Level and bytes of each cache of data in a folder of Linux."""
    for item in sorted(path.glob("index*")):
        try:
            kind, level, size = ((item / n).read_text().strip() for n in ("type", "level", "size"))
        except OSError:
            continue
        digits = size.rstrip("KM")
        if kind in ("Data", "Unified") and level.isdecimal() and digits.isdecimal():
            yield int(level), int(digits) << {"K": 10, "M": 20}.get(size[len(digits) :], 0)
