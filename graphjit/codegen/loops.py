"""The loop IR: kernels over flat buffers, with a body of scalar statements.

A program is a list of kernels; a kernel is a list of statements; ``For`` nests. Addresses are
affine in the loop indices, so a transpose, slice, reshape or broadcast is only another address.
Every renderer reads this, and nothing else, of a program.
"""

from __future__ import annotations

from dataclasses import field
from typing import Any, Literal

from graphjit.ir.aval import DType
from graphjit.ir.graph import Origin
from graphjit.records import NamedTuple, dataclass

ROUNDS = 64  # of a while loop, for which a tape has room at first


class Buffer(NamedTuple):
    """A flat array of ``size`` elements.

    ``start`` are terms added to every address: the position of a training loop or a scan. Work
    buffers lie in one array a dtype, at the offsets of the program's plan. ``label`` is what the
    user calls it, for comments only: names in generated text are counters.
    """

    name: str
    size: int
    dtype: DType
    role: Literal["input", "output", "work", "constant", "tape"]
    shape: tuple[int, ...] = ()
    start: tuple[tuple[str, int], ...] = ()
    label: str = ""


class Value(NamedTuple):
    """A named scalar; ``depth`` counts the loops it is computed in."""

    name: str
    dtype: DType
    depth: int = 0


class Constant(NamedTuple):
    """A constant scalar of a dtype."""

    value: Any
    dtype: DType
    depth: int = 0


Scalar = Value | Constant


class Address(NamedTuple):
    """An element of a buffer: ``offset`` plus the sum of index times stride."""

    buffer: Buffer
    offset: int
    terms: tuple[tuple[str, int], ...] = ()


class Let(NamedTuple):
    """``value = op(operands)``; a second ``Let`` of one name updates an accumulator."""

    value: Value
    op: str
    operands: tuple[Scalar, ...]
    params: tuple[Any, ...] = ()
    origin: Origin | None = None


class Load(NamedTuple):
    """``value`` is the element at ``address``."""

    value: Value
    address: Address
    origin: Origin | None = None


class Index(NamedTuple):
    """A value that is an affine function of the loop indices."""

    value: Value
    offset: int
    terms: tuple[tuple[str, int], ...]
    origin: Origin | None = None


@dataclass(frozen=True, slots=True)
class Check:
    """``value`` is ``index`` counted from the front of an axis of ``size``.

    Outside the axis the program's status becomes ``code`` and the value 0.
    """

    value: Value
    index: Scalar
    size: int
    code: int
    origin: Origin | None = None


class Store(NamedTuple):
    """Write ``value``; with ``op``, combine it with what is there (``add`` accumulates)."""

    address: Address
    value: Scalar
    op: str = ""
    origin: Origin | None = None


class Fill(NamedTuple):
    """Set a whole buffer to one value."""

    buffer: Buffer
    value: Constant


class Gemm(NamedTuple):
    """C = op(A) op(B), with row-major leading dimensions; ``op`` transposes where asked."""

    m: int
    n: int
    k: int
    a: Address
    lda: int
    transpose_a: bool
    b: Address
    ldb: int
    transpose_b: bool
    c: Address
    ldc: int
    origin: Origin | None = None


class Gemv(NamedTuple):
    """y = op(A) x for a row-major A of ``rows`` by ``columns``."""

    rows: int
    columns: int
    a: Address
    lda: int
    transpose: bool
    x: Address
    incx: int
    y: Address
    incy: int
    origin: Origin | None = None


class Ahead(NamedTuple):
    """What is read next: so many elements on, unless ``loop`` is at its ``last`` turn."""

    loop: str
    step: int
    last: int | None = None


