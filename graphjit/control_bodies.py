"""The bodies of control flow: traced functions, the values they close over, and their forms."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import optree

from graphjit.custom_forms import leaf_names
from graphjit.errors import DTypeError, ShapeError, TraceError
from graphjit.ir.aval import Aval, aval_of
from graphjit.ir.builder import Builder
from graphjit.ir.dispatch import lift
from graphjit.ir.graph import Graph
from graphjit.ir.symbol import Symbol
from graphjit.records import dataclass
from graphjit.tracing.origin import user_line
from graphjit.tracing.trace import Traced, active, trace
from graphjit.tracing.trees import NAMESPACE, flatten
from graphjit.transforms.derive import shown


@dataclass(frozen=True)
class Leaves:
    """A pytree of symbols of one trace."""

    symbols: tuple[Symbol, ...]
    spec: optree.PyTreeSpec

    @classmethod
    def of(cls, builder: Builder, tree: Any) -> Leaves:
        """Every number and array of the tree as a symbol; Python ints become int64."""
        leaves, spec = flatten(tree)
        return cls(tuple(entered(builder, leaf) for leaf in leaves), spec)

    @staticmethod
    def arrays(tree: Any) -> Any:
        """The tree with Python ints as arrays, so that they are traced."""
        return optree.tree_map(
            lambda x: np.asarray(x) if isinstance(x, bool | int) else x, tree, namespace=NAMESPACE
        )

    @property
    def ids(self) -> list[int]:
        """The nodes."""
        return [s.id for s in self.symbols]

    def forms(self, name: str) -> tuple[str, ...]:
        """Each leaf with its shape and dtype, for a message."""
        pairs = zip(leaf_names([name], [self.spec]), self.symbols, strict=True)
        return tuple(f"{leaf}: {symbol.aval}" for leaf, symbol in pairs)

    def tree(self, symbols: Sequence[Any]) -> Any:
        """Other leaves in this structure."""
        return optree.tree_unflatten(self.spec, symbols)


def entered(builder: Builder, leaf: Any) -> Symbol:
    """A leaf as a strong symbol of the trace."""
    symbol = lift(builder, leaf)
    return Symbol(builder, symbol.id)


def first(x: Symbol) -> Any:
    """A stand-in for one slice: only its aval matters."""
    return x[0] if x.shape and x.shape[0] else np.sum(x, axis=0)


@dataclass(frozen=True)
class Body:
    """A traced body: its graph takes the values it closes over first, then its arguments.

    Attributes:
        consts: The nodes of the outer trace that it closes over.
        traced: The trace.
    """

    graph: Graph
    consts: tuple[int, ...]
    traced: Traced

    @classmethod
    def of(
        cls, builder: Builder, f: Callable[..., Any], carry: Leaves, *more: Any, pair: bool,
        spread: bool = False,
    ) -> Body:  # fmt: skip
        """Trace ``f(carry, *more)``, or ``f(*carry)`` where ``spread``."""

        def strong(*args: Any) -> Any:
            result = f(*args)
            if pair and not (isinstance(result, tuple) and len(result) == 2):
                raise TraceError(
                    "the function of scan must return a pair (carry, output)", origin=user_line(),
                    hint="Return (carry, None) where there is no output.",
                )  # fmt: skip
            inner = active() or builder  # the trace of ``f`` itself
            return optree.tree_map(lambda leaf: entered(inner, leaf), result, namespace=NAMESPACE)

        tree = carry.tree(carry.symbols)
        traced = trace(strong, (*tree, *more) if spread else (tree, *more))
        graph = consts_first(traced)
        consts = tuple(lift(builder, value).id for value in traced.captured)
        return cls(graph, consts, traced)

    def rebuilt(self, symbols: Sequence[Any]) -> Any:
        """What the function returns, around other values."""
        return self.traced.outputs.rebuilt(symbols)


def consts_first(traced: Traced) -> Graph:
    """The trace's graph with its hidden inputs in front."""
    graph, hidden = traced.graph, len(traced.captured)
    inputs = graph.inputs
    cut = len(inputs) - hidden
    return Graph(graph.nodes, (*inputs[cut:], *inputs[:cut]), graph.outputs)


def together(bodies: Sequence[Body]) -> tuple[tuple[Graph, ...], list[int]]:
    """The branches with one list of constants: each takes all of them."""
    consts = list(dict.fromkeys(c for body in bodies for c in body.consts))
    graphs = []
    for body in bodies:
        builder = Builder()
        avals = dict(zip(body.consts, body.graph.avals(body.graph.inputs), strict=False))
        outer = {c: avals.get(c) for c in consts}
        every = {
            c: a
            for other in bodies
            for c, a in zip(other.consts, other.graph.avals(other.graph.inputs), strict=False)
        }
        places = {c: builder.input(outer[c] or every[c]) for c in consts}
        own = [places[c] for c in body.consts]
        rest = body.graph.inputs[len(own) :]
        own += [builder.input(a) for a in body.graph.avals(rest)]
        placed = builder.inline(body.graph, own)
        graphs.append(builder.graph([placed[i] for i in body.graph.outputs]))
    return tuple(graphs), consts


