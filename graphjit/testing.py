"""``check_grads``: both modes of differentiation against centred finite differences."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import optree

from graphjit.errors import GradientError
from graphjit.tracing.trees import Arguments, flatten
from graphjit.transforms.decorators import value_and_grad
from graphjit.transforms.forward import jvp
from graphjit.weighted import defined, scalar, slope

ORDERS = ("gradient", "second derivative", "third derivative")
MODES = ("reverse", "forward")
SHORT = {"rev": "reverse", "fwd": "forward"}  # as JAX calls them
ENTRIES = 2000  # entries of one argument that are looked at one by one after a failure
TOLERANCE = {"float32": 2e-2, "float64": 1e-6}


def check_grads(
    f: Callable[..., Any],
    args: Any,
    *,
    argnums: int | Sequence[int] = 0,
    order: int = 1,
    modes: str | Sequence[str] = MODES,
    eps: float | None = None,
    rtol: float | None = None,
    atol: float | None = None,
    seed: int = 0,
    directions: int = 3,
) -> None:
    """Check the derivatives of ``f`` at ``args`` against centred finite differences.

    In each random direction d the slope (f(x + h d) - f(x - h d)) / 2h of plain NumPy calls is
    compared with the compiled gradient's product with d, and with the compiled tangent along d.
    The step h is the cube root of
    the dtype's machine epsilon, where truncation and rounding errors balance, times max(1, |x|).
    If they disagree, every entry is differenced by itself to name the worst one. A function that
    returns arrays is checked through a random weighted sum of them.

    Args:
        f: The function, plain or compiled.
        args: Its positional arguments, or the only one.
        argnums: Which of them, as in ``grad``.
        order: 2 also checks the derivative of the gradient along a random direction, and so on.
        modes: ``"reverse"`` (``grad``), ``"forward"`` (``jvp``), or both; ``"rev"`` and ``"fwd"``
            are the same. Higher orders are the mode over reverse mode.
        eps: The step h, in place of the one above.
        rtol: Relative tolerance: 1e-6 for float64, 2e-2 for float32.
        atol: Absolute tolerance, by default the same.
        seed: Seed of the directions.
        directions: How many.

    Raises:
        GradientError: they disagree; the message names the argument and the worst entry.
        DTypeError: ``f`` returns no floats, or an argument to differentiate is none.
        ValueError: ``order`` is not 1, 2 or 3, or there is no such mode.
    """
    if not 1 <= order <= len(ORDERS):
        message = f"order must be 1 to {len(ORDERS)}, not {order}"
        raise ValueError(message)
    modes = checked_modes(modes)
    args = args if isinstance(args, tuple) else (args,)
    places = argnums if isinstance(argnums, int) else tuple(argnums)
    tolerance = Tolerance.of(args, eps, rtol, atol)
    random = np.random.default_rng(seed)
    loss = scalar(f, args, random)
    for derivative in ORDERS[:order]:
        problem = Problem(loss, args, places, tolerance, Shown(f, derivative))
        for mode in modes:
            problem.check(mode, random, directions)
        if derivative != ORDERS[order - 1]:
            loss = slope(loss, args, places, random)


def checked_modes(modes: str | Sequence[str]) -> tuple[str, ...]:
    """The modes by their full names.

    Raises:
        ValueError: there is no such mode, or none is given.
    """
    given = (modes,) if isinstance(modes, str) else tuple(modes)
    found = tuple(SHORT.get(mode, mode) for mode in given)
    if not found or not set(found) <= set(MODES):
        message = f"modes must be among {MODES}, not {given}"
        raise ValueError(message)
    return found


@dataclass(frozen=True)
class Shown:
    """What an error calls the thing that is wrong: the user's function, and which derivative."""

    function: Callable[..., Any]
    derivative: str

    def error(self, fact: str) -> GradientError:
        """The error, at the first line of the function."""
        return GradientError(fact, origin=defined(self.function))

    def difference(self, mode: str, name: str, analytic: float, numeric: float) -> str:
        """The fact that two slopes disagree."""
        by = " by forward mode" if mode == "forward" else ""
        return (
            f"the {self.derivative}{by} disagrees with finite differences at {name}: "
            f"analytic {analytic:.10g}, numeric {numeric:.10g}"
        )


@dataclass(frozen=True)
class Tolerance:
    """The step and what differences are allowed."""

    step: float
    epsilon: float
    relative: float
    absolute: float

    @classmethod
    def of(cls, args: Any, eps: float | None, rtol: float | None, atol: float | None) -> Tolerance:
        """By the least precise float among the arguments."""
        leaves = flatten(args)[0]
        dtypes = [np.asarray(x).dtype for x in leaves if np.asarray(x).dtype.kind == "f"]
        name = "float32" if np.dtype("float32") in dtypes else "float64"
        epsilon = float(np.finfo(name).eps)
        relative = TOLERANCE[name] if rtol is None else rtol
        absolute = TOLERANCE[name] if atol is None else atol
        return cls(epsilon ** (1 / 3) if eps is None else eps, epsilon, relative, absolute)

    def agree(self, analytic: float, numeric: float, value: float) -> bool:
        """Whether two slopes agree, given the rounding of the values that were subtracted."""
        rounding = 10 * self.epsilon * abs(value) / self.step
        allowed = self.absolute + self.relative * max(abs(analytic), abs(numeric)) + rounding
        same_infinity = analytic == numeric
        return same_infinity or abs(analytic - numeric) <= allowed