class PickedGemv(NamedTuple):
    """y = op(A) x, where row i of A is row ``picked[i]`` of the matrix at ``a``; no steps between.

    ``read`` is where the numbers of the rows come from as they are, if they are read one after the
    other; those that come ``ahead`` are of rows to bring into the caches meanwhile, and are no
    numbers of rows perhaps. ``name`` begins the names of its own loop indices.
    """

    name: str
    rows: int
    columns: int
    a: Address
    lda: int
    transpose: bool
    picked: Address
    x: Address
    y: Address
    read: Address | None = None
    ahead: Ahead | None = None
    origin: Origin | None = None


class Product(NamedTuple):
    """C[i, j] = sum over k of A[i, k] B[k, j], or added to what is there; columns lie side by side.

    ``rows`` and ``depth`` are nests of loops, so that rows may overlap as windows do: an extent and
    the steps in A and C for each loop of the rows, in A and B for each of the sums. Where ``add``
    is false, C is written only. ``name`` begins the names of its own loop indices.
    """

    name: str
    a: Address
    b: Address
    c: Address
    columns: int
    rows: tuple[tuple[int, int, int], ...]
    depth: tuple[tuple[int, int, int], ...]
    add: bool
    origin: Origin | None = None


@dataclass(frozen=True, slots=True)
class For:
    """``for index in range(extent)``; ``reverse`` counts down.

    ``uses`` is the memory that the body needs for its own values.
    """

    index: str
    extent: int
    body: list[Statement]
    reverse: bool = False
    uses: tuple[Buffer, ...] = ()


class While(NamedTuple):
    """Run ``test``; while what it leaves at ``answer`` is true, run ``body`` and ask again."""

    test: list[Statement]
    answer: Address
    body: list[Statement]
    uses: tuple[Buffer, ...] = ()


class If(NamedTuple):
    """Run ``then`` where the element at ``which`` is true, else ``otherwise``."""

    which: Address
    then: list[Statement]
    otherwise: list[Statement]
    uses: tuple[Buffer, ...] = ()


@dataclass(frozen=True, slots=True)
class Tape:
    """Memory of its own that holds as many rounds as there are: one buffer a carry.

    ``room`` names the number of rounds there is memory for. ``open`` allocates, ``ensure`` makes
    room for round ``count``, ``close`` frees.
    """

    action: Literal["open", "ensure", "close"]
    buffers: tuple[Buffer, ...]
    room: str
    count: str = ""


Statement = (
    Let | Load | Index | Check | Store | Fill | Gemm | Gemv | PickedGemv | Product
    | For | While | If | Tape
)  # fmt: skip


@dataclass(eq=False)
class Kernel:
    """Statements that belong together: one loop nest, one library call, or a few scalars."""

    title: str
    statements: list[Statement]
    origin: Origin | None = None

    @property
    def loops(self) -> int:
        """The outermost loops of the kernel."""
        return sum(isinstance(s, For) for s in self.statements)

    @property
    def calls(self) -> int:
        """The library calls of the kernel."""
        return sum(isinstance(s, Gemm | Gemv) for s in self.statements)


@dataclass
class LoopProgram:
    """A whole program: kernels in order, over inputs, outputs, constants and work arrays.

    ``work`` gives the length of the work array of each dtype and ``offsets`` the place of each
    work buffer in it, ``aliases`` the input that a donated output overwrites, ``constants`` the
    contents of the constant buffers, ``checks`` the node behind each status code, ``names`` how
    many names are taken, ``blocks`` the work buffers that hold those of loop bodies, with the bytes
    at which these begin, ``joined`` the buffers that are several others side by side, with the
    elements at which these begin: the plan sees to work buffers, and whoever runs the program to
    inputs.
    """

    kernels: list[Kernel]
    inputs: list[Buffer]
    outputs: list[Buffer]
    constants: list[tuple[Buffer, Any]] = field(default_factory=list)
    work: dict[DType, int] = field(default_factory=dict)
    offsets: dict[str, int] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    checks: list[tuple[Origin | None, int]] = field(default_factory=list)
    names: int = 0
    blocks: list[tuple[Buffer, dict[str, int]]] = field(default_factory=list)
    joined: list[tuple[Buffer, dict[str, int]]] = field(default_factory=list)
