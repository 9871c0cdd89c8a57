"""Forward mode: a function and its derivative along a direction, in one program."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import optree

from graphjit.errors import DTypeError, ShapeError, TraceError
from graphjit.ir.aval import Aval
from graphjit.ir.builder import Builder
from graphjit.ir.graph import Graph
from graphjit.tracing.origin import user_line
from graphjit.tracing.trace import trace_call
from graphjit.tracing.trees import NAMESPACE, Arguments, Leaf, flatten
from graphjit.transforms.compiled import Compiled
from graphjit.transforms.derive import FLOAT_HINT, Derived, Main, shown, simplified
from graphjit.transforms.known import known
from graphjit.transforms.methods import check_callable
from graphjit.transforms.threads import checked_threads

TANGENT_HINT = (
    "A tangent has the shape and dtype of its primal; None stands for a primal that does not move."
)


def jvp(
    f: Callable[..., Any],
    primals: Any,
    tangents: Any,
    has_aux: bool = False,
    *,
    threads: int | None = None,
) -> tuple[Any, ...]:
    """The value of ``f`` and its derivative along a direction, by forward mode.

    Every value carries its tangent with it, as a dual number does, so one direction costs about
    as much as ``f`` again, however many outputs there are. ``f`` may return any container of
    arrays. The program is kept for the next call with the same function object.

    Args:
        f: The function, plain or transformed.
        primals: Its positional arguments, as a tuple.
        tangents: The direction: for each primal a tangent of the same container, shapes and
            dtypes. None, for an argument or any part of one, stands for zero, and is the
            only tangent of integers and text.
        has_aux: ``f`` returns ``(result, auxiliary)``; only the result is differentiated.
        threads: As in ``jit``.

    Returns:
        ``(result, tangent)``, or with ``has_aux`` ``(result, tangent, auxiliary)``.

    Raises:
        TraceError: the tangents do not have the structure of the primals, or ``threads`` is no
            number of threads.
        ShapeError, DTypeError: a tangent has another shape or dtype than its primal; or the
            result holds integers.
    """
    check_callable(f)
    check_pair(primals, tangents)
    push = known(pushforward, f, Pushforward(has_aux=has_aux), checked_threads(threads))
    return push(tuple(primals), tuple(tangents))  # type: ignore[no-any-return]


def check_pair(primals: Any, tangents: Any) -> None:
    """Refuse what is no tuple of primals with a tuple of as many tangents.

    Raises:
        TraceError: saying what it is.
    """
    for name, value in (("primals", primals), ("tangents", tangents)):
        if not isinstance(value, tuple | list):
            raise TraceError(
                f"{name} must be a tuple of positional arguments, not {type(value).__name__}",
                origin=user_line(), hint=f"For one argument x write (x,): {name}=(x,).",
            )  # fmt: skip
    if len(primals) != len(tangents):
        raise TraceError(
            "there must be one tangent for each primal", origin=user_line(),
            operands=(f"{len(primals)} primals", f"{len(tangents)} tangents"), hint=TANGENT_HINT,
        )  # fmt: skip


def pushforward(f: Callable[..., Any], push: Pushforward, threads: int | None = None) -> Compiled:
    """The compiled function of primals and tangents."""
    return Compiled(OfPrimals(f), push, threads=threads)


class OfPrimals:
    """A function as one of ``(primals, tangents)``: what its arguments are called in messages."""

    __signature__ = inspect.Signature(
        [
            inspect.Parameter(name, inspect.Parameter.POSITIONAL_ONLY)
            for name in ("primals", "tangents")
        ]
    )

    def __init__(self, function: Callable[..., Any]) -> None:
        self.__wrapped__ = function
        self.__name__ = getattr(function, "__name__", "function")

    def __call__(self, primals: Any, tangents: Any) -> Any:
        """The value and the tangent."""
        return jvp(self.__wrapped__, primals, tangents)


@dataclass(frozen=True)
class Pushforward:
    """The value and the tangent of a function, or (``value=False``) the tangent alone."""

    has_aux: bool = False
    value: bool = True

    def derive(self, arguments: Arguments) -> Derived:
        """The function's graph with the tangent appended.

        Raises:
            TraceError, DTypeError, ShapeError: there is no such tangent.
        """
        primals, tangents = arguments.args
        inner = Arguments(arguments.function.__wrapped__, primals, {})  # type: ignore[attr-defined]
        directions = Directions(arguments, inner, tangents)
        traced = trace_call(inner)
        main = Main(traced, has_aux=self.has_aux)
        graph = with_tangent(main.graph, directions)
        count = len(main.graph.outputs)
        kept = count + main.count
        first = 0 if self.value else count
        graph = Graph(graph.nodes, graph.inputs, graph.outputs[first:kept])

        def result(values: Sequence[Any]) -> Any:
            if not self.value:
                return main.tree(values)
            returned, tangent = main.rebuilt(values[:count]), main.tree(values[count:])
            return (returned[0], tangent, returned[1]) if self.has_aux else (returned, tangent)

        weak = (*main.weak, *main.weak[: main.count])[first:]
        return Derived(arguments, traced, graph, result, weak)


def with_tangent(graph: Graph, directions: Directions) -> Graph:
    """The simplified graph with its tangent, on the inputs of the call."""
    from graphjit.passes.tangent import tangent  # the passes are needed only now

    moving = tangent(simplified(graph), directions.primals)
    builder, count = Builder(), directions.count
    nodes = [moving.nodes[i] for i in moving.inputs]
    ids = [builder.input(node.aval, node.origin) for node in nodes[:count]]
    given = [builder.input(aval) for aval in directions.avals]
    captured = [builder.input(n.aval, n.origin) for n in nodes[count : len(graph.inputs)]]
    pairs = zip(given, directions.primals, strict=True)
    cast = [builder.cast(i, nodes[place].aval.dtype) for i, place in pairs]
    place = builder.inline(moving, [*ids, *captured, *cast])
    return builder.graph([place[i] for i in moving.outputs])


class Directions:
    """Which inputs of the graph have a tangent, and in which form it comes.

    Attributes:
        count: How many inputs of the graph are leaves of the primals.
        primals: Positions among them of those that have a tangent.
        avals: The tangents' own avals; a Python float is a tangent of any scalar.

    Raises:
        TraceError, DTypeError, ShapeError: a tangent does not fit its primal.
    """

    def __init__(self, arguments: Arguments, inner: Arguments, tangents: Any) -> None:
        self.arguments, self.inner = arguments, inner
        self.count = len(inner.traced)
        self.primals: list[int] = []
        self.avals: list[Aval] = []
        position = {leaf: i for i, leaf in enumerate(inner.traced)}
        index = len(inner.leaves)  # the tangents' leaves come after the primals'
        for leaf, tangent in enumerate(matched(inner, tangents)):
            if tangent is None:
                continue
            self.check(leaf, arguments.kinds[index])
            self.primals.append(position[leaf])
            self.avals.append(arguments.kinds[index].aval)  # type: ignore[union-attr]
            index += 1
        if not self.primals:
            fact = "every tangent is None, so nothing is differentiated"
            raise DTypeError(fact, origin=user_line(), hint=TANGENT_HINT)

    def check(self, leaf: int, tangent: Any) -> None:
        """Refuse a tangent of another form than its primal."""
        name, primal = self.inner.names[leaf], self.inner.kinds[leaf]
        if not isinstance(primal, Leaf) or not primal.aval.inexact:
            raise DTypeError(
                f"argument {name} cannot be differentiated, so its tangent must be None",
                origin=user_line(), operands=(f"{name}: {primal}",), hint=FLOAT_HINT,
            )  # fmt: skip
        if isinstance(tangent, Leaf) and fits(primal, tangent):
            return
        shape = isinstance(tangent, Leaf) and tangent.aval.shape != primal.aval.shape
        raise (ShapeError if shape else DTypeError)(
            f"the tangent of {name} must be {primal.aval}, not {described(tangent)}",
            origin=user_line(),
            operands=(f"{name}: {primal}", f"tangent: {described(tangent)}"),
            hint=TANGENT_HINT,
        )


def fits(primal: Leaf, tangent: Leaf) -> bool:
    """Whether a tangent has its primal's form; a Python float is one of any scalar."""
    return primal.aval == tangent.aval or (tangent.weak and not primal.aval.shape)