class Problem:
    """One function at one point: its float leaves, its gradient there, its slopes."""

    def __init__(
        self,
        loss: Callable[..., Any],
        args: tuple[Any, ...],
        argnums: int | tuple[int, ...],
        tolerance: Tolerance,
        shown: Shown,
    ) -> None:
        self.loss, self.tolerance, self.shown, self.args = loss, tolerance, shown, args
        arguments = Arguments(shown.function, args, {})
        self.leaves, self.spec = arguments.leaves, arguments.spec
        compiled, gradients = value_and_grad(loss, argnums)(*args)
        places = argnums if isinstance(argnums, tuple) else (argnums,)
        trees = gradients if isinstance(argnums, tuple) else (gradients,)
        self.gradients: dict[int, Any] = {}
        for place, tree in zip(places, trees, strict=True):
            self._gradient(place % len(args), tree)
        self.names = arguments.names
        self.value = float(loss(*args))
        self._compare(float(compiled), self.value, "the compiled value differs from NumPy's")

    def _gradient(self, place: int, tree: Any) -> None:
        """The gradient of one argument, by leaf; text and the like have none."""
        specs = self.spec.children()[0].children()
        first = sum(spec.num_leaves for spec in specs[:place])
        for index, leaf in enumerate(specs[place].flatten_up_to(tree), first):
            if leaf is not None:
                self.gradients[index] = np.asarray(leaf)

    def _compare(self, analytic: float, numeric: float, fact: str) -> None:
        same_nan = np.isnan(analytic) and np.isnan(numeric)
        if not same_nan and not self.tolerance.agree(analytic, numeric, self.value):
            raise self.shown.error(f"{fact}: {analytic!r} against {numeric!r}")

    def check(self, mode: str, random: np.random.Generator, directions: int) -> None:
        """Compare one mode in random directions.

        Raises:
            GradientError: they disagree in one.
        """
        for _ in range(directions):
            moves = {i: random.standard_normal(g.shape) for i, g in self.gradients.items()}
            analytic, numeric = self.slopes(mode, moves)
            if not self.tolerance.agree(analytic, numeric, self.value):
                somewhere = ("a random direction", analytic, numeric)
                worst = self.worst(mode) or somewhere
                raise self.shown.error(self.shown.difference(mode, *worst))

    def slopes(self, mode: str, moves: dict[int, Any]) -> tuple[float, float]:
        """The slope along a direction, by one mode and by differences."""
        step = self.tolerance.step
        ahead, behind = self.moved(moves, step), self.moved(moves, -step)
        direction = {
            # What was really moved, after rounding to the argument's dtype.
            i: (np.asarray(ahead[i], float) - np.asarray(behind[i], float)) / (2 * step)
            for i in moves
        }
        numeric = (float(self.at(ahead)) - float(self.at(behind))) / (2 * step)
        return (self.tangent if mode == "forward" else self.product)(direction), numeric

    def product(self, direction: dict[int, Any]) -> float:
        """The slope by reverse mode."""
        return sum((float(np.sum(self.gradients[i] * d)) for i, d in direction.items()), 0.0)

    def tangent(self, direction: dict[int, Any]) -> float:
        """The slope by forward mode."""
        leaves = [None] * len(self.leaves)
        for i in self.gradients:
            dtype = np.asarray(self.leaves[i]).dtype
            leaves[i] = direction.get(i, np.zeros(np.shape(self.leaves[i]))).astype(dtype)[()]
        tangents, _ = optree.tree_unflatten(self.spec, leaves)
        return float(jvp(self.loss, self.args, tangents)[1])

    def moved(self, moves: dict[int, Any], step: float) -> list[Any]:
        """The leaves, some moved along a direction."""
        leaves = list(self.leaves)
        for index, move in moves.items():
            leaf = leaves[index]
            there = leaf + step * move * np.maximum(1, np.abs(leaf))
            python = type(leaf) is float
            leaves[index] = float(there) if python else np.asarray(there, np.asarray(leaf).dtype)
        return leaves

    def at(self, leaves: list[Any]) -> Any:
        """The function's value, by NumPy."""
        args, _ = optree.tree_unflatten(self.spec, leaves)
        return self.loss(*args)

    def worst(self, mode: str) -> tuple[str, float, float] | None:
        """The entry whose derivative is farthest off, with both derivatives."""
        wrong = (e for e in self.entries(mode) if not self.tolerance.agree(*e[1:], self.value))
        return max(wrong, key=lambda entry: distance(*entry[1:]), default=None)

    def entries(self, mode: str) -> Iterator[tuple[str, float, float]]:
        """Each entry's name with its derivative by one mode and by differences."""
        for index, gradient in self.gradients.items():
            for flat in range(min(gradient.size, ENTRIES)):
                move = np.zeros(gradient.shape)
                move.flat[flat] = 1
                place = np.unravel_index(flat, gradient.shape)
                analytic, numeric = self.slopes(mode, {index: move})
                scale = max(1.0, abs(float(np.asarray(self.leaves[index]).flat[flat])))
                name = self.names[index] + (f"[{','.join(map(str, place))}]" if place else "")
                yield name, analytic / scale, numeric / scale


def distance(analytic: float, numeric: float) -> float:
    """How far two slopes are apart; NaN is farthest."""
    gap = abs(analytic - numeric) / max(abs(analytic), abs(numeric))
    return float("inf") if np.isnan(gap) else gap
