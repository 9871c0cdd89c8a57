"""``certify``: all ways of differentiating, compared."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from graphjit.certificate.methods import METHODS, Found, attempt
from graphjit.certificate.problem import Problem
from graphjit.certificate.result import Certificate, Comparison
from graphjit.errors import DTypeError
from graphjit.tracing.origin import user_line
from graphjit.tracing.trees import flatten
from graphjit.transforms.derive import FLOAT_HINT
from graphjit.weighted import defined

# What the others are measured against: the first of these that has a finite answer.
TRUST = ("mpmath", "complex step", "reverse")
TOLERANCE = {"float64": 1e-10, "float32": 1e-3}
LOOSE = 1e-5  # relative error of differences that their own estimate may overlook


def certify(
    f: Callable[..., Any],
    args: Any,
    *,
    argnums: int | Sequence[int] | None = None,
    rtol: float | None = None,
    entries: int = 16,
    seed: int = 0,
    path: str | Path | None = None,
) -> Certificate:
    """Compare the derivatives of ``f`` at ``args`` by all ways that apply.

    These are reverse mode and forward mode, as compiled; the complex step, where every operation
    is analytic; central differences of the traced graph with 50 digits (where mpmath is installed
    and the function is small), which are right to the last place of a double; and extrapolated
    differences of plain NumPy calls, which alone do not rest on the trace. The best of them is
    the reference, and the distance of the others from it is given in ULPs of the argument's
    largest derivative.

    A function that returns arrays is certified through a random weighted sum of them.

    Args:
        f: The function, plain or compiled.
        args: Its positional arguments, or the only one.
        argnums: Which of them; by default all that hold floats and can be differentiated.
        rtol: Which relative distance still counts as agreement, by default 1e-10 (1e-3 where
            anything is float32). Differences are also granted their own estimated error.
        entries: How many entries of each array are looked at, chosen at random.
        seed: Of that choice and of the weights.
        path: Where to write the result as JSON.

    Returns:
        A ``Certificate``: print it, ask it whether it ``passed``, or let it ``check()``.

    Raises:
        DTypeError: no argument holds floats alone, or ``f`` returns none.
    """
    args = args if isinstance(args, tuple) else (args,)
    problem = Problem(f, args, positions(args, argnums), entries, seed)
    found = {name: attempt(name, problem) for name in METHODS}
    name = "float64" if problem.eps < 1e-10 else "float32"
    tolerance = TOLERANCE[name] if rtol is None else rtol
    reference, comparisons = dict[str, str](), list[Comparison]()
    for argument, called in enumerate(problem.names):
        judge = Judge(problem, argument, found, tolerance)
        reference[called] = judge.reference
        comparisons += [judge.compared(method) for method in METHODS]
    origin = defined(f)
    title = getattr(inspect.unwrap(f), "__name__", "function")
    certificate = Certificate(title, origin, name, reference, tuple(comparisons))
    if path is not None:
        certificate.to_json(path)
    return certificate


def positions(args: tuple[Any, ...], argnums: int | Sequence[int] | None) -> tuple[int, ...]:
    """The arguments to differentiate: those given, or all that hold nothing but floats."""
    if argnums is None:
        leaves = [[np.asarray(x).dtype.kind for x in flatten(arg)[0]] for arg in args]
        found = tuple(i for i, kinds in enumerate(leaves) if "f" in kinds and set(kinds) <= {"f"})
        if not found:
            kinds = ", ".join(type(arg).__name__ for arg in args) or "none"
            raise DTypeError(
                "no argument holds floats alone, so there is nothing to differentiate",
                origin=user_line(), operands=(f"arguments: {kinds}",), hint=FLOAT_HINT,
            )  # fmt: skip
        return found
    return (argnums,) if isinstance(argnums, int) else tuple(argnums)


class Judge:
    """Measures the methods on one argument."""

    def __init__(
        self, problem: Problem, argument: int, found: dict[str, Found], tolerance: float
    ) -> None:
        self.problem, self.found, self.tolerance = problem, found, tolerance
        self.argument = argument
        self.chosen = [i for i, e in enumerate(problem.entries) if e.argument == argument]
        usable = [m for m in TRUST if not found[m].reason and self.finite(m)]
        self.reference = usable[0] if usable else "reverse"
        self.expected = self.of(self.reference)
        self.scale = max(
            np.max(np.abs(self.expected), initial=0.0),
            problem.eps * (1 + abs(problem.value)) if np.isfinite(problem.value) else 0.0,
        )

    def of(self, method: str) -> Any:
        """A method's derivatives of this argument."""
        return np.array([self.found[method].values[i] for i in self.chosen], float)

    def finite(self, method: str) -> bool:
        """Whether they are all numbers."""
        return bool(np.isfinite(self.of(method)).all())

    def compared(self, method: str) -> Comparison:
        """How far a method is from the reference."""
        found, name = self.found[method], self.problem.names[self.argument]
        if found.reason or not self.chosen:
            return Comparison(name, method, reason=found.reason or "there are no entries")
        if method in ("complex step", "differences") and not self.finite(method):
            return Comparison(name, method, reason="it leaves the range of doubles")
        values, unit = self.of(method), self.problem.eps * self.scale
        same = (values == self.expected) | (np.isnan(values) & np.isnan(self.expected))
        off = np.where(same, 0.0, np.abs(values - self.expected))
        off = np.where(np.isnan(off), np.inf, off)
        allowed = self.tolerance * self.scale + self.slack(method)
        worst = int(np.argmax(off / allowed))
        entry = self.problem.entries[self.chosen[worst]]
        return Comparison(
            name, method, len(values), float(off[worst] / unit), entry.name,
            float(values[worst]), float(self.expected[worst]), float(allowed[worst] / unit),
            bool((off <= allowed).all()),
        )  # fmt: skip

    def slack(self, method: str) -> Any:
        """What a method may be off by on its own account."""
        errors = np.array([self.found[method].errors[i] for i in self.chosen], float)
        return 10 * errors + (LOOSE * self.scale if method == "differences" else 0.0)
