"""Graphs run on other numbers than floats: complex ones, and those of many digits."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphjit.errors import GraphJITError
from graphjit.ir.graph import Graph, Node
from graphjit.ir.primitive import TABLE


class NoContinuationError(GraphJITError, ArithmeticError):
    """An operation that these numbers do not have."""


class Complex:
    """Complex numbers, through operations that are analytic in what moves."""

    def lift(self, value: Any) -> Any:
        """A float array in double precision."""
        array = np.asarray(value)
        return array.astype(float) if array.dtype.kind == "f" else array

    def apply(self, node: Node, operands: list[Any]) -> Any:
        """One operation; where an operand is complex it must be analytic."""
        row = TABLE[node.op]
        if not any(np.iscomplexobj(x) for x in operands):
            return self.lift(row.numpy(*operands, **node.params))
        flat = row.kind in ("map", "reduce") and not (row.partials or row.transpose or row.vjp)
        if row.analytic is False or flat or not node.aval.inexact:
            raise NoContinuationError(f"{node.op} is not analytic", origin=node.origin)
        floats = [np.asarray(x).dtype.kind in "fc" for x in operands]
        moved = [
            np.asarray(x, complex if is_float else None)
            for x, is_float in zip(operands, floats, strict=True)
        ]
        if row.analytic is True:
            return row.numpy(*moved, **node.params)
        return row.analytic(np, *moved, **node.params)


class Elementary:
    """The elementary functions of mpmath, on arrays of its numbers."""

    def __init__(self, mp: Any) -> None:
        self.mp = mp

    def __getattr__(self, name: str) -> Any:
        function = self.named(name)
        if function is None:
            raise AttributeError(name)
        return np.frompyfunc(function, 1, 1)

    def named(self, name: str) -> Any:
        """The function that NumPy calls so: where NumPy says arc, mpmath says a."""
        return getattr(self.mp, name.replace("arc", "a", 1), None)


# What mpmath calls otherwise, for real numbers alone.
REAL: dict[str, Callable[..., Any]] = {
    "gammaln": lambda mp, x: mp.re(mp.loggamma(x)),
    "polygamma": lambda mp, x, order: mp.psi(order, x),
}


class Precise:
    """Real numbers of many digits. What is piecewise is taken piece by piece."""

    def __init__(self, mp: Any) -> None:
        self.mp, self.elementary = mp, Elementary(mp)
        self._number = np.frompyfunc(mp.mpf, 1, 1)

    def lift(self, value: Any) -> Any:
        """A float array as numbers of the same value."""
        array = np.asarray(value)
        return np.asarray(self._number(array), object) if array.dtype.kind == "f" else array

    def apply(self, node: Node, operands: list[Any]) -> Any:
        """One operation, by its formula, by mpmath's function, or by arithmetic alone."""
        try:
            result = self.computed(node, operands)
        except (TypeError, AttributeError, NotImplementedError) as error:
            fact = f"mpmath has no {node.op}"
            raise NoContinuationError(fact, origin=node.origin) from error
        if not node.aval.inexact:
            return np.asarray(result, node.aval.dtype)
        return self.lift(result) if np.asarray(result).dtype != object else np.asarray(result)

    def computed(self, node: Node, operands: list[Any]) -> Any:
        """The result, of whatever dtype."""
        row = TABLE[node.op]
        own = self.elementary.named(node.op) if row.kind == "map" else None
        if not any(np.asarray(x).dtype == object for x in operands):
            return row.numpy(*operands, **node.params)
        if own is not None and row.analytic is True:
            return self.each(own, operands)
        if node.op in REAL:
            return self.each(functools.partial(REAL[node.op], self.mp, **node.params), operands)
        if callable(row.analytic):
            formula = functools.partial(row.analytic, self.elementary, **node.params)
            return self.each(formula, operands)
        if node.op in ("divide", "power"):
            return self.each(row.numpy, operands)
        return row.numpy(*operands, **node.params)

    def each(self, function: Callable[..., Any], operands: list[Any]) -> Any:
        """A function of numbers on arrays; NaN at a pole and where the result is complex."""

        def guarded(*numbers: Any) -> Any:
            try:
                result = function(*numbers)
            except ZeroDivisionError:
                return self.mp.nan
            return self.mp.nan if isinstance(result, self.mp.mpc) else result

        return np.frompyfunc(guarded, len(operands), 1)(*operands)


def run(graph: Graph, values: Sequence[Any], numbers: Complex | Precise) -> tuple[Any, ...]:
    """The outputs of the graph on such numbers.

    Raises:
        NoContinuationError: an operation has no meaning on them.
    """
    env: dict[int, Any] = dict(zip(graph.inputs, values, strict=True))
    for node in graph.nodes:
        if node.op != "input":
            env[node.id] = step(node, [env[i] for i in node.inputs], numbers)
    return tuple(env[i] for i in graph.outputs)


def step(node: Node, operands: list[Any], numbers: Complex | Precise) -> Any:
    """What one node gives."""
    if node.op == "item":
        return operands[0][node.params["index"]]
    if node.op in CONTROL:
        return CONTROL[node.op](node, operands, numbers)
    with np.errstate(all="ignore"):
        return numbers.apply(node, operands)


def scan(node: Node, operands: list[Any], numbers: Any) -> tuple[Any, ...]:
    """The steps in turn; what they stack."""
    params = node.params
    body, consts, carry = params["step"], params["consts"], params["carry"]
    fixed, state = operands[:consts], tuple(operands[consts : consts + carry])
    slices, kept = operands[consts + carry :], list[tuple[Any, ...]]()
    for i in range(params["length"])[:: -1 if params["reverse"] else 1]:
        results = run(body, (*fixed, *state, *(np.asarray(x[i]) for x in slices)), numbers)
        state = results[:carry]
        kept.append(results[carry:])
    kept = kept[::-1] if params["reverse"] else kept
    if not kept:
        empty = (np.zeros(aval.shape, aval.dtype) for aval in node.results[carry:])
        return (*state, *empty)
    return (*state, *(np.stack(column) for column in zip(*kept, strict=True)))


def cond(node: Node, operands: list[Any], numbers: Any) -> tuple[Any, ...]:
    """The branch that is taken."""
    yes, no = node.params["branches"]
    return run(yes if bool(operands[0]) else no, operands[1:], numbers)


def while_loop(node: Node, operands: list[Any], numbers: Any) -> tuple[Any, ...]:
    """The rounds in turn."""
    params = node.params
    tests, consts = params["tests"], params["tests"] + params["consts"]
    asked, fixed = operands[:tests], operands[tests:consts]
    state, count = tuple(operands[consts:]), 0
    while bool(run(params["test"], (*asked, *state), numbers)[0]):
        state, count = run(params["step"], (*fixed, *state), numbers), count + 1
    return (*state, np.int64(count))


CONTROL = {"scan": scan, "cond": cond, "while": while_loop}