# -- errors ---------------------------------------------------------------------------------------


def step_count(slices: Leaves, length: int | None) -> int:
    """How many steps a scan makes.

    Raises:
        TraceError: ``length`` is no number of steps.
        ShapeError: lengths that differ, or none given.
    """
    if length is not None and (
        isinstance(length, bool) or not isinstance(length, int | np.integer) or length < 0
    ):
        raise TraceError(
            f"length takes an int of 0 or more, not {length!r}", origin=user_line(),
            hint="A number of steps that is known at the call alone: fori_loop or while_loop.",
        )  # fmt: skip
    lengths = {s.shape[0] if s.shape else None for s in slices.symbols}
    lengths |= {length} if length is not None else set()
    if len(lengths) != 1 or None in lengths:
        given = () if length is None else (f"length: {length}",)
        raise ShapeError(
            "scan needs one length", origin=user_line(), operands=(*slices.forms("xs"), *given),
            hint="All arrays in xs must have the same first axis; pass length= where xs is None.",
        )  # fmt: skip
    return int(lengths.pop() or 0)


def check_functions(name: str, *functions: Any) -> None:
    """What control flow is given to call must be functions.

    Raises:
        TraceError: saying what is none.
    """
    for function in functions:
        if not callable(function):
            kind = type(function).__name__
            raise TraceError(f"{name} takes functions, not {kind}", origin=user_line())


def check_bounds(**bounds: Any) -> None:
    """Bounds of fori_loop are integers, known or traced.

    Raises:
        DTypeError, ShapeError: naming the bound.
    """
    for name, bound in bounds.items():
        aval = bound.aval if isinstance(bound, Symbol) else aval_of(np.asarray(bound))
        if aval.dtype.kind not in "iu":
            raise DTypeError(
                f"{name} of fori_loop must be an integer, not {aval}", origin=user_line(),
                hint="As for range: pass an int, or an integer to be traced, such as np.int64(n).",
            )  # fmt: skip
        if aval.shape:
            raise ShapeError(
                f"{name} of fori_loop must be one integer, not {aval}", origin=user_line()
            )


def check_scalar(answer: Aval, name: str, hint: str) -> None:
    """The answer to a condition must be one number or bool.

    Raises:
        ShapeError: it is an array.
    """
    if answer.shape:
        raise ShapeError(
            f"the condition of {name} must be a scalar, not {answer}", origin=user_line(),
            operands=(answer,), hint=f"Reduce it with np.any or np.all{hint}.",
        )  # fmt: skip


def check_carry(body: Body, carry: Leaves, name: str, spec: optree.PyTreeSpec) -> None:
    """The body must return the carry in the form it takes it; ``spec`` is what it returns.

    Raises:
        TraceError: another structure.
        ShapeError: naming what came and what was expected.
    """
    fact = f"the body of {name} returns the carry in another"
    if spec != carry.spec:
        raise TraceError(
            f"{fact} structure than it takes it", origin=user_line(),
            operands=(f"takes {shown(carry.spec)}", f"returns {shown(spec)}"),
        )  # fmt: skip
    before = tuple(s.aval for s in carry.symbols)
    after = body.graph.avals(body.graph.outputs[: len(before)])
    names = leaf_names(["carry"], [spec])
    wrong = [at for at, (one, two) in enumerate(zip(before, after, strict=True)) if one != two]
    if wrong:
        raise ShapeError(
            f"{fact} form than it takes it", origin=user_line(),
            operands=tuple(f"{names[i]}: takes {before[i]}, returns {after[i]}" for i in wrong),
            hint="Keep structure, shapes and dtypes: start from np.zeros(...) of the final dtype.",
        )  # fmt: skip


def check_branches(bodies: Sequence[Body]) -> None:
    """Both branches of a cond must return the same form.

    Raises:
        TraceError: different structures.
        ShapeError: naming what differs.
    """
    yes, no = (body.traced.outputs.spec for body in bodies)
    if yes != no:
        raise TraceError(
            "the branches of cond return different structures", origin=user_line(),
            operands=(f"true: {shown(yes)}", f"false: {shown(no)}"),
        )  # fmt: skip
    one, two = (b.graph.avals(b.graph.outputs) for b in bodies)
    names = leaf_names(["result"], [yes])
    wrong = [at for at, pair in enumerate(zip(one, two, strict=True)) if pair[0] != pair[1]]
    if wrong:
        raise ShapeError(
            "the branches of cond return different forms", origin=user_line(),
            operands=tuple(f"{names[i]}: true: {one[i]}, false: {two[i]}" for i in wrong),
            hint="Both must return the same structure, shapes and dtypes.",
        )  # fmt: skip