def described(kind: Any) -> str:
    """A leaf as a message shows it."""
    if isinstance(kind, Leaf):
        return str(kind)
    return f"{type(kind.value).__name__} {kind.value!r}"


def matched(inner: Arguments, tangents: Any) -> list[Any]:
    """For each leaf of the primals its tangent, or None.

    Raises:
        TraceError: the tangents have another structure.
    """
    found = list[Any]()
    for (name, primal), tangent in zip(inner.positional, tangents, strict=True):
        leaves, spec = optree.tree_flatten(
            tangent, is_leaf=lambda part: part is None, namespace=NAMESPACE
        )
        try:
            parts = [flatten(part) for part in spec.flatten_up_to(primal)]
        except (ValueError, TypeError):
            raise unlike(name, primal, tangent) from None
        for leaf, (own, form) in zip(leaves, parts, strict=True):
            if leaf is not None and not form.is_leaf():
                raise unlike(name, primal, tangent)
            found += [leaf] * len(own)
    return found


def unlike(name: str, primal: Any, tangent: Any) -> TraceError:
    """The error for a tangent of another structure."""
    return TraceError(
        f"the tangent of {name} has another structure than {name}",
        origin=user_line(),
        operands=(f"{name}: {shown(flatten(primal)[1])}", f"tangent: {shown(flatten(tangent)[1])}"),
        hint=TANGENT_HINT,
    )
