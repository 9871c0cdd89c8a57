"""The forms of what functions and their rules return: taking them apart, and checking them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import optree

from graphjit.errors import DTypeError, GraphJITError, ShapeError, TraceError
from graphjit.ir.aval import Aval
from graphjit.ir.dispatch import lift
from graphjit.ir.graph import Origin
from graphjit.ir.symbol import Symbol
from graphjit.records import dataclass
from graphjit.tracing.origin import user_line
from graphjit.tracing.static import Static
from graphjit.tracing.trace import active
from graphjit.tracing.trees import Leaf, flatten
from graphjit.transforms.derive import shown

Function = Callable[..., Any]
RESULT_HINT = "A rule returns what its function returns: the same structure, shapes and dtypes."
COTANGENT_HINT = (
    "A cotangent has the structure, shapes and dtypes of its argument, a tangent those of its "
    "result; None stands for zeros."
)


@dataclass(frozen=True)
class Form:
    """What a function returned while it was traced: traced leaves, and others as they are."""

    spec: optree.PyTreeSpec
    leaves: tuple[Any, ...]
    symbols: tuple[Symbol, ...]
    places: tuple[int, ...]

    @classmethod
    def of(cls, result: Any, *, floats: bool = True) -> Form:
        """Arrays become symbols, and with ``floats`` Python's and NumPy's floats too."""
        leaves, spec = flatten(result)
        numbers = (float, np.floating) if floats else ()
        places = [i for i, leaf in enumerate(leaves) if isinstance(leaf, (Symbol, np.ndarray))]
        places += [i for i, leaf in enumerate(leaves) if isinstance(leaf, numbers)]
        places.sort()
        symbols = tuple(entered(leaves[i]) for i in places)
        rest = (None if i in places else leaf for i, leaf in enumerate(leaves))
        return cls(spec, tuple(rest), symbols, tuple(places))

    @property
    def avals(self) -> tuple[Aval, ...]:
        """Those of the traced leaves."""
        return tuple(symbol.aval for symbol in self.symbols)

    @property
    def kinds(self) -> list[Leaf]:
        """The traced leaves as inputs of another trace."""
        return [Leaf(symbol.aval, symbol.weak) for symbol in self.symbols]

    @cached_property
    def names(self) -> list[str]:
        """What a message calls the traced leaves."""
        called = [accessor.codify("result") for accessor in self.spec.accessors()]
        return [called[place] for place in self.places]

    @property
    def floats(self) -> list[int]:
        """Which of the traced leaves are floats."""
        return [i for i, aval in enumerate(self.avals) if aval.inexact]

    def rebuilt(self, values: Sequence[Any]) -> Any:
        """The same with other values for the traced leaves."""
        leaves = list(self.leaves)
        for place, value in zip(self.places, values, strict=True):
            leaves[place] = value
        return optree.tree_unflatten(self.spec, leaves)

    def around(self, cotangents: Sequence[Any]) -> Any:
        """The same structure with a cotangent for each float and None for the rest."""
        leaves: list[Any] = [None] * len(self.leaves)
        for i, cotangent in zip(self.floats, cotangents, strict=True):
            leaves[self.places[i]] = cotangent
        return optree.tree_unflatten(self.spec, leaves)


def entered(leaf: Any) -> Symbol:
    """A leaf as a symbol of the running trace; a Python float stays weak."""
    builder = active()
    assert builder is not None  # noqa: S101 - it is called by what is being traced
    symbol: Symbol = lift(builder, leaf)
    return symbol.as_weak() if type(leaf) is float else symbol


def differentiable(kind: Leaf | Static) -> bool:
    """Whether a leaf has a tangent."""
    return isinstance(kind, Leaf) and kind.aval.inexact


def stand_in(kind: Leaf) -> Any:
    """A value that is traced as this leaf; nothing but its form is looked at."""
    return 0.0 if kind.weak else np.broadcast_to(np.zeros((), kind.aval.dtype), kind.aval.shape)


def leaf_names(names: Sequence[str], specs: Sequence[optree.PyTreeSpec]) -> list[str]:
    """What the user calls each leaf of the arguments."""
    pairs = zip(names, specs, strict=True)
    return [accessor.codify(name) for name, spec in pairs for accessor in spec.accessors()]


def matched(spec: optree.PyTreeSpec, tree: Any, text: str, rule: Function) -> list[Any]:
    """The leaves of a tree that must have this structure; None alone stands for all of it.

    Raises:
        TraceError: it has another.
    """
    if tree is None:
        return [None] * spec.num_leaves
    try:
        parts = spec.flatten_up_to(tree)
    except (ValueError, TypeError):
        parts = None
    if parts is None or any(flatten(part)[1].num_nodes != 1 for part in parts):
        came = shown(flatten(tree)[1])
        raise TraceError(
            f"{text} in its own structure", origin=line_of(rule), hint=COTANGENT_HINT,
            operands=(f"expected {shown(spec)}", f"it returned {came}"),
        )  # fmt: skip
    return parts


def fitted(part: Any, aval: Aval, text: str, rule: Function) -> Symbol:
    """A cotangent or tangent as a symbol of the running trace: zeros for None.

    Raises:
        ShapeError, DTypeError: it does not have the aval.
    """
    builder = active()
    assert builder is not None  # noqa: S101 - it is called by what is being traced
    if part is None:
        zero = builder.constant(0, aval.dtype)
        return Symbol(builder, builder.broadcast_to(zero, aval.shape))
    try:
        symbol: Symbol = lift(builder, part)
    except GraphJITError:
        raise DTypeError(
            f"{text}, not {described(part)}", origin=line_of(rule), hint=COTANGENT_HINT
        ) from None
    weak = type(part) in (int, float) or getattr(part, "weak", False)
    if weak and not aval.shape and not symbol.shape:
        symbol = lift(builder, symbol, aval.dtype)
    if symbol.aval != aval:
        raise misfit(text, aval, symbol.aval, rule, COTANGENT_HINT)
    return symbol


def misfit(text: str, aval: Aval, came: Aval, rule: Function, hint: str) -> GraphJITError:
    """The error for a value of another shape or dtype."""
    kind = ShapeError if came.shape != aval.shape else DTypeError
    operands = (f"expected {aval}", f"it returned {came}")
    return kind(f"{text}, not {came}", origin=line_of(rule), operands=operands, hint=hint)


def described(value: Any) -> str:
    """What came, for a message."""
    leaves, spec = flatten(value)
    if len(leaves) == 1 and spec.is_leaf():
        leaf = leaves[0]
        return str(leaf.aval) if isinstance(leaf, Symbol) else type(leaf).__name__
    return shown(spec)


def title(rule: Function) -> str:
    """The name of a rule."""
    return str(getattr(rule, "__name__", "function"))


def line_of(rule: Function) -> Origin | None:
    """The line where a rule is written; the line of the call where that is unknown."""
    code = getattr(inspect.unwrap(rule), "__code__", None)
    return Origin(code.co_filename, code.co_firstlineno) if code is not None else user_line()
