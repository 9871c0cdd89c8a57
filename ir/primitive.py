"""What an operation is: one row of the table says all of it."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, cached_property
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from graphjit.ir.aval import Aval
from graphjit.records import dataclass

Kind = Literal[
    "map", "reduce", "running", "layout", "contract", "index", "source", "call", "control"
]
Rule = Callable[..., Any]


@dataclass(frozen=True)
class Primitive:
    """One row.

    Attributes:
        name: The operation's name in the graph, NumPy's own where it has one.
        kind: All that fusion and lowering know of it: ``map`` (elementwise on operands of one
            shape), ``reduce`` (over ``axes``), ``running`` (along ``axis``), ``layout`` (moves
            elements), ``contract`` (sums of products), ``index`` (data-dependent addresses),
            ``source`` (no operands), ``call`` (a body graph), ``control`` (graphs to run).
        numpy: The meaning, on arrays: ``numpy(*operands, **params)``.
        aval: ``aval(*operand_avals, **params) -> Aval``.
        ufunc: The NumPy ufunc that traces to this row, where there is one.
        partials: ``partials(result, *operands, **params)``, one factor per operand, as NumPy
            expressions; a tuple of factors is multiplied one after another, since 1/b² may
            underflow where ȧ/b/b does not. A map's tangent is the sum of tangent times partial, its
            cotangent is cotangent times partial; a reduction's factor weighs each element.
            ``None``: flat.
        transpose: For operations linear in some operands: ``transpose(cotangent, *operands,
            **params)`` gives the cotangent of each operand (``None`` for the others).
        jvp: For what is neither: ``jvp(tangents, result, *operands, **params)``, the tangent of the
            result from those of all operands.
        vjp: For what is neither: ``vjp(cotangent, result, *operands, **params)``, the cotangent
            of each operand.
        scalar: ``scalar(k, *operands, **params)`` in the loop IR's scalar operations; by default
            the scalar operation of the same name.
        latex: A format string of the operands.
        text: The same as Python, where that is more than the row's name and its operands.
        domain: An interval (or one per operand) on which tests may sample.
        pole: A partial can be infinite or NaN, so a zero cotangent must stay zero.
        branch: A partial can be infinite where the value is finite, so that a later partial of
            zero must win over it (the norm at 0).
        drops: It leaves elements of an operand unused. Their cotangent is zero and must stay so,
            whatever infinity or NaN they were made from.
        analytic: What continues it to complex numbers, for other ways to its derivative: ``True``
            where ``numpy`` does; ``analytic(e, *operands, **params)`` in the elementary
            functions of ``e``, which are NumPy's or those of another kind of number; ``False``
            where nothing does. Flat rows are not analytic either.
    """

    name: str
    kind: Kind
    numpy: Callable[..., Any]
    aval: Callable[..., Aval]
    ufunc: Any = None
    partials: Rule | None = None
    transpose: Rule | None = None
    jvp: Rule | None = None
    vjp: Rule | None = None
    scalar: Rule | None = None
    latex: str = ""
    text: str = ""
    domain: Any = (-3.0, 3.0)
    pole: bool = False
    branch: bool = False
    drops: bool = False
    analytic: bool | Rule = True


class SciPyUfunc:
    """A ufunc of ``scipy.special``, which takes 0.15 s to import: done when it is first used.

    ``graphjit.ir.numpy.special`` says which row a call of the ufunc itself is traced to.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    @cached_property
    def ufunc(self) -> Any:
        """SciPy's own object."""
        return getattr(import_module("scipy.special"), self.name)

    def __call__(self, *operands: Any) -> Any:
        """What SciPy computes."""
        return self.ufunc(*operands)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.ufunc, name)


ROWS: dict[str, Primitive] = {}  # by name; see TABLE
BY_UFUNC: dict[Any, Primitive] = {}
if TYPE_CHECKING:
    TABLE = ROWS  # all rows: whoever names it has them loaded


def same(*operands: Aval, **_: Any) -> Aval:
    """The aval of a map whose result has its operands' dtype."""
    return operands[-1]


def row(name: str, kind: Kind, *, numpy: Callable[..., Any], **columns: Any) -> Primitive:
    """Add a row to the table. A NumPy ufunc given as ``numpy`` is traced to it.

    Raises:
        ValueError: the name is taken.
    """
    if name in ROWS:
        message = f"the table has a row {name!r} already"
        raise ValueError(message)
    columns.setdefault("aval", same)
    if isinstance(numpy, np.ufunc | SciPyUfunc):
        columns.setdefault("ufunc", numpy)
    ROWS[name] = primitive = Primitive(name, kind, numpy, **columns)
    if isinstance(numpy, np.ufunc):
        BY_UFUNC[numpy] = primitive
    return primitive


@cache
def load() -> None:
    """Fill the table and learn NumPy's functions: 40 ms, when the first graph is built."""
    import_module("graphjit.ir.table")
    import_module("graphjit.ir.numpy")


def __getattr__(name: str) -> Any:
    """``TABLE`` is ``ROWS`` once they are there."""
    if name != "TABLE":
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    load()
    return ROWS
