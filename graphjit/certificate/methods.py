"""The ways to a derivative: each gives single entries of the gradient of a scalar function."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from graphjit.certificate.numbers import Complex, NoContinuationError, Precise, run
from graphjit.certificate.problem import Entry, Problem
from graphjit.errors import GraphJITError
from graphjit.flags import override
from graphjit.ir.graph import Graph
from graphjit.ir.primitive import TABLE
from graphjit.ir.table.contract import terms
from graphjit.ir.table.convolve import multiplications
from graphjit.transforms.decorators import grad
from graphjit.transforms.forward import Pushforward, pushforward

STEP = 1e-60  # of the complex step: there is no difference, so it cannot be too small
DIGITS = 50
WORK = 1_000_000  # operations on numbers of many digits that are worth waiting for: seconds


class Found(NamedTuple):
    """What a method gives: a derivative for each entry and how far it may be off, or a reason."""

    values: Sequence[float] = ()
    errors: Sequence[float] = ()
    reason: str = ""


def exact(values: Sequence[Any]) -> Found:
    """Derivatives that are off by rounding alone."""
    return Found([float(v) for v in values], [0.0] * len(values))


def reverse(problem: Problem) -> Found:
    """The gradient as ``grad`` compiles it."""
    gradients = grad(problem.loss, problem.places)(*problem.args)
    leaves = problem.targets(gradients)
    return exact([np.ravel(leaves[entry.leaf])[entry.flat] for entry in problem.entries])


def forward(problem: Problem) -> Found:
    """The tangent as ``jvp`` compiles it, along each entry."""
    push = pushforward(problem.loss, Pushforward())
    moves = map(problem.direction, problem.entries)
    return exact([push(problem.args, move)[1] for move in moves])


def complex_step(problem: Problem) -> Found:
    """Im f(x + ih) / h (Squire and Trapp, 1998), by the traced graph on complex numbers."""
    numbers, found = Complex(), []
    for entry in problem.entries:
        values = [numbers.lift(v) for v in problem.inputs]
        place = problem.input_of(entry)
        moved = np.array(values[place], complex)
        moved.flat[entry.flat] += 1j * STEP
        values[place] = moved
        (result,) = run(problem.graph, values, numbers)
        found.append(np.imag(result) / STEP)
    return exact(found)


def precise(problem: Problem) -> Found:
    """Central differences of the traced graph in numbers of 50 digits, by mpmath."""
    work = 2 * len(problem.entries) * cost(problem.graph)
    if work > WORK:
        return Found(reason=f"the function is too large: {work:,} operations")
    try:
        import mpmath
    except ImportError:
        return Found(reason="mpmath is not installed")
    with mpmath.workdps(DIGITS):
        numbers, found = Precise(mpmath.mp), []
        values = [numbers.lift(v) for v in problem.inputs]
        for entry in problem.entries:
            step = mpmath.mpf(10) ** (-DIGITS // 3) * max(1, abs(problem.value_of(entry)))
            ahead, behind = (
                run(problem.graph, nudged(values, problem, entry, h), numbers)[0].item()
                for h in (step, -step)
            )
            found.append(float((ahead - behind) / (2 * step)))
    return exact(found)


def cost(graph: Graph) -> int:
    """About how many operations on numbers the graph stands for; a while loop counts once."""
    total = 0
    for node in graph.nodes:
        rounds = node.params.get("length", 1)
        total += sum(rounds * cost(body) for body in node.bodies)
        sizes = [graph.nodes[i].aval.size for i in node.inputs if not graph.nodes[i].results]
        total += max([0 if node.results else node.aval.size, *sizes])
        if node.op == "contract":
            first, second, _ = terms(node.params["spec"])
            shapes = graph.avals(node.inputs)
            letters = zip(first + second, shapes[0].shape + shapes[1].shape, strict=True)
            total += math.prod(dict(letters).values())
        if node.op == "convolve":
            total += multiplications(node.aval, graph.avals(node.inputs), **node.params)
    return total


def nudged(values: list[Any], problem: Problem, entry: Entry, step: Any) -> list[Any]:
    """The inputs with one entry moved."""
    place, moved = problem.input_of(entry), list(values)
    moved[place] = np.array(values[place], object)
    moved[place].flat[entry.flat] += step
    return moved


def differences(problem: Problem) -> Found:
    """Central differences of plain NumPy calls, extrapolated to h = 0 (Ridders, 1982)."""
    values, errors = list[float](), list[float]()
    with override(jit=False):  # a loop such as scan would be compiled at each call
        for entry in problem.entries:
            (value, error), (near, _) = (extrapolated(problem, entry, h) for h in (2e-2, 1e-4))
            values.append(value)
            errors.append(error + abs(value - near))  # they differ if there is a kink between
    return Found(values, errors)


def extrapolated(
    problem: Problem, entry: Entry, step: float, rounds: int = 8, shrink: float = 1.6
) -> tuple[float, float]:
    """The best entry of Richardson's table, and by how much it differs from its neighbours."""
    step *= max(1.0, abs(problem.value_of(entry)))
    best, error, before = np.nan, np.inf, list[float]()
    for i in range(rounds):
        h = step / shrink**i
        row = [(problem.moved(entry, h) - problem.moved(entry, -h)) / (2 * h)]
        factor = 1.0
        for earlier in before:
            factor *= shrink**2
            row.append((row[-1] * factor - earlier) / (factor - 1))
            off = max(abs(row[-1] - row[-2]), abs(row[-1] - earlier))
            if off < error:
                best, error = row[-1], off
        before = row
    rounding = np.finfo(float).eps * abs(problem.value) / (step / shrink**rounds)
    return best, error + rounding


def held(problem: Problem) -> str:
    """The operation whose derivative is not that of its value, so that no value shows it."""
    names = {"stop_gradient", *(name for name, row in TABLE.items() if row.kind == "call")}
    found = [node.op for node in problem.graph.nodes if node.op in names]
    return found[0] if found else ""


METHODS: dict[str, Callable[[Problem], Found]] = {
    "reverse": reverse,
    "forward": forward,
    "complex step": complex_step,
    "mpmath": precise,
    "differences": differences,
}
BY_VALUE = ("complex step", "mpmath", "differences")


def attempt(name: str, problem: Problem) -> Found:
    """What the method gives, or why it cannot."""
    if name in BY_VALUE and (op := held(problem)):
        return Found(reason=f"{op} has a derivative that is not that of its value")
    try:
        with np.errstate(all="ignore"):
            return METHODS[name](problem)
    except NoContinuationError as error:
        where = f" ({error.origin.file}:{error.origin.line})" if error.origin else ""
        return Found(reason=f"{error.fact}{where}")
    except GraphJITError as error:
        return Found(reason=error.fact)
