"""From a call to formulas: trace, differentiate, translate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

from graphjit.errors import TraceError
from graphjit.ir.graph import Graph
from graphjit.passes.adjoint import adjoint
from graphjit.symbolic.formula import Formula, Label, Sheet, aligned
from graphjit.symbolic.graphs import along, captured, checked, floats, graph_of, readable, result_of
from graphjit.symbolic.names import FUNCTIONS
from graphjit.symbolic.notation import Latex
from graphjit.symbolic.translate import Translation
from graphjit.tracing.origin import user_line
from graphjit.tracing.trace import Traced, trace
from graphjit.transforms.derive import Targets

RESULTS = ("y", "f", "F", "result", "value")
DIRECTIONS = ("v", "t", "direction", "v_")


def symbolic(
    f: Callable[..., Any], argnums: int | Sequence[int] | None = None
) -> Callable[..., Symbolic]:
    """The function and its derivatives as formulas.

    >>> import numpy as np
    >>> print(symbolic(lambda x: np.sin(x) / x)(2.0))
    y = sin(x)/x
    dy/dx = cos(x)/x - sin(x)/x**2

    Args:
        f: A function of arrays and floats that returns one number; or an array, of which each
            element depends on one element of an argument.
        argnums: Positional arguments with respect to which it is differentiated, by default all
            that hold floats.

    Returns:
        A function of the arguments of ``f`` that returns a ``Symbolic``. Of arrays only shapes
        and dtypes count; ints, bools and strings are static and part of the formulas.

    Raises:
        DTypeError: when called, if an argument is an integer, or holds no float.
        ShapeError: when called, if the result is an array that is no elementwise function.
    """
    places = tuple(argnums) if isinstance(argnums, Sequence) else argnums

    def formulas(*args: Any, **kwargs: Any) -> Symbolic:
        return Symbolic(trace(f, args, kwargs), places)

    return formulas


class Symbolic:
    """A function and its derivatives as formulas, as ``graphjit.symbolic`` makes them.

    ``str`` and ``print`` give them as Python, ``latex()`` as LaTeX, and a notebook shows them
    typeset. What is long and used again has a name of its own, so that the length grows with the
    number of operations.

    Attributes:
        names: What the differentiated arguments are called.
        letter: What the result is called.
    """

    def __init__(self, traced: Traced, argnums: int | tuple[int, ...] | None) -> None:
        self.traced = traced
        targets = Targets(traced, floats(traced) if argnums is None else argnums)
        self.names, self._wrt = targets.names, targets.inputs
        self._captured = captured(traced)
        arguments = traced.arguments
        self._inputs = [*(arguments.names[i] for i in arguments.traced), *self._captured]
        roots = {*self.namespace, *self._inputs}
        self.letter = next(name for name in RESULTS if name not in roots)
        primal = checked(readable(result_of(traced)), self._wrt)
        graph = readable(adjoint(primal, self._wrt))
        self._graph = graph_of(graph, graph.outputs[-1 - len(self.names) :])
        labels = [self._label, *(self._slope(name) for name in self.names)]
        self._sheet = self._written(self._graph, self._inputs, labels)

    @property
    def _label(self) -> Label:
        return Label(self.letter, self.letter)

    def _slope(self, name: str) -> Label:
        d = "d" if len(self.names) == 1 else r"\partial "
        below = Latex().name(name)
        return Label(f"d{self.letter}/d{name}", rf"\frac{{{d}{self.letter}}}{{{d}{below}}}")

    def _written(self, graph: Graph, inputs: list[str], labels: Sequence[Label]) -> Sheet:
        """The formulas of a graph's outputs, of which the first is the function's value."""
        taken = {*self.namespace, *inputs, self.letter}
        translation = Translation(graph, inputs, taken)
        self._constants.update(translation.constants)
        places = [translation.place[i] for i in graph.outputs]
        entries = tuple(zip(labels, places[-len(labels) :], strict=True))
        value = (self._label, places[0])
        taken |= set(translation.constants)
        return Sheet(translation.pool, entries, frozenset(taken), value)

    # -- formulas -------------------------------------------------------------------------------

    @property
    def value(self) -> Formula:
        """The formula of the function."""
        return self._formula(0)

    @property
    def gradient(self) -> tuple[Formula, ...]:
        """The formula of each derivative, in the order of ``names``."""
        return tuple(self._formula(i + 1) for i in range(len(self.names)))

    def derivative(self, wrt: int | str = 0) -> Formula:
        """The formula of one derivative.

        Args:
            wrt: The position of an argument among the differentiated ones, or its name; in a
                container by name alone, such as ``"params['w']"``.

        Raises:
            TraceError: there is no such argument.
        """
        return self._formula(self._position(wrt) + 1)

    def second(self, wrt: int | str = 0, then: int | str | None = None) -> Formula:
        """The formula of a second derivative, by default twice with respect to the same argument.

        Where the first argument is an array, the derivative of its gradient is a matrix; the
        formula is that of its product with an array ``v``.

        Raises:
            TraceError: there is no such argument.
        """
        first = self._position(wrt)
        last = first if then is None else self._position(then)
        value, slope = self._graph.outputs[0], self._graph.outputs[first + 1]
        graph = graph_of(self._graph, (slope, value))
        inputs, direction = list(self._inputs), ""
        if graph.nodes[graph.outputs[0]].aval.shape:
            direction = next(name for name in DIRECTIONS if name not in {*inputs, self.letter})
            graph = along(graph)
            inputs.append(direction)
        graph = readable(adjoint(graph, [self._wrt[last]]))
        graph = graph_of(graph, graph.outputs[1:])
        label = self._curvature(self.names[first], self.names[last], direction)
        return Formula(self._written(graph, inputs, [label]), label, 0)

    def _curvature(self, first: str, last: str, direction: str) -> Label:
        """The label of a second derivative."""
        a, b = (Latex().name(name) for name in (first, last))
        d = "d" if len(self.names) == 1 else r"\partial "
        below = rf"{d}{a}^{{2}}" if first == last else rf"{d}{a} {d}{b}"
        text = f"d{first}²" if first == last else f"d{first} d{last}"
        tail = f" {direction}" if direction else ""
        latex = rf"\frac{{{d.rstrip()}^{{2}} {self.letter}}}{{{below}}}{tail}"
        return Label(f"d²{self.letter}/{text}{tail}", latex)

    def _position(self, wrt: int | str) -> int:
        if isinstance(wrt, str) and wrt in self.names:
            return self.names.index(wrt)
        if isinstance(wrt, int) and -len(self.names) <= wrt < len(self.names):
            return wrt % len(self.names)
        raise TraceError(
            f"there is no differentiated argument {wrt!r}",
            origin=user_line(),
            hint=f"Differentiated are: {', '.join(self.names)}.",
        )

    def _formula(self, place: int) -> Formula:
        return Formula(self._sheet, self._sheet.entries[place][0], place)

    # -- what it is evaluated with --------------------------------------------------------------

    @cached_property
    def _constants(self) -> dict[str, Any]:
        return {}

    @property
    def namespace(self) -> dict[str, Any]:
        """What the names in the text mean: functions of NumPy, and the arguments of the call."""
        arguments = self.traced.arguments
        values = {**dict(arguments.positional), **arguments.kwargs, **self._captured}
        return {**FUNCTIONS, **values, **self._constants}

    def sympy(self) -> dict[str, Any]:
        """The formulas as SymPy expressions, by their labels.

        Raises:
            MissingRule: SymPy has no such operation, or it is one of whole arrays.
        """
        return {label.text: Formula(self._sheet, label, i).sympy()
                for i, (label, _) in enumerate(self._sheet.entries)}  # fmt: skip

    def __str__(self) -> str:
        return "\n".join(f"{line.left} = {line.right}" for line in self._sheet.text)

    def __repr__(self) -> str:
        return str(self)

    def latex(self) -> str:
        """All formulas as LaTeX."""
        return aligned(self._sheet.latex)

    def _repr_latex_(self) -> str:
        return f"$${self.latex()}$$"
